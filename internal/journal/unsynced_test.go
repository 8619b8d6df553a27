package journal_test

import (
	"errors"
	"syscall"
	"testing"
	"time"

	"github.com/memdbwriter/memdbwriter/internal/journal"
	"github.com/memdbwriter/memdbwriter/internal/journal/faultfs"
)

// unsynced is a journal that makes nothing durable by itself.
func unsynced() (fs *faultfs.FS, fail *failing, cfg journal.Config) {
	fs, fail = faulty()
	cfg = config(fs)
	cfg.SyncEvery = 24 * time.Hour
	return fs, fail, cfg
}

// That an fsync fails takes nothing from a process that is killed.
func TestAFailedFsyncTakesNoRows(t *testing.T) {
	fs, fail, cfg := unsynced()
	cfg.SegmentBytes = 300 // so that the rows are in several files
	w := open(t, cfg)
	for n := int64(1); n <= 10; n++ {
		must(t, w.Append(rows(n, n)))
	}
	must(t, w.Settle(1, []journal.Failure{failure(1)}))
	fail.set(faultfs.Sync, syscall.EIO)
	for n := int64(1); n <= 10; n++ {
		if err := w.Sync(ctx); !errors.Is(err, syscall.EIO) {
			t.Fatalf("Sync: %v", err)
		}
		must(t, w.Settle(1, nil)) // whatever begins another segment
		replay(t, config(fs.Copy())).want(t, seq(2, 10), 1)
		must(t, w.Append(rows(2, n))) // some of them again
		replay(t, config(fs.Copy())).want(t, seq(2, 10), 1)
	}
	fail.set(faultfs.Sync, nil)
	must(t, w.Append(rows(2, 10)))
	must(t, w.Sync(ctx))
	must(t, w.Err())
	replay(t, config(fs.PowerCut(random(1)))).want(t, seq(2, 10), 1)
}

// A disk that keeps refusing an fsync is not filled, and neither is the memory.
func TestAnUnsyncedJournalDoesNotGrow(t *testing.T) {
	fs, fail, cfg := unsynced()
	cfg.SegmentBytes = 1000
	w := open(t, cfg)
	for n := int64(1); n <= 50; n++ {
		must(t, w.Append(rows(n, n)))
	}
	fail.set(faultfs.Sync, syscall.EIO)
	must(t, w.Settle(2, []journal.Failure{failure(2)}))
	before := w.Stats().Segments
	for range 100 {
		must(t, w.Amend(nil, []journal.Failure{failure(2)}))
		var missing *journal.MissingError
		if errors.As(w.Sync(ctx), &missing) {
			for n := missing.First; n <= 50; n++ {
				must(t, w.Append(rows(n, n)))
			}
		}
		replay(t, config(fs.Copy())).want(t, seq(3, 50), 2)
	}
	if n := w.Stats().Segments; n > 2*before+8 {
		t.Errorf("%d segments, there were %d", n, before)
	}
	if n := w.Backlog(); n > 3 {
		t.Errorf("%d records wait, of one failed row", n)
	}
	fail.set(faultfs.Sync, nil)
}

// Nor does the memory grow while an fsync does not return.
func TestTheBacklogIsBounded(t *testing.T) {
	fs, _, cfg := unsynced()
	w := open(t, cfg)
	must(t, w.Settle(2, []journal.Failure{failure(1), failure(2)}))
	for range 1000 {
		must(t, w.Amend(nil, []journal.Failure{failure(1), failure(2)}))
	}
	must(t, w.Amend([]int64{1}, nil))
	if n := w.Backlog(); n > 100 {
		t.Errorf("%d records wait, of two failed rows", n)
	}
	must(t, w.Sync(ctx))
	if n := w.Backlog(); n != 0 {
		t.Errorf("%d records wait though all is durable", n)
	}
	replay(t, config(fs.PowerCut(random(1)))).want(t, nil, 2)
}
