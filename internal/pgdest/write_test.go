package pgdest

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/memdbwriter/memdbwriter/internal/dest"
	"github.com/memdbwriter/memdbwriter/internal/pgtest"
	"github.com/memdbwriter/memdbwriter/internal/tuple"
	"github.com/memdbwriter/memdbwriter/opengauss"
)

func TestNewRowsGoInDirectlyInOneRoundTrip(t *testing.T) {
	onEveryServer(t, func(t *testing.T, db *database) {
		db.Exec(t, filesDDL)
		s := open(t, db.URL, files())
		check(t, s)
		res := write(t, s, row{int64(1), "a", int64(10)}, row{int64(2), "", nil}, row{int64(3), "ü\t\\N", int64(-1)})
		if want := (dest.Result{Way: dest.Direct, RoundTrips: 1}); res != want {
			t.Errorf("got %+v, want %+v", res, want)
		}
		equal(t, db.Rows(t, "TABLE files ORDER BY id"), "1|a|10", "2||NULL", `3|ü	\N|-1`)
	})
}

func TestKnownRowsGoByUpsertAndStayThere(t *testing.T) {
	onEveryServer(t, func(t *testing.T, db *database) {
		db.Exec(t, filesDDL)
		s := open(t, db.URL, files())
		check(t, s)
		write(t, s, row{int64(1), "a", nil}, row{int64(2), "b", nil})
		res := write(t, s, row{int64(2), "B", nil}, row{int64(3), "c", nil})
		if want := (dest.Result{Way: dest.Upsert, RoundTrips: 2}); res != want {
			t.Errorf("the first conflict: got %+v, want %+v", res, want)
		}
		for range firstDetour {
			res = write(t, s, row{int64(1), "A", nil})
			if want := (dest.Result{Way: dest.Upsert, RoundTrips: 1}); res != want {
				t.Errorf("after the conflict: got %+v, want %+v", res, want)
			}
		}
		// A batch of new keys only is followed by a direct one.
		write(t, s, row{int64(4), "d", nil})
		write(t, s, row{int64(5), "e", nil})
		if res = write(t, s, row{int64(6), "f", nil}); res.Way != dest.Direct {
			t.Errorf("after new keys: got %+v, want the direct way", res)
		}
		equal(t, db.Rows(t, "TABLE files ORDER BY id"), "1|A|NULL", "2|B|NULL", "3|c|NULL", "4|d|NULL", "5|e|NULL", "6|f|NULL")
	})
}

func TestUnchangedRowsAreNotWritten(t *testing.T) {
	onEveryServer(t, func(t *testing.T, db *database) {
		db.Exec(t, `CREATE TABLE files (id bigint PRIMARY KEY, name text, meta json, tags jsonb, seen timestamptz)`)
		s := open(t, db.URL, &dest.Table{Name: "files", Keys: 1, Columns: []dest.Column{
			col("id", tuple.Int8), col("name", tuple.Text, "null"), col("meta", tuple.JSON, "null"),
			col("tags", tuple.JSON, "null"), col("seen", tuple.Timestamptz, "passive"),
		}})
		scan := func(seen time.Time, second string) {
			write(t, s,
				row{int64(1), nil, jsonb(`{"a": 1}`), jsonb(`[1]`), seen},
				row{int64(2), "b", nil, nil, seen},
				row{int64(3), second, jsonb(`1`), jsonb(`2`), seen})
		}
		monday, tuesday := time.Unix(1e9, 0), time.Unix(1e9+86400, 0)
		scan(monday, "c")
		versions := "SELECT id, xmin, ctid FROM files ORDER BY id"
		before := db.Rows(t, versions)
		scan(tuesday, "c")
		equal(t, db.Rows(t, versions), before...)
		scan(tuesday, "C")
		equal(t, db.Rows(t, versions)[:2], before[:2]...)
		equal(t, db.Rows(t, "SELECT id, name, meta, tags, extract(epoch FROM seen)::bigint FROM files ORDER BY id"),
			`1|NULL|{"a": 1}|[1]|1000000000`, `2|b|NULL|NULL|1000000000`, `3|C|1|2|1000086400`)
	})
}

func TestInsertOnlyColumnsAndGuardedRowsAreLeftAlone(t *testing.T) {
	onEveryServer(t, func(t *testing.T, db *database) {
		db.Exec(t, `CREATE TABLE files (id bigint PRIMARY KEY, name text, chunk int, copied boolean)`)
		s := open(t, db.URL, &dest.Table{Name: "files", Keys: 1, Guard: "copied", Columns: []dest.Column{
			col("id", tuple.Int8), col("name", tuple.Text), col("chunk", tuple.Int4, "insertonly"), col("copied", tuple.Bool, "insertonly", "null"),
		}})
		write(t, s, row{int64(1), "a", int32(0), false}, row{int64(2), "b", int32(0), false}, row{int64(3), "c", int32(0), nil})
		db.Exec(t, `UPDATE files SET chunk = 7; UPDATE files SET copied = true WHERE id = 2`)
		write(t, s, row{int64(1), "A", int32(1), false}, row{int64(2), "B", int32(1), false}, row{int64(3), "C", int32(1), false})
		equal(t, db.Rows(t, "TABLE files ORDER BY id"), "1|A|7|f", "2|b|7|t", "3|C|7|NULL")
	})
}

func TestIgnoreKeepsTheStoredRow(t *testing.T) {
	onEveryServer(t, func(t *testing.T, db *database) {
		db.Exec(t, filesDDL)
		table := files()
		table.Policy = dest.Ignore
		s := open(t, db.URL, table)
		write(t, s, row{int64(1), "a", nil})
		write(t, s, row{int64(1), "A", nil}, row{int64(2), "b", nil})
		equal(t, db.Rows(t, "TABLE files ORDER BY id"), "1|a|NULL", "2|b|NULL")
	})
}

func TestTableOfNothingButItsKey(t *testing.T) {
	onEveryServer(t, func(t *testing.T, db *database) {
		db.Exec(t, `CREATE TABLE seen (a bigint, b text, UNIQUE (b, a)`+pick(db, " INCLUDE (a)", "")+")")
		s := open(t, db.URL, &dest.Table{Name: "seen", Keys: 2, Columns: []dest.Column{col("a", tuple.Int8), col("b", tuple.Text)}})
		write(t, s, row{int64(1), "x"})
		write(t, s, row{int64(1), "x"}, row{int64(1), "y"})
		equal(t, db.Rows(t, "TABLE seen ORDER BY a, b"), "1|x", "1|y")
	})
}

func TestInsertOnlyTableTakesNoDuplicate(t *testing.T) {
	onEveryServer(t, func(t *testing.T, db *database) {
		db.Exec(t, `CREATE TABLE log (id bigint UNIQUE, line text)`)
		s := open(t, db.URL, &dest.Table{Name: "log", Policy: dest.InsertOnly, Columns: []dest.Column{col("id", tuple.Int8), col("line", tuple.Text)}})
		write(t, s, row{int64(2), "b"}, row{int64(1), "a"})
		e := refused(t, s, row{int64(3), "c"}, row{int64(1), "again"})
		if e.Class != dest.ClassRow || e.Row != pick(db, 1, -1) || e.SQLState != "23505" {
			t.Errorf("got class %v row %d state %s: %v", e.Class, e.Row, e.SQLState, e)
		}
		equal(t, db.Rows(t, "TABLE log ORDER BY id"), "1|a", "2|b")
	})
}

func TestNamesNeedNoCare(t *testing.T) {
	onEveryServer(t, func(t *testing.T, db *database) {
		const schema = `s"c h'e\m.a`
		db.Exec(t, `DROP SCHEMA IF EXISTS "s""c h'e\m.a" CASCADE`)
		t.Cleanup(func() { db.Exec(t, `DROP SCHEMA "s""c h'e\m.a" CASCADE`) })
		table := &dest.Table{
			Schema: schema, Name: `O'Brien "1", line 7 \x%s`, Keys: 1, Guard: "Select", Create: true,
			Columns: []dest.Column{col(`k"'\`, tuple.Text), col("order", tuple.Int4), col("T", tuple.JSON)},
		}
		s := open(t, db.URL, table)
		check(t, s)
		for _, way := range []dest.Way{dest.Direct, dest.Upsert} {
			if res := write(t, s, row{"a", int32(way), jsonb("1")}); res.Way != way {
				t.Errorf("got way %v, want %v", res.Way, way)
			}
		}
		equal(t, db.Rows(t, "TABLE "+dest.QuoteName(schema, table.Name)), "a|2|1|f")
		db.Exec(t, "ALTER TABLE "+dest.QuoteName(schema, table.Name)+` ADD CHECK ("order" < 9)`)
		s.choice.succeeded()
		if e := refused(t, s, row{"b", int32(1), jsonb("1")}, row{"c", int32(9), jsonb("1")}); e.Row != 1 {
			t.Errorf("row %d: %v", e.Row, e)
		}
	})
}

func TestBatchLargerThanAMessageKeepsEveryByte(t *testing.T) {
	onEveryServer(t, func(t *testing.T, db *database) {
		db.Exec(t, filesDDL)
		s := open(t, db.URL, files())
		big := make([]byte, 200_000)
		for i := range big {
			big[i] = 'a' + byte(i%26)
		}
		for range 2 {
			var rows []row
			for i := range 3000 {
				rows = append(rows, row{int64(i), fmt.Sprint("name ", i), int64(i)})
			}
			rows = append(rows, row{int64(5000), string(big), nil})
			write(t, s, rows...)
			equal(t, db.Rows(t, "SELECT count(*), sum(size), max(length(name)), count(DISTINCT name) FROM files"), "3001|4498500|200000|3001")
		}
		if got := db.Rows(t, "SELECT name FROM files WHERE id = 5000"); got[0] != string(big) {
			t.Error("the long value came back changed")
		}
	})
}

func TestAFailedBatchLeavesNothing(t *testing.T) {
	onEveryServer(t, func(t *testing.T, db *database) {
		db.Exec(t, filesDDL+"; ALTER TABLE files ADD CHECK (size > 0)")
		s := open(t, db.URL, files())
		refused(t, s, row{int64(1), "a", int64(1)}, row{int64(2), "b", int64(0)})
		s.choice.conflicted()
		refused(t, s, row{int64(1), "a", int64(1)}, row{int64(2), "b", int64(0)})
		if n := db.Count(t, "files"); n != "0" {
			t.Errorf("%s rows are in the table", n)
		}
		write(t, s, row{int64(1), "a", int64(1)})
		if n := db.Count(t, "files"); n != "1" {
			t.Errorf("%s rows are in the table, want 1", n)
		}
	})
}

func TestUpsertShowsNoNoticesAndLeavesTheSessionAsItWas(t *testing.T) {
	onEveryServer(t, func(t *testing.T, db *database) {
		db.Exec(t, filesDDL)
		config, err := opengauss.ParsePoolConfig(db.URL)
		if err != nil {
			t.Fatal(err)
		}
		config.MaxConns = 1
		config.ConnConfig.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) { t.Errorf("notice: %s %s", n.Code, n.Message) }
		pool, err := pgxpool.NewWithConfig(context.Background(), config)
		if err != nil {
			t.Fatal(err)
		}
		defer pool.Close()
		d := FromPool(pool)
		s, err := d.Bind(files(), nil)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 4 {
			write(t, s, row{int64(1), fmt.Sprint(i), nil})
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		var level, temp string
		err = pool.QueryRow(context.Background(), `SELECT current_setting('client_min_messages'),
		(SELECT string_agg(relname, ' ') FROM pg_class WHERE relpersistence = 't' AND relkind = 'r' AND pg_table_is_visible(oid))`).Scan(&level, &temp)
		if err != nil {
			t.Fatalf("the caller's pool after Close: %v", err)
		}
		if level != "notice" || temp != s.(*Sink).plan.Load().few.temp.name {
			t.Errorf("client_min_messages is %s, temporary tables are %q", level, temp)
		}
	})
}

func TestSinksShareATable(t *testing.T) {
	onEveryServer(t, func(t *testing.T, db *database) {
		db.Exec(t, filesDDL)
		sinks := []*Sink{open(t, db.URL, files()), open(t, db.URL, files())}
		var wg sync.WaitGroup
		for i := range 4 {
			wg.Go(func() {
				for n := range 20 {
					var rows []row
					for j := range 50 {
						rows = append(rows, row{int64(i*1000 + (n%10)*50 + j), fmt.Sprint(n), nil})
					}
					if _, err := sinks[i%2].Write(context.Background(), batch(rows...)); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		equal(t, db.Rows(t, "SELECT count(*), sum((name::int >= 10)::int) FROM files"), "2000|2000")
	})
}

func TestPartitionedTable(t *testing.T) {
	db := pgtest.Open(t)
	db.Exec(t, `CREATE TABLE files (id bigint PRIMARY KEY, name text NOT NULL, size bigint CHECK (size < 100)) PARTITION BY RANGE (id);
		CREATE TABLE files_0 PARTITION OF files FOR VALUES FROM (0) TO (10); CREATE TABLE files_1 PARTITION OF files FOR VALUES FROM (10) TO (20)`)
	s := open(t, db.URL, files())
	write(t, s, row{int64(1), "a", nil}, row{int64(11), "b", nil})
	s.choice.succeeded()
	if e := refused(t, s, row{int64(2), "a", nil}, row{int64(12), "b", int64(100)}, row{int64(13), "b", nil}); e.Row != 1 {
		t.Errorf("CHECK of a partition: row %d: %v", e.Row, e)
	}
	if e := refused(t, s, row{int64(2), "a", nil}, row{int64(99), "b", nil}); e.Row != 1 || e.Class != dest.ClassRow {
		t.Errorf("no partition: row %d: %v", e.Row, e)
	}
	write(t, s, row{int64(1), "A", nil}, row{int64(11), "B", nil})
	equal(t, db.Rows(t, "SELECT tableoid::regclass::text, id, name FROM files ORDER BY id"), "files_0|1|A", "files_1|11|B")
}

func TestKeysThatTheIndexTakesForOneAreNotLost(t *testing.T) {
	db := pgtest.Open(t)
	db.Exec(t, `CREATE TABLE days (day date PRIMARY KEY, n int)`)
	s := open(t, db.URL, &dest.Table{Name: "days", Keys: 1, Columns: []dest.Column{col("day", tuple.Timestamptz), col("n", tuple.Int4)}})
	morning, evening := time.Unix(1e9, 0), time.Unix(1e9+3600, 0)
	for range 2 {
		if res := write(t, s, row{evening, int32(1)}, row{morning, int32(2)}); res.Superseded != 1 {
			t.Errorf("two rows of one day: %+v", res)
		}
		equal(t, db.Rows(t, "SELECT n FROM days"), "2")
	}
}
