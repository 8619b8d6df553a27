package tuple

import (
	"errors"
	"reflect"
	"unsafe"
)

// Optional is a value that a row may leave out, which is neither NULL nor a
// value. The zero value leaves it out. For one that may also be NULL, T is a
// pointer or a sql.Null.
type Optional[T any] struct {
	V   T
	Set bool // V is the value; else the row leaves it out
}

var optionalPkgPath = reflect.TypeFor[Optional[int]]().PkgPath()

// isOptional tells Optional[T], by its package and its fields.
func isOptional(t reflect.Type) bool {
	return t.PkgPath() == optionalPkgPath && t.Kind() == reflect.Struct && t.NumField() == 2 && t.Field(1).Name == "Set"
}

// setOptional compiles what a field is when it is left out.
func (f *field) setOptional(t reflect.Type, omitNil bool) error {
	if isOptional(t) {
		f.setOff, f.optional = t.Field(1).Offset, true
		f.innerNull = len(f.path) > 1 || f.op == opValuer || f.op == opPG
	}
	f.omitNil = omitNil
	f.Absent = f.optional || f.omitNil
	switch {
	case !f.Absent:
		return nil
	case f.Key:
		return errors.New("a key column cannot be left out: drop Optional and omitnil")
	case !f.Nullable:
		return errors.New("the option omitnil needs a field that can be NULL, as a pointer or with nullzero, or take the type Optional")
	}
	f.Nullable = !f.omitNil && f.innerNull
	return nil
}

// leavesOut tells whether the row whose field has no value leaves it out; else it
// is NULL.
func (f *field) leavesOut(row unsafe.Pointer) bool {
	return f.omitNil || f.optional && !*(*bool)(unsafe.Add(row, f.off+f.setOff))
}

// Leftover returns what an older row of a key still has to say once a newer one
// is stored: the fields that the newer one leaves out. Of the others those that
// rows can leave out are absent, and the rest is as in the newer one, so that it
// remains a row of its type.
func Leftover(older, newer []byte, cols []Column, optional []bool) []byte {
	left := AppendHeader(make([]byte, 0, len(older)+len(newer)), len(cols))
	x, y := Fields(older), Fields(newer)
	for i := range cols {
		from, behind := x, y
		_, _, x = Next(x)
		_, _, y = Next(y)
		switch {
		case Absent(behind):
			left = append(left, from[:len(from)-len(x)]...)
		case optional[i]:
			left = AppendAbsent(left)
		default:
			left = append(left, behind[:len(behind)-len(y)]...)
		}
	}
	Mark(left, cols)
	return left
}

// AppendAbsent appends a field that is absent. The tuple needs its mark, see Mark.
func AppendAbsent(dst []byte) []byte { return append(dst, 0xff, 0xff, 0xff, 0xfe) }
