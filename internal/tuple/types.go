package tuple

import (
	"database/sql"
	"database/sql/driver"
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"time"
	"unsafe"
)

// form is how values of a Go type are found in memory and become fields.
type form struct {
	typ  Type
	op   op
	path []step       // from the struct field to the value
	leaf reflect.Type // type of the value at the end of the path
	oid  uint32       // opPG: of the PostgreSQL type whose text it is
	sql  string       // the type of a column that is made for it; empty: that of typ
}

// op names what is at the end of a path, and so how to encode and decode it.
type op uint8

const (
	opBool op = iota
	opInt8
	opUint8
	opInt16
	opUint16
	opInt32
	opUint32
	opInt64
	opUint64
	opInt
	opUint
	opFloat32
	opFloat64
	opString
	opBytes
	opTime
	opInstant // of a Local without its offset
	opRawJSON
	opUUID
	opDigits64 // unsigned, as text
	opDigits
	// From here on encoding runs code that is not ours.
	opJSON
	opValuer
	opText
	opPG
)

func (o op) foreign() bool { return o >= opJSON }

// step leads towards the value, or finds that it is NULL.
type step struct {
	kind stepKind
	off  uintptr // stepValid: of the Valid field
}

type stepKind uint8

const (
	stepPointer stepKind = iota // follow the pointer, nil is NULL
	stepValid                   // of a sql.Null: false is NULL; the value is at offset 0
	stepSlice                   // stay; a nil slice is NULL
)

var (
	timeType    = reflect.TypeFor[time.Time]()
	spanType    = reflect.TypeFor[time.Duration]()
	rawJSONType = reflect.TypeFor[json.RawMessage]()
	nullPkgPath = reflect.TypeFor[sql.NullBool]().PkgPath()

	valuerType          = reflect.TypeFor[driver.Valuer]()
	scannerType         = reflect.TypeFor[sql.Scanner]()
	textMarshalerType   = reflect.TypeFor[encoding.TextMarshaler]()
	textUnmarshalerType = reflect.TypeFor[encoding.TextUnmarshaler]()
)

// kinds are the forms of the types that need no more than their kind.
var kinds = map[reflect.Kind]form{
	reflect.Bool:    {typ: Bool, op: opBool},
	reflect.Int8:    {typ: Int2, op: opInt8},
	reflect.Uint8:   {typ: Int2, op: opUint8},
	reflect.Int16:   {typ: Int2, op: opInt16},
	reflect.Uint16:  {typ: Int4, op: opUint16},
	reflect.Int32:   {typ: Int4, op: opInt32},
	reflect.Uint32:  {typ: Int8, op: opUint32},
	reflect.Int64:   {typ: Int8, op: opInt64},
	reflect.Uint64:  {typ: Int8, op: opUint64},
	reflect.Int:     {typ: Int8, op: opInt},
	reflect.Uint:    {typ: Int8, op: opUint},
	reflect.Float32: {typ: Float4, op: opFloat32},
	reflect.Float64: {typ: Float8, op: opFloat64},
	reflect.String:  {typ: Text, op: opString},
}

// formOf decides how a struct field of type t is stored. Its cases stand in
// the order that the comment of Codec gives.
func formOf(t reflect.Type, tag *tag) (form, error) {
	if t.Kind() == reflect.Pointer {
		if isOptional(t.Elem()) {
			return form{}, fmt.Errorf("%v: a pointer to an Optional has two ways to be left out; make it an Optional of a pointer", t)
		}
		if t.Elem().Kind() == reflect.Pointer && !tag.json {
			return form{}, fmt.Errorf("%v is a pointer to a pointer", t)
		}
		return via(step{kind: stepPointer}, t.Elem(), tag)
	}
	switch {
	case isOptional(t):
		return via(step{kind: stepValid, off: t.Field(1).Offset}, t.Field(0).Type, tag)
	case t == rawJSONType:
		return form{typ: JSON, op: opRawJSON, leaf: t, path: []step{{kind: stepSlice}}}, nil
	case tag.json:
		return jsonForm(t)
	case t == timeType:
		return form{typ: tag.timeType(), op: opTime, leaf: t}, nil
	case t == spanType && tag.base != "int8":
		return form{typ: Duration, op: opInt64, leaf: t}, nil
	case isSQLNull(t):
		return via(step{kind: stepValid, off: t.Field(1).Offset}, t.Field(0).Type, tag)
	case t.Kind() == reflect.Array && t.Len() == 16 && t.Elem().Kind() == reflect.Uint8:
		return form{typ: UUID, op: opUUID, leaf: t}, nil
	}
	if f, ok, err := methodForm(t); ok || err != nil {
		return f, err
	}
	if f, ok, err := pgForm(t); ok || err != nil {
		return f, err
	}
	if f, ok := kinds[t.Kind()]; ok {
		f.leaf = t
		if op, ok := digits[f.op]; ok && tag.base == "numeric" {
			f.typ, f.op = Text, op
		}
		return f, nil
	}
	if t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Uint8 {
		return form{typ: Bytea, op: opBytes, leaf: t, path: []step{{kind: stepSlice}}}, nil
	}
	return form{}, fmt.Errorf("%v is not a column type; add the json option, or give the type the methods of driver.Valuer and sql.Scanner", t)
}

// digits are the operations of integers whose values a bigint may not hold,
// and those that make texts of them.
var digits = map[op]op{opUint64: opDigits64, opUint: opDigits}

// via is the form of a value behind the step s.
func via(s step, t reflect.Type, tag *tag) (form, error) {
	if t.Kind() == reflect.Pointer && tag.json {
		// The rest of the pointers are for encoding/json to follow.
		return form{typ: JSON, op: opJSON, leaf: t, path: []step{s}}, nil
	}
	f, err := formOf(t, tag)
	f.path = append([]step{s}, f.path...)
	return f, err
}

func jsonForm(t reflect.Type) (form, error) {
	switch k := t.Kind(); {
	case k == reflect.Chan, k == reflect.Func, k == reflect.Complex64, k == reflect.Complex128:
		return form{}, fmt.Errorf("%v cannot be JSON", t)
	case k == reflect.Interface && t.NumMethod() > 0:
		return form{}, fmt.Errorf("JSON cannot be decoded into the interface %v", t)
	}
	return form{typ: JSON, op: opJSON, leaf: t}, nil
}

// isSQLNull tells sql.NullX and sql.Null[T]: a value, then Valid.
func isSQLNull(t reflect.Type) bool {
	return t.PkgPath() == nullPkgPath && t.Kind() == reflect.Struct && t.NumField() == 2 && t.Field(1).Name == "Valid"
}

// methodForm is the form of types that bring their own text. Methods are
// always called through a pointer, which has those of the value as well.
func methodForm(t reflect.Type) (f form, ok bool, err error) {
	if t.Kind() == reflect.Interface {
		return form{}, false, nil
	}
	p := reflect.PointerTo(t)
	switch {
	case p.Implements(valuerType) && !p.Implements(scannerType):
		return form{}, false, fmt.Errorf("%v has a Value method (driver.Valuer), but %v no Scan (sql.Scanner) to decode it", t, p)
	case p.Implements(valuerType):
		return form{typ: Text, op: opValuer, leaf: t, sql: knownSQL(t)}, true, nil
	case p.Implements(textMarshalerType) && !p.Implements(textUnmarshalerType):
		return form{}, false, fmt.Errorf("%v has MarshalText, but %v no UnmarshalText to decode it", t, p)
	case p.Implements(textMarshalerType):
		return form{typ: Text, op: opText, leaf: t, sql: knownSQL(t)}, true, nil
	}
	return form{}, false, nil
}

// isZero tells whether p holds the zero value. For foreign types that is
// reflect's to say, see appendForeign.
func (f *field) isZero(p unsafe.Pointer) bool {
	switch {
	case f.op == opString:
		return *(*string)(p) == ""
	case f.op == opTime, f.op == opInstant:
		return (*time.Time)(p).IsZero()
	case f.op.foreign():
		return false
	}
	for _, b := range unsafe.Slice((*byte)(p), f.leaf.Size()) {
		if b != 0 {
			return false
		}
	}
	return true
}
