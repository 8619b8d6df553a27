package transcode

import (
	"encoding/binary"
	"math"
	"slices"
	"strconv"

	"github.com/jackc/pgx/v5/pgtype"
)

// numbers are the types that integers convert to.
var numbers = []uint32{
	pgtype.Int2OID, pgtype.Int4OID, pgtype.Int8OID, pgtype.OIDOID,
	pgtype.Float4OID, pgtype.Float8OID, pgtype.NumericOID, tinyintOID,
}

// fromInt converts what read finds in a field to one of the allowed types.
func fromInt(read func([]byte) int64, to Type, allowed ...uint32) convertFunc {
	if !slices.Contains(allowed, to.OID) {
		return nil
	}
	switch to.OID {
	case pgtype.Float4OID, pgtype.Float8OID:
		return func(dst, f []byte) ([]byte, error) { return appendFloat(dst, to, float64(read(f))) }
	case pgtype.NumericOID:
		return func(dst, f []byte) ([]byte, error) {
			var text [20]byte
			return appendNumeric(dst, to, strconv.AppendInt(text[:0], read(f), 10))
		}
	}
	return func(dst, f []byte) ([]byte, error) { return appendInt(dst, to, read(f)) }
}

// fromFloat converts to the other floating point type and to numeric, which
// gets the shortest decimal that reads back as the same float.
func fromFloat(read func([]byte) float64, bits int, to Type) convertFunc {
	switch to.OID {
	case pgtype.Float4OID, pgtype.Float8OID:
		return func(dst, f []byte) ([]byte, error) { return appendFloat(dst, to, read(f)) }
	case pgtype.NumericOID:
		return func(dst, f []byte) ([]byte, error) {
			var text [32]byte
			return appendNumeric(dst, to, floatText(text[:0], read(f), bits))
		}
	}
	return nil
}

// appendInt appends v as int2, int4, int8, oid or tinyint.
func appendInt(dst []byte, to Type, v int64) ([]byte, error) {
	fits := true
	switch to.OID {
	case tinyintOID:
		dst, fits = append(dst, byte(v)), v == int64(uint8(v)) && (v < 128 || !to.Signed)
	case pgtype.Int2OID:
		dst, fits = binary.BigEndian.AppendUint16(dst, uint16(v)), v == int64(int16(v))
	case pgtype.Int4OID:
		dst, fits = binary.BigEndian.AppendUint32(dst, uint32(v)), v == int64(int32(v))
	case pgtype.OIDOID:
		dst, fits = binary.BigEndian.AppendUint32(dst, uint32(v)), v == int64(uint32(v))
	default:
		dst = binary.BigEndian.AppendUint64(dst, uint64(v))
	}
	if !fits {
		return nil, errorf(outOfRange, "%d is out of range for type %s", v, to.Name)
	}
	return dst, nil
}

// appendFloat appends v as float4 or float8.
func appendFloat(dst []byte, to Type, v float64) ([]byte, error) {
	if to.OID == pgtype.Float8OID {
		return binary.BigEndian.AppendUint64(dst, math.Float64bits(v)), nil
	}
	f := float32(v)
	if math.IsInf(float64(f), 0) && !math.IsInf(v, 0) || f == 0 && v != 0 {
		return nil, errorf(outOfRange, "%g is out of range for type %s", v, to.Name)
	}
	return binary.BigEndian.AppendUint32(dst, math.Float32bits(f)), nil
}

// floatText appends v the way PostgreSQL prints it: the shortest digits that
// read back as v, with an exponent only where the plain form gets long.
func floatText(dst []byte, v float64, bits int) []byte {
	switch {
	case math.IsNaN(v):
		return append(dst, "NaN"...)
	case math.IsInf(v, 1):
		return append(dst, "Infinity"...)
	case math.IsInf(v, -1):
		return append(dst, "-Infinity"...)
	}
	plainBelow := 1e15
	if bits == 32 {
		plainBelow = 1e6
	}
	format := byte('f')
	if a := math.Abs(v); a != 0 && (a < 1e-4 || a >= plainBelow) {
		format = 'e'
	}
	return strconv.AppendFloat(dst, v, format, -1, bits)
}
