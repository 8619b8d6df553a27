package memdbwriter

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// What an earlier process left may be damaged. As much as is whole is used, what
// is not is kept under another name, and files of others are not touched.
func TestDamagedFiles(t *testing.T) {
	for _, c := range []struct {
		name      string
		level     Durability
		damage    func(t *testing.T, dir string)
		recovered int64 // of 100 rows in a record, and twice 50
		aside     string
	}{
		{"torn tail of the journal", DurabilityJournal, damageNewest("journal_items*.seg", tear), 200, ""},
		{"torn tail of a durable journal", DurabilityFsync, damageNewest("journal_items*.seg", tear), 200, ""},
		{"last record of the journal changed", DurabilityJournal, damageNewest("journal_items*.seg", flipLast), 150, ""},
		{"record of the journal changed", DurabilityJournal, damageNewest("journal_items*.seg", flipLastButOne), 100, ""},
		{"durable record of the journal changed", DurabilityFsync, damageNewest("journal_items*.seg", flipLastButOne), 100, "journal_*.damaged"},
		{"sequence numbers near 2^63, all checksums right", DurabilityJournal, damageNewest("journal_items*.seg", nearTheEnd), 150, ""},
		{"header of the journal", DurabilityJournal, damageNewest("journal_items*.seg", behead), 0, "journal_*.damaged"},
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
			if _, err := w.Checkpoint(patient(t)); err != nil {
				t.Fatal(err)
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
		"journal": {DurabilityJournal, damageNewest("journal_items*.seg", newerJournal), "version 2"},
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

// leaveRows leaves 200 rows in three records of the journal, as a process that has
// died.
func leaveRows(t *testing.T, p *place, cfg *Config) {
	t.Helper()
	w := openDurable(t, p, *cfg)
	for _, upTo := range []int64{100, 150, 200} {
		var rows []item // which become one record
		for i := w.SyncStatus().Total; i < upTo; i++ {
			rows = append(rows, newItem(i, fmt.Sprint("row ", i)))
		}
		_, err := w.AddBatch(patient(t), rows)
		if err = errors.Join(err, w.Persist(patient(t))); err != nil {
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

func behead(b []byte) []byte { b[20] ^= 1; return b }

var recordMagic = []byte("\xf5JR\n")

func flipLast(b []byte) []byte       { b[len(b)-1] ^= 1; return b }
func flipLastButOne(b []byte) []byte { b[bytes.LastIndex(b, recordMagic)-1] ^= 1; return b }

// nearTheEnd gives the rows of the last record sequence numbers after which hardly
// any are left, as somebody can who may write to the file: the checksum of a record
// begins with that of the header.
func nearTheEnd(b []byte) []byte {
	castagnoli, size := crc32.MakeTable(crc32.Castagnoli), binary.BigEndian.Uint32(b[12:])
	seed := binary.BigEndian.Uint32(b[size-4:])
	head := b[bytes.LastIndex(b, recordMagic):][:40]
	if crc32.Update(seed, castagnoli, head[:36]) != binary.BigEndian.Uint32(head[36:]) {
		return nil // the format is another one, and nothing is recovered
	}
	binary.BigEndian.PutUint64(head[12:], math.MaxInt64-60)
	binary.BigEndian.PutUint32(head[36:], crc32.Update(seed, castagnoli, head[:36]))
	return b
}

// tear appends the beginning of the last record once more.
func tear(b []byte) []byte {
	at := bytes.LastIndex(b, recordMagic)
	return append(b, b[at:at+(len(b)-at)/2]...)
}

func newerJournal(b []byte) []byte { b[11] = 2; return b }

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
