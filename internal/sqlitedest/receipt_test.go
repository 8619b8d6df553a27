package sqlitedest

import (
	"context"
	"testing"

	"github.com/memdbwriter/memdbwriter/internal/dest"
	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

// Rows of an earlier process's transaction may come again among others, in more
// than one batch, and their neighbours may be refused.
func TestRowsOfAReceiptComeAgainInOtherBatches(t *testing.T) {
	tab := &dest.Table{Name: "t", Policy: dest.InsertOnly, Columns: []dest.Column{col("id bigint")}}
	f := newFixture(t, tab, "CREATE TABLE t(id INTEGER CHECK (id > 0))")
	some := func(ids ...int) *tuple.Batch {
		b := &tuple.Batch{}
		for _, id := range ids {
			one := batch(t, tab, row{id})
			b.Append(int64(max(id, -id)), one.Data)
		}
		return b
	}
	var receipts []dest.Receipt
	f.Sink.(dest.Recorder).Record(nil, func(_ context.Context, some []dest.Receipt) error { receipts = append(receipts, some...); return nil })
	for _, b := range []*tuple.Batch{some(3, 5, 7), some(20, 21)} {
		if _, err := f.Write(ctx, b); err != nil {
			t.Fatal(err)
		}
	}
	// And one of a transaction that did not get in.
	receipts = append(receipts, dest.Receipt{First: 1, Last: 30, Token: []byte("lost")})

	next := bind(t, f.db, tab)
	next.(dest.Recorder).Record(receipts, func(context.Context, []dest.Receipt) error { return nil })
	_, err := next.Write(ctx, some(1, 3, 5, 7, -9, 11))
	if e := asError(t, err, dest.ClassRow, "CHECK"); e.Row != 4 {
		t.Errorf("row %d", e.Row)
	}
	const ids = "SELECT group_concat(id, ' ') FROM (SELECT id FROM t ORDER BY id)"
	f.want(ids, "3 5 7 20 21")
	for _, b := range []*tuple.Batch{some(1, 3, 5), some(4, 6), some(7), some(11, 12, 20, 21, 22)} { // 4 and 6 are in gaps of a transaction
		if _, err := next.Write(ctx, b); err != nil {
			t.Fatal(err)
		}
	}
	f.want(ids, "1 3 4 5 6 7 11 12 20 21 22")
}
