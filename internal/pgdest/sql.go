package pgdest

import (
	"github.com/memdbwriter/memdbwriter/internal/dest"
	"github.com/memdbwriter/memdbwriter/internal/sqltext"
)

// This file holds the SQL, as PostgreSQL has it. What another product of its
// family has differently is in the dialect.

// catalogueSQL reads the shape of a table in one round trip: five results, the
// last four without rows when there is no such table, and the dialect's facts.
// See newShape for the columns.
//
// Without a schema the table is the first of that name along the search path
// that is not a temporary one: an application that shares the session may have
// one of the same name.
func catalogueSQL(schema, name string, d *dialect) sqltext.SQL {
	tables := sqltext.Const(`pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid` + eq + `c.relnamespace
			AND c.relkind` + ne + `ALL ('{i,I,S,L,t,c}') AND c.relpersistence` + ne + `'t'`)
	var home, within, from sqltext.SQL
	if schema == "" {
		home = sqltext.Const("COALESCE(pg_catalog.current_schema(), '')")
		within = sqltext.Const("n.nspname" + eq + "ANY (pg_catalog.current_schemas(false))")
		from = sqltext.Format(`{} AND c.oid`+eq+`(SELECT c.oid FROM
			(SELECT pg_catalog.unnest(pg_catalog.current_schemas(false)) AS name,
				pg_catalog.generate_series(1, pg_catalog.array_upper(pg_catalog.current_schemas(false), 1)) AS place) path
			JOIN ({}) ON true AND n.nspname`+eq+`path.name AND c.relname`+eq+`{} ORDER BY path.place LIMIT 1)`,
			tables, tables, sqltext.Literal(name))
	} else {
		home = sqltext.Literal(schema)
		within = sqltext.Format("n.nspname"+eq+"{}", home)
		from = sqltext.Format(`{} AND {} AND c.relname`+eq+`{}`, tables, within, sqltext.Literal(name))
	}

	relation := sqltext.Format(`SELECT c.oid, c.nspname, c.relname, c.relkind,
			pg_catalog.has_schema_privilege(c.relnamespace, 'USAGE'),
			pg_catalog.has_database_privilege(pg_catalog.current_database(), 'TEMPORARY'),
			pg_catalog.current_database(), current_user,
			EXISTS (SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname`+eq+`{}), {}, {},
			EXISTS (SELECT 1 FROM pg_catalog.pg_trigger g WHERE g.tgrelid`+eq+`ANY ({})
				AND g.tgenabled`+ne+`'D' AND (g.tgtype OPERATOR(pg_catalog.&) 3::pg_catalog.int2)`+eq+`3 AND (g.tgtype OPERATOR(pg_catalog.&) 20::pg_catalog.int2)`+ne+`0),
			CASE WHEN c.oid IS NULL THEN (SELECT pg_catalog.min(c.relname::pg_catalog.text) FROM {}
				WHERE pg_catalog.lower(c.relname::pg_catalog.text)`+eq+`pg_catalog.lower({}) AND c.relkind`+eq+`ANY ('{r,p,v,f}') AND {}) END
		FROM (SELECT 1) one LEFT JOIN (SELECT c.oid, n.nspname, c.relname, c.relkind, c.relnamespace FROM {}) c ON true`,
		home, d.programs, d.rowSecurity, d.family, tables, sqltext.Literal(name), within, from)

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
			t.typtype`+eq+`'e' OR t.typcategory`+eq+`'S' AND t.typlen`+ne+`1, tn.nspname, t.typname, d.required, d.defaulted,
			{}, {}, a.attnum, a.atttypid, a.attcollation,
			EXISTS (SELECT 1 FROM pg_catalog.pg_attrdef f JOIN pg_catalog.pg_depend p ON p.objid`+eq+`f.oid
				JOIN pg_catalog.pg_class q ON q.oid`+eq+`p.refobjid AND q.relkind`+eq+`'S'
				WHERE f.adrelid`+eq+`c.oid AND f.adnum`+eq+`a.attnum AND p.classid`+eq+`'pg_catalog.pg_attrdef'::pg_catalog.regclass
					AND p.refclassid`+eq+`'pg_catalog.pg_class'::pg_catalog.regclass),
			pg_catalog.has_column_privilege(c.oid, a.attnum, 'INSERT'),
			pg_catalog.has_column_privilege(c.oid, a.attnum, 'SELECT'),
			pg_catalog.has_column_privilege(c.oid, a.attnum, 'UPDATE'),
			t.typtype`+eq+`ANY ('{c,r,m}') OR t.typcategory`+eq+`'A', t.typtype`+eq+`'e',
			COALESCE({}, true), cn.nspname, co.collname
		FROM {} JOIN pg_catalog.pg_attribute a ON a.attrelid`+eq+`c.oid
			JOIN chain d ON d.attnum`+eq+`a.attnum JOIN pg_catalog.pg_type t ON t.oid`+eq+`d.typ AND t.typtype`+ne+`'d'
			JOIN pg_catalog.pg_namespace tn ON tn.oid`+eq+`t.typnamespace
			LEFT JOIN pg_catalog.pg_collation co ON co.oid`+eq+`a.attcollation LEFT JOIN pg_catalog.pg_namespace cn ON cn.oid`+eq+`co.collnamespace
		ORDER BY a.attnum`, d.hasDefault, from, d.identity, d.generated, d.deterministic, from)

	// Upserts find a row by the plain ones, which are on columns and on every
	// row. indkey also lists the INCLUDE columns, behind the key.
	keys := sqltext.Format(`SELECT i.indnkeyatts, i.indkey, i.indisprimary, i.indimmediate, ic.relname, i.indexrelid,
			i.indisvalid, EXISTS (SELECT 1 FROM pg_catalog.pg_constraint k WHERE k.conindid`+eq+`i.indexrelid AND k.contype`+eq+`ANY ('{p,u}')),
			i.indexprs IS NOT NULL, pg_catalog.pg_get_expr(i.indpred, i.indrelid)
		FROM {} JOIN pg_catalog.pg_index i ON i.indrelid`+eq+`c.oid JOIN pg_catalog.pg_class ic ON ic.oid`+eq+`i.indexrelid
		WHERE i.indisunique
		ORDER BY i.indexrelid`, from)

	// How an index compares the values of a column: the operators of its
	// family for the type that it is made for, which the types of the column
	// are read as.
	parts := sqltext.Format(`SELECT k.indexrelid, k.attnum, en.nspname, eo.oprname, ln.nspname, lo.oprname,
			COALESCE(k.collation`+gt+`0, false), cn.nspname, co.collname, COALESCE({}, true)
		FROM (SELECT i.indexrelid, i.indkey[i.n] AS attnum, i.indclass[i.n] AS class, i.indcollation[i.n] AS collation, i.n
			FROM (SELECT x.indexrelid, x.indkey, x.indclass, x.indcollation,
					pg_catalog.generate_series(0, x.indnkeyatts OPERATOR(pg_catalog.-) 1) AS n
				FROM {} JOIN pg_catalog.pg_index x ON x.indrelid`+eq+`c.oid WHERE x.indisunique) i) k
			JOIN pg_catalog.pg_opclass oc ON oc.oid`+eq+`k.class
			JOIN pg_catalog.pg_amop ea ON ea.amopfamily`+eq+`oc.opcfamily AND ea.amoplefttype`+eq+`oc.opcintype
				AND ea.amoprighttype`+eq+`oc.opcintype AND ea.amopstrategy`+eq+`3
			JOIN pg_catalog.pg_operator eo ON eo.oid`+eq+`ea.amopopr JOIN pg_catalog.pg_namespace en ON en.oid`+eq+`eo.oprnamespace
			JOIN pg_catalog.pg_amop la ON la.amopfamily`+eq+`oc.opcfamily AND la.amoplefttype`+eq+`oc.opcintype
				AND la.amoprighttype`+eq+`oc.opcintype AND la.amopstrategy`+eq+`1
			JOIN pg_catalog.pg_operator lo ON lo.oid`+eq+`la.amopopr JOIN pg_catalog.pg_namespace ln ON ln.oid`+eq+`lo.oprnamespace
			LEFT JOIN pg_catalog.pg_collation co ON co.oid`+eq+`k.collation LEFT JOIN pg_catalog.pg_namespace cn ON cn.oid`+eq+`co.collnamespace
		ORDER BY k.indexrelid, k.n`, d.deterministic, from)

	return sqltext.Statements(relation, columns, keys, traitsSQL(d, from), parts, d.facts)
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

// checkSQL divides by zero if the table is not the one that the plan was made
// for, if the columns no longer have the types that the tuples were made for, or
// if an index on the key is gone. The server would not always notice: the bytes
// of a bigint are a well-formed numeric, double precision or timestamp as well,
// and mean another value; and without the index a known key is just another row.
// A statement that locks the table keeps all that as it is until the end of the
// transaction; it is one that comes before or, if lock is set, this one.
func checkSQL(t *dest.Table, s *shape, lock bool) sqltext.SQL {
	var types []sqltext.SQL
	for _, c := range t.Columns {
		got := s.columns[c.Name]
		types = append(types, sqltext.Format("attname"+eq+"{} AND atttypid"+eq+"{} AND attcollation"+eq+"{}",
			sqltext.Literal(c.Name), sqltext.Int(got.typeOID), sqltext.Int(got.collation)))
	}
	var keys []uint32
	for _, k := range s.arbiters(t) {
		keys = append(keys, k.oid)
	}
	oid := sqltext.Int(s.oid)
	check := sqltext.Format("SELECT {} FROM pg_catalog.pg_attribute WHERE attrelid"+eq+"{} AND NOT attisdropped AND ({})"+
		" AND {}::pg_catalog.regclass::pg_catalog.oid"+eq+"{}",
		failUnless(sqltext.Format("pg_catalog.count(*)"+eq+"{}", sqltext.Int(len(types)))), oid,
		sqltext.Join(" OR ", types...), sqltext.Literal(s.relation().String()), oid)
	if len(keys) > 0 {
		check = sqltext.Format("{} AND {}"+eq+"(SELECT pg_catalog.count(*) FROM pg_catalog.pg_index WHERE indexrelid"+eq+"ANY (ARRAY[{}]::pg_catalog.oid[]))",
			check, sqltext.Int(len(keys)), sqltext.Ints(keys...))
	}
	if lock {
		check = sqltext.Format("{} AND (SELECT pg_catalog.count(*) FROM {} WHERE false)"+eq+"0", check, s.relation())
	}
	return check
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

// createSQL are the statements that make the table when its owner gave none.
func createSQL(t *dest.Table, d *dialect) []sqltext.SQL {
	var defs []sqltext.SQL
	nullable := false
	for i, c := range t.Columns {
		def := sqltext.Format("{} {}", sqltext.Ident(c.Name), sqltext.Program(c.SQLType()))
		if i < t.Keys && d.exactKeys && c.SQLType() == "text" {
			def = sqltext.Format(`{} COLLATE "C"`, def)
		}
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
