package memdbwriter

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/memdbwriter/memdbwriter/internal/dump"
	"github.com/memdbwriter/memdbwriter/internal/journal/faultfs"
	"github.com/memdbwriter/memdbwriter/internal/tuple"
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

// A row that was refused while the checkpoint was made is in it twice: among
// those that wait, and among the failed ones. It is one row.
func TestARowThatFailedDuringTheCheckpoint(t *testing.T) {
	p := sqlitePlace(t)
	p.createItems(t)
	cfg := Config{CheckpointDir: t.TempDir(), Durability: DurabilityCheckpoint}
	table := itemTable(t)
	dir := dump.Dir{Path: cfg.CheckpointDir, Identity: dump.Identity("items", p.String())}
	w, err := dir.Create(dump.Meta{
		Table:    dump.Table{Name: "items", Columns: tupleColumns(&table.shape)},
		FirstSeq: 1, LastSeq: 2, Created: testTime, Library: "test",
	})
	if err != nil {
		t.Fatal(err)
	}
	var rows tuple.Batch
	for i, name := range []string{badName, "good"} {
		row := newItem(int64(i+1), name)
		encoded, err := table.encode(nil, &row)
		if err != nil {
			t.Fatal(err)
		}
		rows.Append(int64(i+1), encoded)
	}
	err = errors.Join(w.WriteRows(&rows), w.WriteFailed([]dump.Failed{{Seq: 1, Tuple: rows.Tuple(0), Message: "refused", Attempts: 1, First: testTime, Last: testTime}}))
	if _, commitErr := w.Commit(); err != nil || commitErr != nil {
		t.Fatal(err, commitErr)
	}
	recovered := openDurable(t, p, cfg)
	wantError(t, recovered.ForceSync(patient(t)), ErrRowsFailed, "(id)=(1)")
	if s := recovered.SyncStatus(); s.Recovered != 2 || s.Failed != 1 || s.Synced != 1 {
		t.Errorf("after the recovery: %+v", s)
	}
	stopRefused(t, recovered)
}

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
	{"failing fsync", []Durability{DurabilityCheckpoint, DurabilityFsync}, opFails(faultfs.Sync, syscall.EIO), "input/output"},
	{"read-only", []Durability{DurabilityCheckpoint}, opFails(faultfs.Create, syscall.EROFS), "read-only"},
	{"failing rename", []Durability{DurabilityCheckpoint}, opFails(faultfs.Rename, syscall.EIO), "input/output"},
	{"failing fsync of the directory", []Durability{DurabilityCheckpoint}, opFails(faultfs.SyncDir, syscall.EIO), "input/output"},
}

// A disk that fails stops no row on its way to the destination, is told of, and
// is used again as soon as it works.
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
				mustSync[item](t, w)
				wantRows(t, p, "SELECT count(*) FROM items", "600")
				add(600, 1000)

				end()
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

// What an earlier process left may be damaged. As much as is whole is used, what
// is not is kept under another name, and files of others are not touched.
func TestDamagedFiles(t *testing.T) {
	for _, c := range []struct {
		name      string
		level     Durability
		damage    func(t *testing.T, dir string)
		recovered int64 // of 100 rows in a checkpoint and 100 later ones
		aside     string
	}{
		{"newest checkpoint changed", DurabilityCheckpoint, damageNewest("checkpoint_items*.sql", flip), 100, "checkpoint_*.damaged"},
		{"newest checkpoint cut off", DurabilityCheckpoint, damageNewest("checkpoint_items*.sql", cutOff), 100, "checkpoint_*.damaged"},
		{"newest checkpoint empty", DurabilityCheckpoint, damageNewest("checkpoint_items*.sql", empty), 100, "checkpoint_*.damaged"},
		{"unfinished checkpoint", DurabilityCheckpoint, unfinished, 200, ""},
		{"torn tail of the journal", DurabilityJournal, damageNewest("journal_items*.seg", tear), 200, ""},
		{"torn tail of a durable journal", DurabilityFsync, damageNewest("journal_items*.seg", tear), 200, ""},
		{"last record of the journal changed", DurabilityJournal, damageNewest("journal_items*.seg", flipLast), 150, ""},
		{"record of the journal changed", DurabilityJournal, damageNewest("journal_items*.seg", flipLastButOne), 100, "journal_*.damaged"},
		{"durable record of the journal changed", DurabilityFsync, damageNewest("journal_items*.seg", flipLastButOne), 100, "journal_*.damaged"},
		{"header of the journal", DurabilityJournal, damageNewest("journal_items*.seg", behead), 100, "journal_*.damaged"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := sqlitePlace(t)
			p.createItems(t)
			cfg := Config{CheckpointDir: t.TempDir(), Durability: c.level, SyncInterval: time.Hour}
			leaveRows(t, p, &cfg)
			strangers := putStrangers(t, cfg.CheckpointDir)
			c.damage(t, cfg.CheckpointDir)
			w := openDurable(t, p, cfg)
			if s := w.SyncStatus(); s.Recovered != c.recovered {
				t.Errorf("%d rows recovered, want %d", s.Recovered, c.recovered)
			}
			mustAdd[item](t, w, newItem(1000, "new"))
			mustSync[item](t, w)
			wantRows(t, p, "SELECT count(*) FROM items", fmt.Sprint(c.recovered+1))
			if c.aside != "" {
				if files, err := filepath.Glob(filepath.Join(cfg.CheckpointDir, c.aside)); err != nil || len(files) != 1 {
					t.Errorf("set aside: %q, %v", files, err)
				}
			}
			mustStop[item](t, w)
			if left := snapshot(t, cfg.CheckpointDir); !contains(left, strangers) {
				t.Errorf("of the files of others, %q, some were touched: now there are %q", slices.Collect(maps.Keys(strangers)), slices.Collect(maps.Keys(left)))
			}
			w = openDurable(t, p, cfg)
			if s := w.SyncStatus(); s.Recovered != 0 {
				t.Errorf("recovered once more: %+v", s)
			}
			mustStop[item](t, w)
		})
	}
}

// What a newer version wrote, or another table's columns, must be left to who
// wrote it.
func TestFilesOfAnotherVersion(t *testing.T) {
	for name, c := range map[string]struct {
		level  Durability
		change func(t *testing.T, dir string)
		text   string
	}{
		"checkpoint": {DurabilityCheckpoint, damageNewest("checkpoint_items*.sql", newerCheckpoint), "format"},
		"journal":    {DurabilityJournal, damageNewest("journal_items*.seg", newerJournal), "version 2"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := sqlitePlace(t)
			p.createItems(t)
			cfg := Config{CheckpointDir: t.TempDir(), Durability: c.level, SyncInterval: time.Hour}
			leaveRows(t, p, &cfg)
			c.change(t, cfg.CheckpointDir)
			before := snapshot(t, cfg.CheckpointDir)
			_, err := New(patient(t), itemTable(t), p.Destination, cfg)
			wantError(t, err, ErrRecovery, cfg.CheckpointDir, c.text)
			if after := snapshot(t, cfg.CheckpointDir); !maps.Equal(before, after) {
				t.Errorf("something was changed; there were %q, and are %q", slices.Collect(maps.Keys(before)), slices.Collect(maps.Keys(after)))
			}
		})
	}
}

// leaveRows leaves 100 rows in a checkpoint and 100 in another one, or in two
// records of the journal, as a process that has died.
func leaveRows(t *testing.T, p *place, cfg *Config) {
	t.Helper()
	w := openDurable(t, p, *cfg)
	for _, upTo := range []int64{100, 150, 200} {
		var rows []item // which become one record
		for i := w.SyncStatus().Total; i < upTo; i++ {
			rows = append(rows, newItem(i, fmt.Sprint("row ", i)))
		}
		_, err := w.AddBatch(patient(t), rows)
		if upTo != 150 || w.engine.disk.rows {
			err = errors.Join(err, w.Persist(patient(t)))
		}
		if upTo == 100 {
			_, checkpointErr := w.Checkpoint(patient(t))
			err = errors.Join(err, checkpointErr)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	crash(t, w, cfg)
}

// damageNewest changes the newest file with a name of the pattern.
func damageNewest(pattern string, change func([]byte) []byte) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		t.Helper()
		files, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil || len(files) == 0 {
			t.Fatal(files, err)
		}
		newest := files[len(files)-1]
		data, err := os.ReadFile(newest)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(newest, change(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func flip(b []byte) []byte   { b[len(b)/2] ^= 1; return b }
func cutOff(b []byte) []byte { return b[:len(b)*2/3] }
func empty([]byte) []byte    { return nil }
func behead(b []byte) []byte { b[20] ^= 1; return b }

var recordMagic = []byte("\xf5JR\n")

func flipLast(b []byte) []byte       { b[len(b)-1] ^= 1; return b }
func flipLastButOne(b []byte) []byte { b[bytes.LastIndex(b, recordMagic)-1] ^= 1; return b }

// tear appends the beginning of the last record once more.
func tear(b []byte) []byte {
	at := bytes.LastIndex(b, recordMagic)
	return append(b, b[at:at+(len(b)-at)/2]...)
}

func newerCheckpoint(b []byte) []byte {
	b = bytes.Replace(b, []byte("format 1"), []byte("format 2"), 1)
	body := b[:len(b)-len("00000000\n")]
	return fmt.Appendf(body, "%08x\n", crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli)))
}

func newerJournal(b []byte) []byte { b[11] = 2; return b }

// unfinished leaves what a process leaves that dies while it makes a checkpoint.
func unfinished(t *testing.T, dir string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "checkpoint_items*.sql"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	later := strings.Replace(files[0], "_000001.sql", "_000009.sql.tmp", 1)
	if err := os.WriteFile(later, []byte("-- memdbwriter checkpoint, format 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
}

// putStrangers puts files of others next to ours and returns their contents.
func putStrangers(t *testing.T, dir string) map[string]string {
	t.Helper()
	for _, name := range []string{
		"notes stranger.txt", "checkpoint_stranger-0123456789abcdef_20260101T000000Z_000001.sql",
		"checkpoint_stranger-0123456789abcdef_20260101T000000Z_000002.sql.tmp", "checkpoint_20260101_stranger.sql",
		"journal_stranger-0123456789ab_0000000000000001.seg", "stranger.lock", "items-stranger.lock",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("of "+name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return maps.Collect(func(yield func(string, string) bool) {
		for name, text := range snapshot(t, dir) {
			if strings.Contains(name, "stranger") && !yield(name, text) {
				return
			}
		}
	})
}

// snapshot returns the files of a directory, our lock left out: it tells who
// has it.
func snapshot(t *testing.T, dir string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".lock") && !strings.Contains(e.Name(), "stranger") {
			continue
		}
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		files[e.Name()] = string(data)
	}
	return files
}

// contains reports whether all files of the second are in the first.
func contains(all, some map[string]string) bool {
	for name, text := range some {
		if found, ok := all[name]; !ok || found != text {
			return false
		}
	}
	return true
}
