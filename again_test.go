package memdbwriter

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/memdbwriter/memdbwriter/internal/dest"
	"github.com/memdbwriter/memdbwriter/internal/stage"
)

// signals is a log handler that tells of messages.
type signals struct {
	slog.Handler
	message string
	seen    chan struct{}
}

func (s signals) Handle(_ context.Context, r slog.Record) error {
	if r.Message == s.message {
		signal(s.seen)
	}
	return nil
}

// child is a row that needs another.
type child struct {
	ID     int64 `db:"id,key"`
	Parent int64 `db:"parent"`
}

func childPlace(t *testing.T, place func(testing.TB) *place) *place {
	t.Helper()
	p := place(t)
	p.exec(t, "CREATE TABLE parents (id bigint PRIMARY KEY)")
	p.exec(t, "CREATE TABLE children (id bigint PRIMARY KEY, parent bigint NOT NULL REFERENCES parents)")
	return p
}

// A row whose parent is missing is stored by itself once the parent is there.
func TestAFailedRowIsStoredWhenItsCauseIsGone(t *testing.T) {
	t.Parallel()
	for name, place := range places {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := childPlace(t, place)
			log := signals{slog.DiscardHandler, "failed rows are stored now", make(chan struct{}, 1)}
			w := openWriter(t, mustTable[child](t, "children"), p.Destination, Config{
				FailedRetryDelay: time.Millisecond, Logger: slog.New(enabled{log}),
			})
			mustAdd(t, w, child{1, 10}, child{2, 20}, child{3, 10})
			p.exec(t, "INSERT INTO parents VALUES (20)")
			if err := w.ForceSync(patient(t)); !errors.Is(err, ErrRowsFailed) {
				t.Fatal(err)
			}
			p.exec(t, "INSERT INTO parents VALUES (10)")
			select {
			case <-log.seen:
			case <-patient(t).Done():
				t.Fatal("the rows are not tried again")
			}
			mustSync(t, w)
			s := w.SyncStatus()
			wantBalance(t, s)
			if s.Failed != 0 || s.Synced != 3 {
				t.Errorf("%+v", s)
			}
			wantRows(t, p, "SELECT id FROM children ORDER BY id", "1", "2", "3")
		})
	}
}

// So many rows failed that nothing more is sent; that ends by itself.
func TestSendingGoesOnWhenThereIsRoomForFailedRows(t *testing.T) {
	t.Parallel()
	p := childPlace(t, postgresPlace)
	w := openWriter(t, mustTable[child](t, "children"), p.Destination, Config{
		FailedRetryDelay: time.Millisecond, MaxFailedRows: 2, SyncBatchSize: 2, RetryMaxDelay: time.Hour,
	})
	mustAdd(t, w, child{1, 10}, child{2, 10}, child{3, 10}, child{4, 10})
	if err := w.ForceSync(patient(t)); err == nil {
		t.Fatal("the rows are stored without a parent")
	}
	p.exec(t, "INSERT INTO parents VALUES (10)")
	ctx := patient(t)
	for w.ForceSync(ctx) != nil {
		if ctx.Err() != nil {
			t.Fatal("sending does not go on")
		}
	}
	wantRows(t, p, "SELECT count(*) FROM children", "4")
}

// The pause of a row doubles up to a limit.
func TestPausesOfFailedRows(t *testing.T) {
	last := time.Now()
	for attempts, pause := range map[int]int{0: 1, 1: 1, 2: 2, 3: 4, 7: 64, 8: 64, 1000: 64} {
		f := &stage.Failure{Last: last, Attempts: attempts}
		at := last.Add(time.Duration(pause) * time.Minute)
		if dueAgain(f, time.Minute, at.Add(-time.Second)) || !dueAgain(f, time.Minute, at) {
			t.Errorf("after %d attempts: not %d minutes", attempts, pause)
		}
		if !dueAgain(f, time.Minute, last.Add(-time.Second)) {
			t.Errorf("after %d attempts: a clock that was set back has to catch up", attempts)
		}
	}
}

// A failed row is tried again soon, whatever the clock said when it failed.
func TestAFailedRowAndAClockThatIsSetBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var good atomic.Bool
		s := &script{write: func(context.Context, []string) error {
			if !good.Load() {
				return dest.RowErrorf(0, "name", "23514", "bad")
			}
			return nil
		}}
		w := scriptedWriter(t, s, Config{FailedRetryDelay: time.Minute})
		addNames(t, w, 0, 1)
		wantError(t, w.ForceSync(t.Context()), ErrRowsFailed)
		failed, err := w.engine.store.Failures(0, 1)
		if err != nil || len(failed) != 1 {
			t.Fatal(failed, err)
		}
		failed[0].Last = failed[0].Last.Add(24 * time.Hour)
		if err := w.engine.store.Amend(nil, failed); err != nil {
			t.Fatal(err)
		}
		good.Store(true)
		time.Sleep(3 * time.Minute)
		if s := w.SyncStatus(); s.Synced != 1 {
			t.Errorf("%+v", s)
		}
		mustStop[item](t, w)
	})
}

// Pauses and deadlines in a process are of the monotonic clock, and so are the
// times that it shows: they have its reading (Go's String ends with it), which
// conversions between zones, rounding and storing take away.
func TestTimesHaveTheMonotonicClock(t *testing.T) {
	s := &script{write: func(context.Context, []string) error { return errFlaky }}
	w := scriptedWriter(t, s, Config{MaxRows: 1, SyncBatchSize: 1, CheckpointDir: t.TempDir()})
	addNames(t, w, 0, 1)
	for w.Stats().Retries == 0 {
		time.Sleep(time.Millisecond)
	}
	abandon[item](w)
	status := w.SyncStatus()
	tally, syncer := w.engine.tally, w.engine.syncer
	for name, at := range map[string]time.Time{
		"the age of a row": syncer.arrivals.marks[0].at, "the state": status.Since, "the last error": status.LastErrorAt,
		"the uptime": tally.started, "the full buffer": w.engine.front.turned,
	} {
		if !strings.Contains(at.String(), " m=") {
			t.Errorf("%s: %v", name, at)
		}
	}
}

// Negative is off.
func TestFailedRowsAreLeftAlone(t *testing.T) {
	cfg, err := LoadConfig(map[string]string{"MEMORY_DB_FAILED_RETRY_DELAY": "0"})
	if err != nil || cfg.FailedRetryDelay != -1 {
		t.Fatalf("%v, %v", cfg.FailedRetryDelay, err)
	}
	if cfg, err = cfg.withDefaults(); err != nil || cfg.FailedRetryDelay != -1 {
		t.Errorf("%v, %v", cfg.FailedRetryDelay, err)
	}
}

// enabled lets every message through to a handler.
type enabled struct{ slog.Handler }

func (enabled) Enabled(context.Context, slog.Level) bool { return true }

// A run that is over leaves a batch in flight to the next one. Failed rows that are
// tried again between the two wait for it, and do not have it sent a second time.
func TestTryingAgainDoesNotSendWhatIsInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var inFlight, most atomic.Int64
		s := &script{write: func(ctx context.Context, names []string) error {
			most.Store(max(most.Load(), inFlight.Add(1)))
			defer inFlight.Add(-1)
			time.Sleep(300 * time.Millisecond)
			return refuseBad(ctx, names)
		}}
		w := scriptedWriter(t, s, Config{SyncBatchSize: 1, SyncInterval: time.Hour, FailedRetryDelay: 100 * time.Millisecond})
		mustAdd[item](t, w, newItem(0, badName))
		addNames(t, w, 1, 40)
		time.Sleep(time.Minute)
		if n := most.Load(); n != 1 {
			t.Errorf("%d batches of the only worker were in flight at once", n)
		}
		stored := s.names()
		slices.Sort(stored)
		if len(slices.Compact(slices.Clone(stored))) != len(stored) {
			t.Errorf("rows were sent twice: %v", stored)
		}
		abandon[item](w)
	})
}
