package memdbwriter

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/memdbwriter/memdbwriter/internal/journal/faultfs"
)

// Where everybody may write, a writer's files are in a directory of its own, and
// the next writer finds them there.
func TestADirectoryThatOthersMayWriteTo(t *testing.T) {
	if runtime.GOOS == "windows" {
		return // where access control lists are inherited
	}
	for _, level := range levels {
		dir := t.TempDir()
		if err := os.Chmod(dir, 0o777); err != nil {
			t.Fatal(err)
		}
		cfg := Config{CheckpointDir: dir, Durability: level, SyncInterval: time.Hour}
		sink, _ := gated()
		w := scriptedWriter(t, sink, cfg)
		mustAdd[item](t, w, newItem(1, "a"))
		abandon[item](w)
		entries, err := os.ReadDir(dir)
		if err != nil || len(entries) != 1 || !entries[0].IsDir() {
			t.Errorf("%s: the directory has %v, %v", level, entries, err)
		}
		w = scriptedWriter(t, &script{}, cfg)
		if s := w.SyncStatus(); s.Recovered != 1 {
			t.Errorf("%s: %+v", level, s)
		}
		mustStop[item](t, w)
	}
}

// A relative name means what it meant when the writer was made.
func TestTheDirectoryDoesNotFollowChdir(t *testing.T) {
	for _, level := range levels {
		start := t.TempDir()
		t.Chdir(start)
		sink, _ := gated()
		cfg := Config{CheckpointDir: filepath.Join("a", "b"), Durability: level, SyncInterval: time.Hour}
		w := scriptedWriter(t, sink, cfg)
		mustAdd[item](t, w, newItem(1, "a"))
		t.Chdir(t.TempDir())
		if _, err := w.Checkpoint(patient(t)); err != nil {
			t.Fatal(level, err)
		}
		abandon[item](w)
		if entries, err := os.ReadDir("."); err != nil || len(entries) > 0 {
			t.Errorf("%s: files in another directory: %v, %v", level, entries, err)
		}
		t.Chdir(start)
		w = scriptedWriter(t, &script{}, cfg)
		if s := w.SyncStatus(); s.Recovered != 1 {
			t.Errorf("%s: %+v", level, s)
		}
		mustStop[item](t, w)
	}
}

// A table whose name no checkpoint can have is refused at once, and not at each
// checkpoint.
func TestATableThatCannotBeKeptIsRefused(t *testing.T) {
	table := itemTable(t, TableName("a\nb"))
	_, err := New(patient(t), table, &Destination{scripted{&script{}}}, Config{CheckpointDir: t.TempDir()})
	wantError(t, err, ErrTable)
	w, err := New(patient(t), table, &Destination{scripted{&script{}}}, Config{})
	if err != nil {
		t.Fatal(err)
	}
	mustStop[item](t, w)
}

// A value that was put into the wrong variable is not printed if it may be a URL.
func TestABadSettingDoesNotPrintAPassword(t *testing.T) {
	const url = "postgres://u:secret@h/d"
	for _, s := range settings {
		wantNoSecret(t, s.variable, url)
	}
	for _, variable := range []string{"USE_MEMORY_DB", "MEMORY_DB_DURABILITY", "MEMORY_DB_TRUST_CHECKPOINT_DIR"} {
		wantNoSecret(t, variable, url)
		wantNoSecret(t, variable, "host=h user=u password=secret")
	}
	for _, bad := range []string{
		"sqlite:" + url, "sqlite:/" + url, "sqlite://u:secret@h/x.db", "sqlite:a.db?key=secret", "sqlite:%zz:secret", "mysql://u:secret@h/d",
		"postgres://u:secret@h:port/d", "opengauss:u:secret@h/d", "host=h password=secret", "secret",
	} {
		_, err := OpenDestination(t.Context(), bad)
		wantError(t, err, ErrConfig)
		if strings.Contains(err.Error(), "secret") {
			t.Error(err)
		}
	}
	_, err := New(patient(t), itemTable(t), &Destination{scripted{&script{}}}, Config{CheckpointDir: url})
	wantError(t, err, ErrConfig)
	if strings.Contains(err.Error(), "secret") {
		t.Error(err)
	}
}

func wantNoSecret(t *testing.T, variable, value string) {
	t.Helper()
	_, err := LoadConfig(map[string]string{variable: value})
	wantError(t, err, ErrConfig)
	if strings.Contains(err.Error(), "secret") || !strings.Contains(err.Error(), variable) {
		t.Error(err)
	}
}

// Directories that New makes are durable in their parents before anything is
// written to them, and one that cannot be made so is not left for a later writer,
// which would find it and see to nothing.
func TestNewMakesItsDirectoriesDurable(t *testing.T) {
	root := t.TempDir()
	shared := filepath.Join(root, "shared")
	if err := errors.Join(os.Mkdir(shared, 0o700), os.Chmod(shared, 0o777)); err != nil {
		t.Fatal(err)
	}
	for dir, parents := range map[string][]string{
		filepath.Join(root, "a", "b"): {root, filepath.Join(root, "a")},
		shared:                        {shared}, // below which New makes one
	} {
		if dir == shared && runtime.GOOS == "windows" {
			continue
		}
		var synced []string
		var refuse string
		begun := false
		cfg := Config{CheckpointDir: dir, fs: hookFS{before: func(op faultfs.Op, path string) error {
			switch begun = begun || op != faultfs.SyncDir; {
			case begun:
			case path == refuse:
				return errors.New("refused")
			default:
				synced = append(synced, path)
			}
			return nil
		}}}
		for _, refuse = range append(parents, "") {
			w, err := New(patient(t), itemTable(t), &Destination{scripted{&script{}}}, cfg)
			if (err == nil) != (refuse == "") {
				t.Errorf("New, with the fsync of %q refused: %v", refuse, err)
			}
			if err == nil {
				mustStop[item](t, w)
			}
		}
		if !slices.Equal(synced, parents) {
			t.Errorf("before the first file was made, fsync of %q, want %q", synced, parents)
		}
	}
}
