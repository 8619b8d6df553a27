package pgdest

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/memdbwriter/memdbwriter/internal/dest"
	"github.com/memdbwriter/memdbwriter/internal/faultproxy"
	"github.com/memdbwriter/memdbwriter/internal/ogtest"
	"github.com/memdbwriter/memdbwriter/internal/pgtest"
	"github.com/memdbwriter/memdbwriter/internal/tuple"
	"github.com/memdbwriter/memdbwriter/opengauss"
)

// logged makes the Sink log into the buffer that is returned.
func logged(s *Sink) *bytes.Buffer {
	log := &bytes.Buffer{}
	s.log = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelInfo}))
	return log
}

func TestOpenGaussURL(t *testing.T) {
	db, err := Open("opengauss://u:s3cret@h:5/d?connect_timeout=3&pool_max_conns=7")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if c := db.pool.Config(); db.String() != "opengauss://u@h:5/d" || c.MaxConns != 7 || c.ConnConfig.ConnectTimeout != 3*time.Second {
		t.Errorf("%s with %d connections in %v", db, c.MaxConns, c.ConnConfig.ConnectTimeout)
	}
	if _, err := Open("opengauss://u:s3cret@h:5/d?pool_max_conns=none"); err == nil || !strings.Contains(err.Error(), "cannot parse pool_max_conns") {
		t.Errorf("a bad parameter: %v", err)
	}
}

// To try a wrong password often would lock the account, where the server hears of
// it.
func TestWrongPasswordOfOpenGaussIsNotTriedOften(t *testing.T) {
	for name, method := range map[string]ogtest.Method{"sha256": ogtest.SHA256, "sm3": ogtest.SM3, "md5": ogtest.MD5} {
		t.Run(name, func(t *testing.T) {
			server := ogtest.Start(t, ogtest.Options{Method: method, HBA: method})
			raw := server.UserURL(ogtest.DefaultUser, "wrong-s3cret")
			config, err := opengauss.ParsePoolConfig(raw)
			if err != nil {
				t.Fatal("the test has a bad URL")
			}
			pool, err := pgxpool.NewWithConfig(t.Context(), config)
			if err != nil {
				t.Fatal(err)
			}
			defer pool.Close()
			for _, s := range []*Sink{open(t, raw, files()), sinkOn(t, pool, files())} {
				for n := range 3 {
					e := refused(t, s, row{int64(1), "a", nil})
					if e.Class != dest.ClassTable || strings.Contains(e.Error(), "s3cret") {
						t.Errorf("class %v: %v", e.Class, e)
					}
					if want := method == ogtest.MD5 && n > 0 && s.db.own; e.Locks != want {
						t.Errorf("refusal %d, own %v: locks %v", n+1, s.db.own, e.Locks)
					}
				}
			}
		})
	}
}

// The form of the upsert is found out, and not concluded from names or
// versions.
func TestFormOfTheUpsert(t *testing.T) {
	for name, c := range map[string]struct {
		options ogtest.Options
		more    string // DDL
		says    string
	}{
		"mode A":             {says: `"name" = EXCLUDED."name"`},
		"dolphin":            {options: ogtest.Options{Mode: "B", Dolphin: true}, says: `"name" = VALUES("name")`},
		"old":                {options: ogtest.Options{Version: "2.1.0"}, says: "WHERE NOT EXISTS"},
		"other unique index": {more: "CREATE UNIQUE INDEX ON files (size)", says: "WHERE NOT EXISTS"},
		"partial index":      {more: "CREATE UNIQUE INDEX ON files (name) WHERE size > 0", says: "WHERE NOT EXISTS"},
		"deferrable":         {more: "ALTER TABLE files ADD UNIQUE (id) DEFERRABLE", says: "WHERE NOT EXISTS"},
		"second on the key":  {more: "CREATE UNIQUE INDEX ON files (id)", says: "ON DUPLICATE KEY UPDATE"},
		"plain index":        {more: "CREATE INDEX ON files (name)", says: "ON DUPLICATE KEY UPDATE"},
	} {
		t.Run(name, func(t *testing.T) {
			db := onStandIn(t, c.options)
			db.Exec(t, filesDDL+";"+c.more)
			s := open(t, db.URL, files())
			for _, name := range []string{"a", "b", "b"} {
				write(t, s, row{int64(1), name, int64(7)})
			}
			equal(t, db.Rows(t, "TABLE files"), "1|b|7")
			if sql := sqlOf(s.plan.Load().few.moves); !strings.Contains(sql.String(), c.says) {
				t.Errorf("%s is not in %s", c.says, sql)
			}
		})
	}
}

func TestTableWithoutUniqueIndexIsUpserted(t *testing.T) {
	onEveryOpenGauss(t, func(t *testing.T, db *database) {
		db.Exec(t, `CREATE TABLE files (id bigint NOT NULL, name text NOT NULL, size bigint, kept boolean)`)
		table := files()
		table.Guard = "kept"
		s := open(t, db.URL, table)
		log := logged(s)
		check(t, s)
		for _, name := range []string{"a", "b"} {
			if res := write(t, s, row{int64(1), name, nil}, row{int64(2), "same", nil}); res.Way != dest.Upsert || res.RoundTrips != 1 {
				t.Errorf("got %+v", res)
			}
		}
		db.Exec(t, "UPDATE files SET kept = true WHERE id = 1")
		write(t, s, row{int64(1), "c", nil}, row{int64(3), "new", int64(3)})
		equal(t, db.Rows(t, "SELECT id, name, size FROM files ORDER BY id"), "1|b|NULL", "2|same|NULL", "3|new|3")

		check(t, s) // which warns no more
		if n := strings.Count(log.String(), "no unique index is on exactly the key"); n != 1 {
			t.Errorf("%d warnings: %s", n, log)
		}
		ddl := uniqueIndexSQL(s.table, s.plan.Load().shape).String()
		if !strings.Contains(log.String(), strings.ReplaceAll(ddl, `"`, `\"`)) {
			t.Errorf("%s is not in %s", ddl, log)
		}
		db.Exec(t, ddl)
		check(t, s)
		if res := write(t, s, row{int64(4), "d", nil}); res.Way != dest.Direct {
			t.Errorf("with the index: %+v", res)
		}
	})
}

func TestIgnoreWithoutUniqueIndex(t *testing.T) {
	onEveryOpenGauss(t, func(t *testing.T, db *database) {
		db.Exec(t, `CREATE TABLE files (id bigint, name text NOT NULL, size bigint)`)
		table := files()
		table.Policy = dest.Ignore
		s := open(t, db.URL, table)
		write(t, s, row{int64(1), "a", nil})
		write(t, s, row{int64(1), "A", nil}, row{int64(2), "b", nil})
		equal(t, db.Rows(t, "SELECT * FROM files ORDER BY id"), "1|a|NULL", "2|b|NULL")
	})
}

// ON DUPLICATE KEY would update the row whose size the new row has.
func TestOtherUniqueIndexChangesNoOtherRow(t *testing.T) {
	onEveryServer(t, func(t *testing.T, db *database) {
		db.Exec(t, filesDDL+"; CREATE UNIQUE INDEX files_size ON files (size)")
		s := open(t, db.URL, files())
		write(t, s, row{int64(1), "a", int64(10)}, row{int64(2), "b", int64(20)})
		e := refused(t, s, row{int64(2), "B", int64(21)}, row{int64(3), "c", int64(10)})
		if e.Class != dest.ClassRow || e.Row != -1 || e.SQLState != uniqueViolation {
			t.Errorf("class %v row %d state %s: %v", e.Class, e.Row, e.SQLState, e)
		}
		if e := refused(t, s, row{int64(3), "c", int64(10)}); e.Class != dest.ClassRow {
			t.Errorf("alone: class %v: %v", e.Class, e)
		}
		write(t, s, row{int64(2), "B", int64(21)}) // and the column of the other index can be changed
		equal(t, db.Rows(t, "SELECT * FROM files ORDER BY id"), "1|a|10", "2|B|21")
	})
}

func TestUniqueIndexAppearsUnderTheWriter(t *testing.T) {
	onEveryOpenGauss(t, func(t *testing.T, db *database) {
		db.Exec(t, filesDDL)
		s := open(t, db.URL, files())
		write(t, s, row{int64(1), "a", int64(10)}, row{int64(2), "b", int64(20)})
		write(t, s, row{int64(2), "b", int64(20)})
		db.Exec(t, "CREATE UNIQUE INDEX files_size ON files (size)")
		e := refused(t, s, row{int64(2), "B", int64(20)})
		if e.Class != dest.ClassTransient || !strings.Contains(e.Error(), "the table was changed") {
			t.Errorf("class %v: %v", e.Class, e)
		}
		write(t, s, row{int64(2), "B", int64(20)})
		equal(t, db.Rows(t, "SELECT * FROM files ORDER BY id"), "1|a|10", "2|B|20")
	})
}

// Writers that look a key up before they insert it get into each other's way.
func TestSinksShareATableThatIsUpsertedByLookingFirst(t *testing.T) {
	db := onStandIn(t, ogtest.Options{})
	db.Exec(t, filesDDL+"; CREATE UNIQUE INDEX ON files (size)")
	sinks := []*Sink{open(t, db.URL, files()), open(t, db.URL, files())}
	var wg sync.WaitGroup
	for _, s := range sinks {
		wg.Go(func() {
			for n := range 30 {
				var rows []row
				for j := range 20 {
					rows = append(rows, row{int64(n*10 + j), "a name", int64(n*10 + j)})
				}
				insist(t, s, batch(rows...))
			}
		})
	}
	wg.Wait()
	equal(t, db.Rows(t, "SELECT count(*), count(DISTINCT id) FROM files"), "310|310")
}

// A key of another precision in the table: two rows of a batch are one there.
func TestKeysThatOpenGaussTakesForOne(t *testing.T) {
	onEveryOpenGauss(t, func(t *testing.T, db *database) {
		days := &dest.Table{Name: "days", Keys: 1, Columns: []dest.Column{col("day", tuple.Timestamptz), col("n", tuple.Int4)}}
		first, second := time.Unix(1e9, 0), time.Unix(1e9, 1e8)
		db.Exec(t, `CREATE TABLE days (day timestamp(0) PRIMARY KEY, n int)`)
		s := open(t, db.URL, days)
		write(t, s, row{first, int32(1)}, row{second, int32(2)})
		equal(t, db.Rows(t, "SELECT n FROM days"), "2")

		db.Exec(t, `DROP TABLE days; CREATE TABLE days (day timestamp(0) PRIMARY KEY, n int UNIQUE)`)
		check(t, s)
		s.choice.succeeded()
		if res := write(t, s, row{first, int32(1)}, row{second, int32(2)}); res.Superseded != 1 {
			t.Errorf("two rows of one second: %+v", res)
		}
		equal(t, db.Rows(t, "SELECT n FROM days"), "2")
	})
}

// What is an empty string in Go is one in the table, whichever way the row
// takes: what mode A makes of a literal ” concerns no row of ours.
func TestEmptyStringsStayEmpty(t *testing.T) {
	const ddl = `CREATE TABLE names (a text, b varchar(9), c text NOT NULL, d varchar(9) NOT NULL, %s)`
	table := &dest.Table{Name: "names", Keys: 2, Columns: []dest.Column{
		col("a", tuple.Text), col("b", tuple.Text), col("c", tuple.Text), col("d", tuple.Text),
	}}
	for name, key := range map[string]string{"by key": "UNIQUE (a, b)", "by looking": "UNIQUE (a, b), UNIQUE (a, b, c)", "without": "CHECK (a <> 'x')"} {
		t.Run(name, func(t *testing.T) {
			onEveryServer(t, func(t *testing.T, db *database) {
				if name == "without" && !db.isOpenGauss() {
					return
				}
				db.Exec(t, strings.Replace(ddl, "%s", key, 1))
				s := open(t, db.URL, table)
				write(t, s, row{"", "", "", "x"})
				write(t, s, row{"", "", "y", ""}, row{"a", "", "", ""})
				write(t, s, row{"", "", "", ""}, row{"a", "", "", ""})
				equal(t, db.Rows(t, "SELECT length(a), length(b), length(c), length(d) FROM names ORDER BY a"), "0|0|0|0", "1|0|0|0")
			})
		})
	}
}

func TestLengthsAreCountedAsTheServerDoes(t *testing.T) {
	onEveryServer(t, func(t *testing.T, db *database) {
		db.Define(t, `CREATE TABLE files (id bigint PRIMARY KEY, name varchar(5), size char(5))`)
		s := open(t, db.URL, &dest.Table{Name: "files", Keys: 1, Columns: []dest.Column{
			col("id", tuple.Int8), col("name", tuple.Text), col("size", tuple.Text),
		}})
		for _, way := range []bool{false, true} {
			steer(s, way)
			write(t, s, row{int64(1), "12345", "12345"}, row{int64(2), "1234   ", "1"})
			if db.mode != "A" && db.mode != "C" {
				write(t, s, row{int64(3), "größe", "größe"})
				continue
			}
			e := refused(t, s, row{int64(1), "12345", "12345"}, row{int64(3), "größe", "1"})
			if e.Row != 1 || e.SQLState != "22001" || !strings.Contains(e.Error(), `"größe" has 7 bytes`) {
				t.Errorf("row %d state %s: %v", e.Row, e.SQLState, e)
			}
		}
	})
}

// The server ends sessions that idle, and does without statement_timeout while
// it would.
func TestSessionsOfOpenGaussAreSetUp(t *testing.T) {
	onEveryOpenGauss(t, func(t *testing.T, db *database) {
		db.Exec(t, filesDDL)
		config, err := opengauss.ParsePoolConfig(db.URL)
		if err != nil {
			t.Fatal(err)
		}
		config.MaxConns = 1
		pool, err := pgxpool.NewWithConfig(context.Background(), config)
		if err != nil {
			t.Fatal(err)
		}
		defer pool.Close()
		s, err := FromPool(pool).Bind(files(), nil)
		if err != nil {
			t.Fatal(err)
		}
		check(t, s)
		show := func(name string) (value string) {
			if err := pool.QueryRow(context.Background(), "SHOW "+name).Scan(&value); err != nil {
				t.Fatal(err)
			}
			return value
		}
		for name, want := range map[string]string{"session_timeout": "0", "idle_in_transaction_session_timeout": "0", "client_encoding": "UTF8"} {
			if got := show(name); got != want {
				t.Errorf("%s is %s", name, got)
			}
		}
		if _, err := pool.Exec(context.Background(), "SET session_timeout = 77"); err != nil {
			t.Fatal(err)
		}
		check(t, s)
		if got := show("session_timeout"); got != "77s" {
			t.Errorf("a session is set up twice: %s", got)
		}
	})
}

func TestSessionOfAnOldOpenGaussIsSetUp(t *testing.T) {
	db := onStandIn(t, ogtest.Options{Version: "2.1.0"}) // without idle_in_transaction_session_timeout
	db.Exec(t, filesDDL)
	check(t, open(t, db.URL, files()))
}

func TestStatementTimeoutOfOpenGaussPasses(t *testing.T) {
	onEveryOpenGauss(t, func(t *testing.T, db *database) {
		db.Exec(t, filesDDL)
		s := open(t, db.URL+"&statement_timeout=200ms", files())
		check(t, s)
		unlock := db.lock(t, "files")
		e := refused(t, s, row{int64(1), "a", nil})
		if e.Class != dest.ClassTransient || e.SQLState != "57014" {
			t.Errorf("class %v state %s: %v", e.Class, e.SQLState, e)
		}
		unlock()
		insist(t, s, batch(row{int64(1), "a", nil}))
	})
}

func TestInsertOnlyOnOpenGauss(t *testing.T) {
	onEveryOpenGauss(t, func(t *testing.T, db *database) {
		db.Exec(t, linesDDL)
		s := open(t, db.URL, lines())
		log := logged(s)
		check(t, s)
		if log.Len() > 0 {
			t.Errorf("log: %s", log)
		}
		if p := s.plan.Load(); p.server.system == 0 || p.server.life == "" {
			t.Errorf("the server is %+v", p.server)
		}
		if res := write(t, s, row{int64(1), "a"}, row{int64(1), "a"}); res.Way != dest.Direct || res.RoundTrips != 2 {
			t.Errorf("got %+v", res)
		}
		equal(t, db.Rows(t, "SELECT * FROM log"), "1|a", "1|a")
	})
}

func TestInsertOnlyBatchIsInOnceOnOpenGauss(t *testing.T) {
	server := ogtest.Start(t, ogtest.Options{})
	server.Backend.Exec(t, linesDDL)
	s, proxy, log := throughProxy(t, &pgtest.DB{URL: server.URL}, lines())
	const rows = 20
	next := int64(0)
	for _, fault := range []faultproxy.Fault{
		{At: faultproxy.Query, Do: faultproxy.Reset},
		{At: faultproxy.CopyDone, Do: faultproxy.Reset}, // not committed
		{At: faultproxy.CopyDone, Do: faultproxy.Hang},  // nor ever by itself
		{At: faultproxy.Running, Do: faultproxy.Reset},  // perhaps
		{At: faultproxy.Answer, Do: faultproxy.Reset},   // committed
		{At: faultproxy.Answer, Do: faultproxy.Hang},
	} {
		b := numbered(next, rows)
		next += rows
		if fault.Do == faultproxy.Hang {
			lose(t, s, proxy, fault.At, b)
		} else {
			hit := proxy.Break(fault)
			if _, err := s.Write(t.Context(), b); err == nil {
				b = nil
			}
			<-hit
			mended(t, proxy)
		}
		if b != nil {
			insist(t, s, b)
		}
		equal(t, server.Backend.Rows(t, "SELECT count(*), count(DISTINCT id) FROM log"), fmt.Sprint(next, "|", next))
	}
	if strings.Contains(log.String(), "ERROR") {
		t.Errorf("log: %s", log)
	}
	if refused := server.Refused(); len(refused) > 0 {
		t.Errorf("the stand-in did not know %q", refused)
	}
}

// openGauss gives no transaction number twice after a crash.
func TestOutcomeOnOpenGaussIsKnownAfterACrash(t *testing.T) {
	backend := pgtest.Start(t)
	server := ogtest.Start(t, ogtest.Options{Postgres: backend})
	server.Backend.Exec(t, linesDDL)
	for _, fault := range []faultproxy.Phase{faultproxy.CopyDone, faultproxy.Answer} {
		server.Backend.Exec(t, "TRUNCATE log")
		s, proxy, log := throughProxy(t, &pgtest.DB{URL: server.URL}, lines())
		b := numbered(0, 100)
		lose(t, s, proxy, fault, b)
		backend.Kill()
		backend.Restart()
		insist(t, s, b)
		equal(t, server.Backend.Rows(t, "SELECT count(*), count(DISTINCT id) FROM log"), "100|100")
		if strings.Contains(log.String(), "ERROR") {
			t.Errorf("%v: log: %s", fault, log)
		}
	}
}

// Of a transaction that a crash ended openGauss says no more than of one that
// goes on, but it is older than all that do.
func TestTransactionThatACrashOfOpenGaussEndedIsAborted(t *testing.T) {
	db := onStandIn(t, ogtest.Options{})
	status := func(xid string) string {
		n, err := strconv.ParseUint(xid, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return db.query(t, db.URL, "SELECT "+openGaussTransactions.status(n).String())[0]
	}
	rolledBack := db.Rows(t, "BEGIN; SELECT txid_current()")[0]
	for range 3 {
		db.Exec(t, "SELECT txid_current()")
	}
	if got := status(rolledBack); got != "aborted" {
		t.Errorf("rolled back: %s", got)
	}
	db.Exec(t, "INSERT INTO "+db.Schema+"_og.left_open VALUES ("+rolledBack+")")
	if got := status(rolledBack); got != "aborted" {
		t.Errorf("ended by a crash: %s", got)
	}
	if got := status("9000000000"); got != "not given" {
		t.Errorf("in the future: %s", got)
	}
	if got := status(db.Rows(t, "SELECT txid_current()")[0]); got != "committed" {
		t.Errorf("committed: %s", got)
	}
}

// After CREATE INDEX IF NOT EXISTS of an index that exists, a session of 5.0
// makes no temporary table any more.
func TestStatementsThatMakeATableSpoilNoSession(t *testing.T) {
	onEveryOpenGauss(t, func(t *testing.T, db *database) {
		table := files()
		table.Create = true
		var dialect string
		table.DDL = func(d string) []string {
			dialect = d
			const index = "CREATE UNIQUE INDEX IF NOT EXISTS files_id ON files (id)"
			return []string{"CREATE TABLE files (id bigint, name text, size bigint)", index, index}
		}
		s := open(t, db.URL, table)
		for i := range 3 {
			write(t, s, row{int64(1), strings.Repeat("a", i), nil})
		}
		equal(t, db.Rows(t, "SELECT * FROM files"), "1|aa|NULL")
		if dialect != "opengauss" {
			t.Errorf("dialect %q", dialect)
		}
	})
}

func TestComputedColumnOfOpenGaussIsNotWritten(t *testing.T) {
	onEveryOpenGauss(t, func(t *testing.T, db *database) {
		db.Define(t, `CREATE TABLE files (id bigserial PRIMARY KEY, name text, size bigint GENERATED ALWAYS AS (7) STORED)`)
		e := asError(t, open(t, db.URL, files()).Check(context.Background()))
		if e.Class != dest.ClassTable || !strings.Contains(e.Error(), "column size is computed by the server") || e.Hint != "" {
			t.Errorf("class %v: %v", e.Class, e)
		}
		table := files()
		table.Columns = table.Columns[:2]
		s := open(t, db.URL, table)
		write(t, s, row{int64(1), "a"})
		write(t, s, row{int64(1), "b"})
		equal(t, db.Rows(t, "SELECT * FROM files"), "1|b|7")
	})
}

func TestFieldsOfAnErrorOfOpenGauss(t *testing.T) {
	for _, c := range []struct {
		code, message      string
		column, constraint string
	}{
		{"23502", `null value in column "size" violates not-null constraint`, "size", ""},
		{"23505", `duplicate key value violates unique constraint "files_pkey"`, "", "files_pkey"},
		{"23514", `new row for relation "files" violates check constraint "positive"`, "", "positive"},
		{"23503", `insert or update on table "files" violates foreign key constraint "owner"`, "", "owner"},
		{"22001", `value too long for type character varying(5)`, "", ""},
		{"23505", `odd`, "", ""},
	} {
		pe := &pgconn.PgError{Code: c.code, Message: c.message, Severity: "ERROR", ColumnName: "6130", DataTypeName: "BACKEND"}
		if column, constraint := columnOf(pe), constraintOf(pe); column != c.column || constraint != c.constraint {
			t.Errorf("%s: column %q, constraint %q", c.message, column, constraint)
		}
	}
	pe := &pgconn.PgError{Code: "23502", SeverityUnlocalized: "ERROR", ColumnName: "size"}
	if got := columnOf(pe); got != "size" {
		t.Errorf("of PostgreSQL: column %q", got)
	}
}

// A schema of mode B can have a collation under which keys of different bytes are
// equal; a table that is made here has keys that are not.
func TestKeysThatAreMadeAreExactOnOpenGauss(t *testing.T) {
	onEveryOpenGauss(t, func(t *testing.T, db *database) {
		table := &dest.Table{Name: "names", Keys: 1, Create: true, Columns: []dest.Column{col("k", tuple.Text), col("v", tuple.Text)}}
		s := open(t, db.URL, table)
		check(t, s)
		write(t, s, row{"Case", "1"}, row{"case", "2"}, row{"case ", "3"})
		write(t, s, row{"Case", "4"}, row{"CASE", "5"})
		equal(t, db.Rows(t, `SELECT v FROM names ORDER BY v`), "2", "3", "4", "5")
		equal(t, db.Rows(t, `SELECT a.attname, co.collname FROM pg_attribute a JOIN pg_collation co ON co.oid = a.attcollation
			WHERE a.attrelid = 'names'::regclass AND a.attname = 'k'`), "k|C")
	})
}

// A column that takes text only makes all of them go as text, which means the same,
// but for the empty one in mode A: a row with it is refused, and not made NULL.
func TestRowsThatGoAsTextToOpenGauss(t *testing.T) {
	onEveryOpenGauss(t, func(t *testing.T, db *database) {
		db.Exec(t, `CREATE TABLE names (id bigint PRIMARY KEY, a text, b bit(2))`)
		s := open(t, db.URL, &dest.Table{Name: "names", Keys: 1, Columns: []dest.Column{col("id", tuple.Int8), col("a", tuple.Text), col("b", tuple.Text)}})
		odd := "tab\t, line\n, \\N and \\."
		for range 2 {
			write(t, s, row{int64(1), odd, "10"}, row{int64(2), nil, nil})
			write(t, s, row{int64(2), "x", "01"}, row{int64(3), " ", nil})
		}
		equal(t, db.Rows(t, `SELECT id, a, b FROM names ORDER BY id`), "1|"+odd+"|10", "2|x|01", "3| |NULL")
		empty := row{int64(3), "", "11"}
		if db.mode != "A" {
			write(t, s, empty)
			equal(t, db.Rows(t, `SELECT length(a) FROM names WHERE id = 3`), "0")
			return
		}
		e := refused(t, s, empty)
		if e.Class != dest.ClassRow || e.Column != "a" || !strings.Contains(e.Error(), "write NULL or another text") {
			t.Errorf("class %v, column %q: %v", e.Class, e.Column, e)
		}
		equal(t, db.Rows(t, `SELECT a FROM names WHERE id = 3`), " ")
	})
}
