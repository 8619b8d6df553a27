package tuple

import (
	"database/sql"
	"database/sql/driver"
	"encoding"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"time"
	"unsafe"
)

// appendForeign encodes a field by methods of its type. They may do anything
// with what they get, so it must be a copy on the heap.
func (f *field) appendForeign(dst []byte, shared unsafe.Pointer) ([]byte, *FieldError) {
	p := f.locate(shared)
	if p == nil {
		return f.appendNull(dst, shared)
	}
	v := reflect.NewAt(f.leaf, p)
	if f.nullzero && v.Elem().IsZero() {
		return f.appendNull(dst, shared)
	}
	start := len(dst)
	out, null, err := f.callEncoder(appendLen(dst, 0), v.Interface())
	if err != nil {
		return dst, &FieldError{Value: shorten(f.leaf.String(), maxShown), Reason: shorten(fmt.Sprint(err), maxReason), Err: err}
	}
	if null {
		return f.appendNull(dst, shared)
	}
	value := out[start+4:]
	var fault string
	if f.op == opJSON {
		fault = jsonbFault(value[1:])
	} else {
		fault = textFault(viewString(value))
	}
	if fault != "" {
		return dst, &FieldError{Value: show(viewString(value), maxShown), Reason: fault}
	}
	binary.BigEndian.PutUint32(out[start:], uint32(len(value)))
	return out, nil
}

// callEncoder appends the value that v points to, by its own method. A panic
// of that method is an error of the row.
func (f *field) callEncoder(dst []byte, v any) (out []byte, null bool, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("encoding a %v panicked: %v", f.leaf, r)
		}
	}()
	switch f.op {
	case opJSON:
		w := writer{append(dst, jsonVersion)}
		enc := json.NewEncoder(&w)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(v); err != nil {
			return nil, false, err
		}
		return w.b[:len(w.b)-1], false, nil // Encode ends in a newline
	case opValuer:
		value, err := v.(driver.Valuer).Value()
		if err != nil {
			return nil, false, err
		}
		out, err = appendDriverValue(dst, value)
		return out, value == nil, err
	case opPG:
		return appendPG(dst, f.oid, v)
	default: // opText
		text, err := v.(encoding.TextMarshaler).MarshalText()
		return append(dst, text...), false, err
	}
}

// writer appends what is written to it.
type writer struct{ b []byte }

func (w *writer) Write(b []byte) (int, error) {
	w.b = append(w.b, b...)
	return len(b), nil
}

// appendDriverValue appends the text that PostgreSQL reads as the value v.
func appendDriverValue(dst []byte, v driver.Value) ([]byte, error) {
	switch v := v.(type) {
	case nil:
		return dst, nil
	case int64:
		return strconv.AppendInt(dst, v, 10), nil
	case float64:
		if math.IsInf(v, 0) {
			return append(dst, map[bool]string{true: "Infinity", false: "-Infinity"}[v > 0]...), nil
		}
		return strconv.AppendFloat(dst, v, 'g', -1, 64), nil
	case bool:
		return append(dst, map[bool]byte{true: 't', false: 'f'}[v]), nil
	case string:
		return append(dst, v...), nil
	case []byte:
		return append(dst, v...), nil
	case time.Time:
		if y := v.Year(); y < 1 || y > 9999 {
			return dst, fmt.Errorf("the Value method returned a time in the year %d; 1 to 9999 can be written as text", y)
		}
		return v.AppendFormat(dst, time.RFC3339Nano), nil
	default:
		return dst, fmt.Errorf("the Value method returned a %T, which is not a driver.Value", v)
	}
}

// decodeForeign is the inverse of appendForeign. Its p points to a zero value.
func (f *field) decodeForeign(p unsafe.Pointer, value []byte) error {
	v := reflect.NewAt(f.leaf, p)
	switch f.op {
	case opJSON:
		text, err := jsonText(value)
		if err != nil {
			return err
		}
		return f.callDecoder(func() error { return unmarshal(text, v.Interface()) })
	case opValuer:
		if fault := textFault(viewString(value)); fault != "" {
			return malformed("%s", fault)
		}
		return f.scanText(v, string(value))
	case opPG:
		if fault := textFault(viewString(value)); fault != "" {
			return malformed("%s", fault)
		}
		return f.callDecoder(func() error { return scanPG(f.oid, append([]byte{}, value...), v.Interface()) })
	default: // opText
		if fault := textFault(viewString(value)); fault != "" {
			return malformed("%s", fault)
		}
		text := append([]byte{}, value...)
		return f.callDecoder(func() error { return v.Interface().(encoding.TextUnmarshaler).UnmarshalText(text) })
	}
}

// scanText gives the text to the Scan method as a string, and where that is
// refused as each of the other driver values that has this text.
func (f *field) scanText(v reflect.Value, text string) error {
	first := f.scan(v, text)
	if first == nil {
		return nil
	}
	others := []driver.Value{[]byte(text)}
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		others = append(others, n)
	}
	if x, err := strconv.ParseFloat(text, 64); err == nil {
		others = append(others, x)
	}
	if text == "t" || text == "f" {
		others = append(others, text == "t")
	}
	if t, err := time.Parse(time.RFC3339Nano, text); err == nil {
		others = append(others, t)
	}
	for _, value := range others {
		v.Elem().SetZero()
		if f.scan(v, value) == nil {
			return nil
		}
	}
	return first
}

func (f *field) scan(v reflect.Value, value driver.Value) error {
	return f.callDecoder(func() error { return v.Interface().(sql.Scanner).Scan(value) })
}

func (f *field) callDecoder(decode func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("decoding a %v panicked: %v", f.leaf, r)
		}
	}()
	return decode()
}
