package memdbwriter

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
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
