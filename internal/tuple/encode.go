package tuple

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"time"
	"unsafe"
)

// AppendHeader begins a tuple of the given number of fields.
func AppendHeader(dst []byte, fields int) []byte {
	return binary.BigEndian.AppendUint16(dst, uint16(fields))
}

// append encodes the struct at row. shared is a copy of it on the heap, the
// one that foreign code gets to see; it is nil when no field needs it.
func (p *plan) append(dst []byte, row, shared unsafe.Pointer) ([]byte, error) {
	start := len(dst)
	dst = AppendHeader(dst, len(p.fields))
	for i := range p.fields {
		f := &p.fields[i]
		var fault *FieldError
		from := len(dst)
		if f.op.foreign() {
			dst, fault = f.appendForeign(dst, shared)
		} else {
			dst, fault = f.append(dst, row)
		}
		if f.Type == Local && len(dst)-from == 4+localSize {
			dst[start] |= localBit
		}
		if f.Absent && fault == nil && Absent(dst[from:]) {
			dst[start] |= absentBit
		}
		if fault == nil && len(dst)-start > MaxLen {
			fault = &FieldError{Reason: fmt.Sprintf("with it the row has %d bytes, %d are the limit", len(dst)-start, MaxLen)}
		}
		if fault != nil {
			fault.Column, fault.Field = f.Name, f.goName
			if i >= p.keys && p.keys > 0 {
				fault.Key = keyString(p.columns[:p.keys], dst[start+2:])
			}
			return dst[:start], fault
		}
	}
	return dst, nil
}

// append encodes one field whose type is ours to read. Nothing in here lets
// the row escape.
func (f *field) append(dst []byte, row unsafe.Pointer) ([]byte, *FieldError) {
	p := f.locate(row)
	if p == nil {
		return f.appendNull(dst, row)
	}
	switch f.op {
	case opBool:
		return appendBool(dst, *(*bool)(p)), nil
	case opInt8:
		return appendInt2(dst, int16(*(*int8)(p))), nil
	case opUint8:
		return appendInt2(dst, int16(*(*uint8)(p))), nil
	case opInt16:
		return appendInt2(dst, *(*int16)(p)), nil
	case opUint16:
		return appendInt4(dst, int32(*(*uint16)(p))), nil
	case opInt32:
		return appendInt4(dst, *(*int32)(p)), nil
	case opUint32:
		return appendInt8(dst, int64(*(*uint32)(p))), nil
	case opInt64:
		return appendInt8(dst, *(*int64)(p)), nil
	case opInt:
		return appendInt8(dst, int64(*(*int)(p))), nil
	case opUint64:
		return appendUint(dst, *(*uint64)(p))
	case opUint:
		return appendUint(dst, uint64(*(*uint)(p)))
	case opFloat32:
		return appendFloat4(dst, *(*float32)(p), f.Key), nil
	case opFloat64:
		return appendFloat8(dst, *(*float64)(p), f.Key), nil
	case opString:
		return appendText(dst, *(*string)(p))
	case opBytes:
		return appendBytea(dst, *(*[]byte)(p))
	case opTime:
		return appendTime(dst, f.Type, *(*time.Time)(p))
	case opInstant:
		return appendTime(dst, Timestamptz, *(*time.Time)(p))
	case opDigits64:
		return appendDigits(dst, *(*uint64)(p)), nil
	case opDigits:
		return appendDigits(dst, uint64(*(*uint)(p))), nil
	case opRawJSON:
		return appendJSON(dst, *(*json.RawMessage)(p))
	default: // opUUID
		return append(appendLen(dst, 16), (*[16]byte)(p)[:]...), nil
	}
}

func (f *field) appendNull(dst []byte, row unsafe.Pointer) ([]byte, *FieldError) {
	if f.Key {
		return dst, &FieldError{Value: "NULL", Reason: "a key column cannot be NULL"}
	}
	if f.Absent && f.leavesOut(row) {
		return AppendAbsent(dst), nil
	}
	return appendNull(dst), nil
}

func appendNull(dst []byte) []byte { return append(dst, 0xff, 0xff, 0xff, 0xff) }

func appendLen(dst []byte, n int) []byte { return binary.BigEndian.AppendUint32(dst, uint32(n)) }

func appendBool(dst []byte, v bool) []byte {
	var b byte
	if v {
		b = 1
	}
	return append(dst, 0, 0, 0, 1, b)
}

func appendInt2(dst []byte, v int16) []byte {
	return append(dst, 0, 0, 0, 2, byte(v>>8), byte(v))
}

func appendInt4(dst []byte, v int32) []byte {
	return binary.BigEndian.AppendUint64(dst, 4<<32|uint64(uint32(v)))
}

func appendInt8(dst []byte, v int64) []byte {
	return binary.BigEndian.AppendUint64(appendLen(dst, 8), uint64(v))
}

func appendUint(dst []byte, v uint64) ([]byte, *FieldError) {
	if v > math.MaxInt64 {
		return dst, &FieldError{
			Value:  strconv.FormatUint(v, 10),
			Reason: "above the range of bigint; give the tag the option type=numeric(20) and the column that type",
		}
	}
	return appendInt8(dst, int64(v)), nil
}

// appendDigits appends a text.
func appendDigits(dst []byte, v uint64) []byte {
	var digits [20]byte
	text := strconv.AppendUint(digits[:0], v, 10)
	return append(appendLen(dst, len(text)), text...)
}

// The database knows one NaN, and in a key -0 and 0 are the same: then they
// must be the same bytes too.
const (
	nan4 = 0x7fc00000
	nan8 = 0x7ff8000000000000
)

func appendFloat4(dst []byte, v float32, key bool) []byte {
	bits := math.Float32bits(v)
	switch {
	case v != v:
		bits = nan4
	case key && v == 0:
		bits = 0
	}
	return appendInt4(dst, int32(bits))
}

func appendFloat8(dst []byte, v float64, key bool) []byte {
	bits := math.Float64bits(v)
	switch {
	case v != v:
		bits = nan8
	case key && v == 0:
		bits = 0
	}
	return appendInt8(dst, int64(bits))
}

func appendText(dst []byte, s string) ([]byte, *FieldError) {
	if fault := textFault(s); fault != "" {
		return dst, &FieldError{Value: show(s, maxShown), Reason: fault}
	}
	return append(appendLen(dst, len(s)), s...), nil
}

func appendBytea(dst, b []byte) ([]byte, *FieldError) {
	if len(b) > MaxLen {
		return dst, &FieldError{Value: "of type []byte", Reason: tooLong(len(b))}
	}
	return append(appendLen(dst, len(b)), b...), nil
}

func appendJSON(dst, text []byte) ([]byte, *FieldError) {
	if fault := jsonFault(text); fault != "" {
		return dst, &FieldError{Value: show(viewString(text), maxShown), Reason: fault}
	}
	dst = append(appendLen(dst, 1+len(text)), jsonVersion)
	return append(dst, text...), nil
}
