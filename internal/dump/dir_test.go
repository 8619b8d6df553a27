package dump

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/memdbwriter/memdbwriter/internal/journal/fsys"
	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

func names(tb testing.TB, d Dir) (names []string) {
	tb.Helper()
	entries, err := os.ReadDir(d.Path)
	if err != nil {
		tb.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func nothingLeft(tb testing.TB, d Dir) {
	tb.Helper()
	if left := names(tb, d); left != nil {
		tb.Errorf("left behind: %q", left)
	}
}

// aged makes n checkpoints, one an hour, and returns the time after the last.
func aged(tb testing.TB, d Dir, n int) time.Time {
	tb.Helper()
	table, batch := tableOf(tb, "files", edgeRows()...)
	m := meta(table)
	for range n {
		dumped(tb, d, m, batch)
		m.Created = m.Created.Add(time.Hour)
	}
	return m.Created
}

func all(Info) bool { return true }

func TestNamesSortByAgeAndSuitBackupJobs(t *testing.T) {
	d := dirOf(t)
	aged(t, d, 12)
	infos, err := d.List()
	if err != nil {
		t.Fatal(err)
	}
	got := names(t, d)
	if len(got) != 12 || len(infos) != 12 {
		t.Fatalf("%d files, %d listed", len(got), len(infos))
	}
	slices.Reverse(infos)
	for i, info := range infos {
		ok, err := filepath.Match("checkpoint_files-*_20261123T*Z_0000*.sql", got[i])
		if !ok || err != nil || filepath.Base(info.Path) != got[i] || info.Number != uint64(i+1) {
			t.Errorf("%s, and checkpoint %d is %s", got[i], info.Number, info.Path)
		}
	}
}

func TestClockThatGoesBackDoesNotChangeTheOrder(t *testing.T) {
	d := dirOf(t)
	table, batch := tableOf(t, "files", edgeRows()...)
	m := meta(table)
	dumped(t, d, m, batch)
	m.Created = m.Created.Add(-24 * time.Hour)
	last := dumped(t, d, m, batch)
	if infos, err := d.List(); err != nil || len(infos) != 2 || infos[0].Path != last.Path {
		t.Errorf("%+v, %v", infos, err)
	}
}

func TestIdentitiesAreDistinctFileNames(t *testing.T) {
	seen := map[string]bool{}
	for _, id := range [][2]string{{"a", "b"}, {"a", "c"}, {"A", "b"}, {"ab", ""}, {"", "ab"}, {`a"b`, ""}, {"a/../b", ""}, {"a\\..\\b", ""}, {"größe", ""}, {strings.Repeat("x", 300), ""}, {strings.Repeat("x", 301), ""}} {
		s := Identity(id[0], id[1])
		if folded := strings.ToLower(s); seen[folded] || checkIdentity(s) != nil || len(s) > 60 || s != Identity(id[0], id[1]) {
			t.Errorf("%q: %q", id, s)
		}
		seen[strings.ToLower(s)] = true
	}
	for _, s := range []string{"", "a/b", "a\\b", "ä", "a b", "*"} {
		if _, err := (Dir{Path: t.TempDir(), Identity: s}).List(); err == nil {
			t.Errorf("%q is taken for an identity", s)
		}
	}
}

func TestRetireDeletesByAgeFromTheOldest(t *testing.T) {
	d := dirOf(t)
	end := aged(t, d, 5)
	before := names(t, d)
	// The third is needed, so those after it stay as well.
	deleted, err := d.Retire(end, func(i Info) bool { return i.Number != 3 })
	if err != nil || len(deleted) != 2 || !slices.Equal(names(t, d), before[2:]) {
		t.Errorf("deleted %q, %v; there are %q", deleted, err, names(t, d))
	}
	// The fifth is not old enough.
	deleted, err = d.Retire(end.Add(-time.Hour), all)
	if err != nil || len(deleted) != 2 || !slices.Equal(names(t, d), before[4:]) {
		t.Errorf("deleted %q, %v; there are %q", deleted, err, names(t, d))
	}
	if deleted, err = d.Retire(end, all); err != nil || len(deleted) != 1 {
		t.Errorf("deleted %q, %v", deleted, err)
	}
	nothingLeft(t, d)
}

// A checkpoint that was made while the clock was ahead is as old as the one after
// it, and does not keep all others for ever.
func TestRetireAfterTheClockWasAhead(t *testing.T) {
	d := dirOf(t)
	end := aged(t, d, 3)
	stamp := created
	created = end.Add(1000 * time.Hour)
	aged(t, d, 2)
	created = stamp
	if deleted, err := d.Retire(end, all); err != nil || len(deleted) != 3 {
		t.Fatalf("deleted %q, %v; nothing says yet that the clock was ahead", deleted, err)
	}
	aged(t, d, 1)
	before := names(t, d)
	if deleted, err := d.Retire(end.Add(-time.Hour), all); err != nil || len(deleted) != 3 {
		t.Errorf("deleted %q, %v, of %q", deleted, err, before)
	}
}

func TestWhatIsNotOursIsNeverTouched(t *testing.T) {
	d := dirOf(t)
	end := aged(t, d, 1)
	other := Dir{Path: d.Path, Identity: Identity("files", "another")}
	aged(t, other, 1)
	named := func(id string, n uint64) string { return fileName(id, created, n) }
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(d.Path, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("checkpoint_mine.sql", "a stranger's")
	write("checkpoint_"+d.Identity+"_notes.sql", "a stranger's")
	write("checkpoint_"+d.Identity+"_20261123T074246Z_7.sql", "no name of ours: the number is too short")
	write("copy of "+named(d.Identity, 20), "a stranger's")
	write(named(d.Identity+"x", 21), "a stranger's")
	write(named(d.Identity, 22)+".damaged", "set aside")
	write(named(other.Identity, 23)+".tmp", "being written by another")
	target := filepath.Join(t.TempDir(), "target")
	if err := os.WriteFile(target, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, suffix := range []string{"", ".tmp"} {
		if err := os.Symlink(target, filepath.Join(d.Path, named(d.Identity, 24)+suffix)); err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(filepath.Join(d.Path, named(d.Identity, 25)+suffix), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	before := names(t, d)
	if infos, err := d.List(); err != nil || len(infos) != 1 || infos[0].Number != 1 || infos[0].Err != nil {
		t.Errorf("listed %+v, %v", infos, err)
	}
	for _, name := range before {
		if name == named(d.Identity, 1) {
			continue
		}
		path := filepath.Join(d.Path, name)
		if _, _, err := read(d, path, Table{}); err == nil || errors.Is(err, ErrDamaged) {
			t.Errorf("reading %s: %v", name, err)
		}
	}
	if deleted, err := d.Sweep(); err != nil || deleted != nil {
		t.Errorf("swept %q, %v", deleted, err)
	}
	if deleted, err := d.Retire(end, all); err != nil || len(deleted) != 1 {
		t.Errorf("deleted %q, %v", deleted, err)
	}
	after := slices.DeleteFunc(before, func(name string) bool { return name == named(d.Identity, 1) })
	if got := names(t, d); !slices.Equal(got, after) {
		t.Errorf("there are   %q\nthere were %q", got, after)
	}
	if text, err := os.ReadFile(target); err != nil || string(text) != "precious" {
		t.Errorf("%q, %v", text, err)
	}
	// And none of their numbers is given to a file of ours.
	table, batch := tableOf(t, "files", edgeRows()...)
	if info := dumped(t, d, meta(table), batch); info.Number != 26 {
		t.Errorf("number %d", info.Number)
	}
}

func TestDamagedFilesAreListedAndKept(t *testing.T) {
	d := dirOf(t)
	end := aged(t, d, 2)
	table, _ := tableOf[everyType](t, "files")
	path := filepath.Join(d.Path, fileName(d.Identity, created, 9))
	if err := os.WriteFile(path, []byte("cut off"), 0o600); err != nil {
		t.Fatal(err)
	}
	infos, err := d.List()
	if err != nil || len(infos) != 3 || infos[0].Path != path || !errors.Is(infos[0].Err, ErrDamaged) {
		t.Fatalf("listed %+v, %v", infos, err)
	}
	damaged(t, d, path, table, "cut off")
	if deleted, err := d.Retire(end, all); err != nil || len(deleted) != 2 {
		t.Errorf("deleted %q, %v", deleted, err)
	}
	if left := names(t, d); len(left) != 1 {
		t.Errorf("left: %q", left)
	}
}

func TestUnfinishedFilesOfAKilledProcessAreSwept(t *testing.T) {
	d := dirOf(t)
	end := aged(t, d, 1)
	table, batch := tableOf(t, "files", edgeRows()...)
	m := meta(table)
	m.Created = end
	w, err := d.Create(m)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.WriteRows(batch); err != nil {
		t.Fatal(err)
	}
	if infos, err := d.List(); err != nil || len(infos) != 1 {
		t.Errorf("an unfinished checkpoint is listed: %+v, %v", infos, err)
	}
	if err := w.file.Close(); err != nil { // as the process ends
		t.Fatal(err)
	}
	if deleted, err := d.Sweep(); err != nil || len(deleted) != 1 || deleted[0] != w.temp {
		t.Errorf("swept %q, %v", deleted, err)
	}
	if left := names(t, d); len(left) != 1 {
		t.Errorf("left: %q", left)
	}
}

func TestAbortLeavesNothing(t *testing.T) {
	d := dirOf(t)
	table, batch := tableOf(t, "files", edgeRows()...)
	w, err := d.Create(meta(table))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.WriteRows(batch), w.Abort(), w.Abort()); err != nil {
		t.Fatal(err)
	}
	if err := w.WriteRows(batch); err == nil {
		t.Error("rows are taken after Abort")
	}
	if _, err := w.Commit(); err == nil {
		t.Error("Commit after Abort")
	}
	nothingLeft(t, d)
	info := dumped(t, d, meta(table), batch)
	if _, err := os.Stat(info.Path); err != nil {
		t.Error(err)
	}
}

func TestAbortAfterCommitDoesNothing(t *testing.T) {
	d := dirOf(t)
	table, batch := tableOf(t, "files", edgeRows()...)
	w, err := d.Create(meta(table))
	if err != nil {
		t.Fatal(err)
	}
	if err := w.WriteRows(batch); err != nil {
		t.Fatal(err)
	}
	info, err := w.Commit()
	if err := errors.Join(err, w.Abort()); err != nil {
		t.Fatal(err)
	}
	got, _ := loaded(t, d, info.Path, table)
	sameRows(t, &got.batch, batch)
}

// faulty is a file system whose n-th change fails.
type faulty struct {
	fsys.FS
	n    int
	last string // what failed
}

var errFull = &fs.PathError{Op: "test", Path: "file", Err: syscall.ENOSPC}

func (f *faulty) next(op string) error {
	if f.n--; f.n != 0 {
		return nil
	}
	f.last = op
	return errFull
}

func (f *faulty) OpenFile(name string, flag int, perm fs.FileMode) (fsys.File, error) {
	if err := f.next("open"); err != nil {
		return nil, err
	}
	file, err := f.FS.OpenFile(name, flag, perm)
	return &faultyFile{file, f}, err
}

func (f *faulty) Rename(from, to string) error {
	if err := f.next("rename"); err != nil {
		return err
	}
	return f.FS.Rename(from, to)
}

func (f *faulty) SyncDir(dir string) error {
	if err := f.next("sync directory"); err != nil {
		return err
	}
	return f.FS.SyncDir(dir)
}

type faultyFile struct {
	fsys.File
	fs *faulty
}

func (f *faultyFile) WriteAt(b []byte, off int64) (int, error) {
	if err := f.fs.next("write"); err != nil {
		n, _ := f.File.WriteAt(b[:len(b)/2], off)
		return n, err
	}
	return f.File.WriteAt(b, off)
}

func (f *faultyFile) Sync() error {
	if err := f.fs.next("sync"); err != nil {
		return err
	}
	return f.File.Sync()
}

func (f *faultyFile) Close() error { return errors.Join(f.fs.next("close"), f.File.Close()) }

// A disk that is full, or broken, at any point: the checkpoint before this one
// is still there, and there is nothing half done.
func TestFailuresOfTheFileSystemLeaveTheLastCheckpoint(t *testing.T) {
	table, batch := tableOf(t, "files", catalogueRows(1000)...)
	var ops []string
	for n := 1; ; n++ {
		d := dirOf(t)
		dumped(t, d, meta(table), batch)
		broken := &faulty{FS: fsys.OS, n: n}
		info, err := attempt(Dir{Path: d.Path, Identity: d.Identity, FS: broken}, meta(table), batch)
		if broken.last == "" {
			if err != nil {
				t.Fatal(err)
			}
			break
		}
		ops = append(ops, broken.last)
		if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), d.Path) && broken.last != "open" || info.Path != "" {
			t.Errorf("%s fails: %+v, %v", broken.last, info, err)
		}
		want := 1
		if broken.last == "sync directory" { // the file is there, but for how long is not known
			want = 2
		}
		infos, err := d.List()
		if err != nil || len(infos) != want || len(names(t, d)) != want {
			t.Errorf("%s fails: there is %q, %v", broken.last, names(t, d), err)
		}
		for _, info := range infos {
			got, _ := loaded(t, d, info.Path, table)
			sameRows(t, &got.batch, batch)
		}
	}
	if want := []string{"open", "write", "write", "write", "sync", "close", "rename", "sync directory"}; !slices.Equal(ops, want) {
		t.Errorf("these failed: %q\nwant         %q", ops, want)
	}
}

func attempt(d Dir, m Meta, b *tuple.Batch) (Info, error) {
	w, err := d.Create(m)
	if err != nil {
		return Info{}, err
	}
	if err := w.WriteRows(b); err != nil {
		return Info{}, err
	}
	return w.Commit()
}

func TestCommitDoesNotReplaceAnything(t *testing.T) {
	d := dirOf(t)
	table, batch := tableOf(t, "files", edgeRows()...)
	w, err := d.Create(meta(table))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(w.info.Path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := w.WriteRows(batch); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Commit(); !errors.Is(err, fs.ErrExist) {
		t.Errorf("%v", err)
	}
	if text := contentOf(t, w.info.Path); string(text) != "precious" {
		t.Errorf("%q", text)
	}
}
