package tuple

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
	"unsafe"
)

// textFault says why s cannot be in a text column; empty: it can.
func textFault(s string) string {
	if len(s) > MaxLen {
		return tooLong(len(s))
	}
	if isPlain(s) {
		return ""
	}
	if i := strings.IndexByte(s, 0); i >= 0 {
		return fmt.Sprintf("a NUL byte at offset %d, which text cannot hold; make the field []byte for a bytea column", i)
	}
	return utf8Fault(s)
}

// isPlain reports whether s is ASCII without NUL, as most texts are: half the
// time of asking for valid UTF-8 and for a NUL one after the other.
func isPlain(s string) bool {
	const low, high = 0x0101010101010101, 0x8080808080808080
	for ; len(s) >= 8; s = s[8:] {
		x := uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
			uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
		// Taking 1 from each byte sets the high bit of a byte that was 0.
		if (x|(x-low))&high != 0 {
			return false
		}
	}
	for i := range len(s) {
		if s[i]-1 >= 0x7f {
			return false
		}
	}
	return true
}

func utf8Fault(s string) string {
	if utf8.ValidString(s) {
		return ""
	}
	i := 0
	for {
		r, size := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && size == 1 {
			return fmt.Sprintf("invalid UTF-8 at offset %d (byte 0x%02x); escape it, or make the field []byte for a bytea column", i, s[i])
		}
		i += size
	}
}

func tooLong(n int) string {
	return fmt.Sprintf("%d bytes long, %d are the limit of a row", n, MaxLen)
}

// jsonVersion is the first byte of a JSON field; PostgreSQL knows no other.
const jsonVersion = 1

// jsonFault says why text cannot be in a jsonb column; empty: it can.
func jsonFault(text []byte) string {
	switch {
	case len(text) == 0:
		return "empty, which is not JSON; nil would be NULL"
	case !json.Valid(text):
		var v json.RawMessage
		return fmt.Sprintf("not JSON: %v", json.Unmarshal(text, &v))
	}
	return jsonbFault(text)
}

// jsonbFault says what of valid JSON jsonb does not take.
func jsonbFault(text []byte) string {
	if len(text) > MaxLen {
		return tooLong(len(text))
	}
	if fault := utf8Fault(viewString(text)); fault != "" {
		return fault
	}
	return escapeFault(text)
}

// escapeFault finds the \u escapes that JSON allows and jsonb does not: the
// NUL character, and halves of a surrogate pair. The text is valid JSON, so a
// backslash is always the start of a whole escape inside a string.
func escapeFault(text []byte) string {
	for i := 0; ; {
		next := bytes.IndexByte(text[i:], '\\')
		if next < 0 {
			return ""
		}
		i += next
		if text[i+1] != 'u' {
			i += 2
			continue
		}
		switch r := escaped(text[i:]); {
		case r == 0:
			return fmt.Sprintf(`the escape \u0000 at offset %d, which jsonb cannot hold`, i)
		case r < 0xd800 || r > 0xdfff:
			i += 6
		case r < 0xdc00 && isLowSurrogate(text[i+6:]):
			i += 12
		default:
			return fmt.Sprintf(`the escape %s at offset %d is half of a surrogate pair, which jsonb cannot hold`, text[i:i+6], i)
		}
	}
}

// escaped reads the \uXXXX that text starts with.
func escaped(text []byte) uint64 {
	r, _ := strconv.ParseUint(viewString(text[2:6]), 16, 16) // four hex digits, or it were not JSON
	return r
}

func isLowSurrogate(text []byte) bool {
	if !bytes.HasPrefix(text, []byte(`\u`)) {
		return false
	}
	r := escaped(text)
	return r >= 0xdc00 && r <= 0xdfff
}

// viewString is b as a string, without a copy: for as long as b stays as it is.
func viewString(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
