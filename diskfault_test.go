package memdbwriter

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/memdbwriter/memdbwriter/internal/journal/faultfs"
	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

// pretendedDisk is a directory whose writes fail as those on a full disk do.
func pretendedDisk(dir string) (cfg Config, fill, free func()) {
	var full atomic.Bool
	cfg = Config{CheckpointDir: dir, fs: hookFS{before: func(op faultfs.Op, _ string) error {
		if full.Load() && op == faultfs.Write {
			return syscall.ENOSPC
		}
		return nil
	}}}
	return cfg, func() { full.Store(true) }, func() { full.Store(false) }
}

// readOnlyByMode is enough for everybody but root, who gets a path on which
// there is a file.
func readOnlyByMode(t *testing.T, dir string) string {
	if os.Geteuid() != 0 {
		if err := os.Chmod(dir, 0o500); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// diskFault is a way in which a disk fails, and the levels that notice.
type diskFault struct {
	name   string
	levels []Durability
	make   func(t *testing.T) (cfg Config, begin, end func())
	text   string
}

func opFails(op faultfs.Op, err error) func(*testing.T) (Config, func(), func()) {
	return func(t *testing.T) (cfg Config, begin, end func()) {
		var failing atomic.Bool
		fs := hookFS{before: func(o faultfs.Op, _ string) error {
			if failing.Load() && o == op {
				return err
			}
			return nil
		}}
		return Config{CheckpointDir: t.TempDir(), fs: fs}, func() { failing.Store(true) }, func() { failing.Store(false) }
	}
}

var diskFaults = []diskFault{
	{"full disk", levels, smallDisk, "no space"},
	{"failing writes", levels, opFails(faultfs.Write, syscall.EIO), "input/output"},
	{"failing fsync", []Durability{DurabilityFsync}, opFails(faultfs.Sync, syscall.EIO), "input/output"},
}

// A disk that fails stops no row on its way to the destination, but at the level at
// which they must be durable before; it is told of, and is used again as soon as it
// works.
func TestAFailingDisk(t *testing.T) {
	for _, fault := range diskFaults {
		for _, level := range fault.levels {
			t.Run(fault.name+"/"+string(level), func(t *testing.T) {
				t.Parallel()
				p := sqlitePlace(t)
				p.createItems(t)
				cfg, begin, end := fault.make(t)
				cfg.Durability, cfg.SyncInterval, cfg.CheckpointInterval = level, time.Hour, -1
				w := openDurable(t, p, cfg)
				add := func(from, to int64) {
					for i := from; i < to; i++ {
						mustAdd[item](t, w, newItem(i, fmt.Sprint("row ", i)))
					}
				}
				add(0, 100)
				if err := w.Persist(patient(t)); err != nil {
					t.Fatal(err)
				}

				begin()
				add(100, 600)
				if err := w.Persist(patient(t)); err == nil || !strings.Contains(strings.ToLower(err.Error()), fault.text) || !strings.Contains(err.Error(), cfg.CheckpointDir) {
					t.Fatalf("Persist with a bad disk: %v", err)
				}
				if s := w.SyncStatus(); s.DiskError == nil || s.State != StateDegraded {
					t.Errorf("with a bad disk: %+v", s)
				}
				if level == DurabilityFsync {
					wantHeld(t, w)
					wantRows(t, p, "SELECT count(*) FROM items", "0")
					end()
				}
				mustSync[item](t, w)
				wantRows(t, p, "SELECT count(*) FROM items", "600")
				add(600, 1000)
				if level != DurabilityFsync {
					end()
				}
				wantHealed(t, w)
				crash(t, w, &cfg)
				cfg.fs = nil
				w = openDurable(t, p, cfg)
				if s := w.SyncStatus(); s.Recovered != 400 || s.Failed != 0 {
					t.Errorf("after a crash: %+v", s)
				}
				mustSync[item](t, w)
				wantRows(t, p, "SELECT count(*), count(DISTINCT name) FROM items", "1000|1000")
				mustStop[item](t, w)
			})
		}
	}
}

// wantHeld fails unless rows wait for the disk.
func wantHeld(t *testing.T, w *MemoryDBWriter[item]) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	forced := make(chan error, 1)
	go func() { forced <- w.ForceSync(ctx) }()
	look := time.NewTicker(time.Millisecond)
	defer look.Stop()
	for !errors.Is(w.SyncStatus().LastError, errNotHeld) {
		<-look.C
	}
	cancel()
	wantError(t, <-forced, ErrUnsynced, errNotHeld.Error())
}

// wantHealed waits until the writer uses the disk again.
func wantHealed(t *testing.T, w *MemoryDBWriter[item]) {
	t.Helper()
	again := time.NewTicker(diskRetry / 10)
	defer again.Stop()
	for ctx := patient(t); ; <-again.C {
		err := w.Persist(ctx)
		if s := w.SyncStatus(); err == nil && (s.DiskError != nil || s.State == StateDegraded) {
			t.Errorf("with a good disk: %+v", s)
		}
		if err == nil {
			return
		}
		if ctx.Err() != nil {
			t.Fatal(err)
		}
	}
}

// Rows that are missing on disk are told of until they are there or need not be,
// whatever else can be written meanwhile.
func TestASettledBatchDoesNotHideMissingRows(t *testing.T) {
	p := sqlitePlace(t)
	p.createItems(t)
	var failing atomic.Bool
	cfg := Config{CheckpointDir: t.TempDir(), Durability: DurabilityJournal, SyncInterval: time.Hour, SyncBatchSize: 10, CheckpointInterval: -1}
	cfg.fs = hookFS{before: func(op faultfs.Op, _ string) error {
		if failing.Load() && op == faultfs.Write {
			return syscall.ENOSPC
		}
		return nil
	}}
	w := openDurable(t, p, cfg)
	failing.Store(true)
	for i := range int64(5) {
		mustAdd[item](t, w, newItem(i, "one"))
	}
	if _, err := w.engine.stager.flush(patient(t)); err != nil {
		t.Fatal(err)
	}
	failing.Store(false)
	w.engine.disk.mu.Lock()
	w.engine.disk.tried = time.Now() // it was tried just now
	w.engine.disk.mu.Unlock()
	w.engine.disk.settle(0, nil)
	w.engine.disk.noteJournal(w.engine.disk.journal)
	if s := w.SyncStatus(); s.DiskError == nil {
		t.Errorf("rows are missing on disk: %+v", s)
	}
	wantHealed(t, w)
	mustStop[item](t, w)
}

// A directory that cannot be used is an error of the configuration.
func TestADirectoryThatCannotBeUsed(t *testing.T) {
	p := sqlitePlace(t)
	p.createItems(t)
	for _, level := range levels {
		dir := readOnly(t)
		_, err := New(patient(t), itemTable(t), p.Destination, Config{CheckpointDir: dir, Durability: level})
		wantError(t, err, ErrConfig, "MEMORY_DB_CHECKPOINT_DIR", dir)
	}
}

// An fsync that keeps failing must not keep anybody waiting, nobody having asked
// for anything to be durable.
func TestAnFsyncThatFailsForEver(t *testing.T) {
	cfg, begin, _ := opFails(faultfs.Sync, syscall.EIO)(t)
	cfg.Durability, cfg.SyncInterval, cfg.CheckpointInterval = DurabilityJournal, time.Hour, -1
	sink := &script{}
	w := scriptedWriter(t, sink, cfg)
	begin()
	for id := range int64(20) {
		mustAdd[item](t, w, newItem(id, "row"))
		mustSync[item](t, w)
	}
	if s := w.SyncStatus(); s.DiskError == nil || s.Synced != 20 {
		t.Errorf("status: %+v", s)
	}
	if n := w.Stats().JournalFiles; n > 3 {
		t.Errorf("%d files", n)
	}
	wantError(t, w.Stop(patient(t)), syscall.EIO)
}

// A row that is on its way from the journal to the staging table while the
// journal is mended is not forgotten.
func TestARowThatComesWhileTheJournalIsMended(t *testing.T) {
	cfg, begin, end := opFails(faultfs.Write, syscall.ENOSPC)(t)
	cfg.Durability, cfg.SyncInterval, cfg.CheckpointInterval = DurabilityJournal, time.Hour, -1
	w := scriptedWriter(t, &script{}, cfg)
	begin()
	mustAdd[item](t, w, newItem(1, "one"))
	if err := w.Persist(patient(t)); err == nil {
		t.Fatal("Persist with a bad disk")
	}
	d := w.engine.disk
	row := newItem(2, "two")
	encoded, err := w.table.encode(nil, &row)
	if err != nil {
		t.Fatal(err)
	}
	two := &tuple.Batch{}
	two.Append(2, encoded)
	d.append(two) // and not staged yet
	end()
	d.mu.Lock()
	d.tried = time.Time{}
	d.mu.Unlock()
	if err := d.persist(patient(t)); err == nil || w.SyncStatus().DiskError == nil {
		t.Errorf("the journal lacks a row, and all is well: %v", err)
	}
	if err := w.engine.store.Append(two); err != nil {
		t.Fatal(err)
	}
	wantHealed(t, w)
	crash(t, w, &cfg)
	cfg.fs = nil
	w = scriptedWriter(t, &script{}, cfg)
	if s := w.SyncStatus(); s.Recovered != 2 {
		t.Errorf("after a crash: %+v", s)
	}
	mustStop[item](t, w)
}

// A checkpoint that failed is forgotten when there is nothing left to save.
func TestAFailedCheckpointThatIsNotNeededAnyMore(t *testing.T) {
	cfg, begin, end := opFails(faultfs.Rename, syscall.EIO)(t)
	cfg.SyncInterval, cfg.CheckpointInterval = time.Hour, -1
	w := scriptedWriter(t, &script{}, cfg)
	begin()
	mustAdd[item](t, w, newItem(1, "one"))
	if _, err := w.Checkpoint(patient(t)); err == nil {
		t.Fatal("Checkpoint with a bad disk")
	}
	mustSync[item](t, w)
	end()
	if _, err := w.Checkpoint(patient(t)); err != nil {
		t.Fatal(err)
	}
	if s := w.SyncStatus(); s.State != StateOK || s.DiskError != nil {
		t.Errorf("status: %+v", s)
	}
	mustStop[item](t, w)
}

// listener is told when a message is logged.
type listener struct {
	slog.Handler
	message string
	logged  chan<- struct{}
}

func (l listener) Enabled(context.Context, slog.Level) bool { return true }

func (l listener) Handle(_ context.Context, r slog.Record) error {
	if r.Message == l.message {
		l.logged <- struct{}{}
	}
	return nil
}

// A disk that works again is used again, though no row comes and nobody asks.
func TestADiskHealsByItself(t *testing.T) {
	for _, level := range levels {
		t.Run(string(level), func(t *testing.T) {
			t.Parallel()
			cfg, begin, end := opFails(faultfs.Write, syscall.ENOSPC)(t)
			cfg.Durability, cfg.SyncInterval, cfg.CheckpointInterval = level, time.Hour, -1
			well := make(chan struct{}, 10)
			cfg.Logger = slog.New(listener{slog.DiscardHandler, "disk is well again", well})
			w := scriptedWriter(t, &script{}, cfg)
			begin()
			mustAdd[item](t, w, newItem(1, "one"))
			left := int64(2)
			if level == DurabilityJournal {
				mustSync[item](t, w) // which cannot be marked
				left = 1
			}
			mustAdd[item](t, w, newItem(2, "two"))
			if _, err := w.engine.stager.flush(patient(t)); err != nil {
				t.Fatal(err)
			}
			if s := w.SyncStatus(); s.DiskError == nil {
				t.Errorf("status: %+v", s)
			}
			end()
			<-well
			if s := w.SyncStatus(); s.DiskError != nil || s.State != StateOK {
				t.Errorf("status: %+v", s)
			}
			crash(t, w, &cfg)
			cfg.fs = nil
			w = scriptedWriter(t, &script{}, cfg)
			if s := w.SyncStatus(); s.Recovered != left {
				t.Errorf("after a crash: %+v", s)
			}
			mustStop[item](t, w)
		})
	}
}
