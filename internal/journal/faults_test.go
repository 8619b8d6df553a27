package journal_test

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/memdbwriter/memdbwriter/internal/journal"
	"github.com/memdbwriter/memdbwriter/internal/journal/faultfs"
)

// failing makes the operations fail for which it holds an error.
type failing struct {
	mu   sync.Mutex
	errs map[faultfs.Op]error
}

func (f *failing) set(op faultfs.Op, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.errs[op] = err
}

func (f *failing) fault(op faultfs.Op, _ string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.errs[op]
}

func faulty() (*faultfs.FS, *failing) {
	f := &failing{errs: map[faultfs.Op]error{}}
	return &faultfs.FS{Fault: f.fault}, f
}

func durable(fs *faultfs.FS) journal.Config {
	cfg := config(fs)
	cfg.SyncEvery = time.Hour
	return cfg
}

func TestAFailedWriteLeavesNothingBehind(t *testing.T) {
	for _, c := range []struct {
		name     string
		write    error
		truncate error
	}{
		{name: "full", write: syscall.ENOSPC},
		{name: "short", write: faultfs.Short{N: 60, Err: syscall.ENOSPC}},
		{name: "short, and cannot be taken back", write: faultfs.Short{N: 60, Err: syscall.EIO}, truncate: syscall.EIO},
	} {
		t.Run(c.name, func(t *testing.T) {
			fs, fail := faulty()
			w := open(t, config(fs))
			must(t, w.Append(rows(1, 3)))
			fail.set(faultfs.Write, c.write)
			fail.set(faultfs.Truncate, c.truncate)
			if err := w.Append(rows(4, 6)); !errors.Is(err, errors.Unwrap(err)) || err == nil {
				t.Fatalf("Append: %v", err)
			}
			var missing *journal.MissingError
			if err := w.Append(rows(7, 8)); !errors.As(err, &missing) || missing.First != 4 || missing.Last != 6 {
				t.Fatalf("Append behind rows that are missing: %v", err)
			}
			if err := w.Sync(ctx); !errors.As(err, &missing) || missing.First != 4 || missing.Last != 8 {
				t.Fatalf("Sync with rows missing: %v", err)
			}
			replay(t, config(fs.Copy())).want(t, seq(1, 3))
			fail.set(faultfs.Write, nil)
			must(t, w.Append(rows(4, 6)))
			must(t, w.Append(rows(7, 8)))
			must(t, w.Sync(ctx))
			f := replay(t, config(fs.Copy()))
			f.want(t, seq(1, 8))
			if len(f.Problems) > 0 {
				t.Errorf("problems %v", f.Problems)
			}
		})
	}
}

func TestAFailureThatCouldNotBeWrittenIsWrittenBeforeAnythingElse(t *testing.T) {
	fs, fail := faulty()
	w := open(t, config(fs))
	must(t, w.Append(rows(1, 6)))
	fail.set(faultfs.Write, syscall.ENOSPC)
	if err := w.Settle(3, []journal.Failure{failure(2)}); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("Settle: %v", err)
	}
	if err := w.Settle(6, nil); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("Settle: %v", err)
	}
	replay(t, config(fs.Copy())).want(t, seq(1, 6))
	fail.set(faultfs.Write, nil)
	must(t, w.Settle(6, nil))
	replay(t, config(fs.Copy())).want(t, nil, 2)
}

func TestASizeLimitStopsRowsAndNotWhatFreesThem(t *testing.T) {
	fs := newFS()
	cfg := config(fs)
	cfg.SegmentBytes, cfg.MaxBytes = 1000, 4000
	w := open(t, cfg)
	n := int64(0)
	var err error
	for err == nil {
		n++
		err = w.Append(rows(n, n))
	}
	if !errors.Is(err, journal.ErrFull) || w.Stats().Bytes > cfg.MaxBytes {
		t.Fatalf("%v with %+v", err, w.Stats())
	}
	must(t, w.Settle(n-2, nil))
	must(t, w.SyncRows(ctx, n-1)) // and with it what is settled
	must(t, w.Append(rows(n, n)))
	replay(t, config(fs.Copy())).want(t, seq(n-1, n))
}

func TestFilesThatCannotBeDeletedAreDeletedLater(t *testing.T) {
	fs, fail := faulty()
	cfg := config(fs)
	cfg.SegmentBytes = 500
	w := open(t, cfg)
	for n := int64(1); n <= 20; n++ {
		must(t, w.Append(rows(n, n)))
	}
	fail.set(faultfs.Remove, syscall.EACCES)
	must(t, w.Settle(10, nil))
	must(t, w.Sync(ctx))
	if err := w.Undeleted(); !errors.Is(err, syscall.EACCES) || !strings.Contains(err.Error(), fs.Names("")[0]) || w.Err() != nil {
		t.Errorf("undeleted: %v, lacking: %v", err, w.Err())
	}
	fail.set(faultfs.Remove, nil)
	before := fs.Names("")
	must(t, w.Settle(11, nil))
	must(t, w.Sync(ctx))
	must(t, w.Undeleted())
	if after := fs.Names(""); slices.Contains(after, before[0]) {
		t.Errorf("still there: %v", fs)
	}
	replay(t, config(fs.Copy())).want(t, seq(12, 20))
}

// Of several files that were not durable the younger may survive the older.
func TestWhatWasGivenUpDoesNotHideWhatWasAppendedAgain(t *testing.T) {
	for seed := range uint64(50) {
		fs, fail := faulty()
		cfg := durable(fs)
		cfg.SegmentBytes = 500
		w := open(t, cfg)
		for n := int64(1); n <= 20; n++ {
			must(t, w.Append(rows(n, n)))
		}
		fail.set(faultfs.Sync, syscall.EIO)
		if err := w.Sync(ctx); err == nil {
			t.Fatal("a failed fsync was not reported")
		}
		fail.set(faultfs.Sync, nil)
		// The disk has got hold of the last of them all the same.
		names := fs.Names("")
		fs.Put(names[len(names)-1], fs.Get(names[len(names)-1]))
		must(t, w.Append(rows(1, 20)))
		must(t, w.Sync(ctx))
		f := replay(t, config(fs.PowerCut(random(seed))))
		f.want(t, seq(1, 20))
	}
}

func TestAFailureIsNotLostWithTheSegmentBeforeTheOneThatSettlesItsRow(t *testing.T) {
	for seed := range uint64(200) {
		fs, _ := faulty()
		cfg := durable(fs)
		cfg.SegmentBytes = 500
		w := open(t, cfg)
		must(t, w.Append(rows(1, 3)))
		must(t, w.Sync(ctx))
		must(t, w.Settle(3, []journal.Failure{failure(2)}))
		for n := int64(4); n <= 20; n++ {
			must(t, w.Append(rows(n, n)))
		}
		f := replay(t, config(fs.PowerCut(random(seed))))
		if !slices.Contains(f.rows, 2) && len(f.failed) == 0 {
			t.Fatalf("seed %d: the failed row is lost: %+v", seed, f.Recovery)
		}
	}
}

// That rows are settled counts when it is on disk, and what would bring them back
// is deleted only then.
func TestAMarkThatIsNotOnDisk(t *testing.T) {
	for _, lost := range []bool{false, true} {
		fs, fail := faulty()
		cfg := config(fs)
		cfg.SyncEvery, cfg.SegmentBytes = time.Hour, 300
		w := open(t, cfg)
		for first := int64(1); first < 15; first += 5 {
			must(t, w.Append(rows(first, first+4)))
		}
		must(t, w.Sync(ctx))
		if lost { // the mark is written, and lost
			must(t, w.Settle(15, nil))
			fail.set(faultfs.Sync, syscall.EIO)
			if err := w.Sync(ctx); err == nil {
				t.Fatal("a failed fsync was not reported")
			}
			fail.set(faultfs.Sync, nil)
		}
		fail.set(faultfs.Write, syscall.ENOSPC)
		if err := w.Settle(15, nil); !errors.Is(err, syscall.ENOSPC) || w.Err() == nil {
			t.Errorf("Settle: %v; the journal lacks: %v", err, w.Err())
		}
		left := fs.PowerCut(random(1))
		replay(t, config(left)).want(t, seq(1, 15))
		fail.set(faultfs.Write, nil)
		must(t, replay(t, config(left)).writer(t).Settle(15, nil))
		replay(t, config(left.Copy())).want(t, nil)
	}
}

// Records that cannot be written do not pile up.
func TestRecordsThatCannotBeWrittenReplaceEachOther(t *testing.T) {
	fs, fail := faulty()
	w := open(t, config(fs))
	must(t, w.Append(rows(1, 3)))
	fail.set(faultfs.Write, syscall.ENOSPC)
	_ = w.Settle(3, []journal.Failure{failure(1), failure(2), failure(3)})
	for n := range 100 {
		again := failure(2)
		again.Attempts = n
		_ = w.Amend(nil, []journal.Failure{again})
	}
	_ = w.Amend([]int64{1}, nil)
	fail.set(faultfs.Write, nil)
	must(t, w.Sync(ctx))
	f := replay(t, config(fs.Copy()))
	f.want(t, nil, 2, 3)
	if f.Bytes > 1500 {
		t.Errorf("%d bytes for two failed rows", f.Bytes)
	}
}

// The first thing that is written when the disk works again voids what is older: row 4
// was never written, and rows from before it must not come back without it.
func TestAMarkThatCouldNotBeWrittenComesBeforeRows(t *testing.T) {
	fs, fail := faulty()
	w := open(t, durable(fs))
	must(t, w.Append(rows(1, 3)))
	must(t, w.Sync(ctx))
	fail.set(faultfs.Write, syscall.ENOSPC)
	for _, err := range []error{w.Append(rows(4, 4)), w.Settle(4, nil)} {
		if !errors.Is(err, syscall.ENOSPC) {
			t.Fatal(err)
		}
	}
	fail.set(faultfs.Write, nil)
	must(t, w.Append(rows(5, 5)))
	replay(t, config(fs.Copy())).want(t, []int64{5})
}

// A segment that could be neither made nor removed does not stand for those that an
// fsync lost.
func TestWhatAnFsyncLostStaysUntilASegmentRepeatsIt(t *testing.T) {
	fs, fail := faulty()
	w := open(t, durable(fs))
	must(t, w.Append(rows(1, 3)))
	must(t, w.Settle(3, []journal.Failure{failure(2)}))
	fail.set(faultfs.Sync, syscall.EIO)
	if err := w.Sync(ctx); !errors.Is(err, syscall.EIO) {
		t.Fatal(err)
	}
	fail.set(faultfs.Write, syscall.EIO)
	fail.set(faultfs.Remove, syscall.EIO)
	if err := w.Settle(3, nil); !errors.Is(err, syscall.EIO) {
		t.Fatal(err)
	}
	fail.set(faultfs.Remove, nil)
	if err := w.Settle(3, nil); !errors.Is(err, syscall.EIO) {
		t.Fatal(err)
	}
	replay(t, config(fs.Copy())).want(t, nil, 2)
}
