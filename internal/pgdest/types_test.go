package pgdest

import (
	"context"
	"encoding/binary"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/memdbwriter/memdbwriter/internal/dest"
	"github.com/memdbwriter/memdbwriter/internal/pgtest"
	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

// texts are values of column types in their text forms, beside those that every
// type is tried with.
var texts = map[string][]string{
	"text":                  {"a"},
	"varchar(5)":            {"abcde", "abcde   "},
	"char(3)":               {"ab", "abc "},
	"name":                  {"a"},
	"citext":                {"ReadMe"},
	"mood":                  {"glad", "so \"so\", or\\so"},
	"positive":              {"1", "-1"},
	"json":                  {`{"a": "\\.\n"}`, `[1]`},
	"jsonb":                 {`{"a": "\\.\n"}`, `[1.00]`},
	"jsonpath":              {`$.a[*] ? (@ > 1)`, `$."a\\b"`},
	"xml":                   {"<a>1</a>", "text <b/>"},
	"bytea":                 {`\x00ff`, `a\\b`, " a "},
	"boolean":               {"yes"},
	"smallint":              {"-1"},
	"bigint":                {"9223372036854775807"},
	"numeric(20,2)":         {"18446744073709551615", "1.005", "NaN"},
	"real":                  {"1.1", "-0"},
	"double precision":      {"0.1", "1e-310"},
	"money":                 {"12.34", "-1,234.56", "$5"},
	"date":                  {"2024-02-29", "infinity"},
	"timestamp(3)":          {"2024-02-29 12:00:00.1239"},
	"timestamptz":           {"2024-02-29 12:00:00+09"},
	"time":                  {"12:00:00.5"},
	"timetz":                {"12:00:00.5+09", "12:00:00"},
	"interval":              {"-1 day 02:00:00", "P1Y-2M", "1 mon -3 days"},
	"inet":                  {"10.0.0.1/24"},
	"cidr":                  {"10.0.0.0/8"},
	"macaddr":               {"08:00:2b:01:02:03"},
	"macaddr8":              {"08:00:2b:01:02:03:04:05"},
	"uuid":                  {"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"},
	"bit(3)":                {"101", "1"},
	"varbit(4)":             {"101", "10101"},
	"point":                 {"(0.1,2)"},
	"line":                  {"{1,2,3}"},
	"lseg":                  {"[(0,0),(1,0.1)]"},
	"box":                   {"(1,1),(0,0.1)"},
	"path":                  {"[(0,0),(1,1)]"},
	"polygon":               {"((0,0),(1,1),(2,0.1))"},
	"circle":                {"<(0,0),0.1>"},
	"tsvector":              {`'a' 'b\\c':1A`, "it''s"},
	"tsquery":               {"a & !b"},
	`"char"`:                {"x", "ab"},
	"oid":                   {"1"},
	"regclass":              {"pg_class", "42"},
	"regtype":               {"integer"},
	"xid8":                  {"18446744073709551615"},
	"pg_lsn":                {"16/B374D848"},
	"tid":                   {"(1,2)"},
	"int4range":             {"[1,5)", "empty", "(,5]"},
	"tstzrange":             {"[2024-01-01 00:00,2024-01-02 00:00)"},
	"daterange":             {"[2024-01-01,2024-01-02)"},
	"int4multirange":        {"{[1,3),[5,7)}"},
	"tstzmultirange":        {"{[2024-01-01 00:00,2024-01-02 00:00)}"},
	"textrange":             {`["a\\\\b","c\"d")`},
	"text[]":                {`{a,"b c","d\"e","f\\g",NULL,""}`, `{{a,b},{c,d}}`, `[2:3]={x,y}`, `{"\\."}`},
	"varchar(2)[]":          {`{ab}`, `{abc}`},
	"integer[]":             {"{1,NULL,-3}", "{}"},
	"interval[]":            {`{"-1 day 02:00:00"}`},
	"date[]":                {`{2024-02-29,02/03/2024}`},
	"timestamptz[]":         {`{"2024-02-29 12:00"}`},
	"money[]":               {`{12.34}`},
	"mood[]":                {`{glad,"so \"so\", or\\so"}`},
	"hstore":                {`a=>1, "b c"=>"d\"e\\f", g=>NULL`},
	"ltree":                 {"a.b.c"},
	"lquery":                {"a.*{1,2}.b"},
	"cube":                  {"(1, 2, 0.1)"},
	"seg":                   {"5 .. 6"},
	"pair":                  {`(1,"a\\"\\\\b,c")`, `(1,)`},
	"spell":                 {`("-1 day 02:00:00","2024-02-29 12:00")`},
	"pair[]":                {`{"(1,a)","(2,\\"b c\\")"}`},
	"pg_catalog.int2vector": {"1 2 3"},
}

// day is a value of the columns that have a binary form.
var day = time.Date(2024, 2, 29, 12, 30, 0, 123456000, time.UTC)

// everywhere are texts that every type is tried with.
var everywhere = []string{"", " ", `"`, "'", `\`, `\.`, `\N`, "\n", "\t", "a\\\tb\r\n\b\f\vc", "a,b", "{}", "é"}

// extensions have the types that are named like them, and those of lquery.
var extensions = []string{"hstore", "ltree", "cube", "seg", "citext"}

const typesDDL = `CREATE TYPE mood AS ENUM ('glad', 'so "so", or\so'); CREATE TYPE textrange AS RANGE (subtype = text);
	CREATE TYPE pair AS (n integer, t text); CREATE TYPE spell AS (i interval, at timestamptz); CREATE DOMAIN positive AS integer CHECK (VALUE > 0);`

// otherSettings are URL parameters of a session whose settings must change no
// value.
const otherSettings = "&IntervalStyle=sql_standard&DateStyle=German,DMY&TimeZone=Asia/Tokyo&lc_monetary=C.utf8&xmloption=document" +
	"&bytea_output=escape&extra_float_digits=-15&standard_conforming_strings=off"

// Texts become what the server's own cast makes of them in a usual session, and
// texts of which it makes nothing are refused, whatever the session and the
// way: directly, by an upsert that changes every row, into a table without a
// key.
func TestEveryTypeThatHasAText(t *testing.T) {
	server := pgtest.Start(t).Open(t) // another test drops the language that an extension wants
	server.Exec(t, typesDDL)
	for _, name := range extensions {
		if server.Rows(t, "SELECT count(*) FROM pg_available_extensions WHERE name = $1", name)[0] == "1" {
			server.Exec(t, "CREATE EXTENSION "+name)
		}
	}
	conn, err := pgx.Connect(context.Background(), server.URL+"&TimeZone=UTC&default_query_exec_mode=exec")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	db, err := Open(server.URL + "&pool_max_conns=1" + otherSettings)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for typ, own := range texts {
		base, _, _ := strings.Cut(typ, "(")
		if server.Rows(t, "SELECT to_regtype($1) IS NULL", base)[0] == "t" {
			continue // of a later version, or of an extension that this server has not
		}
		t.Run(typ, func(t *testing.T) {
			testType(t, conn, db, typ, append(slices.Clone(own), everywhere...))
		})
	}
}

func testType(t *testing.T, conn *pgx.Conn, db *DB, typ string, values []string) {
	ctx := context.Background()
	exec := func(sql string, args ...any) error {
		_, err := conn.Exec(ctx, sql, args...)
		return err
	}
	for _, sql := range []string{
		"DROP TABLE IF EXISTS keyed, plain, want", "CREATE TABLE keyed (id bigint PRIMARY KEY, v " + typ + ", at timestamptz, n real)",
		"CREATE TABLE plain (LIKE keyed)", "CREATE TABLE want (LIKE keyed)",
	} {
		if err := exec(sql); err != nil {
			t.Fatal(err)
		}
	}
	rows := []row{{int64(-1), nil, day, float32(0.1)}}
	if err := exec("INSERT INTO want VALUES (-1, NULL, $1, 0.1)", day); err != nil {
		t.Fatal(err)
	}
	columns := []dest.Column{col("id", tuple.Int8), col("v", tuple.Text, "null"), col("at", tuple.Timestamptz), col("n", tuple.Float4)}
	keyed := bind(t, db, &dest.Table{Name: "keyed", Keys: 1, Columns: columns})
	plain := bind(t, db, &dest.Table{Name: "plain", Policy: dest.InsertOnly, Columns: columns})
	refusals := 0
	for i, v := range values {
		one := row{int64(i), v, day, float32(0.1)}
		taken := exec("INSERT INTO want SELECT $1, "+pgLiteral(v)+", $2, 0.1", i, day) == nil
		// Of some the server takes the first byte, others it reads as no time at all.
		if typ == `"char"` && len(v) > 1 || typ == "interval" && v == `\.` {
			if err := exec("DELETE FROM want WHERE id = $1", i); err != nil {
				t.Fatal(err)
			}
			taken = false
		}
		if taken {
			rows = append(rows, one)
			continue
		}
		if refusals++; refusals > 5 && !strings.Contains(v, "\n") {
			continue
		}
		if _, err := keyed.Write(ctx, batch(one)); err == nil {
			t.Errorf("%q is stored, which the server refuses", v)
		} else if asError(t, err).Class != dest.ClassRow {
			t.Errorf("%q is not refused as a row: %v", v, err)
		}
	}
	same := func(table string) {
		t.Helper()
		var n int
		var differ *string
		if err := conn.QueryRow(ctx, "SELECT count(*) FROM "+table+" t").Scan(&n); err != nil || n != len(rows) {
			t.Errorf("%s has %d rows, %v, want %d", table, n, err, len(rows))
		}
		err := conn.QueryRow(ctx, "SELECT string_agg(concat(t.v::text, ' for ', w.v::text), '; ') FROM "+table+" t FULL JOIN want w USING (id)"+
			" WHERE ROW(t.v, t.at, t.n)::record *<> ROW(w.v, w.at, w.n)::record OR t.v::text IS DISTINCT FROM w.v::text").Scan(&differ)
		if err != nil || differ != nil {
			t.Errorf("%s differs: %v, %s", table, err, deref(differ))
		}
	}
	write(t, keyed, rows...)
	same("keyed")
	if err := exec("UPDATE keyed SET v = NULL, n = 0"); err != nil {
		t.Fatal(err)
	}
	write(t, keyed, rows...)
	same("keyed")
	write(t, plain, rows...)
	same("plain")
}

// The settings under which a text is read are not those of the defaults and the
// triggers of the table.
func TestDefaultsSeeTheSettingsOfTheSession(t *testing.T) {
	server := pgtest.Open(t)
	server.Exec(t, "CREATE TABLE t (id bigint PRIMARY KEY, v tstzrange,"+
		" settings text DEFAULT current_setting('TimeZone') || ' ' || current_setting('IntervalStyle') || ' ' || current_setting('DateStyle'))")
	sink := open(t, server.URL+"&pool_max_conns=1"+otherSettings, &dest.Table{
		Name: "t", Keys: 1, Columns: []dest.Column{col("id", tuple.Int8), col("v", tuple.Text)},
	})
	for id := range int64(2) {
		write(t, sink, row{id, "[2024-01-01,)"})
	}
	equal(t, server.Rows(t, "SELECT id, settings, lower(v) = '2024-01-01 00:00+00' FROM t ORDER BY id"),
		"0|Asia/Tokyo sql_standard German, DMY|t", "1|Asia/Tokyo sql_standard German, DMY|t")
}

// In an array NULL is no text, whatever the session has made of it: of a built-in
// type and of a user's, on each way.
func TestNullsOfArraysAreNotTextInAnySession(t *testing.T) {
	db := pgtest.Open(t)
	db.Exec(t, "CREATE TYPE mood AS ENUM ('NULL', 'sad'); CREATE TABLE t (id bigint PRIMARY KEY, v text[], w mood[])")
	s := open(t, db.URL+"&options=-c%20array_nulls%3Doff", &dest.Table{
		Name: "t", Keys: 1, Columns: []dest.Column{col("id", tuple.Int8), col("v", tuple.Text), col("w", tuple.Text)},
	})
	write(t, s, row{int64(1), "{x,NULL}", "{sad,NULL}"})
	s.choice.conflicted()
	write(t, s, row{int64(2), "{x,NULL}", "{sad,NULL}"})
	isolate(t, s, batch(row{int64(3), "{x,NULL}", "{sad,NULL}"}))
	equal(t, db.Rows(t, "SELECT id, v[2] IS NULL, w[2] IS NULL FROM t ORDER BY id"), "1|t|t", "2|t|t", "3|t|t")
}

// Rows are told apart where COPY reads text, too.
func TestRowsOfTextAreToldApart(t *testing.T) {
	server := pgtest.Open(t)
	server.Exec(t, "CREATE TABLE t (id bigint PRIMARY KEY, v integer[] CHECK (v[1] > 0), at timestamptz)")
	sink := open(t, server.URL+otherSettings, &dest.Table{
		Name: "t", Keys: 1, Columns: []dest.Column{col("id", tuple.Int8), col("v", tuple.Text, "null"), col("at", tuple.Local)},
	})
	east := append(binary.BigEndian.AppendUint64(nil, 0), 0, 0, 0x0e, 0x10)
	_, refused, err := sink.Isolate(context.Background(), batch(
		row{int64(1), "{1,2}", day}, row{int64(2), "{-1}", day}, row{int64(3), nil, east}, row{int64(4), "{2}\n", day}))
	if err != nil || len(refused) != 1 || refused[0].Row != 1 || refused[0].Err.SQLState != "23514" {
		t.Fatalf("%+v, %v", refused, err)
	}
	equal(t, server.Rows(t, "SELECT id, v, at = '2000-01-01 00:00Z' FROM t ORDER BY id"), "1|{1,2}|f", "3|NULL|t", "4|{2}|f")
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// pgLiteral is a constant of no type, which the server reads as a value of the
// column's.
func pgLiteral(s string) string {
	return " E'" + strings.NewReplacer(`\`, `\\`, `'`, `''`).Replace(s) + "'"
}

func bind(t *testing.T, db *DB, table *dest.Table) dest.Sink {
	t.Helper()
	sink, err := db.Bind(table, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sink.Close() })
	return sink
}
