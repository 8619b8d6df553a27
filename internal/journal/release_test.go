package journal_test

import (
	"errors"
	"slices"
	"syscall"
	"testing"

	"github.com/memdbwriter/memdbwriter/internal/journal"
	"github.com/memdbwriter/memdbwriter/internal/journal/faultfs"
)

func TestACheckpointReplacesSegments(t *testing.T) {
	fs := newFS()
	w := open(t, config(fs))
	must(t, w.Append(rows(1, 10)))
	must(t, w.Settle(4, []journal.Failure{failure(2), failure(3)}))
	must(t, w.Sync(ctx))
	cut, err := w.Cut()
	must(t, err)
	// The checkpoint now says: 5 to 11 wait, 2 and 3 have failed.
	must(t, w.Append(rows(11, 12)))
	must(t, w.Release(cut, 11, []int64{2, 3}))
	if n := w.Stats().Segments; n != 1 {
		t.Fatalf("%d segments after Release", n)
	}
	must(t, w.Settle(6, []journal.Failure{failure(6)}))
	must(t, w.Amend([]int64{2}, nil))

	f := replay(t, config(fs.Copy()), 11)
	f.want(t, seq(12, 12), 6)
	for _, c := range []struct {
		seq    int64
		failed bool
		want   bool
	}{
		{seq: 2, failed: true, want: true}, // stored since
		{seq: 3, failed: true, want: false},
		{seq: 5, want: true}, // stored since
		{seq: 6, want: true}, // failed since
		{seq: 7, want: false},
		{seq: 11, want: false},
	} {
		if got := f.Supersedes(c.seq, c.failed); got != c.want {
			t.Errorf("Supersedes(%d, %v) = %v", c.seq, c.failed, got)
		}
	}
}

func TestThatAFailedRowOfACheckpointIsGoneIsNotForgotten(t *testing.T) {
	fs := newFS()
	cfg := config(fs)
	cfg.SegmentBytes = 1000
	w := open(t, cfg)
	must(t, w.Append(rows(1, 2)))
	must(t, w.Settle(2, []journal.Failure{failure(1)}))
	cut, err := w.Cut()
	must(t, err)
	must(t, w.Release(cut, 2, []int64{1}))
	must(t, w.Amend([]int64{1}, nil))
	live := func(from, to int64) {
		t.Helper()
		for n := from; n < to; n++ {
			must(t, w.Append(rows(n, n)))
			must(t, w.Settle(n, nil))
			must(t, w.Sync(ctx))
		}
		if n := w.Stats().Segments; n > 2 {
			t.Errorf("%d segments though nothing waits", n)
		}
	}
	live(3, 100)
	died := config(fs.Copy())
	died.SegmentBytes = 1000
	f := replay(t, died, 2)
	if !f.Supersedes(1, true) {
		t.Error("the failed row would come back from the checkpoint")
	}
	must(t, w.Close())
	fs, w = died.FS.(*faultfs.FS), f.writer(t)
	f.Checkpoint([]int64{1})
	live(100, 200)
	if !replay(t, config(fs.Copy()), 2).Supersedes(1, true) {
		t.Error("the failed row would come back after another life")
	}
	cut, err = w.Cut()
	must(t, err)
	must(t, w.Release(cut, 199, nil))
	if n := w.Stats().Segments; n != 1 {
		t.Errorf("%d segments behind a new checkpoint", n)
	}
	must(t, w.Close())
	// An older checkpoint may be all that is found, if the newest is damaged.
	f = replay(t, config(fs.Copy()), 2)
	if n := len(fs.Names("")); n != 1 || !f.Supersedes(2, false) {
		t.Errorf("that all is settled is not known: %v", fs)
	}
	// When there are no checkpoints any more, there is no need for it.
	must(t, replay(t, config(fs), 0).writer(t).Close())
	if n := len(fs.Names("")); n != 0 {
		t.Errorf("files are left: %v", fs)
	}
}

// A row that failed before the checkpoint and is gone before that is whole.
func TestThatARowIsGoneDuringACheckpointIsNotForgotten(t *testing.T) {
	fs := newFS()
	cfg := config(fs)
	cfg.SegmentBytes = 1000
	w := open(t, cfg)
	must(t, w.Append(rows(1, 2)))
	must(t, w.Settle(2, []journal.Failure{failure(1)}))
	cut, err := w.Cut()
	must(t, err)
	must(t, w.Amend([]int64{1}, nil))
	live := func(from, to int64) {
		for n := from; n < to; n++ {
			must(t, w.Append(rows(n, n)))
			must(t, w.Settle(n, nil))
			must(t, w.Sync(ctx))
		}
	}
	live(3, 50)
	must(t, w.Release(cut, 2, []int64{1}))
	live(50, 100)
	if f := replay(t, config(fs.Copy()), 2); !f.Supersedes(1, true) || f.Segments > 2 {
		t.Errorf("the failed row would come back from the checkpoint, or %d segments are left", f.Segments)
	}
}

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
		f := replay(t, config(fs.Copy()), 0)
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
	cut, err := w.Cut()
	must(t, err)
	must(t, w.Release(cut, 59, []int64{2, 3}))
	must(t, w.Sync(ctx))
	if f := known("b"); f.Segments > 1 {
		t.Errorf("%d segments behind a checkpoint", f.Segments)
	}
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
	cut, err = w.Cut()
	must(t, err)
	must(t, w.Amend([]int64{2}, nil)) // it was refused as a whole
	known("alone")
	must(t, w.Receipts([]journal.Receipt{{First: 1, Last: 9, Token: []byte("wide")}}))
	must(t, w.Release(cut, 80, []int64{2, 3})) // says again that 2 is gone, as it was before the last attempt
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
	if r := replay(t, config(fs.Copy()), 0).Receipts(); len(r) != 1 || string(r[0].Token) != "a" {
		t.Errorf("receipts %v", r)
	}
}
