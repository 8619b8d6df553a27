package tuple

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"time"
	"unsafe"
)

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrMalformed}, args...)...)
}

func (p *plan) decode(t []byte, row unsafe.Pointer) error {
	if err := Check(t, len(p.fields)); err != nil {
		return err
	}
	rest := Fields(t)
	marked := false
	for i := range p.fields {
		f := &p.fields[i]
		var value []byte
		var null bool
		left := Absent(rest)
		value, null, rest = Next(rest)
		if left && !f.Key {
			f.leaveOut(row)
			continue
		}
		marked = marked || f.Type == Local && len(value) == localSize
		if err := f.decode(row, value, null); err != nil {
			return fmt.Errorf("column %q (field %s): %w", f.Name, f.goName, err)
		}
	}
	if marked != (t[0]&localBit != 0) {
		return malformed("the mark for offsets is wrong")
	}
	return nil
}

// leaveOut makes a field what it is when a row leaves it out: its zero value. That
// is so for any field, since an earlier version of the row type may not have had
// it.
func (f *field) leaveOut(row unsafe.Pointer) {
	reflect.NewAt(f.goType, unsafe.Add(row, f.off)).Elem().SetZero()
}

// decode sets the field of the struct at row, whatever was in it.
func (f *field) decode(row unsafe.Pointer, value []byte, null bool) error {
	v := reflect.NewAt(f.goType, unsafe.Add(row, f.off))
	v.Elem().SetZero()
	switch {
	case null && !f.Nullable && !f.omitNil: // with omitnil, an earlier version of the row type may have had it
		return malformed("NULL")
	case null && f.optional:
		*(*bool)(unsafe.Add(row, f.off+f.setOff)) = true
		if f.op != opValuer || len(f.path) > 1 {
			return nil
		}
		return f.scan(v.Elem().Field(0).Addr(), nil)
	case null && f.op == opValuer && len(f.path) == 0 && !f.nullzero:
		return f.scan(v, nil)
	case null:
		return nil
	}
	p := f.make(v.UnsafePointer())
	if f.op.foreign() {
		return f.decodeForeign(p, value)
	}
	return f.decodeOwn(p, value)
}

// make is locate for a value that is there: it puts in the pointers and marks
// that lead to it.
func (f *field) make(p unsafe.Pointer) unsafe.Pointer {
	t := f.goType
	for _, s := range f.path {
		switch s.kind {
		case stepPointer:
			t = t.Elem()
			target := reflect.New(t).UnsafePointer()
			*(*unsafe.Pointer)(p) = target
			p = target
		case stepValid:
			*(*bool)(unsafe.Add(p, s.off)) = true
			t = t.Field(0).Type
		case stepSlice:
		}
	}
	return p
}

func (f *field) decodeOwn(p unsafe.Pointer, value []byte) error {
	if size := fixedSize[f.Type]; size != 0 && len(value) != size {
		return malformed("%d bytes of %v, want %d", len(value), f.Type, size)
	}
	switch f.op {
	case opBool:
		if value[0] > 1 {
			return malformed("0x%02x for a boolean", value[0])
		}
		*(*bool)(p) = value[0] == 1
	case opFloat32:
		*(*float32)(p) = math.Float32frombits(binary.BigEndian.Uint32(value))
	case opFloat64:
		*(*float64)(p) = math.Float64frombits(binary.BigEndian.Uint64(value))
	case opString:
		if fault := textFault(viewString(value)); fault != "" {
			return malformed("%s", fault)
		}
		*(*string)(p) = string(value)
	case opBytes:
		*(*[]byte)(p) = append([]byte{}, value...)
	case opTime, opInstant:
		t, err := timeValue(f.Type, value)
		if err != nil {
			return err
		}
		*(*time.Time)(p) = t
	case opDigits64, opDigits:
		n, err := strconv.ParseUint(viewString(value), 10, int(f.leaf.Size())*8)
		if err != nil {
			return malformed("%s is no %v", show(viewString(value), maxShown), f.leaf)
		}
		reflect.NewAt(f.leaf, p).Elem().SetUint(n)
	case opRawJSON:
		text, err := jsonText(value)
		if err != nil {
			return err
		}
		*(*json.RawMessage)(p) = append([]byte{}, text...)
	case opUUID:
		copy((*[16]byte)(p)[:], value)
	default:
		return f.decodeInt(p, integer(value))
	}
	return nil
}

func (f *field) decodeInt(p unsafe.Pointer, n int64) error {
	v := reflect.NewAt(f.leaf, p).Elem()
	switch {
	case v.CanInt() && !v.OverflowInt(n):
		v.SetInt(n)
	case v.CanUint() && n >= 0 && !v.OverflowUint(uint64(n)):
		v.SetUint(uint64(n))
	default:
		return malformed("%d does not fit the field's %v", n, f.leaf)
	}
	return nil
}

// integer reads a field of a type that counts, of the right length.
func integer(value []byte) int64 {
	switch len(value) {
	case 2:
		return int64(int16(binary.BigEndian.Uint16(value)))
	case 4:
		return int64(int32(binary.BigEndian.Uint32(value)))
	default:
		return int64(binary.BigEndian.Uint64(value))
	}
}

// jsonText takes the text out of a JSON field, as a part of it.
func jsonText(value []byte) ([]byte, error) {
	if len(value) == 0 || value[0] != jsonVersion {
		return nil, malformed("jsonb without its version byte")
	}
	if fault := jsonFault(value[1:]); fault != "" {
		return nil, malformed("%s", fault)
	}
	return value[1:], nil
}

func unmarshal(text []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	return d.Decode(v)
}
