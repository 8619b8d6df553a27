package sqlitedest

import (
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/memdbwriter/memdbwriter/internal/dest"
	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

var ctx = context.Background()

func TestMain(m *testing.M) {
	if runChild() {
		return
	}
	goleak.VerifyTestMain(m)
}

// col makes a column: "name type option..." with the options null,
// insertonly and passive.
func col(spec string) dest.Column {
	words := strings.Fields(spec)
	c := dest.Column{Column: tuple.Column{Name: words[0]}}
	for t := tuple.Bool; t <= tuple.Types; t++ {
		if strings.ReplaceAll(t.String(), " ", "") == words[1] {
			c.Type = t
		}
	}
	c.Nullable = slices.Contains(words, "null")
	c.InsertOnly = slices.Contains(words, "insertonly")
	c.Passive = slices.Contains(words, "passive")
	return c
}

// table makes a table whose first column is the key.
func table(name string, columns ...string) *dest.Table {
	t := &dest.Table{Name: name, Keys: 1}
	for _, c := range columns {
		t.Columns = append(t.Columns, col(c))
	}
	return t
}

// batch makes tuples of rows whose values are as tuple.Value returns them.
func batch(t testing.TB, tab *dest.Table, rows ...[]any) *tuple.Batch {
	t.Helper()
	b := &tuple.Batch{}
	for i, row := range rows {
		data := binary.BigEndian.AppendUint16(nil, uint16(len(row)))
		for j, v := range row {
			if n, ok := v.(int); ok {
				v = int64(n)
			}
			var err error
			if data, err = tuple.AppendValue(data, tab.Columns[j].Type, v); err != nil {
				t.Fatal(err)
			}
		}
		b.Append(int64(i+1), data)
	}
	return b
}

type row = []any

func newDB(t testing.TB, path string) *DB {
	t.Helper()
	db, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

func bind(t testing.TB, db *DB, tab *dest.Table) dest.Sink {
	t.Helper()
	s, err := db.Bind(tab, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// fixture is a sink on a file of its own, and what a reader sees in it.
type fixture struct {
	*reader
	dest.Sink
	db    *DB
	table *dest.Table
}

func newFixture(t testing.TB, tab *dest.Table, before ...string) *fixture {
	t.Helper()
	path := filepath.Join(t.TempDir(), "catalog.db")
	r := newReader(t, path)
	for _, q := range before {
		r.exec(q)
	}
	db := newDB(t, path)
	return &fixture{reader: r, Sink: bind(t, db, tab), db: db, table: tab}
}

func (f *fixture) write(rows ...row) error {
	f.t.Helper()
	_, err := f.Write(ctx, batch(f.t, f.table, rows...))
	return err
}

func (f *fixture) mustWrite(rows ...row) {
	f.t.Helper()
	if err := f.write(rows...); err != nil {
		f.t.Fatal(err)
	}
}

// reader is another program that uses the file.
type reader struct {
	t  testing.TB
	db *sql.DB
}

func newReader(t testing.TB, path string) *reader {
	t.Helper()
	db, err := sql.Open("sqlite", dsn(path, lockTimeout))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return &reader{t, db}
}

func (r *reader) exec(query string) {
	r.t.Helper()
	if _, err := r.db.Exec(query); err != nil {
		r.t.Fatalf("%s: %v", query, err)
	}
}

// query returns a line per row.
func (r *reader) query(query string) string {
	r.t.Helper()
	rows, err := r.db.Query(query)
	if err != nil {
		r.t.Fatalf("%s: %v", query, err)
	}
	defer rows.Close()
	names, err := rows.Columns()
	if err != nil {
		r.t.Fatal(err)
	}
	var lines []string
	for rows.Next() {
		values := make([]any, len(names))
		for i := range values {
			values[i] = new(any)
		}
		if err := rows.Scan(values...); err != nil {
			r.t.Fatal(err)
		}
		var words []string
		for _, v := range values {
			words = append(words, fmt.Sprint(*v.(*any)))
		}
		lines = append(lines, strings.Join(words, "|"))
	}
	if err := rows.Err(); err != nil {
		r.t.Fatal(err)
	}
	return strings.Join(lines, "\n")
}

func (r *reader) want(query, want string) {
	r.t.Helper()
	if got := r.query(query); got != want {
		r.t.Errorf("%s\ngot:\n%s\nwant:\n%s", query, got, want)
	}
}

// asError checks the class and the text of an error.
func asError(t testing.TB, err error, class dest.Class, parts ...string) *dest.Error {
	t.Helper()
	var e *dest.Error
	if !errors.As(err, &e) {
		t.Fatalf("error is %v, want a *dest.Error", err)
	}
	if e.Class != class {
		t.Errorf("class %v, want %v: %v", e.Class, class, err)
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Errorf("the error does not say %q: %v", p, err)
		}
	}
	return e
}
