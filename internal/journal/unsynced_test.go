package journal_test

import (
	"errors"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/memdbwriter/memdbwriter/internal/journal"
	"github.com/memdbwriter/memdbwriter/internal/journal/faultfs"
)

// These tests are about a journal without Fsync, which makes durable only what is
// said of failed rows.

// unsynced is such a journal, which makes nothing durable by itself.
func unsynced() (fs *faultfs.FS, fail *failing, cfg journal.Config) {
	fs, fail = faulty()
	cfg = config(fs)
	cfg.SyncEvery = 24 * time.Hour
	return fs, fail, cfg
}

// That an fsync fails takes nothing from a process that is killed.
func TestAFailedFsyncTakesNoRows(t *testing.T) {
	fs, fail, cfg := unsynced()
	w := open(t, cfg)
	must(t, w.Append(rows(1, 10)))
	must(t, w.Settle(1, []journal.Failure{failure(1)}))
	fail.set(faultfs.Sync, syscall.EIO)
	for range 3 {
		if err := w.Sync(ctx); !errors.Is(err, syscall.EIO) {
			t.Fatalf("Sync: %v", err)
		}
		must(t, w.Settle(1, nil)) // whatever begins another segment
		replay(t, config(fs.Copy()), 0).want(t, seq(2, 10), 1)
	}
	fail.set(faultfs.Sync, nil)
	must(t, w.Sync(ctx))
	must(t, w.Err())
	if f := replay(t, config(fs.PowerCut(random(1))), 0); len(f.failed) != 1 {
		t.Errorf("failed rows after a power cut: %v", f.failed)
	}
}

// A disk that keeps refusing an fsync is not filled, and neither is the memory.
func TestAnUnsyncedJournalDoesNotGrow(t *testing.T) {
	for _, fsync := range []bool{false, true} {
		_, fail, cfg := unsynced()
		cfg.Fsync, cfg.SegmentBytes = fsync, 1000
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
		}
		if n := w.Stats().Segments; n > before+8 {
			t.Errorf("fsync %v: %d segments, there were %d", fsync, n, before)
		}
		if n := w.Backlog(); n > 3 {
			t.Errorf("fsync %v: %d records wait, of one failed row", fsync, n)
		}
		fail.set(faultfs.Sync, nil)
	}
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
	replay(t, config(fs.PowerCut(random(1))), 0).want(t, nil, 2)
}

// What a failed fsync was needed for is done again, and then all is well.
func TestAnFsyncOfMarksThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, fail, cfg := unsynced()
		cfg.SyncEvery = time.Second
		w := open(t, cfg)
		must(t, w.Append(rows(1, 10)))
		fail.set(faultfs.Sync, syscall.EIO)
		if err := w.SyncMarks(ctx); !errors.Is(err, syscall.EIO) || w.Err() == nil {
			t.Fatalf("SyncMarks: %v, Err: %v", err, w.Err())
		}
		fail.set(faultfs.Sync, nil)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		must(t, w.Err())
		must(t, w.Close())
	})
}

// What is written is not durable because the file that it is in has been closed.
func TestAClosedSegmentIsNotDurable(t *testing.T) {
	fs, fail, cfg := unsynced()
	w := open(t, cfg)
	must(t, w.Append(rows(1, 5)))
	must(t, w.Settle(3, []journal.Failure{failure(2)}))
	fail.set(faultfs.Create, syscall.ENOSPC)
	if _, err := w.Cut(); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("Cut: %v", err)
	}
	for name, sync := range map[string]func() error{"Sync": func() error { return w.Sync(ctx) }, "SyncMarks": func() error { return w.SyncMarks(ctx) }} {
		if err := sync(); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("%s: %v", name, err)
		}
	}
	fail.set(faultfs.Create, nil)
	must(t, w.SyncMarks(ctx))
	for seed := range uint64(20) {
		f := replay(t, config(fs.PowerCut(random(seed))), 0)
		if len(f.failed) != 1 || f.Settled != 3 {
			t.Errorf("seed %d: settled %d, failed rows %v", seed, f.Settled, f.failed)
		}
	}
}

// What an earlier process said of failed rows is durable before another one
// begins.
func TestWhatWasSaidOfFailedRowsIsDurableAtTheStart(t *testing.T) {
	fs, _, cfg := unsynced()
	w := open(t, cfg)
	must(t, w.Append(rows(1, 5)))
	must(t, w.Settle(5, []journal.Failure{failure(2)}))
	must(t, w.Sync(ctx))
	cut, err := w.Cut()
	must(t, err)
	must(t, w.Release(cut, 5, []int64{2}))
	must(t, w.Sync(ctx))
	must(t, w.Amend([]int64{2}, nil))
	rec, err := journal.Scan(cfg) // w has died
	must(t, err)
	next, err := rec.Create(5)
	must(t, err)
	for seed := range uint64(20) {
		if f := replay(t, config(fs.PowerCut(random(seed))), 5); !f.Supersedes(2, true) {
			t.Errorf("seed %d: the failed row of the checkpoint is back", seed)
		}
	}
	must(t, next.Close())
}
