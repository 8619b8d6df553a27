package ogtest

import (
	"slices"
	"strings"
)

// bothTypes are the names of types that are the same in both servers
// (opengauss.md 5.1). The ones that lack a registration in clients are not
// among them: PostgreSQL cannot imitate their OIDs.
var bothTypes = strings.Fields(`bool boolean int2 smallint int4 int integer int8 bigint float4 real float8 double float
	numeric decimal dec text varchar character char bpchar bytea date timestamp timestamptz time interval json jsonb uuid
	inet cidr macaddr xml bit varbit oid regclass regtype name smallserial serial bigserial serial2 serial4 serial8 point
	lseg path box polygon line circle int4range int8range numrange tsrange tstzrange daterange anyarray void`)

// renamedTypes are names that PostgreSQL does not have (opengauss.md 5.1).
var renamedTypes = map[string]string{"number": "numeric", "varchar2": "varchar"}

// otherTypes are types of openGauss that PostgreSQL does not have
// (opengauss.md 5.1).
var otherTypes = strings.Fields("tinyint nvarchar2 clob smalldatetime raw blob money timetz hstore tsvector tsquery")

func isType(name string) bool {
	return slices.Contains(bothTypes, name) || slices.Contains(otherTypes, name) || renamedTypes[name] != ""
}

// dolphinTypes are what a type without a precision is with the dolphin plugin
// (opengauss.md 11).
var dolphinTypes = map[string]string{
	"numeric": "numeric(10,0)", "decimal": "numeric(10,0)", "number": "numeric(10,0)", "dec": "numeric(10,0)",
	"timestamp": "timestamptz(0)", "time": "time(0)", "float": "real",
}

// rewriteType changes the type that begins at toks[i], and returns the index
// of what follows it. A type that is neither of both servers nor known to be
// of openGauss is one of the client's own: an enum, say.
func (s *session) rewriteType(toks []token, i int) (int, error) {
	c := &cursor{toks: toks, i: i}
	c.take("pg_catalog", ".")
	first := c.i
	name, err := c.name()
	if err != nil {
		return 0, err
	}
	t := &toks[first]
	if t.kind == word && len(name) == 1 && slices.Contains(otherTypes, t.word) {
		return 0, unknown("the type %s", t.text)
	}
	for c.takeAny("precision", "varying") != "" {
	}
	precise := c.at("(")
	if precise {
		if _, err := c.group(); err != nil {
			return 0, err
		}
	}
	zone := c.take("with", "time", "zone") || c.take("without", "time", "zone")
	if t.kind == word && len(name) == 1 {
		switch {
		case t.word == "date" && s.opts.Mode == "A":
			t.text = "timestamp(0)" // opengauss.md 5.1
		case s.opts.Dolphin && !precise && !zone && dolphinTypes[t.word] != "":
			t.text = dolphinTypes[t.word]
		case s.opts.Dolphin && precise && !zone && t.word == "timestamp":
			t.text = "timestamptz"
		case renamedTypes[t.word] != "":
			t.text = renamedTypes[t.word]
		}
	}
	for c.take("[") {
		if c.peek().kind == number {
			c.i++
		}
		if !c.take("]") {
			return 0, c.syntaxError()
		}
	}
	return c.i, nil
}
