package ogtest

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/memdbwriter/memdbwriter/opengauss"
)

// hear connects a client that keeps the notices.
func hear(t *testing.T, url string) (*pgx.Conn, *[]*pgconn.Notice) {
	t.Helper()
	cfg, err := opengauss.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	var notices []*pgconn.Notice
	cfg.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) { notices = append(notices, n) }
	conn, err := pgx.ConnectConfig(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	return conn, &notices
}

func TestIdleSessionsAreThrownOut(t *testing.T) {
	clock := NewClock()
	s := Start(t, Options{Clock: clock, Method: MD5})
	conn, notices := hear(t, s.URL)
	clock.Advance(599 * time.Second)
	run(t, conn, "SELECT 1")
	clock.Advance(600 * time.Second)
	fails(t, conn, "57P01", "SELECT 1")
	if len(*notices) != 1 || (*notices)[0].Severity != "WARNING" || (*notices)[0].Message != "Session unused timeout." {
		t.Errorf("notices %v", *notices)
	}

	conn = client(t, s.URL)
	run(t, conn, "BEGIN")
	clock.Advance(600 * time.Second)
	fails(t, conn, "57P01", "SELECT 1")
}

func TestSessionTimeoutCanBeSet(t *testing.T) {
	clock := NewClock()
	_, conn := at(t, Options{Clock: clock, Method: MD5})
	for _, c := range []struct{ sql, shown string }{
		{"SET session_timeout = 0", "0"},
		{"SET session_timeout TO '30s'", "30s"},
		{"BEGIN; SET LOCAL session_timeout = 3600; COMMIT", "30s"},
		{"BEGIN; SET session_timeout = 7; ROLLBACK", "30s"},
		{"RESET session_timeout", "10min"},
		{"SET session_timeout = 0", "0"},
	} {
		run(t, conn, c.sql)
		if got := value[string](t, conn, "SHOW session_timeout"); got != c.shown {
			t.Errorf("%s: %s, want %s", c.sql, got, c.shown)
		}
	}
	clock.Advance(time.Hour)
	run(t, conn, "SELECT 1")
	run(t, conn, "SET session_timeout = 5")
	clock.Advance(5 * time.Second)
	fails(t, conn, "57P01", "SELECT 1")
}

func TestThreadPoolClosesWithoutAWord(t *testing.T) {
	clock := NewClock()
	_, conn := at(t, Options{Clock: clock, ThreadPool: true, Method: MD5})
	clock.Advance(600 * time.Second)
	_, err := conn.Exec(t.Context(), "SELECT 1")
	pe := new(pgconn.PgError)
	if err == nil || errors.As(err, &pe) || !conn.IsClosed() {
		t.Errorf("%v, want a connection that is closed", err)
	}
}

func TestIdleInTransactionCountsSeconds(t *testing.T) {
	clock := NewClock()
	_, conn := at(t, Options{Clock: clock, Method: MD5})
	run(t, conn, "SET session_timeout = 0; SET idle_in_transaction_session_timeout = 60")
	if got := value[string](t, conn, "SHOW idle_in_transaction_session_timeout"); got != "1min" {
		t.Error(got)
	}
	clock.Advance(time.Hour)
	run(t, conn, "BEGIN")
	clock.Advance(59 * time.Second)
	run(t, conn, "SELECT 1")
	clock.Advance(60 * time.Second)
	fails(t, conn, "57P01", "SELECT 1")

	_, old := at(t, Options{Version: "2.1.0", Method: MD5})
	fails(t, old, "42704", "SET idle_in_transaction_session_timeout = 60")
}

func TestStatementTimeoutNeedsSessionTimeoutOff(t *testing.T) {
	_, conn := at(t, Options{Method: MD5})
	const slow = "SELECT pg_sleep(0.3)"
	run(t, conn, "SET statement_timeout = 50")
	fails(t, conn, "57014", slow)
	if err := execPrepared(t, conn, slow); err != nil {
		t.Errorf("by the extended protocol with session_timeout: %v", err)
	}
	run(t, conn, "SET session_timeout = 0")
	if pe := failsPrepared(t, conn, "57014", slow); !strings.Contains(pe.Message, "statement timeout") {
		t.Error(pe.Message)
	}
}

func TestCancelRequestsReachTheStatement(t *testing.T) {
	s, conn := at(t, Options{TLS: true})
	run(t, conn, "CREATE TABLE f (id int)")
	run(t, conn, "BEGIN; LOCK TABLE f")
	other := client(t, s.URL)
	done := make(chan error, 1)
	go func() {
		_, err := other.Exec(t.Context(), "INSERT INTO f VALUES (1)")
		done <- err
	}()
	s.awaitLock(t)
	if err := other.PgConn().CancelRequest(t.Context()); err != nil {
		t.Fatal(err)
	}
	pe := new(pgconn.PgError)
	if err := <-done; !errors.As(err, &pe) || pe.Code != "57014" {
		t.Error(err)
	}
}

func TestStatementsOfOneStringAreOneTransaction(t *testing.T) {
	s, conn := at(t, Options{})
	run(t, conn, "CREATE TABLE f (id int PRIMARY KEY)")
	fails(t, conn, "23505", "INSERT INTO f VALUES (1); INSERT INTO f VALUES (1)")
	fails(t, conn, "42601", "INSERT INTO f VALUES (1); INSERT INTO f VALUES (2) ON CONFLICT DO NOTHING")
	rowsAre(t, s, "SELECT count(*) FROM f", "0")
	fails(t, conn, "23505", "INSERT INTO f VALUES (1); COMMIT; INSERT INTO f VALUES (2); INSERT INTO f VALUES (2)")
	rowsAre(t, s, "SELECT * FROM f", "1")
	run(t, conn, "INSERT INTO f VALUES (3); BEGIN; INSERT INTO f VALUES (4)")
	run(t, conn, "ROLLBACK")
	rowsAre(t, s, "SELECT * FROM f", "1")
	run(t, conn, "SET LOCAL client_min_messages = error; INSERT INTO f VALUES (5)")
	if got := value[string](t, conn, "SHOW client_min_messages"); got != "notice" {
		t.Errorf("SET LOCAL is still in force: %s", got)
	}
}

func TestUpsertOfABatchInOneString(t *testing.T) {
	s, conn := at(t, Options{Mode: "PG"})
	run(t, conn, "CREATE TABLE f (id int PRIMARY KEY, path text)")
	const sql = `SET LOCAL client_min_messages = warning;
CREATE TEMPORARY TABLE IF NOT EXISTS "stage" (id int, path text) ON COMMIT DELETE ROWS;
COPY pg_temp."stage" (id, path) FROM STDIN;
INSERT INTO f (id, path) SELECT id, path FROM pg_temp."stage" ON DUPLICATE KEY UPDATE path = VALUES(path)`
	for _, data := range []string{"1\ta\n2\tb\n", "2\tc\n3\td\n"} {
		tag, err := conn.PgConn().CopyFrom(t.Context(), strings.NewReader(data), sql)
		if err != nil {
			t.Fatal(err)
		}
		if tag.RowsAffected() != 2 {
			t.Errorf("tag %s", tag)
		}
	}
	_, err := conn.PgConn().CopyFrom(t.Context(), strings.NewReader("7\ta\nx\tb\n"), sql)
	pe := new(pgconn.PgError)
	if !errors.As(err, &pe) || pe.Code != "22P02" || pe.Where != `COPY stage, line 2, column id: "x"` {
		t.Errorf("%v, context %q", err, pe.Where)
	}
	rowsAre(t, s, "SELECT * FROM f ORDER BY id", "1|a", "2|c", "3|d")
	run(t, conn, "DROP TABLE f; DROP TABLE pg_temp.stage")
}

func TestBatchesAndPreparedStatements(t *testing.T) {
	s, conn := at(t, Options{})
	run(t, conn, "CREATE TABLE f (id int PRIMARY KEY, d date)")
	b := &pgx.Batch{}
	for i := range 5 {
		b.Queue("INSERT INTO f VALUES ($1, $2) ON DUPLICATE KEY UPDATE d = EXCLUDED.d", i%3, time.Date(2024, 5, 6, 7, 8, 9, 0, time.UTC))
	}
	if err := conn.SendBatch(t.Context(), b).Close(); err != nil {
		t.Fatal(err)
	}
	rowsAre(t, s, "SELECT * FROM f ORDER BY id", "0|2024-05-06 07:08:09", "1|2024-05-06 07:08:09", "2|2024-05-06 07:08:09")
	b = &pgx.Batch{}
	b.Queue("INSERT INTO f VALUES (7)")
	b.Queue("INSERT INTO f VALUES (8) ON CONFLICT DO NOTHING")
	if err := conn.SendBatch(t.Context(), b).Close(); err == nil {
		t.Error("no error")
	}
	rowsAre(t, s, "SELECT count(*) FROM f WHERE id > 6", "0")
	run(t, conn, "SELECT 1")
}

func TestStandInGoesOnAfterLostClients(t *testing.T) {
	s, conn := at(t, Options{Method: MD5})
	run(t, conn, "CREATE TABLE f (id int)")
	lost := client(t, s.URL)
	run(t, lost, "BEGIN; INSERT INTO f VALUES (1)")
	lost.PgConn().Conn().Close()
	run(t, conn, "BEGIN; LOCK TABLE f; COMMIT") // waits for the end of the lost one
	rowsAre(t, s, "SELECT count(*) FROM f", "0")
}
