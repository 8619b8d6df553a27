package ogtest

import "strings"

// cursor reads the tokens of a statement from left to right.
type cursor struct {
	toks []token
	i    int
}

// rest are the tokens not read yet.
func (c *cursor) rest() []token { return c.toks[c.i:] }

// peek is the next token, the zero token at the end.
func (c *cursor) peek() token {
	if c.i < len(c.toks) {
		return c.toks[c.i]
	}
	return token{}
}

// at tells whether the next tokens are these words and symbols.
func (c *cursor) at(words ...string) bool { return startsWith(c.rest(), words...) }

// take reads these words and symbols, if they are next.
func (c *cursor) take(words ...string) bool {
	if !c.at(words...) {
		return false
	}
	c.i += len(words)
	return true
}

// takeAny reads one of several words, and returns which.
func (c *cursor) takeAny(words ...string) string {
	for _, w := range words {
		if c.take(w) {
			return w
		}
	}
	return ""
}

// done is the syntax error of a statement that goes on.
func (c *cursor) done() error {
	if c.i < len(c.toks) {
		return c.syntaxError()
	}
	return nil
}

// syntaxError is the one of a grammar that does not accept the next token.
func (c *cursor) syntaxError() error {
	if c.i >= len(c.toks) {
		return newFault("42601", "syntax error at end of input")
	}
	return syntaxErrorAt(c.peek())
}

func syntaxErrorAt(t token) error { return newFault("42601", `syntax error at or near "%s"`, t.text) }

// name reads a name of up to three parts.
func (c *cursor) name() (qualified, error) {
	var q qualified
	for {
		t := c.peek()
		if t.kind != word && t.kind != quoted {
			return nil, c.syntaxError()
		}
		q = append(q, t.name())
		c.i++
		if len(q) == 3 || !c.take(".") {
			return q, nil
		}
	}
}

// group reads what is between parentheses.
func (c *cursor) group() ([]token, error) {
	if !c.at("(") {
		return nil, c.syntaxError()
	}
	n := groupLen(c.rest())
	if n == 0 {
		c.i = len(c.toks)
		return nil, c.syntaxError()
	}
	inner := c.toks[c.i+1 : c.i+n-1]
	c.i += n
	return inner, nil
}

// until reads up to the first of these sequences outside of parentheses, or to
// the end.
func (c *cursor) until(sequences ...[]string) []token {
	from := c.i
	for c.i < len(c.toks) {
		for _, words := range sequences {
			if c.at(words...) {
				return c.toks[from:c.i]
			}
		}
		c.i += max(1, groupLen(c.rest()))
	}
	return c.toks[from:]
}

// groupLen is the length of the group that the tokens begin with, parentheses
// included, 0 without one.
func groupLen(toks []token) int {
	depth := 0
	for i, t := range toks {
		switch t.word {
		case "(":
			depth++
		case ")":
			depth--
		}
		if depth == 0 {
			if i == 0 {
				return 0
			}
			return i + 1
		}
	}
	return 0
}

func startsWith(toks []token, words ...string) bool {
	if len(toks) < len(words) {
		return false
	}
	for i, w := range words {
		if toks[i].word != w {
			return false
		}
	}
	return true
}

// find returns the index of the first such sequence, at any depth, or -1.
func find(toks []token, words ...string) int {
	for i := range toks {
		if startsWith(toks[i:], words...) {
			return i
		}
	}
	return -1
}

// list takes tokens apart at the commas outside of parentheses.
func list(toks []token) [][]token {
	c := &cursor{toks: toks}
	var items [][]token
	for {
		items = append(items, c.until([]string{","}))
		if !c.take(",") {
			return items
		}
	}
}

// qualified is the name of something in a schema.
type qualified []string

func (q qualified) last() string { return q[len(q)-1] }

// String is the name as SQL.
func (q qualified) String() string {
	parts := make([]string, len(q))
	for i, p := range q {
		parts[i] = ident(p)
	}
	return strings.Join(parts, ".")
}

func ident(s string) string { return `"` + strings.ReplaceAll(s, `"`, `""`) + `"` }

// literal is a string constant. A server with standard_conforming_strings,
// which the backend always has, takes a backslash for itself.
func literal(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
