package pgdest

import (
	"cmp"
	"context"
	"crypto/rand"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/memdbwriter/memdbwriter/internal/ogtest"
	"github.com/memdbwriter/memdbwriter/internal/pgtest"
	"github.com/memdbwriter/memdbwriter/opengauss"
)

// database is a schema of one test, on one of the servers that the package is
// for. Its helpers connect anew for each call.
type database struct {
	URL    string
	Schema string
	admin  string // URL for the test's own statements
	mode   string // of openGauss; empty: PostgreSQL
}

func (db *database) isOpenGauss() bool { return db.mode != "" }

// realServerEnv names an openGauss to run the tests on, besides PostgreSQL and
// the stand-ins: the postgres:// or opengauss:// URL of a user who may create
// schemas in the database.
const realServerEnv = "MEMDB_TEST_OPENGAUSS_URL"

// standIns are the openGauss servers that are imitated.
var standIns = map[string]ogtest.Options{
	"openGauss A":       {Mode: "A"},
	"openGauss A 6.0.2": {Mode: "A", Version: "6.0.2"},
	"openGauss B":       {Mode: "B"},
	"openGauss dolphin": {Mode: "B", Dolphin: true},
	"openGauss C":       {Mode: "C"},
	"openGauss PG":      {Mode: "PG"},
}

// onEveryServer runs the test on each server.
func onEveryServer(t *testing.T, test func(*testing.T, *database)) {
	t.Helper()
	t.Run("PostgreSQL", func(t *testing.T) { test(t, onPostgres(t)) })
	onEveryOpenGauss(t, test)
}

// onOneOfEach runs a test that takes its time on PostgreSQL and one openGauss,
// besides the real one.
func onOneOfEach(t *testing.T, test func(*testing.T, *database)) {
	t.Helper()
	t.Run("PostgreSQL", func(t *testing.T) { test(t, onPostgres(t)) })
	t.Run("openGauss", func(t *testing.T) { test(t, onStandIn(t, ogtest.Options{})) })
	onRealOpenGauss(t, test)
}

// onEveryOpenGauss runs the test on each server but PostgreSQL. The URL of
// some says opengauss, which makes no difference.
func onEveryOpenGauss(t *testing.T, test func(*testing.T, *database)) {
	t.Helper()
	for name, options := range standIns {
		t.Run(name, func(t *testing.T) { test(t, onStandIn(t, options)) })
	}
	onRealOpenGauss(t, test)
}

func onRealOpenGauss(t *testing.T, test func(*testing.T, *database)) {
	t.Helper()
	if raw := os.Getenv(realServerEnv); raw != "" {
		t.Run("real openGauss", func(t *testing.T) { test(t, onRealServer(t, raw)) })
	}
}

func onPostgres(t *testing.T) *database {
	db := pgtest.Open(t)
	return &database{URL: db.URL, Schema: db.Schema, admin: db.URL}
}

func onStandIn(t *testing.T, options ogtest.Options) *database {
	server := ogtest.Start(t, options)
	t.Cleanup(func() {
		for _, what := range server.Refused() {
			t.Errorf("the stand-in did not know: %s", what)
		}
	})
	raw := server.URL
	if options.Dolphin {
		raw = strings.Replace(raw, "postgres:", "opengauss:", 1)
	}
	return &database{
		URL: raw, Schema: server.Backend.Schema, admin: server.Backend.URL,
		mode: cmp.Or(options.Mode, "A"),
	}
}

func onRealServer(t *testing.T, raw string) *database {
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatalf("%s is no URL", realServerEnv) // err has the password
	}
	schema := "t_" + strings.ToLower(rand.Text()[:16])
	admin := &database{admin: raw}
	admin.Exec(t, "CREATE SCHEMA "+schema)
	t.Cleanup(func() { admin.Exec(t, "DROP SCHEMA "+schema+" CASCADE") })
	q := u.Query()
	q.Set("search_path", schema)
	u.RawQuery = q.Encode()
	db := &database{URL: u.String(), Schema: schema, admin: u.String()}
	db.mode = db.Rows(t, "SELECT datcompatibility FROM pg_database WHERE datname = current_database()")[0]
	return db
}

// Exec runs statements of the test.
func (db *database) Exec(tb testing.TB, sql string) {
	tb.Helper()
	db.query(tb, db.admin, sql)
}

// Define runs statements as a user of the server does, in the types of its
// dialect.
func (db *database) Define(tb testing.TB, sql string) {
	tb.Helper()
	db.query(tb, db.URL, sql)
}

// Rows returns the rows of a query as pgtest.DB does.
func (db *database) Rows(tb testing.TB, sql string) []string {
	tb.Helper()
	return db.query(tb, db.admin, sql)
}

// Count returns the number of rows in a table.
func (db *database) Count(tb testing.TB, table string) string {
	tb.Helper()
	return db.Rows(tb, "SELECT count(*) FROM "+table)[0]
}

// query runs statements, and returns the rows of the last one.
func (db *database) query(tb testing.TB, raw, sql string) (out []string) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	config, err := opengauss.ParseConfig(raw)
	if err != nil {
		tb.Fatal("the test has a bad URL") // err may have the password
	}
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		tb.Fatal(err)
	}
	defer func() {
		if err := conn.Close(ctx); err != nil {
			tb.Error(err)
		}
	}()
	results, err := conn.PgConn().Exec(ctx, sql).ReadAll()
	if err != nil {
		tb.Fatalf("%v\n%s", err, sql)
	}
	for _, row := range results[len(results)-1].Rows {
		var values []string
		for _, v := range row {
			if v == nil {
				v = []byte("NULL")
			}
			values = append(values, string(v))
		}
		out = append(out, strings.Join(values, "|"))
	}
	return out
}

// lock locks a table until the function that it returns is called.
func (db *database) lock(t *testing.T, table string) (unlock func()) {
	t.Helper()
	config, err := opengauss.ParseConfig(db.admin)
	if err != nil {
		t.Fatal("the test has a bad URL")
	}
	conn, err := pgx.ConnectConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Exec(t.Context(), "BEGIN; LOCK TABLE "+table); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := conn.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// pick returns what is right for the database's kind of server.
func pick[T any](db *database, postgres, openGauss T) T {
	if db.isOpenGauss() {
		return openGauss
	}
	return postgres
}

// steer makes the next batch go the way.
func steer(s *Sink, upsert bool) {
	if s.choice.succeeded(); upsert {
		s.choice.conflicted()
	}
}
