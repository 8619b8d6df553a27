package memdbwriter

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/memdbwriter/memdbwriter/internal/dest"
)

// eachWriter runs a test in a bubble of fake time for both writers onto a script.
func eachWriter(t *testing.T, test func(t *testing.T, open func(*script, Config) Writer[item])) {
	t.Helper()
	for kind, batch := range writers {
		t.Run(kind, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				test(t, func(s *script, cfg Config) Writer[item] {
					cfg.DisableMemoryDB = batch
					w, err := Open(context.Background(), itemTable(t), &Destination{scripted{s}}, cfg)
					if err != nil {
						t.Fatal(err)
					}
					return w
				})
			})
		})
	}
}

func TestOnSyncMayCallEveryMethod(t *testing.T) {
	eachWriter(t, func(t *testing.T, open func(*script, Config) Writer[item]) {
		var w Writer[item]
		var called atomic.Int64
		hook := func(ctx context.Context, _ SyncEvent) {
			if called.Add(1) > 1 {
				return
			}
			if n, err := w.AddBatch(ctx, []item{newItem(2, "two"), newItem(3, "three")}); n != 2 || err != nil {
				t.Errorf("AddBatch: %d, %v", n, err)
			}
			// The buffer is full: Add waits for a sync, TryAdd does not.
			if err := w.Add(ctx, newItem(4, "four")); err != nil {
				t.Errorf("Add: %v", err)
			}
			if err := w.TryAdd(newItem(5, "five")); err != nil && !errors.Is(err, ErrBufferFull) {
				t.Errorf("TryAdd: %v", err)
			}
			if err := w.ForceSync(ctx); err != nil {
				t.Errorf("ForceSync: %v", err)
			}
			if _, err := w.RetrySyncErrors(ctx); err != nil {
				t.Errorf("RetrySyncErrors: %v", err)
			}
			if _, err := w.DiscardSyncErrors(ctx); err != nil {
				t.Errorf("DiscardSyncErrors: %v", err)
			}
			for _, err := range w.SyncErrors() {
				t.Errorf("SyncErrors: %v", err)
			}
			if s := w.Stats(); s.SyncStatus.Synced != w.SyncStatus().Synced {
				t.Errorf("Stats: %+v", s)
			}
			if m, ok := w.(*MemoryDBWriter[item]); ok {
				useDisk(ctx, t, m)
			}
			if err := w.Stop(ctx); !errors.Is(err, ErrStopInHook) {
				t.Errorf("Stop: %v", err)
			}
		}
		w = open(&script{}, Config{SyncBatchSize: 2, MaxRows: 2, OnSync: hook, CheckpointDir: t.TempDir()})
		mustAdd(t, w, newItem(1, "one"))
		mustSync(t, w)
		synctest.Wait()
		mustStop(t, w)
		if s := w.SyncStatus(); called.Load() < 2 || s.Synced < 4 || s.Pending != 0 {
			t.Errorf("%d calls, %+v", called.Load(), s)
		}
	})
}

// useDisk calls what only the MemoryDBWriter has.
func useDisk(ctx context.Context, t *testing.T, w *MemoryDBWriter[item]) {
	t.Helper()
	if err := w.Persist(ctx); err != nil {
		t.Errorf("Persist: %v", err)
	}
	if _, err := w.Checkpoint(ctx); err != nil {
		t.Errorf("Checkpoint: %v", err)
	}
	for _, err := range w.Pending(ctx) {
		if err != nil {
			t.Errorf("Pending: %v", err)
		}
	}
	if _, err := w.Query(ctx, "SELECT count(*) FROM items"); err != nil {
		t.Errorf("Query: %v", err)
	}
}

// A backlog is sent before New has returned. The hook has the writer all the same.
func TestOnSyncHasTheWriterThatRecovers(t *testing.T) {
	for _, touch := range []bool{true, false} {
		t.Run(fmt.Sprint("touched=", touch), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cfg := leaveLarge(t, DurabilityJournal)
				var w *MemoryDBWriter[item]
				var calls atomic.Int64
				cfg.OnSync = func(ctx context.Context, _ SyncEvent) {
					if calls.Add(1) == 1 && touch {
						useDisk(ctx, t, w)
					}
				}
				w = scriptedWriter(t, &script{}, cfg)
				if touch {
					_ = w.SyncStatus()
				} else {
					time.Sleep(eventsAfter)
				}
				synctest.Wait()
				if calls.Load() == 0 {
					t.Error("no event was delivered")
				}
				mustStop[item](t, w)
			})
		})
	}
}

// A hook that does not return holds nothing up but Stop, and that only until its
// context ends. What it misses is in the merged events.
func TestABlockedOnSync(t *testing.T) {
	eachWriter(t, func(t *testing.T, open func(*script, Config) Writer[item]) {
		block := make(chan struct{})
		var synced, runs, most int64
		w := open(&script{}, Config{OnSync: func(_ context.Context, ev SyncEvent) {
			<-block
			synced += ev.Synced
			runs += ev.Merged + 1
			most = max(most, ev.Merged)
		}})
		for i := range int64(10 * maxEvents) {
			mustAdd(t, w, newItem(i, "x"))
			mustSync(t, w)
		}
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, ErrRowsFailed)
		defer cancel()
		err := w.Stop(ctx)
		if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, ErrUnsynced) || errors.Is(err, ErrRowsFailed) || !strings.Contains(err.Error(), "OnSync") {
			t.Errorf("Stop: %v", err)
		}
		if s := w.SyncStatus(); s.State != StateStopped || s.Synced != 10*maxEvents {
			t.Errorf("status: %+v", s)
		}
		close(block)
		synctest.Wait()
		if synced != 1 || runs != 1 {
			t.Errorf("after Stop has given up, events of %d rows and %d runs were delivered", synced, runs)
		}
	})
}

func TestEventsAreMergedAndCounted(t *testing.T) {
	eachWriter(t, func(t *testing.T, open func(*script, Config) Writer[item]) {
		block := make(chan struct{})
		var synced, runs, calls int64
		w := open(&script{}, Config{OnSync: func(_ context.Context, ev SyncEvent) {
			<-block
			synced += ev.Synced
			runs += ev.Merged + 1
			calls++
		}})
		for i := range int64(10 * maxEvents) {
			mustAdd(t, w, newItem(i, "x"))
			mustSync(t, w)
		}
		synctest.Wait()
		close(block)
		synctest.Wait() // so that the event of Stop is merged with none
		mustStop(t, w)
		s := w.Stats()
		if synced != 10*maxEvents || runs != s.Runs[ReasonForce]+s.Runs[ReasonStop] || calls != maxEvents+1+s.Runs[ReasonStop] {
			t.Errorf("%d calls with %d rows of %d runs; %v", calls, synced, runs, s.Runs)
		}
	})
}

func TestAnOnSyncThatPanicsOrEndsItsGoroutine(t *testing.T) {
	eachWriter(t, func(t *testing.T, open func(*script, Config) Writer[item]) {
		log := &logbook{}
		calls := 0
		w := open(&script{}, Config{Logger: slog.New(log), OnSync: func(context.Context, SyncEvent) {
			calls++
			if calls%2 == 0 {
				runtime.Goexit()
			}
			panic(io.ErrClosedPipe)
		}})
		for i := range int64(4) {
			mustAdd(t, w, newItem(i, "x"))
			mustSync(t, w)
			synctest.Wait()
		}
		mustStop(t, w)
		mustStop(t, w)
		if calls < 4 || log.count("ERROR hook panicked") != (calls+1)/2 {
			t.Errorf("%d calls, %d panics logged", calls, log.count("ERROR hook panicked"))
		}
	})
}

// The error of an event is that of the status, in both writers.
func TestEventsHaveThePublicError(t *testing.T) {
	eachWriter(t, func(t *testing.T, open func(*script, Config) Writer[item]) {
		fault := &dest.Error{Class: dest.ClassTable, Row: -1, SQLState: "42P01", Err: errors.New("no such table")}
		var events []SyncEvent
		w := open(&script{write: func(context.Context, []string) error { return fault }},
			Config{OnSync: func(_ context.Context, ev SyncEvent) { events = append(events, ev) }})
		mustAdd(t, w, newItem(1, "x"))
		if err := w.ForceSync(t.Context()); !errors.Is(err, ErrUnsynced) {
			t.Fatal(err)
		}
		synctest.Wait()
		if len(events) == 0 || events[0].Err == nil || events[0].Err.Error() != w.SyncStatus().LastError.Error() ||
			!errors.Is(events[0].Err, ErrDestination) || errors.Is(events[0].Err, ErrUnsynced) {
			t.Errorf("events %+v, last error %v", events, w.SyncStatus().LastError)
		}
		abandon(w)
	})
}

// counted is a queue of events for a hook that counts its calls.
func counted(log slog.Handler) (*events, *atomic.Int64) {
	calls := &atomic.Int64{}
	hook := onSync(func(context.Context, SyncEvent) { calls.Add(1) })
	return newEvents(&hooks{syncEnd: []HookSyncEnd{hook}}, slog.New(log), "t", &panics{}), calls
}

// No hook is called before the begin, and none after the end.
func TestEventsHaveABeginAndAnEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		queue, calls := counted(slog.DiscardHandler)
		want := func(when string, n int64) {
			t.Helper()
			synctest.Wait()
			if calls.Load() != n {
				t.Errorf("%s: %d calls, not %d", when, calls.Load(), n)
			}
		}
		queue.emit(&SyncEvent{})
		want("before the begin", 0)
		queue.begin()
		want("after the begin", 1)
		queue.emit(&SyncEvent{})
		want("an event", 2)
		if err := queue.close(t.Context()); err != nil {
			t.Error(err)
		}
		queue.emit(&SyncEvent{})
		want("after the end", 2)
	})
}

// Events that nobody has been told of are dropped with a context that has ended,
// and that is an error only of a hook that keeps the writer from its end.
func TestEventsGivenUpWithoutAHookInTheWay(t *testing.T) {
	log := &logbook{}
	queue, calls := counted(log)
	queue.emit(&SyncEvent{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := queue.giveUp(ctx); err != nil {
		t.Errorf("no hook is being called: %v", err)
	}
	log.want(t, 1, "WARN events dropped", "events=1")
	if err := queue.close(ctx); err != nil || calls.Load() != 0 {
		t.Errorf("%d calls, %v", calls.Load(), err)
	}
}

// A hook of one writer may stop another.
func TestAHookMayStopAnotherWriter(t *testing.T) {
	eachWriter(t, func(t *testing.T, open func(*script, Config) Writer[item]) {
		var stopped error
		other := open(&script{}, Config{OnSync: func(context.Context, SyncEvent) {}})
		mustAdd(t, other, newItem(1, "x"))
		w := open(&script{}, Config{OnSync: func(ctx context.Context, _ SyncEvent) { stopped = errors.Join(stopped, other.Stop(ctx)) }})
		mustAdd(t, w, newItem(1, "x"))
		mustSync(t, w)
		mustStop(t, w)
		if s := other.SyncStatus(); stopped != nil || s.State != StateStopped || s.Synced != 1 {
			t.Errorf("%v, %+v", stopped, s)
		}
		abandon(other)
	})
}
