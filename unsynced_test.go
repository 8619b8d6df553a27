package memdbwriter

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/memdbwriter/memdbwriter/internal/dest"
)

// The error of a Stop says in numbers what is left, and where.
func TestUnsyncedErrorOfStop(t *testing.T) {
	for _, dir := range []string{"", t.TempDir()} {
		synctest.Test(t, func(t *testing.T) {
			w := scriptedWriter(t, &script{write: func(context.Context, []string) error {
				return &dest.Error{Class: dest.ClassTransient, Row: -1, Err: errors.New("away")}
			}}, Config{CheckpointDir: dir})
			mustAdd[item](t, w, newItem(1, "x"), newItem(2, "x"))
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			var during, after *UnsyncedError
			if err := w.ForceSync(ctx); !errors.As(err, &during) || during.Waiting != 2 || during.Lost != 0 || during.SavedTo != "" || during.Table != "items" || during.Added != 2 {
				t.Errorf("ForceSync: %+v", during)
			}
			err := w.Stop(ctx)
			if !errors.As(err, &after) || !errors.Is(err, ErrUnsynced) || !errors.Is(err, context.DeadlineExceeded) || after.Waiting != 2 {
				t.Fatalf("Stop: %v", err)
			}
			if dir == "" && (after.Lost != 2 || after.SavedTo != "" || !strings.Contains(err.Error(), "2 lost")) ||
				dir != "" && (after.Lost != 0 || after.SavedTo != w.engine.cfg.CheckpointDir || !strings.Contains(err.Error(), "saved in "+after.SavedTo)) {
				t.Errorf("Stop: %+v: %v", after, err)
			}
		})
	}
}

// StopNow moves nothing, and the next writer has it all.
func TestStopNowLeavesTheRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sent := 0
		s := &script{write: func(context.Context, []string) error { sent++; return nil }}
		cfg := Config{CheckpointDir: t.TempDir(), SyncInterval: time.Hour}
		w := scriptedWriter(t, s, cfg)
		mustAdd[item](t, w, newItem(1, "x"), newItem(2, "x"), newItem(3, "x"))
		began := time.Now()
		if err := w.StopNow(t.Context()); err != nil {
			t.Fatal(err)
		}
		if st := w.SyncStatus(); sent != 0 || st.Pending != 3 || st.State != StateStopped || time.Since(began) > time.Second {
			t.Errorf("%d batches sent, %+v, %v", sent, st, time.Since(began))
		}
		if err := w.StopNow(t.Context()); err != nil {
			t.Error(err)
		}
		if err := w.Add(t.Context(), newItem(4, "x")); !errors.Is(err, ErrStopped) {
			t.Error(err)
		}
		w = scriptedWriter(t, s, cfg)
		mustStop[item](t, w)
		if st := w.SyncStatus(); st.Recovered != 3 || st.Synced != 3 {
			t.Errorf("the next writer: %+v", st)
		}

		w = scriptedWriter(t, s, Config{})
		mustAdd[item](t, w, newItem(1, "x"))
		if err := w.StopNow(t.Context()); !errors.Is(err, errNoDisk) {
			t.Errorf("without a directory: %v", err)
		}
		mustAdd[item](t, w, newItem(2, "x")) // goes on
		mustStop[item](t, w)
	})
}

// A BatchDBWriter whose Stop does not wait for a call that hangs has lost its rows.
func TestUnsyncedErrorOfABatchWriterThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hang := make(chan struct{})
		s := &script{write: func(context.Context, []string) error { <-hang; return nil }}
		w := openWriter(t, itemTable(t), &Destination{scripted{s}}, Config{DisableMemoryDB: true})
		mustAdd(t, w, newItem(1, "x"), newItem(2, "x"))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var e *UnsyncedError
		if err := w.Stop(ctx); !errors.As(err, &e) || !errors.Is(err, errHangs) || e.Lost != 2 || e.SavedTo != "" {
			t.Errorf("%v", err)
		}
		close(hang)
		synctest.Wait()
	})
}
