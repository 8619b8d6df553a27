package tuple

import (
	"fmt"
	"net"
	"reflect"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgtype"
)

// This file has the Go types that pgtype has texts for: slices, arrays, ranges
// and addresses.

// maps are pools of what pgtype knows. A map is for one goroutine at a time.
var maps = sync.Pool{New: func() any { return newMap() }}

// newMap is pgtype's, but for the elements and bounds that are times: they keep
// what their clocks show, for arrays and ranges of days.
func newMap() *pgtype.Map {
	m := pgtype.NewMap()
	register := func(name string, oid uint32, codec pgtype.Codec) *pgtype.Type {
		t := &pgtype.Type{Name: name, OID: oid, Codec: codec}
		m.RegisterType(t)
		return t
	}
	at := register("timestamptz", pgtype.TimestamptzOID, localCodec{new(pgtype.TimestamptzCodec)})
	span := register("tstzrange", pgtype.TstzrangeOID, &pgtype.RangeCodec{ElementType: at})
	register("_timestamptz", pgtype.TimestamptzArrayOID, &pgtype.ArrayCodec{ElementType: at})
	register("_tstzrange", pgtype.TstzrangeArrayOID, &pgtype.ArrayCodec{ElementType: span})
	register("tstzmultirange", pgtype.TstzmultirangeOID, &pgtype.MultirangeCodec{ElementType: span})
	return m
}

type localCodec struct{ *pgtype.TimestamptzCodec }

// PlanEncode implements pgtype.Codec.
func (c localCodec) PlanEncode(m *pgtype.Map, oid uint32, format int16, value any) pgtype.EncodePlan {
	if _, ok := value.(time.Time); ok && format == pgtype.TextFormatCode {
		return localPlan{}
	}
	return c.TimestamptzCodec.PlanEncode(m, oid, format, value)
}

type localPlan struct{}

// Encode implements pgtype.EncodePlan.
func (localPlan) Encode(value any, buf []byte) ([]byte, error) {
	t := value.(time.Time)
	if y := t.Year(); y < 1 || y > 9999 {
		return nil, fmt.Errorf("a time in the year %d; 1 to 9999 can be written as text", y)
	}
	return t.Truncate(time.Microsecond).AppendFormat(buf, "2006-01-02 15:04:05.999999-07:00:00"), nil
}

var (
	pgtypePath = reflect.TypeFor[pgtype.Int4]().PkgPath()
	addresses  = map[reflect.Type]uint32{
		reflect.TypeFor[net.HardwareAddr](): pgtype.MacaddrOID,
		reflect.TypeFor[net.IPNet]():        pgtype.CIDROID,
	}
)

// pgForm is the form of the types that pgtype has texts for.
func pgForm(t reflect.Type) (f form, ok bool, err error) {
	m := maps.Get().(*pgtype.Map)
	defer maps.Put(m)
	oid, isAddress := addresses[t]
	if !isAddress {
		if oid, ok = compositeOID(m, t); !ok {
			return form{}, false, nil
		}
	}
	known, ok := m.TypeForOID(oid)
	if !ok || m.PlanEncode(oid, pgtype.TextFormatCode, reflect.New(t).Interface()) == nil {
		return form{}, false, fmt.Errorf("%v is not a column type: its elements have no text form that PostgreSQL reads; add the json option", t)
	}
	return form{typ: Text, op: opPG, leaf: t, oid: oid, sql: sqlName(known.Name)}, true, nil
}

// compositeOID is the type of an array or range, by its elements. Slices of
// slices are arrays of more dimensions, slices of bytes are none.
func compositeOID(m *pgtype.Map, t reflect.Type) (oid uint32, ok bool) {
	name := ""
	if t.PkgPath() == pgtypePath {
		name, _, _ = strings.Cut(t.Name(), "[")
	}
	prefix, elem := "_", t
	switch {
	case name == "Range":
		prefix, elem = "range", t.Field(0).Type
	case name == "Multirange":
		prefix, elem = "multirange", t.Elem().Field(0).Type
	case name == "Array":
		elem = t.Field(0).Type.Elem()
	case t.Kind() != reflect.Slice || t.Elem().Kind() == reflect.Uint8:
		return 0, false
	default:
		for elem.Kind() == reflect.Slice && elem.Elem().Kind() != reflect.Uint8 && !hasMethods(elem) {
			elem = elem.Elem()
		}
	}
	if elem.Kind() == reflect.Pointer {
		elem = elem.Elem()
	}
	of, ok := elementName(m, elem)
	if !ok {
		return 0, false
	}
	if prefix != "_" {
		of = ranges[of] + prefix
	} else {
		of = prefix + of
	}
	known, ok := m.TypeForName(of)
	if !ok {
		return 0, false
	}
	return known.OID, true
}

// ranges are what the names of ranges begin with, by the type of their bounds.
var ranges = map[string]string{
	"int2": "int4", "int4": "int4", "int8": "int8", "numeric": "num", "float4": "num", "float8": "num",
	"date": "date", "timestamp": "ts", "timestamptz": "tstz",
}

// elementName is PostgreSQL's name of the type of an element.
func elementName(m *pgtype.Map, t reflect.Type) (string, bool) {
	if oid, ok := addresses[t]; ok {
		known, _ := m.TypeForOID(oid)
		return known.Name, true
	}
	if known, ok := m.TypeForValue(reflect.Zero(t).Interface()); ok {
		return known.Name, true
	}
	f, err := formOf(t, new(tag))
	if err != nil {
		return "", false
	}
	name := map[Type]string{
		Bool: "bool", Int2: "int2", Int4: "int4", Int8: "int8", Float4: "float4", Float8: "float8",
		Text: "text", Bytea: "bytea", UUID: "uuid", JSON: "jsonb",
	}[f.typ]
	if f.sql != "" {
		name = f.sql
	}
	return name, name != ""
}

func hasMethods(t reflect.Type) bool {
	p := reflect.PointerTo(t)
	return p.Implements(valuerType) || p.Implements(textMarshalerType)
}

// appendPG appends the text of what v points to.
func appendPG(dst []byte, oid uint32, v any) (out []byte, null bool, err error) {
	m := maps.Get().(*pgtype.Map)
	defer maps.Put(m)
	out, err = m.Encode(oid, pgtype.TextFormatCode, reflect.ValueOf(v).Elem().Interface(), dst)
	return out, out == nil, err
}

// scanPG sets what v points to.
func scanPG(oid uint32, text []byte, v any) error {
	m := maps.Get().(*pgtype.Map)
	defer maps.Put(m)
	return m.Scan(oid, pgtype.TextFormatCode, text, v)
}

// sqlName is the name of a type that pgtype calls by its internal name.
func sqlName(name string) string {
	if elem, ok := strings.CutPrefix(name, "_"); ok {
		return sqlName(elem) + "[]"
	}
	if long, ok := longSQL[name]; ok {
		return long
	}
	return name
}

var longSQL = map[string]string{
	"bool": "boolean", "int2": "smallint", "int4": "integer", "int8": "bigint", "float4": "real", "float8": "double precision",
}

// knownSQL is the column type of a Go type that brings its own text; empty if
// nothing is known about it.
func knownSQL(t reflect.Type) string {
	m := maps.Get().(*pgtype.Map)
	defer maps.Put(m)
	if known, ok := m.TypeForValue(reflect.Zero(t).Interface()); ok {
		return sqlName(known.Name)
	}
	return widelyUsed[majorVersion.ReplaceAllString(t.PkgPath(), "")+"."+t.Name()]
}

var majorVersion = regexp.MustCompile(`[/.]v[0-9]+$`)

// widelyUsed are types of packages that this one does not import.
var widelyUsed = map[string]string{
	"math/big.Int":   "numeric",
	"math/big.Float": "numeric",

	"github.com/shopspring/decimal.Decimal":           "numeric",
	"github.com/shopspring/decimal.NullDecimal":       "numeric",
	"github.com/cockroachdb/apd.Decimal":              "numeric",
	"github.com/cockroachdb/apd.NullDecimal":          "numeric",
	"github.com/ericlagergren/decimal.Big":            "numeric",
	"github.com/govalues/decimal.Decimal":             "numeric",
	"github.com/govalues/decimal.NullDecimal":         "numeric",
	"github.com/quagmt/udecimal.Decimal":              "numeric",
	"github.com/quagmt/udecimal.NullDecimal":          "numeric",
	"github.com/jackc/pgx-shopspring-decimal.Decimal": "numeric",

	"github.com/google/uuid.NullUUID": "uuid",
	"github.com/gofrs/uuid.NullUUID":  "uuid",

	"github.com/lib/pq.StringArray":  "text[]",
	"github.com/lib/pq.Int32Array":   "integer[]",
	"github.com/lib/pq.Int64Array":   "bigint[]",
	"github.com/lib/pq.Float32Array": "real[]",
	"github.com/lib/pq.Float64Array": "double precision[]",
	"github.com/lib/pq.BoolArray":    "boolean[]",
	"github.com/lib/pq.ByteaArray":   "bytea[]",
	"gorm.io/datatypes.JSON":         "jsonb",
}
