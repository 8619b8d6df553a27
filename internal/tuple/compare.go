package tuple

import (
	"bytes"
	"cmp"
	"encoding/binary"
)

// KeyOrder is a total order of the tuples of a table by their key. Two tuples
// are equal in it exactly when the bytes of their keys are.
type KeyOrder []collation

// collation is how the values of a column compare.
type collation uint8

const (
	byBytes collation = iota // texts, bytea, uuid, boolean
	byInt                    // two's complement
	byFloat                  // IEEE 754 totalOrder: -NaN, -Inf ... -0, 0 ... +Inf, NaN
)

var collations = map[Type]collation{
	Int2: byInt, Int4: byInt, Int8: byInt, Timestamptz: byInt, Local: byInt, Date: byInt, Timestamp: byInt, Duration: byInt,
	Float4: byFloat, Float8: byFloat,
}

// NewKeyOrder makes the order for the given key columns. Numbers and times
// compare as such, everything else byte by byte, NULL comes first.
func NewKeyOrder(key []Column) KeyOrder {
	o := make(KeyOrder, len(key))
	for i, c := range key {
		o[i] = collations[c.Type]
	}
	return o
}

// Compare compares the keys of two well-formed tuples, whose other fields do
// not matter.
func (o KeyOrder) Compare(a, b []byte) int { return o.compareFields(Fields(a), Fields(b)) }

func (o KeyOrder) compareFields(a, b []byte) int {
	for _, c := range o {
		la := int32(binary.BigEndian.Uint32(a))
		lb := int32(binary.BigEndian.Uint32(b))
		a, b = a[4:], b[4:]
		if la < 0 || lb < 0 {
			if la != lb {
				return cmp.Compare(la, lb)
			}
			continue
		}
		if d := c.compare(a[:la], b[:lb]); d != 0 {
			return d
		}
		a, b = a[la:], b[lb:]
	}
	return 0
}

func (c collation) compare(a, b []byte) int {
	if c == byBytes {
		return bytes.Compare(a, b)
	}
	if len(a) != len(b) || len(a) == 0 {
		return cmp.Compare(len(a), len(b))
	}
	// Of values with the same sign, big-endian bytes give the order; it is the
	// reverse one for negative floats.
	if negative := a[0] >= 0x80; negative != (b[0] >= 0x80) {
		if negative {
			return -1
		}
		return 1
	} else if negative && c == byFloat {
		a, b = b, a
	}
	return bytes.Compare(a, b)
}
