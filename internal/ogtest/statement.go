package ogtest

import (
	"slices"
	"strings"
)

// plan is a statement as PostgreSQL gets it, and what the stand-in does beside.
type plan struct {
	verb    string // the first word
	sql     string
	refusal *fault // what openGauss finds wrong when the statement runs, not before

	settings  bool      // it changes settings
	endsTx    bool      // it ends a transaction, or a part of one
	temp      bool      // it creates a temporary table
	restricts bool      // see session.restricted
	guard     string    // table whose varchar columns are to count bytes
	copyIn    *copyText // changes what is copied in; nil: nothing does
	upsert    bool      // depends on the unique indexes of the table
	view      string    // what stands in for the table
	table     string
}

// statements are those that the stand-in knows, by their first word.
var statements map[string]func(*session, *cursor) (*plan, error)

func init() {
	statements = map[string]func(*session, *cursor) (*plan, error){
		"select": query, "values": query, "with": query, "table": query, "(": query,
		"insert": insert, "replace": replace, "update": change, "delete": change, "merge": merge,
		"copy": copyStatement, "truncate": change,
		"create": create, "drop": drop, "alter": alter, "comment": utility, "grant": utility, "revoke": utility,
		"analyze": utility, "vacuum": utility, "lock": utility,
		"begin": begin, "start": begin, "commit": endTx, "end": endTx, "rollback": endTx, "abort": endTx,
		"savepoint": endTx, "release": endTx,
		"set": set, "reset": reset, "show": show, "deallocate": utility,
		"discard": absent, "listen": absent, "notify": absent, "unlisten": absent,
	}
}

// translate makes openGauss's statement one of PostgreSQL. The stand-in is
// strict: what it does not know is an error.
func (s *session) translate(toks []token) (*plan, error) {
	s.current = nil
	verb := toks[0].word
	f := statements[verb]
	if f == nil {
		if toks[0].kind != word {
			return nil, syntaxErrorAt(toks[0])
		}
		return nil, unknown("the statement %s", excerpt(source(toks)))
	}
	if err := balanced(toks); err != nil {
		return nil, err
	}
	p, err := f(s, &cursor{toks: slices.Clone(toks)})
	if err != nil {
		return nil, err
	}
	p.verb = verb
	if verb == "start" {
		p.verb = "begin"
	}
	return p, nil
}

// balanced makes sure that every parenthesis has its other one, which all
// that follows relies on.
func balanced(toks []token) error {
	depth := 0
	for _, t := range toks {
		switch t.word {
		case "(":
			depth++
		case ")":
			depth--
		}
		if depth < 0 {
			return syntaxErrorAt(t)
		}
	}
	if depth > 0 {
		return newFault("42601", "syntax error at end of input")
	}
	return nil
}

// absent are statements that openGauss parses and does not have
// (opengauss.md 6.2).
func absent(_ *session, c *cursor) (*plan, error) {
	return nil, newFault("0A000", "%s statement is not yet supported.", strings.ToUpper(c.peek().text))
}

// query is SELECT and its kin.
func query(s *session, c *cursor) (*plan, error) {
	if c.at("with") && find(c.toks, "on", "duplicate", "key") >= 0 {
		// WITH and ON DUPLICATE KEY exclude each other (opengauss.md 2.1).
		return nil, syntaxErrorAt(c.toks[find(c.toks, "on", "duplicate", "key")+1])
	}
	if i := find(c.toks, "into"); i >= 0 && find(c.toks, "insert") < 0 {
		return nil, unknown("SELECT INTO")
	}
	return s.rewritten(c.toks)
}

// change is UPDATE, DELETE and TRUNCATE.
func change(s *session, c *cursor) (*plan, error) { return s.rewritten(c.toks) }

// rewritten is the plan of a statement that differs from PostgreSQL's in its
// expressions only.
func (s *session) rewritten(toks []token) (*plan, error) {
	toks, err := s.rewrite(toks)
	if err != nil {
		return nil, err
	}
	return &plan{sql: source(toks)}, nil
}

// utility are statements that are the same in PostgreSQL.
func utility(_ *session, c *cursor) (*plan, error) {
	if i := find(c.toks, "("); i >= 0 && (c.at("vacuum") || c.at("analyze")) && c.toks[i-1].kind == word && i == 1 {
		return nil, unknown("%s with a list of options", c.toks[0].text)
	}
	return &plan{sql: source(c.toks)}, nil
}

func begin(_ *session, c *cursor) (*plan, error) {
	for i, t := range c.toks {
		if t.word == "serializable" {
			c.toks[i].text = "REPEATABLE READ" // opengauss.md 6.2
		}
	}
	if find(c.toks, "deferrable") >= 0 {
		return nil, unknown("DEFERRABLE transactions")
	}
	return &plan{sql: source(c.toks)}, nil
}

// endTx are the statements after which settings may be what they were before.
func endTx(_ *session, c *cursor) (*plan, error) {
	if find(c.toks, "prepared") >= 0 || find(c.toks, "chain") >= 0 {
		return nil, unknown("%s", source(c.toks))
	}
	return &plan{sql: source(c.toks), endsTx: true}, nil
}

// set is SET [LOCAL | SESSION] name = value, and SET TRANSACTION.
func set(s *session, c *cursor) (*plan, error) {
	c.take("set")
	local := c.takeAny("local", "session")
	switch {
	case c.at("transaction"), c.at("characteristics"):
		return begin(s, &cursor{toks: c.toks})
	case c.take("time", "zone"):
		return &plan{sql: source(c.toks)}, nil
	case startsWith(c.rest(), "role", "none"):
		return &plan{sql: source(c.toks)}, nil
	case c.at("role"), c.at("authorization"), c.at("constraints"), c.at("names"):
		return nil, unknown("SET %s", c.peek().text)
	}
	name, err := c.name()
	if err != nil {
		return nil, err
	}
	if c.takeAny("=", "to") == "" || c.i == len(c.toks) {
		return nil, c.syntaxError()
	}
	key, err := s.opts.setting(strings.Join(name, "."))
	if err != nil {
		return nil, err
	}
	if err := s.changeable(name.last()); err != nil {
		return nil, err
	}
	if key == name.last() {
		for i, t := range c.toks {
			if noSerializable(t.constant()) != t.constant() {
				c.toks[i].text = "'repeatable read'" // opengauss.md 6.2
			}
		}
		return &plan{sql: source(c.toks)}, nil
	}
	value := "DEFAULT"
	if !c.at("default") {
		v := ""
		for _, t := range c.rest() {
			v += t.constant()
		}
		if v, err = ownValue(name.last(), v); err != nil {
			return nil, err
		}
		value = literal(v)
	}
	return &plan{sql: "SET " + local + " " + key + " TO " + value, settings: true}, nil
}

func reset(s *session, c *cursor) (*plan, error) {
	c.take("reset")
	if c.at("all") {
		return &plan{sql: source(c.toks), settings: true}, nil
	}
	return s.named("RESET", c)
}

func show(s *session, c *cursor) (*plan, error) {
	c.take("show")
	if c.take("transaction", "isolation", "level") {
		return &plan{sql: source(c.toks)}, c.done()
	}
	if c.at("all") {
		return nil, unknown("SHOW ALL")
	}
	return s.named("SHOW", c)
}

// named is a statement about one setting.
func (s *session) named(verb string, c *cursor) (*plan, error) {
	name, err := c.name()
	if err != nil {
		return nil, err
	}
	key, err := s.opts.setting(strings.Join(name, "."))
	if err != nil {
		return nil, err
	}
	return &plan{sql: verb + " " + key, settings: verb == "RESET"}, c.done()
}
