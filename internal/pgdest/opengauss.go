package pgdest

import (
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/memdbwriter/memdbwriter/internal/dest"
	"github.com/memdbwriter/memdbwriter/internal/sqltext"
)

// This file holds what openGauss, which left PostgreSQL at 9.2, does not share
// with it. The login is package opengauss's.

var openGauss = &dialect{
	name: "opengauss",
	// A session that idles for session_timeout, ten minutes, is ended, within
	// a transaction too. While that is on, statement_timeout is not. The unit
	// of the other one is the second.
	setUp: []sqltext.SQL{
		sqltext.Const("SET session_timeout = 0"),
		sqltext.Const("SET idle_in_transaction_session_timeout = 0"), // from 3.0.0 on
	},
	programs:   sqltext.Const("false"), // what it calls PL/pgSQL differs
	hasDefault: sqltext.Const("a.atthasdef"),
	identity:   sqltext.Const("NULL"),
	generated: sqltext.Const("EXISTS (SELECT 1 FROM pg_catalog.pg_attrdef g" +
		" WHERE g.adrelid" + eq + "a.attrelid AND g.adnum" + eq + "a.attnum AND g.adgencol" + eq + "'s')"),
	facts: sqltext.Const("SELECT pg_catalog.version(), pg_catalog.current_setting('sql_compatibility')"),

	traits: openGaussTraits,
	family: sqltext.Const("SELECT c.oid"), // a partition has no trigger of its own
	// Its row-level security does not concern COPY, and refuses ON DUPLICATE KEY,
	// for which another form is taken.
	rowSecurity: sqltext.Const("false"),
	// Collations of mode B ignore case or blanks at the end.
	deterministic: sqltext.Const("NOT (pg_catalog.right(co.collname::pg_catalog.text, 3)" + eq + "'_ci'" +
		" OR pg_catalog.right(co.collname::pg_catalog.text, 4)" + eq + "'_bin')"),

	transactions: openGaussTransactions,
	differ:       differByText,

	anyKey:    true,
	exactKeys: true,
	// CREATE INDEX IF NOT EXISTS on an index that exists leaves a session of
	// 5.0 without the right to make temporary tables.
	freshAfterDDL: true,
	forms: []form{
		{fits: onlyUniqueKey, guard: sameUniqueIndexes, sql: onDuplicateKey(excluded)},
		// With the plugin dolphin.
		{fits: onlyUniqueKey, guard: sameUniqueIndexes, sql: onDuplicateKey(valuesOf)},
		{sql: updateAndInsert, last: lastNew, overtakes: true},
	},
}

// setFacts takes over what the row of dialect.facts says.
func (s *shape) setFacts(f record) { s.version, s.mode = f[0], f[1] }

// countsBytes tells whether varchar(n) counts bytes.
func (s *shape) countsBytes() bool { return s.mode == "A" || s.mode == "C" }

// mayBeDolphin tells whether the plugin dolphin, in which a tinyint has a
// sign, may be there.
func (s *shape) mayBeDolphin() bool { return s.mode == "B" }

// onlyUniqueKey tells whether the table's unique indexes are all on the key. ON
// DUPLICATE KEY cannot name an index: another one that has a row's values
// already would make it update the wrong row. It inserts a row whose key is
// known when none is there, and refuses deferrable ones.
func onlyUniqueKey(t *dest.Table, s *shape) bool {
	for _, k := range s.keys {
		if !k.immediate {
			return false
		}
	}
	return len(s.keys) > 0 && len(s.arbiters(t)) == len(s.keys)
}

// sameUniqueIndexes divides by zero if the unique indexes are not those that
// onlyUniqueKey saw. The lock of the INSERT before it keeps them as they are.
func sameUniqueIndexes(s *shape) sqltext.SQL {
	var oids []uint32
	for _, k := range s.keys {
		oids = append(oids, k.oid)
	}
	same := sqltext.Format("pg_catalog.count(*)"+eq+"{} AND pg_catalog.bool_and(indexrelid"+eq+"ANY (ARRAY[{}]::pg_catalog.oid[]))",
		sqltext.Int(len(oids)), sqltext.Ints(oids...))
	return sqltext.Format("SELECT {} FROM pg_catalog.pg_index WHERE indrelid"+eq+"{}::pg_catalog.regclass AND indisunique",
		failUnless(same), sqltext.Literal(s.relation().String()))
}

// onDuplicateKey is the form that has value for a value of the row that was not
// inserted. A row that need not be written is left out: it would cost a number
// of a sequence.
func onDuplicateKey(value func(dest.Column) sqltext.SQL) func(m *mover, source sqltext.SQL) []statement {
	return func(m *mover, source sqltext.SQL) []statement {
		sql := sqltext.Format("{} ON DUPLICATE KEY UPDATE ", m.insert(source, m.absent(m.unchangedRow())))
		if set, _ := m.updated(); len(set) == 0 {
			return []statement{{sqltext.Format("{}NOTHING", sql), written}}
		}
		return []statement{{sqltext.Format("{}{} WHERE {}", sql, m.set(value), m.due(value)), written}}
	}
}

func valuesOf(c dest.Column) sqltext.SQL { return sqltext.Format("VALUES({})", sqltext.Ident(c.Name)) }

// updateAndInsert is the form for any table: it finds the rows by their keys
// and not by an index.
func updateAndInsert(m *mover, source sqltext.SQL) []statement {
	var all []statement
	if len(m.s.arbiters(m.t)) > 0 {
		// Rows are looked up in the index: to read the whole table seems
		// cheaper to the server, which takes every page for one on the disk.
		all = append(all, statement{sql: sqltext.Const("SET LOCAL enable_hashjoin = off")}, statement{sql: sqltext.Const("SET LOCAL enable_mergejoin = off")})
	}
	if set, _ := m.updated(); len(set) > 0 {
		all = append(all, statement{m.update(source), written})
	}
	absent := sqltext.Format("NOT EXISTS (SELECT 1 FROM {} AS t WHERE {})", m.s.relation(), m.match())
	return append(all, statement{m.insert(source, absent), written})
}

// differByText compares the columns one by one, by operators that are named:
// the server has none for the bytes of a row.
func differByText(s *shape, columns []dest.Column, value func(dest.Column) sqltext.SQL) sqltext.SQL {
	parts := make([]sqltext.SQL, len(columns))
	for i, c := range columns {
		stored, given := sqltext.Format("t.{}", sqltext.Ident(c.Name)), value(c)
		as := sqltext.Const(`::pg_catalog.text COLLATE "C"`)
		if slices.Contains(exactOperators, s.columns[c.Name].typ.OID) {
			as = sqltext.SQL{}
		}
		parts[i] = sqltext.Format("({} IS NULL)"+ne+"({} IS NULL) OR {}{}"+ne+"{}{}", stored, given, stored, as, given, as)
	}
	return sqltext.Format("({})", sqltext.Join(" OR ", parts...))
}

// exactOperators are types of which different values are never equal.
var exactOperators = []uint32{
	pgtype.BoolOID, pgtype.Int2OID, pgtype.Int4OID, pgtype.Int8OID, pgtype.UUIDOID, pgtype.ByteaOID,
	pgtype.TimestamptzOID, pgtype.TimestampOID, pgtype.DateOID,
}

// fromOpenGauss tells an error of openGauss, which lacks the severity that is
// not translated.
func fromOpenGauss(pe *pgconn.PgError) bool { return pe.SeverityUnlocalized == "" }

// columnOf is the column that an error of the server is about, if it says so.
// Of openGauss the field holds another thing, and the text has the name.
func columnOf(pe *pgconn.PgError) string {
	switch {
	case !fromOpenGauss(pe):
		return pe.ColumnName
	case pe.Code == notNullViolation:
		return quotedIn(pe.Message)
	}
	return ""
}

// constraintOf is the constraint that an error of the server is about. openGauss
// has it in the text only.
func constraintOf(pe *pgconn.PgError) string {
	if !fromOpenGauss(pe) {
		return pe.ConstraintName
	}
	if strings.HasPrefix(pe.Code, "23") && pe.Code != notNullViolation {
		return quotedIn(pe.Message[strings.LastIndex(pe.Message, "constraint")+1:])
	}
	return ""
}

// quotedIn is the first name in double quotes.
func quotedIn(text string) string {
	_, text, _ = strings.Cut(text, `"`)
	name, _, _ := strings.Cut(text, `"`)
	return name
}
