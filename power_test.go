package memdbwriter

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Machines die, as often as somebody likes: random histories of a writer whose
// disk forgets, at any moment, any part of what was not made durable, while the
// destination, on another machine, has what it has. kill_test.go has real
// processes and a real server; but a process that is killed loses nothing that it
// has written, and dies less often.

var (
	powerLives = flag.Int("power.lives", 120, "how many random histories TestTheMachineDies goes through")
	powerSeed  = flag.Uint64("power.seed", 0, "go through this history only, again and again")
)

// crowded makes whoever has come to a step wait for others, now and then.
var crowded atomic.Bool

func init() {
	atStep = func(string) {
		if crowded.Load() {
			letOthers(1000)
		}
	}
}

func letOthers(most int) {
	for range rand.IntN(2) * rand.IntN(most) {
		runtime.Gosched()
	}
}

var errPower = errors.New("the machine is dead")

// machine is one life of the writer's machine, up to a certain operation of its
// disk or the network.
type machine struct {
	disk  *ssd
	cloud *cloud
	fate  *rand.Rand // what is left of the disk then
	tasks atomic.Int64

	life  context.Context // until it dies, or something hangs
	death sync.Once
	end   context.CancelFunc
	mu    sync.Mutex // held while it dies
	dead  bool
	left  map[string][]byte // when the power comes back
}

// work is called before whatever the machine does. When its time has come, the
// disk and the destination stay as they are.
func (m *machine) work() error {
	letOthers(500)
	if m.tasks.Add(-1) == 0 {
		m.death.Do(func() {
			m.cloud.mu.Lock()
			defer m.cloud.mu.Unlock()
			m.mu.Lock()
			defer m.mu.Unlock()
			m.dead, m.left = true, m.disk.left(m.fate)
			m.end()
		})
	}
	return m.alive()
}

func (m *machine) alive() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.dead {
		return errPower
	}
	return nil
}

// lives are those of processes and machines one after another, and what must be
// true of them.
type lives struct {
	t     *testing.T
	seed  uint64
	rng   *rand.Rand
	cfg   Config
	cloud *cloud
	power bool // machines die; else only processes, which lose nothing that was written

	version int64
	taken   map[int64]int64 // in this life: keys by version
	must    map[int64]int64 // those that must not be lost
	stored  map[int64]int64 // by key, the newest version that the destination had when a machine died
}

func (c *lives) String() string {
	return fmt.Sprintf("seed %d, %s, insert-only %v, power %v", c.seed, c.cfg.Durability, c.cloud.insertOnly, c.power)
}

// TestTheMachineDies shows that what was promised is not lost at any level, that
// no older value replaces a newer one, and that no row without a key is stored
// twice; the latter at level journal only when the process dies, and not the
// machine.
func TestTheMachineDies(t *testing.T) {
	crowded.Store(true)
	t.Cleanup(func() { crowded.Store(false) })
	for i := range uint64(*powerLives) {
		seed := i
		if *powerSeed != 0 {
			seed = *powerSeed
		}
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(seed, 1))
			c := &lives{
				t: t, seed: seed, rng: rng, must: map[int64]int64{}, stored: map[int64]int64{},
				cfg:   Config{Durability: levels[seed/2%2], SyncInterval: time.Hour, SyncBatchSize: 1 + rng.IntN(6), CheckpointInterval: -1, SyncWorkers: 1 + rng.IntN(2)},
				cloud: &cloud{insertOnly: seed%2 == 1, rows: map[int64]int64{}, times: map[int64]int{}, tokens: map[string]bool{}},
				power: seed/4%4 < 3,
			}
			disk := newSSD(t, nil)
			for range 1 + rng.IntN(5) {
				disk = c.live(disk, int64(1+rng.IntN(300)))
			}
			c.live(disk, immortal)
		})
	}
}

// live is a life that ends after so many tasks, or with a drained writer if there
// is no end. It returns the disk that the next one finds.
func (c *lives) live(disk *ssd, tasks int64) *ssd {
	m := &machine{disk: disk, cloud: c.cloud, fate: rand.New(rand.NewPCG(c.rng.Uint64(), 2))}
	m.life, m.end = context.WithTimeout(context.Background(), time.Minute)
	defer m.end()
	m.tasks.Store(tasks)
	m.disk.before, c.cloud.before, c.cloud.alive = m.work, m.work, m.alive
	c.taken = map[int64]int64{}
	cfg := c.cfg
	cfg.CheckpointDir, cfg.fs = m.disk.dir, m.disk
	w, err := New(m.life, itemTable(c.t, c.options()...), &Destination{scripted{&cloudSink{cloud: c.cloud}}}, cfg)
	if err == nil {
		defer abandon[item](w)
		w.engine.disk.page = 2
		if c.rng.IntN(2) == 0 {
			c.check(m, w)
		}
		for n := 0; m.life.Err() == nil && (tasks != immortal || n < 20); n++ {
			c.act(m, w)
		}
	} else if m.alive() == nil {
		c.t.Fatalf("%v: %v", c, err)
	}
	if m.alive() == nil {
		c.check(m, w)
		return nil
	}
	for key, version := range c.cloud.rows {
		c.stored[key] = max(c.stored[key], version)
	}
	if c.power && c.rng.IntN(3) > 0 {
		return newSSD(c.t, m.left)
	}
	return disk
}

const immortal = 1 << 30

func (c *lives) options() []TableOption {
	if c.cloud.insertOnly {
		return []TableOption{OnConflict(ConflictInsertOnly)}
	}
	return nil
}

// act does one of the things that a program does with a writer. That the machine
// dies meanwhile is no error.
func (c *lives) act(m *machine, w *MemoryDBWriter[item]) {
	switch c.rng.IntN(12) {
	default:
		for range 1 + c.rng.IntN(10) {
			c.add(m, w)
		}
	case 0:
		if err := w.ForceSync(m.life); err != nil && !errors.Is(err, ErrRowsFailed) && m.alive() == nil {
			c.t.Errorf("%v: ForceSync: %v", c, err)
		}
	case 1:
		if _, err := w.RetrySyncErrors(m.life); err != nil && !errors.Is(err, ErrRowsFailed) && m.alive() == nil {
			c.t.Errorf("%v: RetrySyncErrors: %v", c, err)
		}
	case 2:
		if c.cfg.Durability != DurabilityJournal || !c.power { // for when the machine dies it promises nothing
			c.promise(m, w.Persist(m.life))
		}
	case 3, 4:
		_, err := w.Checkpoint(m.life)
		c.promise(m, err)
	case 5:
		c.cloud.mu.Lock()
		defer c.cloud.mu.Unlock()
		c.cloud.forgive = !c.cloud.forgive
	}
}

func (c *lives) add(m *machine, w *MemoryDBWriter[item]) {
	kind := "good"
	if c.rng.IntN(8) == 0 {
		kind = badName
	}
	c.version++
	row := newItem(c.rng.Int64N(6), fmt.Sprint(kind, " ", c.version))
	if err := w.Add(m.life, row); err == nil {
		c.taken[c.version] = row.ID
	} else if m.alive() == nil {
		c.t.Errorf("%v: Add: %v", c, err)
	}
}

// promise notes that all rows that were taken in this life are safe.
func (c *lives) promise(m *machine, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.dead:
	case err != nil:
		c.t.Errorf("%v: not safe: %v", c, err)
	default:
		maps.Copy(c.must, c.taken)
	}
}

// check has everything stored, and looks whether that is what must be there.
func (c *lives) check(m *machine, w *MemoryDBWriter[item]) {
	c.cloud.mu.Lock()
	c.cloud.forgive = true
	c.cloud.mu.Unlock()
	err := w.ForceSync(m.life)
	if err == nil || errors.Is(err, ErrRowsFailed) {
		_, err = w.RetrySyncErrors(m.life)
	}
	if m.alive() != nil {
		return
	}
	if s := w.SyncStatus(); err != nil || s.Pending+s.Failed > 0 {
		c.t.Fatalf("%v: %v, %+v", c, err, s)
	}
	want, once := map[int64]int64{}, c.cfg.Durability != DurabilityJournal || !c.power
	for version, key := range c.must {
		want[key] = max(want[key], version)
		if c.cloud.insertOnly && c.cloud.times[version] == 0 {
			c.t.Errorf("%v: version %d is lost", c, version)
		}
	}
	for key, version := range c.stored {
		want[key] = max(want[key], version)
	}
	for key, version := range want {
		if got := c.cloud.rows[key]; got < version && !c.cloud.insertOnly {
			c.t.Errorf("%v: key %d has version %d, which is older than %d", c, key, got, version)
		}
	}
	for version, times := range c.cloud.times {
		if c.cloud.insertOnly && once && times > 1 {
			c.t.Errorf("%v: version %d is there %d times", c, version, times)
		}
	}
}
