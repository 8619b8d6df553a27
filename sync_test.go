package memdbwriter

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/memdbwriter/memdbwriter/internal/dest"
)

// The tests of this file run in a bubble of fake time. An hour costs nothing,
// and what has not happened once everything is idle will not happen.

// reasons collects the reasons of all sync runs.
type reasons struct {
	mu  sync.Mutex
	all []Reason
}

func (r *reasons) add(_ context.Context, ev SyncEvent) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, ev.Reason)
}

func (r *reasons) want(t *testing.T, want ...Reason) {
	t.Helper()
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	if fmt.Sprint(r.all) != fmt.Sprint(want) {
		t.Fatalf("sync runs %v, want %v", r.all, want)
	}
}

func addNames(t *testing.T, w *MemoryDBWriter[item], from, n int) {
	t.Helper()
	for i := from; i < from+n; i++ {
		if err := w.Add(t.Context(), newItem(int64(i), fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
	}
}

func TestIntervalStartsASyncForWhatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r reasons
		w := scriptedWriter(t, &script{}, Config{SyncInterval: 10 * time.Second, OnSync: r.add})
		time.Sleep(35 * time.Second) // nothing waits: nothing happens
		r.want(t)
		addNames(t, w, 0, 3)
		time.Sleep(9 * time.Second)
		r.want(t)
		time.Sleep(2 * time.Second)
		r.want(t, ReasonInterval)
		if s := w.SyncStatus(); s.Synced != 3 {
			t.Errorf("the interval synced %d of 3 rows", s.Synced)
		}
		time.Sleep(time.Minute)
		r.want(t, ReasonInterval)
		mustStop[item](t, w)
		r.want(t, ReasonInterval)
	})
}

func TestAFullBatchStartsASync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r reasons
		s := &script{}
		w := scriptedWriter(t, s, Config{SyncBatchSize: 10, SyncInterval: time.Hour, OnSync: r.add})
		addNames(t, w, 0, 9)
		time.Sleep(time.Minute)
		r.want(t)
		addNames(t, w, 9, 1)
		time.Sleep(time.Second)
		r.want(t, ReasonBatchSize)
		addNames(t, w, 10, 25) // two batches; five rows wait for more
		time.Sleep(time.Second)
		if n := w.SyncStatus().Pending; n != 5 {
			t.Errorf("%d rows wait, want 5", n)
		}
		for _, b := range s.stored() {
			if len(b) != 10 {
				t.Errorf("a batch of %d rows", len(b))
			}
		}
		mustStop[item](t, w)
	})
}

func TestTheLimitStartsASync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r reasons
		w := scriptedWriter(t, &script{}, Config{SyncBatchSize: 1000, MaxRows: 7, SyncInterval: time.Hour, OnSync: r.add})
		addNames(t, w, 0, 6)
		time.Sleep(time.Minute)
		r.want(t)
		addNames(t, w, 6, 1)
		time.Sleep(time.Second)
		r.want(t, ReasonLimit)
		if s := w.SyncStatus(); s.Pending != 0 || s.State != StateOK {
			t.Errorf("after a sync for the limit: %+v", s)
		}
		mustStop[item](t, w)
	})
}

func TestForceAndStopHaveTheirReasons(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r reasons
		w := scriptedWriter(t, &script{}, Config{OnSync: r.add})
		addNames(t, w, 0, 1)
		mustSync[item](t, w)
		addNames(t, w, 1, 1)
		mustStop[item](t, w)
		r.want(t, ReasonForce, ReasonStop)
		if s := w.Stats(); s.Runs[ReasonForce] != 1 || s.Runs[ReasonStop] != 1 || len(s.Runs) != 2 {
			t.Errorf("runs by reason: %v", s.Runs)
		}
	})
}

// A limit in bytes holds as well, and a row larger than it is still taken.
func TestBytesLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var hold atomic.Bool
		hold.Store(true)
		s := &script{write: func(context.Context, []string) error {
			if hold.Load() {
				return errors.New("not now")
			}
			return nil
		}}
		w := scriptedWriter(t, s, Config{MaxBytes: 100})
		if err := w.TryAdd(newItem(1, fmt.Sprintf("%0500d", 1))); err != nil {
			t.Fatalf("a row above the limit into an empty buffer: %v", err)
		}
		if err := w.TryAdd(newItem(2, "small")); !errors.Is(err, ErrBufferFull) {
			t.Fatalf("a row into a full buffer: %v", err)
		}
		hold.Store(false)
		mustSync[item](t, w)
		if err := w.TryAdd(newItem(2, "small")); err != nil {
			t.Fatal(err)
		}
		mustStop[item](t, w)
	})
}

func TestAddWaitsWhileTheBufferIsFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		s := &script{write: func(ctx context.Context, _ []string) error {
			select {
			case <-release:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}}
		w := scriptedWriter(t, s, Config{SyncBatchSize: 5, MaxRows: 10, SyncTimeout: time.Hour})
		addNames(t, w, 0, 10)
		if err := w.TryAdd(newItem(10, "x")); !errors.Is(err, ErrBufferFull) {
			t.Errorf("TryAdd on a full buffer: %v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := w.Add(ctx, newItem(10, "x")); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Add on a full buffer: %v", err)
		}
		if s := w.SyncStatus(); s.State != StateFull || s.Total != 10 {
			t.Errorf("status of a full buffer: %+v", s)
		}
		// However many wait, all of them get in once there is room.
		var waiters sync.WaitGroup
		for i := range 50 {
			waiters.Go(func() {
				if err := w.Add(context.Background(), newItem(int64(100+i), "w")); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		time.Sleep(time.Minute)
		close(release)
		waiters.Wait()
		mustStop[item](t, w)
		st := w.Stats()
		if st.Synced != 60 || st.Waits < 51 || st.WaitTime < 50*time.Minute {
			t.Errorf("%d rows synced, %d waits of %v", st.Synced, st.Waits, st.WaitTime)
		}
	})
}

func TestStopReleasesThoseWhoWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{write: func(ctx context.Context, _ []string) error { <-ctx.Done(); return ctx.Err() }}
		w := scriptedWriter(t, s, Config{MaxRows: 1})
		addNames(t, w, 0, 1)
		added := make(chan error)
		go func() { added <- w.Add(context.Background(), newItem(2, "two")) }()
		forced := make(chan error)
		go func() { forced <- w.ForceSync(context.Background()) }()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := w.Stop(ctx)
		if !errors.Is(err, ErrUnsynced) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Stop with a deadline and a hanging destination: %v", err)
		}
		if err := <-added; !errors.Is(err, ErrStopped) {
			t.Errorf("Add that waited: %v", err)
		}
		if err := <-forced; !errors.Is(err, ErrStopped) {
			t.Errorf("ForceSync that waited: %v", err)
		}
		if err := w.Stop(context.Background()); !errors.Is(err, ErrUnsynced) {
			t.Errorf("a second Stop forgot the outcome of the first: %v", err)
		}
		if st := w.SyncStatus(); st.Pending != 1 || st.State != StateStopped {
			t.Errorf("status: %+v", st)
		}
	})
}

func TestStopWaitsForTheSyncThatRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		s := &script{write: func(context.Context, []string) error { <-release; return nil }}
		w := scriptedWriter(t, s, Config{SyncBatchSize: 2})
		addNames(t, w, 0, 3)
		synctest.Wait() // a batch is on its way
		stopped := make(chan error)
		for range 3 {
			go func() { stopped <- w.Stop(context.Background()) }()
		}
		synctest.Wait()
		close(release)
		for range 3 {
			if err := <-stopped; err != nil {
				t.Error(err)
			}
		}
		if st := w.SyncStatus(); st.Synced != 3 {
			t.Errorf("status: %+v", st)
		}
	})
}

func TestRetryUntilTheDestinationIsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var attempts atomic.Int64
		var down atomic.Bool
		down.Store(true)
		s := &script{write: func(context.Context, []string) error {
			attempts.Add(1)
			if down.Load() {
				return &dest.Error{Class: dest.ClassTransient, Row: -1, SQLState: "57P03", Err: errors.New("starting up")}
			}
			return nil
		}}
		w := scriptedWriter(t, s, Config{SyncBatchSize: 10, RetryMaxDelay: 5 * time.Second})
		addNames(t, w, 0, 20)
		time.Sleep(time.Hour)
		n := attempts.Load()
		if n < 720 || n > 7500 {
			t.Errorf("%d attempts in an hour with pauses of at most 5 s", n)
		}
		st := w.SyncStatus()
		if st.State != StateDegraded || st.LastError == nil || st.Pending != 20 || st.Since.After(time.Now().Add(-59*time.Minute)) {
			t.Errorf("status while the destination is down: %+v", st)
		}
		// Rows that come meanwhile do not make it try more often.
		addNames(t, w, 20, 100)
		synctest.Wait()
		if attempts.Load() > n+1 {
			t.Errorf("%d attempts for rows that came meanwhile", attempts.Load()-n)
		}
		down.Store(false)
		time.Sleep(6 * time.Second)
		synctest.Wait()
		if st := w.SyncStatus(); st.State != StateOK || st.Synced != 120 || st.LastError != nil {
			t.Errorf("status when it is back: %+v", st)
		}
		mustStop[item](t, w)
	})
}

func TestForceSyncSaysWhyNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fault := &dest.Error{Class: dest.ClassTransient, Row: -1, Err: errors.New("connection refused")}
		s := &script{write: func(context.Context, []string) error { return fault }}
		w := scriptedWriter(t, s, Config{})
		addNames(t, w, 0, 2)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		err := w.ForceSync(ctx)
		if !errors.Is(err, ErrUnsynced) || !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, fault) {
			t.Errorf("ForceSync while the destination is down: %v", err)
		}
		fault = &dest.Error{Class: dest.ClassTable, Row: -1, SQLState: "42P01", Err: errors.New("no such table")}
		err = w.ForceSync(context.Background()) // does not wait for somebody to mend it
		if !errors.Is(err, ErrUnsynced) || !errors.Is(err, ErrDestination) {
			t.Errorf("ForceSync without a table: %v", err)
		}
		if st := w.SyncStatus(); st.State != StateBlocked {
			t.Errorf("status without a table: %+v", st)
		}
		if err := w.Stop(context.Background()); !errors.Is(err, ErrUnsynced) || !errors.Is(err, ErrDestination) {
			t.Errorf("Stop without a table: %v", err)
		}
	})
}

// A destination that neither answers nor breaks must not hold a batch for ever.
func TestAHangingBatchIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var attempts atomic.Int64
		s := &script{write: func(ctx context.Context, _ []string) error {
			if attempts.Add(1) == 1 {
				<-ctx.Done()
				return ctx.Err()
			}
			return nil
		}}
		w := scriptedWriter(t, s, Config{SyncTimeout: 30 * time.Second})
		addNames(t, w, 0, 1)
		start := time.Now()
		mustSyncFor(t, w, time.Hour)
		if took := time.Since(start); took < 30*time.Second || took > 31*time.Second {
			t.Errorf("a batch that hung was stored after %v", took)
		}
		mustStop[item](t, w)
	})
}

func mustSyncFor(t *testing.T, w *MemoryDBWriter[item], d time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	if err := w.ForceSync(ctx); err != nil {
		t.Fatal(err)
	}
}

// ForceSync is a barrier on what came before, not on what comes meanwhile.
func TestForceSyncDoesNotWaitForLaterRows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := scriptedWriter(t, &script{write: func(context.Context, []string) error {
			time.Sleep(time.Second)
			return nil
		}}, Config{SyncBatchSize: 5})
		addNames(t, w, 0, 5)
		stop := make(chan struct{})
		var adding sync.WaitGroup
		adding.Go(func() { // more rows than the destination takes
			for i := 5; ; i++ {
				select {
				case <-stop:
					return
				case <-time.After(50 * time.Millisecond):
					addNames(t, w, i, 1)
				}
			}
		})
		mustSync[item](t, w)
		if st := w.SyncStatus(); st.Pending == 0 {
			t.Errorf("ForceSync waited for %d later rows", st.Total-5)
		}
		close(stop)
		adding.Wait()
		mustStop[item](t, w)
	})
}

func TestARowThatTheDatabaseNamesCostsThreeMoreWrites(t *testing.T) {
	for name, named := range map[string]bool{"named": true, "not named": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				writes := 0
				s := &script{write: func(_ context.Context, names []string) error {
					writes++
					for i, n := range names {
						if n != "2345" {
							continue
						}
						if !named {
							i = -1
						}
						return &dest.Error{Class: dest.ClassRow, Row: i, SQLState: "22001", Err: errors.New("too long")}
					}
					return nil
				}}
				w := scriptedWriter(t, s, Config{})
				addNames(t, w, 0, 5000)
				err := w.ForceSync(t.Context())
				if !errors.Is(err, ErrRowsFailed) {
					t.Fatal(err)
				}
				bound := 4
				if !named {
					bound = 1 + 2*13
				}
				if st := w.SyncStatus(); st.Synced != 4999 || st.Failed != 1 || writes > bound {
					t.Errorf("%d writes, at most %d allowed; %+v", writes, bound, st)
				}
				abandon[item](w)
			})
		})
	}
}

// Whoever waited for the last row may ask for the status before the run that
// moved it has ended.
func TestARunThatEndsHasNoRowsOnTheirWay(t *testing.T) {
	run := newTally()
	run.beginRun(ReasonForce)
	if s := run.status(SyncStatus{Pending: 1}, condition{}); s.State != StateSyncing || !s.Syncing {
		t.Errorf("with a row on its way: %+v", s)
	}
	if s := run.status(SyncStatus{Synced: 1}, condition{}); s.State != StateOK || !s.Syncing {
		t.Errorf("when the last row has got there: %+v", s)
	}
}

// Runs that follow each other are one time of syncing, and each has its own share
// of it.
func TestRunsAreBookedByReason(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tally, begin := newTally(), time.Now()
		waiting := SyncStatus{Pending: 1}
		for i, r := range []struct {
			reason Reason
			took   time.Duration
			more   bool
		}{{ReasonForce, time.Second, true}, {ReasonLimit, time.Minute, true}, {ReasonForce, time.Hour, false}} {
			if n := tally.beginRun(r.reason); n != int64(i+1) {
				t.Errorf("run %d has the number %d", i+1, n)
			}
			time.Sleep(r.took)
			tally.endRun(r.reason, r.took, r.more)
			s := tally.status(waiting, condition{})
			if s.Syncing != r.more || (s.State == StateSyncing) != r.more || r.more && !s.Since.Equal(begin) {
				t.Errorf("after run %d: %v since %v", i+1, s.State, s.Since.Sub(begin))
			}
		}
		s := tally.stats()
		if fmt.Sprint(s.Runs) != fmt.Sprint(map[Reason]int64{ReasonForce: 2, ReasonLimit: 1}) ||
			fmt.Sprint(s.RunTime) != fmt.Sprint(map[Reason]time.Duration{ReasonForce: time.Hour + time.Second, ReasonLimit: time.Minute}) {
			t.Errorf("%v, %v", s.Runs, s.RunTime)
		}
	})
}

// Some servers lock an account that fails too often; the sink says which.
func TestARefusedLoginIsNotTriedOften(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var attempts atomic.Int64
		s := &script{write: func(context.Context, []string) error {
			attempts.Add(1)
			return &dest.Error{Class: dest.ClassTable, Row: -1, SQLState: "28P01", Locks: true, Err: errors.New("wrong password")}
		}}
		w := scriptedWriter(t, s, Config{SyncBatchSize: 1, RetryMaxDelay: time.Second})
		addNames(t, w, 0, 1)
		time.Sleep(loginRetryDelay - time.Second)
		addNames(t, w, 1, 1)
		synctest.Wait()
		if n := attempts.Load(); n != 1 || w.SyncStatus().State != StateBlocked {
			t.Errorf("%d logins: %+v", n, w.SyncStatus())
		}
		time.Sleep(2 * time.Second)
		if n := attempts.Load(); n != 2 {
			t.Errorf("%d logins after the pause", n)
		}
		abandon[item](w)
	})
}

// Requests that the destination refuses are round trips, too.
func TestRefusedRequestsAreRoundTrips(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		writes := 0
		s := &script{write: func(_ context.Context, names []string) error {
			writes++
			if len(names) > 1 {
				return dest.RowErrorf(-1, "name", "23514", "bad")
			}
			return nil
		}}
		w := scriptedWriter(t, s, Config{})
		addNames(t, w, 0, 4)
		mustSync[item](t, w)
		if s := w.Stats(); s.RoundTrips != int64(writes) || writes != 7 {
			t.Errorf("%d round trips for %d requests", s.RoundTrips, writes)
		}
		mustStop[item](t, w)
	})
}
