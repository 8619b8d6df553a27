package main

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/memdbwriter/memdbwriter"
	"github.com/memdbwriter/memdbwriter/internal/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// item is the row of most tests. The table refuses the name "bad".
type item struct {
	ID   int64     `db:"id,key"`
	Name string    `db:"name"`
	Note *string   `db:"note"`
	Seen time.Time `db:"seen"`
}

const itemsDDL = `CREATE TABLE items (id bigint PRIMARY KEY, name text NOT NULL CHECK (name <> 'bad'), note text, seen timestamp NOT NULL)`

// place is a fresh database of either kind.
type place struct {
	url    string
	sqlite string // the file; empty for PostgreSQL
	db     *pgtest.DB
}

func onBoth(t *testing.T, test func(t *testing.T, p place)) {
	t.Run("postgres", func(t *testing.T) {
		db := pgtest.Open(t)
		test(t, place{url: db.URL, db: db})
	})
	t.Run("sqlite", func(t *testing.T) { test(t, sqlitePlace(t)) })
}

func sqlitePlace(t *testing.T) place {
	t.Helper()
	file := filepath.Join(t.TempDir(), "test.db")
	return place{url: "sqlite:" + file, sqlite: file}
}

func (p place) rows(t *testing.T, query string) (out []string) {
	t.Helper()
	if p.db != nil {
		return p.db.Rows(t, query)
	}
	db, err := sql.Open("sqlite", p.sqlite)
	check(t, err)
	defer func() { check(t, db.Close()) }()
	rows, err := db.Query("SELECT concat_ws('|', " + strings.TrimPrefix(strings.Replace(query, " FROM", ") FROM", 1), "SELECT "))
	check(t, err)
	defer rows.Close()
	for rows.Next() {
		var s string
		check(t, rows.Scan(&s))
		out = append(out, s)
	}
	check(t, rows.Err())
	return out
}

func (p place) exec(t *testing.T, statement string) {
	t.Helper()
	if p.db != nil {
		p.db.Exec(t, statement)
		return
	}
	db, err := sql.Open("sqlite", p.sqlite)
	check(t, err)
	_, err = db.Exec(statement)
	check(t, errors.Join(err, db.Close()))
}

func (p place) want(t *testing.T, query string, want ...string) {
	t.Helper()
	if got := p.rows(t, query); !slices.Equal(got, want) {
		t.Errorf("%s\n got %q\nwant %q", query, got, want)
	}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

var seen = time.Date(2026, 5, 6, 7, 8, 9, 123456000, time.UTC)

func named(id int64, name string) item { return item{ID: id, Name: name, Seen: seen} }

// life is a writer that works in a directory, and dies.
type life struct {
	t *testing.T
	w *memdbwriter.MemoryDBWriter[item]
	d *memdbwriter.Destination
}

// live starts a writer of items that syncs only when it is told to.
func live(t *testing.T, p place, dir string, level memdbwriter.Durability) *life {
	t.Helper()
	return liveOn(t, p, dir, level, "items")
}

func liveOn(t *testing.T, p place, dir string, level memdbwriter.Durability, name string) *life {
	t.Helper()
	d, err := memdbwriter.OpenDestination(t.Context(), p.url)
	check(t, err)
	table, err := memdbwriter.TableOf[item](name)
	check(t, err)
	w, err := memdbwriter.New(t.Context(), table, d, memdbwriter.Config{
		CheckpointDir: dir, Durability: level, CheckpointInterval: -1, SyncInterval: time.Hour, CheckpointRetention: time.Hour,
	})
	check(t, err)
	return &life{t, w, d}
}

func (l *life) add(rows ...item) *life {
	l.t.Helper()
	for _, r := range rows {
		check(l.t, l.w.Add(l.t.Context(), r))
	}
	return l
}

// sync stores what can be stored; refused rows are what tests want.
func (l *life) sync() *life {
	l.t.Helper()
	if err := l.w.ForceSync(l.t.Context()); err != nil && !errors.Is(err, memdbwriter.ErrRowsFailed) {
		l.t.Fatal(err)
	}
	return l
}

func (l *life) persist() *life {
	l.t.Helper()
	check(l.t, l.w.Persist(l.t.Context()))
	return l
}

func (l *life) checkpoint() string {
	l.t.Helper()
	path, err := l.w.Checkpoint(l.t.Context())
	check(l.t, err)
	return path
}

// die returns a directory with what a killed process would have left in dir,
// and ends the writer.
func (l *life) die(dir string) (left string) {
	l.t.Helper()
	left = l.t.TempDir()
	check(l.t, os.CopyFS(left, os.DirFS(dir)))
	ended, cancel := context.WithCancel(l.t.Context())
	cancel()
	_ = l.w.Stop(ended) // it does not sync any more, and says so
	check(l.t, l.d.Close())
	return left
}

// result is what the program printed.
type result struct {
	t           *testing.T
	code        int
	out, errors string
}

func tool(t *testing.T, args ...string) result {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code := run(t.Context(), args, &stdout, &stderr)
	return result{t, code, stdout.String(), stderr.String()}
}

// says fails the test unless the program ended with the code, and its output
// has all the texts.
func (r result) says(code int, texts ...string) result {
	r.t.Helper()
	for _, text := range texts {
		if !strings.Contains(r.out+r.errors, text) {
			r.t.Errorf("the output has no %q", text)
			code = -1
		}
	}
	if r.code != code {
		r.t.Errorf("exit code %d, want %d\n%s\n%s", r.code, code, r.out, r.errors)
	}
	return r
}

func (r result) silentOn(text string) {
	r.t.Helper()
	if strings.Contains(r.out+r.errors, text) {
		r.t.Errorf("the output has %q:\n%s\n%s", text, r.out, r.errors)
	}
}

func glob(t *testing.T, dir, pattern string) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, pattern))
	check(t, err)
	return paths
}

// unchanged fails the test if what is in dir is different when it ends.
func unchanged(t *testing.T, dir string) {
	t.Helper()
	picture := func() (s string) {
		entries, err := os.ReadDir(dir)
		check(t, err)
		for _, e := range entries {
			b, err := os.ReadFile(filepath.Join(dir, e.Name()))
			check(t, err)
			if filepath.Ext(e.Name()) != ".lock" {
				s += fmt.Sprintf("%s %x\n", e.Name(), b)
			}
		}
		return s
	}
	before := picture()
	t.Cleanup(func() {
		if after := picture(); after != before {
			t.Errorf("the files have changed: before\n%.2000s\nafter\n%.2000s", before, after)
		}
	})
}
