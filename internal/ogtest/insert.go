package ogtest

import (
	"slices"
	"strings"
)

// insertion is an INSERT taken apart.
type insertion struct {
	name      qualified
	alias     string // as written, or the last part of the name
	columns   []string
	head      []token // up to the columns
	rows      []token // VALUES or a query
	nothing   bool    // ON DUPLICATE KEY UPDATE NOTHING
	set       []assignment
	where     []token
	duplicate bool    // has an ON DUPLICATE KEY clause
	returning []token // RETURNING included
}

type assignment struct {
	column string
	value  []token
}

func insert(s *session, c *cursor) (*plan, error) {
	in, err := s.parseInsert(c)
	if err != nil {
		return nil, err
	}
	if !in.duplicate {
		return s.rewrittenFrom(c.toks, len(in.head))
	}
	return s.upsert(in)
}

// rewrittenFrom is the plan of a statement whose first tokens are names only.
func (s *session) rewrittenFrom(toks []token, n int) (*plan, error) {
	rest, err := s.rewrite(toks[n:])
	if err != nil {
		return nil, err
	}
	return &plan{sql: source(toks[:n]) + source(rest)}, nil
}

// parseInsert reads INSERT INTO and REPLACE INTO.
func (s *session) parseInsert(c *cursor) (*insertion, error) {
	in := &insertion{}
	c.i++ // the verb
	if !c.take("into") {
		return nil, c.syntaxError() // INSERT IGNORE is not in core, opengauss.md 2.2
	}
	var err error
	if in.name, err = c.name(); err != nil {
		return nil, err
	}
	in.alias = in.name.last()
	aliased := c.take("as")
	if t := c.peek(); aliased || t.kind == quoted ||
		t.kind == word && !slices.Contains([]string{"values", "select", "with", "default", "table", "overriding"}, t.word) {
		alias, err := c.name()
		if err != nil {
			return nil, err
		}
		in.alias = alias.last()
	}
	if c.at("(") && !startsWith(c.toks[c.i+1:], "select") && !startsWith(c.toks[c.i+1:], "with") && !startsWith(c.toks[c.i+1:], "values") {
		group, err := c.group()
		if err != nil {
			return nil, err
		}
		for _, item := range list(group) {
			if len(item) != 1 {
				return nil, unknown("the column %s", source(item))
			}
			in.columns = append(in.columns, item[0].name())
		}
	}
	in.head = c.toks[:c.i]
	in.rows = c.until([]string{"on", "duplicate", "key"}, []string{"on", "conflict"}, []string{"returning"})
	if c.at("on", "conflict") {
		c.i++
		return nil, c.syntaxError() // opengauss.md 2.1
	}
	if c.take("on", "duplicate", "key") {
		if aliased && !s.opts.since("3.0.0") { // opengauss.md 2.1
			return nil, c.syntaxError()
		}
		if err := s.parseDuplicate(c, in); err != nil {
			return nil, err
		}
	}
	in.returning = c.rest()
	if in.duplicate && len(in.returning) > 0 && !s.opts.since("6.0.0") {
		return nil, c.syntaxError() // opengauss.md 2.1
	}
	return in, nil
}

// parseDuplicate reads what follows ON DUPLICATE KEY.
func (s *session) parseDuplicate(c *cursor, in *insertion) error {
	in.duplicate = true
	if !c.take("update") {
		return c.syntaxError()
	}
	if c.take("nothing") {
		in.nothing = true
		if !c.at("returning") {
			return c.done()
		}
		return nil
	}
	end := [][]string{{"where"}, {"returning"}}
	for {
		name, err := c.name()
		if err != nil {
			return err
		}
		if !c.take("=") {
			return c.syntaxError()
		}
		value := c.until(append(end, []string{","})...)
		if len(value) == 0 {
			return c.syntaxError()
		}
		if value, err = s.excluded(value, true); err != nil {
			return err
		}
		in.set = append(in.set, assignment{name.last(), value})
		if !c.take(",") {
			break
		}
	}
	if c.at("where") {
		if !s.opts.since("3.0.0") { // opengauss.md 2.1
			return c.syntaxError()
		}
		c.i++
		var err error
		in.where, err = s.excluded(c.until([]string{"returning"}), false)
		if err != nil {
			return err
		}
	}
	return nil
}

// excluded makes EXCLUDED.c of the ways to name the row that was not inserted.
// VALUES(c) is one only as the whole right-hand side, except with dolphin,
// where EXCLUDED is none (opengauss.md 2.2, 11).
func (s *session) excluded(toks []token, whole bool) ([]token, error) {
	var out []token
	for c := (&cursor{toks: toks}); c.i < len(c.toks); {
		t := c.peek()
		switch {
		case t.word == "excluded" && s.opts.Dolphin:
			return nil, newFault("42P01", `missing FROM-clause entry for table "excluded"`)
		case t.word == "values" && len(c.rest()) > 1 && c.toks[c.i+1].word == "(":
			c.i++
			group, err := c.group()
			if err != nil {
				return nil, err
			}
			if len(group) != 1 || (group[0].kind != word && group[0].kind != quoted) {
				return nil, syntaxErrorAt(t)
			}
			if !s.opts.Dolphin && (!whole || len(toks) != 4) {
				return nil, syntaxErrorAt(t)
			}
			t.text = " EXCLUDED." + ident(group[0].name())
			t.kind, t.word = symbol, "" // not to be looked at again
			out = append(out, t)
			continue
		case t.word == "excluded":
			t.kind, t.word = symbol, ""
		}
		c.i++
		out = append(out, t)
	}
	return s.rewrite(out)
}

// replace is REPLACE INTO, of mode B only (opengauss.md 2.2).
func replace(s *session, c *cursor) (*plan, error) {
	if s.opts.Mode != "B" {
		return nil, c.syntaxError()
	}
	in, err := s.parseInsert(c)
	if err != nil {
		return nil, err
	}
	if in.duplicate || len(in.returning) > 0 {
		return nil, unknown("REPLACE with more than rows")
	}
	t, err := s.lookUp(in.name)
	if err != nil {
		return nil, err
	}
	if t == nil {
		return s.missing(in)
	}
	return s.throughView(in, t, replaceBody(in, t))
}

// missing is the plan of a statement whose table does not exist: PostgreSQL
// says so.
func (s *session) missing(in *insertion) (*plan, error) {
	return &plan{sql: "INSERT INTO " + in.name.String() + " DEFAULT VALUES"}, nil
}

// given are the columns that the statement gives values for.
func (in *insertion) given(t *table) ([]string, error) {
	if in.columns != nil {
		return in.columns, nil
	}
	n := len(t.Columns)
	if startsWith(in.rows, "values", "(") {
		n = min(n, len(list(in.rows[2:groupLen(in.rows[1:])])))
	} else if n > 1 {
		return nil, unknown("an upsert from a query without a list of columns")
	}
	var names []string
	for _, c := range t.Columns[:n] {
		names = append(names, c.Name)
	}
	return names, nil
}

// quoteAll is a list of names as SQL, each with something in front.
func quoteAll(prefix string, names []string) string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = prefix + ident(n)
	}
	return strings.Join(out, ", ")
}
