package memdbwriter

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/memdbwriter/memdbwriter/internal/dest"
)

func TestPauseSendsNothingUntilResume(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, hook := &script{}, &recorder{}
		w := scriptedWriter(t, s, Config{SyncInterval: time.Second, SyncBatchSize: 2, Hooks: []Hook{hook}})
		if err := w.Pause("migration"); err != nil {
			t.Fatal(err)
		}
		mustAdd[item](t, w, newItem(1, "x"), newItem(2, "x"), newItem(3, "x"))
		began := time.Now()
		time.Sleep(time.Hour)
		st := w.SyncStatus()
		if len(s.stored()) != 0 || st.State != StatePaused || st.PauseReason != "migration" || !st.Since.Equal(began) || st.Syncing || st.TimeToDrain >= 0 {
			t.Errorf("%d batches, %+v", len(s.stored()), st)
		}
		err := w.ForceSync(t.Context())
		if !errors.Is(err, ErrPaused) || !errors.Is(err, ErrUnsynced) || !strings.Contains(err.Error(), "migration") || time.Since(began) != time.Hour {
			t.Errorf("ForceSync: %v", err)
		}
		if _, err := w.RetrySyncErrors(t.Context()); !errors.Is(err, ErrPaused) {
			t.Errorf("RetrySyncErrors: %v", err)
		}
		if err := w.Pause("another reason"); err != nil || w.SyncStatus().PauseReason != "another reason" || !w.SyncStatus().Since.Equal(began) {
			t.Errorf("%v, %+v", err, w.SyncStatus())
		}
		w.Resume()
		synctest.Wait()
		if st := w.SyncStatus(); st.Pending != 0 || st.State != StateOK || st.PauseReason != "" || st.Since.Before(began.Add(time.Hour)) {
			t.Errorf("%+v", st)
		}
		w.Resume()
		mustStop[item](t, w)
		if err := w.Pause("late"); !errors.Is(err, ErrStopped) {
			t.Errorf("Pause after Stop: %v", err)
		}
		if w.SyncStatus().State != StateStopped {
			t.Error("a stopped writer is not")
		}
		if len(hook.states) < 2 || hook.states[0].To != StatePaused || hook.states[0].Reason != "migration" {
			t.Errorf("%+v", hook.states)
		}
	})
}

// Who waits in ForceSync when the pause begins gets an answer, and the batch that
// is on its way is finished.
func TestPauseDuringASync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		proceed := make(chan struct{})
		s := &script{write: func(context.Context, []string) error { <-proceed; return nil }}
		w := scriptedWriter(t, s, Config{SyncBatchSize: 2, SyncInterval: time.Hour})
		mustAdd[item](t, w, newItem(1, "x"), newItem(2, "x"), newItem(3, "x"), newItem(4, "x"), newItem(5, "x"))
		done := make(chan error, 1)
		go func() { done <- w.ForceSync(t.Context()) }()
		synctest.Wait()
		if err := w.Pause(""); err != nil {
			t.Fatal(err)
		}
		close(proceed)
		if err := <-done; !errors.Is(err, ErrPaused) {
			t.Errorf("ForceSync: %v", err)
		}
		synctest.Wait()
		if n := w.SyncStatus().Pending; n != 3 || len(s.stored()) != 1 {
			t.Errorf("%d rows wait, %v", n, s.stored())
		}
		mustStop[item](t, w) // resumes
		if n := w.SyncStatus().Synced; n != 5 {
			t.Errorf("%d rows stored", n)
		}
	})
}

// A destination that fails is left alone as well, and tried at once afterwards.
func TestPauseWhileTheDestinationFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var attempts atomic.Int64
		var back atomic.Bool
		w := scriptedWriter(t, &script{write: func(_ context.Context, names []string) error {
			attempts.Add(1)
			if back.Load() {
				return refuseBad(t.Context(), names)
			}
			return &dest.Error{Class: dest.ClassTransient, Row: -1, Err: errors.New("away")}
		}}, Config{SyncInterval: time.Second, RetryMaxDelay: time.Hour, FailedRetryDelay: time.Minute})
		mustAdd[item](t, w, newItem(1, badName), newItem(2, "x"))
		time.Sleep(time.Minute)
		if err := w.Pause("broken"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		before := attempts.Load()
		time.Sleep(24 * time.Hour)
		if attempts.Load() != before || w.SyncStatus().State != StatePaused {
			t.Errorf("%d attempts during a pause, %+v", attempts.Load()-before, w.SyncStatus())
		}
		back.Store(true)
		w.Resume()
		synctest.Wait()
		if s := w.SyncStatus(); s.Synced != 1 || s.Failed != 1 {
			t.Errorf("after Resume: %+v", s)
		}
		if err := w.Pause(""); err != nil {
			t.Fatal(err)
		}
		before = attempts.Load()
		time.Sleep(24 * time.Hour)
		if attempts.Load() != before {
			t.Error("failed rows are tried again during a pause")
		}
		w.Resume()
		time.Sleep(2 * time.Minute)
		if attempts.Load() == before {
			t.Error("failed rows are not tried again after a pause")
		}
		abandon[item](w)
	})
}
