package memdbwriter

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/memdbwriter/memdbwriter/internal/dest"
)

// endless adds rows as fast as the buffer takes them, until the test ends.
func endless(t *testing.T, w *MemoryDBWriter[item], producers int) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var adding sync.WaitGroup
	var id atomic.Int64
	for range producers {
		adding.Go(func() {
			for w.Add(ctx, newItem(1000+id.Add(1), "endless")) == nil {
			}
		})
	}
	return func() { cancel(); adding.Wait() }
}

// Rows that keep coming starve nobody: calls are served between two batches, a
// run ends at least every second, and the figures are those of the moment.
func TestEndlessRowsStarveNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{write: func(_ context.Context, names []string) error {
			time.Sleep(20 * time.Millisecond)
			if len(names) == 1 && names[0] == badName {
				return dest.RowErrorf(0, "name", "23514", "bad")
			}
			return nil
		}}
		var longest time.Duration
		var events, synced int64
		var mu sync.Mutex
		w := scriptedWriter(t, s, Config{
			SyncBatchSize: 10, MaxRows: 1000, SyncInterval: 5 * time.Second, SyncWorkers: 2,
			OnSync: func(_ context.Context, ev SyncEvent) {
				mu.Lock()
				defer mu.Unlock()
				longest, events, synced = max(longest, ev.Duration), events+1, synced+ev.Synced
			},
		})
		mustAdd[item](t, w, newItem(1, badName))
		wantError(t, w.ForceSync(t.Context()), ErrRowsFailed)
		stop := endless(t, w, 4)
		for range 3 {
			time.Sleep(2 * time.Second)
			begin := time.Now()
			if _, err := w.RetrySyncErrors(t.Context()); !errors.Is(err, ErrRowsFailed) {
				t.Errorf("RetrySyncErrors: %v", err)
			}
			if took := time.Since(begin); took > 100*time.Millisecond {
				t.Errorf("RetrySyncErrors took %v", took)
			}
			mu.Lock()
			if events == 0 || longest > runTime+100*time.Millisecond || w.SyncStatus().Synced-synced > 1000 {
				t.Errorf("%d events, the longest run took %v, %d of %d rows reported", events, longest, synced, w.SyncStatus().Synced)
			}
			events = 0
			mu.Unlock()
			if s := w.Stats(); s.SyncTime < time.Since(s.LastSync) || s.MemoryBytes == 0 {
				t.Errorf("in the middle: %+v", s)
			}
		}
		if n, err := w.DiscardSyncErrors(t.Context()); n != 1 || err != nil {
			t.Errorf("DiscardSyncErrors: %d, %v", n, err)
		}
		stop()
		mustStop[item](t, w)
	})
}

// Rows go on between two pages of failed rows that are tried again.
func TestALongRetryStarvesNoRow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{write: func(_ context.Context, names []string) error {
			time.Sleep(100 * time.Millisecond)
			for i, n := range names {
				if n == badName {
					return dest.RowErrorf(i, "name", "23514", "bad")
				}
			}
			return nil
		}}
		w := scriptedWriter(t, s, Config{SyncBatchSize: 5})
		for i := range int64(50) {
			mustAdd[item](t, w, newItem(i, badName))
		}
		wantError(t, w.ForceSync(t.Context()), ErrRowsFailed)
		var retried atomic.Bool
		done := make(chan struct{})
		go func() {
			defer close(done)
			_, err := w.RetrySyncErrors(t.Context())
			wantError(t, err, ErrRowsFailed)
			retried.Store(true)
		}()
		time.Sleep(time.Second)
		mustAdd[item](t, w, newItem(100, "good"))
		wantError(t, w.ForceSync(t.Context()), ErrRowsFailed)
		if retried.Load() || w.SyncStatus().Synced != 1 {
			t.Errorf("the row waited until all failed ones were tried: %+v", w.SyncStatus())
		}
		<-done
		for f, err := range w.SyncErrors() {
			if err != nil || f.Attempts != 2 {
				t.Errorf("%+v, %v", f, err)
			}
		}
		abandon[item](w)
	})
}

// Callers who wait for room come in in order: many small rows do not keep a
// large one out, whether it fits beside others or not.
func TestALargeRowGetsItsTurn(t *testing.T) {
	for name, size := range map[string]int{"below MaxBytes": 40 << 10, "above MaxBytes": 90 << 10} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var before atomic.Int64
				var in atomic.Bool
				s := &script{write: func(_ context.Context, names []string) error {
					time.Sleep(10 * time.Millisecond)
					if !in.Load() {
						before.Add(int64(len(names)))
					}
					return nil
				}}
				w := scriptedWriter(t, s, Config{SyncBatchSize: 100, MaxBytes: 64 << 10})
				stop := endless(t, w, 8)
				time.Sleep(time.Second)
				whole := int64(w.SyncStatus().Pending)
				before.Store(0)
				large := newItem(1, strings.Repeat("x", size))
				if err := w.Add(t.Context(), large); err != nil {
					t.Fatal(err)
				}
				in.Store(true)
				if n := before.Load(); n > whole+200 {
					t.Errorf("%d rows were stored before the large one came in, with a buffer of %d", n, whole)
				}
				stop()
				mustStop[item](t, w)
			})
		})
	}
}

func TestTheFrontIsFirstInFirstOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		s := &script{write: func(context.Context, []string) error { <-gate; return nil }}
		w := scriptedWriter(t, s, Config{MaxRows: 1, SyncBatchSize: 1})
		addNames(t, w, 0, 1)
		var waiting sync.WaitGroup
		cancelled, cancel := context.WithCancel(t.Context())
		for i := range int64(10) {
			waiting.Go(func() {
				ctx := t.Context()
				if i == 4 {
					ctx = cancelled
				}
				n, err := w.AddBatch(ctx, []item{newItem(2*i, fmt.Sprint("first ", i)), newItem(2*i+1, fmt.Sprint("second ", i))})
				if i == 4 && (n != 0 || !errors.Is(err, context.Canceled)) || i != 4 && (n != 2 || err != nil) {
					t.Errorf("caller %d: %d, %v", i, n, err)
				}
			})
			synctest.Wait()
		}
		if err := w.TryAdd(newItem(100, "x")); !errors.Is(err, ErrBufferFull) {
			t.Errorf("TryAdd before those who wait: %v", err)
		}
		cancel()
		synctest.Wait()
		close(gate)
		waiting.Wait()
		mustStop[item](t, w)
		var want []string
		for i := range 10 {
			if i != 4 {
				want = append(want, fmt.Sprint("first ", i), fmt.Sprint("second ", i))
			}
		}
		var got []string
		for _, b := range s.stored()[1:] {
			got = append(got, b...)
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("stored in the order %q", got)
		}
		if s := w.Stats(); s.Waits != 10 {
			t.Errorf("%d waits", s.Waits)
		}
	})
}

// SyncInterval is the longest time that a row waits, whenever it comes.
func TestTheIntervalOfARowThatComesDuringARun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sent sync.Map
		s := &script{write: func(_ context.Context, names []string) error {
			for _, n := range names {
				sent.Store(n, time.Now())
			}
			time.Sleep(8 * time.Second)
			return nil
		}}
		w := scriptedWriter(t, s, Config{SyncInterval: 10 * time.Second})
		addNames(t, w, 0, 1)
		time.Sleep(12 * time.Second) // the run has begun
		came := time.Now()
		addNames(t, w, 1, 1)
		time.Sleep(11 * time.Second)
		at, ok := sent.Load("1")
		if !ok {
			t.Fatal("the row was not sent in time")
		}
		if waited := at.(time.Time).Sub(came); waited < 9*time.Second || waited > 10*time.Second+50*time.Millisecond {
			t.Errorf("the row waited %v", waited)
		}
		mustStop[item](t, w)
	})
}

func TestArrivals(t *testing.T) {
	start := time.Now()
	at := func(n int) time.Time { return start.Add(time.Duration(n) * time.Second) }
	a := newArrivals(16 * time.Second) // a grain of a second
	want := func(acknowledged int64, n int) {
		t.Helper()
		a.acknowledge(acknowledged)
		got, ok := a.oldest()
		if ok != (n >= 0) || ok && !got.Equal(at(n)) {
			t.Errorf("behind %d: %v, %v, want %d s", acknowledged, got.Sub(start), ok, n)
		}
	}
	want(4, -1)
	a.note(4, at(0)) // acknowledged before it was noted
	want(4, -1)
	a.note(5, at(0))
	a.note(6, start.Add(time.Millisecond))
	a.note(9, at(1))
	want(4, 0)
	want(5, 0)
	want(6, 1)
	want(9, -1)
	for i := range 3 * maxArrivals {
		a.note(int64(10+i), at(10+i))
	}
	want(9, 10)
	want(10, 11)
	want(10+3*maxArrivals-2, 10+maxArrivals-1) // the marks that did not fit
	want(10+3*maxArrivals-1, -1)
}

// A destination that was away when the writer was made, and is back, is used and
// no longer complained of, also if no row comes.
func TestADestinationThatIsBackBeforeARowComes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var away atomic.Bool
		away.Store(true)
		s := &script{check: func() error {
			if away.Load() {
				return errors.New("away")
			}
			return nil
		}}
		w := scriptedWriter(t, s, Config{})
		time.Sleep(time.Minute)
		if s := w.SyncStatus(); s.State != StateDegraded || s.LastError == nil {
			t.Errorf("while it is away: %+v", s)
		}
		away.Store(false)
		time.Sleep(time.Minute)
		if s := w.SyncStatus(); s.State != StateOK || s.LastError != nil || time.Since(s.Since) > time.Minute {
			t.Errorf("when it is back: %+v", s)
		}
		n := w.Stats().Runs[ReasonRetry]
		time.Sleep(time.Hour)
		if w.Stats().Runs[ReasonRetry] != n {
			t.Errorf("it goes on asking: %v", w.Stats().Runs)
		}
		mustStop[item](t, w)
	})
}

func TestSinceWhenAStateLasts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		s := &script{write: func(context.Context, []string) error { <-gate; return nil }}
		w := scriptedWriter(t, s, Config{MaxRows: 2, SyncBatchSize: 2, SyncInterval: time.Hour})
		want := func(state State, since time.Duration) {
			t.Helper()
			synctest.Wait()
			if s := w.SyncStatus(); s.State != state || time.Since(s.Since) != since {
				t.Errorf("%s for %v, want %s for %v", s.State, time.Since(s.Since), state, since)
			}
		}
		time.Sleep(time.Hour)
		addNames(t, w, 0, 1)
		time.Sleep(time.Second)
		want(StateOK, time.Hour+time.Second)
		if w.Stats().MemoryBytes == 0 {
			t.Error("no memory before the first run")
		}
		addNames(t, w, 1, 1)
		time.Sleep(time.Minute)
		want(StateFull, time.Minute)
		gate <- struct{}{}
		time.Sleep(time.Minute)
		want(StateOK, time.Minute)
		go func() { _ = w.ForceSync(t.Context()) }()
		addNames(t, w, 2, 1)
		go func() { _ = w.ForceSync(t.Context()) }()
		time.Sleep(time.Minute)
		want(StateSyncing, time.Minute)
		close(gate)
		mustStop[item](t, w)
	})
}
