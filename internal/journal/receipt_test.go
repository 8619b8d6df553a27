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

// What one failed row became says what the transaction did that tried it again with
// others; that it was discarded does not.
func TestADiscardIsNoOutcome(t *testing.T) {
	fs := newFS()
	w := open(t, durable(fs))
	must(t, w.Append(rows(1, 3)))
	must(t, w.Settle(3, []journal.Failure{failure(1), failure(2), failure(3)}))
	must(t, w.Receipts([]journal.Receipt{{First: 1, Last: 3, Token: []byte("x")}}))
	for i, gone := range [][]int64{{2}, {1}, {3}} {
		must(t, w.Discard(gone))
		want := 1
		if i == 2 { // nobody is left to ask for
			want = 0
			must(t, w.Roll())
		}
		if r := replay(t, config(fs.Copy())).Receipts(); len(r) != want {
			t.Errorf("receipts %v after row %d, want %d", r, gone, want)
		}
	}
}

// A receipt says nothing of rows whose failures could not be written yet, and these
// do not end a receipt of a later attempt when they are.
func TestReceiptsBesideFailuresThatCouldNotBeWritten(t *testing.T) {
	for _, r := range []journal.Receipt{{First: 4, Last: 6, Token: []byte("next")}, {First: 2, Last: 2, Token: []byte("again")}} {
		fs, fail := faulty()
		w := open(t, durable(fs))
		must(t, w.Append(rows(1, 6)))
		must(t, w.Sync(ctx))
		fail.set(faultfs.Write, syscall.ENOSPC)
		if err := w.Settle(3, []journal.Failure{failure(2)}); !errors.Is(err, syscall.ENOSPC) {
			t.Fatal(err)
		}
		fail.set(faultfs.Write, nil)
		must(t, w.Receipts([]journal.Receipt{r}))
		must(t, w.Sync(ctx))
		rec := replay(t, config(fs.Copy()))
		rec.want(t, seq(4, 6), 2)
		if len(rec.Receipts()) != 1 {
			t.Errorf("receipts %v", rec.Receipts())
		}
	}
}

// A receipt that fits where a failure does not settles no row.
func TestAReceiptThatFitsWhereAFailureDoesNot(t *testing.T) {
	fs, fail := faulty()
	writes := 0
	fs.Fault = func(op faultfs.Op, name string) error {
		if op == faultfs.Write {
			if writes++; writes == 2 {
				return fail.fault(op, name) // but for what was to be written before the receipt
			}
			return nil
		}
		return fail.fault(op, name)
	}
	w := open(t, durable(fs))
	must(t, w.Append(rows(1, 6)))
	fail.set(faultfs.Write, syscall.ENOSPC)
	writes = 1
	if err := w.Settle(3, []journal.Failure{failure(2)}); !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	writes = 1
	if err := w.Receipts([]journal.Receipt{{First: 4, Last: 6, Token: []byte("x")}}); !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	rec := replay(t, config(fs.Copy()))
	rec.want(t, seq(1, 6))
	if len(rec.Receipts()) != 1 {
		t.Errorf("receipts %v", rec.Receipts())
	}
}

// Failures that are written once more, because they hold up old segments, do not end
// the receipts of the next attempt.
func TestCarriedFailuresEndNoReceipt(t *testing.T) {
	fs := newFS()
	cfg := durable(fs)
	cfg.SegmentBytes = 2000
	w := open(t, cfg)
	must(t, w.Append(rows(1, 3)))
	must(t, w.Settle(3, []journal.Failure{failure(1)}))
	must(t, w.Receipts([]journal.Receipt{{First: 1, Last: 1, Token: []byte("x")}}))
	for n := int64(4); n < 200; n++ {
		must(t, w.Append(rows(n, n)))
		must(t, w.Sync(ctx))
		must(t, w.Settle(n, nil))
		must(t, w.Sync(ctx))
		rec, err := journal.Scan(config(fs.Copy()))
		must(t, err)
		if len(rec.Receipts()) != 1 {
			t.Fatalf("receipts %v after row %d", rec.Receipts(), n)
		}
	}
}

// A receipt that a failed fsync has lost is written again, whether or not anything is
// settled.
func TestAReceiptThatAnFsyncLost(t *testing.T) {
	for seed := range uint64(30) {
		fs, fail := faulty()
		w := open(t, durable(fs))
		must(t, w.Append(rows(1, 6)))
		must(t, w.Sync(ctx))
		must(t, w.Receipts([]journal.Receipt{{First: 2, Last: 6, Token: []byte("x")}}))
		fail.set(faultfs.Sync, syscall.EIO)
		if err := w.Sync(ctx); !errors.Is(err, syscall.EIO) {
			t.Fatal(err)
		}
		fail.set(faultfs.Sync, nil)
		must(t, w.Sync(ctx))
		must(t, w.Err())
		rec, err := journal.Scan(config(fs.PowerCut(random(seed))))
		must(t, err)
		if len(rec.Receipts()) != 1 {
			t.Fatalf("seed %d: receipts %v", seed, rec.Receipts())
		}
	}
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
