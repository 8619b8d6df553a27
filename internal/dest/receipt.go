package dest

import (
	"context"
	"errors"
	"slices"

	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

// Recorder is a Sink that can find out what became of an InsertOnly transaction
// of another process.
type Recorder interface {
	Sink

	// Record is called once, before the first Write. From then on keep is
	// called with the receipts of every InsertOnly transaction before its
	// COMMIT is sent; it returns when they are as safe as they can be.
	// earlier are receipts that another process kept: before Write stores rows
	// of theirs, it finds out whether they are in.
	Record(earlier []Receipt, keep func(context.Context, []Receipt))
}

// Receipt names an InsertOnly transaction, or a part of it: one that left out
// refused rows has a receipt for each range of rows between them.
type Receipt struct {
	// The arrival numbers of the first and the last row. Of the rows with numbers
	// between them the transaction had all that Write will ever be called with again.
	First, Last int64
	Token       []byte // the Sink's own
}

// Without returns the rows of b that are not among those from first to last: b
// itself if no row is. The rows of b must be in arrival order.
func Without(b *tuple.Batch, first, last int64) *tuple.Batch {
	from, _ := slices.BinarySearchFunc(b.Rows, first, bySeq)
	to, found := slices.BinarySearchFunc(b.Rows, last, bySeq)
	if found {
		to++
	}
	if from >= to {
		return b
	}
	return &tuple.Batch{Data: b.Data, Rows: slices.Concat(b.Rows[:from], b.Rows[to:])}
}

func bySeq(row tuple.Span, seq int64) int {
	switch {
	case row.Seq < seq:
		return -1
	case row.Seq > seq:
		return 1
	}
	return 0
}

// InWhole makes the error of writing a part of a batch one of the whole batch:
// the row that it may name is found there. Both must be in arrival order.
func InWhole(err error, part, whole *tuple.Batch) error {
	var e *Error
	if part == whole || !errors.As(err, &e) || e.Row < 0 {
		return err
	}
	moved := *e
	moved.Row, _ = slices.BinarySearchFunc(whole.Rows, part.Rows[e.Row].Seq, bySeq)
	return &moved
}

// PlacesInWhole makes the places of refused rows in a part of a batch those in
// the whole batch. Both must be in arrival order.
func PlacesInWhole(refused []Refusal, part, whole *tuple.Batch) {
	if part == whole {
		return
	}
	for i := range refused {
		refused[i].Row, _ = slices.BinarySearchFunc(whole.Rows, part.Rows[refused[i].Row].Seq, bySeq)
	}
}
