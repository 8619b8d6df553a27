package dest

import (
	"bytes"
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
	// COMMIT is sent; it returns when they are as safe as they can be. After an error
	// COMMIT must not be sent: Write rolls back, and returns it.
	// earlier are receipts that another process kept: before Write stores rows
	// of theirs, it finds out whether they are in.
	Record(earlier []Receipt, keep func(context.Context, []Receipt) error)
}

// Receipt names an InsertOnly transaction, or a part of it: one whose arrival
// numbers have gaps has a receipt for each range of them. A row in a gap may be
// written later, and must not be taken for stored.
type Receipt struct {
	First, Last int64  // the transaction has a row with each arrival number from First to Last
	Token       []byte // the Sink's own, not empty
}

// ByTransaction groups receipts that lie side by side by their transactions.
func ByTransaction(receipts []Receipt) (groups [][]Receipt) {
	for from, to := 0, 0; from < len(receipts); from = to {
		for to < len(receipts) && bytes.Equal(receipts[to].Token, receipts[from].Token) {
			to++
		}
		groups = append(groups, receipts[from:to:to])
	}
	return groups
}

// Without returns the rows of b that are in none of the receipts: b itself if no
// row is. The rows of b must be in arrival order.
func Without(b *tuple.Batch, receipts []Receipt) *tuple.Batch {
	var in []bool // nil as long as no row is in one
	for _, r := range receipts {
		from, _ := slices.BinarySearchFunc(b.Rows, r.First, bySeq)
		to, _ := slices.BinarySearchFunc(b.Rows, r.Last+1, bySeq)
		if from < to && in == nil {
			in = make([]bool, b.Len())
		}
		for ; from < to; from++ {
			in[from] = true
		}
	}
	if in == nil {
		return b
	}
	left := &tuple.Batch{Data: b.Data}
	for i, row := range b.Rows {
		if !in[i] {
			left.Rows = append(left.Rows, row)
		}
	}
	return left
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
