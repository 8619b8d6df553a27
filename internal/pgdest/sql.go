package pgdest

import (
	"slices"

	"github.com/memdbwriter/memdbwriter/internal/dest"
	"github.com/memdbwriter/memdbwriter/internal/sqltext"
)

// This file holds the SQL, as PostgreSQL has it. What another product of its
// family has differently is in the dialect.

// catalogueSQL reads the shape of a table in one round trip: four results,
// all but the first without rows when there is no such table, and the dialect's
// facts. Without a schema the table is found through the search path. See
// readShape for the columns.
func catalogueSQL(t *dest.Table, d *dialect) sqltext.SQL {
	where := sqltext.Const("pg_catalog.pg_table_is_visible(c.oid)")
	schema := sqltext.Const("COALESCE(pg_catalog.current_schema(), '')")
	if t.Schema != "" {
		schema = sqltext.Literal(t.Schema)
		where = sqltext.Format("n.nspname"+eq+"{}", schema)
	}
	from := sqltext.Format(`pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid`+eq+`c.relnamespace AND c.relname`+eq+`{}
			AND c.relkind`+ne+`ALL ('{i,I,S,L,t,c}') AND {}`, sqltext.Literal(t.Name), where)

	relation := sqltext.Format(`SELECT c.oid, c.nspname, c.relname, c.relkind,
			pg_catalog.has_schema_privilege(c.relnamespace, 'USAGE'),
			pg_catalog.has_database_privilege(pg_catalog.current_database(), 'TEMPORARY'),
			pg_catalog.current_database(), current_user,
			EXISTS (SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname`+eq+`{}),
			{},
			CASE WHEN c.oid IS NULL THEN (SELECT pg_catalog.min(c.relname::pg_catalog.text)
				FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid`+eq+`c.relnamespace
				WHERE pg_catalog.lower(c.relname::pg_catalog.text)`+eq+`pg_catalog.lower({}) AND c.relkind`+eq+`ANY ('{r,p,v,f}') AND {}) END
		FROM (SELECT 1) one LEFT JOIN (SELECT c.oid, n.nspname, c.relname, c.relkind, c.relnamespace FROM {}) c ON true`,
		schema, d.programs, sqltext.Literal(t.Name), where, from)

	// A domain is followed down to its base type. The length or precision is
	// that of the last domain that has one, NOT NULL that of any.
	columns := sqltext.Format(`WITH RECURSIVE chain (attnum, typ, typmod, required, defaulted) AS (
			SELECT a.attnum, a.atttypid, a.atttypmod, a.attnotnull, {}
			FROM {} JOIN pg_catalog.pg_attribute a ON a.attrelid`+eq+`c.oid AND a.attnum`+gt+`0 AND NOT a.attisdropped
		UNION ALL
			SELECT d.attnum, t.typbasetype, CASE WHEN d.typmod`+lt+`0 THEN t.typtypmod ELSE d.typmod END,
				d.required OR t.typnotnull, d.defaulted OR t.typdefault IS NOT NULL
			FROM chain d JOIN pg_catalog.pg_type t ON t.oid`+eq+`d.typ AND t.typtype`+eq+`'d'
		)
		SELECT a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod), t.oid, d.typmod,
			t.typtype`+eq+`'e' OR t.typcategory`+eq+`'S' AND t.typlen`+ne+`1, t.typname`+eq+`'citext', d.required, d.defaulted,
			{}, {}, a.attnum, a.atttypid,
			pg_catalog.has_column_privilege(c.oid, a.attnum, 'INSERT'),
			pg_catalog.has_column_privilege(c.oid, a.attnum, 'SELECT'),
			pg_catalog.has_column_privilege(c.oid, a.attnum, 'UPDATE'), pg_catalog.format_type(t.oid, NULL),
			t.typtype`+eq+`ANY ('{c,r,m}') OR t.typcategory`+eq+`'A'
		FROM {} JOIN pg_catalog.pg_attribute a ON a.attrelid`+eq+`c.oid
			JOIN chain d ON d.attnum`+eq+`a.attnum JOIN pg_catalog.pg_type t ON t.oid`+eq+`d.typ AND t.typtype`+ne+`'d'
		ORDER BY a.attnum`, d.hasDefault, from, d.identity, d.generated, from)

	// Upserts find a row by the plain ones, which are on columns and on every
	// row. indkey also lists the INCLUDE columns, behind the key.
	keys := sqltext.Format(`SELECT i.indnkeyatts, i.indkey, i.indisprimary, i.indimmediate, ic.relname, i.indexrelid,
			i.indisvalid, EXISTS (SELECT 1 FROM pg_catalog.pg_constraint k WHERE k.conindid`+eq+`i.indexrelid AND k.contype`+eq+`ANY ('{p,u}')),
			i.indexprs IS NOT NULL, pg_catalog.pg_get_expr(i.indpred, i.indrelid)
		FROM {} JOIN pg_catalog.pg_index i ON i.indrelid`+eq+`c.oid JOIN pg_catalog.pg_class ic ON ic.oid`+eq+`i.indexrelid
		WHERE i.indisunique
		ORDER BY i.indexrelid`, from)

	return sqltext.Statements(relation, columns, keys, traitsSQL(d, from), d.facts)
}

// Operators of pg_catalog by their full names: an unqualified one would be
// looked for along the search path, where somebody may have planted another.
const (
	eq = " OPERATOR(pg_catalog.=) "
	ne = " OPERATOR(pg_catalog.<>) "
	lt = " OPERATOR(pg_catalog.<) "
	gt = " OPERATOR(pg_catalog.>) "

	cat = " OPERATOR(pg_catalog.||) "
)

// failUnless is an expression that divides by zero unless the condition holds.
func failUnless(condition sqltext.SQL) sqltext.SQL {
	return sqltext.Format("1 OPERATOR(pg_catalog./) ({})::pg_catalog.int4", condition)
}

// directSQL is the direct way. Its two statements run as one transaction.
//
// The second one divides by zero if the columns no longer have the types that
// the tuples were made for, or if an index on the key is gone. The server would
// not always notice: the bytes of a bigint are a well-formed numeric, double
// precision or timestamp as well, and mean another value; and without the index
// a known key is just another row. It follows the COPY, whose lock keeps both
// as they are until the end of the transaction.
func directSQL(t *dest.Table, s *shape, columns sqltext.SQL, c copyForm) sqltext.SQL {
	var types []sqltext.SQL
	for _, c := range t.Columns {
		types = append(types, sqltext.Format("attname"+eq+"{} AND atttypid"+eq+"{}", sqltext.Literal(c.Name), sqltext.Int(s.columns[c.Name].typeOID)))
	}
	var keys []uint32
	for _, k := range s.arbiters(t) {
		keys = append(keys, k.oid)
	}
	check := sqltext.Format("SELECT {} FROM pg_catalog.pg_attribute WHERE attrelid"+eq+"{}::pg_catalog.regclass AND NOT attisdropped AND ({})",
		failUnless(sqltext.Format("pg_catalog.count(*)"+eq+"{}", sqltext.Int(len(types)))),
		sqltext.Literal(s.relation().String()), sqltext.Join(" OR ", types...))
	if len(keys) > 0 {
		check = sqltext.Format("{} AND {}"+eq+"(SELECT pg_catalog.count(*) FROM pg_catalog.pg_index WHERE indexrelid"+eq+"ANY (ARRAY[{}]::pg_catalog.oid[]))",
			check, sqltext.Int(len(keys)), sqltext.Ints(keys...))
	}
	return sqltext.Statements(c.sql(s.relation(), columns), check)
}

// columnList are the columns that are written, as SQL.
func columnList(t *dest.Table) sqltext.SQL {
	names := make([]string, len(t.Columns))
	for i, c := range t.Columns {
		names[i] = c.Name
	}
	return sqltext.Idents(names...)
}

// keyNames are the names of the key columns.
func keyNames(t *dest.Table) []string {
	var names []string
	for _, c := range t.Columns[:t.Keys] {
		names = append(names, c.Name)
	}
	return names
}

// upsertSQL is the upsert way. Its statements run as one transaction; the last
// of them are the form's.
//
// The temporary table stays in the session, empty between transactions; where
// it is missing it is made, which is cheaper than to ask. The notice that it
// exists already is kept from the caller's notice handler.
//
// The SELECT needs no ORDER BY: COPY filled an empty table page by page in the
// order of the batch, and a scan of a temporary table reads it from the first
// page to the last, by one process. So concurrent writers lock the rows of the
// destination in the order of the keys, whichever way they take, and deadlocks
// are rare. (Rows of very different sizes may change places with their
// neighbours; a deadlock is retried.) A sort on the server would follow its
// collation and not the order of the direct way.
func upsertSQL(t *dest.Table, s *shape, f form, temp string, columnDefs, columns sqltext.SQL, c copyForm) sqltext.SQL {
	source := sqltext.Name("pg_temp", temp)
	sql := sqltext.Statements(
		sqltext.Const("SET LOCAL client_min_messages = warning"),
		sqltext.Format("CREATE TEMPORARY TABLE IF NOT EXISTS {} ({}) ON COMMIT DELETE ROWS", sqltext.Ident(temp), columnDefs),
		c.sql(source, columns),
		f.sql(t, s, columns, source))
	if f.guard != nil {
		sql = sqltext.Statements(sql, f.guard(s))
	}
	return sql
}

// insertSQL inserts the rows of source into the table, which is called t.
func insertSQL(t *dest.Table, s *shape, columns, source sqltext.SQL) sqltext.SQL {
	var overriding sqltext.SQL
	for _, c := range t.Columns {
		if s.columns[c.Name].identity == always {
			overriding = sqltext.Const(" OVERRIDING SYSTEM VALUE") // as COPY does
		}
	}
	return sqltext.Format("INSERT INTO {} AS t ({}){} SELECT {} FROM {}", s.relation(), columns, overriding, columns, source)
}

// onConflict is PostgreSQL's form of the upsert.
func onConflict(t *dest.Table, s *shape, columns, source sqltext.SQL) sqltext.SQL {
	sql := sqltext.Format("{} ON CONFLICT {} DO ", insertSQL(t, s, columns, source), conflictTarget(t, s))
	set, where := updates(t, s, func(name sqltext.SQL) sqltext.SQL { return sqltext.Format("EXCLUDED.{}", name) })
	if set.Empty() {
		return sqltext.Format("{}NOTHING", sql)
	}
	return sqltext.Format("{}UPDATE SET {} WHERE {}", sql, set, where)
}

// updated tells whether an upsert changes a column.
func updated(t *dest.Table, c dest.Column) bool {
	return t.Policy == dest.Update && !c.InsertOnly && !slices.Contains(keyNames(t), c.Name)
}

// updates says what an upsert changes in a stored row, called t, and on what
// condition; named makes the name of a column that of its new value. Both are
// empty if nothing is ever changed.
func updates(t *dest.Table, s *shape, named func(name sqltext.SQL) sqltext.SQL) (set, where sqltext.SQL) {
	var sets, changed []sqltext.SQL
	for _, c := range t.Columns[t.Keys:] {
		if !updated(t, c) {
			continue
		}
		name := sqltext.Ident(c.Name)
		sets = append(sets, sqltext.Format("{} = {}", name, named(name)))
		if c.Passive {
			continue
		}
		var cast sqltext.SQL
		if s.columns[c.Name].comparedAsText() {
			cast = sqltext.Const("::pg_catalog.text")
		}
		changed = append(changed, sqltext.Format("t.{}{} IS DISTINCT FROM {}{}", name, cast, named(name), cast))
	}
	if len(changed) == 0 {
		return sqltext.SQL{}, sqltext.SQL{}
	}
	where = sqltext.Format("({})", sqltext.Join(" OR ", changed...))
	if t.Guard != "" {
		where = sqltext.Format("t.{} IS NOT TRUE AND {}", sqltext.Ident(t.Guard), where)
	}
	return sqltext.Join(", ", sets...), where
}

// createSQL are the statements that make the table when its owner gave none.
func createSQL(t *dest.Table) []sqltext.SQL {
	var defs []sqltext.SQL
	nullable := false
	for i, c := range t.Columns {
		def := sqltext.Format("{} {}", sqltext.Ident(c.Name), sqltext.Program(c.SQLType()))
		if !c.Nullable && !c.Absent {
			def = sqltext.Format("{} NOT NULL", def)
		}
		defs = append(defs, def)
		nullable = nullable || i < t.Keys && c.Nullable
	}
	if t.Guard != "" && !hasColumn(t, t.Guard) {
		defs = append(defs, sqltext.Format("{} boolean NOT NULL DEFAULT false", sqltext.Ident(t.Guard)))
	}
	table := sqltext.Name(t.Schema, t.Name)
	key := sqltext.Idents(keyNames(t)...)
	switch {
	case t.Keys == 0 || t.Where != "":
	case t.Constraint != "":
		defs = append(defs, sqltext.Format("CONSTRAINT {} UNIQUE ({})", sqltext.Ident(t.Constraint), key))
	case nullable:
		defs = append(defs, sqltext.Format("UNIQUE ({})", key))
	default:
		defs = append(defs, sqltext.Format("PRIMARY KEY ({})", key))
	}
	ddl := []sqltext.SQL{sqltext.Format("CREATE TABLE {} ({})", table, sqltext.Join(", ", defs...))}
	if t.Where != "" {
		ddl = append(ddl, sqltext.Format("CREATE UNIQUE INDEX ON {} ({}) WHERE {}", table, key, sqltext.Program(t.Where)))
	}
	return ddl
}

func hasColumn(t *dest.Table, name string) bool {
	for _, c := range t.Columns {
		if c.Name == name {
			return true
		}
	}
	return false
}
