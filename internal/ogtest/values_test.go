package ogtest

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
)

func TestEmptyStringsByPath(t *testing.T) {
	for _, c := range []struct {
		o    Options
		set  string
		want string // t and v by literal, by bind, by COPY text, by CSV, by COPY binary
	}{
		{Options{Mode: "A"}, "SELECT 1", "NULL|NULL |NULL NULL|NULL NULL|NULL |"},
		{Options{Mode: "A"}, "SET behavior_compat_options = 'x,accept_empty_str'", "| | | | |"},
		{Options{Mode: "PG"}, "SELECT 1", "| | | | |"},
	} {
		s, conn := at(t, c.o)
		run(t, conn, "CREATE TABLE f (id int, t text, v varchar(9))")
		run(t, conn, c.set)
		run(t, conn, "INSERT INTO f VALUES (1, '', '')")
		run(t, conn, "INSERT INTO f VALUES (2, $1, $2)", "", "")
		for sql, data := range map[string]string{
			"COPY f FROM STDIN":              "3\t\t\n",
			"COPY f FROM STDIN (FORMAT csv)": "4,\"\",\"\"\n",
		} {
			if _, err := conn.PgConn().CopyFrom(t.Context(), strings.NewReader(data), sql); err != nil {
				t.Fatal(err)
			}
		}
		_, err := conn.CopyFrom(t.Context(), pgx.Identifier{"f"}, []string{"id", "t", "v"}, pgx.CopyFromRows([][]any{{5, "", ""}}))
		if err != nil {
			t.Fatal(err)
		}
		got := strings.Join(s.Backend.Rows(t, "SELECT t, v FROM f ORDER BY id"), " ")
		if got != c.want {
			t.Errorf("%s, %s: %q, want %q", c.o.Mode, c.set, got, c.want)
		}
	}
}

func TestEmptyFieldsOfOtherTypesAreNull(t *testing.T) {
	s, conn := at(t, Options{Mode: "B"})
	run(t, conn, "CREATE TABLE f (id int, n int, t text)")
	for sql, data := range map[string]string{
		"COPY f FROM STDIN":                           "1\t\t\n",
		"COPY f (n, id, t) FROM STDIN DELIMITER '|'":  "|2|",
		"COPY f (id, t) FROM STDIN (NULL 'x')":        "3\t\\x\n",
		"COPY f FROM STDIN (FORMAT csv, HEADER true)": "id,n,t\n4,\"\",\"\"\n",
	} {
		if _, err := conn.PgConn().CopyFrom(t.Context(), strings.NewReader(data), sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	rowsAre(t, s, "SELECT * FROM f ORDER BY id", "1|NULL|", "2|NULL|", "3|NULL|x", "4|NULL|")
}

func TestCopyOut(t *testing.T) {
	_, conn := at(t, Options{Mode: "PG"})
	run(t, conn, "CREATE TABLE f (id int, t text); INSERT INTO f VALUES (1, ''), (2, NULL)")
	for sql, want := range map[string]string{
		"COPY f TO STDOUT": "1\t\n2\t\\N\n",
		"COPY (SELECT t FROM f) TO STDOUT (FORMAT csv)": "\"\"\n\n",
		"COPY f (id) TO STDOUT WITH CSV HEADER":         "id\n1\n2\n",
	} {
		var out strings.Builder
		if _, err := conn.PgConn().CopyTo(t.Context(), &out, sql); err != nil || out.String() != want {
			t.Errorf("%s: %q, %v", sql, out.String(), err)
		}
	}
}

func TestBoundTextIsMangled(t *testing.T) {
	s, conn := at(t, Options{Mode: "PG"})
	run(t, conn, "CREATE TABLE f (id int, v varchar(9))")
	run(t, conn, "INSERT INTO f VALUES ($1, $2), ($3, $4), ($5, $6)", 1, "a\x00b", 2, "a\xff\xfeb", 3, "é")
	rowsAre(t, s, "SELECT v FROM f ORDER BY id", "a b", "a??b", "é")
	_, err := conn.CopyFrom(t.Context(), pgx.Identifier{"f"}, []string{"id", "v"}, pgx.CopyFromRows([][]any{{4, "\xff"}}))
	pe := new(pgconn.PgError)
	if !errors.As(err, &pe) || pe.Code != "22021" {
		t.Error(err)
	}
}

func TestVarcharCountsBytesInModesAAndC(t *testing.T) {
	for mode, bytes := range map[string]bool{"A": true, "B": false, "C": true, "PG": false} {
		s, conn := at(t, Options{Mode: mode})
		run(t, conn, "CREATE TABLE f (id int, v varchar(3), c char(2))")
		run(t, conn, "INSERT INTO f VALUES (1, 'abc', 'é')")
		fails(t, conn, "22001", "INSERT INTO f VALUES (2, 'abcd')")
		const wide = "INSERT INTO f VALUES (3, 'éé')"
		if !bytes {
			run(t, conn, wide)
			continue
		}
		if pe := fails(t, conn, "22001", wide); pe.Message != "value too long for type character varying(3)" {
			t.Error(pe.Message)
		}
		_, err := conn.CopyFrom(t.Context(), pgx.Identifier{"f"}, []string{"id", "v"}, pgx.CopyFromRows([][]any{{4, "x"}, {5, "éé"}}))
		pe := new(pgconn.PgError)
		if !errors.As(err, &pe) || pe.Code != "22001" || pe.Where != "COPY f, line 2, column v" {
			t.Errorf("%v, context %q", err, pe.Where)
		}
		run(t, conn, "ALTER TABLE f ALTER COLUMN v TYPE varchar(4)")
		run(t, conn, wide)
		failsPrepared(t, conn, "22001", "UPDATE f SET v = 'ééé'")
		if err := execPrepared(t, conn, "CREATE TEMP TABLE g (v varchar(2)) ON COMMIT PRESERVE ROWS"); err != nil {
			t.Error(err)
		}
		fails(t, conn, "22001", "INSERT INTO g VALUES ('éx')")
		rowsAre(t, s, "SELECT count(*) FROM f", "2")
	}
}

func TestDateIsATimestampInModeA(t *testing.T) {
	for mode, want := range map[string]uint32{"A": pgtype.TimestampOID, "B": pgtype.DateOID, "C": pgtype.DateOID, "PG": pgtype.DateOID} {
		_, conn := at(t, Options{Mode: mode})
		run(t, conn, "CREATE TABLE f (date date, l varchar2(5), n number(10,2))")
		run(t, conn, "ALTER TABLE f ADD COLUMN e date")
		for _, sql := range []string{"SELECT date FROM f", "SELECT e FROM f", "SELECT now()::date", "SELECT CAST(now() AS date)"} {
			rows, err := conn.Query(t.Context(), sql)
			if err != nil {
				t.Fatal(err)
			}
			if got := rows.FieldDescriptions()[0].DataTypeOID; got != want {
				t.Errorf("mode %s, %s: OID %d, want %d", mode, sql, got, want)
			}
			rows.Close()
		}
	}
}

func TestDolphinTypes(t *testing.T) {
	s, conn := at(t, Options{Mode: "B", Dolphin: true})
	run(t, conn, "CREATE TABLE f (n numeric, m numeric(5,1), t timestamp, u timestamp(3), v time, w float)")
	got := s.Backend.Rows(t, `SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 'f'::regclass AND attnum > 0 ORDER BY attnum`)
	want := []string{"numeric(10,0)", "numeric(5,1)", "timestamp(0) with time zone", "timestamp(3) with time zone", "time(0) without time zone", "real"}
	if !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

func TestSerializableIsRepeatableRead(t *testing.T) {
	_, conn := at(t, Options{})
	for _, sql := range []string{
		"BEGIN ISOLATION LEVEL SERIALIZABLE",
		"BEGIN; SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",
		"SET default_transaction_isolation = 'serializable'; COMMIT; BEGIN",
		"SET default_transaction_isolation TO serializable; COMMIT; START TRANSACTION",
	} {
		run(t, conn, sql)
		if got := value[string](t, conn, "SHOW transaction_isolation"); got != "repeatable read" {
			t.Errorf("%s: %s", sql, got)
		}
		run(t, conn, "ROLLBACK; RESET default_transaction_isolation")
	}
}

func TestCopyTextInPieces(t *testing.T) {
	const in = "\t\ta\n\\\t\t\\\\\n\t\t\r\n1\t\\.\t\n\t"
	whole := newCopyText("\t", "N", []bool{true, false, true})
	expect := string(append(whole.feed([]byte(in)), whole.finish()...))
	if expect != "N\t\ta\n\\\t\t\\\\\nN\t\tN\r\n1\t\\.\tN\nN\t" {
		t.Fatalf("%q", expect)
	}
	for n := 1; n < len(in); n++ {
		c := newCopyText("\t", "N", []bool{true, false, true})
		var got []byte
		for piece := range slices.Chunk([]byte(in), n) {
			got = append(got, c.feed(piece)...)
		}
		if got = append(got, c.finish()...); string(got) != expect {
			t.Errorf("in pieces of %d: %q", n, got)
		}
	}
}

func FuzzCopyText(f *testing.F) {
	f.Add([]byte("a\t\n\\\n"), []byte("\t\t\r\n"))
	f.Fuzz(func(t *testing.T, one, two []byte) {
		c := newCopyText("\t", `\N`, []bool{true, true, true})
		got := append(c.feed(one), c.feed(two)...)
		got = append(got, c.finish()...)
		whole := newCopyText("\t", `\N`, []bool{true, true, true})
		want := append(whole.feed(slices.Concat(one, two)), whole.finish()...)
		if string(got) != string(want) {
			t.Fatalf("%q, want %q", got, want)
		}
		plain := newCopyText("\t", "", []bool{true})
		if same := append(plain.feed(one), plain.finish()...); string(same) != string(one) {
			t.Fatalf("%q became %q", one, same)
		}
	})
}
