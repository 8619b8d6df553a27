package pgdest

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/memdbwriter/memdbwriter/internal/dest"
	"github.com/memdbwriter/memdbwriter/internal/faultproxy"
	"github.com/memdbwriter/memdbwriter/internal/pgtest"
	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

// inEncoding returns a database of another encoding than UTF8.
func inEncoding(t *testing.T, encoding string) *database {
	t.Helper()
	db := pgtest.Open(t)
	name := strings.ToLower(encoding) + "_" + db.Schema
	db.Exec(t, "CREATE DATABASE "+name+" TEMPLATE template0 ENCODING '"+encoding+"' LC_COLLATE 'C' LC_CTYPE 'C'")
	t.Cleanup(func() {
		db.Exec(t, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '"+name+"'")
		db.Exec(t, "DROP DATABASE "+name) // waits for them
	})
	u, err := url.Parse(db.URL)
	if err != nil {
		t.Fatal(err)
	}
	u.Path = "/" + name
	in := &database{URL: u.String(), Schema: db.Schema, admin: u.String() + "&client_encoding=UTF8"}
	in.Exec(t, "CREATE SCHEMA "+db.Schema)
	return in
}

// sinkOn returns a Sink on a pool of the caller's.
func sinkOn(t *testing.T, pool *pgxpool.Pool, table *dest.Table) *Sink {
	t.Helper()
	s, err := FromPool(pool).Bind(table, nil)
	if err != nil {
		t.Fatal(err)
	}
	return s.(*Sink)
}

func poolOf(t *testing.T, url string, change func(*pgxpool.Config)) *pgxpool.Pool {
	t.Helper()
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		t.Fatal("the test has a bad URL")
	}
	config.MaxConns = 1
	if change != nil {
		change(config)
	}
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

// Names and values arrive as they are, whatever encoding database and session
// have; what the database cannot hold is an error of its row.
func TestOtherEncodings(t *testing.T) {
	for _, encoding := range []string{"LATIN1", "WIN1251"} {
		t.Run(encoding, func(t *testing.T) {
			db := inEncoding(t, encoding)
			word, beyond := "Käse", "日本"
			if encoding == "WIN1251" {
				word = "Сыр"
			}
			table := &dest.Table{Name: word, Keys: 1, Columns: []dest.Column{col("id", tuple.Int8), col("n"+word, tuple.Text)}}
			db.Exec(t, `CREATE TABLE "`+word+`" (id bigint PRIMARY KEY, "n`+word+`" text)`)
			pool := poolOf(t, db.URL, nil)
			latin := func(ctx context.Context, conn *pgx.Conn) error {
				_, err := conn.Exec(ctx, "SET client_encoding = '"+encoding+"'")
				return err
			}
			for name, s := range map[string]*Sink{
				"own":                     open(t, db.URL, table),
				"own with another":        open(t, db.URL+"&client_encoding="+encoding, table),
				"a caller's":              sinkOn(t, pool, table),
				"a caller's with another": sinkOn(t, poolOf(t, db.URL, func(c *pgxpool.Config) { c.AfterConnect = latin }), table),
			} {
				t.Run(name, func(t *testing.T) {
					db.Exec(t, `TRUNCATE "`+word+`"`)
					for _, upsert := range []bool{false, true} {
						steer(s, upsert)
						write(t, s, row{int64(1), word}, row{int64(2), "plain"})
						e := refused(t, s, row{int64(3), word}, row{int64(4), beyond})
						if e.Class != dest.ClassRow || e.SQLState != "22P05" || e.Row != 1 {
							t.Errorf("class %v state %s row %d: %v", e.Class, e.SQLState, e.Row, e)
						}
						equal(t, db.Rows(t, `SELECT id, "n`+word+`" FROM "`+word+`" ORDER BY id`), "1|"+word, "2|plain")
					}
				})
			}
			// And the caller's sessions are as they were.
			var got string
			if err := pool.QueryRow(t.Context(), "SHOW client_encoding").Scan(&got); err != nil || got != encoding {
				t.Errorf("the session of the caller's pool is left with %s, %v", got, err)
			}
			if n := pool.Stat().NewConnsCount(); n != 1 {
				t.Errorf("%d connections were made", n)
			}
		})
	}
}

// It costs a statement only where it must.
func TestEncodingIsSetOnlyWhereItMust(t *testing.T) {
	db := pgtest.Open(t)
	db.Exec(t, filesDDL)
	pool := poolOf(t, db.URL, nil)
	s := sinkOn(t, pool, files())
	check(t, s)
	err := s.withConn(t.Context(), func(pg *pgconn.PgConn) error {
		if got := pg.ParameterStatus("client_encoding"); got != utf8 {
			t.Errorf("encoding %s", got)
		}
		was, err := speakUTF8(t.Context(), pg)
		if was != "" {
			t.Errorf("%s was changed", was)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// A session on a server that takes no writes is given up: the next one may lead
// to one that does.
func TestReadOnlyServerLosesItsConnection(t *testing.T) {
	server := pgtest.Start(t)
	db := server.Open(t)
	db.Exec(t, filesDDL)
	s := open(t, db.URL+"&pool_max_conns=1", files())
	write(t, s, row{int64(1), "a", nil})
	pool := s.db.pool
	before := pool.Stat().NewConnsCount()
	db.Exec(t, "ALTER SYSTEM SET default_transaction_read_only = on")
	db.Exec(t, "SELECT pg_reload_conf()")
	var e *dest.Error
	for e == nil { // until the session has heard of it
		if _, err := s.Write(t.Context(), batch(row{int64(1), "b", nil})); err != nil {
			e = asError(t, err)
		}
	}
	if e.Class != dest.ClassTransient || e.SQLState != readOnlyTransaction {
		t.Errorf("class %v state %s: %v", e.Class, e.SQLState, e)
	}
	if n := pool.Stat().NewConnsCount() - before; n != 1 {
		t.Errorf("%d new connections", n)
	}
	if n := len(s.orphans.pids); n != 0 {
		t.Errorf("%d sessions are feared", n)
	}
	writable := *db
	writable.URL += "&default_transaction_read_only=off"
	writable.Exec(t, "ALTER SYSTEM RESET default_transaction_read_only")
	db.Exec(t, "SELECT pg_reload_conf()")
	insist(t, s, batch(row{int64(1), "c", nil}))
	equal(t, db.Rows(t, "TABLE files"), "1|c|NULL")
}

// The session of a lost connection is found under the name of the one who
// logged in, who alone may end it.
func TestOrphanOfASessionWithARoleIsTerminated(t *testing.T) {
	server := pgtest.Start(t)
	withPlainRole(t, server)
	db := server.Open(t)
	db.Exec(t, filesDDL+"; GRANT ALL ON SCHEMA "+db.Schema+" TO plain; ALTER TABLE files OWNER TO plain")
	proxy := faultproxy.Start(t, db.URL)
	pool := poolOf(t, proxy.URL, func(c *pgxpool.Config) {
		c.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
			_, err := conn.Exec(ctx, "SET ROLE plain")
			return err
		}
	})
	s := sinkOn(t, pool, files())
	write(t, s, row{int64(1), "a", nil})
	hit := proxy.Break(faultproxy.Fault{At: faultproxy.CopyDone, Do: faultproxy.Hang})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		_, err := s.Write(ctx, batch(row{int64(2), "b", nil}))
		done <- err
	}()
	<-hit
	mended(t, proxy)
	cancel()
	if err := <-done; err == nil {
		t.Fatal("stored through a silent network")
	}
	write(t, s, row{int64(2), "c", nil}) // which the other session's uncommitted key would hold up
	equal(t, db.Rows(t, "TABLE files ORDER BY id"), "1|a|NULL", "2|c|NULL")
	var role string
	if err := pool.QueryRow(t.Context(), "SELECT current_user").Scan(&role); err != nil || role != "plain" {
		t.Errorf("the session is left with the role %s, %v", role, err)
	}
}

// A closed pool or destination is no outage.
func TestClosedPoolIsAnErrorForGood(t *testing.T) {
	db := pgtest.Open(t)
	db.Exec(t, filesDDL)
	own, err := Open(db.URL)
	if err != nil {
		t.Fatal(err)
	}
	pool := poolOf(t, db.URL, nil)
	handed := FromPool(poolOf(t, db.URL, nil))
	for name, c := range map[string]struct {
		db    *DB
		close func()
	}{
		"own":                   {own, func() { _ = own.Close() }},
		"a caller's pool":       {FromPool(pool), pool.Close},
		"DB of a caller's pool": {handed, func() { _ = handed.Close() }},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := c.db.Bind(files(), nil)
			if err != nil {
				t.Fatal(err)
			}
			write(t, s, row{int64(1), "a", nil})
			c.close()
			for _, err := range []error{s.Check(t.Context()), refused(t, s, row{int64(1), "b", nil})} {
				if e := asError(t, err); e.Class != dest.ClassTable || !errors.Is(err, dest.ErrClosed) {
					t.Errorf("class %v: %v", e.Class, e)
				}
			}
		})
	}
}
