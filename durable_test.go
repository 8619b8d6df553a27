package memdbwriter

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// levels are those that keep something on disk.
var levels = []Durability{DurabilityJournal, DurabilityFsync}

// crash is the death of the process as the disk sees it: cfg now names a
// directory with what a killed process would have left there. The writer itself
// ends as it can.
func crash[T any](t *testing.T, w *MemoryDBWriter[T], cfg *Config) {
	t.Helper()
	left := t.TempDir()
	if err := os.CopyFS(left, os.DirFS(cfg.CheckpointDir)); err != nil {
		t.Fatal(err)
	}
	cfg.CheckpointDir = left
	abandon[T](w)
}

func openDurable(t *testing.T, p *place, cfg Config) *MemoryDBWriter[item] {
	t.Helper()
	w, err := New(patient(t), itemTable(t), p.Destination, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func TestRowsSurviveTheProcess(t *testing.T) {
	for _, level := range levels {
		t.Run(string(level), func(t *testing.T) {
			t.Parallel()
			p := sqlitePlace(t)
			p.createItems(t)
			cfg := Config{CheckpointDir: t.TempDir(), Durability: level}
			w := openDurable(t, p, cfg)
			for i := range int64(3000) {
				mustAdd[item](t, w, newItem(i, fmt.Sprint("first ", i)))
			}
			mustSync[item](t, w)
			mustAdd[item](t, w, newItem(1, "second"), newItem(2, badName), newItem(5000, "new"))
			if err := w.Persist(patient(t)); err != nil {
				t.Fatal(err)
			}
			crash(t, w, &cfg)
			w = openDurable(t, p, cfg)
			if s := w.SyncStatus(); s.Recovered != 3 || s.Pending != 3 || s.Total != 0 {
				t.Errorf("after recovery: %+v", s)
			}
			// What comes later wins over what was recovered.
			mustAdd[item](t, w, newItem(5000, "newer"))
			err := w.ForceSync(patient(t))
			var re *RowError
			if !errors.As(err, &re) || !strings.Contains(re.Key, "(id)=(2)") {
				t.Errorf("the bad row after recovery: %v", err)
			}
			wantRows(t, p, "SELECT id, name FROM items WHERE id IN (1, 2, 3, 5000) ORDER BY id", "1|second", "2|first 2", "3|first 3", "5000|newer")
			wantRows(t, p, "SELECT count(*) FROM items", "3001")
			wantBalance(t, w.SyncStatus())
			// The failed row is kept over a crash, too.
			if err := w.Persist(patient(t)); err != nil {
				t.Fatal(err)
			}
			crash(t, w, &cfg)
			w = openDurable(t, p, cfg)
			if s := w.SyncStatus(); s.Recovered != 1 || s.Failed != 1 || s.Pending != 0 {
				t.Errorf("after the second recovery: %+v", s)
			}
			for f, err := range w.SyncErrors() {
				if err != nil || f.Row.ID != 2 || f.Attempts != 1 || f.Err.SQLState != "23514" {
					t.Errorf("recovered failed row %+v, %v", f, err)
				}
			}
			if _, err := w.DiscardSyncErrors(patient(t)); err != nil {
				t.Fatal(err)
			}
			mustStop[item](t, w)
			w = openDurable(t, p, cfg)
			if s := w.SyncStatus(); s.Recovered != 0 {
				t.Errorf("after a clean stop: %+v", s)
			}
			mustStop[item](t, w)
		})
	}
}

// A value that was synced after a checkpoint must not be overwritten by the
// one in the checkpoint.
func TestACheckpointNeverBringsBackAnOldValue(t *testing.T) {
	for _, level := range levels {
		t.Run(string(level), func(t *testing.T) {
			p := sqlitePlace(t)
			p.createItems(t)
			cfg := Config{CheckpointDir: t.TempDir(), Durability: level}
			w := openDurable(t, p, cfg)
			mustAdd[item](t, w, newItem(1, "old"), newItem(2, "only"))
			if path, err := w.Checkpoint(patient(t)); err != nil || path == "" {
				t.Fatal(path, err)
			}
			mustAdd[item](t, w, newItem(1, "new"))
			mustSync[item](t, w)
			crash(t, w, &cfg)
			w = openDurable(t, p, cfg)
			mustSync[item](t, w)
			wantRows(t, p, "SELECT id, name FROM items ORDER BY id", "1|new", "2|only")
			mustStop[item](t, w)
		})
	}
}

func TestStopLeavesTheRestOnDisk(t *testing.T) {
	p := sqlitePlace(t)
	p.createItems(t)
	dir := t.TempDir()
	cfg := Config{CheckpointDir: dir}
	w := openDurable(t, p, cfg)
	p.exec(t, "ALTER TABLE items RENAME TO away")
	p.exec(t, "CREATE VIEW items AS SELECT * FROM away") // a view takes no rows
	mustAdd[item](t, w, newItem(1, "one"))
	err := w.Stop(patient(t))
	if !errors.Is(err, ErrUnsynced) || !errors.Is(err, ErrDestination) {
		t.Fatalf("Stop: %v", err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "checkpoint_*.sql"))
	if err != nil || len(files) != 1 {
		t.Fatalf("files %v, %v", files, err)
	}
	if text, err := os.ReadFile(files[0]); err != nil || !strings.Contains(string(text), "'one'") {
		t.Errorf("the checkpoint does not have the row: %v\n%s", err, text)
	}
	p.exec(t, "DROP VIEW items")
	p.exec(t, "ALTER TABLE away RENAME TO items")
	w = openDurable(t, p, cfg)
	mustStop[item](t, w)
	wantRows(t, p, "SELECT id, name FROM items", "1|one")
}

func TestTheDirectoryIsLocked(t *testing.T) {
	p := sqlitePlace(t)
	p.createItems(t)
	cfg := Config{CheckpointDir: t.TempDir()}
	w := openDurable(t, p, cfg)
	_, err := New(patient(t), itemTable(t), p.Destination, cfg)
	if !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), fmt.Sprint(os.Getpid())) {
		t.Errorf("a second writer: %v", err)
	}
	mustStop[item](t, w)
	mustStop[item](t, openDurable(t, p, cfg))
}

// More rows on disk than the buffer may hold come in portions.
func TestALargeBacklogIsDrainedInPortions(t *testing.T) {
	for _, level := range levels {
		t.Run(string(level), func(t *testing.T) {
			t.Parallel()
			p := sqlitePlace(t)
			p.createItems(t)
			cfg := Config{CheckpointDir: t.TempDir(), Durability: level, SyncInterval: time.Hour}
			w := openDurable(t, p, cfg)
			for i := range int64(4000) {
				mustAdd[item](t, w, newItem(i, fmt.Sprint(i)))
			}
			if err := w.Persist(patient(t)); err != nil {
				t.Fatal(err)
			}
			crash(t, w, &cfg)
			cfg.MaxRows = 700
			w = openDurable(t, p, cfg)
			mustAdd[item](t, w, newItem(17, "newer"))
			mustSync[item](t, w)
			wantRows(t, p, "SELECT count(*) FROM items", "4000")
			wantRows(t, p, "SELECT name FROM items WHERE id = 17", "newer")
			if s := w.SyncStatus(); s.Recovered != 4000 || s.Pending != 0 {
				t.Errorf("status: %+v", s)
			}
			mustStop[item](t, w)
		})
	}
}

func TestPersistWithoutADirectorySaysSo(t *testing.T) {
	p := sqlitePlace(t)
	p.createItems(t)
	w := openDurable(t, p, Config{})
	if err := w.Persist(context.Background()); err == nil || !strings.Contains(err.Error(), "MEMORY_DB_CHECKPOINT_DIR") {
		t.Errorf("Persist: %v", err)
	}
	mustStop[item](t, w)
	if err := w.Persist(context.Background()); !errors.Is(err, ErrStopped) {
		t.Errorf("Persist after Stop: %v", err)
	}
	_, err := New(context.Background(), itemTable(t), p.Destination, Config{Durability: DurabilityFsync})
	wantError(t, err, ErrConfig, "MEMORY_DB_CHECKPOINT_DIR")
	_, err = New(context.Background(), itemTable(t), p.Destination, Config{Durability: "always"})
	wantError(t, err, ErrConfig, "none, journal or fsync")
}
