package memdbwriter

import (
	"strings"
	"unicode/utf8"
)

// EscapePath returns a text form of a file name or path, which on Linux may be
// any bytes, that a database takes as UTF-8. A byte that is not part of valid
// UTF-8 becomes \xHH with two upper-case hexadecimal digits. So that two names
// never become one, a backslash which the name itself has in front of such a
// sequence becomes \x5C. Every other name stays as it is, and escaped is
// false. UnescapePath is the exact inverse.
func EscapePath(path string) (text string, escaped bool) {
	if utf8.ValidString(path) && !strings.Contains(path, `\x`) {
		return path, false
	}
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := 0; i < len(path); {
		r, n := utf8.DecodeRuneInString(path[i:])
		if r == utf8.RuneError && n == 1 || isEscape(path[i:]) {
			c := path[i]
			b.Write([]byte{'\\', 'x', hex[c>>4], hex[c&15]})
			escaped = true
			i++
			continue
		}
		b.WriteString(path[i : i+n])
		i += n
	}
	return b.String(), escaped
}

// UnescapePath returns the path that EscapePath was given.
func UnescapePath(text string) string {
	if !strings.Contains(text, `\x`) {
		return text
	}
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		if isEscape(text[i:]) {
			b.WriteByte(unhex(text[i+2])<<4 | unhex(text[i+3]))
			i += 3
			continue
		}
		b.WriteByte(text[i])
	}
	return b.String()
}

// isEscape reports whether s starts with an escape sequence of EscapePath.
func isEscape(s string) bool {
	return len(s) >= 4 && s[0] == '\\' && s[1] == 'x' && isHex(s[2]) && isHex(s[3])
}

func isHex(c byte) bool { return c >= '0' && c <= '9' || c >= 'A' && c <= 'F' }

func unhex(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return c - 'A' + 10
}
