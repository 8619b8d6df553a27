package pgdest

import (
	"context"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/memdbwriter/memdbwriter/internal/dest"
	"github.com/memdbwriter/memdbwriter/internal/faultproxy"
	"github.com/memdbwriter/memdbwriter/internal/pgtest"
	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

// Somebody changes the table while rows are written to it, and mends it later.
func TestTableChangesUnderUs(t *testing.T) {
	server := pgtest.Start(t)
	withPlainRole(t, server)
	const readd = "ALTER TABLE files ADD size bigint"
	for _, c := range []struct {
		name, change string
		class        dest.Class
		says         string // empty: the next batch gets in as if nothing had happened
		mend         string
		keyed        bool // concerns only tables with a key
	}{
		{name: "dropped", change: "DROP TABLE files", class: dest.ClassTable, says: "the table does not exist", mend: filesDDL},
		{name: "dropped and re-created", change: "DROP TABLE files; " + filesDDL},
		{name: "renamed", change: "ALTER TABLE files RENAME TO other", class: dest.ClassTable, says: "does not exist", mend: "ALTER TABLE other RENAME TO files"},
		{name: "nullable column added", change: "ALTER TABLE files ADD owner text"},
		{name: "column with a default added", change: "ALTER TABLE files ADD owner text NOT NULL DEFAULT ''"},
		{
			name: "NOT NULL column added", change: "DELETE FROM files; ALTER TABLE files ADD owner text NOT NULL",
			class: dest.ClassTable, says: "column owner is NOT NULL without a default", mend: "ALTER TABLE files ALTER owner DROP NOT NULL",
		},
		{name: "column dropped", change: "ALTER TABLE files DROP size", class: dest.ClassTable, says: "column size does not exist", mend: readd},
		{name: "column dropped and added", change: "ALTER TABLE files DROP size; " + readd},
		{name: "type changed", change: "ALTER TABLE files ALTER size TYPE numeric", class: dest.ClassTransient, says: "the table was changed"},
		{
			name: "type changed to a wrong one", change: "ALTER TABLE files DROP size; ALTER TABLE files ADD size boolean",
			class: dest.ClassTable, says: "column size: a column of type boolean cannot take bigint values", mend: "ALTER TABLE files DROP size; " + readd,
		},
		{
			name: "unique index dropped", change: "ALTER TABLE files DROP CONSTRAINT files_pkey", keyed: true,
			class: dest.ClassTable, says: "no unique index is on exactly the key (id)", mend: "CREATE UNIQUE INDEX i ON files (id)",
		},
		{
			name: "rights revoked", change: "REVOKE INSERT ON files FROM plain", class: dest.ClassTable,
			says: "user plain lacks the privilege INSERT", mend: "GRANT INSERT ON files TO plain",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, way := range []string{"direct", "upsert", "insert-only"} {
				if c.keyed && way == "insert-only" {
					continue
				}
				t.Run(way, func(t *testing.T) {
					db := server.Open(t)
					db.Exec(t, "GRANT ALL ON SCHEMA "+db.Schema+" TO plain; ALTER DEFAULT PRIVILEGES IN SCHEMA "+db.Schema+" GRANT ALL ON TABLES TO plain; "+filesDDL)
					table := files()
					if way == "insert-only" {
						table.Policy, table.Keys = dest.InsertOnly, 0
					}
					s := open(t, asPlain(db), table)
					write(t, s, row{int64(1), "a", nil})
					steer := func() {
						if s.choice.succeeded(); way == "upsert" {
							s.choice.conflicted()
						}
					}
					db.Exec(t, c.change)
					steer()
					// By upsert the server itself converts to the new type.
					if c.says != "" && (way != "upsert" || c.class != dest.ClassTransient) {
						for range 2 { // it does not pass by itself
							e := refused(t, s, row{int64(2), "b", int64(2)})
							if e.Class != c.class || !strings.Contains(e.Error(), c.says) {
								t.Fatalf("class %v state %s: %v", e.Class, e.SQLState, e)
							}
							if c.class == dest.ClassTransient {
								break
							}
						}
					}
					if c.mend != "" {
						db.Exec(t, c.mend)
					}
					steer()
					insist(t, s, batch(row{int64(3), "b", int64(2)}))
					equal(t, db.Rows(t, "SELECT id, name, size FROM files WHERE id > 1"), "3|b|2")
				})
			}
		})
	}
}

// withPlainRole makes a role with no rights of its own.
func withPlainRole(tb testing.TB, server *pgtest.Server) {
	tb.Helper()
	server.Open(tb).Exec(tb, "CREATE ROLE plain LOGIN")
}

// asPlain is the URL of the plain role.
func asPlain(db *pgtest.DB) string { return strings.Replace(db.URL, "postgres@", "plain@", 1) }

func TestServerBecomesReadOnlyAndWritableAgain(t *testing.T) {
	server := pgtest.Start(t)
	db := server.Open(t)
	db.Exec(t, filesDDL)
	s := open(t, db.URL, files())
	db.Exec(t, "ALTER SYSTEM SET default_transaction_read_only = on")
	server.Restart()
	for i := range 2 {
		s.choice.succeeded()
		if i == 1 {
			s.choice.conflicted()
		}
		e := refused(t, s, row{int64(1), "a", nil})
		if e.Class != dest.ClassTransient || e.SQLState != "25006" || !strings.Contains(e.Error(), "default_transaction_read_only is on") {
			t.Errorf("class %v state %s: %v", e.Class, e.SQLState, e)
		}
	}
	db.Exec(t, "ALTER SYSTEM RESET default_transaction_read_only")
	server.Restart()
	write(t, s, row{int64(1), "a", nil})
}

func TestServerGoesDownInTheMiddleOfABatch(t *testing.T) {
	server := pgtest.Start(t)
	db := server.Open(t)
	db.Exec(t, filesDDL+";"+linesDDL)
	for name, down := range map[string]func(){
		"fast":      func() { server.Stop(pgtest.Fast) },
		"immediate": func() { server.Stop(pgtest.Immediate) },
		"kill -9":   server.Kill,
	} {
		for _, table := range []*dest.Table{files(), lines()} {
			t.Run(name+" "+table.Name, func(t *testing.T) {
				db.Exec(t, "TRUNCATE "+table.Name)
				s, proxy, _ := throughProxy(t, db, table)
				b := numbered(0, 5000)
				if table.Policy != dest.InsertOnly {
					b = keyed(5000)
				}
				hit := proxy.Break(faultproxy.Fault{At: faultproxy.CopyData, After: 50_000, Do: faultproxy.Stall})
				done := make(chan error)
				go func() {
					_, err := s.Write(context.Background(), b)
					done <- err
				}()
				<-hit
				down()
				proxy.Resume()
				if e := asError(t, <-done); e.Class != dest.ClassTransient {
					t.Errorf("class %v state %s: %v", e.Class, e.SQLState, e)
				}
				mended(t, proxy)
				server.Restart()
				insist(t, s, b)
				equal(t, db.Rows(t, "SELECT count(*), count(DISTINCT id) FROM "+table.Name), "5000|5000")
			})
		}
	}
}

// keyed is a batch of n files.
func keyed(n int) *tuple.Batch {
	var rows []row
	for i := range n {
		rows = append(rows, row{int64(i), "a name", nil})
	}
	return batch(rows...)
}

func TestSessionsThatTheServerClosedCostNoFailedBatch(t *testing.T) {
	db := pgtest.Open(t)
	db.Exec(t, filesDDL+";"+linesDDL)
	type ending struct {
		parameter string
		end       string
	}
	endings := map[string]ending{
		"pg_terminate_backend": {end: "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1"},
	}
	if db.Version >= 14_00_00 {
		endings["idle_session_timeout"] = ending{parameter: "&idle_session_timeout=200ms", end: "SELECT $1::text"}
	}
	for name, c := range endings {
		for _, table := range []*dest.Table{files(), lines()} {
			t.Run(name+" "+table.Name, func(t *testing.T) {
				app := name + table.Name
				s := open(t, db.URL+"&application_name="+app+c.parameter, table)
				// More than one of them, so that the next one is dead too.
				var conns []*pgxpool.Conn
				for range maxConns {
					conn, err := s.db.pool.Acquire(context.Background())
					if err != nil {
						t.Fatal(err)
					}
					conns = append(conns, conn)
				}
				for _, conn := range conns {
					conn.Release()
				}
				db.Exec(t, c.end, app)
				for pgtest.Value[int](t, db, "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1", app) > 0 {
				}
				b := numbered(0, 10)
				if table.Policy != dest.InsertOnly {
					b = keyed(10)
				}
				if _, err := s.Write(context.Background(), b); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

func TestStatementTimeoutPasses(t *testing.T) {
	db := pgtest.Open(t)
	db.Exec(t, filesDDL+";"+linesDDL)
	for _, table := range []*dest.Table{files(), lines()} {
		s := open(t, db.URL+"&statement_timeout=1s", table)
		check(t, s)
		tx, err := db.Pool(t).Begin(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tx.Exec(context.Background(), "LOCK TABLE "+table.Name); err != nil {
			t.Fatal(err)
		}
		b := numbered(0, 10)
		if table.Policy != dest.InsertOnly {
			b = keyed(10)
		}
		_, err = s.Write(context.Background(), b)
		if e := asError(t, err); e.Class != dest.ClassTransient || e.SQLState != "57014" {
			t.Errorf("class %v state %s: %v", e.Class, e.SQLState, e)
		}
		if err := tx.Rollback(context.Background()); err != nil {
			t.Fatal(err)
		}
		insist(t, s, b)
		equal(t, db.Rows(t, "SELECT count(*) FROM "+table.Name), "10")
	}
}

func TestFrozenServerGoesOnWhereItWas(t *testing.T) {
	server := pgtest.Start(t)
	db := server.Open(t)
	db.Exec(t, linesDDL)
	s, proxy, _ := throughProxy(t, db, lines())
	b := numbered(0, 1000)
	hit := proxy.Break(faultproxy.Fault{At: faultproxy.CopyDone, Do: faultproxy.Stall})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() {
		_, err := s.Write(ctx, b)
		done <- err
	}()
	<-hit
	server.Freeze()
	mended(t, proxy)
	proxy.Resume()
	cancel()
	if e := asError(t, <-done); e.Class != dest.ClassTransient {
		t.Errorf("class %v: %v", e.Class, e)
	}
	server.Thaw()
	insist(t, s, b)
	equal(t, db.Rows(t, "SELECT count(*), count(DISTINCT id) FROM log"), "1000|1000")
}

func TestNoConnectionIsLeft(t *testing.T) {
	server := pgtest.Start(t, "max_connections=6", "superuser_reserved_connections=0", "max_wal_senders=0")
	db := server.Open(t)
	db.Exec(t, filesDDL)
	s := open(t, db.URL, files())
	var taken []*pgx.Conn
	for {
		conn, err := pgx.Connect(context.Background(), db.URL)
		if err != nil {
			break
		}
		taken = append(taken, conn)
	}
	e := refused(t, s, row{int64(1), "a", nil})
	if e.Class != dest.ClassTransient || e.SQLState != "53300" || !strings.Contains(e.Error(), "raise max_connections") {
		t.Errorf("class %v state %s: %v", e.Class, e.SQLState, e)
	}
	for _, conn := range taken {
		if err := conn.Close(context.Background()); err != nil {
			t.Error(err)
		}
	}
	insist(t, s, batch(row{int64(1), "a", nil}))
}

func TestDatabaseIsRenamed(t *testing.T) {
	server := pgtest.Start(t)
	admin := server.Open(t)
	admin.Exec(t, "CREATE DATABASE catalog")
	db := &pgtest.DB{URL: strings.Replace(server.URL, "/postgres?", "/catalog?", 1)}
	db.Exec(t, filesDDL)
	s := open(t, db.URL, files())
	write(t, s, row{int64(1), "a", nil})
	endSessions(t, admin, "datname = 'catalog'")
	admin.Exec(t, "ALTER DATABASE catalog RENAME TO other")
	if e := refused(t, s, row{int64(2), "b", nil}); e.Class != dest.ClassTable || e.SQLState != "3D000" {
		t.Errorf("class %v state %s: %v", e.Class, e.SQLState, e)
	}
	admin.Exec(t, "ALTER DATABASE other RENAME TO catalog")
	write(t, s, row{int64(2), "b", nil})
}

// A wrong setting in the URL is refused at the login, with the code of a wrong
// value: it is no fault of a row.
func TestRefusedSettingIsNoFaultOfARow(t *testing.T) {
	s := open(t, pgtest.Open(t).URL+"&work_mem=much", files())
	if e := refused(t, s, row{int64(1), "a", nil}); e.Class != dest.ClassTable || e.SQLState != "22023" {
		t.Errorf("class %v state %s: %v", e.Class, e.SQLState, e)
	}
}

// endSessions ends the sessions of a condition, and returns when they are gone.
func endSessions(t *testing.T, db *pgtest.DB, where string) {
	t.Helper()
	for pgtest.Value[int](t, db, "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND "+where) > 0 {
	}
}
