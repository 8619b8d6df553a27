package memdbwriter

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/memdbwriter/memdbwriter/internal/dest"
	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

var (
	methodsFor  = flag.Duration("methods.for", 4*time.Second, "how long the test of all methods at once runs")
	pairsRounds = flag.Int("pairs.rounds", 30, "how often each two methods are started together")
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

// methods are all that a writer has. They check what holds for a call at any
// time; its error is one of those that its contract names.
var methods = []struct {
	name string
	call func(context.Context, *MemoryDBWriter[item]) error
}{
	{"Add", func(ctx context.Context, w *MemoryDBWriter[item]) error { return w.Add(ctx, anyItem()) }},
	{"TryAdd", func(_ context.Context, w *MemoryDBWriter[item]) error { return w.TryAdd(anyItem()) }},
	{"AddBatch", func(ctx context.Context, w *MemoryDBWriter[item]) error {
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
	{"ForceSync", func(ctx context.Context, w *MemoryDBWriter[item]) error { return w.ForceSync(ctx) }},
	{"Persist", func(ctx context.Context, w *MemoryDBWriter[item]) error { return w.Persist(ctx) }},
	{"Checkpoint", func(ctx context.Context, w *MemoryDBWriter[item]) error { _, err := w.Checkpoint(ctx); return err }},
	{"RetrySyncErrors", func(ctx context.Context, w *MemoryDBWriter[item]) error { _, err := w.RetrySyncErrors(ctx); return err }},
	{"DiscardSyncErrors", func(ctx context.Context, w *MemoryDBWriter[item]) error {
		_, err := w.DiscardSyncErrors(ctx)
		return err
	}},
	{"SyncErrors", func(_ context.Context, w *MemoryDBWriter[item]) error {
		for _, err := range w.SyncErrors() {
			if err != nil {
				return err
			}
		}
		return nil
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
	{"SyncStatus", func(_ context.Context, w *MemoryDBWriter[item]) error { return soundStatus(w.SyncStatus()) }},
	{"Stats", func(_ context.Context, w *MemoryDBWriter[item]) error { return soundStatus(w.Stats().SyncStatus) }},
	{"Stop", func(ctx context.Context, w *MemoryDBWriter[item]) error { return w.Stop(ctx) }},
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
var promised = []error{ErrStopped, ErrBufferFull, ErrUnsynced, ErrRowsFailed, context.DeadlineExceeded, context.Canceled, errHangs}

// callSoon calls a method with a context that ends soon, or has ended.
func callSoon(t *testing.T, w *MemoryDBWriter[item], i int) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(rand.IntN(40)-5)*time.Millisecond)
	defer cancel()
	hangs := time.AfterFunc(time.Minute, func() { panic(methods[i].name + " does not return though its context has ended") })
	defer hangs.Stop()
	err := methods[i].call(ctx, w)
	if err == nil {
		return
	}
	for _, p := range promised {
		if errors.Is(err, p) {
			return
		}
	}
	t.Errorf("%s: %v", methods[i].name, err)
}

func fickleWriter(t *testing.T, f *fickle, dir string) *MemoryDBWriter[item] {
	t.Helper()
	w, err := New(patient(t), itemTable(t), &Destination{scripted{f}}, Config{
		SyncBatchSize: 1 + rand.IntN(50), MaxRows: 20 + rand.IntN(500), MaxBytes: int64(rand.IntN(2)) * 20_000,
		SyncInterval: time.Duration(1+rand.IntN(50)) * time.Millisecond, SyncTimeout: time.Second, RetryMaxDelay: 100 * time.Millisecond,
		SyncWorkers: 1 + rand.IntN(4), CheckpointDir: dir, Durability: levels[rand.IntN(len(levels))],
		OnSync: func(context.Context, SyncEvent) {},
	})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// All methods at once, with a destination that fails at random, on one writer
// after the other: every call returns within its context with an error that its
// contract names, the ledger is right at every moment, and what was taken is
// stored or refused in the end.
func TestAllMethodsAtOnce(t *testing.T) {
	length := *methodsFor
	if testing.Short() {
		length = min(length, time.Second)
	}
	sink, dir := &fickle{}, t.TempDir()
	for end := time.Now().Add(length); time.Now().Before(end) && !t.Failed(); {
		stored := sink.stored.Load()
		w := fickleWriter(t, sink, dir)
		var calling sync.WaitGroup
		until := time.Now().Add(min(time.Until(end), time.Second))
		for i := range methods {
			for range 2 {
				calling.Go(func() {
					for {
						if methods[i].name == "Stop" {
							time.Sleep(time.Until(until))
						}
						callSoon(t, w, i)
						if w.engine.front.isClosed() {
							return
						}
					}
				})
			}
		}
		calling.Wait()
		w.Stop(patient(t)) // it has ended, however it did
		s := w.SyncStatus()
		if err := soundStatus(s); err != nil || s.State != StateStopped || s.Synced > sink.stored.Load()-stored {
			t.Errorf("%d rows were stored, %v: %+v", sink.stored.Load()-stored, err, s)
		}
	}
	sink.well.Store(true)
	w := fickleWriter(t, sink, dir)
	if err := w.ForceSync(patient(t)); err != nil && !errors.Is(err, ErrRowsFailed) {
		t.Error(err)
	}
	if _, err := w.DiscardSyncErrors(patient(t)); err != nil {
		t.Error(err)
	}
	mustStop[item](t, w)
}

// Each two methods started together, again and again.
func TestEachTwoMethodsTogether(t *testing.T) {
	rounds := *pairsRounds
	if testing.Short() {
		rounds = min(rounds, 5)
	}
	for i := range methods {
		for j := i; j < len(methods); j++ {
			t.Run(methods[i].name+"+"+methods[j].name, func(t *testing.T) {
				sink, dir := &fickle{}, t.TempDir()
				w := fickleWriter(t, sink, dir)
				for range rounds {
					start := make(chan struct{})
					var both sync.WaitGroup
					for _, k := range []int{i, j} {
						both.Go(func() {
							<-start
							callSoon(t, w, k)
						})
					}
					if rand.IntN(2) == 0 {
						_ = w.TryAdd(anyItem())
					}
					close(start)
					both.Wait()
					if w.engine.front.isClosed() {
						w.Stop(patient(t))
						w = fickleWriter(t, sink, dir)
					}
				}
				if err := soundStatus(w.SyncStatus()); err != nil {
					t.Error(err)
				}
				abandon[item](w)
			})
		}
	}
}
