package memdbwriter

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// The first who waits wakes the syncer, whatever else happens, and of many the one
// who wants most counts, in whatever order they come.
func TestWhoWaitsIsHeard(t *testing.T) {
	for _, order := range [][]int64{{5, 3, 9}, {9, 5, 3}, {3, 9, 5}} {
		w := newWaiters()
		if w.highest() != 0 {
			t.Errorf("nobody waits up to row %d", w.highest())
		}
		for _, upTo := range order {
			if err := w.register(&waiter{upTo: upTo, reason: ReasonForce, done: make(chan error, 1)}); err != nil {
				t.Fatal(err)
			}
			select {
			case <-w.asked:
			default:
				t.Errorf("the syncer is not told of who waits up to row %d", upTo)
			}
		}
		for _, answered := range []int64{3, 5} {
			w.notify(answered, nil)
			if got := w.highest(); got != 9 {
				t.Errorf("came %v: somebody waits up to row %d", order, got)
			}
		}
		w.notify(9, nil)
		if w.highest() != 0 {
			t.Errorf("nobody waits up to row %d", w.highest())
		}
	}
}

// A ForceSync whose rows are staged already has them moved at once.
func TestForceSyncOfStagedRowsIsNotLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := scriptedWriter(t, &script{}, Config{SyncInterval: time.Hour})
		addNames(t, w, 0, 1)
		time.Sleep(time.Minute)
		synctest.Wait()
		start := time.Now()
		mustSync[item](t, w)
		if took := time.Since(start); took > time.Second {
			t.Errorf("it took %v", took)
		}
		mustStop[item](t, w)
		wantError(t, w.ForceSync(t.Context()), ErrStopped)
		if err := w.engine.syncer.waiters.wait(t.Context(), ReasonForce, 1); !errors.Is(err, ErrStopped) {
			t.Errorf("who comes after the last answer: %v", err)
		}
	})
}
