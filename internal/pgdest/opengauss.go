package pgdest

import (
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

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

	traits:       openGaussTraits,
	transactions: openGaussTransactions,

	anyKey: true,
	// CREATE INDEX IF NOT EXISTS on an index that exists leaves a session of
	// 5.0 without the right to make temporary tables.
	freshAfterDDL: true,
	forms: []form{
		{fits: onlyUniqueKey, guard: sameUniqueIndexes, sql: onDuplicateKey(func(name sqltext.SQL) sqltext.SQL { return sqltext.Format("EXCLUDED.{}", name) })},
		// With the plugin dolphin.
		{fits: onlyUniqueKey, guard: sameUniqueIndexes, sql: onDuplicateKey(func(name sqltext.SQL) sqltext.SQL { return sqltext.Format("VALUES({})", name) })},
		{sql: updateAndInsert, overtakes: true},
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
	return len(s.keys) > 0 && len(s.keysOn(keyNames(t))) == len(s.keys)
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

// onDuplicateKey is the form that has named for the name of a value of the
// row that was not inserted.
func onDuplicateKey(named func(name sqltext.SQL) sqltext.SQL) func(t *dest.Table, s *shape, columns, source sqltext.SQL) sqltext.SQL {
	return func(t *dest.Table, s *shape, columns, source sqltext.SQL) sqltext.SQL {
		sql := sqltext.Format("{} ON DUPLICATE KEY UPDATE ", insertSQL(t, s, columns, source))
		set, where := updates(t, s, named)
		if set.Empty() {
			return sqltext.Format("{}NOTHING", sql)
		}
		return sqltext.Format("{}{} WHERE {}", sql, set, where)
	}
}

// updateAndInsert is the form for any table: it finds the rows by their keys
// and not by an index.
func updateAndInsert(t *dest.Table, s *shape, columns, source sqltext.SQL) sqltext.SQL {
	var same, values []sqltext.SQL
	for i, c := range t.Columns {
		name := sqltext.Ident(c.Name)
		values = append(values, sqltext.Format("n.{}", name))
		if i < t.Keys {
			same = append(same, sqltext.Format("t.{} = n.{}", name, name))
		}
	}
	found := sqltext.Join(" AND ", same...)
	var looked, update sqltext.SQL
	if len(s.keysOn(keyNames(t))) > 0 {
		// Rows are looked up in the index: to read the whole table seems
		// cheaper to the server, which takes every page for one on the disk.
		looked = sqltext.Const("SET LOCAL enable_hashjoin = off;\nSET LOCAL enable_mergejoin = off")
	}
	if set, where := updates(t, s, func(name sqltext.SQL) sqltext.SQL { return sqltext.Format("n.{}", name) }); !set.Empty() {
		update = sqltext.Format("UPDATE {} AS t SET {} FROM {} AS n WHERE {} AND {}", s.relation(), set, source, found, where)
	}
	return sqltext.Statements(looked, update,
		sqltext.Format("INSERT INTO {} ({}) SELECT {} FROM {} AS n WHERE NOT EXISTS (SELECT 1 FROM {} AS t WHERE {})",
			s.relation(), columns, sqltext.Join(", ", values...), source, s.relation(), found))
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
