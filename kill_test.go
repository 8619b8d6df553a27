package memdbwriter

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/memdbwriter/memdbwriter/internal/pgtest"
)

// These tests kill a process (SIGKILL) that writes rows as fast as it can, at
// every step of a row's way and at random moments, and look at what the next
// process makes of it. A chain is a row of such lives on one table and one
// directory. After each of them:
//
//   - every row that the dead process was promised is in the table, or a newer
//     one of its key is; a promised row that the database refuses is listed
//   - no key holds anything older than it held before, and no row is twice in a
//     table without a key
//   - nothing is there that was never added, and no refused row twice
//   - refused rows that are tried again, once the database takes them, replace
//     nothing newer
//   - with a journal: if a row was stored, none that came before it is lost
//   - the ledger balances

var (
	killCount = flag.Int("kill.count", 40, "how many processes TestKilledProcesses kills")
	killSeed  = flag.Uint64("kill.seed", 0, "seed of TestKilledProcesses, 0 for a new one")
)

// numberedRow is the row that is added as the n-th: it follows from n.
type numberedRow struct {
	ID      int64  `db:"id,key"`
	Version int64  `db:"version"` // n
	Bad     bool   `db:"bad"`     // the database refuses it
	Pad     string `db:"pad"`
}

const (
	// perLife is how far the numbers of one life are from those of the next.
	perLife = 1_000_000_000
	// hotKeys are keys of many rows; the other rows have one of their own.
	hotKeys = 1500

	// lifetime is more than a process needs to come to any step.
	lifetime = 20 * time.Second

	createNumbered = `CREATE TABLE numbered (id bigint NOT NULL, version bigint NOT NULL, bad boolean NOT NULL CHECK (NOT bad), pad text NOT NULL)`
	keyNumbered    = `ALTER TABLE numbered ADD PRIMARY KEY (id)`
)

func numbered(n int64) numberedRow {
	hash := uint64(n) * 0x9e3779b97f4a7c15 >> 17
	row := numberedRow{ID: n, Version: n, Bad: hash%499 == 0, Pad: strings.Repeat("x", int(hash%200))}
	if hash%5 != 0 {
		row.ID = -1 - int64(hash/5%hotKeys)
	}
	return row
}

// life is what a process is to do until it is killed.
type life struct {
	URL, Dir string
	Level    Durability
	First    int64         // the number of its first row
	Step     string        // at which it is killed; empty: at a moment that the parent chooses
	After    time.Duration // the process has run so long when it gets there
	Hoard    int64         // so many rows are added and none is sent; 0: as many as possible, all are
	Keyless  bool          // every row is a new one
	Workers  int
	Batch    int
}

// TestKilledProcesses is the test that the rest of the file is for.
func TestKilledProcesses(t *testing.T) {
	if *killSeed == 0 {
		*killSeed = rand.Uint64()
	}
	t.Logf("-kill.seed=%d", *killSeed)
	rng := rand.New(rand.NewPCG(*killSeed, 1))
	plans := plan(rng, *killCount)
	var tally killTally
	t.Run("chains", func(t *testing.T) {
		for i, p := range plans {
			seed := rng.Uint64()
			t.Run(fmt.Sprintf("%03d %s", i, p.level), func(t *testing.T) {
				t.Parallel()
				newChain(t, p.level, rand.New(rand.NewPCG(seed, 2)), &tally).run(t, p.steps)
			})
		}
	})
	t.Logf("%d processes killed: %d at one of %d steps, %d while recovering what one before left; %d times the table was compared, %d promised rows in all",
		tally.kills.Load(), tally.steps.Load(), len(allSteps()[DurabilityFsync]), tally.recovering.Load(), tally.checks.Load(), tally.promised.Load())
	if n := tally.kills.Load(); n < int64(*killCount) && !t.Failed() {
		t.Errorf("%d processes killed, want %d", n, *killCount)
	}
}

type killTally struct{ kills, steps, recovering, checks, promised atomic.Int64 }

// chain is lives on one table and one directory, and what they were promised.
type chain struct {
	level   Durability
	keyless bool
	rng     *rand.Rand
	db      *pgtest.DB
	dir     string
	tally   *killTally

	lives    int64
	promises map[int64]int64 // the first number of a life: the last one that must not be lost
	stored   map[int64]int64 // the newest version that a key was seen to have; without keys a row's number stands for it
}

func newChain(t *testing.T, level Durability, rng *rand.Rand, tally *killTally) *chain {
	db := pgtest.Open(t)
	db.Exec(t, createNumbered)
	keyless := rng.IntN(3) == 0
	if !keyless {
		db.Exec(t, keyNumbered)
	}
	return &chain{
		level: level, keyless: keyless, rng: rng, db: db, dir: t.TempDir(), tally: tally,
		promises: map[int64]int64{}, stored: map[int64]int64{},
	}
}

func (c *chain) run(t *testing.T, steps []string) {
	for i, step := range steps {
		if c.level != DurabilityNone && c.rng.IntN(4) == 0 {
			c.recoverKilled(t)
		}
		l := c.life()
		if l.Step = step; step != "" {
			if !strings.HasPrefix(step, "recovery") && c.rng.IntN(4) > 0 {
				l.After = c.moment()
			}
			c.tally.steps.Add(1)
		}
		c.kill(t, l)
		if i == len(steps)-1 || c.rng.IntN(2) == 0 {
			c.check(t)
		}
	}
}

// recoverKilled kills a process with a backlog, and then another one that
// recovers it.
func (c *chain) recoverKilled(t *testing.T) {
	l := c.life()
	l.Hoard = 2000 + c.rng.Int64N(3000)
	c.kill(t, l)
	l = c.life()
	l.Step = "rows recovered"
	c.kill(t, l)
	c.tally.recovering.Add(1)
}

// life is the next one of the chain.
func (c *chain) life() life {
	c.lives++
	return life{
		URL: c.db.URL, Dir: c.dir, Level: c.level, First: c.lives * perLife, Keyless: c.keyless,
		Workers: 1 + 2*c.rng.IntN(2), Batch: 100 + c.rng.IntN(400),
	}
}

// moment is how long a life may last.
func (c *chain) moment() time.Duration {
	return time.Duration(c.rng.Int64N(int64(150 * time.Millisecond)))
}

// kill lives a life to its end, and notes what it was promised.
func (c *chain) kill(t *testing.T, l life) {
	t.Helper()
	child, output, messages := startLife(t, l)
	kill := func() { child.Process.Kill() } // an error means that it is dead
	var timer *time.Timer
	atStep := false
	random := c.moment()
	early := l.Step == "" && l.Hoard == 0 && c.rng.IntN(4) == 0
	if early {
		timer = time.AfterFunc(random, kill)
	}
	lines := bufio.NewScanner(output)
	for lines.Scan() {
		what, arg, _ := strings.Cut(lines.Text(), " ")
		switch what {
		case "persisted", "synced":
			n, err := strconv.ParseInt(arg, 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			c.promises[l.First] = max(c.promises[l.First], n)
			if l.Hoard > 0 && n == l.First+l.Hoard-1 {
				kill()
			}
		case "open":
			if l.Step == "" && l.Hoard == 0 && !early {
				timer = time.AfterFunc(random, kill)
			}
		case "at":
			atStep = true
		}
	}
	err := child.Wait()
	if timer != nil {
		timer.Stop()
	}
	if exit := new(exec.ExitError); !errors.As(err, &exit) || exit.ExitCode() != -1 || messages.Len() > 0 {
		t.Fatalf("a process was to be killed (%+v) and ended otherwise: %v\n%s", l, err, messages)
	}
	if l.Step != "" && !atStep {
		t.Fatalf("%+v was killed before it came to its step", l)
	}
	c.tally.kills.Add(1)
	t.Logf("killed: first row %d, step %q after %v, hoard %d, promised up to %d", l.First, l.Step, l.After, l.Hoard, c.promises[l.First])
	c.look(t, l)
}

// look notes what the table holds when a process has died.
func (c *chain) look(t *testing.T, l life) {
	t.Helper()
	for id, version := range c.table(t) {
		c.stored[id] = max(c.stored[id], version)
		if c.journals() && version >= l.First {
			c.promises[l.First] = max(c.promises[l.First], version)
		}
	}
}

func (c *chain) journals() bool {
	return c.level == DurabilityJournal || c.level == DurabilityFsync
}

// key is that of the row which is added as the n-th.
func (c *chain) key(n int64) int64 {
	if c.keyless {
		return n
	}
	return numbered(n).ID
}

// table returns the version of each key, and checks that it was added.
func (c *chain) table(t *testing.T) map[int64]int64 {
	t.Helper()
	versions := map[int64]int64{}
	for _, row := range c.db.Rows(t, "SELECT id, version FROM numbered") {
		var id, version int64
		if n, err := fmt.Sscanf(row, "%d|%d", &id, &version); n != 2 {
			t.Fatal(row, err)
		}
		if numbered(version).ID != id || version >= (c.lives+1)*perLife {
			t.Errorf("key %d holds version %d, which was never added", id, version)
		}
		if versions[c.key(version)] != 0 {
			t.Errorf("row %d, or its key, is in the table twice", version)
		}
		versions[c.key(version)] = version
	}
	return versions
}

// check recovers what is left and compares.
func (c *chain) check(t *testing.T) {
	t.Helper()
	w, closeAll := openNumbered(t, life{URL: c.db.URL, Dir: c.dir, Level: c.level, Keyless: c.keyless, Workers: 1})
	defer closeAll()
	if err := w.ForceSync(patient(t)); err != nil && !errors.Is(err, ErrRowsFailed) {
		t.Fatal(err)
	}
	s := w.SyncStatus()
	t.Logf("compared: %d recovered, %d refused", s.Recovered, s.Failed)
	wantBalance(t, s)
	refused := c.refused(t, w)
	if s.Pending != 0 || s.Failed != int64(len(refused)) {
		t.Errorf("%d refused rows are listed after a recovery: %+v", len(refused), s)
	}
	found := c.table(t)
	for id, version := range c.stored {
		if found[id] < version {
			t.Errorf("key %d held version %d and holds %d after a recovery", id, version, found[id])
		}
	}
	for _, first := range slices.Sorted(maps.Keys(c.promises)) {
		c.checkPromise(t, first, found, refused)
	}
	c.stored = found
	c.tally.checks.Add(1)
	if len(refused) > 0 && c.rng.IntN(2) == 0 {
		c.forgive(t, w)
		refused = nil
	}
	if err := w.Stop(patient(t)); (err != nil) != (len(refused) > 0) || err != nil && !errors.Is(err, ErrRowsFailed) {
		t.Errorf("with %d refused rows Stop says: %v", len(refused), err)
	}
}

// forgive has the database take the refused rows.
func (c *chain) forgive(t *testing.T, w *MemoryDBWriter[numberedRow]) {
	t.Helper()
	c.db.Exec(t, "ALTER TABLE numbered DROP CONSTRAINT numbered_bad_check")
	if _, err := w.RetrySyncErrors(patient(t)); err != nil {
		t.Fatal(err)
	}
	found := c.table(t)
	for id, version := range c.stored {
		if found[id] < version {
			t.Errorf("key %d held version %d and holds %d after a retry", id, version, found[id])
		}
	}
	c.stored = found
	c.db.Exec(t, "ALTER TABLE numbered ADD CHECK (NOT bad) NOT VALID")
}

// refused returns the numbers of the failed rows.
func (c *chain) refused(t *testing.T, w *MemoryDBWriter[numberedRow]) map[int64]bool {
	t.Helper()
	refused := map[int64]bool{}
	for f, err := range w.SyncErrors() {
		if err != nil {
			t.Fatal(err)
		}
		if n := f.Row.Version; f.Row != numbered(n) || !f.Row.Bad || refused[n] {
			t.Errorf("row %d is listed as refused: %+v", n, f)
		}
		refused[f.Row.Version] = true
	}
	return refused
}

// checkPromise checks the rows of a life that must not be lost.
func (c *chain) checkPromise(t *testing.T, first int64, found map[int64]int64, refused map[int64]bool) {
	t.Helper()
	lost := 0
	for n := first; n <= c.promises[first]; n++ {
		row := numbered(n)
		switch {
		case found[c.key(n)] >= n:
		case row.Bad && (refused[n] || c.level == DurabilityNone):
		default:
			if lost++; lost <= 5 {
				t.Errorf("row %+v of %d promised ones is lost; its key holds version %d", row, c.promises[first]-first+1, found[c.key(n)])
			}
		}
	}
	if lost > 5 {
		t.Errorf("and %d more rows are lost", lost-5)
	}
	c.tally.promised.Add(c.promises[first] - first + 1)
}
