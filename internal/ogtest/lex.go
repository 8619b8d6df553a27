package ogtest

import "strings"

// kind is what a token is.
type kind byte

const (
	word   kind = iota + 1 // an unquoted name or keyword
	quoted                 // "a name"
	text                   // a string constant
	number
	param  // $1
	symbol // an operator or a punctuation mark
)

// token is a piece of a statement. Statements are changed by changing the
// text of their tokens: everything else stays as the client wrote it.
type token struct {
	kind kind
	lead string // white space and comments in front
	text string
	word string // of a word its lower case, of a symbol its text, else empty
}

// source puts tokens together again.
func source(toks []token) string {
	var b strings.Builder
	for _, t := range toks {
		b.WriteString(t.lead)
		b.WriteString(t.text)
	}
	return b.String()
}

// name returns the identifier that a word or a quoted name stands for.
func (t token) name() string {
	switch {
	case t.kind == word:
		return t.word
	case t.kind == quoted && len(t.text) >= 2:
		return strings.ReplaceAll(t.text[1:len(t.text)-1], `""`, `"`)
	}
	return ""
}

// emptyText tells whether a token is an empty string constant.
func (t token) emptyText() bool {
	return t.kind == text && (strings.HasSuffix(t.text, "''") && len(strings.TrimLeft(t.text, "eEnN")) == 2 || t.text == "$$$$")
}

// constant is the value of a string constant that is written without escapes,
// or else the text of the token.
func (t token) constant() string {
	if t.kind != text || !strings.HasPrefix(t.text, "'") {
		return t.text
	}
	return strings.ReplaceAll(t.text[1:len(t.text)-1], "''", "'")
}

const operatorChars = "+-*/<>=~!@#%^&|`?"

// split takes a string of SQL apart into statements, without the semicolons
// and without those that are empty. It errs on an open quote or comment.
func split(sql string) ([][]token, error) {
	var stmts [][]token
	var stmt []token
	for rest := sql; ; {
		n, err := blank(rest)
		if err != nil {
			return nil, err
		}
		lead := rest[:n]
		rest = rest[n:]
		if rest == "" {
			break
		}
		t, err := next(rest)
		if err != nil {
			return nil, err
		}
		t.lead = lead
		rest = rest[len(t.text):]
		if t.word != ";" {
			stmt = append(stmt, t)
			continue
		}
		if len(stmt) > 0 {
			stmts = append(stmts, stmt)
		}
		stmt = nil
	}
	if len(stmt) > 0 {
		stmts = append(stmts, stmt)
	}
	return stmts, nil
}

// blank returns the length of the white space and comments that s begins with.
// Comments nest.
func blank(s string) (int, error) {
	i := 0
	for i < len(s) {
		switch {
		case strings.IndexByte(" \t\n\r\f\v", s[i]) >= 0:
			i++
		case strings.HasPrefix(s[i:], "--"):
			end := strings.IndexAny(s[i:], "\n\r")
			if end < 0 {
				return len(s), nil
			}
			i += end
		case strings.HasPrefix(s[i:], "/*"):
			n := commentLen(s[i:])
			if n == 0 {
				return 0, newFault("42601", "unterminated /* comment at or near %q", excerpt(s[i:]))
			}
			i += n
		default:
			return i, nil
		}
	}
	return i, nil
}

// commentLen is the length of the comment that s begins with, 0 if it has no end.
func commentLen(s string) int {
	depth := 0
	for i := 0; i+1 < len(s); i++ {
		switch s[i : i+2] {
		case "/*":
			depth++
			i++
		case "*/":
			depth--
			i++
			if depth == 0 {
				return i + 1
			}
		}
	}
	return 0
}

func excerpt(s string) string {
	if len(s) > 40 {
		s = s[:40]
	}
	return strings.ToValidUTF8(s, "?")
}

// next returns the token that s begins with; s is not empty.
func next(s string) (token, error) {
	c := s[0]
	switch {
	case c == '\'':
		return quotedToken(text, s, 0, false)
	case c == '"':
		return quotedToken(quoted, s, 0, false)
	case len(s) > 1 && s[1] == '\'' && strings.IndexByte("eE", c) >= 0:
		return quotedToken(text, s, 1, true)
	case len(s) > 1 && s[1] == '\'' && strings.IndexByte("nNbBxX", c) >= 0:
		return quotedToken(text, s, 1, false)
	case len(s) > 2 && (c == 'u' || c == 'U') && s[1] == '&' && (s[2] == '\'' || s[2] == '"'):
		return token{}, unknown("U& strings and names")
	case c == '$':
		return dollarToken(s)
	case digit(c) || c == '.' && len(s) > 1 && digit(s[1]):
		return token{kind: number, text: s[:numberLen(s)]}, nil
	case letter(c):
		n := 1
		for n < len(s) && (letter(s[n]) || digit(s[n]) || s[n] == '$') {
			n++
		}
		return token{kind: word, text: s[:n], word: strings.ToLower(s[:n])}, nil
	case strings.IndexByte(operatorChars, c) >= 0:
		n := 1
		for n < len(s) && strings.IndexByte(operatorChars, s[n]) >= 0 &&
			!strings.HasPrefix(s[n:], "--") && !strings.HasPrefix(s[n:], "/*") {
			n++
		}
		return token{kind: symbol, text: s[:n], word: s[:n]}, nil
	case strings.HasPrefix(s, "::"), strings.HasPrefix(s, ":="):
		return token{kind: symbol, text: s[:2], word: s[:2]}, nil
	case strings.IndexByte("(),.;[]:", c) >= 0:
		return token{kind: symbol, text: s[:1], word: s[:1]}, nil
	}
	return token{}, newFault("42601", "syntax error at or near %q", excerpt(s))
}

func letter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' || c == '_' || c >= 0x80 }
func digit(c byte) bool  { return c >= '0' && c <= '9' }

func numberLen(s string) int {
	n := 0
	for n < len(s) && (digit(s[n]) || s[n] == '.') {
		n++
	}
	if n < len(s) && s[n]|0x20 == 'e' {
		m := n + 1
		if m < len(s) && (s[m] == '+' || s[m] == '-') {
			m++
		}
		if m < len(s) && digit(s[m]) {
			for n = m; n < len(s) && digit(s[n]); n++ {
			}
		}
	}
	return n
}

// quotedToken reads a constant or name whose quote is at s[start]. A doubled
// quote stands for one, and with escapes so does one behind a backslash.
func quotedToken(k kind, s string, start int, escapes bool) (token, error) {
	q := s[start]
	for i := start + 1; i < len(s); i++ {
		switch {
		case escapes && s[i] == '\\':
			i++
		case s[i] == q && i+1 < len(s) && s[i+1] == q:
			i++
		case s[i] == q && k == quoted && i == start+1:
			return token{}, newFault("42601", `zero-length delimited identifier at or near """"`)
		case s[i] == q:
			return token{kind: k, text: s[:i+1]}, nil
		}
	}
	what := "string"
	if k == quoted {
		what = "identifier"
	}
	return token{}, newFault("42601", "unterminated quoted %s at or near %q", what, excerpt(s))
}

// dollarToken reads a parameter or a constant in dollar quotes.
func dollarToken(s string) (token, error) {
	n := 1
	for n < len(s) && digit(s[n]) {
		n++
	}
	if n > 1 {
		return token{kind: param, text: s[:n]}, nil
	}
	for n < len(s) && (letter(s[n]) || n > 1 && digit(s[n])) {
		n++
	}
	if n == len(s) || s[n] != '$' {
		return token{}, newFault("42601", "syntax error at or near %q", excerpt(s))
	}
	quote := s[:n+1]
	end := strings.Index(s[len(quote):], quote)
	if end < 0 {
		return token{}, newFault("42601", "unterminated dollar-quoted string at or near %q", excerpt(s))
	}
	return token{kind: text, text: s[:end+2*len(quote)]}, nil
}
