package ogtest

import (
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgproto3"
)

// copyOptions are the options of a COPY by their lower-case name, with their
// values as SQL.
type copyOptions map[string]string

// copyStatement is COPY from and to the client (opengauss.md 4).
func copyStatement(s *session, c *cursor) (*plan, error) {
	c.take("copy")
	if c.at("(") {
		return s.copyQuery(c)
	}
	name, err := c.name()
	if err != nil {
		return nil, err
	}
	var columns []string
	if c.at("(") {
		group, err := c.group()
		if err != nil {
			return nil, err
		}
		for _, item := range list(group) {
			if len(item) != 1 {
				return nil, unknown("the column %s", source(item))
			}
			columns = append(columns, item[0].name())
		}
	}
	target := source(c.toks[1:c.i])
	in := c.take("from", "stdin")
	if !in && !c.take("to", "stdout") {
		return nil, unknown("COPY other than FROM STDIN and TO STDOUT")
	}
	opts, err := parseCopyOptions(c)
	if err != nil {
		return nil, err
	}
	p := &plan{}
	if !in {
		p.sql = "COPY " + target + " TO STDOUT " + opts.sql()
		return p, nil
	}
	if opts["format"] == "" || opts["format"] != "binary" {
		if err := s.copyText(p, name, columns, opts); err != nil {
			return nil, err
		}
	}
	p.sql = "COPY " + target + " FROM STDIN " + opts.sql()
	return p, nil
}

func (s *session) copyQuery(c *cursor) (*plan, error) {
	from := c.i
	if _, err := c.group(); err != nil {
		return nil, err
	}
	query, err := s.rewrite(c.toks[from:c.i])
	if err != nil {
		return nil, err
	}
	if !c.take("to", "stdout") {
		return nil, c.syntaxError()
	}
	opts, err := parseCopyOptions(c)
	return &plan{sql: "COPY " + source(query) + " TO STDOUT " + opts.sql()}, err
}

func (o copyOptions) sql() string {
	if len(o) == 0 {
		return ""
	}
	var parts []string
	for name, value := range o {
		parts = append(parts, name+" "+value)
	}
	slices.Sort(parts)
	return "(" + strings.Join(parts, ", ") + ")"
}

var copyOptionNames = strings.Fields("format delimiter null header quote escape encoding force_quote force_not_null freeze")

// parseCopyOptions reads the options in either syntax. FREEZE changes nothing
// that a client sees, and is left out (opengauss.md 4).
func parseCopyOptions(c *cursor) (copyOptions, error) {
	with := c.take("with")
	o := copyOptions{}
	if !c.at("(") {
		return o, o.parseOld(c, with)
	}
	group, err := c.group()
	if err != nil {
		return nil, err
	}
	for _, item := range list(group) {
		if len(item) == 0 {
			return nil, c.syntaxError()
		}
		name := item[0].word
		if !slices.Contains(copyOptionNames, name) {
			// FORCE_NULL and ON_ERROR are among the unknown ones (opengauss.md 4).
			return nil, newFault("42601", "option %q not recognized", name)
		}
		o[name] = strings.TrimSpace(source(item[1:]))
	}
	o["format"] = strings.ToLower(strings.Trim(o["format"], "'\""))
	if o["format"] == "" {
		o["format"] = "text"
	}
	delete(o, "freeze")
	if strings.EqualFold(o["header"], "match") {
		return nil, newFault("42601", "header requires a Boolean value")
	}
	return o, c.done()
}

// parseOld reads the options of the old syntax, one after the other.
func (o copyOptions) parseOld(c *cursor, with bool) error {
	o["format"] = "text"
	for c.i < len(c.toks) {
		switch w := c.peek().word; w {
		case "binary", "csv":
			c.i++
			o["format"] = w
		case "header":
			c.i++
			o["header"] = "true"
		case "freeze":
			c.i++
		case "delimiter", "null", "quote", "escape", "encoding":
			c.i++
			c.take("as")
			if c.peek().kind != text {
				return c.syntaxError()
			}
			o[w] = c.peek().text
			c.i++
		case "log", "reject":
			// The error table has to be made by an administrator first (opengauss.md 4).
			return newFault("42704", "could not find public.pgxc_copy_error_log")
		case "where":
			return c.syntaxError()
		default:
			if with && c.peek().kind != word {
				return c.syntaxError()
			}
			return unknown("the COPY option %s", source(c.rest()))
		}
	}
	return nil
}

// copyText arranges what happens to empty fields: they are NULL for every type
// in mode A, and for all but strings elsewhere (opengauss.md 4, 5.2). In CSV an
// empty field without quotes is NULL in any case, as in PostgreSQL.
func (s *session) copyText(p *plan, name qualified, columns []string, o copyOptions) error {
	t, err := s.lookUp(name)
	if err != nil || t == nil {
		return err
	}
	if columns == nil {
		for _, c := range t.Columns {
			columns = append(columns, c.Name)
		}
	}
	empty := make([]bool, len(columns))
	var nulls []string
	for i, name := range columns {
		c := t.column(name)
		if empty[i] = s.emptyIsNull() || c != nil && !c.String; empty[i] && c != nil {
			nulls = append(nulls, ident(name))
		}
	}
	if o["format"] == "csv" {
		if o["null"] != "" && o["null"] != "''" {
			return unknown("CSV with a NULL string")
		}
		if len(nulls) > 0 {
			o["force_null"] = "(" + strings.Join(nulls, ", ") + ")"
		}
		return nil
	}
	p.copyIn = newCopyText(unquoted(o["delimiter"], "\t"), unquoted(o["null"], `\N`), empty)
	return nil
}

// unquoted is the value of a string constant that an option has, or the default.
func unquoted(constant, otherwise string) string {
	switch {
	case constant == "":
		return otherwise
	case len(constant) == 4 && strings.EqualFold(constant, `E'\t'`):
		return "\t"
	}
	return token{kind: text, text: constant}.constant()
}

// feed takes the client's data to PostgreSQL until its end.
func (s *session) feed(p *plan) error {
	if err := s.client.Flush(); err != nil {
		return err
	}
	for {
		msg, err := s.client.Receive()
		if err != nil {
			return err
		}
		switch msg := msg.(type) {
		case *pgproto3.CopyData:
			s.backend.Send(&pgproto3.CopyData{Data: p.copyIn.feed(msg.Data)})
		case *pgproto3.CopyDone:
			if end := p.copyIn.finish(); len(end) > 0 {
				s.backend.Send(&pgproto3.CopyData{Data: end})
			}
			s.backend.Send(msg)
			if s.extended {
				s.backend.Send(&pgproto3.Flush{})
			}
			return s.backend.Flush()
		case *pgproto3.CopyFail:
			s.backend.Send(msg)
			if s.extended {
				s.backend.Send(&pgproto3.Flush{})
			}
			return s.backend.Flush()
		case *pgproto3.Flush, *pgproto3.Sync:
			continue // PostgreSQL's answer to them during COPY is none
		default:
			return fatal("08P01", "unexpected message type %T during COPY from stdin", msg)
		}
		if err := s.backend.Flush(); err != nil {
			return err
		}
	}
}
