package pgdest

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/memdbwriter/memdbwriter/internal/dest"
	"github.com/memdbwriter/memdbwriter/internal/pgtest"
	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

// keyValue is a table of a key and a text.
func keyValue(typ tuple.Type) *dest.Table {
	return &dest.Table{Name: "keyed", Keys: 1, Columns: []dest.Column{col("k", typ), col("v", tuple.Text)}}
}

// Which of several rows are one is the database's to say: the last one that
// arrived is stored, and the others are counted.
func TestKeysThatTheDatabaseHoldsEqual(t *testing.T) {
	server := pgtest.Start(t)
	for _, extension := range []string{"citext", "hstore", "cube", "ltree"} {
		server.Open(t).Exec(t, "CREATE EXTENSION IF NOT EXISTS "+extension+" SCHEMA pg_catalog")
	}
	for name, c := range map[string]struct {
		typ   string
		keys  []any // all equal
		more  string
		canon tuple.Type
	}{
		"citext":       {typ: "citext", keys: []any{"b", "B"}},
		"char(n)":      {typ: "char(3)", keys: []any{"a ", "a"}},
		"ICU":          {typ: `text COLLATE ci`, keys: []any{"abc", "ABC", "Abc"}, more: "CREATE COLLATION ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false)"},
		"uuid":         {typ: "uuid", keys: []any{"A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11", "a0eebc999c0b4ef8bb6d6bb9bd380a11"}},
		"numeric":      {typ: "numeric", keys: []any{"1.0", "1.00"}},
		"integer":      {typ: "integer", keys: []any{"7", " 07"}},
		"inet":         {typ: "inet", keys: []any{"10.0.0.1", "10.0.0.1/32"}},
		"date":         {typ: "date", keys: []any{time.Unix(1e9, 0), time.Unix(1e9+9, 0)}, canon: tuple.Timestamptz},
		"seconds":      {typ: "timestamptz(0)", keys: []any{time.Unix(1e9, 1e6), time.Unix(1e9, 2e6)}, canon: tuple.Timestamptz},
		"numeric(p,s)": {typ: "numeric(5,1)", keys: []any{"1.01", "1.04"}},
		"timestamp(p)": {typ: "timestamp(3)", keys: []any{time.Unix(1e9, 1000), time.Unix(1e9, 2000)}, canon: tuple.Timestamp},
		"microseconds": {typ: "timestamp(6)", keys: []any{time.Unix(1e9, 1000)}, canon: tuple.Timestamp},
		"time(p)":      {typ: "time(0)", keys: []any{"12:00:00.1", "12:00:00.2"}},
		"interval":     {typ: "interval", keys: []any{"1 day", "24:00:00"}},
		"interval(p)":  {typ: "interval(0)", keys: []any{"1.1 s", "1.2 s"}},
		"interval to":  {typ: "interval hour to minute", keys: []any{"1:02:03", "1:02:04"}},
		"varbit(n)":    {typ: "bit varying(8)", keys: []any{"1010", "B1010"}},
		"varchar(n)":   {typ: "varchar(3) COLLATE ci", keys: []any{"abc", "abc   ", "ABC "}, more: "CREATE COLLATION ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false)"},
		"hstore":       {typ: "hstore", keys: []any{"a=>1,b=>2", "b=>2, a=>1"}},
		"cube":         {typ: "cube", keys: []any{"1,2", "(1.0, 2.0)"}},
		"ltree":        {typ: "ltree", keys: []any{"a.b", "a.b"}},
		"negative 0":   {typ: "float8", keys: []any{"0", "-0"}},
		"domain":       {typ: "dom", keys: []any{"x", "X"}, more: "CREATE DOMAIN dom AS citext"},
		"ordinary":     {typ: "text", keys: []any{"x"}},
		"upper bound":  {typ: "varchar(3)", keys: []any{"abc"}},
		"enum":         {typ: "mood", keys: []any{"sad"}, more: "CREATE TYPE mood AS ENUM ('sad')"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, policy := range []dest.Policy{dest.Update, dest.Ignore} {
				db := server.Open(t)
				db.Exec(t, c.more+"; CREATE TABLE keyed (k "+c.typ+" PRIMARY KEY, v text NOT NULL)")
				table := keyValue(tuple.Text)
				if c.canon != 0 {
					table = keyValue(c.canon)
				}
				table.Policy = policy
				s := open(t, db.URL, table)
				check(t, s)
				inexact, known := s.InexactKeys()
				if !known || (len(inexact) > 0) != (len(c.keys) > 1) {
					t.Fatalf("inexact: %v %v", inexact, known)
				}
				want := "0"
				n := 0
				for range 3 {
					var rows []row
					for _, k := range c.keys {
						rows = append(rows, row{k, fmt.Sprint(n)})
						if policy == dest.Update {
							want = fmt.Sprint(n)
						}
						n++
					}
					// Sorted by key the last one may come first: numbers decide.
					b := batch(rows...)
					for i, j := 0, len(b.Rows)-1; i < j; i, j = i+1, j-1 {
						b.Rows[i], b.Rows[j] = b.Rows[j], b.Rows[i]
					}
					res, err := s.Write(context.Background(), b)
					if err != nil || res.Superseded != len(c.keys)-1 {
						t.Fatalf("%+v %v", res, err)
					}
					equal(t, db.Rows(t, "SELECT v FROM keyed"), want)
				}
				// A row that was refused before is no reason to overwrite.
				_, err := s.Insert(context.Background(), batch(row{c.keys[0], "old"}))
				if e := asError(t, err); e.Class != dest.ClassRow || e.SQLState != uniqueViolation {
					t.Fatalf("class %v: %v", e.Class, e)
				}
				equal(t, db.Rows(t, "SELECT v FROM keyed"), want)
			}
		})
	}
}

// Blanks that the database would cut off a key would make it the key of another
// row: such a row is refused, wherever the bytes of keys are relied on.
func TestKeyThatWouldBeCut(t *testing.T) {
	db := pgtest.Open(t)
	db.Exec(t, `CREATE DOMAIN dom AS varchar(3); CREATE TABLE cut (k varchar(3) PRIMARY KEY, v text); CREATE TABLE cut_domain (k dom PRIMARY KEY, v text);
		CREATE TABLE cut_text (k varchar(3) PRIMARY KEY, v text[]); CREATE TABLE lines (k varchar(3), v varchar(3))`)
	for _, name := range []string{"cut", "cut_domain", "cut_text"} {
		v := "{v}"
		table := keyValue(tuple.Text)
		table.Name = name
		s := open(t, db.URL, table)
		write(t, s, row{"äbc", v}, row{"äb ", v}, row{"äb", v})
		e := refused(t, s, row{"a", v}, row{"äbc   ", v})
		if e.Class != dest.ClassRow || e.Row != 1 || e.SQLState != "22001" || e.Column != "k" || !strings.Contains(e.Error(), "cut the blanks") || e.Hint == "" {
			t.Errorf("%s: class %v, row %d: %v", name, e.Class, e.Row, e)
		}
		if exact := dest.ExactKeys(s); !exact {
			t.Errorf("%s: the key is not taken for exact", name)
		}
		equal(t, db.Rows(t, `SELECT k FROM `+name+` ORDER BY k COLLATE "C"`), "äb", "äb ", "äbc")
	}
	table := keyValue(tuple.Text)
	table.Name, table.Policy, table.Keys = "lines", dest.InsertOnly, 0
	write(t, open(t, db.URL, table), row{"abc   ", "abc   "})
	equal(t, db.Rows(t, "TABLE lines"), "abc|abc")
}

// Keys that are one where COPY reads text, and where the session decides how it reads it:
// values of a user's type are those of known settings, and triggers see the
// session's own, also of rows without a key.
func TestKeysThatAreEqualWhereCopyReadsText(t *testing.T) {
	db := pgtest.Open(t)
	db.Exec(t, `CREATE TYPE span AS (of date, cost money); CREATE TABLE style (seen text);
		CREATE TABLE keyed (k numeric PRIMARY KEY, v text[]); CREATE TABLE spans (k numeric PRIMARY KEY, v span); CREATE TABLE lines (k numeric, v span);
		CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO style VALUES (current_setting('DateStyle')); RETURN NEW; END $$;
		CREATE TRIGGER note AFTER INSERT ON spans FOR EACH ROW EXECUTE FUNCTION note(); CREATE TRIGGER note AFTER INSERT ON lines FOR EACH ROW EXECUTE FUNCTION note()`)
	for _, name := range []string{"keyed", "spans", "lines"} {
		table := keyValue(tuple.Text)
		if table.Name = name; name == "lines" {
			table.Policy, table.Keys = dest.InsertOnly, 0
		}
		v, want := []string{"{\"a\tb\"}", "{\"c\nd\"}"}, "{\"c\nd"
		if name != "keyed" {
			v, want = []string{"(2024-01-02,1.5)", "(2024-03-04,$2.50)"}, "(2024-03-04,"
		}
		s := open(t, db.URL+"&options=-c%20DateStyle%3DSQL%2CDMY", table)
		for range 2 {
			if res := write(t, s, row{"1.0", v[0]}, row{"1.00", v[1]}); name != "lines" && res.Superseded != 1 {
				t.Errorf("%s: %+v", name, res)
			}
		}
		if got := db.Rows(t, "SELECT v FROM "+name+" ORDER BY v DESC LIMIT 1"); !strings.HasPrefix(got[0], want) {
			t.Errorf("%s: stored %v", name, got)
		}
	}
	equal(t, db.Rows(t, "SELECT DISTINCT seen FROM style"), "SQL, DMY")
	db.Exec(t, "ALTER TABLE spans ALTER v TYPE text; ALTER TABLE lines ALTER v TYPE text; DROP TYPE span")
}

// 500 rows of one day are one transaction, and what the oldest row of a key
// brings for new rows only stays.
func TestManyRowsOfOneKey(t *testing.T) {
	db := pgtest.Open(t)
	db.Exec(t, "CREATE TABLE days (day date PRIMARY KEY, first int, n int)")
	s := open(t, db.URL, &dest.Table{Name: "days", Keys: 1, Columns: []dest.Column{
		col("day", tuple.Timestamptz), col("first", tuple.Int4, "insertonly"), col("n", tuple.Int4),
	}})
	var rows []row
	for i := range 500 {
		rows = append(rows, row{time.Unix(1e9+int64(i), 0), int32(i), int32(i)})
	}
	check(t, s)
	before := db.Rows(t, "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()")
	res := write(t, s, rows...)
	if res.Superseded != 499 || res.RoundTrips > 4 {
		t.Errorf("%+v, from %v", res, before)
	}
	equal(t, db.Rows(t, "TABLE days"), "2001-09-09|0|499")
}

// Rows whose keys only the database knows to be equal leave what they would if
// they were written one by one, whichever of them has a say.
func TestRowsOfOneKeyAreAsIfWrittenOneByOne(t *testing.T) {
	const trigger = `; CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
		CREATE TRIGGER keep BEFORE INSERT OR UPDATE ON keyed FOR EACH ROW EXECUTE FUNCTION keep()`
	guarded := &dest.Table{Name: "keyed", Keys: 1, Guard: "done", Columns: []dest.Column{col("k", tuple.Text), col("v", tuple.Text), col("done", tuple.Bool, "null")}}
	born := &dest.Table{Name: "keyed", Keys: 1, Columns: []dest.Column{col("k", tuple.Text), col("v", tuple.Text), col("done", tuple.Bool, "insertonly", "null")}}
	server := pgtest.Start(t)
	server.Open(t).Exec(t, "CREATE EXTENSION IF NOT EXISTS citext SCHEMA pg_catalog")
	for name, c := range map[string]struct {
		more  string
		table *dest.Table
		rows  []row
		want  string
	}{
		"guard set on the way":     {table: guarded, rows: []row{{"a", "1", false}, {"A", "2", true}, {"a", "3", nil}, {"A", "4", true}}, want: "A|2|t"},
		"guard never set":          {table: guarded, rows: []row{{"a", "1", nil}, {"A", "2", false}, {"a", "3", nil}}, want: "a|3|NULL"},
		"guard set by the first":   {table: guarded, rows: []row{{"A", "1", true}, {"a", "2", false}}, want: "A|1|t"},
		"insert-only column":       {table: born, rows: []row{{"A", "2", true}, {"a", "1", false}}, want: "A|1|t"},
		"and a trigger":            {table: born, more: trigger, rows: []row{{"A", "2", true}, {"a", "1", false}}, want: "A|1|t"},
		"guard, and a trigger":     {table: guarded, more: trigger, rows: []row{{"a", "1", false}, {"A", "2", true}, {"a", "3", nil}}, want: "A|2|t"},
		"a trigger, and one there": {table: born, more: "; INSERT INTO keyed VALUES ('a', '1')" + trigger, rows: []row{{"A", "2", true}, {"a", "1", false}}, want: "a|1|NULL"},
	} {
		t.Run(name, func(t *testing.T) {
			db := server.Open(t)
			db.Exec(t, "CREATE TABLE keyed (k citext PRIMARY KEY, v text NOT NULL, done boolean)"+c.more)
			s := open(t, db.URL, c.table)
			check(t, s)
			s.choice.conflicted()
			if res := write(t, s, c.rows...); res.Superseded != len(c.rows)-1 || res.Skipped != 0 {
				t.Errorf("%+v", res)
			}
			got := db.Rows(t, "SELECT k, v, done FROM keyed")
			if !strings.EqualFold(got[0], c.want) { // an upsert leaves the key as it was inserted
				t.Errorf("stored %v, want %s", got, c.want)
			}
			if res := write(t, s, row(append(row{"a"}, strings.Split(got[0], "|")[1], nil))); c.table == born && (res.Skipped != 0 || res.Superseded != 0) {
				t.Errorf("a row that is unchanged: %+v", res)
			}
		})
	}
}

// A row that is tried again is said to have a newer one of its key only where the
// index on the key refuses it.
func TestHintOfAKnownKeyIsAboutTheKey(t *testing.T) {
	db := pgtest.Open(t)
	db.Exec(t, "CREATE TABLE keyed (k text PRIMARY KEY, v text NOT NULL UNIQUE); INSERT INTO keyed VALUES ('a', '1')")
	s := open(t, db.URL, keyValue(tuple.Text))
	for key, hinted := range map[string]bool{"a": true, "new": false} {
		v := "1"
		if hinted {
			v = "2"
		}
		_, err := s.Insert(context.Background(), batch(row{key, v}))
		if e := asError(t, err); e.SQLState != uniqueViolation || strings.Contains(e.Hint, "newer") != hinted {
			t.Errorf("key %s: %v, hint %q", key, e, e.Hint)
		}
	}
}

// Keys are equal by the collation of the index, also where that is the database's
// own and not the column's; and those of a view by the collation that it shows.
func TestCollationsOfKeys(t *testing.T) {
	server := pgtest.Start(t)
	const ci = "CREATE COLLATION ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false); "
	t.Run("index", func(t *testing.T) {
		db := server.Open(t)
		db.Exec(t, ci+`CREATE TABLE keyed (k text COLLATE ci NOT NULL, v text NOT NULL);
			CREATE UNIQUE INDEX ON keyed (k COLLATE "default"); INSERT INTO keyed VALUES ('a', '0'), ('b', '0')`)
		s := open(t, db.URL, keyValue(tuple.Text))
		write(t, s, row{"B", "1"}, row{"b", "1"})
		write(t, s, row{"A", "0"}, row{"b", "2"})
		equal(t, db.Rows(t, `SELECT k, v FROM keyed ORDER BY k COLLATE "C"`), "A|0", "B|1", "a|0", "b|2")
	})
	t.Run("view", func(t *testing.T) {
		db := server.Open(t)
		db.Exec(t, ci+`CREATE TABLE base (k text COLLATE ci PRIMARY KEY, v text NOT NULL); CREATE VIEW keyed AS SELECT * FROM base`)
		s := open(t, db.URL, keyValue(tuple.Text))
		check(t, s)
		if dest.ExactKeys(s) {
			t.Error("keys that differ in case are taken for different ones")
		}
		b := batch(row{"a", "2"}, row{"A", "1"})
		b.Rows[0].Seq, b.Rows[1].Seq = 2, 1
		if _, err := s.Write(context.Background(), b); err != nil {
			t.Fatal(err)
		}
		equal(t, db.Rows(t, "SELECT v FROM keyed"), "2")
	})
}

// Every change is seen, also one that the type's equality does not see.
func TestChangeThatEqualityDoesNotSee(t *testing.T) {
	server := pgtest.Start(t)
	server.Open(t).Exec(t, "CREATE EXTENSION IF NOT EXISTS citext SCHEMA pg_catalog")
	for name, c := range map[string]struct{ typ, from, to, more string }{
		"citext":   {typ: "citext", from: "readme", to: "README"},
		"ICU":      {typ: "text COLLATE ci", from: "abc", to: "ABC", more: "CREATE COLLATION ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false)"},
		"interval": {typ: "interval", from: "24:00:00", to: "1 day"},
		"numeric":  {typ: "numeric", from: "1.0", to: "1.00"},
		"json":     {typ: "json", from: `{"a":1}`, to: `{"a": 1}`},
		"zero":     {typ: "float8", from: "0", to: "-0"},
		"enum":     {typ: "mood", from: "sad", to: "ok", more: "CREATE TYPE mood AS ENUM ('sad', 'ok')"},
		"xml":      {typ: "xml", from: "<a/>", to: "<a />"},
	} {
		t.Run(name, func(t *testing.T) {
			db := server.Open(t)
			db.Exec(t, c.more+"; CREATE TABLE keyed (k text PRIMARY KEY, v "+c.typ+")")
			s := open(t, db.URL, keyValue(tuple.Text))
			for _, v := range []string{c.from, c.to, c.to, c.from} {
				write(t, s, row{"k", v})
				stored := db.Rows(t, "SELECT v::text, xmin FROM keyed")
				write(t, s, row{"k", v})
				equal(t, db.Rows(t, "SELECT v::text, xmin FROM keyed"), stored...)
				if got, _, _ := strings.Cut(stored[0], "|"); got != db.Rows(t, "SELECT '"+v+"'::"+strings.Fields(c.typ)[0])[0] {
					t.Errorf("%s is stored as %s", v, got)
				}
			}
		})
	}
}

// The table is the one of the first look, whatever the session's search path and
// temporary tables are by then; one that takes its place is taken with a warning.
func TestTableStaysTheOneOfTheFirstLook(t *testing.T) {
	db := pgtest.Open(t)
	other := db.Schema + "_other"
	db.Exec(t, filesDDL+"; CREATE SCHEMA "+other+"; CREATE TABLE "+other+"."+filesDDL[len("CREATE TABLE "):])
	t.Cleanup(func() { db.Exec(t, "DROP SCHEMA "+other+" CASCADE") })
	config, err := pgxpool.ParseConfig(db.URL)
	if err != nil {
		t.Fatal(err)
	}
	config.MaxConns = 1
	pool, err := pgxpool.NewWithConfig(context.Background(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	app := func(sql string) {
		t.Helper()
		if _, err := pool.Exec(context.Background(), sql); err != nil {
			t.Fatal(err)
		}
	}
	log := &bytes.Buffer{}
	bound, err := FromPool(pool).Bind(files(), slog.New(slog.NewTextHandler(log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	s := bound.(*Sink)
	app("CREATE TEMPORARY TABLE files (id bigint PRIMARY KEY, name text NOT NULL, size bigint)")
	check(t, s)
	write(t, s, row{int64(1), "a", nil})
	app("SET search_path = " + other + ", " + db.Schema)
	s.plan.Store(nil)
	write(t, s, row{int64(1), "b", nil})
	write(t, s, row{int64(2), "b", nil})
	equal(t, db.Rows(t, "SELECT id, name FROM files ORDER BY id"), "1|b", "2|b")
	equal(t, db.Rows(t, "SELECT id FROM "+other+".files"))
	if strings.Contains(log.String(), "another table") {
		t.Errorf("log: %s", log)
	}
	db.Exec(t, "ALTER TABLE files RENAME TO files_old; "+filesDDL)
	insist(t, s, batch(row{int64(3), "c", nil}))
	equal(t, db.Rows(t, "SELECT id, name FROM files ORDER BY id"), "3|c")
	if !strings.Contains(log.String(), "another table") {
		t.Errorf("log: %s", log)
	}
}

// A row that is as it was costs no number of a sequence, no WAL, and no call of
// a trigger.
func TestUnchangedRowCostsNothing(t *testing.T) {
	db := pgtest.Open(t)
	db.Exec(t, `CREATE TABLE files (serial serial, id bigint PRIMARY KEY, name text NOT NULL, size bigint)`)
	s := open(t, db.URL, files())
	var rows []row
	for i := range 500 {
		rows = append(rows, row{int64(i), "name of a file", int64(i)})
	}
	state := func() (sequence, wal string) {
		f := strings.Split(db.Rows(t, "SELECT last_value, pg_current_wal_insert_lsn() FROM files_serial_seq")[0], "|")
		return f[0], f[1]
	}
	write(t, s, rows...)
	numbers, _ := state()
	if numbers != "500" {
		t.Errorf("500 new rows took %s numbers", numbers)
	}
	write(t, s, rows...) // the change of phase
	numbers, _ = state()
	db.Exec(t, "VACUUM files")
	db.Exec(t, "CHECKPOINT")
	_, from := state()
	const repeats = 4
	for range repeats {
		write(t, s, rows...)
	}
	after, to := state()
	if after != numbers {
		t.Errorf("%s numbers of the sequence, before %s", after, numbers)
	}
	wal := db.Rows(t, "SELECT ('"+to+"'::pg_lsn - '"+from+"'::pg_lsn)::bigint < "+fmt.Sprint(10*len(rows)*repeats))
	equal(t, wal, "t")

	db.Exec(t, `CREATE TABLE calls (n int); CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
		$$ BEGIN INSERT INTO calls VALUES (1); IF NEW.size = 7 THEN RETURN NULL; END IF; RETURN NEW; END $$;
		CREATE TRIGGER note BEFORE INSERT OR UPDATE ON files FOR EACH ROW EXECUTE FUNCTION note()`)
	check(t, s)
	s.plan.Store(nil)
	write(t, s, rows...)
	write(t, s, rows...)
	equal(t, db.Rows(t, "SELECT count(*) FROM calls"), "0")

	// Cancelled rows are counted, whatever the way.
	for _, direct := range []bool{false, true} {
		if s.choice.succeeded(); !direct {
			s.choice.conflicted()
		}
		res := write(t, s, row{int64(1000), "n", int64(7)}, row{int64(1001), "n", int64(7)})
		if res.Skipped != 2 || (res.Way == dest.Direct) != direct {
			t.Errorf("cancelled rows: %+v", res)
		}
	}
	res := write(t, s, row{int64(1), "other", int64(7)}, row{int64(2), "other", int64(2)}, row{int64(3), "name of a file", int64(3)})
	if res.Skipped != 1 {
		t.Errorf("a cancelled row, a changed one, one as it was: %+v", res)
	}
	lines := open(t, db.URL, func() *dest.Table { f := files(); f.Policy, f.Keys = dest.InsertOnly, 0; return f }())
	if res := write(t, lines, row{int64(2000), "n", int64(7)}, row{int64(2001), "n", int64(8)}); res.Skipped != 1 {
		t.Errorf("insert-only: %+v", res)
	}
}

// Where policies decide COPY is refused, and rows go in all the same.
func TestRowSecurity(t *testing.T) {
	server := pgtest.Start(t)
	withPlainRole(t, server)
	for _, policy := range []dest.Policy{dest.Update, dest.InsertOnly} {
		db := server.Open(t)
		db.Exec(t, "GRANT ALL ON SCHEMA "+db.Schema+" TO plain; "+filesDDL+`; INSERT INTO files VALUES (99, 'hidden', -1), (98, 'locked', 1);
			GRANT ALL ON files TO plain; ALTER TABLE files ENABLE ROW LEVEL SECURITY;
			CREATE POLICY p ON files USING (size > 0) WITH CHECK (size > 0);
			CREATE POLICY kept ON files AS RESTRICTIVE FOR UPDATE USING (name <> 'locked') WITH CHECK (true)`)
		table := files()
		if table.Policy = policy; policy == dest.InsertOnly {
			table.Keys = 0
		}
		s := open(t, asPlain(db), table)
		check(t, s)
		write(t, s, row{int64(1), "a", int64(1)})
		if policy == dest.Update {
			write(t, s, row{int64(1), "b", int64(2)})
			if e := refused(t, s, row{int64(99), "b", int64(2)}); e.Class != dest.ClassRow {
				t.Errorf("a row that the policy hides: class %v: %v", e.Class, e)
			}
			write(t, s, row{int64(1), "c", int64(2)}) // from here on most rows change
			if e := refused(t, s, row{int64(1), "d", int64(2)}, row{int64(98), "d", int64(2)}); e.Class != dest.ClassRow {
				t.Errorf("a row that the policy shows and keeps from updates: class %v: %v", e.Class, e)
			}
		}
		if e := refused(t, s, row{int64(2), "b", int64(-2)}); e.Class != dest.ClassRow {
			t.Errorf("a row outside the policy: class %v: %v", e.Class, e)
		}
	}
}

// A session that rests keeps nobody from changing types, and a batch costs no
// DDL.
func TestTemporaryTableIsInNobodysWay(t *testing.T) {
	db := pgtest.Open(t)
	db.Exec(t, `CREATE TYPE mood AS ENUM ('sad'); CREATE TABLE keyed (k varchar(4) PRIMARY KEY, v mood)`)
	s := open(t, db.URL, keyValue(tuple.Text))
	for _, v := range []string{"a", "b"} {
		write(t, s, row{v, "sad"})
		write(t, s, row{v, "sad"})
	}
	db.Exec(t, `CREATE TYPE mood2 AS ENUM ('sad', 'ok'); ALTER TABLE keyed ALTER v TYPE mood2 USING v::text::mood2; DROP TYPE mood`)
	insist(t, s, batch(row{"a", "ok"}))
	equal(t, db.Rows(t, "SELECT k, v FROM keyed ORDER BY k"), "a|ok", "b|sad")
	if e := refused(t, s, row{"a", "nothing"}); e.Class != dest.ClassRow {
		t.Errorf("no value of the type: %v: %v", e.Class, e)
	}
	s.choice.conflicted()
	if p := s.plan.Load(); !hasTemporaryOf(t, s, p.few.temp.name) {
		t.Error("the session is not known to have the temporary table")
	}
}

func hasTemporaryOf(t *testing.T, s *Sink, name string) bool {
	conn, err := s.db.pool.Acquire(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	return hasTemporary(conn.Conn().PgConn(), name)
}

// Nothing that somebody planted in a schema of the search path runs as the
// writer: operators of the writer's statements are named with their schema.
func TestPlantedOperatorsAreNotCalled(t *testing.T) {
	server := pgtest.Start(t)
	for name, typ := range map[string]string{"text": "text", "varchar": "varchar(40)", "citext": "ext.citext", "enum": "mood"} {
		t.Run(name, func(t *testing.T) {
			db := server.Open(t)
			db.Exec(t, "CREATE SCHEMA IF NOT EXISTS ext; CREATE EXTENSION IF NOT EXISTS citext SCHEMA ext; CREATE TYPE mood AS ENUM ('sad', 'ok')")
			db.Exec(t, "CREATE TABLE keyed (serial serial, k "+typ+" PRIMARY KEY, v text NOT NULL); CREATE TABLE files_only (k "+typ+", v text)")
			// On the connections of the writer everything that is not named falls
			// into the trap; the test's own connection has the usual path.
			config, err := pgxpool.ParseConfig(db.URL)
			if err != nil {
				t.Fatal(err)
			}
			config.ConnConfig.RuntimeParams["search_path"] = db.Schema + ", pg_catalog"
			trap := db.Schema
			for _, types := range []string{
				"text", "varchar", "name", "oid", "int2", "int4", "int8", "bool", `"char"`, "regclass", "regtype", "citext", "mood", "xid",
			} {
				planted := types
				if types == "citext" {
					planted = "ext.citext"
				}
				fn := "planted_" + strings.Trim(types, `"`)
				db.Exec(t, "CREATE FUNCTION "+trap+"."+fn+"("+planted+", "+planted+") RETURNS bool LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'planted'; END $$")
				for _, op := range []string{"=", "<>", "<", ">"} {
					db.Exec(t, "CREATE OPERATOR "+trap+"."+op+" (FUNCTION = "+trap+"."+fn+", LEFTARG = "+planted+", RIGHTARG = "+planted+")")
				}
			}
			for _, mixed := range [][2]string{{"oid", "int4"}, {"oid", "regclass"}, {"text", "timestamptz"}, {"name", "text"}, {"int8", "int4"}} {
				fn := "planted_" + mixed[0] + "_" + mixed[1]
				db.Exec(t, "CREATE FUNCTION "+trap+"."+fn+"("+mixed[0]+", "+mixed[1]+") RETURNS bool LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'planted'; END $$")
				for _, op := range []string{"=", "<>", "<", "||"} {
					db.Exec(t, "CREATE OPERATOR "+trap+"."+op+" (FUNCTION = "+trap+"."+fn+", LEFTARG = "+mixed[0]+", RIGHTARG = "+mixed[1]+")")
				}
			}
			db.Exec(t, "CREATE FUNCTION "+trap+".count(int4) RETURNS int8 LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'planted'; END $$")
			pool, err := pgxpool.NewWithConfig(context.Background(), config)
			if err != nil {
				t.Fatal(err)
			}
			defer pool.Close()
			if _, err := pool.Exec(context.Background(), "SELECT 'a'::text = 'b'::text"); err == nil || !strings.Contains(err.Error(), "planted") {
				t.Fatalf("the trap does not work: %v", err)
			}
			for _, policy := range []dest.Policy{dest.Update, dest.Ignore, dest.InsertOnly} {
				table := keyValue(tuple.Text)
				if table.Policy = policy; policy == dest.InsertOnly {
					table.Keys, table.Name = 0, "files_only"
				}
				bound, err := FromPool(pool).Bind(table, nil)
				if err != nil {
					t.Fatal(err)
				}
				s := bound.(*Sink)
				check(t, s)
				for i := range 4 {
					write(t, s, row{"ok", fmt.Sprint(i)})
				}
				if policy == dest.InsertOnly {
					continue
				}
				p := s.plan.Load()
				for _, w := range []*way{p.few, p.many, p.any} {
					for i := range 3 {
						b := batch(row{"ok", fmt.Sprint(w.temp.name, i)}, row{"sad", "x"})
						if err := s.withConn(context.Background(), func(pg *pgconn.PgConn) error {
							_, err := s.run(context.Background(), pg, p, w, b, nil, new(dest.Result))
							return err
						}); err != nil {
							t.Fatal(err)
						}
					}
				}
				if _, err := s.Insert(context.Background(), batch(row{"ok", "old"})); asError(t, err).SQLState != uniqueViolation {
					t.Error(err)
				}
			}
		})
	}
}

// The column that an update touches gets its default anew when a row is changed,
// and only then; a table without it, or without a default for it, is served.
func TestTouchedColumn(t *testing.T) {
	onEveryServer(t, func(t *testing.T, db *database) {
		table := files()
		table.Touched = "updated_at"
		for _, column := range []string{", updated_at text DEFAULT 'now'", ", updated_at text", ""} {
			db.Exec(t, "DROP TABLE IF EXISTS files; "+strings.TrimSuffix(filesDDL, ")")+column+")")
			s := open(t, db.URL, table)
			check(t, s)
			write(t, s, row{int64(1), "a", nil}, row{int64(2), "a", nil})
			if column != "" {
				db.Exec(t, "UPDATE files SET updated_at = 'long ago'")
			}
			for range 2 { // either form of the upsert
				write(t, s, row{int64(1), "a", nil}, row{int64(2), "b", nil})
			}
			equal(t, db.Rows(t, "SELECT name FROM files ORDER BY id"), "a", "b")
			switch {
			case strings.Contains(column, "DEFAULT"):
				equal(t, db.Rows(t, "SELECT updated_at FROM files ORDER BY id"), "long ago", "now")
			case column != "":
				equal(t, db.Rows(t, "SELECT updated_at FROM files ORDER BY id"), "long ago", "long ago")
			}
			for _, w := range []*way{s.plan.Load().many, s.plan.Load().any} {
				if sql := sqlOf(w.moves).String(); strings.Contains(sql, "= DEFAULT") != strings.Contains(column, "DEFAULT") {
					t.Errorf("%q: %s", column, sql)
				}
			}
		}
	})
}

// A table whose default takes a number of a sequence is looked at before the
// first attempt: known rows take none, not even once.
func TestKnownRowsTakeNoNumberOfTheFirstBatch(t *testing.T) {
	db := pgtest.Open(t)
	db.Exec(t, `CREATE TABLE files (serial serial, id bigint PRIMARY KEY, name text NOT NULL, size bigint);
		INSERT INTO files (id, name) SELECT i, 'n' FROM generate_series(1, 10) i`)
	write(t, open(t, db.URL, files()), row{int64(1), "n", nil}, row{int64(2), "changed", nil})
	equal(t, db.Rows(t, "SELECT last_value - 10 <= 1 FROM files_serial_seq"), "t")
	before := db.Rows(t, "SELECT last_value FROM files_serial_seq")
	write(t, open(t, db.URL, files()), row{int64(1), "n", nil}, row{int64(2), "changed", nil})
	equal(t, db.Rows(t, "SELECT last_value FROM files_serial_seq"), before...)
}

// A temporary table of the application is never the one that is written to, not
// with pg_temp named in front of the path either, nor in its place at the end.
func TestTemporaryTableOfTheApplicationIsNotTaken(t *testing.T) {
	db := pgtest.Open(t)
	db.Exec(t, filesDDL)
	for _, path := range []string{"pg_temp, " + db.Schema, db.Schema + ", pg_temp", "pg_temp"} {
		config, err := pgxpool.ParseConfig(db.URL)
		if err != nil {
			t.Fatal(err)
		}
		config.MaxConns = 1
		config.ConnConfig.RuntimeParams["search_path"] = path
		pool, err := pgxpool.NewWithConfig(context.Background(), config)
		if err != nil {
			t.Fatal(err)
		}
		defer pool.Close()
		if _, err := pool.Exec(context.Background(), "CREATE TEMPORARY TABLE files (id bigint PRIMARY KEY, name text NOT NULL, size bigint)"); err != nil {
			t.Fatal(err)
		}
		bound, err := FromPool(pool).Bind(files(), nil)
		if err != nil {
			t.Fatal(err)
		}
		s := bound.(*Sink)
		if path == "pg_temp" { // there is no other one
			if e := asError(t, s.Check(context.Background())); e.Class != dest.ClassTable || !strings.Contains(e.Error(), "does not exist") {
				t.Errorf("class %v: %v", e.Class, e)
			}
			continue
		}
		check(t, s)
		for i := range 2 {
			write(t, s, row{int64(1), path, int64(i)})
		}
		equal(t, db.Rows(t, "SELECT name, size FROM files"), path+"|1")
		var n int
		if err := pool.QueryRow(context.Background(), "SELECT count(*) FROM pg_temp.files").Scan(&n); err != nil || n != 0 {
			t.Errorf("%s: %d rows in the application's table, %v", path, n, err)
		}
	}
}
