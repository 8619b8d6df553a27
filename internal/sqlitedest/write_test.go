package sqlitedest

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/memdbwriter/memdbwriter/internal/dest"
	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

func TestEveryTypeIsStoredSoThatReadersUnderstandIt(t *testing.T) {
	tab := table("t", "k bigint", "b boolean", "i2 smallint", "i4 integer", "r real", "d doubleprecision", "x text", "y bytea",
		"at timestamptz", "j jsonb", "u uuid")
	for i := range tab.Columns[1:] {
		tab.Columns[i+1].Nullable = true
	}
	f := newFixture(t, tab)
	at, id := "2026-11-23 06:59:32.000001+00:00", "01234567-89ab-cdef-0123-456789abcdef"
	f.mustWrite(
		row{int64(math.MinInt64), true, math.MinInt16, math.MinInt32, 1.5, math.Inf(-1), "", []byte{}, at, `{"a": 1}`, id},
		row{0, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil},
		row{int64(math.MaxInt64), false, math.MaxInt16, math.MaxInt32, -0.25, 2.0, "007 ünï\n'文", []byte{0, 255}, at, `12345678901234567890`, id},
	)
	f.want("SELECT typeof(k), typeof(b), typeof(i2), typeof(i4), typeof(r), typeof(d), typeof(x), typeof(y), typeof(at), typeof(j), typeof(u) FROM t WHERE k <> 0",
		strings.TrimSpace(strings.Repeat("integer|integer|integer|integer|real|real|text|blob|text|text|text\n", 2)))
	f.want("SELECT b, i2, r, d, x, hex(y), j, u FROM t ORDER BY k", strings.Join([]string{
		`1|-32768|1.5|-Inf|||{"a": 1}|` + id,
		"<nil>|<nil>|<nil>|<nil>|<nil>||<nil>|<nil>",
		"0|32767|-0.25|2|007 ünï\n'文|00FF|12345678901234567890|" + id,
	}, "\n"))
	f.want("SELECT j ->> 'a', strftime('%s', at) FROM t ORDER BY k LIMIT 1", "1|1795417172")

	var b bool
	var when time.Time
	if err := f.reader.db.QueryRow("SELECT b, at FROM t ORDER BY k").Scan(&b, &when); err != nil {
		t.Fatal(err)
	}
	if !b || !when.Equal(time.Date(2026, 11, 23, 6, 59, 32, 1000, time.UTC)) {
		t.Errorf("a Go program reads %v and %v", b, when)
	}
}

func TestPolicies(t *testing.T) {
	columns := []string{"k bigint", "v text", "mine text insertonly", "seen bigint passive", "done boolean insertonly"}
	before := []string{
		"CREATE TABLE t(k INTEGER PRIMARY KEY, v TEXT, mine TEXT, seen INTEGER, done BOOLEAN)",
		"INSERT INTO t VALUES(1, 'a', 'theirs', 1, 0), (2, 'b', 'theirs', 1, 1), (3, 'c', 'theirs', 1, NULL), (4, 'd', 'theirs', 1, 'true')",
	}
	rows := []row{{1, "a", "x", 2, false}, {2, "B", "x", 2, false}, {3, "C", "x", 2, false}, {4, "D", "x", 2, false}, {5, "E", "x", 2, false}}
	for _, c := range []struct {
		name   string
		policy dest.Policy
		guard  string
		want   string
	}{
		{"update", dest.Update, "", "1|a|theirs|1|false\n2|B|theirs|2|true\n3|C|theirs|2|<nil>\n4|D|theirs|2|true\n5|E|x|2|false"},
		{"guard", dest.Update, "done", "1|a|theirs|1|false\n2|b|theirs|1|true\n3|C|theirs|2|<nil>\n4|d|theirs|1|true\n5|E|x|2|false"},
		{"ignore", dest.Ignore, "", "1|a|theirs|1|false\n2|b|theirs|1|true\n3|c|theirs|1|<nil>\n4|d|theirs|1|true\n5|E|x|2|false"},
	} {
		t.Run(c.name, func(t *testing.T) {
			tab := table("t", columns...)
			tab.Policy, tab.Guard = c.policy, c.guard
			f := newFixture(t, tab, before...)
			result, err := f.Write(ctx, batch(t, tab, rows...))
			if err != nil || result.Way != dest.Upsert {
				t.Errorf("result %+v, error %v", result, err)
			}
			f.want("SELECT k, v, mine, seen, CASE WHEN done IS NULL THEN NULL WHEN done = 0 THEN 'false' ELSE 'true' END FROM t", c.want)
		})
	}
}

func TestInsertOnlyTakesEveryRow(t *testing.T) {
	tab := table("t", "v text")
	tab.Keys, tab.Policy = 0, dest.InsertOnly
	f := newFixture(t, tab)
	result, err := f.Write(ctx, batch(t, tab, row{"a"}, row{"b"}, row{"a"}))
	if err != nil || result.Way != dest.Direct {
		t.Errorf("result %+v, error %v", result, err)
	}
	f.want("SELECT v FROM t", "a\nb\na")

	tab.Keys = 1 // a key that the policy does not need, and the table has
	f = newFixture(t, tab, "CREATE TABLE t(v TEXT PRIMARY KEY)", "INSERT INTO t VALUES('b')")
	e := asError(t, f.write(row{"a"}, row{"b"}, row{"c"}), dest.ClassRow, "UNIQUE")
	if e.Row != 1 || e.SQLState != "23505" || e.Column != "v" {
		t.Errorf("row %d, state %s, column %q", e.Row, e.SQLState, e.Column)
	}
}

func TestRowsOfColumnsThatNeverChangeAreLeftAlone(t *testing.T) {
	f := newFixture(t, table("t", "k bigint", "first text insertonly", "seen bigint passive"))
	f.mustWrite(row{1, "a", 1})
	f.mustWrite(row{1, "b", 2}, row{2, "c", 2})
	f.want("SELECT * FROM t", "1|a|1\n2|c|2")
}

func TestAnUnchangedRescanWritesNothing(t *testing.T) {
	tab := table("t", "k bigint", "b boolean", "i bigint", "r real", "d doubleprecision", "x text", "y bytea", "at timestamptz", "j jsonb", "u uuid",
		"n text null", "seen bigint passive")
	rows := func(seen int) []row {
		return []row{
			{1, true, 7, 1.0, 0.1, "é", []byte("x"), "2026-11-23 06:59:32.000000+00:00", "1.0", "01234567-89ab-cdef-0123-456789abcdef", nil, seen},
			{2, false, -7, math.Inf(1), 1e300, "12", []byte("12"), "9999-11-23 06:59:32.000000+00:00", "[]", "12345678-1234-1234-1234-123456789012", "", seen},
		}
	}
	for name, before := range map[string][]string{
		"our table": nil,
		"theirs": {`CREATE TABLE t(k BIGINT PRIMARY KEY, b NUMERIC, i, r DOUBLE, d NUMERIC, x VARCHAR(9), y VARBINARY, at DATETIME, j JSON, u UUID,
			n CHAR, seen INT)`},
		"strict":        {`CREATE TABLE t(k INT PRIMARY KEY, b INTEGER, i ANY, r REAL, d ANY, x TEXT, y BLOB, at TEXT, j TEXT, u ANY, n TEXT, seen INT) STRICT`},
		"without rowid": {`CREATE TABLE t(k INTEGER PRIMARY KEY, b, i, r, d, x, y, at, j, u, n, seen) WITHOUT ROWID`},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, tab, before...)
			f.mustWrite(rows(1)...)
			stored, wal := f.query("SELECT * FROM t"), walState(t, f)
			f.mustWrite(rows(2)...)
			f.want("SELECT * FROM t", stored)
			if now := walState(t, f); now != wal {
				t.Errorf("the log went from %s to %s", wal, now)
			}
			changed := rows(3)
			changed[1][5] = "13"
			f.mustWrite(changed...)
			f.want("SELECT k, seen FROM t ORDER BY k", "1|1\n2|3")
		})
	}
}

func walState(t *testing.T, f *fixture) string {
	t.Helper()
	wal, err := os.Stat(f.db.path + "-wal")
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(wal.Size(), " ", wal.ModTime())
}

func TestACollationHidesNoChange(t *testing.T) {
	f := newFixture(t, table("t", "k text", "v text"),
		"CREATE TABLE t(k TEXT COLLATE NOCASE, v TEXT COLLATE NOCASE)", "CREATE UNIQUE INDEX u ON t(k COLLATE BINARY)")
	f.mustWrite(row{"A", "x"}, row{"a", "x"})
	f.mustWrite(row{"A", "X"})
	f.want("SELECT * FROM t", "A|X\na|x")
}

func TestNamesAreNeverSyntax(t *testing.T) {
	for _, name := range []string{"excluded", "stored", "source", "order", `a"b`, "it's", "a.b", "日本", "c0", "[x]", "-- x", "main"} {
		tab := table("t", "k bigint", "v text", "w text")
		tab.Name, tab.Columns[0].Name, tab.Columns[1].Name = name, name, name+"2"
		tab.Guard = name + " guard"
		f := newFixture(t, tab)
		f.mustWrite(row{1, "a", "a"})
		f.mustWrite(row{1, "b", "a"})
		f.want("SELECT * FROM main."+dest.Quote(name), "1|b|a|0")
	}
}

func TestAVeryWideTable(t *testing.T) {
	var columns []string
	values := row{1}
	for i := range maxColumns - 1 {
		columns = append(columns, fmt.Sprintf("v%d bigint", i))
		values = append(values, i)
	}
	f := newFixture(t, table("t", append([]string{"k bigint"}, columns...)...))
	f.mustWrite(values)
	values[len(values)-1] = -1
	f.mustWrite(values)
	f.want(fmt.Sprintf("SELECT v0, v%d FROM t", len(values)-2), "0|-1")
}

func TestARowThatIsRefusedIsNamed(t *testing.T) {
	many := func(bad row) (rows []row) {
		for i := range 100 {
			rows = append(rows, row{i, "x", 0})
		}
		rows[42] = bad
		return rows
	}
	const base = "CREATE TABLE t(k INTEGER PRIMARY KEY, v TEXT, n INTEGER"
	for _, c := range []struct {
		name, ddl           string
		bad                 row
		state, column, says string
	}{
		{
			"not null", "CREATE TABLE t(k INTEGER PRIMARY KEY, v TEXT NOT NULL, n INTEGER)",
			row{42, nil, 0},
			"23502", "v", "NOT NULL constraint failed: t.v",
		},
		{"check", base + ", CHECK(n < 5))", row{42, "x", 5}, "23514", "", "n < 5"},
		{
			"unique", base + " DEFAULT NULL); CREATE UNIQUE INDEX u ON t(n) WHERE n > 1; INSERT INTO t VALUES(1000, '', 7)",
			row{42, "x", 7},
			"23505", "n", "UNIQUE constraint failed: t.n",
		},
		{
			"unique over two", base + "); CREATE UNIQUE INDEX u ON t(v, n) WHERE n > 1; INSERT INTO t VALUES(1000, 'x', 7)",
			row{42, "x", 7},
			"23505", "", "UNIQUE constraint failed: t.v, t.n",
		},
		{
			"foreign key", "CREATE TABLE p(id INTEGER PRIMARY KEY); INSERT INTO p VALUES(0);" + base + " REFERENCES p)",
			row{42, "x", 3},
			"23503", "", "FOREIGN KEY",
		},
		{
			"trigger", base + "); CREATE TRIGGER g BEFORE INSERT ON t WHEN new.n = 9 BEGIN SELECT RAISE(ABORT, 'no nines'); END",
			row{42, "x", 9},
			"23000", "", "no nines",
		},
		{
			"trigger that rolls back", base + "); CREATE TRIGGER g AFTER INSERT ON t WHEN new.n = 9 BEGIN SELECT RAISE(ROLLBACK, 'no nines'); END",
			row{42, "x", 9},
			"23000", "", "no nines",
		},
		{
			"strict", "CREATE TABLE t(k INTEGER PRIMARY KEY, v TEXT, n REAL) STRICT",
			row{42, "x", "NaN"},
			"22000", "n", "cannot store TEXT value in REAL column t.n",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			tab := table("t", "k bigint", "v text", "n integer")
			rows := many(c.bad)
			if c.name == "strict" {
				tab.Columns[2].Type = tuple.Float8
			}
			f := newFixture(t, tab, c.ddl)
			for _, at := range []int{42, 0, 99} { // and at the ends
				moved := append([]row{}, rows...)
				moved[42], moved[at] = moved[at], moved[42]
				e := asError(t, f.write(moved...), dest.ClassRow, c.says)
				if e.Row != at || e.SQLState != c.state || e.Column != c.column {
					t.Errorf("row %d, state %q, column %q; want %d, %q, %q", e.Row, e.SQLState, e.Column, at, c.state, c.column)
				}
			}
			f.want("SELECT count(*) FROM t WHERE k < 1000", "0")
			f.mustWrite(append(rows[:42:42], rows[43:]...)...)
			f.want("SELECT count(*) FROM t WHERE k < 1000", "99")
		})
	}
}

func TestAFailureOfTheCommitNamesNoRow(t *testing.T) {
	f := newFixture(t, table("t", "k bigint", "p bigint"), "CREATE TABLE p(id INTEGER PRIMARY KEY)",
		"CREATE TABLE t(k INTEGER PRIMARY KEY, p INTEGER REFERENCES p DEFERRABLE INITIALLY DEFERRED)", "INSERT INTO p VALUES(1)")
	e := asError(t, f.write(row{1, 1}, row{2, 2}), dest.ClassRow, "FOREIGN KEY")
	if e.Row != -1 || e.SQLState != "23503" {
		t.Errorf("row %d, state %s", e.Row, e.SQLState)
	}
	f.want("SELECT count(*) FROM t", "0")
	f.mustWrite(row{1, 1})
}

func TestABrokenTupleIsAnErrorOfItsRow(t *testing.T) {
	f := newFixture(t, table("t", "k bigint", "b boolean"))
	b := batch(t, f.table, row{1, true}, row{2, true}, row{3, true})
	b.Data[b.Rows[1].Off+b.Rows[1].Len-1] = 7
	_, err := f.Write(ctx, b)
	if e := asError(t, err, dest.ClassRow, `column "b"`); e.Row != 1 || e.Column != "b" {
		t.Errorf("row %d, column %q", e.Row, e.Column)
	}
	f.want("SELECT count(*) FROM t", "0")
}

func TestAnEmptyBatchIsStored(t *testing.T) {
	f := newFixture(t, table("t", "k bigint"))
	f.mustWrite()
}

func TestManyWritersShareAFile(t *testing.T) {
	const writers, batches, perBatch = 4, 25, 20
	path := filepath.Join(t.TempDir(), "catalog.db")
	tabs := []*dest.Table{table("t", "k bigint", "v text"), table("u", "k bigint", "v text")}
	var wg sync.WaitGroup
	for w := range writers {
		// Two DBs with two sinks each; every table is written by both DBs.
		db := newDB(t, path)
		for s := range 2 {
			sink := bind(t, db, tabs[s])
			wg.Go(func() {
				for n := range batches {
					var rows []row
					for i := range perBatch {
						rows = append(rows, row{(w*batches+n)*perBatch + i, "x"})
					}
					if _, err := sink.Write(ctx, batch(t, tabs[s], rows...)); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
	}
	wg.Wait()
	r := newReader(t, path)
	for _, tab := range tabs {
		r.want("SELECT count(*) FROM "+tab.Name, fmt.Sprint(writers*batches*perBatch))
	}
	r.want("PRAGMA integrity_check", "ok")
}

func TestTouchedColumn(t *testing.T) {
	tab := table("t", "k bigint", "v text")
	tab.Touched = "Updated"
	f := newFixture(t, tab, "CREATE TABLE t(k INTEGER PRIMARY KEY, v TEXT, updated TIMESTAMP DEFAULT 'never')")
	f.mustWrite(row{1, "a"}, row{2, "a"})
	f.mustWrite(row{1, "a"}, row{2, "b"})
	f.want("SELECT v, updated = 'never', updated > '2020' FROM t ORDER BY k", "a|1|1\nb|0|1")
	f.exec("ALTER TABLE t DROP COLUMN updated")
	asError(t, f.write(row{2, "c"}), dest.ClassTransient, "looked at again")
	f.mustWrite(row{2, "c"})
	f.want("SELECT v FROM t ORDER BY k", "a\nc")
}
