package memdbwriter

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/memdbwriter/memdbwriter/internal/dest"
	"github.com/memdbwriter/memdbwriter/internal/sqlitedest"
	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

// recorder is a hook that keeps what it is told.
type recorder struct {
	mu          sync.Mutex
	starts      []BatchStart
	ends        []BatchEnd
	syncs       []SyncEvent
	failed      []RowFailed
	states      []StateChange
	waits       []AddWait
	checkpoints []CheckpointEnd
	recoveries  []Recovered
}

type tracedBy struct{}

func keep[E any](r *recorder, list *[]E, e E) {
	r.mu.Lock()
	defer r.mu.Unlock()
	*list = append(*list, e)
}

func (r *recorder) OnBatchStart(ctx context.Context, b BatchStart) context.Context {
	keep(r, &r.starts, b)
	return context.WithValue(ctx, tracedBy{}, b.Attempt)
}

func (r *recorder) OnBatchEnd(ctx context.Context, b BatchEnd) {
	if ctx.Value(tracedBy{}) != b.Attempt {
		panic("OnBatchEnd has not the context of OnBatchStart")
	}
	keep(r, &r.ends, b)
}
func (r *recorder) OnSyncEnd(_ context.Context, ev SyncEvent)          { keep(r, &r.syncs, ev) }
func (r *recorder) OnRowFailed(_ context.Context, row RowFailed)       { keep(r, &r.failed, row) }
func (r *recorder) OnStateChanged(_ context.Context, c StateChange)    { keep(r, &r.states, c) }
func (r *recorder) OnAddWaited(_ context.Context, w AddWait)           { keep(r, &r.waits, w) }
func (r *recorder) OnCheckpointEnd(_ context.Context, c CheckpointEnd) { keep(r, &r.checkpoints, c) }

func (r *recorder) OnRecovered(_ context.Context, what Recovered) { keep(r, &r.recoveries, what) }

func TestBatchHooksSurroundEachAttempt(t *testing.T) {
	eachWriter(t, func(t *testing.T, open func(*script, Config) Writer[item]) {
		hook, attempts := &recorder{}, 0
		w := open(&script{write: func(ctx context.Context, _ []string) error {
			attempts++
			if ctx.Value(tracedBy{}) != attempts {
				t.Errorf("attempt %d has the context of %v", attempts, ctx.Value(tracedBy{}))
			}
			time.Sleep(time.Second)
			if attempts == 1 {
				return &dest.Error{Class: dest.ClassTransient, Row: -1, SQLState: "40001", Err: errors.New("try again")}
			}
			return nil
		}}, Config{Hooks: []Hook{hook}})
		mustAdd(t, w, newItem(1, "x"), newItem(2, "y"), newItem(3, "z"))
		mustSync(t, w)
		mustStop(t, w)
		if len(hook.starts) != 2 || len(hook.ends) != 2 {
			t.Fatalf("%d starts, %d ends", len(hook.starts), len(hook.ends))
		}
		for i, end := range hook.ends {
			start := hook.starts[i]
			if end.BatchStart != start {
				t.Errorf("attempt %d: start %+v, end %+v", i+1, start, end.BatchStart)
			}
			if start.Reason != ReasonForce && i == 0 {
				t.Errorf("attempt %d: %+v", i+1, start)
			}
			if start.Table != "items" || start.Destination != "scripted" || start.Rows != 3 || start.Bytes == 0 || start.FirstSeq != 1 || start.LastSeq != 3 ||
				start.Attempt != i+1 || start.Run == 0 || start.Start.IsZero() {
				t.Errorf("attempt %d: %+v", i+1, start)
			}
			if end.Duration != time.Second || end.Times.Server != time.Second || end.RoundTrips != 1 {
				t.Errorf("attempt %d: %+v", i+1, end)
			}
		}
		first, second := hook.ends[0], hook.ends[1]
		if first.SQLState != "40001" || !strings.Contains(first.Err.Error(), "items at scripted: try again") || first.Stored != 0 || first.Way != "" {
			t.Errorf("%+v", first)
		}
		if second.Err != nil || second.SQLState != "" || second.Stored != 3 || second.Way != WayDirect || second.Rejected != 0 {
			t.Errorf("%+v", second)
		}
		for _, end := range hook.ends {
			if i := slices.IndexFunc(hook.syncs, func(ev SyncEvent) bool { return ev.Run == end.Run }); i < 0 || hook.syncs[i].Reason != end.Reason {
				t.Errorf("a batch of run %d for %s, runs %+v", end.Run, end.Reason, hook.syncs)
			}
		}
		if _, batch := w.(*BatchDBWriter[item]); !batch && second.Run != first.Run+1 {
			t.Errorf("run %d after run %d", second.Run, first.Run)
		}
		var synced, bytes, trips int64
		for _, ev := range hook.syncs {
			synced, bytes, trips = synced+ev.Synced, bytes+ev.Bytes, trips+ev.RoundTrips
		}
		if last := hook.syncs[len(hook.syncs)-1]; synced != 3 || bytes != second.Bytes || trips != 2 || last.Run == 0 {
			t.Errorf("syncs: %+v", hook.syncs)
		}
	})
}

// A hook can add values to the context of a batch, and nothing else.
func TestABatchHookCannotCancel(t *testing.T) {
	eachWriter(t, func(t *testing.T, open func(*script, Config) Writer[item]) {
		for name, make := range map[string]func(context.Context) context.Context{
			"nil": func(context.Context) context.Context { return nil },
			"cancelled": func(ctx context.Context) context.Context {
				ctx, cancel := context.WithCancel(ctx)
				cancel()
				return ctx
			},
			"foreign": func(context.Context) context.Context { return context.Background() },
		} {
			w := open(&script{write: func(ctx context.Context, _ []string) error {
				if _, bounded := ctx.Deadline(); !bounded {
					t.Errorf("%s: no deadline", name)
				}
				return ctx.Err()
			}}, Config{Hooks: []Hook{startHook(make)}})
			mustAdd(t, w, newItem(1, "x"))
			mustSync(t, w)
			mustStop(t, w)
		}
	})
}

type startHook func(context.Context) context.Context

func (f startHook) OnBatchStart(ctx context.Context, _ BatchStart) context.Context { return f(ctx) }

type endHook func()

func (f endHook) OnBatchEnd(context.Context, BatchEnd) { f() }

// A hook that panics or ends its goroutine in the middle of a batch costs an
// attempt at most.
func TestBatchHooksThatMisbehave(t *testing.T) {
	eachWriter(t, func(t *testing.T, open func(*script, Config) Writer[item]) {
		log := &logbook{}
		w := open(&script{}, Config{Logger: slog.New(log), Hooks: []Hook{
			startHook(func(context.Context) context.Context { panic("start") }), endHook(func() { panic("end") }),
		}})
		mustAdd(t, w, newItem(1, "x"))
		mustSync(t, w)
		mustStop(t, w)
		if s := w.Stats(); s.Synced != 1 || s.Panics != 2 || log.count("ERROR hook panicked") != 2 || !strings.Contains(s.LastPanic.Error(), "OnBatchEnd panicked: end") {
			t.Errorf("%+v", s)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		times := 0
		w := scriptedWriter(t, &script{}, Config{Hooks: []Hook{startHook(func(context.Context) context.Context {
			if times++; times == 1 {
				runtime.Goexit()
			}
			return nil
		})}})
		mustAdd[item](t, w, newItem(1, "x"))
		mustSync[item](t, w)
		mustStop[item](t, w)
		if times != 2 || w.SyncStatus().Synced != 1 {
			t.Errorf("%d attempts, %+v", times, w.SyncStatus())
		}
	})
}

func refuseBad(_ context.Context, names []string) error {
	if i := slices.Index(names, badName); i >= 0 {
		return &dest.Error{Class: dest.ClassRow, Row: i, SQLState: "23514", Constraint: "no_bad", Err: errors.New("it is bad")}
	}
	return nil
}

func TestRowFailedHook(t *testing.T) {
	eachWriter(t, func(t *testing.T, open func(*script, Config) Writer[item]) {
		hook := &recorder{}
		w := open(&script{write: refuseBad}, Config{FailedRetryDelay: -1, Hooks: []Hook{hook}})
		mustAdd(t, w, newItem(1, "x"), newItem(2, badName), newItem(3, "y"))
		if err := w.ForceSync(t.Context()); !errors.Is(err, ErrRowsFailed) {
			t.Fatal(err)
		}
		if _, err := w.RetrySyncErrors(t.Context()); !errors.Is(err, ErrRowsFailed) {
			t.Fatal(err)
		}
		synctest.Wait()
		if len(hook.failed) != 2 {
			t.Fatalf("%d calls", len(hook.failed))
		}
		for i, row := range hook.failed {
			if row.Seq != 2 || row.Attempts != i+1 || row.Err.Constraint != "no_bad" || row.Err.SQLState != "23514" || row.First.IsZero() || row.Last.IsZero() || row.Merged != 0 {
				t.Errorf("%+v", row)
			}
			text, err := row.JSON()
			var object map[string]any
			if err == nil {
				err = json.Unmarshal(text, &object)
			}
			if err != nil || object["id"] != 2.0 || object["name"] != badName || object["note"] != nil || len(object) != 5 {
				t.Errorf("%s, %v", text, err)
			}
		}
		if end := hook.ends[0]; end.Rejected != 1 || end.Stored != 2 || end.Err != nil {
			t.Errorf("%+v", end)
		}
		if _, err := w.DiscardSyncErrors(t.Context()); err != nil {
			t.Fatal(err)
		}
		if s := w.Stats(); s.Failed != 0 || s.Rejected != 1 || s.Refusals["23"] < 2 {
			t.Errorf("%+v", s)
		}
		mustStop(t, w)
	})
}

// Rejected rows whose hook is slow are counted, not kept without bound.
func TestRejectedRowsThatWaitAreBounded(t *testing.T) {
	const n = 3*maxFailedEvents + 7
	block, calls, total := make(chan struct{}), 0, int64(0)
	queue := newEvents(&hooks{rowFailed: []HookRowFailed{failedHook(func(row RowFailed) {
		<-block
		calls++
		total += 1 + row.Merged
	})}}, slog.New(slog.DiscardHandler), "t", &panics{})
	for seq := int64(0); seq < n; {
		var rows []RowFailed
		for range min(5000, n-seq) {
			rows = append(rows, RowFailed{Seq: seq})
			seq++
		}
		queue.emit(newRowsFailed(rows))
	}
	close(block)
	if err := queue.close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if calls != maxFailedEvents || total != n {
		t.Errorf("%d calls for %d rows", calls, total)
	}
}

type failedHook func(RowFailed)

func (f failedHook) OnRowFailed(_ context.Context, row RowFailed) { f(row) }

func TestStateChangedHook(t *testing.T) {
	eachWriter(t, func(t *testing.T, open func(*script, Config) Writer[item]) {
		hook, away := &recorder{}, true
		w := open(&script{write: func(context.Context, []string) error {
			if away {
				away = false
				return &dest.Error{Class: dest.ClassTransient, Row: -1, Err: errors.New("away")}
			}
			return nil
		}}, Config{Hooks: []Hook{hook}})
		mustAdd(t, w, newItem(1, "x"))
		mustSync(t, w)
		mustStop(t, w)
		var seen []State
		for i, c := range hook.states {
			if i > 0 && c.From != hook.states[i-1].To || c.Since.IsZero() || (c.To == StateDegraded) != (c.Err != nil) {
				t.Errorf("%+v", c)
			}
			seen = append(seen, c.To)
		}
		if !slices.Contains(seen, StateDegraded) || !slices.Contains(seen, StateOK) || seen[len(seen)-1] != StateStopped || hook.states[0].From != StateOK {
			t.Errorf("states %v", seen)
		}
	})
}

func TestAddWaitedHook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hook := &recorder{}
		w := scriptedWriter(t, &script{write: func(context.Context, []string) error { time.Sleep(time.Second); return nil }},
			Config{MaxRows: 2, Hooks: []Hook{hook}})
		mustAdd[item](t, w, newItem(1, "x"), newItem(2, "x"), newItem(3, "x"))
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if n, err := w.AddBatch(ctx, []item{newItem(4, "x"), newItem(5, "x"), newItem(6, "x")}); err == nil || n != 1 {
			t.Errorf("AddBatch: %d, %v", n, err)
		}
		mustStop[item](t, w)
		if len(hook.waits) != 2 || hook.waits[0].Rows != 1 || hook.waits[0].Waited < time.Second || hook.waits[0].Err != nil ||
			hook.waits[1].Rows != 2 || hook.waits[1].Waited != time.Millisecond || !errors.Is(hook.waits[1].Err, context.DeadlineExceeded) {
			t.Errorf("%+v", hook.waits)
		}
		if !slices.ContainsFunc(hook.states, func(c StateChange) bool { return c.To == StateFull }) {
			t.Errorf("states: %+v", hook.states)
		}
	})
}

func TestCheckpointAndRecoveredHooks(t *testing.T) {
	hook := &recorder{}
	away := &script{write: func(_ context.Context, names []string) error {
		if err := refuseBad(t.Context(), names); err != nil {
			return err
		}
		return &dest.Error{Class: dest.ClassTransient, Row: -1, Err: errors.New("away")}
	}}
	cfg := Config{CheckpointDir: t.TempDir(), Hooks: []Hook{hook}}
	w := scriptedWriter(t, away, cfg)
	mustAdd[item](t, w, newItem(1, "x"), newItem(2, "y"))
	path, err := w.Checkpoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := w.Stop(ctx); !errors.Is(err, ErrUnsynced) {
		t.Fatal(err)
	}
	next := &recorder{}
	cfg.Hooks = []Hook{next}
	w = scriptedWriter(t, &script{}, cfg)
	mustStop[item](t, w)
	if len(hook.checkpoints) == 0 || hook.checkpoints[0].Path != path || hook.checkpoints[0].Rows != 2 || hook.checkpoints[0].Bytes == 0 || hook.checkpoints[0].Err != nil {
		t.Errorf("checkpoints: %+v", hook.checkpoints)
	}
	if len(hook.recoveries) != 0 || len(next.recoveries) != 1 || next.recoveries[0].Rows != 2 || next.recoveries[0].Failed != 0 {
		t.Errorf("recoveries: %+v, %+v", hook.recoveries, next.recoveries)
	}
}

// A hook of which the writer calls no method is a typing mistake.
func TestAHookWithoutAMethodIsAnError(t *testing.T) {
	for _, hook := range []Hook{nil, 7, recorder{}, func(context.Context, SyncEvent) {}} {
		_, err := New(t.Context(), itemTable(t), &Destination{scripted{&script{}}}, Config{Hooks: []Hook{&recorder{}, hook}})
		if !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), "value 1 of Hooks") {
			t.Errorf("%T: %v", hook, err)
		}
	}
}

// Each kind of event that waits while a hook is slow is merged with its like, so
// that few wait and none is forgotten.
func TestWaitingEventsAreMergedByKind(t *testing.T) {
	block, r := make(chan struct{}), &recorder{}
	h := &hooks{}
	h.add(r)
	h.syncEnd = append([]HookSyncEnd{onSync(func(context.Context, SyncEvent) { <-block })}, h.syncEnd...)
	queue := newEvents(h, slog.New(slog.DiscardHandler), "t", &panics{})
	states := []State{StateOK, StateFull, StateDegraded}
	const n = 10 * maxEvents
	for i := range n {
		queue.emit(&SyncEvent{Synced: 1, Run: int64(i)})
		queue.emit(&StateChange{From: states[i%3], To: states[(i+1)%3]})
		queue.emit(&AddWait{Rows: 2, Waited: time.Second})
		queue.emit(&CheckpointEnd{Rows: int64(i)})
	}
	if len(queue.queue) > maxEvents+8 {
		t.Errorf("%d events wait", len(queue.queue))
	}
	close(block)
	if err := queue.close(t.Context()); err != nil {
		t.Fatal(err)
	}
	var syncs, changes, waits, checkpoints int64
	for _, ev := range r.syncs {
		syncs += 1 + ev.Merged
	}
	for i, c := range r.states {
		changes += 1 + c.Merged
		if i > 0 && c.From != r.states[i-1].To {
			t.Errorf("change %d begins with %v, not %v", i, c.From, r.states[i-1].To)
		}
	}
	for _, w := range r.waits {
		waits += 1 + w.Merged
		if w.Rows != 2*(1+w.Merged) || w.Waited != time.Duration(1+w.Merged)*time.Second {
			t.Errorf("%+v", w)
		}
	}
	for _, c := range r.checkpoints {
		checkpoints += 1 + c.Merged
	}
	if syncs != n || changes != n || waits != n || checkpoints != n || r.checkpoints[len(r.checkpoints)-1].Rows != n-1 {
		t.Errorf("%d syncs, %d changes, %d waits, %d checkpoints of %d", syncs, changes, waits, checkpoints, n)
	}
}

// What a real destination spends its time with is split without a rest, and the
// way tells how the rows got in.
func TestBatchFiguresOfDestinations(t *testing.T) {
	everywhere(t, func(t *testing.T, p *place, open func(Config) Writer[item]) {
		hook := &recorder{}
		w := open(Config{Hooks: []Hook{hook}, FailedRetryDelay: -1})
		mustAdd(t, w, newItem(1, "x"), newItem(2, "y"))
		mustSync(t, w)
		mustAdd(t, w, newItem(2, "z"), newItem(3, badName), newItem(4, "y"))
		if err := w.ForceSync(t.Context()); !errors.Is(err, ErrRowsFailed) {
			t.Fatal(err)
		}
		first, second := hook.ends[0], hook.ends[len(hook.ends)-1]
		if first.Way != WayDirect && first.Way != WayUpsert || first.Stored != 2 || second.Way != WayPass || second.Stored != 2 || second.Rejected != 1 {
			t.Errorf("%+v\n%+v", first, second)
		}
		for _, end := range hook.ends {
			sum := end.Times.Connecting + end.Times.Sending + end.Times.Server
			if end.Times.Connecting <= 0 || end.Times.Server <= 0 || sum > end.Duration {
				t.Errorf("%+v of %v", end.Times, end.Duration)
			}
			if _, file := p.Destination.d.(*sqlitedest.DB); file != (end.Times.Sending == 0) {
				t.Errorf("sending took %v", end.Times.Sending)
			}
		}
		s := w.Stats()
		if s.PassBatches != 1 || s.Times.Connecting < first.Times.Connecting+second.Times.Connecting || s.Times.Acknowledging <= 0 || s.RoundTrips < first.RoundTrips+second.RoundTrips {
			t.Errorf("%+v", s)
		}
	})
}

// goexits is a hook that ends the goroutine of the n-th attempt, before or after it.
type goexits struct{ before, after, starts, ends int }

func (g *goexits) OnBatchStart(ctx context.Context, _ BatchStart) context.Context {
	if g.starts++; g.starts == g.before {
		runtime.Goexit()
	}
	return ctx
}

func (g *goexits) OnBatchEnd(context.Context, BatchEnd) {
	if g.ends++; g.ends == g.after {
		runtime.Goexit()
	}
}

// A hook that ends its goroutine while failed rows are tried again, as t.FailNow
// does, ends that attempt and nothing else, and what the attempt has stored counts.
func TestAHookThatEndsTheGoroutineOfARetry(t *testing.T) {
	for _, h := range []goexits{{before: 2}, {after: 2}} {
		eachWriter(t, func(t *testing.T, open func(*script, Config) Writer[item]) {
			hook, s := h, &script{write: refuseBad}
			w := open(s, Config{FailedRetryDelay: -1, SyncInterval: time.Second, Hooks: []Hook{&hook}})
			mustAdd(t, w, newItem(1, badName))
			wantError(t, w.ForceSync(t.Context()), ErrRowsFailed)
			s.write = nil
			hook.starts, hook.ends = 1, 1
			if _, err := w.RetrySyncErrors(patient(t)); !errors.Is(err, errGoroutineEnded) {
				t.Errorf("RetrySyncErrors: %v", err)
			}
			if st, stored := w.SyncStatus(), int64(len(s.stored())); st.Synced != stored || st.Failed != 1-stored || (h.after > 0) != (stored == 1) {
				t.Errorf("%d rows are stored, %+v", stored, st)
			}
			mustAdd(t, w, newItem(2, "x"))
			if err := w.ForceSync(patient(t)); err != nil && !errors.Is(err, ErrRowsFailed) {
				t.Error(err)
			}
			if _, err := w.RetrySyncErrors(patient(t)); err != nil {
				t.Error(err)
			}
			mustStop(t, w)
			if got := len(s.stored()); got != 2 {
				t.Errorf("%d batches stored", got)
			}
		})
	}
}

// So does what ends the goroutine in which it is looked whether the destination is
// back.
func TestALookWhoseGoroutineEnds(t *testing.T) {
	eachWriter(t, func(t *testing.T, open func(*script, Config) Writer[item]) {
		looks := 0
		w := open(&script{check: func() error {
			switch looks++; looks {
			case 1:
				return &dest.Error{Class: dest.ClassTransient, Row: -1, Err: errors.New("away")}
			case 2:
				runtime.Goexit()
			}
			return nil
		}}, Config{})
		for range 2 {
			time.Sleep(time.Minute)
			if err := w.ForceSync(t.Context()); err != nil {
				t.Error(err)
			}
		}
		if st := w.SyncStatus(); looks != 3 || st.State != StateOK {
			t.Errorf("looked %d times, %+v", looks, st)
		}
		mustStop(t, w)
	})
}

// overruled is a destination that takes other rows of their keys for some.
type overruled struct{ script }

func (o *overruled) Write(ctx context.Context, b *tuple.Batch) (dest.Result, error) {
	res, err := o.script.Write(ctx, b)
	res.Superseded = 2
	return res, err
}

// What an attempt has stored are the rows that the destination has because of it.
func TestBatchEndDoesNotCountWhatTheDestinationDropped(t *testing.T) {
	hook := &recorder{}
	w := openWriter(t, itemTable(t), &Destination{scripted{&overruled{}}}, Config{DisableMemoryDB: true, Hooks: []Hook{hook}})
	mustAdd(t, w, newItem(1, "x"), newItem(2, "x"), newItem(3, "x"))
	mustSync(t, w)
	if end := hook.ends[0]; end.Stored != 1 || w.SyncStatus().Synced != 1 {
		t.Errorf("%+v, %+v", end, w.SyncStatus())
	}
}
