package memdbwriter

import (
	"context"
	"database/sql"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/memdbwriter/memdbwriter/internal/pgtest"
)

// item is the row of most tests: a key, something that changes, something that
// later stages own, something that alone is no reason to write.
type item struct {
	ID    int64     `db:"id,key"`
	Name  string    `db:"name"`
	Note  *string   `db:"note"`
	Stage string    `db:"stage,insertonly"`
	Seen  time.Time `db:"seen,passive"`
}

// Rows whose name is this one break a rule of the test table.
const badName = "bad"

// place is a destination under test and a way to look into it.
type place struct {
	*Destination
	query func(tb testing.TB, sql string) []string // rows, their values joined by "|"
	exec  func(tb testing.TB, sql string)
}

// places are the kinds of destination that every behaviour holds for.
var places = map[string]func(testing.TB) *place{
	"postgres": postgresPlace,
	"sqlite":   sqlitePlace,
}

func postgresPlace(tb testing.TB) *place {
	tb.Helper()
	db := pgtest.Open(tb)
	d, err := OpenDestination(context.Background(), db.URL)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { d.Close() })
	return &place{
		Destination: d,
		query:       func(tb testing.TB, sql string) []string { tb.Helper(); return db.Rows(tb, sql) },
		exec:        func(tb testing.TB, sql string) { tb.Helper(); db.Exec(tb, sql) },
	}
}

func sqlitePlace(tb testing.TB) *place {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), "test.db")
	d, err := SQLite(path)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { d.Close() })
	db, err := sql.Open("sqlite", "file:"+path+"?_busy_timeout=10000")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { db.Close() })
	return &place{
		Destination: d,
		query:       func(tb testing.TB, query string) []string { tb.Helper(); return queryText(tb, db, query) },
		exec: func(tb testing.TB, query string) {
			tb.Helper()
			if _, err := db.Exec(query); err != nil {
				tb.Fatal(err)
			}
		},
	}
}

func queryText(tb testing.TB, db *sql.DB, query string) []string {
	tb.Helper()
	rows, err := db.Query(query)
	if err != nil {
		tb.Fatal(err)
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		tb.Fatal(err)
	}
	var out []string
	for rows.Next() {
		values, scan := make([]sql.NullString, len(columns)), make([]any, len(columns))
		for i := range values {
			scan[i] = &values[i]
		}
		if err := rows.Scan(scan...); err != nil {
			tb.Fatal(err)
		}
		texts := make([]string, len(columns))
		for i, v := range values {
			texts[i] = "NULL"
			if v.Valid {
				texts[i] = v.String
			}
		}
		out = append(out, strings.Join(texts, "|"))
	}
	if err := rows.Err(); err != nil {
		tb.Fatal(err)
	}
	return out
}

// createItems makes the table of item. Its rule about names is one that only
// the database knows.
func (p *place) createItems(tb testing.TB) {
	tb.Helper()
	p.exec(tb, `CREATE TABLE items (id bigint PRIMARY KEY, name text NOT NULL CONSTRAINT no_bad CHECK (name <> '`+badName+`'),
		note text, stage text NOT NULL, seen timestamp NOT NULL)`)
}

// itemTable is the table that createItems made.
func itemTable(tb testing.TB, opts ...TableOption) Table[item] {
	tb.Helper()
	table, err := TableOf[item]("items", opts...)
	if err != nil {
		tb.Fatal(err)
	}
	return table
}

// writers are the ways to open a writer that every behaviour holds for.
var writers = map[string]bool{"memory": false, "batch": true}

// everywhere runs a test for each kind of destination and each writer, on an
// existing, empty table of items.
func everywhere(t *testing.T, test func(t *testing.T, p *place, open func(Config) Writer[item])) {
	t.Helper()
	for where, place := range places {
		for kind, batch := range writers {
			t.Run(where+"/"+kind, func(t *testing.T) {
				t.Parallel()
				p := place(t)
				p.createItems(t)
				test(t, p, func(cfg Config) Writer[item] {
					cfg.DisableMemoryDB = batch
					return openWriter(t, itemTable(t), p.Destination, cfg)
				})
			})
		}
	}
}

// openWriter opens a writer that is stopped when the test ends, unless the
// test has done so.
func openWriter[T any](tb testing.TB, table Table[T], d *Destination, cfg Config) Writer[T] {
	tb.Helper()
	w, err := Open(context.Background(), table, d, cfg)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { abandon(w) })
	return w
}

// abandon stops a writer and whatever it holds.
func abandon[T any](w Writer[T]) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	w.Stop(ctx)
}

// patient bounds a call that should succeed, so that a broken writer fails the
// test and does not hang it.
func patient(tb testing.TB) context.Context {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	tb.Cleanup(cancel)
	return ctx
}

var testTime = time.Date(2026, 5, 6, 7, 8, 9, 123456000, time.UTC)

func newItem(id int64, name string) item {
	return item{ID: id, Name: name, Stage: "new", Seen: testTime}
}

func mustAdd[T any](tb testing.TB, w Writer[T], rows ...T) {
	tb.Helper()
	for i := range rows {
		if err := w.Add(patient(tb), rows[i]); err != nil {
			tb.Fatal(err)
		}
	}
}

func mustSync[T any](tb testing.TB, w Writer[T]) {
	tb.Helper()
	if err := w.ForceSync(patient(tb)); err != nil {
		tb.Fatal(err)
	}
}

func mustStop[T any](tb testing.TB, w Writer[T]) {
	tb.Helper()
	if err := w.Stop(patient(tb)); err != nil {
		tb.Fatal(err)
	}
}

func wantRows(tb testing.TB, p *place, sql string, want ...string) {
	tb.Helper()
	if got := p.query(tb, sql); fmt.Sprint(got) != fmt.Sprint(want) {
		tb.Fatalf("%s\n got %q\nwant %q", sql, got, want)
	}
}

// wantBalance checks the ledger: every row is in exactly one place.
func wantBalance(tb testing.TB, s SyncStatus) {
	tb.Helper()
	var sum int64
	for _, n := range []int64{s.Pending, s.Synced, s.Superseded, s.Failed, s.Skipped, s.Discarded, s.Lost, s.Deleted} {
		if sum += n; n < 0 {
			tb.Fatalf("a count is negative: %+v", s)
		}
	}
	if sum != s.Total+s.Recovered || s.Progress < 0 || s.Progress > 100 {
		tb.Fatalf("the ledger does not balance: %+v", s)
	}
}
