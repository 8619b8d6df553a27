package pgdest

import "fmt"

// transactions is the SQL by which a dialect tells what became of a transaction.
type transactions struct {
	// server is two columns, those of a server. It fails where the server cannot
	// tell outcomes.
	server string
	// status is a column with the status of a transaction, in the words of
	// txid_status or 'not given': NULL if it is too old.
	status func(xid uint64) string
	// abandon ends the session of a transaction if that waits for its client,
	// which has gone. A session that does anything else comes to an end by itself.
	abandon func(r receipt) string
	// rows is a condition that finds the rows that a transaction wrote.
	rows func(xid uint64) string
}

// beginSQL starts a transaction and tells its number, and the process that
// runs it.
const beginSQL = "BEGIN; SELECT pg_catalog.txid_current(), pg_catalog.pg_backend_pid()"

var postgresTransactions = transactions{
	// A crash, and nothing else that happens by itself, resets the statistics; a
	// standby has its own, and a timeline of its own once it is promoted.
	server: `SELECT (SELECT system_identifier FROM pg_catalog.pg_control_system()),
	pg_catalog.left(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_insert_lsn()), 8) OPERATOR(pg_catalog.||)
		(SELECT ` + moment("stats_reset") + ` FROM pg_catalog.pg_stat_bgwriter)`,
	// The server refuses to look up a number that it has not given yet.
	status: func(xid uint64) string {
		return fmt.Sprintf("CASE WHEN %d::pg_catalog.int8 OPERATOR(pg_catalog.<) pg_catalog.txid_current()"+
			" THEN pg_catalog.txid_status(%[1]d) ELSE 'not given' END", xid)
	},
	abandon: func(r receipt) string {
		return fmt.Sprintf(terminateSQL(r.pid)+" AND backend_xid::pg_catalog.text OPERATOR(pg_catalog.=) '%d'"+
			" AND wait_event_type OPERATOR(pg_catalog.=) 'Client'", uint32(r.xid))
	},
	rows: func(xid uint64) string { return fmt.Sprintf("xmin = '%d'", uint32(xid)) },
}

// openGauss gives no number twice after a crash, but a standby that takes over
// may: so the life is the name of the node or, where it has none, the time since
// it runs. The status is that of every branch from 1.0.0 on: NULL for a
// transaction that goes on, and for one that a crash ended.
var openGaussTransactions = transactions{
	server: `SELECT (SELECT system_identifier FROM pg_catalog.pg_control_system()),
	COALESCE((SELECT pg_catalog.concat('node ', setting) FROM pg_catalog.pg_settings
			WHERE name OPERATOR(pg_catalog.=) 'pgxc_node_name' AND pg_catalog.length(setting) OPERATOR(pg_catalog.>) 0),
		` + moment("pg_catalog.pg_postmaster_start_time()") + `)`,
	status: func(xid uint64) string {
		return fmt.Sprintf("CASE WHEN %d::pg_catalog.int8 OPERATOR(pg_catalog.>=) pg_catalog.txid_current() THEN 'not given'"+
			" WHEN pg_catalog.pgxc_is_committed('%[1]d'::pg_catalog.xid) THEN 'committed'"+
			" WHEN NOT pg_catalog.pgxc_is_committed('%[1]d'::pg_catalog.xid)"+
			" OR %[1]d::pg_catalog.int8 OPERATOR(pg_catalog.<) pg_catalog.txid_snapshot_xmin(pg_catalog.txid_current_snapshot()) THEN 'aborted'"+
			" ELSE 'in progress' END", xid)
	},
	abandon: func(r receipt) string {
		return terminateSQL(r.pid) + " AND state OPERATOR(pg_catalog.=) 'idle in transaction'"
	},
	rows: func(xid uint64) string { return fmt.Sprintf("xmin = '%d'", xid) },
}

// moment is a timestamptz as text, the same in every session.
func moment(expression string) string {
	return "pg_catalog.to_char(pg_catalog.timezone('UTC', " + expression + "), ' YYYY-MM-DD HH24:MI:SS.US')"
}

// terminateSQL ends a session of this user and program, and has a row while there
// is one to end. More conditions may follow. The user is the one who logged in:
// SET ROLE changes neither what the server shows for a session nor who may end
// it.
func terminateSQL(pid int64) string {
	return fmt.Sprintf("SET LOCAL ROLE NONE;\n"+
		"SELECT pg_catalog.pg_terminate_backend(pid), pg_catalog.pg_sleep(0.05) FROM pg_catalog.pg_stat_activity"+
		" WHERE pid OPERATOR(pg_catalog.=) %d AND pid OPERATOR(pg_catalog.<>) pg_catalog.pg_backend_pid()"+
		" AND usename OPERATOR(pg_catalog.=) session_user AND datname OPERATOR(pg_catalog.=) pg_catalog.current_database()"+
		" AND application_name OPERATOR(pg_catalog.=) pg_catalog.current_setting('application_name')", pid)
}
