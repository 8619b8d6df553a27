package memdbwriter

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/memdbwriter/memdbwriter/internal/faultproxy"
	"github.com/memdbwriter/memdbwriter/internal/pgtest"
)

var (
	chaosFor  = flag.Duration("chaos.for", 10*time.Second, "how long the chaos test runs")
	chaosSeed = flag.Uint64("chaos.seed", 0, "seed of what the chaos test does, in which order, 0 for a new one; when it takes effect is up to chance")
)

// chaos is a writer, the server that it writes to, everything that can go wrong
// between them, and the model of what must come of it.
type chaos struct {
	*testing.T
	rng    *rand.Rand
	server *pgtest.Server
	proxy  *faultproxy.Proxy
	place  *place
	w      Writer[item]
	log    *failures
	model  model
	frozen bool
	done   map[string]int // how often each thing happened
}

// Whatever happens to rows, server, network and writer, in whatever order, no
// row is lost, doubled or stale once the trouble is over.
func TestChaos(t *testing.T) {
	seed := *chaosSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("-chaos.seed=%d", seed)
	server := pgtest.Start(t)
	c := &chaos{T: t, rng: rand.New(rand.NewPCG(seed, 3)), server: server, model: newModel(), done: map[string]int{}}
	c.place, c.proxy = behindProxy(t, server.Open(t))
	t.Cleanup(func() { c.heal() })
	c.open()
	actions := []func(){
		c.add, c.add, c.add, c.add, c.addBatch, c.addBatch, c.tryAdd, c.sync, c.retry,
		c.breakLine, c.breakLine, c.slow, c.refuse, c.freeze, c.kill, c.stopServer, c.verify, c.verify, c.reopen,
	}
	reported := time.Now()
	for begin := time.Now(); time.Since(begin) < *chaosFor && !t.Failed(); {
		actions[c.rng.IntN(len(actions))]()
		wantBalance(t, c.w.SyncStatus())
		if time.Since(reported) > time.Minute {
			reported = time.Now()
			t.Logf("%v: %v", time.Since(begin).Round(time.Second), c.done)
		}
	}
	c.verify()
	t.Logf("the end: %v", c.done)
}

func (c *chaos) did(what string, n int) { c.done[what] += n }

func (c *chaos) open() {
	c.log = newFailures()
	c.w = openImpatient(c.T, c.place, Config{
		SyncBatchSize: 1 + c.rng.IntN(200), SyncInterval: time.Duration(1+c.rng.IntN(100)) * time.Millisecond,
		MaxRows: 1_000_000, SyncWorkers: 1 + c.rng.IntN(4), SyncTimeout: time.Second, Logger: slog.New(c.log),
	})
}

func (c *chaos) row() item {
	row := item{ID: c.rng.Int64N(400), Name: fmt.Sprint("v", c.rng.IntN(100_000)), Stage: fmt.Sprint("s", c.rng.IntN(1000)), Seen: testTime}
	if c.rng.IntN(100) == 0 {
		row.Name = badName
	}
	return row
}

func (c *chaos) add() {
	n := c.rng.IntN(300)
	for range n {
		row := c.row()
		mustAdd(c.T, c.w, row)
		c.model.add(row)
	}
	c.did("rows", n)
}

func (c *chaos) addBatch() {
	rows := make([]item, c.rng.IntN(1000))
	for i := range rows {
		rows[i] = c.row()
		c.model.add(rows[i])
	}
	if n, err := c.w.AddBatch(patient(c.T), rows); n != len(rows) || err != nil {
		c.Fatalf("AddBatch took %d of %d: %v", n, len(rows), err)
	}
	c.did("rows", len(rows))
}

func (c *chaos) tryAdd() {
	row := c.row()
	if err := c.w.TryAdd(row); err != nil {
		c.Fatal(err)
	}
	c.model.add(row)
	c.did("rows", 1)
}

// sync is a ForceSync that may run out of time.
func (c *chaos) sync() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(c.rng.IntN(300))*time.Millisecond)
	defer cancel()
	if err := c.w.ForceSync(ctx); err != nil && !errors.Is(err, ErrRowsFailed) && !errors.Is(err, ErrUnsynced) {
		c.Fatal(err)
	}
	c.did("syncs", 1)
}

func (c *chaos) retry() {
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	stored, err := c.w.RetrySyncErrors(ctx)
	if stored != 0 || err != nil && !errors.Is(err, ErrRowsFailed) && !errors.Is(err, ErrUnsynced) && !errors.Is(err, context.DeadlineExceeded) {
		c.Fatalf("%d bad rows were stored: %v", stored, err)
	}
	c.did("retries", 1)
}

func (c *chaos) breakLine() {
	all := everyFault()
	fault := all[c.rng.IntN(len(all))]
	fault.After = c.rng.IntN(5000)
	c.proxy.Break(fault)
	if fault.At <= faultproxy.Query || c.rng.IntN(4) == 0 {
		c.proxy.Drop()
	}
	c.did(fmt.Sprint(fault.At, " ", fault.Do), 1)
}

func (c *chaos) slow() {
	c.proxy.Shape(faultproxy.Shape{
		ToServer: time.Duration(c.rng.IntN(30)) * time.Millisecond, ToClient: time.Duration(c.rng.IntN(30)) * time.Millisecond,
	})
	c.did("slow", 1)
}

func (c *chaos) refuse() {
	c.proxy.Refuse()
	c.proxy.Drop()
	c.did("refused", 1)
}

func (c *chaos) freeze() {
	if !c.frozen {
		c.server.Freeze()
		c.frozen = true
		c.did("frozen", 1)
	}
}

func (c *chaos) thaw() {
	if c.frozen {
		c.server.Thaw()
		c.frozen = false
	}
}

func (c *chaos) kill() {
	c.server.Kill()
	c.frozen = false
	c.server.Restart()
	c.did("killed", 1)
}

func (c *chaos) stopServer() {
	c.thaw()
	c.server.Stop(pgtest.Fast)
	c.add()
	c.server.Restart()
	c.did("stopped", 1)
}

// heal ends all trouble.
func (c *chaos) heal() {
	c.thaw()
	if err := c.proxy.Mend(); err != nil {
		c.Fatal(err)
	}
	c.proxy.Shape(faultproxy.Shape{})
	c.proxy.Drop()
}

// verify ends all trouble and compares the table with the model.
func (c *chaos) verify() {
	c.heal()
	if err := c.w.ForceSync(patient(c.T)); err != nil && !errors.Is(err, ErrRowsFailed) {
		c.Fatal(err)
	}
	c.model.compare(c.T, c.place, c.w)
	c.did("verified", 1)
}

// reopen stops the writer, which leaves nothing behind but refused rows, and
// opens another one.
func (c *chaos) reopen() {
	c.heal()
	if err := c.w.Stop(patient(c.T)); err != nil && !errors.Is(err, ErrRowsFailed) {
		c.Fatal(err)
	}
	wantBalance(c.T, c.w.SyncStatus())
	wantRows(c.T, c.place, "SELECT id, name, stage FROM items ORDER BY id", c.model.text()...)
	c.model.failed, c.model.added = map[int64]int{}, 0
	c.open()
	c.did("reopened", 1)
}

// compare checks table, refused rows and ledger of a writer that is drained.
func (m *model) compare(t *testing.T, p *place, w Writer[item]) {
	t.Helper()
	failed := map[int64]int{}
	for f, err := range w.SyncErrors() {
		if err != nil {
			t.Fatal(err)
		}
		failed[f.Row.ID]++
	}
	if fmt.Sprint(failed) != fmt.Sprint(m.failed) {
		t.Errorf("refused rows by key %v, want %v", failed, m.failed)
	}
	wantRows(t, p, "SELECT id, name, stage FROM items ORDER BY id", m.text()...)
	s := w.SyncStatus()
	wantBalance(t, s)
	if s.Total != m.added || s.Pending != 0 {
		t.Errorf("%d rows added, status %+v", m.added, s)
	}
}
