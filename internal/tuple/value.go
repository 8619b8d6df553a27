package tuple

import (
	"database/sql/driver"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"time"
)

// fixedSize is how long the values of a type are; 0: of any length.
var fixedSize = [...]int{
	Bool: 1, Int2: 2, Int4: 4, Int8: 8, Float4: 4, Float8: 8,
	Text: 0, Bytea: 0, Timestamptz: 8, JSON: 0, UUID: 16,
	Date: 4, Timestamp: 8, Local: 0, Duration: 8,
}

// Value returns the SQLite value of a field of type t, nil for a nil field,
// which is NULL:
//
//	boolean            int64, 0 or 1
//	integers           int64
//	real, double       float64; the text NaN, since SQLite takes a NaN for NULL
//	text, jsonb        string
//	bytea              []byte
//	times, dates       string, see AppendTimeText
//	duration           int64, nanoseconds
//	uuid               string, with hyphens
//
// The result shares no memory with field. Texts are taken as they are; a field
// of the wrong length is an error that wraps ErrMalformed.
func Value(t Type, field []byte) (driver.Value, error) {
	if field == nil {
		return nil, nil
	}
	if int(t) >= len(fixedSize) || t == 0 {
		return nil, malformed("a field of the unknown type %v", t)
	}
	if size := fixedSize[t]; size != 0 && len(field) != size {
		return nil, malformed("%d bytes of %v, want %d", len(field), t, size)
	}
	switch t {
	case Bool:
		if field[0] > 1 {
			return nil, malformed("0x%02x for a boolean", field[0])
		}
		return int64(field[0]), nil
	case Int2, Int4, Int8, Duration:
		return integer(field), nil
	case Float4:
		return floatValue(float64(math.Float32frombits(binary.BigEndian.Uint32(field)))), nil
	case Float8:
		return floatValue(math.Float64frombits(binary.BigEndian.Uint64(field))), nil
	case Text:
		return string(field), nil
	case Bytea:
		return append([]byte{}, field...), nil
	case Timestamptz, Local, Timestamp, Date:
		var text [48]byte
		out, err := AppendTimeText(text[:0], t, field)
		if err != nil {
			return nil, err
		}
		return string(out), nil
	case JSON:
		if len(field) == 0 || field[0] != jsonVersion {
			return nil, malformed("jsonb without its version byte")
		}
		return string(field[1:]), nil
	default: // UUID
		return formatUUID(field), nil
	}
}

func floatValue(v float64) driver.Value {
	if math.IsNaN(v) {
		return "NaN"
	}
	return v
}

// AppendValue appends the field of type t, its length included, whose SQLite
// value is v. It is the inverse of Value and takes nothing else, except what
// a SQLite driver may make of such a value: bool for a boolean, time.Time for
// the types of times, int64 for a float without fraction. dst keeps its length
// on an error. A tuple made of such fields is not whole before Mark.
func AppendValue(dst []byte, t Type, v driver.Value) ([]byte, error) {
	out, fault := appendValue(dst, t, v)
	if fault != nil {
		return dst, fmt.Errorf("%v value %s: %s", t, fault.Value, fault.Reason)
	}
	return out, nil
}

func appendValue(dst []byte, t Type, v driver.Value) ([]byte, *FieldError) {
	switch v := v.(type) {
	case nil:
		return appendNull(dst), nil
	case bool:
		if t == Bool {
			return appendBool(dst, v), nil
		}
	case int64:
		return appendIntValue(dst, t, v)
	case float64:
		return appendFloatValue(dst, t, v)
	case string:
		return appendStringValue(dst, t, v)
	case []byte:
		if t == Bytea {
			return appendBytea(dst, v)
		}
	case time.Time:
		if t.isTime() {
			return appendTime(dst, t, v)
		}
	}
	return wrongValue(dst, v)
}

func wrongValue(dst []byte, v driver.Value) ([]byte, *FieldError) {
	return dst, &FieldError{Value: fmt.Sprintf("of type %T", v), Reason: "cannot be in such a column"}
}

func appendIntValue(dst []byte, t Type, v int64) ([]byte, *FieldError) {
	ok := true
	switch t {
	case Bool:
		ok = v == 0 || v == 1
		dst = appendBool(dst, v == 1)
	case Int2:
		ok = v == int64(int16(v))
		dst = appendInt2(dst, int16(v))
	case Int4:
		ok = v == int64(int32(v))
		dst = appendInt4(dst, int32(v))
	case Int8, Duration:
		dst = appendInt8(dst, v)
	case Float4, Float8:
		if x := float64(v); x < 1<<63 && int64(x) == v {
			return appendFloatValue(dst, t, x)
		}
		ok = false
	default:
		return wrongValue(dst, v)
	}
	if !ok {
		return dst, &FieldError{Value: fmt.Sprint(v), Reason: "out of range"}
	}
	return dst, nil
}

func appendFloatValue(dst []byte, t Type, v float64) ([]byte, *FieldError) {
	switch t {
	case Float4:
		if x := float32(v); float64(x) == v || v != v {
			return appendFloat4(dst, x, false), nil
		}
		return dst, &FieldError{Value: fmt.Sprint(v), Reason: "more digits or a larger exponent than a real has"}
	case Float8:
		return appendFloat8(dst, v, false), nil
	}
	return wrongValue(dst, v)
}

func appendStringValue(dst []byte, t Type, s string) ([]byte, *FieldError) {
	switch t {
	case Text:
		return appendText(dst, s)
	case JSON:
		return appendJSON(dst, []byte(s))
	case Timestamptz, Local, Timestamp, Date:
		if at, ok := ParseTimeText(t, s); ok {
			return appendTime(dst, t, at)
		}
		return dst, &FieldError{Value: show(s, maxShown), Reason: "want the form " + timeForms[t]}
	case UUID:
		if u, ok := parseUUID(s); ok {
			return append(appendLen(dst, 16), u[:]...), nil
		}
		return dst, &FieldError{Value: show(s, maxShown), Reason: "want the form 01234567-89ab-cdef-0123-456789abcdef"}
	case Float4, Float8:
		if s == "NaN" {
			return appendFloatValue(dst, t, math.NaN())
		}
	}
	return wrongValue(dst, s)
}

// timeForms are the texts that AppendTimeText makes.
var timeForms = map[Type]string{
	Timestamptz: "2006-01-02 15:04:05.000000+00:00", Local: "2006-01-02 15:04:05.000000+07:00",
	Timestamp: "2006-01-02 15:04:05.000000", Date: "2006-01-02",
}

func formatUUID(u []byte) string {
	var s [36]byte
	hex.Encode(s[:], u[:4])
	hex.Encode(s[9:], u[4:6])
	hex.Encode(s[14:], u[6:8])
	hex.Encode(s[19:], u[8:10])
	hex.Encode(s[24:], u[10:])
	s[8], s[13], s[18], s[23] = '-', '-', '-', '-'
	return string(s[:])
}

// parseUUID takes the hyphenated form in lower case.
func parseUUID(s string) (u [16]byte, ok bool) {
	if len(s) != 36 {
		return u, false
	}
	_, err := hex.Decode(u[:], []byte(s[:8]+s[9:13]+s[14:18]+s[19:23]+s[24:]))
	return u, err == nil && formatUUID(u[:]) == s
}
