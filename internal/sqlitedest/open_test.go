package sqlitedest

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/memdbwriter/memdbwriter/internal/dest"
)

func TestOpenRefusesWhatIsNotDurable(t *testing.T) {
	for _, path := range []string{"", ":memory:", "a\x00b"} {
		if db, err := Open(path); err == nil {
			db.Close()
			t.Errorf("%q was taken", path)
		}
	}
}

func TestAFileNameIsTakenLiterally(t *testing.T) {
	for _, name := range []string{
		"a b.db", "what?mode=memory.db", "50%.db", "%41.db", "a#b.db", "a&b=c;d.db", "file:x.db", "ünï-文件-🗄.db", `"q'.db`, "-", "+.db",
	} {
		dir := t.TempDir()
		path := filepath.Join(dir, name)
		db := newDB(t, path)
		if _, err := bind(t, db, table("t", "k bigint")).Write(ctx, batch(t, table("t", "k bigint"), row{1})); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := db.Close(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		if len(entries) != 1 || entries[0].Name() != name {
			t.Errorf("%s: the directory has %v", name, entries)
		}
	}
}

func TestARelativePathOutlivesChdir(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	db := newDB(t, "catalog.db")
	t.Chdir(t.TempDir())
	if err := bind(t, db, table("t", "k bigint")).Check(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "catalog.db")); err != nil {
		t.Error(err)
	}
}

func TestTroubleWithTheFileIsNamedAndCanBeMended(t *testing.T) {
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	// header makes a database with one byte of its header changed.
	header := func(path string, offset int, value byte) {
		r := newReader(t, path)
		r.exec("CREATE TABLE other(x)")
		must(r.db.Close())
		data, err := os.ReadFile(path)
		must(err)
		data[offset] = value
		must(os.WriteFile(path, data, 0o600))
	}
	cases := []struct {
		name       string
		harm, mend func(path string)
		says       []string
	}{
		{
			"no directory", func(string) {}, func(path string) { must(os.MkdirAll(filepath.Dir(path), 0o700)) },
			[]string{"unable to open database file", "does not exist: create it"},
		},
		{
			"a directory", func(path string) { must(os.MkdirAll(path, 0o700)) }, func(path string) { must(os.Remove(path)) },
			[]string{"the path is a directory"},
		},
		{"not a database", func(path string) {
			must(os.MkdirAll(filepath.Dir(path), 0o700))
			must(os.WriteFile(path, []byte(strings.Repeat("set,path\n", 1000)), 0o600))
		}, func(path string) { must(os.Remove(path)) }, []string{"not an SQLite database"}},
		// The version tells SQLite that it may only read. Permissions would not
		// keep root from writing.
		{"read-only", func(path string) {
			must(os.MkdirAll(filepath.Dir(path), 0o700))
			header(path, 18, 9)
		}, func(path string) { must(os.Remove(path)) }, []string{"readonly", "let this user write"}},
		{"damaged", func(path string) {
			must(os.MkdirAll(filepath.Dir(path), 0o700))
			header(path, 100, 77)
		}, func(path string) { must(os.Remove(path)) }, []string{"malformed", "integrity_check"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "dir", "catalog.db")
			tab := table("t", "k bigint")
			s := bind(t, newDB(t, path), tab)
			c.harm(path)
			asError(t, s.Check(ctx), dest.ClassTable, c.says...)
			_, err := s.Write(ctx, batch(t, tab, row{1}))
			asError(t, err, dest.ClassTable, c.says...)
			c.mend(path)
			if _, err := s.Write(ctx, batch(t, tab, row{1})); err != nil {
				t.Error("after mending:", err)
			}
		})
	}
}

func TestAFullDiskIsTransient(t *testing.T) {
	f := newFixture(t, table("t", "k bigint", "v text"))
	f.mustWrite(row{1, "a"})
	pragma := func(q string) {
		t.Helper()
		if _, err := f.db.conn.ExecContext(ctx, q); err != nil {
			t.Fatal(err)
		}
	}
	pragma("PRAGMA max_page_count = 10")
	big := strings.Repeat("x", 100_000)
	asError(t, f.write(row{1, "b"}, row{2, big}), dest.ClassTransient, "full", "free some space")
	f.want("SELECT * FROM t", "1|a")
	pragma("PRAGMA max_page_count = 10000")
	f.mustWrite(row{1, "b"}, row{2, big})
	f.want("SELECT k, length(v) FROM t", "1|1\n2|100000")
}

func TestADeletedFileIsNoticed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "catalog.db")
	tab := table("t", "k bigint")
	s := bind(t, newDB(t, path), tab)
	if _, err := s.Write(ctx, batch(t, tab, row{1})); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{path, path + "-wal", path + "-shm"} {
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
	}
	_, err := s.Write(ctx, batch(t, tab, row{2}))
	asError(t, err, dest.ClassTransient, "deleted, moved or replaced")
	if _, err := s.Write(ctx, batch(t, tab, row{3})); err != nil {
		t.Fatal(err)
	}
	newReader(t, path).want("SELECT k FROM t", "3")
}

func TestCloseLeavesOneFileAndEndsTheDB(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "catalog.db")
	db := newDB(t, path)
	tab := table("t", "k bigint")
	s := bind(t, db, tab)
	if _, err := s.Write(ctx, batch(t, tab, row{1})); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != 1 {
		t.Errorf("files %v, error %v; want one file", files, err)
	}
	_, err := s.Write(ctx, batch(t, tab, row{2}))
	asError(t, err, dest.ClassTable, "closed")
	asError(t, s.Check(ctx), dest.ClassTable, "closed")
	newReader(t, path).want("SELECT k FROM t", "1")
}

func TestCloseWithAReaderMovesTheRowsIntoTheFile(t *testing.T) {
	f := newFixture(t, table("t", "k bigint"))
	f.mustWrite(row{1})
	f.want("SELECT count(*) FROM t", "1") // and stays connected
	if err := f.db.Close(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(f.db.path)
	if err != nil {
		t.Fatal(err)
	}
	alone := filepath.Join(t.TempDir(), "copy.db")
	if err := os.WriteFile(alone, data, 0o600); err != nil {
		t.Fatal(err)
	}
	newReader(t, alone).want("SELECT k FROM t", "1")
}

func TestAContextEndsAStatement(t *testing.T) {
	f := newFixture(t, table("t", "k bigint"), "CREATE TABLE t(k INTEGER PRIMARY KEY)",
		`CREATE TRIGGER forever AFTER INSERT ON t WHEN new.k = 2 BEGIN
			SELECT count(*) FROM (WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT x FROM n);
		END`)
	f.mustWrite(row{1})
	short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	_, err := f.Write(short, batch(t, f.table, row{3}, row{2}))
	asError(t, err, dest.ClassTransient)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v, want the context's", err)
	}
	f.want("SELECT k FROM t", "1")
	f.mustWrite(row{4})
	f.want("SELECT k FROM t", "1\n4")
}
