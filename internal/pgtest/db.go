package pgtest

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// patience bounds every statement of a helper, so that a test on a frozen
// server fails and does not hang.
const patience = time.Minute

// DB is a schema of one test. Its helpers connect anew for each call: they
// work across restarts of the server, and hold nothing between calls.
type DB struct {
	URL     string // its search_path is Schema
	Schema  string
	Version int // of the server as server_version_num has it: 150012 is 15.12
}

func newDB(tb testing.TB, serverURL string, version int) *DB {
	tb.Helper()
	schema := "t_" + strings.ToLower(rand.Text()[:16])
	db := &DB{URL: withParam(serverURL, "search_path", schema), Schema: schema, Version: version}
	db.Exec(tb, "CREATE SCHEMA "+schema)
	return db
}

// withParam returns the URL with one more parameter in its query.
func withParam(rawURL, name, value string) string {
	u, err := url.Parse(rawURL)
	if err != nil {
		panic("pgtest: a server with an unusable URL") // every URL was parsed before
	}
	q := u.Query()
	q.Set(name, value)
	u.RawQuery = q.Encode()
	return u.String()
}

// Pool returns a new connection pool, closed at the end of the test.
func (db *DB) Pool(tb testing.TB) *pgxpool.Pool {
	tb.Helper()
	pool, err := pgxpool.New(context.Background(), db.URL)
	if err != nil {
		tb.Fatalf("pgtest: %v", err)
	}
	tb.Cleanup(pool.Close)
	return pool
}

// Exec runs one statement or, without arguments, any number of them separated
// by semicolons.
func (db *DB) Exec(tb testing.TB, sql string, args ...any) {
	tb.Helper()
	err := db.with(func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, sql, args...)
		return err
	})
	if err != nil {
		tb.Fatalf("pgtest: %v\n%s", err, sql)
	}
}

// Count returns the number of rows in a table, whose name is taken as SQL.
func (db *DB) Count(tb testing.TB, table string) int {
	tb.Helper()
	return Value[int](tb, db, "SELECT count(*) FROM "+table)
}

// Rows returns the rows of a query in the server's text form, the values
// separated by "|", and NULL for NULL.
func (db *DB) Rows(tb testing.TB, sql string, args ...any) []string {
	tb.Helper()
	var out []string
	err := db.with(func(ctx context.Context, conn *pgx.Conn) error {
		format := pgx.QueryResultFormats{pgx.TextFormatCode}
		rows, err := conn.Query(ctx, sql, append([]any{format}, args...)...)
		if err != nil {
			return err
		}
		out, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (string, error) {
			var values []string
			for _, v := range row.RawValues() {
				if v == nil {
					v = []byte("NULL")
				}
				values = append(values, string(v))
			}
			return strings.Join(values, "|"), nil
		})
		return err
	})
	if err != nil {
		tb.Fatalf("pgtest: %v\n%s", err, sql)
	}
	return out
}

// Value returns the one value of a query that has one row and one column.
func Value[T any](tb testing.TB, db *DB, sql string, args ...any) T {
	tb.Helper()
	var v T
	err := db.with(func(ctx context.Context, conn *pgx.Conn) error {
		rows, err := conn.Query(ctx, sql, args...)
		if err != nil {
			return err
		}
		v, err = pgx.CollectExactlyOneRow(rows, pgx.RowTo[T])
		return err
	})
	if err != nil {
		tb.Fatalf("pgtest: %v\n%s", err, sql)
	}
	return v
}

// with runs f with a connection of its own.
func (db *DB) with(f func(context.Context, *pgx.Conn) error) error {
	return connect(db.URL, f)
}

func connect(url string, f func(context.Context, *pgx.Conn) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	err = f(ctx, conn)
	if cerr := conn.Close(ctx); err == nil {
		err = cerr
	}
	return err
}

// serverVersion returns server_version_num.
func serverVersion(url string) (version int, err error) {
	err = connect(url, func(ctx context.Context, conn *pgx.Conn) error {
		return conn.QueryRow(ctx, "SELECT current_setting('server_version_num')::int").Scan(&version)
	})
	return version, err
}

// drop removes the schema. A connection that the test forgot inside of a
// transaction would block that for ever: it is reported instead.
func (db *DB) drop(tb testing.TB, lockTimeout time.Duration) {
	tb.Helper()
	err := db.with(func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, fmt.Sprintf(
			"SET lock_timeout = %d; SET client_min_messages = warning; DROP SCHEMA %s CASCADE",
			lockTimeout.Milliseconds(), db.Schema))
		return err
	})
	if err != nil {
		tb.Errorf("pgtest: the schema of the test cannot be dropped: %v; sessions inside of a transaction: %q", err,
			db.Rows(tb, "SELECT pid, state, query FROM pg_stat_activity WHERE xact_start IS NOT NULL AND pid <> pg_backend_pid()"))
	}
}
