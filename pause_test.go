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
		synctest.Wait()
		select {
		case err := <-done:
			if !errors.Is(err, ErrPaused) || !errors.Is(err, ErrUnsynced) {
				t.Errorf("ForceSync: %v", err)
			}
		default:
			t.Error("ForceSync waits for the batch in flight")
		}
		close(proceed)
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

// What waits for a batch in flight when the pause begins is answered, also where the
// destination hangs; and when the batch fails, neither it nor a failed row is sent
// before Resume.
func TestPauseHoldsBackWhatWaitsForTheSyncer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sent [][]string
		outcome := make(chan error)
		s := &script{write: refuseBad}
		w := scriptedWriter(t, s, Config{SyncBatchSize: 2, SyncInterval: time.Hour, FailedRetryDelay: -1})
		mustAdd[item](t, w, newItem(1, badName), newItem(2, "ok"))
		wantError(t, w.ForceSync(t.Context()), ErrRowsFailed)
		s.write = func(_ context.Context, names []string) error { sent = append(sent, names); return <-outcome }
		mustAdd[item](t, w, newItem(3, "x"), newItem(4, "x"))
		synctest.Wait()
		forced, retried := make(chan error, 1), make(chan error, 1)
		go func() { forced <- w.ForceSync(t.Context()) }()
		go func() { _, err := w.RetrySyncErrors(t.Context()); retried <- err }()
		synctest.Wait()
		if err := w.Pause("x"); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		wantError(t, <-forced, ErrPaused)
		if took := time.Since(began); took > 0 {
			t.Errorf("ForceSync was answered after %v", took)
		}
		wantError(t, <-retried, ErrPaused)
		if took := time.Since(began); took > stopGrace {
			t.Errorf("RetrySyncErrors was answered after %v", took)
		}
		before := len(sent)
		outcome <- errors.New("away")
		time.Sleep(24 * time.Hour)
		if len(sent) != before || before != 1 {
			t.Errorf("sent before the pause: %v, during it: %v", sent[:before], sent[before:])
		}
		go func() {
			outcome <- nil // the batch once more
			outcome <- nil // the failed row
		}()
		w.Resume()
		wantError(t, w.ForceSync(t.Context()), ErrRowsFailed)
		if n, err := w.RetrySyncErrors(t.Context()); n != 1 || err != nil {
			t.Errorf("%d stored, %v", n, err)
		}
		mustStop[item](t, w)
	})
}

// A call that queued before the pause and is served in it sends nothing, though
// whoever made it is not told of the pause.
func TestTheSyncerTriesNoFailedRowDuringAPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{write: refuseBad}
		w := scriptedWriter(t, s, Config{SyncInterval: time.Hour, FailedRetryDelay: -1})
		mustAdd[item](t, w, newItem(1, badName))
		wantError(t, w.ForceSync(t.Context()), ErrRowsFailed)
		s.write = func(context.Context, []string) error { t.Error("sent"); return nil }
		if err := w.Pause("x"); err != nil {
			t.Fatal(err)
		}
		page := &retriedPage{}
		if err := w.engine.call(t.Context(), func() { w.engine.syncer.retryFailed(t.Context(), page) }); err != nil {
			t.Fatal(err)
		}
		wantError(t, page.err, ErrPaused)
		if _, err := w.RetryFailed(t.Context(), []int64{1}); !errors.Is(err, ErrPaused) || errors.Is(err, ErrUnsynced) {
			t.Errorf("RetryFailed, and no row waits: %v", err)
		}
		abandon[item](w)
	})
}

// Failed rows that are being sent when the pause begins are sent to the end: their
// outcome counts, though who asked for it has been answered.
func TestPauseFinishesFailedRowsInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{write: refuseBad}
		w := scriptedWriter(t, s, Config{SyncInterval: time.Hour, FailedRetryDelay: -1})
		mustAdd[item](t, w, newItem(1, badName))
		wantError(t, w.ForceSync(t.Context()), ErrRowsFailed)
		s.write = func(ctx context.Context, _ []string) error {
			select {
			case <-time.After(30 * time.Second):
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		retried := make(chan error, 1)
		go func() {
			defer cancel()
			_, err := w.RetrySyncErrors(ctx)
			retried <- err
		}()
		synctest.Wait()
		if err := w.Pause("x"); err != nil {
			t.Fatal(err)
		}
		wantError(t, <-retried, ErrPaused)
		time.Sleep(time.Minute)
		if st := w.SyncStatus(); st.Failed != 0 || st.Synced != 1 {
			t.Errorf("%+v", st)
		}
		mustStop[item](t, w)
	})
}

// A batch that is in flight when a run is over is finished and settled in the
// pause, and not sent again after it.
func TestPauseSettlesWhatIsInFlightAfterARun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{write: func(_ context.Context, names []string) error {
			if time.Sleep(2 * time.Second); names[0] == "slow" {
				time.Sleep(8 * time.Second)
			}
			return nil
		}}
		w := scriptedWriter(t, s, Config{SyncBatchSize: 1, SyncWorkers: 2, SyncInterval: time.Hour})
		mustAdd[item](t, w, newItem(1, "quick"), newItem(2, "slow"), newItem(3, "late"))
		time.Sleep(time.Second)
		if err := w.Pause(""); err != nil {
			t.Fatal(err)
		}
		time.Sleep(4 * time.Second)
		if st := w.SyncStatus(); !st.Syncing || st.Synced != 1 {
			t.Errorf("a batch is in flight: %+v", st)
		}
		time.Sleep(time.Hour)
		if st := w.SyncStatus(); st.Syncing || st.Synced != 2 {
			t.Errorf("it has been stored: %+v", st)
		}
		mustStop[item](t, w)
		if got := s.names(); len(got) != 3 {
			t.Errorf("sent: %v", got)
		}
	})
}

// StopNow leaves the destination of a paused writer alone, too.
func TestStopNowOfAPausedWriterSendsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sent := 0
		for range 50 {
			s := &script{}
			w := scriptedWriter(t, s, Config{SyncBatchSize: 2, SyncInterval: time.Second, CheckpointDir: t.TempDir()})
			if err := w.Pause("leave it alone"); err != nil {
				t.Fatal(err)
			}
			mustAdd[item](t, w, newItem(1, "x"), newItem(2, "x"), newItem(3, "x"))
			time.Sleep(time.Minute)
			if err := w.StopNow(t.Context()); err != nil {
				t.Fatal(err)
			}
			sent += len(s.stored())
			if st := w.SyncStatus(); st.State != StateStopped || st.PauseReason != "" {
				t.Errorf("%+v", st)
			}
			if _, err := w.RetryFailed(t.Context(), []int64{1}); !errors.Is(err, ErrStopped) {
				t.Errorf("RetryFailed: %v", err)
			}
		}
		if sent > 0 {
			t.Errorf("%d batches were sent", sent)
		}
	})
}
