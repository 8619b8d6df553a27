package journal_test

import (
	"errors"
	"slices"
	"syscall"
	"testing"

	"github.com/memdbwriter/memdbwriter/internal/journal"
	"github.com/memdbwriter/memdbwriter/internal/journal/faultfs"
)

// Receipts are known as long as nobody has noted what became of their rows.
func TestReceipts(t *testing.T) {
	fs := newFS()
	cfg := config(fs)
	cfg.SegmentBytes = 500
	w := open(t, cfg)
	must(t, w.Append(rows(1, 20)))
	for _, r := range []journal.Receipt{{First: 1, Last: 5, Token: []byte("a")}, {First: 6, Last: 10, Token: []byte("b")}} {
		must(t, w.Receipts([]journal.Receipt{r}))
	}
	known := func(want ...string) *found {
		t.Helper()
		f := replay(t, config(fs.Copy()))
		var got []string
		for _, r := range f.Receipts() {
			got = append(got, string(r.Token))
		}
		if !slices.Equal(got, want) {
			t.Errorf("receipts %q, want %q", got, want)
		}
		return f
	}
	known("a", "b")
	must(t, w.Settle(5, []journal.Failure{failure(2), failure(3)}))
	known("b")
	for n := int64(21); n < 60; n++ {
		must(t, w.Append(rows(n, n)))
	}
	must(t, w.Sync(ctx))
	known("b")
	must(t, w.Settle(59, nil))
	known()
	must(t, w.Receipts([]journal.Receipt{{First: 70, Last: 80, Token: []byte("c")}})) // of rows that are not journaled
	if f := known("c"); f.Last != 80 {
		t.Errorf("the last number that was given is %d", f.Last)
	}
	must(t, w.Settle(80, nil))
	must(t, w.Receipts([]journal.Receipt{{First: 2, Last: 3, Token: []byte("again")}}))
	known("again")
	must(t, w.Receipts([]journal.Receipt{{First: 3, Last: 3, Token: []byte("alone")}}))
	must(t, w.Amend([]int64{2}, nil)) // it was refused as a whole
	known("alone")
	must(t, w.Receipts([]journal.Receipt{{First: 1, Last: 9, Token: []byte("wide")}}))
	must(t, w.Roll()) // a segment that is repeated in the next one
	known("alone", "wide")
	must(t, w.Amend(nil, []journal.Failure{failure(3)}))
	known()
}

// A receipt that could not be written is told of, and written later.
func TestAReceiptThatCannotBeWritten(t *testing.T) {
	fs, fail := faulty()
	w := open(t, config(fs))
	must(t, w.Append(rows(1, 5)))
	fail.set(faultfs.Write, syscall.ENOSPC)
	if err := w.Receipts([]journal.Receipt{{First: 1, Last: 5, Token: []byte("a")}}); !errors.Is(err, syscall.ENOSPC) || !errors.Is(w.Err(), syscall.ENOSPC) {
		t.Errorf("Receipt: %v; the journal lacks: %v", err, w.Err())
	}
	fail.set(faultfs.Write, nil)
	must(t, w.Complete())
	if r := replay(t, config(fs.Copy())).Receipts(); len(r) != 1 || string(r[0].Token) != "a" {
		t.Errorf("receipts %v", r)
	}
}
