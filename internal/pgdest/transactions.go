package pgdest

import (
	"strconv"

	"github.com/memdbwriter/memdbwriter/internal/sqltext"
)

// transactions is the SQL by which a dialect tells what became of a transaction.
type transactions struct {
	// server is two columns, those of a server. It fails where the server cannot
	// tell outcomes.
	server sqltext.SQL
	// status is a column with the status of a transaction, in the words of
	// txid_status or 'not given': NULL if it is too old.
	status func(xid uint64) sqltext.SQL
	// abandon ends the session of a transaction if that waits for its client,
	// which has gone. A session that does anything else comes to an end by itself.
	abandon func(r receipt) sqltext.SQL
	// confirm writes into the log of the server, so that its COMMIT waits for what
	// every COMMIT before it has waited for: a synchronous standby. Zero: nothing
	// does that.
	confirm sqltext.SQL
	// rows is a condition, for people, that finds the rows that a transaction
	// wrote.
	rows func(xid uint64) string
}

// serverAnd asks for the server and the status of a transaction.
func (t *transactions) serverAnd(xid uint64) sqltext.SQL {
	return sqltext.Format("{}, {}", t.server, t.status(xid))
}

// serverKinds are the columns of serverAnd.
const serverKinds = "iss"

// beginSQL starts a transaction and tells its number, and the process that
// runs it.
var beginSQL = sqltext.Const("BEGIN; SELECT pg_catalog.txid_current(), pg_catalog.pg_backend_pid()")

var postgresTransactions = transactions{
	// A crash, and nothing else that happens by itself, resets the statistics; a
	// standby has its own, and a timeline of its own once it is promoted.
	server: sqltext.Format(`SELECT (SELECT system_identifier FROM pg_catalog.pg_control_system()),
	pg_catalog.left(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_insert_lsn()), 8)`+cat+`
		(SELECT {} FROM pg_catalog.pg_stat_bgwriter)`, moment(sqltext.Const("stats_reset"))),
	// The server refuses to look up a number that it has not given yet.
	status: func(xid uint64) sqltext.SQL {
		n := sqltext.Int(xid)
		return sqltext.Format("CASE WHEN {}::pg_catalog.int8"+lt+"pg_catalog.txid_current()"+
			" THEN pg_catalog.txid_status({}) ELSE 'not given' END", n, n)
	},
	abandon: func(r receipt) sqltext.SQL {
		return sqltext.Format("{} AND backend_xid::pg_catalog.text"+eq+"{} AND wait_event_type"+eq+"'Client'",
			terminateSQL(r.pid), sqltext.Literal(strconv.FormatUint(uint64(uint32(r.xid)), 10)))
	},
	confirm: sqltext.Const("SELECT pg_catalog.pg_logical_emit_message(true, 'memdbwriter', '')"),
	rows:    func(xid uint64) string { return "xmin = '" + strconv.FormatUint(uint64(uint32(xid)), 10) + "'" },
}

// openGauss gives no number twice after a crash, but a standby that takes over
// may: so the life is the name of the node or, where it has none, the time since
// it runs. The status is that of every branch from 1.0.0 on: NULL for a
// transaction that goes on, and for one that a crash ended.
var openGaussTransactions = transactions{
	server: sqltext.Format(`SELECT (SELECT system_identifier FROM pg_catalog.pg_control_system()),
	COALESCE((SELECT pg_catalog.concat('node ', setting) FROM pg_catalog.pg_settings
			WHERE name`+eq+`'pgxc_node_name' AND pg_catalog.length(setting)`+gt+`0),
		{})`, moment(sqltext.Const("pg_catalog.pg_postmaster_start_time()"))),
	status: func(xid uint64) sqltext.SQL {
		n := sqltext.Int(xid)
		id := sqltext.Format("{}::pg_catalog.xid", sqltext.Literal(n.String()))
		return sqltext.Format("CASE WHEN {}::pg_catalog.int8 OPERATOR(pg_catalog.>=) pg_catalog.txid_current() THEN 'not given'"+
			" WHEN pg_catalog.pgxc_is_committed({}) THEN 'committed'"+
			" WHEN NOT pg_catalog.pgxc_is_committed({})"+
			" OR {}::pg_catalog.int8"+lt+"pg_catalog.txid_snapshot_xmin(pg_catalog.txid_current_snapshot()) THEN 'aborted'"+
			" ELSE 'in progress' END", n, id, id, n)
	},
	abandon: func(r receipt) sqltext.SQL {
		return sqltext.Format("{} AND state"+eq+"'idle in transaction'", terminateSQL(r.pid))
	},
	rows: func(xid uint64) string { return "xmin = '" + strconv.FormatUint(xid, 10) + "'" },
}

// moment is a timestamptz as text, the same in every session.
func moment(expression sqltext.SQL) sqltext.SQL {
	return sqltext.Format("pg_catalog.to_char(pg_catalog.timezone('UTC', {}), ' YYYY-MM-DD HH24:MI:SS.US')", expression)
}

// terminateSQL ends a session of this user and program, and has a row while there
// is one to end. More conditions may follow. The user is the one who logged in:
// SET ROLE changes neither what the server shows for a session nor who may end
// it.
func terminateSQL(pid int64) sqltext.SQL {
	return sqltext.Format("SET LOCAL ROLE NONE;\n"+
		"SELECT pg_catalog.pg_terminate_backend(pid), pg_catalog.pg_sleep(0.05) FROM pg_catalog.pg_stat_activity"+
		" WHERE pid"+eq+"{} AND pid"+ne+"pg_catalog.pg_backend_pid()"+
		" AND usename"+eq+"session_user AND datname"+eq+"pg_catalog.current_database()"+
		" AND application_name"+eq+"pg_catalog.current_setting('application_name')", sqltext.Int(pid))
}
