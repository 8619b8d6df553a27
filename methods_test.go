package memdbwriter

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/memdbwriter/memdbwriter/internal/dest"
	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

var (
	methodsFor  = flag.Duration("methods.for", 4*time.Second, "how long the test of all methods at once runs")
	pairsRounds = flag.Int("pairs.rounds", 15, "how often each two methods are started together")
)

// fickle is a sink that fails, refuses rows and takes its time at random. It
// heeds its context and counts the rows that it has stored.
type fickle struct {
	well   atomic.Bool // from now on it takes all rows but the bad ones
	stored atomic.Int64
}

func (f *fickle) Close() error { return nil }

func (f *fickle) Check(context.Context) error {
	if !f.well.Load() && rand.IntN(4) == 0 {
		return errors.New("away")
	}
	return nil
}

func (f *fickle) Write(ctx context.Context, b *tuple.Batch) (dest.Result, error) {
	if !f.well.Load() {
		if err := f.trouble(ctx); err != nil {
			return dest.Result{}, err
		}
	}
	for i := range b.Rows {
		if name, _ := tuple.Field(b.Tuple(i), 1); string(name) == badName {
			return dest.Result{}, &dest.Error{Class: dest.ClassRow, Row: i - rand.IntN(2)*(i+1), SQLState: "23514", Err: errors.New("bad")}
		}
	}
	f.stored.Add(int64(b.Len()))
	return dest.Result{Way: dest.Upsert, RoundTrips: 1}, nil
}

func (f *fickle) trouble(ctx context.Context) error {
	switch rand.IntN(40) {
	case 0:
		return errors.New("connection reset")
	case 1:
		return &dest.Error{Class: dest.ClassTable, Row: -1, SQLState: "42P01", Err: errors.New("no such table")}
	case 2:
		<-ctx.Done()
		return ctx.Err()
	case 3, 4, 5, 6:
		time.Sleep(time.Duration(rand.IntN(5000)) * time.Microsecond)
	}
	return nil
}

// method is one of a writer. It checks what holds for a call at any time; its
// error is one of those that its contract names.
type method[W any] struct {
	name string
	call func(context.Context, W) error
}

// methods are those of both writers.
var methods = []method[Writer[item]]{
	{"Add", func(ctx context.Context, w Writer[item]) error { return w.Add(ctx, anyItem()) }},
	{"TryAdd", func(_ context.Context, w Writer[item]) error { return w.TryAdd(anyItem()) }},
	{"AddBatch", func(ctx context.Context, w Writer[item]) error {
		rows := make([]item, rand.IntN(50))
		for i := range rows {
			rows[i] = anyItem()
		}
		n, err := w.AddBatch(ctx, rows)
		if (n == len(rows)) != (err == nil) {
			return fmt.Errorf("AddBatch took %d of %d rows and said: %v", n, len(rows), err)
		}
		return err
	}},
	{"ForceSync", func(ctx context.Context, w Writer[item]) error { return w.ForceSync(ctx) }},
	{"RetrySyncErrors", func(ctx context.Context, w Writer[item]) error { _, err := w.RetrySyncErrors(ctx); return err }},
	{"DiscardSyncErrors", func(ctx context.Context, w Writer[item]) error {
		_, err := w.DiscardSyncErrors(ctx)
		return err
	}},
	{"RetryFailed", func(ctx context.Context, w Writer[item]) error {
		_, err := w.RetryFailed(ctx, []int64{1, 2, 3})
		return err
	}},
	{"DiscardFailed", func(ctx context.Context, w Writer[item]) error {
		_, err := w.DiscardFailed(ctx, []int64{1, 2, 3})
		return err
	}},
	{"SyncErrors", func(_ context.Context, w Writer[item]) error {
		for _, err := range w.SyncErrors() {
			if err != nil {
				return err
			}
		}
		return nil
	}},
	{"SyncStatus", func(_ context.Context, w Writer[item]) error { return soundStatus(w.SyncStatus()) }},
	{"Stats", func(_ context.Context, w Writer[item]) error { return soundStatus(w.Stats().SyncStatus) }},
	{"Stop", func(ctx context.Context, w Writer[item]) error { return w.Stop(ctx) }},
}

// memoryMethods are those that only the MemoryDBWriter has.
var memoryMethods = []method[*MemoryDBWriter[item]]{
	{"Persist", func(ctx context.Context, w *MemoryDBWriter[item]) error { return w.Persist(ctx) }},
	{"Checkpoint", func(ctx context.Context, w *MemoryDBWriter[item]) error { _, err := w.Checkpoint(ctx); return err }},
	{"Pause", func(_ context.Context, w *MemoryDBWriter[item]) error {
		err := w.Pause("for a moment")
		time.Sleep(time.Millisecond)
		w.Resume()
		return err
	}},
	{"Pending", func(ctx context.Context, w *MemoryDBWriter[item]) error {
		for _, err := range w.Pending(ctx) {
			if err != nil {
				return err
			}
		}
		return nil
	}},
	{"Query", func(ctx context.Context, w *MemoryDBWriter[item]) error {
		_, err := w.Query(ctx, "SELECT count(*), max(name) FROM items")
		return err
	}},
}

// methodsOf are all of one kind of writer.
func methodsOf(kind string) []method[Writer[item]] {
	all := slices.Clone(methods)
	for _, m := range memoryMethods {
		if !writers[kind] {
			all = append(all, method[Writer[item]]{m.name, func(ctx context.Context, w Writer[item]) error {
				return m.call(ctx, w.(*MemoryDBWriter[item]))
			}})
		}
	}
	return all
}

func anyItem() item {
	row := newItem(rand.Int64N(200), fmt.Sprint("v", rand.IntN(1000)))
	if rand.IntN(100) == 0 {
		row.Name = badName
	}
	return row
}

// soundStatus checks a ledger for its sum and its signs.
func soundStatus(s SyncStatus) error {
	sum := s.Pending + s.Synced + s.Superseded + s.Failed + s.Skipped + s.Discarded + s.Lost + s.Deleted
	least := min(s.Total, s.Recovered, s.Pending, s.Synced, s.Superseded, s.Failed, s.Skipped, s.Discarded, s.Lost, s.Deleted)
	if s.Total+s.Recovered != sum || least < 0 || s.Progress < 0 || s.Progress > 100 {
		return fmt.Errorf("the ledger is wrong: %+v", s)
	}
	return nil
}

// promised are the errors that a call may have when nothing is wrong with the
// writer.
var promised = []error{ErrStopped, ErrPaused, ErrBufferFull, ErrUnsynced, ErrRowsFailed, context.DeadlineExceeded, context.Canceled, errHangs}

// callSoon calls a method with a context that ends soon, or has ended.
func callSoon(t *testing.T, w Writer[item], m method[Writer[item]]) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(rand.IntN(20)-3)*time.Millisecond)
	defer cancel()
	hangs := time.AfterFunc(time.Minute, func() { panic(m.name + " does not return though its context has ended") })
	defer hangs.Stop()
	err := m.call(ctx, w)
	if err == nil {
		return
	}
	for _, p := range promised {
		if errors.Is(err, p) {
			return
		}
	}
	t.Errorf("%s: %v", m.name, err)
}

// fickleWriter makes a writer of a kind onto a sink that heeds no deadline but
// those of the caller and, sometimes, of a transaction.
func fickleWriter(t *testing.T, f *fickle, kind, dir string) Writer[item] {
	t.Helper()
	cfg := Config{
		DisableMemoryDB: writers[kind],
		SyncBatchSize:   1 + rand.IntN(50), MaxRows: 20 + rand.IntN(500), MaxBytes: int64(rand.IntN(2)) * 20_000,
		SyncInterval: time.Duration(1+rand.IntN(50)) * time.Millisecond, SyncTimeout: time.Second, RetryMaxDelay: 100 * time.Millisecond,
		SyncWorkers: 1 + rand.IntN(4),
		OnSync:      func(context.Context, SyncEvent) {},
	}
	if !cfg.DisableMemoryDB {
		cfg.CheckpointDir, cfg.Durability = dir, levels[rand.IntN(len(levels))]
	}
	if rand.IntN(2) == 0 && !f.well.Load() {
		cfg.SyncTimeout = time.Hour // a write that hangs hangs until the writer ends
	}
	w, err := Open(patient(t), itemTable(t), &Destination{scripted{f}}, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// closed reports whether Stop was called.
func closed(w Writer[item]) bool { return errors.Is(w.TryAdd(anyItem()), ErrStopped) }

// All methods at once, with a destination that fails at random, on one writer
// after the other: every call returns within its context with an error that its
// contract names, the ledger is right at every moment, and what was taken is
// stored or refused in the end.
func TestAllMethodsAtOnce(t *testing.T) {
	length := *methodsFor
	if testing.Short() {
		length = min(length, time.Second)
	}
	for kind := range writers {
		t.Run(kind, func(t *testing.T) {
			sink, dir := &fickle{}, t.TempDir()
			for end := time.Now().Add(length); time.Now().Before(end) && !t.Failed(); {
				before := sink.stored.Load()
				w := fickleWriter(t, sink, kind, dir)
				allAtOnce(t, w, methodsOf(kind), min(time.Until(end), time.Second))
				if s, stored := w.SyncStatus(), sink.stored.Load()-before; s.Synced > stored {
					t.Errorf("%d rows were stored: %+v", stored, s)
				}
			}
			sink.well.Store(true)
			w := fickleWriter(t, sink, kind, dir)
			if err := w.ForceSync(patient(t)); err != nil && !errors.Is(err, ErrRowsFailed) {
				t.Error(err)
			}
			if _, err := w.DiscardSyncErrors(patient(t)); err != nil {
				t.Error(err)
			}
			mustStop(t, w)
		})
	}
}

// allAtOnce calls all methods of one writer for a while, and then Stop.
func allAtOnce(t *testing.T, w Writer[item], methods []method[Writer[item]], length time.Duration) {
	var calling sync.WaitGroup
	until := time.Now().Add(length)
	for _, m := range methods {
		for range 2 {
			calling.Go(func() {
				for ended := false; !ended; ended = closed(w) {
					if m.name == "Stop" {
						time.Sleep(time.Until(until))
					}
					callSoon(t, w, m)
				}
			})
		}
	}
	calling.Wait()
	w.Stop(patient(t)) // it has ended, however it did
	if s := w.SyncStatus(); soundStatus(s) != nil || s.State != StateStopped {
		t.Errorf("after the end: %+v", s)
	}
}

// Each two methods started together, again and again.
func TestEachTwoMethodsTogether(t *testing.T) {
	rounds := *pairsRounds
	if testing.Short() {
		rounds = min(rounds, 5)
	}
	for kind := range writers {
		methods := methodsOf(kind)
		for i := range methods {
			for j := i; j < len(methods); j++ {
				t.Run(kind+"/"+methods[i].name+"+"+methods[j].name, func(t *testing.T) {
					t.Parallel()
					together(t, kind, methods[i], methods[j], rounds)
				})
			}
		}
	}
}

// together starts two methods together so often.
func together(t *testing.T, kind string, first, second method[Writer[item]], rounds int) {
	sink, dir := &fickle{}, t.TempDir()
	var w Writer[item]
	for round := range rounds {
		if round%20 == 0 || closed(w) {
			if w != nil {
				w.Stop(patient(t))
			}
			w = fickleWriter(t, sink, kind, dir)
		}
		start := make(chan struct{})
		var both sync.WaitGroup
		for _, m := range []method[Writer[item]]{first, second} {
			both.Go(func() {
				<-start
				callSoon(t, w, m)
			})
		}
		close(start)
		both.Wait()
		if err := soundStatus(w.SyncStatus()); err != nil {
			t.Error(err)
		}
	}
	abandon(w)
}
