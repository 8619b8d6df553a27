package pgdest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/memdbwriter/memdbwriter/internal/dest"
	"github.com/memdbwriter/memdbwriter/internal/pgtest"
	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

func TestPasswordIsInNoError(t *testing.T) {
	for _, raw := range []string{
		"postgres://u:s3cr:t@/x#?@host/db",
		"postgres://u:s3cr%3At%40%2Fx%23%3F@host:port/db",
		"postgres://u:s3cr%3At%40%2Fx%23%3F@host/db?sslmode=s3cr:t@/x",
		"postgres://u:s3cr%3At%40%2Fx%23%3F@host/db?pool_max_conns=none",
		"postgres://u:s3cr%zz@host/db",
		"postgres://u:12/s3cr@host/db",
		"POSTGRES://u:p@s3cr/x@host/db",
		"opengauss://u:12?s3cr@host/db",
		"postgres://u:12#s3cr@host/db",
		"postgres://u@host/db?password=s3cr%3At&connect_timeout=s3cr:t",
		"mysql://u:s3cr@host/db",
		"host=h password='s3cr' port=x",
		"s3cr",
	} {
		_, err := Open(raw)
		if err == nil {
			t.Errorf("%s: no error", raw)
			continue
		}
		for _, text := range []string{err.Error(), fmt.Sprintf("%+v", err), fmt.Sprintf("%#v", err)} {
			if strings.Contains(text, "s3cr") {
				t.Errorf("%s: %s", raw, text)
			}
		}
	}

	server := pgtest.Start(t)
	s := open(t, strings.Replace(server.PasswordURL("wrong-s3cr"), "sslmode=disable", "", 1), files())
	e := asError(t, s.Check(context.Background()))
	if e.Class != dest.ClassTable || e.SQLState != "28P01" || strings.Contains(e.Error(), "s3cr") {
		t.Errorf("class %v: %v", e.Class, e)
	}
	if name := s.db.String(); strings.Contains(name, "s3cr") || !strings.Contains(name, pgtest.PasswordRole+"@127.0.0.1:") {
		t.Errorf("the name of the destination is %s", name)
	}
	server.Stop(pgtest.Fast)
	e = asError(t, s.Check(context.Background()))
	if e.Class != dest.ClassTransient || strings.Contains(e.Error(), "s3cr") {
		t.Errorf("class %v: %v", e.Class, e)
	}
}

// A pool that is made of a URL in a way that does not know it leads elsewhere.
func TestPoolOfAnUnknownURLIsRefused(t *testing.T) {
	config, err := pgxpool.ParseConfig("opengauss://u:s3cret@db:1/x?sslmode=disable")
	if err != nil {
		t.Fatal("pgxpool refuses it by now, and errWrongPool can go")
	}
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	s, err := FromPool(pool).Bind(files(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{s.Check(t.Context()), refused(t, s, row{int64(1), "a", nil})} {
		if e := asError(t, err); e.Class != dest.ClassTable || !strings.Contains(e.Error(), "opengauss.ParsePoolConfig") || strings.Contains(e.Error(), "s3cret") {
			t.Errorf("class %v: %v", e.Class, e)
		}
	}
}

// farConn is a connection that seems to lead to another machine.
type farConn struct{ net.Conn }

func (farConn) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 5432} }

func TestConnectionWithoutTLSIsWarnedOfOnce(t *testing.T) {
	db := pgtest.Open(t)
	db.Exec(t, filesDDL)
	for _, far := range []bool{false, true} {
		pool := poolOf(t, db.URL, func(c *pgxpool.Config) {
			dial := c.ConnConfig.DialFunc
			c.ConnConfig.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
				conn, err := dial(ctx, network, addr)
				if err == nil && far {
					conn = farConn{conn}
				}
				return conn, err
			}
		})
		s := sinkOn(t, pool, files())
		log := logged(s)
		check(t, s)
		write(t, s, row{int64(1), "a", nil})
		if n := strings.Count(log.String(), "the connection has no TLS"); far && n != 1 || !far && n != 0 {
			t.Errorf("far %v: %s", far, log)
		}
	}
}

func TestOpenErrorsSayWhatIsWrong(t *testing.T) {
	for raw, want := range map[string]string{
		"mysql://host/db": "want postgres://",
		"postgres://u:geheim@host/db?pool_max_conns=none":   "cannot parse pool_max_conns",
		"postgres://u:geheim@host/db?connect_timeout=later": "invalid connect_timeout",
	} {
		if _, err := Open(raw); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", raw, err)
		}
	}
}

func TestOpenSetsWhatTheURLLeavesOpen(t *testing.T) {
	t.Setenv("PGCONNECT_TIMEOUT", "")
	t.Setenv("PGAPPNAME", "")
	for raw, want := range map[string]string{
		"postgres://u@h/d": "10s memdbwriter 4",
		"postgres://u@h/d?connect_timeout=3&application_name=scan&pool_max_conns=7": "3s scan 7",
	} {
		db, err := Open(raw)
		if err != nil {
			t.Fatal(err)
		}
		c := db.pool.Config()
		got := fmt.Sprint(c.ConnConfig.ConnectTimeout, " ", c.ConnConfig.RuntimeParams["application_name"], " ", c.MaxConns)
		if got != want {
			t.Errorf("%s: %s, want %s", raw, got, want)
		}
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestDeadlineEndsAWriteToAFrozenServer(t *testing.T) {
	server := pgtest.Start(t)
	db := server.Open(t)
	db.Exec(t, filesDDL)
	s := open(t, db.URL, files())
	write(t, s, row{int64(1), "a", nil})
	server.Freeze()
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	var rows []row
	for i := range 20_000 { // more than the buffers of the sockets hold
		rows = append(rows, row{int64(i + 10), strings.Repeat("x", 500), nil})
	}
	_, err := s.Write(ctx, batch(rows...))
	server.Thaw()
	if e := asError(t, err); e.Class != dest.ClassTransient || !dest.Timeout(err) {
		t.Errorf("class %v: %v", e.Class, e)
	}
	write(t, s, row{int64(2), "b", nil})
	equal(t, db.Rows(t, "SELECT count(*) FROM files"), "2")
}

// A batch belongs to the caller again when Write returned, however it did: the
// race detector watches that nothing reads it any more.
func TestCancelledWriteLetsGoOfTheBatch(t *testing.T) {
	db := pgtest.Open(t)
	db.Exec(t, filesDDL)
	s := open(t, db.URL, files())
	check(t, s)
	b := &tuple.Batch{}
	for i := range 200_000 {
		b.Append(int64(i), encode(row{int64(i), "a name", nil}))
	}
	ctx, cancel := context.WithCancel(context.Background())
	lockHolder := db.Pool(t)
	tx, err := lockHolder.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(ctx, "LOCK TABLE files"); err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() {
		_, err := s.Write(ctx, b)
		clear(b.Data)
		done <- err
	}()
	for pgtest.Value[int](t, db, "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'") == 0 {
	}
	cancel()
	if e := asError(t, <-done); e.Class != dest.ClassTransient || !errors.Is(e, context.Canceled) {
		t.Errorf("class %v: %v", e.Class, e)
	}
	if err := tx.Rollback(context.Background()); err != nil && !strings.Contains(err.Error(), "closed") {
		t.Error(err)
	}
	write(t, s, row{int64(7), "b", nil})
	equal(t, db.Rows(t, "TABLE files"), "7|b|NULL")
}

func TestServerRestart(t *testing.T) {
	server := pgtest.Start(t)
	db := server.Open(t)
	db.Exec(t, filesDDL)
	s := open(t, db.URL, files())
	write(t, s, row{int64(1), "a", nil})
	write(t, s, row{int64(1), "b", nil})
	server.Kill()
	e := refused(t, s, row{int64(2), "b", nil})
	if e.Class != dest.ClassTransient {
		t.Errorf("class %v: %v", e.Class, e)
	}
	server.Restart()
	if res := write(t, s, row{int64(1), "c", nil}, row{int64(2), "b", nil}); res.Way != dest.Upsert {
		t.Errorf("way %v", res.Way)
	}
	equal(t, db.Rows(t, "TABLE files ORDER BY id"), "1|c|NULL", "2|b|NULL")
}

func TestLockTimeoutPasses(t *testing.T) {
	db := pgtest.Open(t)
	db.Exec(t, filesDDL)
	s := open(t, db.URL+"&lock_timeout=20ms", files())
	check(t, s)
	p := s.plan.Load()
	tx, err := db.Pool(t).Begin(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(context.Background(), "LOCK TABLE files"); err != nil {
		t.Fatal(err)
	}
	e := refused(t, s, row{int64(1), "a", nil})
	if e.Class != dest.ClassTransient || e.SQLState != "55P03" {
		t.Errorf("class %v state %s: %v", e.Class, e.SQLState, e)
	}
	if err := tx.Rollback(context.Background()); err != nil {
		t.Fatal(err)
	}
	write(t, s, row{int64(1), "a", nil})
	if s.plan.Load() != p {
		t.Error("the table was looked at again for an error that says nothing about it")
	}
}

func TestNobodyListens(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	s := open(t, "postgres://u:pw@"+addr+"/db", files())
	if e := refused(t, s, row{int64(1), "a", nil}); e.Class != dest.ClassTransient || !strings.Contains(e.Error(), addr) {
		t.Errorf("class %v: %v", e.Class, e)
	}
}

func TestEmptyBatchNeedsNoServer(t *testing.T) {
	s := open(t, "postgres://u@127.0.0.1:1/db", files())
	if res := write(t, s); res.RoundTrips != 0 {
		t.Errorf("%d round trips", res.RoundTrips)
	}
}

func TestStreamFillsWhatItIsGiven(t *testing.T) {
	b := batch(row{"one"}, row{"two"}, row{strings.Repeat("x", 100)}, row{})
	b.Rows[0], b.Rows[1] = b.Rows[1], b.Rows[0]
	want := copyHeader + string(b.Tuple(0)) + string(b.Tuple(1)) + string(b.Tuple(2)) + string(b.Tuple(3)) + copyTrailer
	for size := 1; size < len(want)+2; size++ {
		s := newStream(b, nil)
		var got []byte
		for p := make([]byte, size); ; {
			n, err := s.Read(p)
			got = append(got, p[:n]...)
			if err == io.EOF {
				break
			}
			if err != nil || n != size {
				t.Fatalf("Read of %d bytes gave %d, %v", size, n, err)
			}
		}
		if string(got) != want {
			t.Fatalf("in pieces of %d bytes: %q, want %q", size, got, want)
		}
	}
	s := newStream(b, nil)
	s.stop()
	if _, err := s.Read(make([]byte, 9)); !errors.Is(err, errStopped) {
		t.Errorf("Read after stop: %v", err)
	}
}

func TestLogSaysThatATableWasCreated(t *testing.T) {
	db := pgtest.Open(t)
	d, err := Open(db.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	var text strings.Builder
	table := files()
	table.Create = true
	s, err := d.Bind(table, slog.New(slog.NewTextHandler(&text, nil)))
	if err != nil {
		t.Fatal(err)
	}
	check(t, s)
	if !strings.Contains(text.String(), `msg="table created" table=files`) {
		t.Errorf("log: %s", text.String())
	}
}
