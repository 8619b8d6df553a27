package pgdest

import (
	"context"
	"strings"
	"testing"

	"github.com/memdbwriter/memdbwriter/internal/dest"
	"github.com/memdbwriter/memdbwriter/internal/pgtest"
	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

func TestServerErrorNamesTheRow(t *testing.T) {
	const raise = `CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
		$$ BEGIN IF NEW.size = -1 THEN RAISE 'size 4711 line 7'; END IF; RETURN NEW; END $$; `
	for _, c := range []struct {
		name   string
		ddl    string
		text   string // the name in good rows
		bad    row
		state  string
		direct int // the row that is named when it goes in directly
		upsert int // the row that is named by upsert
	}{
		{"CHECK", `ALTER TABLE files ADD CHECK (size >= 0)`, "a", row{badKey, "b", int64(-1)}, "23514", 1234, -1},
		{
			"domain", `CREATE DOMAIN d AS bigint CHECK (VALUE >= 0); ALTER TABLE files ALTER size TYPE d`,
			"a",
			row{badKey, "b", int64(-1)},
			"23514", 1234, -1,
		},
		{
			"enum", `CREATE TYPE e AS ENUM ('a'); ALTER TABLE files ALTER name TYPE e USING name::e`,
			"a",
			row{badKey, "b", nil},
			"22P02", 1234, -1,
		},
		{"JSON", `ALTER TABLE files ALTER name TYPE json USING name::json`, "1", row{badKey, "{", nil}, "22P02", 1234, 1234},
		{
			"rounding", `ALTER TABLE files ALTER name TYPE numeric(3,2) USING name::numeric`,
			"1",
			row{badKey, "9.999", nil},
			"22003", 1234, 1234,
		},
		{
			"other index", `CREATE UNIQUE INDEX ON files (size); INSERT INTO files VALUES (-1, 'a', -5)`,
			"a",
			row{badKey, "b", int64(-5)},
			"23505", -1, -1,
		},
		{
			"exclusion", `ALTER TABLE files ADD EXCLUDE (size WITH =); INSERT INTO files VALUES (-1, 'a', -5)`,
			"a",
			row{badKey, "b", int64(-5)},
			"23P01", 1234, -1,
		},
		{
			"BEFORE trigger", raise + `CREATE TRIGGER t BEFORE INSERT ON files FOR EACH ROW EXECUTE PROCEDURE refuse()`,
			"a",
			row{badKey, "b", int64(-1)},
			"P0001", 1234, -1,
		},
		{
			"AFTER trigger", raise + `CREATE TRIGGER t AFTER INSERT ON files FOR EACH ROW EXECUTE PROCEDURE refuse()`,
			"a",
			row{badKey, "b", int64(-1)},
			"P0001", -1, -1,
		},
		{
			"deferred trigger", raise + `CREATE CONSTRAINT TRIGGER t AFTER INSERT ON files INITIALLY DEFERRED FOR EACH ROW EXECUTE PROCEDURE refuse()`,
			"a",
			row{badKey, "b", int64(-1)},
			"P0001", -1, -1,
		},
		{"foreign key", `CREATE TABLE sizes (size bigint PRIMARY KEY); INSERT INTO sizes SELECT generate_series(0, 3000);
			ALTER TABLE files ADD FOREIGN KEY (size) REFERENCES sizes`, "a", row{badKey, "b", int64(-1)}, "23503", -1, -1},
		{"larger than an index page", `CREATE INDEX ON files (name)`, "a", row{badKey, incompressible(12000), nil}, "54000", 1234, -1},
		{"larger than a page", `ALTER TABLE files ALTER name SET STORAGE PLAIN`, "a", row{badKey, incompressible(12000), nil}, "54000", -1, -1},
	} {
		t.Run(c.name, func(t *testing.T) {
			onOneOfEach(t, func(t *testing.T, db *database) {
				if c.name == "exclusion" && db.isOpenGauss() {
					return // ON DUPLICATE KEY is not for such tables
				}
				db.Exec(t, filesDDL+";"+c.ddl)
				s := open(t, db.URL, files())
				check(t, s)
				var rows []row // more than the server collects before it writes them
				for i := range 2500 {
					rows = append(rows, row{int64(i), c.text, int64(i)})
				}
				rows[1234] = c.bad
				for _, way := range []dest.Way{dest.Direct, dest.Upsert} {
					s.choice.succeeded()
					want := pick(db, c.direct, inRow(c.direct, c.state))
					if way == dest.Upsert {
						s.choice.conflicted()
						want = c.upsert
					}
					e := refused(t, s, rows...)
					if e.Class != dest.ClassRow || e.SQLState != c.state || e.Row != want {
						t.Errorf("way %d: class %v state %s row %d, want row, %s, %d: %v", way, e.Class, e.SQLState, e.Row, c.state, want, e)
					}
				}
			})
		})
	}
}

// inRow is the row that openGauss names: of what is found in an index it has
// the line up to which it read.
func inRow(row int, state string) int {
	if state == limitExceeded {
		return -1
	}
	return row
}

const badKey = int64(1e6)

// incompressible returns n bytes of text that no compression makes smaller.
func incompressible(n int) string {
	b := make([]byte, n)
	x := uint32(1)
	for i := range b {
		x = x*1664525 + 1013904223
		b[i] = '!' + byte(x>>24)%90
	}
	return string(b)
}

func TestRowThatCannotFitCostsNoRoundTrip(t *testing.T) {
	db := pgtest.Open(t)
	db.Exec(t, `CREATE TABLE files (id bigint PRIMARY KEY, name varchar(5), size int NOT NULL)`)
	s := open(t, db.URL, files())
	check(t, s)
	good := row{int64(1), "größe", int64(1)}
	for name, c := range map[string]struct {
		bad           row
		column, state string
		says          string
		advice        string
	}{
		"too long":  {row{int64(2), "größer", int64(1)}, "name", "22001", `"größer" has 6 characters, too long for type character varying(5)`, "rewrites nothing"},
		"too large": {row{int64(2), "b", int64(1 << 31)}, "size", "22003", "2147483648 is out of range for type integer", "rewrites every row"},
		"NULL":      {row{int64(2), "b", nil}, "size", "23502", "NULL in a column that is NOT NULL", "give the field a value"},
	} {
		t.Run(name, func(t *testing.T) {
			res, err := s.Write(context.Background(), batch(good, c.bad))
			e := asError(t, err)
			if res.RoundTrips != 0 || e.Class != dest.ClassRow || e.Row != 1 || e.Column != c.column || e.SQLState != c.state || !strings.Contains(e.Error(), c.says) {
				t.Errorf("%d round trips, class %v row %d column %s state %s: %v", res.RoundTrips, e.Class, e.Row, e.Column, e.SQLState, e)
			}
			if !strings.Contains(e.Hint, c.advice) || strings.Contains(e.Hint, "ALTER") {
				t.Errorf("hint: %s", e.Hint)
			}
		})
	}
	write(t, s, good, row{int64(2), "12345   ", int64(1)})
	refused(t, s, row{int64(3), "123456", int64(1)})
	db.Exec(t, "ALTER TABLE files ALTER name TYPE text")
	check(t, s)
	write(t, s, row{int64(3), "123456", int64(1)})
}

// One bad value is no reason to change the table.
func TestBadValueIsAnsweredWithoutAStatement(t *testing.T) {
	db := pgtest.Open(t)
	db.Exec(t, `CREATE TABLE files (id bigint PRIMARY KEY, name uuid, size numeric(5,2))`)
	table := files()
	table.Columns[2] = col("size", tuple.Text, "null")
	s := open(t, db.URL, table)
	for column, bad := range map[string]row{"name": {int64(1), "no uuid", "1"}, "size": {int64(1), "01234567-89ab-cdef-0123-456789abcdef", "12345.6"}} {
		e := refused(t, s, bad)
		if e.Class != dest.ClassRow || e.Column != column || strings.Contains(e.Error(), "ALTER") || strings.Contains(e.Error(), mendHint) {
			t.Errorf("%s: class %v column %s: %v", column, e.Class, e.Column, e)
		}
	}
}

func TestCopyRow(t *testing.T) {
	for _, c := range []struct {
		where, rel string
		row        int
	}{
		{"COPY files, line 17, column size", "files", 16},
		{"COPY files, line 17", "files", 16},
		{"PL/pgSQL function f() line 3 at RAISE\nCOPY files, line 2", "files", 1},
		{"COPY files, Zeile 17, Spalte size", "files", 16},
		{"COPY files, línea 17, columna size", "files", 16},
		{"COPY files, ligne 17, colonne size", "files", 16},
		{"COPY files, riga 17, colonna size", "files", 16},
		{"filesのCOPY、行 17、列 size", "files", 16},
		{"COPY files, ხაზი 17, სვეტი size", "files", 16},
		{"files 복사, 17번째 줄, size 열", "files", 16},
		{"COPY files, строка 17, столбец size", "files", 16},
		{"COPY files, rad 17, kolumn size", "files", 16},
		{"COPY files, рядок 17, стовпець size", "files", 16},
		{"COPY files, 行 17, 列 size", "files", 16},
		{"COPY files 2, line 17", "files 2", 16},
		{"COPY files, line 99999999999999999999999999", "files", -1},
		{"", "files", -1},
		{"COPY other, line 17", "files", -1},
		{"COPY files", "files", -1},
		{"COPY files, line", "files", -1},
		{"PL/pgSQL function files() line 3 at RAISE", "files", -1},
		{`SQL statement "SELECT 1 FROM ONLY files x WHERE id = $1"`, "files", -1},
		{`SQL statement "SELECT $1"`, "SQL", -1},
		{"PL/pgSQL function f() line 3 at RAISE", "PL", -1},
	} {
		if got, _ := copyRow(c.where, c.rel); got != c.row {
			t.Errorf("%q: row %d, want %d", c.where, got, c.row)
		}
	}
}

func TestRowsAreCheckedWhereNoColumnIsConverted(t *testing.T) {
	onEveryServer(t, func(t *testing.T, db *database) {
		db.Exec(t, `CREATE TABLE files (id bigint PRIMARY KEY, name char(2), size bigint NOT NULL)`)
		s := open(t, db.URL, files())
		check(t, s)
		for column, bad := range map[string]row{"name": {int64(2), "abc", int64(1)}, "size": {int64(2), "ab", nil}} {
			if e := refused(t, s, row{int64(1), "ab", int64(1)}, bad); e.Row != 1 || e.Column != column {
				t.Errorf("row %d column %s: %v", e.Row, e.Column, e)
			}
		}
		write(t, s, row{int64(1), "ab", int64(1)})
	})
}

func TestErrorNamesTheColumn(t *testing.T) {
	onEveryServer(t, func(t *testing.T, db *database) {
		db.Exec(t, `CREATE TYPE e AS ENUM ('a'); CREATE TABLE files (id bigint PRIMARY KEY, "line 3" e, "line" text)`)
		s := open(t, db.URL, &dest.Table{Name: "files", Keys: 1, Columns: []dest.Column{
			col("id", tuple.Int8), col("line 3", tuple.Text), col("line", tuple.Text),
		}})
		if e := refused(t, s, row{int64(1), "b", ""}); e.Column != "line 3" || e.Row != 0 {
			t.Errorf("column %q row %d: %v", e.Column, e.Row, e)
		}
		for _, context := range []string{", Spalte id", "、列 id", "번째 줄, id 열"} {
			if got := columnIn(context, s.plan.Load().columns); got != "id" {
				t.Errorf("%q: column %q", context, got)
			}
		}
	})
}

func FuzzCopyRow(f *testing.F) {
	f.Add("COPY files, line 17, column size", "files")
	f.Add("filesのCOPY、行 17、列 size", "files")
	f.Add("a\nb 7", "")
	f.Fuzz(func(t *testing.T, where, rel string) {
		if row, _ := copyRow(where, rel); row < -1 {
			t.Errorf("row %d", row)
		}
	})
}
