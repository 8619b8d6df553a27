package pgdest

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/memdbwriter/memdbwriter/internal/dest"
)

// This file holds the SQL, as PostgreSQL has it. What another product of its
// family has differently is in the dialect.

// catalogueSQL reads the shape of a table in one round trip: three results,
// the last two without rows when there is no such table, and the dialect's
// facts. Without a schema the table is found through the search path. See
// readShape for the columns.
func catalogueSQL(t *dest.Table, d *dialect) string {
	where := "pg_catalog.pg_table_is_visible(c.oid)"
	schema := "COALESCE(pg_catalog.current_schema(), '')"
	if t.Schema != "" {
		where = "n.nspname = " + literal(t.Schema)
		schema = literal(t.Schema)
	}
	from := `pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace AND c.relname = ` +
		literal(t.Name) + ` AND c.relkind NOT IN ('i', 'I', 'S', 'L', 't', 'c') AND ` + where

	relation := `SELECT c.oid, c.nspname, c.relname, c.relkind,
			pg_catalog.has_schema_privilege(c.relnamespace, 'USAGE'),
			pg_catalog.has_database_privilege(pg_catalog.current_database(), 'TEMPORARY'),
			pg_catalog.current_database(), current_user,
			EXISTS (SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = ` + schema + `)
		FROM (SELECT 1) one LEFT JOIN (SELECT c.oid, n.nspname, c.relname, c.relkind, c.relnamespace FROM ` + from + `) c ON true`

	// A domain is followed down to its base type. The length or precision is
	// that of the last domain that has one, NOT NULL that of any.
	columns := `WITH RECURSIVE chain (attnum, typ, typmod, required, defaulted) AS (
			SELECT a.attnum, a.atttypid, a.atttypmod, a.attnotnull, ` + d.hasDefault + `
			FROM ` + from + ` JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
		UNION ALL
			SELECT d.attnum, t.typbasetype, CASE WHEN d.typmod < 0 THEN t.typtypmod ELSE d.typmod END,
				d.required OR t.typnotnull, d.defaulted OR t.typdefault IS NOT NULL
			FROM chain d JOIN pg_catalog.pg_type t ON t.oid = d.typ AND t.typtype = 'd'
		)
		SELECT a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod), t.oid, d.typmod,
			t.typtype = 'e' OR t.typcategory = 'S' AND t.typlen <> 1, t.typname = 'citext', d.required, d.defaulted,
			` + d.identity + `, ` + d.generated + `, a.attnum, a.atttypid,
			pg_catalog.has_column_privilege(c.oid, a.attnum, 'INSERT'),
			pg_catalog.has_column_privilege(c.oid, a.attnum, 'SELECT'),
			pg_catalog.has_column_privilege(c.oid, a.attnum, 'UPDATE')
		FROM ` + from + ` JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid
			JOIN chain d ON d.attnum = a.attnum JOIN pg_catalog.pg_type t ON t.oid = d.typ AND t.typtype <> 'd'
		ORDER BY a.attnum`

	// Upserts find a row by the plain ones, which are on columns and on every
	// row. indkey also lists the INCLUDE columns, behind the key.
	keys := `SELECT i.indnkeyatts, i.indkey, i.indisprimary, i.indimmediate, ic.relname, i.indexrelid,
			i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL
		FROM ` + from + ` JOIN pg_catalog.pg_index i ON i.indrelid = c.oid JOIN pg_catalog.pg_class ic ON ic.oid = i.indexrelid
		WHERE i.indisunique
		ORDER BY i.indexrelid`

	sql := relation + ";\n" + columns + ";\n" + keys
	if d.facts != "" {
		sql += ";\n" + d.facts
	}
	return sql
}

func copySQL(table, columns string) string {
	return "COPY " + table + " (" + columns + ") FROM STDIN (FORMAT binary)"
}

// directSQL is the direct way. Its two statements run as one transaction.
//
// The second one divides by zero if the columns no longer have the types that
// the tuples were made for, or if an index on the key is gone. The server would
// not always notice: the bytes of a bigint are a well-formed numeric, double
// precision or timestamp as well, and mean another value; and without the index
// a known key is just another row. It follows the COPY, whose lock keeps both
// as they are until the end of the transaction.
func directSQL(t *dest.Table, s *shape, columns string) string {
	var types, keys []string
	for _, c := range t.Columns {
		types = append(types, fmt.Sprintf("(%s, %s)", literal(c.Name), s.columns[c.Name].typeOID))
	}
	for _, k := range s.keysOn(keyNames(t)) {
		keys = append(keys, k.oid)
	}
	sql := copySQL(s.relation(), columns) + ";\n" +
		"SELECT 1 / (count(*) = " + strconv.Itoa(len(types)) + ")::int FROM pg_catalog.pg_attribute" +
		" WHERE attrelid = " + literal(s.relation()) + "::regclass AND NOT attisdropped" +
		" AND (attname, atttypid) IN (" + strings.Join(types, ", ") + ")"
	if len(keys) > 0 {
		sql += " AND " + strconv.Itoa(len(keys)) + " = (SELECT count(*) FROM pg_catalog.pg_index WHERE indexrelid IN (" + strings.Join(keys, ", ") + "))"
	}
	return sql
}

// columnList are the columns that are written, as SQL.
func columnList(t *dest.Table) string {
	var names []string
	for _, c := range t.Columns {
		names = append(names, dest.Quote(c.Name))
	}
	return strings.Join(names, ", ")
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
func upsertSQL(t *dest.Table, s *shape, f form, temp, columnDefs, columns string) string {
	source := "pg_temp." + dest.Quote(temp)
	sql := "SET LOCAL client_min_messages = warning;\n" +
		"CREATE TEMPORARY TABLE IF NOT EXISTS " + dest.Quote(temp) + " (" + columnDefs + ") ON COMMIT DELETE ROWS;\n" +
		copySQL(source, columns) + ";\n" +
		f.sql(t, s, columns, source)
	if f.guard != nil {
		sql += ";\n" + f.guard(s)
	}
	return sql
}

// insertSQL inserts the rows of source into the table, which is called t.
func insertSQL(s *shape, columns, source string) string {
	return "INSERT INTO " + s.relation() + " AS t (" + columns + ") SELECT " + columns + " FROM " + source
}

// onConflict is PostgreSQL's form of the upsert.
func onConflict(t *dest.Table, s *shape, columns, source string) string {
	var keys []string
	for _, name := range keyNames(t) {
		keys = append(keys, dest.Quote(name))
	}
	sql := insertSQL(s, columns, source) + " ON CONFLICT (" + strings.Join(keys, ", ") + ") DO "
	set, where := updates(t, s, func(name string) string { return "EXCLUDED." + name })
	if set == "" {
		return sql + "NOTHING"
	}
	return sql + "UPDATE SET " + set + " WHERE " + where
}

// updates says what an upsert changes in a stored row, called t, and on what
// condition; named makes the name of a column that of its new value. Both are
// empty if nothing is ever changed.
func updates(t *dest.Table, s *shape, named func(string) string) (set, where string) {
	var sets, changed []string
	for _, c := range t.Columns[t.Keys:] {
		if c.InsertOnly {
			continue
		}
		name := dest.Quote(c.Name)
		sets = append(sets, name+" = "+named(name))
		if c.Passive {
			continue
		}
		cast := ""
		if s.columns[c.Name].comparedAsText() {
			cast = "::text"
		}
		changed = append(changed, fmt.Sprintf("t.%s%s IS DISTINCT FROM %s%s", name, cast, named(name), cast))
	}
	if t.Policy == dest.Ignore || len(changed) == 0 {
		return "", ""
	}
	if t.Guard != "" {
		where = "t." + dest.Quote(t.Guard) + " IS NOT TRUE AND "
	}
	return strings.Join(sets, ", "), where + "(" + strings.Join(changed, " OR ") + ")"
}

// createSQL are the statements that make the table when its owner gave none.
func createSQL(t *dest.Table) []string {
	var defs, keys []string
	nullable := false
	for i, c := range t.Columns {
		def := dest.Quote(c.Name) + " " + c.Type.String()
		if !c.Nullable {
			def += " NOT NULL"
		}
		defs = append(defs, def)
		if i < t.Keys {
			keys = append(keys, dest.Quote(c.Name))
			nullable = nullable || c.Nullable
		}
	}
	if t.Guard != "" && !hasColumn(t, t.Guard) {
		defs = append(defs, dest.Quote(t.Guard)+" boolean NOT NULL DEFAULT false")
	}
	if len(keys) > 0 {
		kind := "PRIMARY KEY"
		if nullable {
			kind = "UNIQUE"
		}
		defs = append(defs, kind+" ("+strings.Join(keys, ", ")+")")
	}
	return []string{"CREATE TABLE " + dest.QuoteName(t.Schema, t.Name) + " (" + strings.Join(defs, ", ") + ")"}
}

func hasColumn(t *dest.Table, name string) bool {
	for _, c := range t.Columns {
		if c.Name == name {
			return true
		}
	}
	return false
}

// literal quotes a string constant, for servers with either setting of
// standard_conforming_strings.
func literal(s string) string {
	s = strings.ReplaceAll(s, "'", "''")
	if strings.Contains(s, `\`) {
		return " E'" + strings.ReplaceAll(s, `\`, `\\`) + "'"
	}
	return "'" + s + "'"
}
