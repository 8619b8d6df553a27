// Package pgtest gives tests a real PostgreSQL.
//
// A test binary starts one private server, when its first test asks for it,
// and every test works in a schema of its own on that server:
//
//	func TestMain(m *testing.M) { pgtest.Main(m) }
//
//	func TestStoresRows(t *testing.T) {
//		db := pgtest.Open(t)
//		db.Exec(t, "CREATE TABLE files (path text PRIMARY KEY)")
//		...
//		if n := db.Count(t, "files"); n != 3 { ... }
//	}
//
// A test that harms its server (stops, kills or freezes it) starts one for
// itself with Start.
//
// # Where the server comes from
//
// The first that applies:
//
//   - MEMDB_TEST_DATABASE_URL, a postgres:// URL of a running server on which
//     the tests may create schemas. Start ignores it.
//   - MEMDB_TEST_PG_BIN, a directory with initdb, postgres and pg_ctl
//   - such a directory on this machine: what pg_config says, the PATH, and the
//     places where packages and installers put it, the newest version first
//   - the binaries that github.com/fergusstrange/embedded-postgres downloads
//
// Without any of them tests fail, and say so; they are never skipped.
//
// # Life of a private server
//
// All of it lives in one temporary directory. PostgreSQL refuses to run as
// root; there it runs as the user postgres or nobody. A watchdog process, the
// test binary itself started a second time, waits for the end of the binary,
// kills the servers and removes the directory, so that nothing stays behind
// after a panic, a timeout or a kill -9 either.
package pgtest

import (
	"fmt"
	"net/url"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

const (
	databaseURLEnv = "MEMDB_TEST_DATABASE_URL"
	binariesEnv    = "MEMDB_TEST_PG_BIN"
)

// inMain tells that Main runs: without it the watchdog would run the tests.
var inMain atomic.Bool

// Main runs the tests of a package, stops the servers that they started and
// exits. Tests that pass but leave goroutines behind fail the run. It must be
// the first thing that TestMain does.
func Main(m *testing.M) {
	if root := os.Getenv(watchdogEnv); root != "" {
		os.Exit(watch(root))
	}
	inMain.Store(true)
	code := m.Run()
	err := shutdown()
	if err == nil && code == 0 {
		err = goleak.Find()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "pgtest:", err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// Open gives the test a fresh schema on the server of the test binary. The
// schema is dropped at the end of the test, which fails when something of the
// test still holds a lock on it.
func Open(tb testing.TB) *DB {
	tb.Helper()
	s, err := shared()
	if err != nil {
		tb.Fatalf("pgtest: %v", err)
	}
	db := newDB(tb, s.URL, s.Version)
	tb.Cleanup(func() { db.drop(tb, 10*time.Second) })
	return db
}

// shared is the server of the test binary. It has no test to report to: its
// errors go to every test that asks for it.
var shared = sync.OnceValues(func() (*Server, error) {
	if raw := os.Getenv(databaseURLEnv); raw != "" {
		return external(raw)
	}
	return newServer(nil)
})

// external is the server of databaseURLEnv. The URL may hold a password: it
// stays out of the messages.
func external(raw string) (*Server, error) {
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql" {
		return nil, fmt.Errorf("%s must be a URL like postgres://user:password@host:5432/database", databaseURLEnv)
	}
	version, err := serverVersion(raw)
	if err != nil {
		return nil, fmt.Errorf("the server of %s: %w", databaseURLEnv, err)
	}
	return &Server{URL: raw, Version: version}, nil
}
