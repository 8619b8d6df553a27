package dump

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

// Literals by type, as SQLite reads them:
//
//	NULL                       any
//	0, 1                       boolean
//	-12                        integers
//	0.1, 1e+300, 9e999, 'NaN'  floats: the fewest digits that give the same
//	                           number; 9e999 is more than a float can hold, so
//	                           infinite; SQLite has no NaN
//	'it''s'                    text, jsonb, uuid, times and dates
//	CAST(x'0d' AS TEXT)        texts with control characters other than tab and
//	                           newline, which terminals, shells and transfers
//	                           do not leave as they are
//	x'00ff'                    bytea
const (
	null         = "NULL"
	absent       = "/*absent*/" // behind null: the row leaves the column out
	infinity     = "9e999"
	castBefore   = "CAST(x'"
	castAfter    = "' AS TEXT)"
	notANumber   = "'NaN'"
	jsonVersion  = 1
	fixedLengths = "\x00\x01\x02\x04\x08\x04\x08\x00\x00\x08\x00\x10\x04\x08\x00\x08" // by type; 0: any
)

// appendLiteral appends a field that is not NULL. An error says what in it is
// not as the codec makes it.
func appendLiteral(dst []byte, t tuple.Type, f []byte) ([]byte, error) {
	if n := int(fixedLengths[t]); n != 0 && n != len(f) {
		return dst, fmt.Errorf("%w: %d bytes of %v, want %d", tuple.ErrMalformed, len(f), t, n)
	}
	switch t {
	case tuple.Bool:
		if f[0] > 1 {
			return dst, fmt.Errorf("%w: 0x%02x for a boolean", tuple.ErrMalformed, f[0])
		}
		return append(dst, '0'+f[0]), nil
	case tuple.Int2:
		return strconv.AppendInt(dst, int64(int16(binary.BigEndian.Uint16(f))), 10), nil
	case tuple.Int4:
		return strconv.AppendInt(dst, int64(int32(binary.BigEndian.Uint32(f))), 10), nil
	case tuple.Int8, tuple.Duration:
		return strconv.AppendInt(dst, int64(binary.BigEndian.Uint64(f)), 10), nil
	case tuple.Float4:
		return appendFloat(dst, float64(math.Float32frombits(binary.BigEndian.Uint32(f))), 32), nil
	case tuple.Float8:
		return appendFloat(dst, math.Float64frombits(binary.BigEndian.Uint64(f)), 64), nil
	case tuple.Bytea:
		return appendHex(dst, "x'", f, "'"), nil
	case tuple.Timestamptz, tuple.Local, tuple.Timestamp, tuple.Date:
		out, err := tuple.AppendTimeText(append(dst, '\''), t, f)
		if err != nil {
			return dst, err
		}
		return append(out, '\''), nil
	case tuple.UUID:
		return appendUUID(dst, f), nil
	case tuple.JSON:
		if len(f) == 0 || f[0] != jsonVersion {
			return dst, fmt.Errorf("%w: jsonb without its version byte", tuple.ErrMalformed)
		}
		return appendText(dst, f[1:])
	default: // Text
		return appendText(dst, f)
	}
}

func appendFloat(dst []byte, v float64, bits int) []byte {
	switch {
	case math.IsNaN(v):
		return append(dst, notANumber...)
	case math.IsInf(v, 1):
		return append(dst, infinity...)
	case math.IsInf(v, -1):
		return append(append(dst, '-'), infinity...)
	}
	start := len(dst)
	dst = strconv.AppendFloat(dst, v, 'g', -1, bits)
	if !bytes.ContainsAny(dst[start:], ".e") {
		dst = append(dst, ".0"...) // or it would be an integer, which has no -0
	}
	return dst
}

func appendUUID(dst, u []byte) []byte {
	dst = append(hex.AppendEncode(append(dst, '\''), u[:4]), '-')
	dst = append(hex.AppendEncode(dst, u[4:6]), '-')
	dst = append(hex.AppendEncode(dst, u[6:8]), '-')
	dst = append(hex.AppendEncode(dst, u[8:10]), '-')
	return append(hex.AppendEncode(dst, u[10:]), '\'')
}

func appendHex(dst []byte, before string, b []byte, after string) []byte {
	return append(hex.AppendEncode(append(dst, before...), b), after...)
}

func appendText(dst, s []byte) ([]byte, error) {
	if isPlain(s) {
		return append(append(append(dst, '\''), s...), '\''), nil
	}
	if !utf8.Valid(s) {
		return dst, fmt.Errorf("%w: invalid UTF-8", tuple.ErrMalformed)
	}
	for _, c := range s {
		switch {
		case c == 0:
			return dst, fmt.Errorf("%w: a NUL byte in a text", tuple.ErrMalformed)
		case c < ' ' && c != '\n' && c != '\t' || c == 0x7f:
			if bytes.IndexByte(s, 0) >= 0 {
				return dst, fmt.Errorf("%w: a NUL byte in a text", tuple.ErrMalformed)
			}
			return appendHex(dst, castBefore, s, castAfter), nil
		}
	}
	dst = append(dst, '\'')
	for {
		quote := bytes.IndexByte(s, '\'')
		if quote < 0 {
			return append(append(dst, s...), '\''), nil
		}
		dst = append(append(dst, s[:quote+1]...), '\'')
		s = s[quote+1:]
	}
}

// isPlain reports whether s is printable ASCII without a quote, as most texts
// are, eight bytes at a time.
func isPlain(s []byte) bool {
	const low, high = 0x0101010101010101, 0x8080808080808080
	for ; len(s) >= 8; s = s[8:] {
		x := binary.LittleEndian.Uint64(s)
		quote, del := x^'\''*low, x^0x7f*low
		// Of bytes below 0x80, subtracting n sets the high bit of those below
		// n, and perhaps of one that follows such a byte: good enough for no.
		if (x|(x-' '*low)|(quote-low)|(del-low))&high != 0 {
			return false
		}
	}
	for _, c := range s {
		if c < ' ' || c > '~' || c == '\'' {
			return false
		}
	}
	return true
}

// cleanText makes a text of anybody's storable.
func cleanText(s string) []byte {
	return []byte(strings.ReplaceAll(strings.ToValidUTF8(s, "\ufffd"), "\x00", "\ufffd"))
}
