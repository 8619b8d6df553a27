package journal_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/memdbwriter/memdbwriter/internal/journal"
	"github.com/memdbwriter/memdbwriter/internal/journal/faultfs"
)

func TestSyncMakesDurable(t *testing.T) {
	fs, _ := faulty()
	cfg := durable(fs)
	cfg.SegmentBytes = 1000
	w := open(t, cfg)
	for n := int64(1); n <= 50; n++ {
		must(t, w.Append(rows(n, n)))
	}
	must(t, w.Settle(20, []journal.Failure{failure(4)}))
	must(t, w.Sync(ctx))
	for seed := range uint64(20) {
		replay(t, config(fs.PowerCut(random(seed)))).want(t, seq(21, 50), 4)
	}
	if s := w.Stats(); s.Durable != 50 || s.Syncs == 0 {
		t.Errorf("%+v", s)
	}
}

func TestRowsAreMadeDurableThoughNobodyWaits(t *testing.T) {
	fs := &faultfs.FS{}
	synced := make(chan struct{}, 1000)
	fs.Fault = func(op faultfs.Op, _ string) error {
		if op == faultfs.SyncDir {
			synced <- struct{}{}
		}
		return nil
	}
	cfg := durable(fs)
	cfg.SyncEvery = time.Millisecond
	w := open(t, cfg)
	must(t, w.Append(rows(1, 1)))
	<-synced
}

func TestOneFsyncServesAllWhoWait(t *testing.T) {
	fs := &faultfs.FS{}
	enter, leave := make(chan struct{}), make(chan struct{})
	var blocking atomic.Bool
	fs.Fault = func(op faultfs.Op, _ string) error {
		if op == faultfs.Sync && blocking.Load() {
			enter <- struct{}{}
			<-leave
		}
		return nil
	}
	w := open(t, durable(fs))
	must(t, w.Append(rows(1, 1)))
	blocking.Store(true)
	done := make(chan error, 100)
	go func() { done <- w.Sync(ctx) }()
	<-enter
	// Nothing waits for the fsync that is under way but those who ask for it.
	must(t, w.Append(rows(2, 2)))
	for n := int64(3); n <= 50; n++ {
		must(t, w.Append(rows(n, n)))
		go func() { done <- w.Sync(ctx) }()
	}
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	if err := w.Sync(cancelled); !errors.Is(err, context.Canceled) {
		t.Errorf("Sync with a cancelled context: %v", err)
	}
	blocking.Store(false)
	leave <- struct{}{}
	for range 49 {
		must(t, <-done)
	}
	if n := w.Stats().Syncs; n > 25 {
		t.Errorf("%d fsyncs for 49 callers", n)
	}
}

func TestAFailedFsyncIsALossAndIsNeverTakenBack(t *testing.T) {
	for _, op := range []faultfs.Op{faultfs.Sync, faultfs.SyncDir} {
		t.Run(string(op), func(t *testing.T) {
			fs, fail := faulty()
			w := open(t, durable(fs))
			must(t, w.Append(rows(1, 5)))
			if op == faultfs.Sync {
				must(t, w.Sync(ctx))
			}
			must(t, w.Append(rows(6, 10)))
			must(t, w.Settle(3, []journal.Failure{failure(2)}))
			fail.set(op, syscall.EIO)
			first := w.Stats().Durable + 1
			var missing *journal.MissingError
			for range 2 {
				err := w.Sync(ctx)
				if !errors.As(err, &missing) || !errors.Is(err, syscall.EIO) || missing.First != max(first, 4) || missing.Last != 10 {
					t.Fatalf("Sync: %v", err)
				}
				fail.set(op, nil) // the second Sync must not succeed all the same
			}
			if err := w.Append(rows(11, 12)); !errors.As(err, &missing) {
				t.Fatalf("Append: %v", err)
			}
			must(t, w.Append(rows(missing.First, missing.Last)))
			must(t, w.Append(rows(11, 12)))
			must(t, w.Sync(ctx))
			for seed := range uint64(20) {
				f := replay(t, config(fs.PowerCut(random(seed))))
				f.want(t, seq(4, 12), 2)
			}
			if n := w.Stats().Losses; n != 1 {
				t.Errorf("%d losses", n)
			}
		})
	}
}

func TestEveryWaiterHearsOfALoss(t *testing.T) {
	fs := &faultfs.FS{}
	enter, leave := make(chan struct{}), make(chan struct{})
	var once sync.Once
	fs.Fault = func(op faultfs.Op, _ string) (err error) {
		if op == faultfs.Sync {
			once.Do(func() {
				close(enter)
				<-leave
				err = syscall.EIO
			})
		}
		return err
	}
	w := open(t, durable(fs))
	must(t, w.Append(rows(1, 1)))
	errs := make(chan error, 20)
	for range 20 {
		go func() { errs <- w.Sync(ctx) }()
	}
	<-enter
	close(leave)
	for range 20 {
		if err := <-errs; !errors.Is(err, syscall.EIO) {
			t.Errorf("Sync: %v", err)
		}
	}
}

func TestCloseReportsALoss(t *testing.T) {
	fs, fail := faulty()
	w := open(t, durable(fs))
	must(t, w.Append(rows(1, 2)))
	fail.set(faultfs.Sync, syscall.EIO)
	if err := w.Close(); !errors.Is(err, syscall.EIO) {
		t.Errorf("Close: %v", err)
	}
	if err := w.Sync(ctx); err == nil {
		t.Error("Sync after a loss at Close")
	}
}

// A disk that refuses to make anything durable is tried for ever, and must
// neither be filled by that nor keep anybody waiting.
func TestAnFsyncThatKeepsFailing(t *testing.T) {
	fs, fail := faulty()
	changes := make(chan struct{}, 100)
	cfg := durable(fs)
	cfg.Changed = func(*journal.Writer) { changes <- struct{}{} }
	w := open(t, cfg)
	must(t, w.Append(rows(1, 3)))
	must(t, w.Sync(ctx))
	fail.set(faultfs.Sync, syscall.EIO)
	must(t, w.Settle(2, []journal.Failure{failure(1)}))
	for n := int64(4); n < 50; n++ {
		var missing *journal.MissingError
		if err := w.Append(rows(n, n)); errors.As(err, &missing) {
			must(t, w.Append(rows(missing.First, n)))
		}
		if err := w.Sync(ctx); !errors.Is(err, syscall.EIO) || !errors.Is(w.Err(), syscall.EIO) {
			t.Fatalf("Sync: %v, lacking: %v", err, w.Err())
		}
	}
	must(t, w.Settle(49, nil))
	if err := w.Sync(ctx); !errors.Is(err, syscall.EIO) {
		t.Errorf("Sync though nothing waits: %v", err)
	}
	if n := len(fs.Names("")); n > 3 {
		t.Errorf("%d files", n)
	}
	fail.set(faultfs.Sync, nil)
	must(t, w.Sync(ctx))
	must(t, w.Err())
	if n := len(changes); n != 2 {
		t.Errorf("told of %d changes, of a disk that failed and was mended", n)
	}
	for seed := range uint64(20) {
		replay(t, config(fs.PowerCut(random(seed)))).want(t, nil, 1)
	}
}
