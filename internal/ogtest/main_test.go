package ogtest

import (
	"context"
	"errors"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/memdbwriter/memdbwriter/internal/pgtest"
	"github.com/memdbwriter/memdbwriter/opengauss"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// client connects a client that knows openGauss's login.
func client(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	cfg, err := opengauss.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.ConnectConfig(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

// at starts a server and connects to it. The clients know the password
// without its iterations, which keeps tests fast.
func at(t *testing.T, o Options) (*Server, *pgx.Conn) {
	t.Helper()
	s := Start(t, o)
	return s, client(t, s.URL)
}

// run runs SQL by the simple protocol if there are no arguments.
func run(t *testing.T, conn *pgx.Conn, sql string, args ...any) pgconn.CommandTag {
	t.Helper()
	tag, err := conn.Exec(t.Context(), sql, args...)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return tag
}

// value is the one value of a query.
func value[T any](t *testing.T, conn *pgx.Conn, sql string, args ...any) T {
	t.Helper()
	var v T
	if err := conn.QueryRow(t.Context(), sql, args...).Scan(&v); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return v
}

// fails runs SQL that must fail with the SQLSTATE, and returns the error.
func fails(t *testing.T, conn *pgx.Conn, code, sql string, args ...any) *pgconn.PgError {
	t.Helper()
	_, err := conn.Exec(t.Context(), sql, args...)
	pe := new(pgconn.PgError)
	if !errors.As(err, &pe) || pe.Code != code {
		t.Errorf("%s: %v, want SQLSTATE %s", sql, err, code)
	}
	return pe
}

// execPrepared runs SQL by the extended protocol, for which pgx's own Exec
// takes statements with arguments only.
func execPrepared(t *testing.T, conn *pgx.Conn, sql string) error {
	t.Helper()
	return conn.PgConn().ExecParams(t.Context(), sql, nil, nil, nil, nil).Read().Err
}

// failsPrepared is fails by the extended protocol.
func failsPrepared(t *testing.T, conn *pgx.Conn, code, sql string) *pgconn.PgError {
	t.Helper()
	err := execPrepared(t, conn, sql)
	pe := new(pgconn.PgError)
	if !errors.As(err, &pe) || pe.Code != code {
		t.Errorf("%s: %v, want SQLSTATE %s", sql, err, code)
	}
	return pe
}
