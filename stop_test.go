package memdbwriter

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/memdbwriter/memdbwriter/internal/dest"
	"github.com/memdbwriter/memdbwriter/internal/journal/faultfs"
)

// Whoever calls while the writer ends gets an answer.
func TestNobodyWaitsForAWriterThatHasEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for range 50 {
			w := scriptedWriter(t, &script{}, Config{SyncInterval: time.Hour})
			addNames(t, w, 0, 1)
			var calls sync.WaitGroup
			for range 16 {
				calls.Go(func() {
					if err := w.ForceSync(context.Background()); err != nil && !errors.Is(err, ErrStopped) {
						t.Error(err)
					}
				})
			}
			mustStop[item](t, w)
			calls.Wait()
		}
		// The last answer is also that of those who register after it.
		w := scriptedWriter(t, &script{}, Config{})
		mustStop[item](t, w)
		if err := w.engine.syncer.waiters.wait(context.Background(), ReasonForce, 1); !errors.Is(err, ErrStopped) {
			t.Errorf("who waits after the end: %v", err)
		}
	})
}

// hanging is a sink that heeds no context until the test ends.
func hanging(t *testing.T) (s *script, inCall <-chan struct{}) {
	release, called := make(chan struct{}), make(chan struct{}, 100)
	t.Cleanup(func() { close(release) })
	return &script{write: func(context.Context, []string) error {
		called <- struct{}{}
		<-release
		return errors.New("released")
	}}, called
}

// wantWithin checks that f returns within a time, and returns its error.
func wantWithin(t *testing.T, d time.Duration, f func(context.Context) error) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	start := time.Now()
	err := f(ctx)
	if took := time.Since(start); took > d {
		t.Errorf("it took %v, %v at most were allowed", took, d)
	}
	return err
}

func TestStopDoesNotWaitForADestinationThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := hanging(t)
		w := scriptedWriter(t, s, Config{CheckpointDir: t.TempDir()})
		addNames(t, w, 0, 3)
		err := wantWithin(t, time.Second+2*stopGrace, w.Stop)
		if !errors.Is(err, ErrUnsynced) || !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, errHangs) {
			t.Errorf("Stop: %v", err)
		}
		if s := w.Stats(); s.Pending != 3 || s.Checkpoints != 1 || s.State != StateStopped {
			t.Errorf("the rows were not saved: %+v", s)
		}
	})
}

func TestStopDoesNotWaitForARetryThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, called := hanging(t)
		hang := s.write
		s.write = func(context.Context, []string) error { return dest.RowErrorf(0, "name", "23514", "bad") }
		w := scriptedWriter(t, s, Config{})
		addNames(t, w, 0, 1)
		wantError(t, w.ForceSync(t.Context()), ErrRowsFailed)
		s.write = hang // nothing is on its way
		retried := make(chan error, 1)
		go func() {
			_, err := w.RetrySyncErrors(context.Background())
			retried <- err
		}()
		<-called
		err := wantWithin(t, time.Second+2*stopGrace, w.Stop)
		var row *RowError
		if !errors.Is(err, errHangs) || !errors.Is(err, ErrRowsFailed) || !errors.As(err, &row) || errors.Is(err, ErrUnsynced) {
			t.Errorf("Stop: %v", err)
		}
		if err := <-retried; !errors.Is(err, ErrStopped) {
			t.Errorf("RetrySyncErrors: %v", err)
		}
	})
}

// A query without end is ended by Stop, the one behind it by its context, and
// nothing else waits for it.
func TestNobodyWaitsForAQueryWithoutEnd(t *testing.T) {
	const endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"
	w := scriptedWriter(t, &script{}, Config{SyncInterval: time.Hour, CheckpointDir: t.TempDir()})
	addNames(t, w, 0, 3)
	for range w.Pending(t.Context()) { // so that they are staged
	}
	queried := make(chan error, 1)
	go func() {
		_, err := w.Query(context.Background(), endless)
		queried <- err
	}()
	for { // until the next query waits for it
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		_, err := w.Query(ctx, "SELECT 1")
		cancel()
		if errors.Is(err, context.DeadlineExceeded) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	n := 0
	for _, err := range w.Pending(t.Context()) {
		if n++; err != nil {
			t.Fatal(err)
		}
	}
	if n != 3 {
		t.Errorf("%d rows wait", n)
	}
	if _, err := w.Checkpoint(t.Context()); err != nil {
		t.Errorf("Checkpoint: %v", err)
	}
	if err := w.ForceSync(t.Context()); err != nil {
		t.Errorf("ForceSync: %v", err)
	}
	mustStop[item](t, w)
	if err := <-queried; !errors.Is(err, ErrStopped) {
		t.Errorf("Query: %v", err)
	}
	if s := w.SyncStatus(); s.Synced != 3 {
		t.Errorf("status: %+v", s)
	}
}

// slowDisk takes a while to make bytes durable, as often as the test is told.
type slowDisk struct {
	pause time.Duration
	slow  atomic.Bool
	syncs atomic.Int64
}

func (d *slowDisk) fs() hookFS {
	return hookFS{before: func(op faultfs.Op, path string) error {
		if op == faultfs.Sync && strings.Contains(path, "checkpoint") && d.slow.Load() {
			d.syncs.Add(1)
			time.Sleep(d.pause)
		}
		return nil
	}}
}

// Rows that a destination did not take in time are saved, however long that
// takes, as long as the disk goes on.
func TestTheLastSaveGoesOnWhileTheDiskDoes(t *testing.T) {
	for _, level := range levels {
		t.Run(string(level), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				disk := &slowDisk{pause: savePatience - time.Second}
				cfg := Config{CheckpointDir: t.TempDir(), Durability: level, SyncTimeout: time.Second, fs: disk.fs()}
				away := &script{write: func(context.Context, []string) error { return errors.New("away") }}
				w := scriptedWriter(t, away, cfg)
				w.engine.disk.page = 10
				addNames(t, w, 0, 100)
				disk.slow.Store(true)
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				if err := w.Stop(ctx); !errors.Is(err, ErrUnsynced) || strings.Contains(err.Error(), "not saved") {
					t.Errorf("Stop: %v", err)
				}
				if disk.syncs.Load() < 10 {
					t.Errorf("%d pauses", disk.syncs.Load())
				}
				disk.slow.Store(false)
				w = scriptedWriter(t, &script{}, cfg)
				mustStop[item](t, w)
				if s := w.SyncStatus(); s.Recovered != 100 || s.Synced != 100 {
					t.Errorf("the next writer: %+v", s)
				}
			})
		})
	}
}

// A disk that does not go on ends the save, and so does Stop's context. That is
// said.
func TestTheLastSaveIsGivenUp(t *testing.T) {
	for name, test := range map[string]struct {
		fault  error
		within time.Duration
		want   error
	}{
		"the disk stops":   {errors.New("away"), time.Second + savePatience + 2*stopGrace, errSaving},
		"the context ends": {&dest.Error{Class: dest.ClassTable, Row: -1, Err: errors.New("no table")}, time.Second + 2*stopGrace, context.DeadlineExceeded},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				disk := &slowDisk{pause: time.Hour}
				fault := &script{write: func(context.Context, []string) error { return test.fault }}
				w := scriptedWriter(t, fault, Config{CheckpointDir: t.TempDir(), fs: disk.fs()})
				addNames(t, w, 0, 7)
				disk.slow.Store(true)
				err := wantWithin(t, test.within, w.Stop)
				if !errors.Is(err, ErrUnsynced) || !errors.Is(err, test.want) || !strings.Contains(err.Error(), "7 rows of items were not saved") {
					t.Errorf("Stop: %v", err)
				}
				time.Sleep(2 * disk.pause) // what was left behind ends
			})
		})
	}
}

// Where nothing is left, Stop says nothing of rows that are saved, or not.
func TestTheLastSaveOfNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &logbook{}
		w := scriptedWriter(t, &script{}, Config{CheckpointDir: t.TempDir(), Logger: slog.New(log)})
		addNames(t, w, 0, 7)
		mustStop[item](t, w)
		log.want(t, 0, "WARN")

		w = scriptedWriter(t, &script{}, Config{CheckpointDir: t.TempDir()})
		addNames(t, w, 0, 7)
		mustSync[item](t, w)
		err := wantWithin(t, time.Second+stopGrace, func(ctx context.Context) error {
			_, err := w.engine.lastSave(ctx) // the writer has not ended, for which it waits
			return err
		})
		if !errors.Is(err, context.DeadlineExceeded) || strings.Contains(err.Error(), "not saved") {
			t.Errorf("the last save: %v", err)
		}
		mustStop[item](t, w)
	})
}

// Stop's context ends the wait for a staging table that fails.
func TestStopDoesNotWaitForStaging(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := scriptedWriter(t, &script{}, Config{})
		if err := w.engine.store.Close(); err != nil {
			t.Fatal(err)
		}
		addNames(t, w, 0, 1)
		err := wantWithin(t, time.Second+2*stopGrace, w.Stop)
		if !errors.Is(err, ErrUnsynced) || !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, errHangs) {
			t.Errorf("Stop: %v", err)
		}
	})
}

// What the error of a call says is about this call and this writer.
func TestTheErrorOfAnEndedContext(t *testing.T) {
	own := errors.New("the caller's own")
	cause := fmt.Errorf("another writer: %w: %w: %w: %w", ErrStopped, ErrRowsFailed, &RowError{Table: "other", Err: own}, &dest.Error{Class: dest.ClassTable, Err: own})
	synctest.Test(t, func(t *testing.T) {
		s := &script{write: func(ctx context.Context, _ []string) error { <-ctx.Done(); return ctx.Err() }}
		w := scriptedWriter(t, s, Config{MaxRows: 1, CheckpointDir: t.TempDir()})
		addNames(t, w, 0, 1)
		calls := map[string]func(context.Context) error{
			"Add":       func(ctx context.Context) error { return w.Add(ctx, newItem(2, "x")) },
			"AddBatch":  func(ctx context.Context) error { _, err := w.AddBatch(ctx, []item{newItem(2, "x")}); return err },
			"ForceSync": w.ForceSync,
			"Retry":     func(ctx context.Context) error { _, err := w.RetrySyncErrors(ctx); return err },
			"Discard":   func(ctx context.Context) error { _, err := w.DiscardSyncErrors(ctx); return err },
			"Query":     func(ctx context.Context) error { _, err := w.Query(ctx, "SELECT 1"); return err },
			"Persist":   w.Persist,
			"Pending": func(ctx context.Context) error {
				for _, err := range w.Pending(ctx) {
					return err
				}
				return nil
			},
			"Checkpoint": func(ctx context.Context) error { _, err := w.Checkpoint(ctx); return err },
			"Stop":       w.Stop,
		}
		for name, call := range calls {
			if name == "Stop" {
				continue
			}
			for _, ended := range []bool{true, false} {
				ctx, cancel := context.WithCancelCause(t.Context())
				defer cancel(nil)
				if ended {
					cancel(cause)
				} else if name == "Query" || name == "Persist" || name == "Pending" || name == "Checkpoint" {
					continue // they have no reason to wait
				} else {
					time.AfterFunc(time.Second, func() { cancel(cause) })
				}
				wantCause(t, name, call(ctx), own)
			}
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(cause)
		wantCause(t, "Stop", calls["Stop"](ctx), own)
	})
}

func wantCause(t *testing.T, call string, err, own error) {
	t.Helper()
	var row *RowError
	if !errors.Is(err, context.Canceled) || !errors.Is(err, own) || errors.Is(err, ErrStopped) || errors.Is(err, ErrRowsFailed) || errors.As(err, &row) {
		t.Errorf("%s: %v", call, err)
	}
}

// A Stop whose context has ended is nil if no row is left, and says why rows
// were refused if some were.
func TestStopWithAnEndedContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	eachWriter(t, func(t *testing.T, open func(*script, Config) Writer[item]) {
		s := &script{write: func(ctx context.Context, names []string) error {
			if names[0] == badName {
				return dest.RowErrorf(0, "name", "23514", "bad")
			}
			return ctx.Err()
		}}
		w := open(s, Config{SyncInterval: time.Hour})
		mustAdd(t, w, newItem(1, "a"), newItem(2, "b"))
		mustSync(t, w)
		if err := w.Stop(ctx); err != nil {
			t.Errorf("all rows are stored: %v", err)
		}
		w = open(s, Config{SyncInterval: time.Hour})
		mustAdd(t, w, newItem(1, badName))
		wantError(t, w.ForceSync(t.Context()), ErrRowsFailed)
		mustAdd(t, w, newItem(2, "b"))
		err := w.Stop(ctx)
		var row *RowError
		if !errors.Is(err, ErrUnsynced) || !errors.Is(err, context.Canceled) || !errors.As(err, &row) || row.SQLState != "23514" {
			t.Errorf("a refused row and one that waits: %v", err)
		}
	})
}
