package transcode

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/memdbwriter/memdbwriter/internal/pgtest"
	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// server is a PostgreSQL to ask what a value is in its own opinion.
type server struct {
	tb   testing.TB
	pool *pgxpool.Pool
}

func newServer(t *testing.T) *server {
	config, err := pgxpool.ParseConfig(pgtest.Open(t).URL)
	if err != nil {
		t.Fatal(err)
	}
	config.ConnConfig.RuntimeParams["timezone"] = "UTC"
	config.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeExec // the table t changes its type all the time
	pool, err := pgxpool.NewWithConfig(context.Background(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return &server{tb: t, pool: pool}
}

// column makes a table t with one column v of the type.
func (s *server) column(declared string) Type {
	s.tb.Helper()
	ctx := context.Background()
	if _, err := s.pool.Exec(ctx, "DROP TABLE IF EXISTS t; CREATE TABLE t (v "+declared+")"); err != nil {
		s.tb.Fatalf("%s: %v", declared, err)
	}
	to := Type{Name: declared}
	err := s.pool.QueryRow(ctx, `SELECT t.oid, a.atttypmod, t.typtype = 'e' OR t.typcategory = 'S'
		FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid WHERE attrelid = 't'::regclass AND attnum = 1`).
		Scan(&to.OID, &to.Mod, &to.Text)
	if err != nil {
		s.tb.Fatalf("%s: %v", declared, err)
	}
	return to
}

// cast returns what the server makes of an expression of the type, as text.
func (s *server) cast(expr, declared string, args ...any) (string, error) {
	var text string
	err := s.pool.QueryRow(context.Background(), "SELECT (("+expr+")::"+declared+")::text", args...).Scan(&text)
	return text, err
}

// takes tells whether the server takes a text as a value of t.
func (s *server) takes(text string) bool {
	literal := "'" + strings.ReplaceAll(text, "'", "''") + "'"
	_, err := s.pool.Exec(context.Background(), "INSERT INTO t VALUES ("+literal+")")
	return err == nil
}

// stored copies a field into t and returns what it is there, as text.
func (s *server) stored(field []byte) (string, error) {
	ctx := context.Background()
	msg := []byte("PGCOPY\n\xff\r\n\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01")
	msg = binary.BigEndian.AppendUint32(msg, uint32(len(field)))
	msg = append(append(msg, field...), 0xff, 0xff)
	conn, err := s.pool.Acquire(ctx)
	if err != nil {
		return "", err
	}
	defer conn.Release()
	if _, err := conn.Conn().PgConn().CopyFrom(ctx, bytes.NewReader(msg), "TRUNCATE t; COPY t FROM STDIN (FORMAT binary)"); err != nil {
		return "", err
	}
	var text string
	err = conn.QueryRow(ctx, "SELECT v::text FROM t").Scan(&text)
	return text, err
}

// otherSettings are those that a session may have and that must change no value.
const otherSettings = "SET LOCAL intervalstyle = 'sql_standard'; SET LOCAL datestyle = 'German, DMY'; SET LOCAL timezone = 'Asia/Tokyo'; " +
	"SET LOCAL extra_float_digits = -15; SET LOCAL bytea_output = 'escape'; "

// storedText is stored with the text form of the field, in a session that has
// other settings.
func (s *server) storedText(step Step, field []byte) (string, error) {
	ctx := context.Background()
	text, err := step.Text(nil, field)
	if err != nil {
		return "", err
	}
	line := strings.NewReplacer(`\`, `\\`, "\n", `\n`, "\t", `\t`, "\r", `\r`).Replace(string(text)) + "\n"
	conn, err := s.pool.Acquire(ctx)
	if err != nil {
		return "", err
	}
	defer conn.Release()
	if _, err := conn.Conn().PgConn().CopyFrom(ctx, strings.NewReader(line), "TRUNCATE t; "+otherSettings+"COPY t FROM STDIN"); err != nil {
		return "", fmt.Errorf("the text %q: %w", text, err)
	}
	err = conn.QueryRow(ctx, "SELECT v::text FROM t").Scan(&line)
	return line, err
}

// apply runs a step as a destination does.
func apply(step Step, field []byte) ([]byte, error) {
	if step.Check != nil {
		if err := step.Check(field); err != nil {
			return nil, err
		}
	}
	if step.Convert == nil {
		return field, nil
	}
	return step.Convert(nil, field)
}

// Text becomes what the server's own cast makes of it. Values behind the bar
// are refused, as the server refuses them.
func TestTextBecomesWhatTheServerMakesOfIt(t *testing.T) {
	s := newServer(t)
	if _, err := s.pool.Exec(context.Background(), "CREATE TYPE mood AS ENUM ('glad', 'sad')"); err != nil {
		t.Fatal(err)
	}
	for declared, values := range map[string]string{
		"text":             "a;ü;'",
		"varchar(3)":       "a;äöü;abc   |abcd;äöüß",
		"char(3)":          "a;äöü;abc   |abcd",
		"name":             "a;" + strings.Repeat("x", 63),
		"mood":             "glad",
		"json":             `{"a":  1};1`,
		"jsonb":            `{"a":  1};"x"`,
		"xml":              "<a>b</a>",
		"boolean":          "true;TRUE;t;yes;on;1;false;f;no;of;off;0; tr |;o;2;truely",
		"smallint":         "0;-32768;+32767; 5 |32768;-32769;;a;1.5;99999999999999999999",
		"integer":          "0;-2147483648;2147483647|2147483648;x",
		"bigint":           "0;-9223372036854775808;9223372036854775807|9223372036854775808",
		"oid":              "0;4294967295|4294967296",
		"real":             "0;1.5;-0;1e-40;3.4e38;NaN;Infinity;-inf|3.5e38;1e-50;x",
		"double precision": "0;1.5;-0;1e-310;1.7e308;nan;infinity;.5;5.|1e400;1e-400;1_0;;x",
		"numeric":          "0;0.00;1;-1.50;10000;12345.6789;100000000;0.0001;0.00001234;-99990000.0001;1e5;1.5e-7;12e3;NaN;000.100;.5;5.;1234567890123456789012345678901234567890|;-;.;e5;1e;1e200000;x;1-2;--1",
		"numeric(5,2)":     "0;999.99;-999.99;1.005;0.001|1000;99999",
		"numeric(3,3)":     "0.999;0|1",
		"bytea":            `\x;\xDEADbeef;abc;a\\b;\001\377;  abc  ; ;|\x1;\xzz;\400;a\;\12`,
		"uuid":             "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11;{A0EEBC999C0B4EF8BB6D6BB9BD380A11};a0ee-bc99-9c0b-4ef8-bb6d-6bb9-bd38-0a11|a0eebc99;x;{};a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a1111",
		"date":             "2024-02-29;0001-01-01;4714-11-24 BC;2024-02-29 12:30;9999-12-31;infinity;-infinity;1999-12-31;2000-01-01T23:59:59Z|2023-02-29;2024-13-01;x;;2024-2;0000-01-01;2024-01-01 25:00",
		"timestamp":        "2024-02-29 12:30:15.123456;2024-02-29T12:30;1969-12-31 23:59:59.9999995;2024-01-01 12:00+05;0044-03-15 12:00:00 BC;infinity;2024-06-30 23:59:60;2024-01-01 24:00:00;294276-12-31 23:59:59.999999;4714-11-24 00:00:00 BC|2024-01-01 12:60;2024-01-01 24:00:01;294277-01-01;2024-01-01 12;2024-01-01 12:00+;2024-01-01 12:00+99;4714-11-23 BC",
		"timestamp(0)":     "2024-02-29 12:30:15.5;2024-02-29 12:30:15.499999",
		"timestamptz":      "2024-02-29 12:30:15.123456+02;2024-02-29T12:30:00Z;2024-02-29 12:30:00 -0330;2024-01-01 12:00+05:30:15;2024-01-01;infinity;-infinity;0044-03-15 12:00:00+00 BC|2024-02-30 00:00Z;x",
		"time":             "12:30;12:30:15.123456;00:00;24:00:00|24:00:01;12;x;12:61;",
		"time(3)":          "12:30:15.1239",
		"timetz":           "12:30+02;12:30:15.5-03:30;24:00:00Z;12:30|12:30+16;x",
		"interval": "1 day;2 years 3 mons -4 days 05:06:07.8;00:00:01;-00:00:01;-1 day 02:00:00;-1 days +02:00:00;1 day -02:00:00;" +
			"P1Y2M3DT4H5M6.7S;P-1DT2H;PT36H;P3W;PT-0.000001S;P1.5D;@ 1 year 2 mons -3 days 4 hours 5 mins 6.7 secs ago;@ 0;1.5 weeks;1.5 months;-1.5 days;2 centuries;1.5 hours 30 minutes;" +
			"3 millennia 1 decade;100:00:00;12:30;15 ms;7 us;2562047788:00:54.775807;-178000000 years;.5 sec|x;P;P1X;1 day x;1 foo;12:60;2562047788:00:54.775808;200000000 years",
		"inet":    "10.0.0.1;10.0.0.1/24;::1;2001:db8::/32|10.0.0.256;x;10.0.0.1/33;fe80::1%eth0",
		"cidr":    "10.0.0.0/8;2001:db8::/32;10.0.0.1|10.0.0.1/8;x",
		"macaddr": "08:00:2b:01:02:03;08-00-2B-01-02-03;0800.2b01.0203|08:00;x",
	} {
		to := s.column(declared)
		step, err := New(tuple.Text, to)
		if err != nil {
			t.Errorf("%s: %v", declared, err)
			continue
		}
		good, bad, hasBad := strings.Cut(values, "|")
		for value := range strings.SplitSeq(good, ";") {
			field, err := apply(step, []byte(value))
			if err != nil {
				t.Errorf("%s of %q: %v", declared, value, err)
				continue
			}
			got, err := s.stored(field)
			if err != nil {
				t.Errorf("%s of %q: the server refuses % x: %v", declared, value, field, err)
				continue
			}
			want, err := s.cast("$1::text", declared, value)
			if err != nil || got != want {
				t.Errorf("%s of %q: stored as %q, the server's cast gives %q, %v", declared, value, got, want, err)
			}
			if got, err := s.storedText(step, []byte(value)); err != nil || got != want {
				t.Errorf("%s of %q: stored as %q by its text, want %q, %v", declared, value, got, want, err)
			}
		}
		if !hasBad {
			continue
		}
		for value := range strings.SplitSeq(bad, ";") {
			field, err := apply(step, []byte(value))
			if te := new(Error); !errors.As(err, &te) || len(te.SQLState) != 5 || !strings.Contains(err.Error(), declared) {
				t.Errorf("%s of %q: % x, %v; want an error that names the type", declared, value, field, err)
			}
			if s.takes(value) {
				t.Errorf("%s of %q: the server takes it", declared, value)
			}
		}
	}
}

// The other canonical types become what the server's cast between the types
// makes of them.
func TestValueBecomesWhatTheServerMakesOfIt(t *testing.T) {
	s := newServer(t)
	be := binary.BigEndian
	i8 := func(v int64) []byte { return be.AppendUint64(nil, uint64(v)) }
	f8 := func(v float64) []byte { return be.AppendUint64(nil, math.Float64bits(v)) }
	f4 := func(v float32) []byte { return be.AppendUint32(nil, math.Float32bits(v)) }
	at := func(text string) []byte {
		v, err := time.Parse(time.RFC3339Nano, text)
		if err != nil {
			t.Fatal(err)
		}
		return i8((v.Unix()-epoch)*1_000_000 + int64(v.Nanosecond()/1000))
	}
	local := func(text string) []byte {
		v, err := time.Parse(time.RFC3339Nano, text)
		if err != nil {
			t.Fatal(err)
		}
		field, err := tuple.AppendValue(nil, tuple.Local, v)
		if err != nil {
			t.Fatal(err)
		}
		return field[4:]
	}
	// What makes a value of the literal; without it is the column's type.
	casts := map[tuple.Type]string{}
	for from := tuple.Bool; from <= tuple.Types; from++ {
		casts[from] = "::" + from.String()
	}
	casts[tuple.Local], casts[tuple.Bytea], casts[tuple.Duration] = "", "", "::interval"
	uuid := []byte("\xa0\xee\xbc\x99\x9c\x0b\x4e\xf8\xbb\x6d\x6b\xb9\xbd\x38\x0a\x11")
	for _, c := range []struct {
		from    tuple.Type
		field   []byte
		literal string
		to      string
	}{
		{tuple.Bool, []byte{1}, "true", "boolean text varchar(4) integer"},
		{tuple.Bool, []byte{0}, "false", "boolean text varchar(5) integer"},
		{tuple.Int2, []byte{0xff, 0xfe}, "-2", "smallint integer bigint real float8 numeric numeric(3,1) text"},
		{tuple.Int4, []byte{0, 0, 0x30, 0x39}, "12345", "smallint integer bigint oid real float8 numeric numeric(9,4) varchar(5)"},
		{tuple.Int8, i8(-120000), "-120000", "integer bigint real float8 numeric text"},
		{tuple.Int8, i8(math.MaxInt64), "9223372036854775807", "bigint float8 numeric text"},
		{tuple.Int8, i8(math.MinInt64), "-9223372036854775808", "bigint float8 numeric text"},
		{tuple.Int8, i8(4294967295), "4294967295", "oid"},
		{tuple.Float4, f4(1.25), "1.25", "real float8 numeric text"},
		{tuple.Float4, f4(1e6), "1e6", "real float8 text"},
		{tuple.Float4, f4(-123456), "-123456", "real float8 text"},
		{tuple.Float8, f8(-0.5), "-0.5", "real float8 numeric numeric(2,1) text"},
		{tuple.Float8, f8(1e15), "1e15", "float8 text numeric"},
		{tuple.Float8, f8(123456789012345), "123456789012345", "float8 text numeric"},
		{tuple.Float8, f8(1e-5), "1e-5", "float8 text numeric"},
		{tuple.Float8, f8(0.0001), "0.0001", "float8 text numeric"},
		{tuple.Float8, f8(math.Copysign(0, -1)), "-0", "float8 text"},
		{tuple.Float8, f8(math.NaN()), "NaN", "real float8 numeric text"},
		{tuple.Float8, f8(math.Inf(-1)), "-Infinity", "real float8 text"},
		{tuple.Text, []byte("x"), "x", "text"},
		{tuple.Bytea, []byte{0, 255}, `\x00ff`, "bytea"},
		{tuple.Timestamptz, at("2024-02-29T12:30:15.12Z"), "2024-02-29 12:30:15.12+00", "timestamptz timestamp timestamp(0) date text"},
		{tuple.Timestamptz, at("1999-12-31T23:59:59.999999Z"), "1999-12-31 23:59:59.999999+00", "timestamptz timestamp date text"},
		{tuple.Timestamptz, at("0007-01-02T03:04:05Z"), "0007-01-02 03:04:05+00", "timestamptz timestamp date text"},
		{tuple.Timestamptz, i8(minStamp), "4714-11-24 00:00:00+00 BC", "timestamptz timestamp date text"},
		{tuple.Timestamptz, i8(endStamp - 1), "294276-12-31 23:59:59.999999+00", "timestamptz timestamp date text"},
		{tuple.Timestamptz, i8(math.MaxInt64), "infinity", "timestamptz timestamp date text"},
		{tuple.Timestamptz, i8(math.MinInt64), "-infinity", "timestamptz timestamp date text"},
		{tuple.Local, at("2024-02-29T12:30:15.12Z"), "2024-02-29 12:30:15.12+00", "timestamptz timestamp timestamp(0) date time time(0) timetz text"},
		{tuple.Local, local("2024-03-01T00:30:15.12+01:00"), "2024-03-01 00:30:15.12+01", "timestamptz"},
		{tuple.Local, local("2024-03-01T00:30:15.12+01:00"), "2024-03-01 00:30:15.12", "timestamp timestamp(0) date time"},
		{tuple.Local, local("2024-02-29T23:30:15.12-12:00"), "2024-02-29 23:30:15.12", "timestamp timestamp(0) date time"},
		{tuple.Local, local("2024-03-01T00:30:15.12+01:00"), "00:30:15.12+01", "timetz"},
		{tuple.Local, local("1890-03-01T00:30:15-09:30"), "00:30:15-09:30", "timetz"},
		{tuple.Local, local("2024-03-01T00:30:15.12+01:00"), "2024-02-29 23:30:15.12+00", "text"},
		{tuple.Timestamp, at("2024-02-29T12:30:15.12Z"), "2024-02-29 12:30:15.12", "timestamp timestamp(0) time text"},
		{tuple.Timestamp, i8(minStamp), "4714-11-24 00:00:00 BC", "timestamp time text"},
		{tuple.Date, be.AppendUint32(nil, 8826), "2024-03-01", "date timestamp text varchar(10)"},
		{tuple.Date, be.AppendUint32(nil, 1<<32-800000), "0192-09-04 BC", "date timestamp text"},
		{tuple.Duration, i8(5025_678901_234), "01:23:45.678901", "interval time time(3)"},
		{tuple.Duration, i8(-360001_000000_000), "-100:00:01", "interval text"},
		{tuple.Duration, i8(0), "00:00:00", "interval time text"},
		{tuple.Duration, i8(math.MaxInt64), "2562047:47:16.854775", "interval text"},
		{tuple.Duration, i8(24 * 3600_000_000_000), "24:00:00", "interval text"},
		{tuple.Bytea, []byte("<a>ü</a>"), "<a>ü</a>", "text varchar(8) xml"},
		{tuple.Bytea, []byte(`{"a":  "ü"}`), `{"a":  "ü"}`, "json jsonb text"},
		{tuple.JSON, []byte("\x01{\"a\": [1, null]}"), `{"a": [1, null]}`, "jsonb json text varchar(16)"},
		{tuple.UUID, uuid, "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "uuid text char(36)"},
	} {
		for declared := range strings.FieldsSeq(c.to) {
			to := s.column(declared)
			step, err := New(c.from, to)
			if err != nil {
				t.Errorf("%s to %s: %v", c.from, declared, err)
				continue
			}
			field, err := apply(step, c.field)
			if err != nil {
				t.Errorf("%s %s to %s: %v", c.from, c.literal, declared, err)
				continue
			}
			got, err := s.stored(field)
			if err != nil {
				t.Errorf("%s %s to %s: the server refuses % x: %v", c.from, c.literal, declared, field, err)
				continue
			}
			want, err := s.cast("'"+c.literal+"'"+casts[c.from], declared)
			if err != nil || got != want {
				t.Errorf("%s %s to %s: stored as %q, the server's cast gives %q, %v", c.from, c.literal, declared, got, want, err)
			}
			if got, err := s.storedText(step, c.field); err != nil || got != want {
				t.Errorf("%s %s to %s: stored as %q by its text, want %q, %v", c.from, c.literal, declared, got, want, err)
			}
		}
	}
}

func TestValueThatDoesNotFit(t *testing.T) {
	s := newServer(t)
	be := binary.BigEndian
	for _, c := range []struct {
		from      tuple.Type
		field     []byte
		to, state string
	}{
		{tuple.Int4, be.AppendUint32(nil, 32768), "smallint", outOfRange},
		{tuple.Int8, be.AppendUint64(nil, 1<<31), "integer", outOfRange},
		{tuple.Int8, be.AppendUint64(nil, math.MaxUint64), "oid", outOfRange},
		{tuple.Int8, be.AppendUint64(nil, 1000), "numeric(3,0)", outOfRange},
		{tuple.Int8, be.AppendUint64(nil, 1000), "varchar(3)", tooLong},
		{tuple.Float8, be.AppendUint64(nil, math.Float64bits(1e39)), "real", outOfRange},
		{tuple.Float8, be.AppendUint64(nil, math.Float64bits(1e-60)), "real", outOfRange},
		{tuple.Float8, be.AppendUint64(nil, math.Float64bits(1e9)), "numeric(9,0)", outOfRange},
		{tuple.JSON, []byte("\x01[1,2,3]"), "varchar(3)", tooLong},
		{tuple.Text, []byte(strings.Repeat("x", 64)), "name", tooLong},
		{tuple.Int8, []byte{1}, "integer", badBinary},
		{tuple.Bytea, []byte("\xff"), "text", badBytes},
		{tuple.Bytea, []byte("a\x00"), "jsonb", badBytes},
		{tuple.Bytea, []byte("äöüß"), "varchar(3)", tooLong},
		{tuple.Date, be.AppendUint32(nil, 2000000000), "timestamp", timeRange},
		{tuple.Duration, be.AppendUint64(nil, math.MaxUint64), "time", timeRange},
		{tuple.Duration, be.AppendUint64(nil, 24*3600_000_001_000), "time", timeRange},
		{tuple.Local, be.AppendUint32(be.AppendUint64(nil, 0), 16*3600), "timetz", zoneRange},
		{tuple.Local, be.AppendUint32(be.AppendUint64(nil, uint64(endStamp-1)), 3600), "date", timeRange},
		{tuple.Local, []byte{1}, "timestamptz", badBinary},
		{tuple.Local, []byte{1}, "date", badBinary},
		{tuple.JSON, nil, "json", badBinary},
	} {
		step, err := New(c.from, s.column(c.to))
		if err != nil {
			t.Fatal(err)
		}
		_, err = apply(step, c.field)
		if te := new(Error); !errors.As(err, &te) || te.SQLState != c.state {
			t.Errorf("%s % x to %s: %v, want SQLSTATE %s", c.from, c.field, c.to, err, c.state)
		}
	}
}

func TestPairsThatMakeNoSense(t *testing.T) {
	s := newServer(t)
	for from, types := range map[tuple.Type]string{
		tuple.Bool:        "uuid numeric date bytea json",
		tuple.Int8:        "boolean timestamptz date uuid bytea jsonb",
		tuple.Float8:      "bigint boolean",
		tuple.Bytea:       "uuid bigint date",
		tuple.Local:       "bigint interval uuid",
		tuple.Timestamp:   "bigint timestamptz date timetz",
		tuple.Date:        "bigint timestamptz time",
		tuple.Duration:    "date timestamptz boolean",
		tuple.Timestamptz: "bigint time interval",
		tuple.JSON:        "xml bytea bigint",
		tuple.UUID:        "bigint json",
	} {
		for declared := range strings.FieldsSeq(types) {
			_, err := New(from, s.column(declared))
			if err == nil || !strings.Contains(err.Error(), declared) || !strings.Contains(err.Error(), from.String()) {
				t.Errorf("%s to %s: %v", from, declared, err)
			}
		}
	}
}

func TestShorten(t *testing.T) {
	for text, want := range map[string]string{
		"":                       `""`,
		"a\n\xff":                `"a\n\xff"`,
		strings.Repeat("ü", 40):  `"` + strings.Repeat("ü", 40) + `"`,
		strings.Repeat("ü", 400): `"` + strings.Repeat("ü", 40) + `"...`,
	} {
		if got := Shorten([]byte(text)); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}

func TestDigitsBeforeThePoint(t *testing.T) {
	for mod, want := range map[int32]int{
		-1:                    maxIntDigits,
		4 + 5<<16 + 2:         3,
		4 + 3<<16 + 5:         -2, // numeric(3,5), from PostgreSQL 15 on
		4 + 2<<16 + 0x800 - 3: 5,  // numeric(2,-3)
	} {
		if got := intDigits(Type{Mod: mod}); got != want {
			t.Errorf("modifier %d: %d digits, want %d", mod, got, want)
		}
	}
}
