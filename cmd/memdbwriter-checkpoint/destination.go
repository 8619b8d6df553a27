package main

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/stdlib"
	_ "modernc.org/sqlite" // the driver for looking

	"github.com/memdbwriter/memdbwriter/internal/dest"
	"github.com/memdbwriter/memdbwriter/internal/pgdest"
	"github.com/memdbwriter/memdbwriter/internal/sqlitedest"
	"github.com/memdbwriter/memdbwriter/internal/tuple"
	"github.com/memdbwriter/memdbwriter/opengauss"
)

// destination is what the rows are written to, and a connection of its own for
// looking at what is there.
type destination struct {
	dest.Destination
	look     *sql.DB // nil: a file that is not there yet
	postgres bool
}

// openDestination does no I/O but for looking whether an SQLite file is there.
func openDestination(rawURL string) (*destination, error) {
	scheme, rest, _ := strings.Cut(rawURL, ":")
	switch scheme {
	case "postgres", "postgresql", "opengauss":
		db, err := pgdest.Open(rawURL)
		if err != nil {
			return nil, usageError{err}
		}
		config, err := opengauss.ParseConfig(rawURL)
		if err != nil {
			return nil, errors.Join(errors.New("the database URL is not valid"), db.Close()) // its text may hold the password
		}
		config.RuntimeParams["timezone"] = "UTC" // of times without a zone, as they are written
		return &destination{db, stdlib.OpenDB(*config), true}, nil
	case "sqlite", "sqlite3":
		path, err := url.PathUnescape(strings.TrimPrefix(rest, "//"))
		if err != nil {
			return nil, usageError{err}
		}
		db, err := sqlitedest.Open(path)
		if err != nil {
			return nil, usageError{err}
		}
		d := &destination{Destination: db}
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			if _, err := os.Stat(filepath.Dir(path)); err != nil { // which is not made
				return nil, errors.Join(err, d.Close())
			}
			return d, nil
		}
		if path, err = filepath.Abs(path); err != nil {
			return nil, err
		}
		u := url.URL{Scheme: "file", Path: filepath.ToSlash(path), RawQuery: "mode=rw&_busy_timeout=5000&_pragma=query_only(1)"}
		d.look, err = sql.Open("sqlite", u.String())
		return d, err
	}
	return nil, usageError{errors.New("the destination URL begins with none of postgres:, opengauss: and sqlite")}
}

func (d *destination) close() error {
	if d.look == nil {
		return d.Close()
	}
	return errors.Join(d.look.Close(), d.Close())
}

// missing reports whether an SQLite file lacks the table, which is then made.
func (d *destination) missing(ctx context.Context, t *dest.Table) (bool, error) {
	if d.postgres || d.look == nil {
		return !d.postgres, nil
	}
	columns, err := d.sqliteColumns(ctx, t)
	return len(columns) == 0, err
}

func (d *destination) sqliteColumns(ctx context.Context, t *dest.Table) (columns []string, err error) {
	rows, err := d.look.QueryContext(ctx, "SELECT name FROM pragma_table_xinfo(?1, 'main')", t.Name)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return nil, err
		}
		columns = append(columns, name)
	}
	return columns, rows.Err()
}

// inspect is what a dry run does in place of a Sink's Check, which would change
// an SQLite file. It finds what is most likely wrong with a table that is there.
func (d *destination) inspect(ctx context.Context, t *dest.Table) error {
	there, err := d.sqliteColumns(ctx, t)
	if err != nil {
		return err
	}
	want := names(t.Columns)
	if t.Guard != "" {
		want = append(want, t.Guard)
	}
	for _, name := range want {
		if !slices.ContainsFunc(there, func(s string) bool { return strings.EqualFold(s, name) }) {
			return fmt.Errorf("table %s of %s has no column %q", t, d, name)
		}
	}
	if t.Policy == dest.InsertOnly {
		return nil
	}
	indexes, err := d.uniqueIndexes(ctx, t)
	if err != nil {
		return err
	}
	key := names(t.Columns[:t.Keys])
	if !slices.ContainsFunc(indexes, func(index []string) bool { return sameNames(index, key) }) {
		return fmt.Errorf("table %s of %s has no unique index on exactly the key (%s)", t, d, strings.Join(key, ", "))
	}
	return nil
}

// sameNames reports whether both have the same columns in any order. Databases
// that tell letters of either case apart have a Check to be particular about it.
func sameNames(a, b []string) bool {
	folded := func(names []string) []string {
		return slices.Sorted(strings.SplitSeq(strings.ToLower(strings.Join(names, "\x00")), "\x00"))
	}
	return slices.Equal(folded(a), folded(b))
}

// uniqueIndexes returns the columns of the indexes by which an upsert may find
// a row: unique, on every row, and on columns only.
func (d *destination) uniqueIndexes(ctx context.Context, t *dest.Table) (indexes [][]string, err error) {
	if d.look == nil {
		return nil, nil
	}
	query, args := sqliteIndexes, []any{t.Name}
	if d.postgres {
		query, args = postgresIndexes, []any{t.Schema, t.Name}
	}
	rows, err := d.look.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	last := ""
	for rows.Next() {
		var index, column string
		if err := rows.Scan(&index, &column); err != nil {
			return nil, err
		}
		if index != last || len(indexes) == 0 {
			indexes, last = append(indexes, nil), index
		}
		i := len(indexes) - 1
		indexes[i] = append(indexes[i], column)
	}
	return indexes, rows.Err()
}

const postgresIndexes = `SELECT i.indexrelid::text, a.attname
	FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
		JOIN pg_catalog.pg_index i ON i.indrelid = c.oid
		JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indexrelid AND a.attnum <= i.indnkeyatts
	WHERE c.relname = $2::text AND (n.nspname = $1::text OR $1::text = '' AND pg_catalog.pg_table_is_visible(c.oid))
		AND i.indisunique AND i.indisvalid AND i.indimmediate AND i.indpred IS NULL AND i.indexprs IS NULL
	ORDER BY i.indexrelid, a.attnum`

// An INTEGER PRIMARY KEY has no index; it comes without a name.
const sqliteIndexes = `SELECT i.name, x.name FROM pragma_index_list(?1) i, pragma_index_info(i.name) x
		WHERE i."unique" AND NOT i.partial
			AND NOT EXISTS (SELECT 1 FROM pragma_index_info(i.name) e WHERE e.cid < 0)
	UNION ALL
	SELECT '', name FROM pragma_table_info(?1) WHERE pk > 0
		AND NOT EXISTS (SELECT 1 FROM pragma_index_list(?1) WHERE origin = 'pk')
	ORDER BY 1`

// maxParameters of a statement; SQLite takes 32766.
const maxParameters = 10_000

// existing returns how many of the rows' keys are in the table. No key is among
// the rows twice, and none is NULL.
func (d *destination) existing(ctx context.Context, t *dest.Table, b *tuple.Batch) (n int64, err error) {
	for step := max(1, maxParameters/t.Keys); b.Len() > 0; {
		part := b.Slice(0, min(step, b.Len()))
		b = b.Slice(part.Len(), b.Len())
		query, args, err := d.countKeys(t, part)
		if err != nil {
			return n, err
		}
		var k int64
		if err := d.look.QueryRowContext(ctx, query, args...).Scan(&k); err != nil {
			return n, err
		}
		n += k
	}
	return n, nil
}

func (d *destination) countKeys(t *dest.Table, b *tuple.Batch) (query string, args []any, err error) {
	var key, values []string
	for _, c := range t.Columns[:t.Keys] {
		key = append(key, dest.Quote(c.Name))
	}
	for i := range b.Rows {
		var row []string
		rest := tuple.Fields(b.Tuple(i))
		for _, c := range t.Columns[:t.Keys] {
			var field []byte
			field, _, rest = tuple.Next(rest)
			v, err := tuple.Value(c.Type, field)
			if err != nil {
				return "", nil, err
			}
			args = append(args, d.argument(v))
			row = append(row, d.placeholder(len(args), c.Type))
		}
		values = append(values, "("+strings.Join(row, ", ")+")")
	}
	schema := t.Schema
	if !d.postgres {
		schema = "main"
	}
	return "SELECT count(*) FROM " + dest.QuoteName(schema, t.Name) +
		" WHERE (" + strings.Join(key, ", ") + ") IN (VALUES " + strings.Join(values, ", ") + ")", args, nil
}

// argument is a value in the form that the destination compares: PostgreSQL
// makes its types of texts.
func (d *destination) argument(v driver.Value) any {
	b, isBytes := v.([]byte)
	switch {
	case !d.postgres || v == nil:
		return v
	case isBytes:
		return fmt.Sprintf(`\x%x`, b)
	}
	return fmt.Sprint(v)
}

func (d *destination) placeholder(n int, t tuple.Type) string {
	if !d.postgres {
		return fmt.Sprintf("?%d", n)
	}
	return fmt.Sprintf("$%d::text::%v", n, t.SQL())
}
