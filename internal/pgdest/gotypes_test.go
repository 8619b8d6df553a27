package pgdest

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"math/big"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/memdbwriter/memdbwriter/internal/dest"
	"github.com/memdbwriter/memdbwriter/internal/pgtest"
	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

var update = flag.Bool("update", false, "write the table in docs/types.md anew")

// goType is a line of the table in docs/types.md: a Go type, and the column types
// that it goes to, each with what the server then has. The first one is that
// which CreateTable makes.
type goType struct {
	name    string
	column  tuple.TaggedColumn
	value   []byte // the field
	columns []string
}

// of makes a line for a Go type without options in its tag.
func of[T any](name string, v T, columns ...string) goType {
	type row struct {
		ID int64 `db:"id,key"`
		V  T     `db:"v"`
	}
	return in(name, row{1, v}, columns...)
}

// in makes a line for the second field of a row.
func in[R any](name string, row R, columns ...string) goType {
	codec, err := tuple.NewCodec[R]()
	if err != nil {
		panic(err)
	}
	t, err := codec.Append(nil, &row)
	if err != nil {
		panic(err)
	}
	value, _ := tuple.Field(t, 1)
	return goType{name, codec.Fields()[1], value, columns}
}

func goTypes() []goType {
	at := time.Date(2024, 3, 1, 0, 30, 15, 250000000, time.FixedZone("", 3600))
	day := time.Date(2024, 3, 1, 0, 0, 0, 0, time.UTC)
	_, network, _ := net.ParseCIDR("10.1.0.0/16")
	u := uuid.MustParse("00112233-4455-6677-8899-aabbccddeeff")
	a := "a"
	type digits struct {
		ID int64  `db:"id,key"`
		V  uint64 `db:"v,type=numeric(20)"`
	}
	type days struct {
		ID int64     `db:"id,key"`
		V  time.Time `db:"v,type=date"`
	}
	type clocks struct {
		ID int64     `db:"id,key"`
		V  time.Time `db:"v,type=timestamp(3)"`
	}
	type moments struct {
		ID int64     `db:"id,key"`
		V  time.Time `db:"v,type=timestamptz"`
	}
	type documents struct {
		ID int64          `db:"id,key"`
		V  map[string]int `db:"v,json"`
	}
	type prices struct {
		ID int64  `db:"id,key"`
		V  string `db:"v,type=numeric(10,2)"`
	}
	const zoned, clock, span = "2024-03-01 00:30:15.25+01", "2024-03-01 00:30:15.25", "00:01:30"
	return []goType{
		of("bool", true, "boolean: t", "integer: 1", "text: true"),
		of("int8, uint8, int16", int16(-7), "smallint: -7", "bigint: -7", "numeric: -7", "text: -7"),
		of("uint16, int32", int32(7), "integer: 7", "smallint: 7", "bigint: 7", "oid: 7"),
		of("int, uint, int64, uint32, uint64", int64(7), "bigint: 7", "smallint: 7", "numeric(10,2): 7", "double precision: 7", "money: 7", "xid: 7"),
		in("uint, uint64 with `type=numeric(20)`", digits{1, math.MaxUint64}, "numeric(20,0): 18446744073709551615", "text: 18446744073709551615"),
		of("float32", float32(0.1), "real: 0.1", "numeric: 0.1", "text: 0.1"),
		of("float64", 0.1, "double precision: 0.1", "real: 0.1", "numeric: 0.1"),
		of("string", "10", "text: 10", "varchar(9): 10", "integer: 10", "numeric(9,3): 10", "bytea: 10", "bit(2): 10", "money: 10"),
		in("string with `type=numeric(10,2)`", prices{1, "12.5"}, "numeric(10,2): 12.5", "money: 12.5", "text: 12.5"),
		of("string, a time", "2024-03-01 00:30:15.25+01", "text: "+zoned, "timestamptz: "+zoned, "timestamp: "+clock, "date: 2024-03-01"),
		of("string, an interval", "P1M-2DT3H", "text: P1M-2DT3H", "interval: 1 mon -2 days 03:00:00"),
		of("string, an array", `{a,"b c",NULL}`, `text: {a,"b c",NULL}`, `text[]: {a,"b c",NULL}`, `varchar(3)[]: {a,"b c",NULL}`),
		of("string, any text form", "(1,2)", "text: (1,2)", "point: (1,2)", "numrange: (1,2)"),
		of("[]byte", []byte("[1]"), `bytea: \x5b315d`, "text: [1]", "json: [1]", "jsonb: [1]"),
		of("time.Time", at, "timestamptz: "+zoned, "timestamp: "+clock, "date: 2024-03-01", "time: 00:30:15.25", "timetz: 00:30:15.25+01", "text: 2024-02-29 23:30:15.25+00"),
		in("time.Time with `type=timestamptz`", moments{1, at}, "timestamptz: "+zoned, "timestamp: 2024-02-29 23:30:15.25", "date: 2024-02-29"),
		in("time.Time with `type=timestamp(3)`", clocks{1, at}, "timestamp(3) without time zone: "+clock, "time: 00:30:15.25", "text: "+clock),
		in("time.Time with `type=date`", days{1, at}, "date: 2024-03-01", "timestamp: 2024-03-01", "text: 2024-03-01"),
		of("time.Duration", 90*time.Second, "interval: "+span, "time: "+span, "bigint: 90000000000", "text: "+span),
		of("json.RawMessage", json.RawMessage(`[1]`), "jsonb: [1]", "json: [1]", "text: [1]"),
		in("any with the option `json`", documents{1, map[string]int{"a": 1}}, `jsonb: {"a":1}`, `json: {"a":1}`),
		of("[16]byte, uuid.UUID", u, "uuid: "+u.String(), "text: "+u.String()),
		of("net.HardwareAddr", net.HardwareAddr{8, 0, 0x2b, 1, 2, 3}, "macaddr: 08:00:2b:01:02:03", "macaddr8: 08:00:2b:ff:fe:01:02:03"),
		of("netip.Addr, net.IP", netip.MustParseAddr("10.1.2.3"), "inet: 10.1.2.3", "text: 10.1.2.3"),
		of("netip.Prefix, net.IPNet", *network, "cidr: 10.1.0.0/16", "inet: 10.1.0.0/16"),
		of("[]string", []*string{&a, nil}, "text[]: {a,NULL}", "varchar(5)[]: {a,NULL}", "text: {a,NULL}"),
		of("[]int64 and other slices", []int64{1, -2}, "bigint[]: {1,-2}", "integer[]: {1,-2}", "numeric[]: {1,-2}"),
		of("slices of slices", [][]float64{{1.5, 2}, {3, 4}}, "double precision[]: {{1.5,2},{3,4}}", "real[]: {{1.5,2},{3,4}}"),
		of("[]time.Time", []time.Time{at}, `timestamptz[]: {"`+zoned+`"}`, "date[]: {2024-03-01}"),
		of("[]uuid.UUID", []uuid.UUID{u}, "uuid[]: {"+u.String()+"}"),
		of("pgtype.Array", pgtype.Array[int32]{Elements: []int32{1, 2}, Dims: []pgtype.ArrayDimension{{Length: 2, LowerBound: 0}}, Valid: true}, "integer[]: [0:1]={1,2}"),
		of("pgtype.FlatArray", pgtype.FlatArray[bool]{true, false}, "boolean[]: {t,f}"),
		of("pgtype.Range", pgtype.Range[pgtype.Int4]{
			Lower: pgtype.Int4{Int32: 1, Valid: true}, Upper: pgtype.Int4{Int32: 5, Valid: true}, LowerType: pgtype.Inclusive, UpperType: pgtype.Exclusive, Valid: true,
		}, "int4range: [1,5)", "numrange: [1,5)"),
		of("pgtype.Range[time.Time]", pgtype.Range[time.Time]{Lower: at, LowerType: pgtype.Inclusive, UpperType: pgtype.Unbounded, Valid: true},
			`tstzrange: ["`+zoned+`",)`, "daterange: [2024-03-01,)"),
		of("pgtype.Int2, Int4, Int8", pgtype.Int4{Int32: 7, Valid: true}, "integer: 7", "bigint: 7", "numeric: 7"),
		of("pgtype.Bool", pgtype.Bool{Bool: true, Valid: true}, "boolean: t"),
		of("pgtype.Float4, Float8", pgtype.Float8{Float64: 1.5, Valid: true}, "double precision: 1.5", "real: 1.5"),
		of("pgtype.Numeric, decimals", pgtype.Numeric{Int: big.NewInt(1250), Exp: -2, Valid: true}, "numeric: 12.50", "money: 12.5"),
		of("*big.Int", big.NewInt(42), "numeric: 42", "bigint: 42"),
		of("pgtype.Date", pgtype.Date{Time: day, Valid: true}, "date: 2024-03-01", "timestamp: 2024-03-01"),
		of("pgtype.Timestamp", pgtype.Timestamp{Time: day, Valid: true}, "timestamp: 2024-03-01", "date: 2024-03-01"),
		of("pgtype.Timestamptz", pgtype.Timestamptz{Time: at, Valid: true}, "timestamptz: "+zoned),
		of("pgtype.Time", pgtype.Time{Microseconds: 45000e6, Valid: true}, "time: 12:30:00"),
		of("pgtype.Interval", pgtype.Interval{Months: 1, Days: 2, Microseconds: 3e6, Valid: true}, "interval: 1 mon 2 days 00:00:03"),
		of("pgtype.UUID", pgtype.UUID{Bytes: u, Valid: true}, "uuid: "+u.String()),
		of("pgtype.Point and geometry", pgtype.Point{P: pgtype.Vec2{X: 1, Y: 2}, Valid: true}, "point: (1,2)"),
	}
}

const typesDoc = "../../docs/types.md"

// The table in docs/types.md is what happens: CreateTable makes the column that
// it says, and the value arrives in columns of each type as the server's own
// literal, in the way that it says.
func TestTableOfTypes(t *testing.T) {
	server := pgtest.Open(t)
	lines := []string{"| Go type | CreateTable makes | in binary form | in text form |", "|---|---|---|---|"}
	for i, g := range goTypes() {
		name := fmt.Sprintf("t%d", i)
		lines = append(lines, tryGoType(t, server, name, g))
	}
	doc, err := os.ReadFile(typesDoc)
	if err != nil {
		t.Fatal(err)
	}
	const begin, end = "<!-- begin of the table -->\n", "<!-- end of the table -->\n"
	before, rest, ok := bytes.Cut(doc, []byte(begin))
	_, after, ok2 := bytes.Cut(rest, []byte(end))
	if !ok || !ok2 {
		t.Fatalf("%s has no place for the table", typesDoc)
	}
	want := string(before) + begin + strings.Join(lines, "\n") + "\n" + end + string(after)
	if *update {
		if err := os.WriteFile(typesDoc, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if string(doc) != want {
		t.Errorf("%s is not up to date: go test ./internal/pgdest -run TestTableOfTypes -update", typesDoc)
	}
}

func tryGoType(t *testing.T, server *pgtest.DB, name string, g goType) string {
	t.Helper()
	columns := []dest.Column{col("id", tuple.Int8), {Column: g.column.Column, SQL: g.column.SQL}}
	check(t, open(t, server.URL, &dest.Table{Name: name, Keys: 1, Columns: columns, Create: true}))
	values := row{int64(1), g.value}
	var typs, literals, same []string
	for i, c := range g.columns {
		typ, literal, _ := strings.Cut(c, ": ")
		typs = append(typs, typ)
		if i > 0 {
			columns = append(columns, dest.Column{Column: tuple.Column{Name: fmt.Sprintf("v%d", i), Type: g.column.Type, Nullable: g.column.Nullable}})
			server.Exec(t, "ALTER TABLE "+name+" ADD "+columns[i+1].Name+" "+typ)
			values = append(values, g.value)
		}
		literals = append(literals, pgLiteral(literal)+"::"+typ)
		same = append(same, fmt.Sprintf("(%s::text IS NOT DISTINCT FROM (%s)::text)", columns[i+1].Name, literals[i]))
	}
	// One batch in the plan's own form; the table's columns decide which.
	table := &dest.Table{Name: name, Keys: 1, Columns: columns}
	b := batch(values)
	tuple.Mark(b.Data, tupleColumns(table))
	sink := open(t, server.URL+otherSettings, table)
	if _, err := sink.Write(context.Background(), b); err != nil {
		t.Errorf("%s: %v", g.name, err)
		return ""
	}
	made := server.Rows(t, "SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = '"+name+"'::regclass AND attname = 'v'")
	want := server.Rows(t, "SELECT format_type("+regtype(typs[0])+")")
	if made[0] != want[0] {
		t.Errorf("%s: CreateTable makes %s, want %s", g.name, made[0], want[0])
	}
	got := strings.Split(server.Rows(t, "SELECT "+strings.Join(same, ", ")+" FROM "+name)[0], "|")
	ways := map[bool][]string{}
	plan := sink.plan.Load()
	for i, typ := range typs {
		if got[i] != "t" {
			t.Errorf("%s to %s: %q, want %s", g.name, typ, server.Rows(t, "SELECT "+columns[i+1].Name+"::text FROM "+name), literals[i])
		}
		only := plan.columns[i+1].TextOnly
		ways[only] = append(ways[only], typ)
	}
	return fmt.Sprintf("| %s | %s | %s | %s |", g.name, made[0], strings.Join(ways[false], ", "), strings.Join(ways[true], ", "))
}

// regtype is a type as the arguments of format_type.
func regtype(typ string) string {
	name, mod, ok := strings.Cut(typ, "(")
	mods := map[string]string{"20,0)": "1310724", "10,2)": "655366", "3) without time zone": "3"}
	if !ok {
		return "'" + name + "'::regtype, NULL"
	}
	return "'" + name + "'::regtype, " + mods[mod]
}
