package tuple

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
)

// Remap makes tuples of some columns tuples of others: those that an earlier
// version of a row type wrote those of the present one. Columns are the same if
// their names are. A column that is new is absent in such a row: a new row gets its
// default, a stored one keeps what it has.
type Remap struct {
	Added, Removed []string // names of columns; what was in removed ones is dropped

	from, to []Column
	source   []int // of each column of to: its place in from, or -1
}

// ErrRemap is wrapped by the errors of NewRemap and Append.
var ErrRemap = errors.New("the columns have changed in a way that rows cannot follow")

// NewRemap compares the columns. The first keys of to are the key, which every row
// must have.
func NewRemap(from, to []Column, keys int) (*Remap, error) {
	m := &Remap{from: from, to: to, source: make([]int, len(to))}
	for i, c := range to {
		at := slices.IndexFunc(from, func(f Column) bool { return f.Name == c.Name })
		m.source[i] = at
		switch {
		case at < 0 && i < keys:
			return nil, fmt.Errorf("%w: the key column %q is new", ErrRemap, c.Name)
		case at < 0:
			m.Added = append(m.Added, c.Name)
		case !widens(from[at].Type, c.Type):
			return nil, fmt.Errorf("%w: column %q was %v and is %v", ErrRemap, c.Name, from[at].Type, c.Type)
		}
	}
	for i, c := range from {
		if !slices.Contains(m.source, i) {
			m.Removed = append(m.Removed, c.Name)
		}
	}
	return m, nil
}

// widens reports whether every value of one type is one of the other.
func widens(from, to Type) bool {
	switch from {
	case to:
		return true
	case Int2:
		return to == Int4 || to == Int8
	case Int4:
		return to == Int8
	case Float4:
		return to == Float8
	case Timestamptz:
		return to == Local
	case Local:
		return to == Timestamptz || to == Timestamp || to == Date // the same instant, or what its clock shows
	}
	return false
}

// Append appends what a well-formed tuple is with the new columns.
func (m *Remap) Append(dst, t []byte) ([]byte, error) {
	fields := make([][]byte, len(m.from)) // with their lengths
	for i, rest := 0, Fields(t); i < len(fields); i++ {
		field := rest
		_, _, rest = Next(rest)
		fields[i] = field[:len(field)-len(rest)]
	}
	begin := len(dst)
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(m.to)))
	for i, c := range m.to {
		at := m.source[i]
		if at < 0 {
			dst = AppendAbsent(dst)
			continue
		}
		value, null, _ := Next(fields[at])
		switch {
		case Absent(fields[at]):
			dst = AppendAbsent(dst)
		case null && m.from[at].Nullable && !c.Nullable:
			return dst[:begin], fmt.Errorf("%w: column %q is NULL in a row, which its field cannot be any more", ErrRemap, c.Name)
		case null || m.from[at].Type == c.Type:
			dst = append(dst, fields[at]...)
		default:
			var err error
			if dst, err = appendWider(dst, m.from[at].Type, c.Type, value); err != nil {
				return dst[:begin], fmt.Errorf("column %q: %w", c.Name, err)
			}
		}
	}
	Mark(dst[begin:], m.to)
	return dst, nil
}

// appendWider appends a value of one type as one of another that it widens to.
func appendWider(dst []byte, from, to Type, value []byte) ([]byte, error) {
	if size := fixedSize[from]; size != 0 && len(value) != size {
		return dst, malformed("%d bytes of %v, want %d", len(value), from, size)
	}
	be := binary.BigEndian
	switch to {
	case Int4:
		dst = be.AppendUint32(dst, 4)
		return be.AppendUint32(dst, uint32(integer(value))), nil
	case Int8:
		dst = be.AppendUint32(dst, 8)
		return be.AppendUint64(dst, uint64(integer(value))), nil
	case Float8:
		dst = be.AppendUint32(dst, 8)
		return be.AppendUint64(dst, math.Float64bits(float64(math.Float32frombits(be.Uint32(value))))), nil
	case Timestamptz:
		value = value[:min(8, len(value))] // without the offset
	case Timestamp, Date:
		micros, _, ok := Clock(value)
		switch {
		case !ok:
			return dst, malformed("no time with an offset: %x", value)
		case to == Timestamp:
			return appendInt8(dst, micros), nil
		}
		return appendInt4(dst, int32(floorDiv(micros, 24*60*60*1e6))), nil
	}
	return append(be.AppendUint32(dst, uint32(len(value))), value...), nil
}
