package memdbwriter

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/memdbwriter/memdbwriter/internal/journal/faultfs"
)

// A process dies after the destination has committed a batch and before that
// is on disk. What it had recovered itself must not be written over what it
// had added since.
func TestADeathBetweenCommitAndMark(t *testing.T) {
	for _, level := range levels {
		t.Run(string(level), func(t *testing.T) {
			p := sqlitePlace(t)
			p.createItems(t)
			cfg := Config{CheckpointDir: t.TempDir(), Durability: level, SyncInterval: time.Hour}
			w := openDurable(t, p, cfg)
			mustAdd[item](t, w, newItem(1, "1 old"))
			if err := w.Persist(patient(t)); err != nil {
				t.Fatal(err)
			}
			crash(t, w, &cfg)

			var armed sync.Once
			died, release := make(chan struct{}), make(chan struct{})
			sending := false
			cfg.fs = hookFS{before: func(op faultfs.Op, path string) error {
				if sending && op == faultfs.Write {
					armed.Do(func() { close(died); <-release })
				}
				return nil
			}}
			w = openDurable(t, p, cfg)
			mustAdd[item](t, w, newItem(1, "2 new"))
			if _, err := w.engine.stager.flush(patient(t)); err != nil {
				t.Fatal(err)
			}
			sending = true
			forced := make(chan error, 1)
			go func() { forced <- w.ForceSync(context.Background()) }()
			<-died
			stored := fmt.Sprint(p.query(t, "SELECT name FROM items"))
			after := cfg
			after.fs = nil
			after.CheckpointDir = copyDir(t, cfg.CheckpointDir)
			close(release)
			if err := <-forced; err != nil {
				t.Fatal(err)
			}
			mustStop[item](t, w)

			p.exec(t, fmt.Sprintf("UPDATE items SET name = '%s'", stored[1:len(stored)-1])) // as it was then
			w = openDurable(t, p, after)
			mustSync[item](t, w)
			if now := fmt.Sprint(p.query(t, "SELECT name FROM items")); now < stored {
				t.Errorf("the row was %s and is %s after the recovery", stored, now)
			}
			mustStop[item](t, w)
		})
	}
}

// Refused rows that one process left behind are there for all that come after
// it, however these end.
func TestRefusedRowsOutliveEveryProcess(t *testing.T) {
	for _, level := range levels {
		t.Run(string(level), func(t *testing.T) {
			p := sqlitePlace(t)
			p.createItems(t)
			cfg := Config{CheckpointDir: t.TempDir(), Durability: level, SyncInterval: time.Hour}
			w := openDurable(t, p, cfg)
			mustAdd[item](t, w, newItem(1, badName))
			stopRefused(t, w)
			for range 3 {
				w = openDurable(t, p, cfg)
				if s := w.SyncStatus(); s.Recovered != 1 || s.Failed != 1 || s.Pending != 0 {
					t.Fatalf("after a recovery: %+v", s)
				}
				wantError(t, w.ForceSync(patient(t)), ErrRowsFailed, "(id)=(1)")
				if _, err := w.Checkpoint(patient(t)); err != nil {
					t.Fatal(err)
				}
				crash(t, w, &cfg)
				w = openDurable(t, p, cfg)
				if s := w.SyncStatus(); s.Failed != 1 {
					t.Fatalf("after a crash: %+v", s)
				}
				stopRefused(t, w)
			}
		})
	}
}

func stopRefused(t *testing.T, w *MemoryDBWriter[item]) {
	t.Helper()
	wantError(t, w.Stop(patient(t)), ErrRowsFailed, "(id)=(1)")
}

// A row that is refused while recovery waits for room is not forgotten once the
// rows around it are settled.
func TestARowRefusedDuringRecovery(t *testing.T) {
	for _, level := range levels {
		t.Run(string(level), func(t *testing.T) {
			t.Parallel()
			p := sqlitePlace(t)
			p.createItems(t)
			cfg := Config{CheckpointDir: t.TempDir(), Durability: level, SyncInterval: time.Hour}
			w := openDurable(t, p, cfg)
			mustAdd[item](t, w, newItem(1, badName))
			for i := range int64(4000) {
				mustAdd[item](t, w, newItem(i+2, "row"))
			}
			if err := w.Persist(patient(t)); err != nil {
				t.Fatal(err)
			}
			crash(t, w, &cfg)
			cfg.MaxRows = 300
			w = openDurable(t, p, cfg)
			wantError(t, w.ForceSync(patient(t)), ErrRowsFailed, "(id)=(1)")
			crash(t, w, &cfg)
			w = openDurable(t, p, cfg)
			if s := w.SyncStatus(); s.Failed != 1 || s.Recovered != 1 {
				t.Errorf("after a second recovery: %+v", s)
			}
			stopRefused(t, w)
		})
	}
}

// A failed row is on disk, and a newer row of its key is stored. When the
// process dies before that is on disk, too, trying the failed row again must not
// bring the old value back.
func TestARetryAfterADeathBringsNoOldValueBack(t *testing.T) {
	for _, level := range levels {
		for _, c := range []struct {
			name  string
			batch int // rows in a batch: the failed row and the newer one are in one, or in two
			saved bool
		}{{"failed before the checkpoint", 5000, true}, {"fails while the newer row is on its way", 1, false}} {
			t.Run(string(level)+"/"+c.name, func(t *testing.T) {
				p := postgresPlace(t)
				p.createItems(t)
				cfg := Config{CheckpointDir: t.TempDir(), Durability: level, SyncInterval: time.Hour, SyncBatchSize: c.batch}
				var dying sync.Once
				var left string
				cfg.fs = hookFS{before: func(op faultfs.Op, _ string) error {
					if op == faultfs.Write && fmt.Sprint(p.query(t, "SELECT name FROM items")) == "[new]" {
						dying.Do(func() { left = copyDir(t, cfg.CheckpointDir) })
					}
					return nil
				}}
				w := openDurable(t, p, cfg)
				if c.saved {
					mustAdd[item](t, w, newItem(1, badName))
					wantError(t, w.ForceSync(patient(t)), ErrRowsFailed)
					if _, err := w.Checkpoint(patient(t)); err != nil {
						t.Fatal(err)
					}
					mustAdd[item](t, w, newItem(1, "new"))
				} else {
					_, err := w.AddBatch(patient(t), []item{newItem(1, badName), newItem(1, "new")})
					if err != nil {
						t.Fatal(err)
					}
				}
				mustSync[item](t, w)
				mustStop[item](t, w)
				if left == "" {
					t.Fatal("nothing was written after the newer row was stored")
				}

				cfg.CheckpointDir, cfg.fs = left, nil
				w = openDurable(t, p, cfg)
				p.exec(t, "ALTER TABLE items DROP CONSTRAINT no_bad")
				if _, err := w.RetrySyncErrors(patient(t)); err != nil {
					t.Fatal(err)
				}
				mustSync[item](t, w)
				wantRows(t, p, "SELECT name FROM items", "new")
				mustStop[item](t, w)
			})
		}
	}
}

// While recovery waits for room, what it has brought back is sent. The failed
// rows of the same keys must be known by then, or trying them again would bring
// old values back.
func TestARecoveredRowSupersedesARecoveredFailedOne(t *testing.T) {
	for _, level := range levels {
		t.Run(string(level), func(t *testing.T) {
			p := postgresPlace(t)
			p.createItems(t)
			cfg := Config{CheckpointDir: t.TempDir(), Durability: level, SyncInterval: time.Hour}
			w := openDurable(t, p, cfg)
			mustAdd[item](t, w, newItem(1, badName))
			wantError(t, w.ForceSync(patient(t)), ErrRowsFailed)
			page := strings.Repeat("x", 1<<20) // a row is a page
			for id := range int64(3) {
				row := newItem(id+1, "new")
				row.Note = &page
				mustAdd[item](t, w, row)
			}
			if _, err := w.Checkpoint(patient(t)); err != nil {
				t.Fatal(err)
			}
			crash(t, w, &cfg)
			cfg.MaxRows, cfg.SyncBatchSize = 1, 1
			w = openDurable(t, p, cfg)
			mustSync[item](t, w)
			if s := w.SyncStatus(); s.Recovered != 4 || s.Synced != 3 || s.Superseded != 1 {
				t.Errorf("after the recovery: %+v", s)
			}
			p.exec(t, "ALTER TABLE items DROP CONSTRAINT no_bad")
			if _, err := w.RetrySyncErrors(patient(t)); err != nil {
				t.Fatal(err)
			}
			wantRows(t, p, "SELECT id, name FROM items ORDER BY id", "1|new", "2|new", "3|new")
			mustStop[item](t, w)
		})
	}
}

// Rows that would be in the table twice are asked for, when a process has died
// between the COMMIT and the note of it: those that waited, those that came alone
// because one among them is refused, and those that were tried again.
func TestADeathBehindTheCommitDoublesNoRow(t *testing.T) {
	for _, level := range levels {
		for _, c := range []struct {
			name  string
			place string
			life  func(t *testing.T, p *place, w *MemoryDBWriter[item])
			want  int                                                   // rows in the table when it dies
			more  func(t *testing.T, p *place, w *MemoryDBWriter[item]) // of the next life; nil: a row
		}{
			{"a batch", "", func(t *testing.T, _ *place, w *MemoryDBWriter[item]) {
				for id := range int64(100) {
					mustAdd[item](t, w, newItem(id, "row"))
				}
				if _, err := w.Checkpoint(patient(t)); err != nil {
					t.Fatal(err)
				}
				mustSync[item](t, w)
			}, 100, nil},
			{"parts of a batch", "", func(t *testing.T, _ *place, w *MemoryDBWriter[item]) {
				for id := range int64(100) {
					name := "row"
					if id == 30 {
						name = badName
					}
					mustAdd[item](t, w, newItem(id, name))
				}
				if _, err := w.Checkpoint(patient(t)); err != nil {
					t.Fatal(err)
				}
				wantError(t, w.ForceSync(patient(t)), ErrRowsFailed)
			}, 99, nil},
			{"failed rows", "postgres", func(t *testing.T, p *place, w *MemoryDBWriter[item]) {
				mustAdd[item](t, w, newItem(1, badName), newItem(2, badName))
				wantError(t, w.ForceSync(patient(t)), ErrRowsFailed)
				if _, err := w.Checkpoint(patient(t)); err != nil {
					t.Fatal(err)
				}
				p.exec(t, "ALTER TABLE items DROP CONSTRAINT no_bad")
				if _, err := w.RetrySyncErrors(patient(t)); err != nil {
					t.Fatal(err)
				}
			}, 2, func(t *testing.T, p *place, w *MemoryDBWriter[item]) { // another one fails, to be tried with them
				p.exec(t, "ALTER TABLE items ADD CONSTRAINT no_bad CHECK (name <> '"+badName+"') NOT VALID")
				mustAdd[item](t, w, newItem(1000, badName))
				wantError(t, w.ForceSync(patient(t)), ErrRowsFailed)
				p.exec(t, "ALTER TABLE items DROP CONSTRAINT no_bad")
			}},
		} {
			for where, place := range places {
				if c.place == "" || c.place == where {
					t.Run(string(level)+"/"+where+"/"+c.name, func(t *testing.T) {
						dieBehindCommit(t, place(t), level, c.life, c.more, c.want)
					})
				}
			}
		}
	}
}

// A transaction whose arrival numbers have gaps says nothing of the rows in these:
// they are other parts of the batch, or failed rows that were not tried again.
func TestADeathBehindTheCommitLosesNoRowInAGap(t *testing.T) {
	type reading struct {
		ID int64           `db:"id"`
		V  Optional[int64] `db:"v"`
	}
	set := func(id int64) reading { return reading{ID: id, V: Optional[int64]{V: id, Set: true}} }
	for _, c := range []struct {
		name string
		rows []reading
		ddl  string
		life func(t *testing.T, p *place, w *MemoryDBWriter[reading])
		dead string // what the process that died has not stored
	}{
		{
			"rows that leave out other columns",
			[]reading{set(1), {ID: 2}, set(3), {ID: 4}, set(5)},
			"",
			func(t *testing.T, _ *place, w *MemoryDBWriter[reading]) { mustSync[reading](t, w) },
			"DELETE FROM readings WHERE v %s NULL", // whichever part came second
		},
		{
			"some of the failed rows",
			[]reading{set(1), set(2), set(3), set(4), set(5)},
			"CREATE TRIGGER shut BEFORE INSERT ON readings WHEN NEW.id < 4 BEGIN SELECT RAISE(ABORT, 'shut'); END",
			func(t *testing.T, p *place, w *MemoryDBWriter[reading]) {
				p.exec(t, "DROP TRIGGER shut")
				if _, err := w.RetryFailed(patient(t), []int64{1, 3}); err != nil {
					t.Fatal(err)
				}
			},
			"",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := sqlitePlace(t)
			p.exec(t, "CREATE TABLE readings (id bigint NOT NULL, v bigint)")
			table, err := TableOf[reading]("readings", OnConflict(ConflictInsertOnly))
			if err != nil {
				t.Fatal(err)
			}
			cfg := Config{CheckpointDir: t.TempDir(), Durability: DurabilityFsync, SyncInterval: time.Hour, FailedRetryDelay: -1}
			w, err := New(patient(t), table, p.Destination, cfg)
			if err != nil {
				t.Fatal(err)
			}
			mustAdd[reading](t, w, c.rows...)
			if err := w.Persist(patient(t)); err != nil {
				t.Fatal(err)
			}
			if c.ddl != "" {
				p.exec(t, c.ddl)
				wantError(t, w.ForceSync(patient(t)), ErrRowsFailed)
			}
			var left, second string
			var once sync.Once
			atStep = func(s string) {
				if s == "batch committed" {
					once.Do(func() {
						left = copyDir(t, cfg.CheckpointDir)
						second = "IS"
						if p.query(t, "SELECT v IS NULL FROM readings")[0] == "1" {
							second = "IS NOT"
						}
					})
				}
			}
			t.Cleanup(func() { atStep = nil })
			c.life(t, p, w)
			abandon[reading](w)
			atStep = nil
			if c.dead != "" {
				p.exec(t, fmt.Sprintf(c.dead, second))
			}

			cfg.CheckpointDir = left
			if w, err = New(patient(t), table, p.Destination, cfg); err != nil {
				t.Fatal(err)
			}
			if err := w.ForceSync(patient(t)); err != nil && !errors.Is(err, ErrRowsFailed) {
				t.Fatal(err)
			}
			if _, err := w.RetrySyncErrors(patient(t)); err != nil {
				t.Fatal(err)
			}
			mustStop[reading](t, w)
			wantRows(t, p, "SELECT id FROM readings ORDER BY id", "1", "2", "3", "4", "5")
		})
	}
}

// At DurabilityFsync nothing is committed whose receipt is not on disk; at
// DurabilityJournal rows go on.
func TestAReceiptThatTheDiskDoesNotTake(t *testing.T) {
	for _, level := range levels {
		for where, place := range places {
			t.Run(string(level)+"/"+where, func(t *testing.T) {
				p := place(t)
				p.createItems(t)
				var full atomic.Bool
				cfg := Config{CheckpointDir: t.TempDir(), Durability: level, SyncInterval: time.Hour, CheckpointInterval: -1}
				cfg.fs = hookFS{before: func(op faultfs.Op, _ string) error {
					if full.Load() && op == faultfs.Write {
						return syscall.ENOSPC
					}
					return nil
				}}
				w, err := New(patient(t), itemTable(t, OnConflict(ConflictInsertOnly)), p.Destination, cfg)
				if err != nil {
					t.Fatal(err)
				}
				mustAdd[item](t, w, newItem(1, "row"), newItem(2, "row"))
				if err := w.Persist(patient(t)); err != nil {
					t.Fatal(err)
				}
				full.Store(true)
				want := "2"
				if level == DurabilityFsync {
					want = "0"
					wantHeld(t, w)
				} else {
					mustSync[item](t, w)
				}
				wantRows(t, p, "SELECT count(*) FROM items", want)
				full.Store(false)
				mustSync[item](t, w)
				wantHealed(t, w)
				wantRows(t, p, "SELECT count(*) FROM items", "2")
				mustStop[item](t, w)
			})
		}
	}
}

func dieBehindCommit(t *testing.T, p *place, level Durability, life, more func(*testing.T, *place, *MemoryDBWriter[item]), want int) {
	t.Helper()
	p.exec(t, `CREATE TABLE items (id bigint NOT NULL, name text NOT NULL CONSTRAINT no_bad CHECK (name <> '`+badName+`'),
		note text, stage text NOT NULL, seen timestamp NOT NULL)`)
	table := itemTable(t, OnConflict(ConflictInsertOnly))
	cfg := Config{CheckpointDir: t.TempDir(), Durability: level, SyncInterval: time.Hour}
	var dying sync.Once
	var left string
	cfg.fs = hookFS{before: func(op faultfs.Op, _ string) error {
		if op == faultfs.Write && p.query(t, "SELECT count(*) FROM items")[0] == fmt.Sprint(want) {
			dying.Do(func() { left = copyDir(t, cfg.CheckpointDir) })
		}
		return nil
	}}
	w, err := New(patient(t), table, p.Destination, cfg)
	if err != nil {
		t.Fatal(err)
	}
	life(t, p, w)
	abandon[item](w)
	if left == "" {
		t.Fatal("nothing was written behind the COMMIT")
	}

	cfg.CheckpointDir, cfg.fs, cfg.SyncBatchSize = left, nil, 7
	if w, err = New(patient(t), table, p.Destination, cfg); err != nil {
		t.Fatal(err)
	}
	if s := w.SyncStatus(); s.Recovered < int64(want) {
		t.Errorf("after the recovery: %+v", s)
	}
	if more == nil {
		mustAdd[item](t, w, newItem(1000, "new"))
	} else {
		more(t, p, w)
	}
	_ = w.ForceSync(patient(t))
	_, _ = w.RetrySyncErrors(patient(t))
	if s := w.SyncStatus(); s.Pending != 0 {
		t.Errorf("at the end: %+v", s)
	}
	wantRows(t, p, "SELECT count(*), count(DISTINCT id) FROM items", fmt.Sprintf("%d|%[1]d", want+1))
	abandon[item](w)
}
