package pgdest

import (
	"fmt"
	"hash/fnv"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/memdbwriter/memdbwriter/internal/dest"
	"github.com/memdbwriter/memdbwriter/internal/sqltext"
)

// A batch that may meet known keys goes through a temporary table. It has the
// columns that are written, with built-in types only: a session that idles
// with it keeps nobody from dropping a type or an extension. A value of a
// user's type arrives as text and is cast in the statement that reads it,
// without the type's modifier, which the assignment applies: a cast to
// varchar(3) would cut what the assignment refuses.
//
// It stays in the session, empty between transactions. So it is made once, and
// not with every batch: that would put a line of DDL into the server's log and
// call event triggers each time.

// firstUserOID is the first OID that is not of a built-in thing.
const firstUserOID = 16384

// inner is the type that values of the column have in the temporary table, and
// cast what makes them values of the column's type; empty if they are.
func (c column) inner() (typ, cast sqltext.SQL) {
	name := sqltext.Name(c.typeSchema, c.typeName)
	if c.builtIn() {
		modifiers, known := c.modifiers()
		switch {
		case known && len(modifiers) == 0:
			return name, sqltext.SQL{}
		case known:
			return sqltext.Format("{}({})", name, sqltext.Ints(modifiers...)), sqltext.SQL{}
		}
	}
	if c.typ.BySession() {
		return name, sqltext.SQL{}
	}
	return sqltext.Const("pg_catalog.text"), sqltext.Format("::{}", name)
}

// builtIn tells whether the type is there in every database.
func (c column) builtIn() bool { return c.typ.OID < firstUserOID && c.typeSchema == "pg_catalog" }

// modifiers are the numbers behind the name of a built-in type, of which the
// catalogue has one that they are packed into. known is false if we do not
// know how.
func (c column) modifiers() (numbers []int32, known bool) {
	mod := c.typ.Mod
	if mod < 0 {
		return nil, true
	}
	switch strings.TrimPrefix(c.typeName, "_") {
	case "varchar", "bpchar", "nvarchar2":
		return []int32{mod - 4}, true
	case "numeric":
		precision, scale := (mod-4)>>16&0xffff, (mod-4)&0x7ff
		return []int32{precision, (scale ^ 1024) - 1024}, true // the scale has a sign from PostgreSQL 15 on
	case "time", "timetz", "timestamp", "timestamptz", "bit", "varbit":
		return []int32{mod}, true
	case "interval":
		fields, precision := mod>>16&0x7fff, mod&0xffff
		if precision == 0xffff {
			return []int32{fields}, true
		}
		return []int32{fields, precision}, true
	}
	return nil, false
}

// temporary is a temporary table.
type temporary struct {
	name     string
	create   sqltext.SQL
	position string // the column with the sequence number; empty: there is none
	brief    bool   // it lasts for one transaction
}

// bareColumns defines the columns of a temporary table that refuses no value for
// its length.
func (m *mover) bareColumns() sqltext.SQL {
	var defs []sqltext.SQL
	for _, c := range m.t.Columns {
		got := m.s.columns[c.Name]
		typ, cast := got.inner()
		if cast.Empty() {
			typ = sqltext.Name(got.typeSchema, got.typeName)
		}
		defs = append(defs, sqltext.Format("{} {}", sqltext.Ident(c.Name), typ))
	}
	return sqltext.Join(", ", defs...)
}

// tempName is the name of a temporary table with these columns. It tells
// everything that the table depends on, so that a session never meets one of
// another shape.
func tempName(s *shape, columns sqltext.SQL) string {
	h := fnv.New64a()
	fmt.Fprint(h, s.oid, columns)
	for _, name := range s.order {
		c := s.columns[name]
		fmt.Fprint(h, " ", c.typeOID, c.typ.OID, c.typ.Mod)
	}
	return fmt.Sprintf("memdbwriter_%016x", h.Sum64())
}

// brief tells whether a temporary table for the rows of t lasts for one
// transaction only, because it has a column of a user's type: a value that is
// read by the settings of the session (see copyForm) is read by COPY, and not
// when those of the application are back.
func (s *shape) brief(t *dest.Table) bool {
	return s.dialect.restores && slices.ContainsFunc(t.Columns, func(c dest.Column) bool {
		got := s.columns[c.Name]
		return got.typ.BySession() && !got.builtIn()
	})
}

// onCommit is what becomes of the temporary table.
func onCommit(brief bool) sqltext.SQL {
	if brief {
		return sqltext.Const("ON COMMIT DROP")
	}
	return sqltext.Const("ON COMMIT DELETE ROWS")
}

// newTemporary returns the temporary table for the rows of t.
func newTemporary(t *dest.Table, s *shape, position bool) temporary {
	var defs []sqltext.SQL
	for _, c := range t.Columns {
		typ, _ := s.columns[c.Name].inner()
		defs = append(defs, sqltext.Format("{} {}", sqltext.Ident(c.Name), typ))
	}
	temp := temporary{brief: s.brief(t)}
	if position {
		temp.position = "seq"
		for hasColumn(t, temp.position) {
			temp.position += "_"
		}
		defs = append(defs, sqltext.Format("{} pg_catalog.int8", sqltext.Ident(temp.position)))
	}
	columns := sqltext.Join(", ", defs...)
	temp.name = tempName(s, columns)
	// The notice that it exists already is kept from the caller's handler.
	temp.create = sqltext.Format("SET LOCAL client_min_messages = warning;\n"+
		"CREATE TEMPORARY TABLE IF NOT EXISTS {} ({}) {}", sqltext.Ident(temp.name), columns, onCommit(temp.brief))
	return temp
}

// source is the table's name in statements.
func (temp *temporary) source() sqltext.SQL { return sqltext.Name("pg_temp", temp.name) }

// fill copies a batch into the temporary table.
func (m *mover) fill() sqltext.SQL {
	columns := m.columns()
	if m.temp.position != "" {
		columns = sqltext.Format("{}, {}", columns, sqltext.Ident(m.temp.position))
	}
	return m.copy.sql(m.temp.source(), columns)
}

// madeKey is the place, in the data of a connection, of the temporary tables
// that its session has: a map[string]bool.
const madeKey = setUpKey + "/temporary"

// hasTemporary tells whether the session had the table when it was last used.
// Behind a pooler it may be another session by now.
func hasTemporary(pg *pgconn.PgConn, name string) bool {
	made, _ := pg.CustomData()[madeKey].(map[string]bool)
	return made[name]
}

func noteTemporary(pg *pgconn.PgConn, name string, made bool) {
	all, _ := pg.CustomData()[madeKey].(map[string]bool)
	if all == nil {
		all = map[string]bool{}
		pg.CustomData()[madeKey] = all
	}
	all[name] = made
}

// lacksTemporary tells whether err says that the session has no such table, or
// no temporary table at all.
func lacksTemporary(err error, name string) bool {
	switch stateOf(err) {
	case undefinedTable:
		return strings.Contains(err.Error(), name)
	case undefinedSchema:
		return strings.Contains(err.Error(), "pg_temp")
	}
	return false
}
