package transcode

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"math"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgtype"

	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

// toText is the step into string types and enums.
func toText(from tuple.Type, to Type) Step {
	limit := lengthLimit(to)
	switch from {
	case tuple.Text:
		return Step{Check: limit}
	case tuple.Bytea:
		return Step{Check: func(field []byte) error {
			if err := textOfBytes(field); err != nil || limit == nil {
				return err
			}
			return limit(field)
		}}
	}
	text := textForm(from)
	return Step{Convert: sized(from, func(dst, field []byte) ([]byte, error) {
		start := len(dst)
		dst = text(dst, field)
		if limit != nil {
			if err := limit(dst[start:]); err != nil {
				return nil, err
			}
		}
		return dst, nil
	})}
}

// textForm returns what appends the text of a value, in the server's own
// notation. JSON keeps the text it was given.
func textForm(from tuple.Type) func(dst, f []byte) []byte {
	switch from {
	case tuple.Bool:
		return func(dst, f []byte) []byte { return strconv.AppendBool(dst, f[0] != 0) }
	case tuple.Int2:
		return func(dst, f []byte) []byte {
			return strconv.AppendInt(dst, int64(int16(binary.BigEndian.Uint16(f))), 10)
		}
	case tuple.Int4:
		return func(dst, f []byte) []byte {
			return strconv.AppendInt(dst, int64(int32(binary.BigEndian.Uint32(f))), 10)
		}
	case tuple.Int8:
		return func(dst, f []byte) []byte { return strconv.AppendInt(dst, int64(binary.BigEndian.Uint64(f)), 10) }
	case tuple.Float4:
		return func(dst, f []byte) []byte {
			return floatText(dst, float64(math.Float32frombits(binary.BigEndian.Uint32(f))), 32)
		}
	case tuple.Float8:
		return func(dst, f []byte) []byte {
			return floatText(dst, math.Float64frombits(binary.BigEndian.Uint64(f)), 64)
		}
	case tuple.Timestamptz:
		return func(dst, f []byte) []byte { return stampText(dst, int64(binary.BigEndian.Uint64(f))) }
	case tuple.Local: // one instant is one text
		return func(dst, f []byte) []byte { return stampText(dst, int64(binary.BigEndian.Uint64(tuple.Instant(f)))) }
	case tuple.Timestamp:
		return func(dst, f []byte) []byte { return clockText(dst, int64(binary.BigEndian.Uint64(f))) }
	case tuple.Date:
		return func(dst, f []byte) []byte { return dateText(dst, int64(int32(binary.BigEndian.Uint32(f)))) }
	case tuple.Duration:
		return func(dst, f []byte) []byte {
			return intervalText(dst, 0, 0, int64(binary.BigEndian.Uint64(f))/1000)
		}
	case tuple.JSON:
		return func(dst, f []byte) []byte { return append(dst, f[1:]...) }
	case tuple.UUID:
		return func(dst, f []byte) []byte {
			dst = append(hex.AppendEncode(dst, f[:4]), '-')
			dst = append(hex.AppendEncode(dst, f[4:6]), '-')
			dst = append(hex.AppendEncode(dst, f[6:8]), '-')
			dst = append(hex.AppendEncode(dst, f[8:10]), '-')
			return hex.AppendEncode(dst, f[10:])
		}
	}
	return nil
}

// lengthLimit returns the check of varchar(n), nvarchar2(n), char(n) and name;
// nil without a limit. As on the server, spaces beyond the limit do not count,
// unless the type is Uncut.
func lengthLimit(to Type) func([]byte) error {
	switch {
	case to.OID == nameOID:
		return func(text []byte) error {
			if len(text) > nameMaxBytes {
				return errorf(tooLong, "%s has %d bytes, more than the %d of type name", Shorten(text), len(text), nameMaxBytes)
			}
			return nil
		}
	case (to.OID == pgtype.VarcharOID || to.OID == pgtype.BPCharOID || to.OID == nvarchar2OID) && to.Mod >= 4:
		limit, count, unit := int(to.Mod-4), utf8.RuneCount, "characters"
		if to.Bytes && to.OID != nvarchar2OID {
			count, unit = func(text []byte) int { return len(text) }, "bytes"
		}
		return func(text []byte) error {
			if len(text) <= limit { // no more characters than bytes
				return nil
			}
			n := count(text)
			blank := count(bytes.TrimRight(text, " ")) <= limit
			switch {
			case n <= limit || blank && !to.Uncut:
				return nil
			case blank:
				return errorf(tooLong, "%s has %d %s, too long for a key of type %s: the database would cut the blanks at its end, and find the row of another key",
					Shorten(text), n, unit, to.Name)
			}
			return errorf(tooLong, "%s has %d %s, too long for type %s", Shorten(text), n, unit, to.Name)
		}
	}
	return nil
}

// fromText parses text for types that are no string types.
func fromText(to Type) convertFunc {
	switch to.OID {
	case pgtype.BoolOID:
		return parsed(to, appendBool)
	case pgtype.Int2OID, pgtype.Int4OID, pgtype.Int8OID, pgtype.OIDOID, tinyintOID:
		return func(dst, f []byte) ([]byte, error) { return appendIntText(dst, to, f) }
	case pgtype.Float4OID, pgtype.Float8OID:
		return func(dst, f []byte) ([]byte, error) { return appendFloatText(dst, to, f) }
	case pgtype.NumericOID:
		return func(dst, f []byte) ([]byte, error) { return appendNumeric(dst, to, f) }
	case pgtype.ByteaOID: // every blank is a byte of it
		return func(dst, f []byte) ([]byte, error) {
			out, ok := appendBytea(dst, string(f))
			if !ok {
				return nil, errorf(badText, "%s is no value of type %s", Shorten(f), to.Name)
			}
			return out, nil
		}
	case pgtype.UUIDOID:
		return parsed(to, appendUUID)
	case pgtype.JSONBOID:
		return func(dst, f []byte) ([]byte, error) { return append(append(dst, 1), f...), nil }
	case pgtype.DateOID, pgtype.TimestampOID, pgtype.TimestamptzOID, pgtype.TimeOID, pgtype.TimetzOID:
		return func(dst, f []byte) ([]byte, error) { return appendTimeText(dst, to, f) }
	case pgtype.IntervalOID:
		return parsed(to, appendInterval)
	case pgtype.InetOID:
		return parsed(to, func(dst []byte, s string) ([]byte, bool) { return appendInet(dst, s, false) })
	case pgtype.CIDROID:
		return parsed(to, func(dst []byte, s string) ([]byte, bool) { return appendInet(dst, s, true) })
	case pgtype.MacaddrOID:
		return parsed(to, appendMAC)
	}
	return nil
}

// parsed makes a conversion of a parser that is right or wrong.
func parsed(to Type, parse func(dst []byte, s string) ([]byte, bool)) convertFunc {
	return func(dst, f []byte) ([]byte, error) {
		out, ok := parse(dst, strings.TrimSpace(string(f)))
		if !ok {
			return nil, errorf(badText, "%s is no value of type %s", Shorten(f), to.Name)
		}
		return out, nil
	}
}

// appendBool takes the beginnings of true, false, yes and no, on and off, 1
// and 0.
func appendBool(dst []byte, s string) ([]byte, bool) {
	s = strings.ToLower(s)
	if s == "" {
		return nil, false
	}
	switch {
	case strings.HasPrefix("true", s), strings.HasPrefix("yes", s), s == "on", s == "1":
		return append(dst, 1), true
	case strings.HasPrefix("false", s), strings.HasPrefix("no", s), s == "of", s == "off", s == "0":
		return append(dst, 0), true
	}
	return nil, false
}

func appendIntText(dst []byte, to Type, f []byte) ([]byte, error) {
	v, err := strconv.ParseInt(strings.TrimSpace(string(f)), 10, 64)
	switch {
	case errors.Is(err, strconv.ErrRange):
		return nil, errorf(outOfRange, "%s is out of range for type %s", Shorten(f), to.Name)
	case err != nil:
		return nil, errorf(badText, "%s is no value of type %s", Shorten(f), to.Name)
	}
	return appendInt(dst, to, v)
}

func appendFloatText(dst []byte, to Type, f []byte) ([]byte, error) {
	s := strings.TrimSpace(string(f))
	bits := 64
	if to.OID == pgtype.Float4OID {
		bits = 32
	}
	v, err := strconv.ParseFloat(s, bits)
	switch {
	case strings.ContainsAny(s, "_xX") || err != nil && !errors.Is(err, strconv.ErrRange):
		return nil, errorf(badText, "%s is no value of type %s", Shorten(f), to.Name)
	case err != nil || v == 0 && strings.ContainsAny(mantissa(s), "123456789"):
		return nil, errorf(outOfRange, "%s is out of range for type %s", Shorten(f), to.Name)
	}
	return appendFloat(dst, to, v)
}

// mantissa is a decimal number without its exponent.
func mantissa(s string) string {
	if i := strings.IndexAny(s, "eE"); i >= 0 {
		return s[:i]
	}
	return s
}

// fromBytes takes bytes for the text of a document.
func fromBytes(to Type) convertFunc {
	switch to.OID {
	case pgtype.JSONBOID, pgtype.JSONOID, pgtype.XMLOID:
	default:
		return nil
	}
	return func(dst, f []byte) ([]byte, error) {
		if err := textOfBytes(f); err != nil {
			return nil, err
		}
		if to.OID == pgtype.JSONBOID {
			dst = append(dst, 1)
		}
		return append(dst, f...), nil
	}
}

// textOfBytes tells whether bytes are a text.
func textOfBytes(field []byte) error {
	if !utf8.Valid(field) || bytes.IndexByte(field, 0) >= 0 {
		return errorf(badBytes, "%s is no text in UTF-8", Shorten(field))
	}
	return nil
}

// appendBytea takes both notations of the server: \x and hexadecimal digits,
// or the bytes themselves with \\ for a backslash and \ooo for any byte.
func appendBytea(dst []byte, s string) ([]byte, bool) {
	if digits, ok := strings.CutPrefix(s, `\x`); ok {
		dst, err := hex.AppendDecode(dst, []byte(digits))
		return dst, err == nil
	}
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] != '\\':
			dst = append(dst, s[i])
		case strings.HasPrefix(s[i:], `\\`):
			dst = append(dst, '\\')
			i++
		default:
			if len(s) < i+4 || s[i+1] > '3' {
				return nil, false
			}
			b, err := strconv.ParseUint(s[i+1:i+4], 8, 8)
			if err != nil {
				return nil, false
			}
			dst = append(dst, byte(b))
			i += 3
		}
	}
	return dst, true
}

// appendUUID takes 32 hexadecimal digits, with a hyphen after any group of
// four, and braces around it all.
func appendUUID(dst []byte, s string) ([]byte, bool) {
	if strings.HasPrefix(s, "{") && strings.HasSuffix(s, "}") && len(s) > 1 {
		s = s[1 : len(s)-1]
	}
	for i := range 16 {
		if i > 0 && i%2 == 0 {
			s = strings.TrimPrefix(s, "-")
		}
		if len(s) < 2 {
			return nil, false
		}
		b, err := strconv.ParseUint(s[:2], 16, 8)
		if err != nil {
			return nil, false
		}
		dst, s = append(dst, byte(b)), s[2:]
	}
	return dst, s == ""
}

// appendInet takes an IPv4 or IPv6 address, with /bits or without. A cidr has
// no bits beyond those.
func appendInet(dst []byte, s string, cidr bool) ([]byte, bool) {
	prefix, err := netip.ParsePrefix(s)
	if err != nil {
		addr, err := netip.ParseAddr(s)
		if err != nil || addr.Zone() != "" {
			return nil, false
		}
		prefix = netip.PrefixFrom(addr, addr.BitLen())
	}
	if cidr && prefix.Masked() != prefix {
		return nil, false
	}
	const afInet, afInet6 = 2, 3
	family, isCIDR, addr := byte(afInet6), byte(0), prefix.Addr().AsSlice()
	if prefix.Addr().Is4() {
		family = afInet
	}
	if cidr {
		isCIDR = 1
	}
	dst = append(dst, family, byte(prefix.Bits()), isCIDR, byte(len(addr)))
	return append(dst, addr...), true
}

func appendMAC(dst []byte, s string) ([]byte, bool) {
	mac, err := net.ParseMAC(s)
	if err != nil || len(mac) != 6 {
		return nil, false
	}
	return append(dst, mac...), true
}
