package dump

import (
	"bytes"
	"errors"
	"strings"
)

// token is one literal of a row. Its text is a part of the file as it stands
// there.
type token struct {
	kind    kind
	doubled bool   // text: has quotes in it, each written twice
	text    []byte // without what encloses it
}

type kind uint8

const (
	nullToken   kind = iota
	absentToken      // NULL for whoever runs the file: the row leaves the column out
	numberToken      // digits, signs, points and exponents; whether it is a number is not said
	textToken        // between single quotes
	castToken        // a text as hexadecimal digits
	blobToken        // hexadecimal digits
)

// maxNumber is more than the longest number has, a float64 of 24 characters.
const maxNumber = 32

// errSyntax says that a row is not one that a Writer makes.
var errSyntax = errors.New("want the literals of a row")

// lexRow splits "1,'a',NULL)", which is a row without its opening parenthesis,
// into exactly len(tokens) literals, and returns its length. errShort asks for
// more text.
func lexRow(src []byte, tokens []token) (n int, err error) {
	for i := range tokens {
		if n, err = lexLiteral(src, n, &tokens[i]); err != nil {
			return 0, err
		}
		if n == len(src) {
			return 0, errShort
		}
		want := byte(',')
		if i == len(tokens)-1 {
			want = ')'
		}
		if src[n] != want {
			return 0, errSyntax
		}
		n++
	}
	return n, nil
}

// lexLiteral reads the literal at src[i:] and returns where it ends.
func lexLiteral(src []byte, i int, t *token) (end int, err error) {
	if i == len(src) {
		return 0, errShort
	}
	switch c := src[i]; {
	case c == '\'':
		return lexText(src, i+1, t)
	case c == '-' || '0' <= c && c <= '9':
		return lexNumber(src, i, t)
	case c == 'N':
		*t = token{kind: nullToken}
		if i, err = skip(src, i, null); err != nil || i == len(src) || src[i] != absent[0] {
			return i, err
		}
		t.kind = absentToken
		return skip(src, i, absent)
	case c == 'x':
		return lexHex(src, i, t, blobToken, "x'", "'")
	case c == 'C':
		return lexHex(src, i, t, castToken, castBefore, castAfter)
	}
	return 0, errSyntax
}

func lexText(src []byte, i int, t *token) (end int, err error) {
	*t = token{kind: textToken}
	for j := i; ; {
		n := bytes.IndexByte(src[j:], '\'')
		if n < 0 || j+n+1 == len(src) { // the next byte decides whether this is the end
			return 0, errShort
		}
		j += n + 1
		if src[j] != '\'' {
			t.text = src[i : j-1]
			return j, nil
		}
		t.doubled = true
		j++
	}
}

func lexNumber(src []byte, i int, t *token) (end int, err error) {
	for end = i; end < len(src); end++ {
		if c := src[end]; (c < '0' || c > '9') && c != '-' && c != '.' && c != 'e' && c != '+' {
			*t = token{kind: numberToken, text: src[i:end]}
			return end, nil
		}
		if end-i == maxNumber {
			return 0, errSyntax
		}
	}
	return 0, errShort
}

func lexHex(src []byte, i int, t *token, k kind, before, after string) (end int, err error) {
	if i, err = skip(src, i, before); err != nil {
		return 0, err
	}
	n := bytes.IndexByte(src[i:], '\'')
	if n < 0 {
		return 0, errShort
	}
	*t = token{kind: k, text: src[i : i+n]}
	return skip(src, i+n, after)
}

// skip returns where text, which must be at src[i:], ends.
func skip(src []byte, i int, text string) (end int, err error) {
	rest := src[i:]
	switch {
	case len(rest) >= len(text) && string(rest[:len(text)]) == text:
		return i + len(text), nil
	case len(rest) < len(text) && strings.HasPrefix(text, string(rest)):
		return 0, errShort
	}
	return 0, errSyntax
}
