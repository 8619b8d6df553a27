package pgdest

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/memdbwriter/memdbwriter/internal/dest"
)

// This file holds the SQL: what another dialect of the PostgreSQL family would
// have to say differently is here, and nowhere else.

// catalogueSQL reads the shape of a table in one round trip: three results,
// the last two without rows when there is no such table. Without a schema the
// table is found through the search path. See readShape for the columns.
func catalogueSQL(t *dest.Table) string {
	where := "pg_catalog.pg_table_is_visible(c.oid)"
	schema := "COALESCE(pg_catalog.current_schema(), '')"
	if t.Schema != "" {
		where = "n.nspname = " + literal(t.Schema)
		schema = literal(t.Schema)
	}
	from := `pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace AND c.relname = ` +
		literal(t.Name) + ` AND c.relkind NOT IN ('i', 'I', 'S', 't', 'c') AND ` + where

	relation := `SELECT c.oid, c.nspname, c.relname, c.relkind,
			pg_catalog.has_schema_privilege(c.relnamespace, 'USAGE'),
			pg_catalog.has_database_privilege(pg_catalog.current_database(), 'TEMPORARY'),
			pg_catalog.current_database(), current_user,
			EXISTS (SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = ` + schema + `)
		FROM (SELECT 1) one LEFT JOIN (SELECT c.oid, n.nspname, c.relname, c.relkind, c.relnamespace FROM ` + from + `) c ON true`

	// A domain is followed down to its base type. The length or precision is
	// that of the last domain that has one, NOT NULL that of any.
	columns := `WITH RECURSIVE chain (attnum, typ, typmod, required, defaulted) AS (
			SELECT a.attnum, a.atttypid, a.atttypmod, a.attnotnull, a.atthasdef OR a.attidentity <> ''
			FROM ` + from + ` JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
		UNION ALL
			SELECT d.attnum, t.typbasetype, CASE WHEN d.typmod < 0 THEN t.typtypmod ELSE d.typmod END,
				d.required OR t.typnotnull, d.defaulted OR t.typdefault IS NOT NULL
			FROM chain d JOIN pg_catalog.pg_type t ON t.oid = d.typ AND t.typtype = 'd'
		)
		SELECT a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod), t.oid, d.typmod,
			t.typtype = 'e' OR t.typcategory = 'S' AND t.typlen <> 1, t.typname = 'citext', d.required, d.defaulted,
			a.attidentity, a.attgenerated <> '', a.attnum, a.atttypid,
			pg_catalog.has_column_privilege(c.oid, a.attnum, 'INSERT'),
			pg_catalog.has_column_privilege(c.oid, a.attnum, 'SELECT'),
			pg_catalog.has_column_privilege(c.oid, a.attnum, 'UPDATE')
		FROM ` + from + ` JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid
			JOIN chain d ON d.attnum = a.attnum JOIN pg_catalog.pg_type t ON t.oid = d.typ AND t.typtype <> 'd'
		ORDER BY a.attnum`

	// Indexes that ON CONFLICT finds by their columns. indkey also lists the
	// INCLUDE columns, behind the key.
	keys := `SELECT i.indnkeyatts, i.indkey, i.indisprimary, i.indimmediate, ic.relname, i.indexrelid
		FROM ` + from + ` JOIN pg_catalog.pg_index i ON i.indrelid = c.oid JOIN pg_catalog.pg_class ic ON ic.oid = i.indexrelid
		WHERE i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL
		ORDER BY i.indexrelid`

	return relation + ";\n" + columns + ";\n" + keys
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

// keyNames are the names of the key columns.
func keyNames(t *dest.Table) []string {
	var names []string
	for _, c := range t.Columns[:t.Keys] {
		names = append(names, c.Name)
	}
	return names
}

// upsertSQL is the upsert way. Its four statements run as one transaction.
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
func upsertSQL(table, temp, columnDefs, columns, conflict string) string {
	return "SET LOCAL client_min_messages = warning;\n" +
		"CREATE TEMPORARY TABLE IF NOT EXISTS " + dest.Quote(temp) + " (" + columnDefs + ") ON COMMIT DELETE ROWS;\n" +
		copySQL("pg_temp."+dest.Quote(temp), columns) + ";\n" +
		"INSERT INTO " + table + " AS t (" + columns + ") SELECT " + columns + " FROM pg_temp." + dest.Quote(temp) + " " + conflict
}

// conflictSQL is the ON CONFLICT clause of the upsert.
func conflictSQL(t *dest.Table, s *shape) string {
	var keys, set, changed []string
	for i, c := range t.Columns {
		name := dest.Quote(c.Name)
		if i < t.Keys {
			keys = append(keys, name)
			continue
		}
		if c.InsertOnly {
			continue
		}
		set = append(set, name+" = EXCLUDED."+name)
		if c.Passive {
			continue
		}
		cast := ""
		if s.columns[c.Name].comparedAsText() {
			cast = "::text"
		}
		changed = append(changed, fmt.Sprintf("t.%s%s IS DISTINCT FROM EXCLUDED.%s%s", name, cast, name, cast))
	}
	clause := "ON CONFLICT (" + strings.Join(keys, ", ") + ") DO "
	if t.Policy == dest.Ignore || len(changed) == 0 {
		return clause + "NOTHING"
	}
	clause += "UPDATE SET " + strings.Join(set, ", ") + " WHERE "
	if t.Guard != "" {
		clause += "t." + dest.Quote(t.Guard) + " IS NOT TRUE AND "
	}
	return clause + "(" + strings.Join(changed, " OR ") + ")"
}

// beginSQL starts a transaction and tells its number, and the process that
// runs it.
const beginSQL = "BEGIN; SELECT pg_catalog.txid_current(), pg_catalog.pg_backend_pid()"

// identitySQL is the first two columns of a row: the identifier of the server,
// and what tells its lives apart. A crash, and nothing else that happens by
// itself, resets the statistics; a standby has its own, and a timeline of its
// own once it is promoted.
const identitySQL = `SELECT (SELECT system_identifier FROM pg_catalog.pg_control_system()),
	pg_catalog.left(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_insert_lsn()), 8) ||
		(SELECT ' ' || stats_reset FROM pg_catalog.pg_stat_bgwriter)`

// outcomeSQL is a column with the status of a transaction: NULL if it is too
// old. The server refuses to look up a number that it has not given yet.
func outcomeSQL(xid uint64) string {
	return fmt.Sprintf("CASE WHEN %d < pg_catalog.txid_current() THEN pg_catalog.txid_status(%[1]d) ELSE 'not given' END", xid)
}

// abandonSQL ends the session of a transaction if that waits for its client,
// which has gone. A session that does anything else comes to an end by itself.
func abandonSQL(r receipt) string {
	return fmt.Sprintf("SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity"+
		" WHERE pid = %s AND backend_xid::text = '%d' AND usename = current_user AND wait_event_type = 'Client'", r.pid, uint32(r.xid))
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
