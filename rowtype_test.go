package memdbwriter

import (
	"fmt"
	"log/slog"
	"testing"
	"time"
)

// earlierItem is the row type of a program that has ended, laterItem that of the
// next one: other order, wider numbers, two columns more and one fewer.
type earlierItem struct {
	ID   int32  `db:"id,key"`
	Name string `db:"name"`
	Gone string `db:"gone"`
	Size int32  `db:"size"`
}

type laterItem struct {
	ID   int64   `db:"id,key"`
	Size int64   `db:"size"`
	Note *string `db:"note"`
	Kind string  `db:"kind"`
	Name string  `db:"name"`
}

// otherItem cannot hold what earlierItem has.
type otherItem struct {
	ID   int64 `db:"id,key"`
	Name int64 `db:"name"`
}

const createChanged = `CREATE TABLE items (id bigint PRIMARY KEY, name text NOT NULL CONSTRAINT no_bad CHECK (name <> 'bad'),
	gone text, size bigint NOT NULL, note text, kind text NOT NULL DEFAULT 'plain')`

// Rows that a program has left are taken over by one with another row type, as far
// as that can hold them: rejected ones, too, and over another death.
func TestTheRowTypeMayChangeBetweenPrograms(t *testing.T) {
	for where, place := range places {
		for _, level := range levels {
			t.Run(where+"/"+string(level), func(t *testing.T) {
				t.Parallel()
				p := place(t)
				p.exec(t, createChanged)
				p.exec(t, "INSERT INTO items VALUES (1, 'stored', 'theirs', 0, 'theirs', 'theirs')")
				cfg := Config{CheckpointDir: t.TempDir(), Durability: level, SyncInterval: time.Hour}
				earlier := openWriter(t, mustTable[earlierItem](t, "items"), p.Destination, cfg).(*MemoryDBWriter[earlierItem])
				mustAdd(t, Writer[earlierItem](earlier), earlierItem{3, "bad", "x", 3})
				wantError(t, earlier.ForceSync(patient(t)), ErrRowsFailed)
				mustAdd(t, Writer[earlierItem](earlier), earlierItem{1, "one", "x", -1}, earlierItem{2, "two", "x", 2})
				if err := earlier.Persist(patient(t)); err != nil {
					t.Fatal(err)
				}
				left := copyDir(t, cfg.CheckpointDir)
				abandon[earlierItem](earlier)

				cfg.CheckpointDir = left
				log := &logbook{}
				cfg.Logger = slog.New(log)
				for range 2 { // the second takes over what the first has written of it
					later := openWriter(t, mustTable[laterItem](t, "items"), p.Destination, cfg).(*MemoryDBWriter[laterItem])
					log.want(t, 1, "WARN rows on disk are of an earlier row type", "added=[note kind]", "removed=[gone]")
					mustAdd(t, Writer[laterItem](later), laterItem{ID: 4, Name: "four", Kind: "new"})
					for f, err := range later.SyncErrors() {
						if want := (laterItem{ID: 3, Name: "bad", Size: 3}); err != nil || f.Row != want {
							t.Errorf("rejected: %+v, %v", f.Row, err)
						}
					}
					if err := later.Persist(patient(t)); err != nil {
						t.Fatal(err)
					}
					cfg.CheckpointDir = copyDir(t, cfg.CheckpointDir)
					abandon[laterItem](later)
					log = &logbook{}
					cfg.Logger = slog.New(log)
				}
				later := openWriter(t, mustTable[laterItem](t, "items"), p.Destination, cfg).(*MemoryDBWriter[laterItem])
				wantError(t, later.ForceSync(patient(t)), ErrRowsFailed)
				want := []string{"1|one|theirs|-1|theirs|theirs", "2|two||2||plain", "4|four||0||new"}
				wantRows(t, p, "SELECT id, name, coalesce(gone, ''), size, coalesce(note, ''), kind FROM items ORDER BY id", want...)
				if n, err := later.DiscardSyncErrors(patient(t)); n != 1 || err != nil {
					t.Error(n, err)
				}
				mustStop[laterItem](t, later)
			})
		}
	}
}

// What cannot be taken over is an error that says what to do, and changes nothing;
// behind a clean stop nothing is in the way.
func TestARowTypeThatCannotHoldWhatIsOnDisk(t *testing.T) {
	for _, level := range levels {
		t.Run(string(level), func(t *testing.T) {
			cfg := Config{CheckpointDir: t.TempDir(), Durability: level, SyncInterval: time.Hour}
			to := &Destination{scripted{&script{}}}
			open := func() *MemoryDBWriter[earlierItem] {
				return openWriter(t, mustTable[earlierItem](t, "items"), to, cfg).(*MemoryDBWriter[earlierItem])
			}
			w := open()
			mustAdd(t, Writer[earlierItem](w), earlierItem{1, "one", "x", 1})
			if _, err := w.Checkpoint(patient(t)); err != nil {
				t.Fatal(err)
			}
			cfg.CheckpointDir = copyDir(t, cfg.CheckpointDir)
			abandon[earlierItem](w)
			before := fmt.Sprint(snapshot(t, cfg.CheckpointDir))
			_, err := New(patient(t), mustTable[otherItem](t, "items"), to, cfg)
			wantError(t, err, ErrRecovery, `column "name" was text and is bigint`, "stop it cleanly", "memdbwriter-checkpoint")
			if after := fmt.Sprint(snapshot(t, cfg.CheckpointDir)); after != before {
				t.Errorf("there was %.1000s, and is %.1000s", before, after)
			}
			w = open()
			mustStop[earlierItem](t, w)
			if s := w.SyncStatus(); s.Recovered != 1 || s.Synced != 1 {
				t.Errorf("%+v", s)
			}
			other := openWriter(t, mustTable[otherItem](t, "items"), to, cfg)
			mustStop(t, other)
		})
	}
}
