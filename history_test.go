package memdbwriter

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/memdbwriter/memdbwriter/internal/dest"
	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

var (
	historySeed = flag.Uint64("history.seed", 0, "seed of the random histories, 0 for a new one")
	historyRuns = flag.Int("history.runs", 3, "random histories per destination and writer")
)

// model is what a destination must hold: the rows applied one after another,
// those that break a rule left out.
type model struct {
	rows   map[int64]item
	failed map[int64]int // refused rows by key, those since the last good one
	added  int64
}

func (m *model) add(row item) {
	m.added++
	if row.Name == badName {
		m.failed[row.ID]++
		return
	}
	if old, ok := m.rows[row.ID]; ok {
		row.Stage = old.Stage // insert-only
		if row.Name == old.Name {
			row.Seen = old.Seen // passive: no change by itself
		}
	}
	m.rows[row.ID] = row
	delete(m.failed, row.ID)
}

func (m *model) text() []string {
	var out []string
	for _, id := range slices.Sorted(maps.Keys(m.rows)) {
		r := m.rows[id]
		out = append(out, fmt.Sprintf("%d|%s|%s", r.ID, r.Name, r.Stage))
	}
	return out
}

// flaky makes some attempts fail in ways that pass, before or after they took
// effect: the answer to a COMMIT can get lost.
type flaky struct {
	dest.Sink
	rng func() float64
}

var errFlaky = errors.New("the connection broke, as arranged")

func (f *flaky) Write(ctx context.Context, b *tuple.Batch) (dest.Result, error) {
	if f.rng() < 0.15 {
		return dest.Result{}, errFlaky
	}
	res, err := f.Sink.Write(ctx, b)
	if err == nil && f.rng() < 0.15 {
		return dest.Result{}, errFlaky
	}
	return res, err
}

// Whatever happens in whatever order, the destination ends up with the rows
// applied one after another, every refused row is listed, and at every moment
// each row is in exactly one place.
func TestRandomHistories(t *testing.T) {
	everywhere(t, func(t *testing.T, p *place, open func(Config) Writer[item]) {
		for range *historyRuns {
			seed := *historySeed
			if seed == 0 {
				seed = rand.Uint64()
			}
			t.Logf("-history.seed=%d", seed)
			p.exec(t, "DELETE FROM items")
			history(t, p, open, rand.New(rand.NewPCG(seed, 1)))
		}
	})
}

func history(t *testing.T, p *place, open func(Config) Writer[item], rng *rand.Rand) {
	w := open(Config{
		SyncBatchSize: 1 + rng.IntN(60), SyncInterval: time.Duration(1+rng.IntN(20)) * time.Millisecond,
		MaxRows: 1 + rng.IntN(200), SyncWorkers: 1 + rng.IntN(3),
	})
	faults := rand.New(rand.NewPCG(rng.Uint64(), 2))
	var mu sync.Mutex // several batches may be on their way
	makeFlaky(w, func() float64 {
		mu.Lock()
		defer mu.Unlock()
		return faults.Float64()
	})
	m := model{rows: map[int64]item{}, failed: map[int64]int{}}
	random := func() item {
		row := item{ID: rng.Int64N(80), Name: fmt.Sprint("v", rng.IntN(1000)), Stage: fmt.Sprint("s", rng.IntN(1000)), Seen: testTime}
		if rng.IntN(25) == 0 {
			row.Name = badName
		}
		return row
	}
	for range 60 {
		switch rng.IntN(6) {
		case 0, 1, 2:
			for range rng.IntN(50) {
				row := random()
				mustAdd(t, w, row)
				m.add(row)
			}
		case 3:
			rows := make([]item, rng.IntN(300))
			for i := range rows {
				rows[i] = random()
			}
			n, err := w.AddBatch(patient(t), rows)
			if n != len(rows) || err != nil {
				t.Fatal(n, err)
			}
			for _, row := range rows {
				m.add(row)
			}
		case 4:
			row := random()
			if err := w.TryAdd(row); err == nil {
				m.add(row)
			} else if !errors.Is(err, ErrBufferFull) {
				t.Fatal(err)
			}
		case 5:
			if err := w.ForceSync(patient(t)); err != nil && !errors.Is(err, ErrRowsFailed) {
				t.Fatal(err)
			}
			wantRows(t, p, "SELECT id, name, stage FROM items ORDER BY id", m.text()...)
		}
		wantBalance(t, w.SyncStatus())
	}
	m.check(t, p, w)
}

// check drains the writer and compares everything.
func (m *model) check(t *testing.T, p *place, w Writer[item]) {
	t.Helper()
	if err := w.ForceSync(patient(t)); (err != nil) != (len(m.failed) > 0) || err != nil && !errors.Is(err, ErrRowsFailed) {
		t.Fatalf("%d keys have refused rows, ForceSync returned %v", len(m.failed), err)
	}
	failed := map[int64]int{}
	for f, err := range w.SyncErrors() {
		if err != nil {
			t.Fatal(err)
		}
		failed[f.Row.ID]++
	}
	if !maps.Equal(failed, m.failed) {
		t.Errorf("refused rows by key %v, want %v", failed, m.failed)
	}
	wantRows(t, p, "SELECT id, name, stage FROM items ORDER BY id", m.text()...)
	s := w.SyncStatus()
	wantBalance(t, s)
	if s.Total != m.added || s.Pending != 0 {
		t.Errorf("%d rows added, status %+v", m.added, s)
	}
	abandon(w)
}

// makeFlaky puts faults between a writer and its sink, and makes it impatient.
// Nothing was added yet, so nobody uses either.
func makeFlaky(w Writer[item], rng func() float64) {
	var c *core
	switch w := w.(type) {
	case *MemoryDBWriter[item]:
		c = w.engine.core
	case *BatchDBWriter[item]:
		c = w.core
	}
	c.sink = &flaky{c.sink, rng}
	c.cfg.RetryMaxDelay = time.Millisecond
}
