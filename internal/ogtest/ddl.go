package ogtest

import (
	"slices"
	"strings"
)

func create(s *session, c *cursor) (*plan, error) {
	c.take("create")
	if c.at("or", "replace") && c.toks[c.i+2].word != "view" {
		return nil, unknown("%s", excerpt(source(c.toks)))
	}
	c.take("or", "replace")
	switch {
	case c.at("global"):
		return nil, unknown("global temporary tables")
	case c.at("table"), c.at("temp"), c.at("temporary"), c.at("local"), c.at("unlogged"):
		return createTable(s, c)
	case c.at("index"), c.at("unique"):
		return createIndex(s, c)
	case c.take("schema"):
		return s.createNamed(c, "3.1.0")
	case c.take("sequence"):
		return s.createNamed(c, "5.1.0")
	case c.at("view"):
		return s.rewritten(c.toks)
	case c.at("type") && find(c.toks, "as", "enum") > 0:
		return &plan{sql: source(c.toks)}, nil
	}
	return nil, unknown("%s", excerpt(source(c.toks)))
}

// createNamed is the creation of something that knows IF NOT EXISTS from a
// version on (opengauss.md 6.2).
func (s *session) createNamed(c *cursor, since string) (*plan, error) {
	if c.at("if", "not", "exists") && !s.opts.since(since) {
		c.i++
		return nil, c.syntaxError()
	}
	return &plan{sql: source(c.toks)}, nil
}

func createTable(s *session, c *cursor) (*plan, error) {
	p := &plan{}
	for kind := " "; kind != ""; {
		kind = c.takeAny("local", "temp", "temporary", "unlogged")
		p.temp = p.temp || strings.HasPrefix(kind, "temp")
	}
	if !c.take("table") {
		return nil, c.syntaxError()
	}
	c.take("if", "not", "exists")
	name, err := c.name()
	if err != nil {
		return nil, err
	}
	// An ordinary user gets no CREATE on schema public (opengauss.md 1, number 14).
	if len(name) == 2 && name[0] == "public" && !s.user.Admin {
		p.refusal = newFault("42501", "permission denied for schema public")
	}
	if !c.at("(") {
		return nil, unknown("CREATE TABLE without a list of columns")
	}
	from := c.i
	elements, err := c.group()
	if err != nil {
		return nil, err
	}
	for _, e := range list(elements) {
		if err := s.element(e); err != nil {
			return nil, err
		}
	}
	head := c.toks[:from]
	body, err := s.rewrite(c.toks[from:c.i])
	if err != nil {
		return nil, err
	}
	tail, refusal, err := tableOptions(c)
	if err != nil {
		return nil, err
	}
	if refusal != nil {
		p.refusal = refusal
	}
	p.sql = source(head) + source(body) + " " + tail
	if s.opts.bytesCounted() {
		p.guard = name.String()
		if p.temp && len(name) == 1 {
			p.guard = "pg_temp." + p.guard
		}
	}
	return p, nil
}

// element changes the type of a column of CREATE TABLE, in place.
func (s *session) element(e []token) error {
	c := &cursor{toks: e}
	switch c.peek().word {
	case "primary", "unique", "constraint", "check", "foreign":
		return nil
	case "like":
		if find(e, "identity") >= 0 || find(e, "statistics") >= 0 || find(e, "compression") >= 0 {
			return unknown("%s", source(e))
		}
		return nil
	case "exclude":
		return unknown("exclusion constraints")
	}
	return s.column(c)
}

// column reads name, type and the rest of a column definition.
func (s *session) column(c *cursor) error {
	if t := c.peek(); slices.Contains(reservedWords, t.word) || t.word == "excluded" || t.word == "maxvalue" {
		return c.syntaxError() // opengauss.md 5.3
	}
	if _, err := c.name(); err != nil {
		return err
	}
	next, err := s.rewriteType(c.toks, c.i)
	if err != nil {
		return err
	}
	rest := c.toks[next:]
	if i := find(rest, "auto_increment"); i >= 0 {
		if s.opts.Mode == "B" && s.opts.since("3.1.0") {
			return unknown("AUTO_INCREMENT in mode B")
		}
		return newFault("0A000", "auto_increment is supported only in B-format database") // opengauss.md 5.3
	}
	if i := find(rest, "as", "identity"); i >= 0 {
		return syntaxErrorAt(rest[i+1]) // opengauss.md 1, number 11
	}
	for _, w := range []string{"compression", "storage"} {
		if i := find(rest, w); i >= 0 {
			return unknown("the column option %s", w)
		}
	}
	return nil
}

// tableOptions are what follows the columns. ON COMMIT DROP does not exist
// (opengauss.md 6.2); a storage that rows do not show is left out.
func tableOptions(c *cursor) (tail string, refusal *fault, err error) {
	for c.i < len(c.toks) {
		switch {
		case c.at("on", "commit", "drop"):
			c.i += 3
			refusal = newFault("42P16", "ON COMMIT only support PRESERVE ROWS or DELETE ROWS option")
		case c.at("on", "commit", "delete", "rows"), c.at("on", "commit", "preserve", "rows"):
			tail += source(c.toks[c.i : c.i+4])
			c.i += 4
		case c.take("with"):
			options, err := c.group()
			if err != nil {
				return "", nil, err
			}
			kept := ""
			for _, o := range list(options) {
				switch {
				case startsWith(o, "storage_type"), startsWith(o, "orientation", "=", "row"):
				case startsWith(o, "fillfactor"):
					kept = "WITH (" + source(o) + ")"
				default:
					return "", nil, unknown("the table option %s", source(o))
				}
			}
			tail += kept
		default:
			return "", nil, unknown("%s after the columns of a table", source(c.rest()))
		}
	}
	return tail, refusal, nil
}

const indexExistsSQL = `SELECT EXISTS (SELECT 1 FROM pg_catalog.pg_class t JOIN pg_catalog.pg_class i
	ON i.relnamespace = t.relnamespace AND i.relname = split_part($1, chr(10), 2)
	WHERE t.oid = to_regclass(split_part($1, chr(10), 1)))::text`

func createIndex(s *session, c *cursor) (*plan, error) {
	c.take("unique")
	c.take("index")
	c.take("concurrently")
	missing := c.at("if", "not", "exists")
	if missing && !s.opts.since("5.0.0") { // opengauss.md 6.2
		c.i++
		return nil, c.syntaxError()
	}
	c.take("if", "not", "exists")
	var index qualified
	var err error
	if missing || !c.at("on") {
		if index, err = c.name(); err != nil {
			return nil, err
		}
	}
	if !c.take("on") {
		return nil, c.syntaxError()
	}
	table, err := c.name()
	if err != nil {
		return nil, err
	}
	restricts := false
	if missing && !s.opts.since("6.0.0") { // opengauss.md 11
		exists, err := s.ask(indexExistsSQL, table.String()+"\n"+index.last())
		if err != nil {
			return nil, err
		}
		restricts = exists == "true"
	}
	for _, w := range []string{"include", "nulls", "with", "tablespace"} {
		if find(c.rest(), w) >= 0 && find(c.rest(), "nulls", "not") < 0 {
			return nil, unknown("CREATE INDEX with %s", strings.ToUpper(w))
		}
	}
	if c.take("using") && !c.take("btree") {
		return nil, unknown("indexes other than btree")
	}
	p, err := s.rewrittenFrom(c.toks, c.i)
	if err != nil {
		return nil, err
	}
	p.restricts = restricts
	return p, nil
}

func drop(_ *session, c *cursor) (*plan, error) {
	c.take("drop")
	switch c.peek().word {
	case "table", "index", "view", "schema", "sequence", "type":
		return &plan{sql: source(c.toks)}, nil
	}
	return nil, unknown("%s", excerpt(source(c.toks)))
}

func alter(s *session, c *cursor) (*plan, error) {
	c.take("alter")
	if !c.take("table") {
		if c.at("index") || c.at("sequence") || c.at("schema") {
			return &plan{sql: source(c.toks)}, nil
		}
		return nil, unknown("%s", excerpt(source(c.toks)))
	}
	c.take("if", "exists")
	c.take("only")
	name, err := c.name()
	if err != nil {
		return nil, err
	}
	for _, action := range list(c.rest()) {
		if err := s.alterAction(&cursor{toks: action}); err != nil {
			return nil, err
		}
	}
	toks, err := s.rewrite(c.toks)
	if err != nil {
		return nil, err
	}
	p := &plan{sql: source(toks)}
	if s.opts.bytesCounted() && !c.at("rename") && !c.at("set", "schema") {
		p.guard = name.String()
	}
	return p, nil
}

// alterAction changes one of the actions of ALTER TABLE, in place.
func (s *session) alterAction(c *cursor) error {
	switch {
	case c.take("add"):
		switch c.peek().word {
		case "constraint", "primary", "unique", "check", "foreign":
			return nil
		}
		c.take("column")
		if c.at("if", "not", "exists") { // opengauss.md 6.2
			c.i++
			return c.syntaxError()
		}
		return s.column(c)
	case c.take("alter"):
		c.take("column")
		if _, err := c.name(); err != nil {
			return err
		}
		switch {
		case c.take("set", "data", "type"), c.take("type"):
			_, err := s.rewriteType(c.toks, c.i)
			return err
		case c.at("set", "not", "null"), c.at("drop", "not", "null"), c.at("set", "default"), c.at("drop", "default"):
			return nil
		case c.at("add", "generated"), c.at("set", "generated"): // no identity columns, opengauss.md 5.3
			c.i++
			return c.syntaxError()
		case c.at("drop", "identity"), c.at("drop", "expression"):
			c.i++
			return c.syntaxError()
		}
	case c.at("drop"), c.at("rename"), c.at("owner"), c.at("set", "schema"):
		return nil
	}
	return unknown("ALTER TABLE %s", excerpt(source(c.toks)))
}
