package ogtest

import "slices"

// merge is MERGE INTO, of which PostgreSQL has the unconditional form as well
// (opengauss.md 2.3).
func merge(s *session, c *cursor) (*plan, error) {
	if s.server.Backend.Version < 150000 {
		return nil, unknown("MERGE in front of a PostgreSQL before 15")
	}
	if !c.take("merge", "into") {
		return nil, c.syntaxError()
	}
	if _, err := c.name(); err != nil {
		return nil, err
	}
	c.until([]string{"using"})
	if !c.take("using") {
		return nil, c.syntaxError()
	}
	c.until([]string{"on"})
	if !c.take("on") {
		return nil, c.syntaxError()
	}
	on, err := c.group()
	if err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	for c.i < len(c.toks) {
		kind, err := s.mergeClause(c, on)
		if err != nil {
			return nil, err
		}
		if seen[kind] {
			return nil, newFault("42601", "syntax error: more than one WHEN %s clause", kind) // opengauss.md 2.3
		}
		seen[kind] = true
	}
	if len(seen) == 0 {
		return nil, c.syntaxError()
	}
	return s.rewritten(c.toks)
}

// mergeClause reads WHEN MATCHED or WHEN NOT MATCHED. There are neither further
// conditions, nor DELETE and DO NOTHING, nor RETURNING (opengauss.md 2.3).
func (s *session) mergeClause(c *cursor, on []token) (kind string, err error) {
	if !c.take("when") {
		return "", c.syntaxError()
	}
	next := []string{"when"}
	stop := [][]string{next, {"where"}, {"returning"}}
	switch {
	case c.take("matched", "then", "update", "set"):
		kind = "MATCHED"
		for _, item := range list(c.until(stop...)) {
			a := &cursor{toks: item}
			name, err := a.name()
			if err != nil {
				return "", err
			}
			named := func(t token) bool { return t.name() == name.last() }
			if slices.ContainsFunc(on, named) { // opengauss.md 2.3
				return "", newFault("42P10", "Columns referenced in the ON Clause cannot be updated: %q", name.last())
			}
		}
	case c.take("not", "matched", "then", "insert"):
		kind = "NOT MATCHED"
		c.until(stop...)
	default:
		c.take("not")
		if c.take("matched") {
			c.take("then")
		}
		return "", c.syntaxError()
	}
	if c.at("where") {
		return "", unknown("MERGE with WHERE")
	}
	if c.i < len(c.toks) && !c.at("when") {
		return "", c.syntaxError()
	}
	return kind, nil
}
