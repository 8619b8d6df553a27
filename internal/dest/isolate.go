package dest

import (
	"cmp"
	"context"
	"slices"

	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

// Isolator is a Sink that can find out by itself which rows of a refused batch
// are refused, at a bounded price.
type Isolator interface {
	Sink

	// Isolate stores those rows of b that the database takes, one after another
	// in the order of their sequence numbers, in one transaction, and returns
	// the others, in the order of their places in b. A row is refused only
	// after the rows that were stored in the same call: one that needs another
	// row of b, or waits for one to give up a unique value, is stored.
	//
	// On an error nothing is stored. Its meaning is Write's; ClassRow says that
	// the rows cannot be told apart in one transaction (COMMIT refused them, a
	// row ended the transaction): write parts of b. What Write says of repeating
	// a batch holds for Isolate too.
	Isolate(ctx context.Context, b *tuple.Batch) (Result, []Refusal, error)
}

// Refusal is a row that the database refused.
type Refusal struct {
	Row int // its place in the batch
	// Err is what the database said of it. Of ClassRow: the row is refused as it
	// is. Of another class: the database may say something else next time.
	Err *Error
}

// ByArrival returns the places of the rows of b in the order of their sequence
// numbers.
func ByArrival(b *tuple.Batch) []int {
	places := make([]int, b.Len())
	for i := range places {
		places[i] = i
	}
	slices.SortFunc(places, func(x, y int) int { return cmp.Compare(b.Rows[x].Seq, b.Rows[y].Seq) })
	return places
}

// Pick returns the rows of b at some places, which keep b's memory.
func Pick(b *tuple.Batch, places []int) *tuple.Batch {
	some := &tuple.Batch{Data: b.Data, Rows: make([]tuple.Span, len(places))}
	for i, at := range places {
		some.Rows[i] = b.Rows[at]
	}
	return some
}

// Except returns the rows of b but for the refused ones, with b's memory.
func Except(b *tuple.Batch, refused []Refusal) *tuple.Batch {
	if len(refused) == 0 {
		return b
	}
	stored := &tuple.Batch{Data: b.Data, Rows: make([]tuple.Span, 0, b.Len()-len(refused))}
	from := 0
	for _, r := range refused {
		stored.Rows = append(stored.Rows, b.Rows[from:r.Row]...)
		from = r.Row + 1
	}
	stored.Rows = append(stored.Rows, b.Rows[from:]...)
	return stored
}

// Receipts are those of a transaction that stored the rows of b but for the refused
// ones, in arrival order. b must be in arrival order, too.
func Receipts(b *tuple.Batch, refused []Refusal, token []byte) (receipts []Receipt) {
	for _, run := range Except(b, refused).Runs() {
		receipts = append(receipts, Receipt{First: run.Rows[0].Seq, Last: run.Rows[run.Len()-1].Seq, Token: token})
	}
	return receipts
}
