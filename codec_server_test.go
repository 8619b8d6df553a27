package memdbwriter

import (
	"context"
	"database/sql"
	"encoding/json"
	"math"
	"net/netip"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/memdbwriter/memdbwriter/internal/pgtest"
)

// everyType has a column of each kind of Go type that can be one.
type everyType struct {
	ID       int64           `db:"id,key"`
	Bool     bool            `db:"bool"`
	Int8     int8            `db:"int8"`
	Int16    int16           `db:"int16"`
	Int32    int32           `db:"int32"`
	Int      int             `db:"int"`
	Uint32   uint32          `db:"uint32"`
	Uint64   uint64          `db:"uint64"`
	Float32  float32         `db:"float32"`
	Float64  float64         `db:"float64"`
	Text     string          `db:"text"`
	Bytes    []byte          `db:"bytes"`
	Time     time.Time       `db:"time"`
	JSON     json.RawMessage `db:"json"`
	Any      map[string]any  `db:"any,json"`
	UUID     uuid.UUID       `db:"uuid"`
	Addr     netip.Addr      `db:"addr"`
	Null     sql.NullInt64   `db:"null"`
	NullOf   sql.Null[bool]  `db:"null_of"`
	Pointer  *string         `db:"pointer"`
	NullZero int64           `db:"null_zero,nullzero"`
}

// What the server gives back is what was put in, also at the edges of types,
// and also where the server's column has another type of the same meaning.
func TestValuesComeBackFromTheServer(t *testing.T) {
	text := "ünï\u00a0'\"\\\n\t\U0001F600"
	rows := []everyType{
		{ID: 1},
		{
			ID: 2, Bool: true, Int8: math.MinInt8, Int16: math.MinInt16, Int32: math.MinInt32, Int: math.MinInt, Uint32: math.MaxUint32,
			Uint64: math.MaxInt64, Float32: math.MaxFloat32, Float64: math.SmallestNonzeroFloat64, Text: text, Bytes: []byte{0, 255, 1},
			Time: time.Date(290000, 12, 31, 23, 59, 59, 999999000, time.UTC), JSON: json.RawMessage(`{"a": [1, null, "\u00e4"]}`),
			Any: map[string]any{"x": "y"}, UUID: uuid.MustParse("00112233-4455-6677-8899-aabbccddeeff"), Addr: netip.MustParseAddr("2001:db8::1"),
			Null: sql.NullInt64{Int64: -7, Valid: true}, NullOf: sql.Null[bool]{V: true, Valid: true}, Pointer: &text, NullZero: 5,
		},
		{
			ID: 3, Float32: float32(math.Inf(-1)), Float64: math.NaN(), Bytes: []byte{}, Int8: math.MaxInt8, Int16: math.MaxInt16, Int32: math.MaxInt32, Int: math.MaxInt,
			Time: time.Date(-4712, 1, 1, 0, 0, 0, 0, time.UTC), JSON: json.RawMessage(`null`), Addr: netip.MustParseAddr("10.1.2.3"),
		},
	}
	for i := range rows {
		if !rows[i].Addr.IsValid() {
			rows[i].Addr = netip.MustParseAddr("::")
		}
	}
	for name, ddl := range map[string]string{
		"own types": "", // the writer creates the table
		"others": `CREATE TABLE every_type (id numeric PRIMARY KEY, bool text, int8 integer, int16 numeric, int32 bigint, int numeric(30, 2),
			uint32 numeric, uint64 varchar(30), float32 double precision, float64 text, text varchar(100), bytes bytea, time timestamp,
			json json, "any" text, uuid text, addr inet, "null" smallint, null_of integer, pointer text, null_zero numeric)`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := pgtest.Open(t)
			d, err := OpenDestination(context.Background(), db.URL)
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			if ddl != "" {
				db.Exec(t, ddl)
			}
			table, err := TableOf[everyType]("every_type", CreateTable())
			if err != nil {
				t.Fatal(err)
			}
			w, err := New(context.Background(), table, d, Config{})
			if err != nil {
				t.Fatal(err)
			}
			mustAdd[everyType](t, w, rows...)
			mustStop[everyType](t, w)
			checkEveryType(t, db, rows)
		})
	}
}

// checkEveryType compares by the server's own casts to the Go field's type.
func checkEveryType(t *testing.T, db *pgtest.DB, rows []everyType) {
	t.Helper()
	conn, err := pgx.Connect(context.Background(), db.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	for _, want := range rows {
		var got everyType
		var jsonText, anyText, uuidText, addrText *string
		var micros int64
		var valid, isTrue bool
		err := conn.QueryRow(context.Background(), `SELECT id::bigint, bool::text::bool, int8::int2, int16::int2, int32::int4, int::int8, uint32::int8, uint64::text::numeric::int8,
			float32::float4, float64::text::float8, text, bytes, (extract(epoch from time) * 1000000)::numeric::int8, json::text, "any"::text, uuid::text, host(addr::text::inet),
			"null"::int8, null_of IS NOT NULL, coalesce(null_of::int::bool, false), pointer, coalesce(null_zero::int8, -1) FROM every_type WHERE id = $1`, want.ID).
			Scan(&got.ID, &got.Bool, &got.Int8, &got.Int16, &got.Int32, &got.Int, &got.Uint32, &got.Uint64, &got.Float32, &got.Float64, &got.Text, &got.Bytes,
				&micros, &jsonText, &anyText, &uuidText, &addrText, &got.Null, &valid, &isTrue, &got.Pointer, &got.NullZero)
		if err != nil {
			t.Fatal(err)
		}
		same := got.ID == want.ID && got.Bool == want.Bool && got.Int8 == want.Int8 && got.Int16 == want.Int16 && got.Int32 == want.Int32 && got.Int == want.Int &&
			got.Uint32 == want.Uint32 && got.Uint64 == want.Uint64 && got.Float32 == want.Float32 && got.Text == want.Text &&
			(got.Float64 == want.Float64 || math.IsNaN(got.Float64) && math.IsNaN(want.Float64)) &&
			string(got.Bytes) == string(want.Bytes) && (got.Bytes == nil) == (want.Bytes == nil) && micros == want.Time.UnixMicro() &&
			sameJSON(jsonText, want.JSON) && *uuidText == want.UUID.String() && *addrText == want.Addr.String() &&
			got.Null == want.Null && valid == want.NullOf.Valid && isTrue == want.NullOf.V &&
			(got.Pointer == nil) == (want.Pointer == nil) && (got.Pointer == nil || *got.Pointer == *want.Pointer)
		if wantZero := want.NullZero; wantZero == 0 && got.NullZero != -1 || wantZero != 0 && got.NullZero != wantZero {
			same = false
		}
		if !same {
			t.Errorf("row %d came back as %+v (time %d, json %v, uuid %v, addr %v)", want.ID, got, micros, jsonText, uuidText, addrText)
		}
	}
}

func sameJSON(got *string, want json.RawMessage) bool {
	if got == nil || want == nil {
		return got == nil && want == nil
	}
	var a, b any
	return json.Unmarshal([]byte(*got), &a) == nil && json.Unmarshal(want, &b) == nil && jsonText(a) == jsonText(b)
}

func jsonText(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(b)
}
