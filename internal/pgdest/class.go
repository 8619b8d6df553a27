package pgdest

import (
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/memdbwriter/memdbwriter/internal/dest"
)

// classes says for each class of SQLSTATEs (the manual's appendix "PostgreSQL
// Error Codes") who is to blame.
var classes = map[string]dest.Class{
	"08": dest.ClassTransient, // connection
	"25": dest.ClassTransient, // state of the transaction, a read-only server
	"26": dest.ClassTransient, // a prepared statement that a pooler knows nothing of
	"29": dest.ClassTransient, // openGauss: a cached plan that no longer fits
	"2D": dest.ClassTransient, // invalid end of a transaction
	"3B": dest.ClassTransient, // savepoint
	"40": dest.ClassTransient, // rolled back: serialization, deadlock
	"53": dest.ClassTransient, // resources
	"55": dest.ClassTransient, // state of an object, locks
	"57": dest.ClassTransient, // intervention of an operator
	"58": dest.ClassTransient, // the system around the server
	"72": dest.ClassTransient, // snapshot too old
	"HV": dest.ClassTransient, // foreign data: a partition on another server
	"XX": dest.ClassTransient, // internal
	"YY": dest.ClassTransient, // openGauss: internal communication, lock timeout, memory

	"09": dest.ClassRow, // triggers, from here ...
	"20": dest.ClassRow, // CASE without a match
	"27": dest.ClassRow, // a trigger changed the row meanwhile
	"2F": dest.ClassRow, // functions
	"38": dest.ClassRow,
	"39": dest.ClassRow,
	"45": dest.ClassRow, // the standard's class for errors of users
	"P0": dest.ClassRow, // ... to here
	"21": dest.ClassRow, // two rows of the batch are one row to the index: alone each of them fits
	"22": dest.ClassRow, // data
	"23": dest.ClassRow, // constraints
	"44": dest.ClassRow, // WITH CHECK OPTION
	"54": dest.ClassRow, // limits: the size of a row or of an index entry, the depth of JSON

	"03": dest.ClassTable, // SQL statement not yet complete
	"0A": dest.ClassTable, // not supported
	"0B": dest.ClassTable, // invalid start of a transaction
	"0F": dest.ClassTable, // locators
	"0L": dest.ClassTable, // grantors
	"0P": dest.ClassTable, // roles
	"0Z": dest.ClassTable, // diagnostics
	"10": dest.ClassTable, // XQuery
	"24": dest.ClassTable, // cursors
	"28": dest.ClassTable, // login
	"2B": dest.ClassTable, // dependent privileges
	"34": dest.ClassTable, // cursor names
	"3D": dest.ClassTable, // no such database
	"3F": dest.ClassTable, // no such schema
	"42": dest.ClassTable, // syntax, names, types, rights
	"F0": dest.ClassTable, // configuration file
}

// SQLSTATEs that are looked at one by one.
const (
	uniqueViolation       = "23505"
	undefinedTable        = "42P01"
	undefinedSchema       = "3F000"
	insufficientPrivilege = "42501"
	undefinedObject       = "42704" // among others, a parameter that the server has not
	notNullViolation      = "23502" // of a column that is not written: ours are checked before
	exclusionViolation    = "23P01"
	protocolViolation     = "08P01" // also a binary field that is shorter than its type
	limitExceeded         = "54000" // a row too large for a page or for an index
	cannotConnectNow      = "57P03"
	readOnlyTransaction   = "25006" // also of a standby
	accountLocked         = "28000" // among others
)

// states are the exceptions from classes.
var states = map[string]dest.Class{
	"54011": dest.ClassTable, // too many columns
	"54023": dest.ClassTable, // too many arguments
}

// misdirected are texts of openGauss for which waiting is no help, although
// they come under cannotConnectNow, and what is.
var misdirected = map[string]string{
	"the local listen ip and port is not for the gsql client": "the URL names the port of the server's replication, use the configured one, which is one less",
	"SSL connection is required by the database system":       "add sslmode=require to the URL",
}

// hints say what to do about errors whose text does not.
var hints = map[string]string{
	"25006": "the server is a standby, or default_transaction_read_only is on for the database or the role",
	"53100": "the disk of the server is full",
	"53300": "raise max_connections, or connect through a pooler",
	"XX000": "this is an internal error of the server: its log has more, and a newer minor version may mend it",
	"XX001": "THE SERVER REPORTS DAMAGED DATA: look into its log and check its disks before anything else",
	"XX002": "THE SERVER REPORTS A DAMAGED INDEX: look into its log, check its disks, then REINDEX",
}

// loginHint is about a login to openGauss that the client itself ended.
const loginHint = "check user and password; a server whose auth_iteration_count is neither 10000 nor 2048 " +
	"needs a pool that opengauss.ConfigurePool prepared"

// classOf tells who is to blame for an error of the server, and what to do
// about it, which may be empty. What is unknown is transient: it may pass, and
// waiting loses nothing.
func classOf(pe *pgconn.PgError) (class dest.Class, hint string) {
	class, known := states[pe.Code]
	if !known && len(pe.Code) == 5 {
		class, known = classes[pe.Code[:2]]
	}
	switch {
	case pe.Code == cannotConnectNow:
		for text, advice := range misdirected {
			if strings.Contains(pe.Message, text) {
				return dest.ClassTable, advice
			}
		}
	case pe.Code == accountLocked && strings.Contains(pe.Message, "account has been locked"):
		return class, "an administrator can unlock it with ALTER USER ... ACCOUNT UNLOCK; mend the password first"
	case pe.Code == insufficientPrivilege && pe.Routine == "ExecWithCheckOptions":
		return dest.ClassRow, "" // a policy refuses the row
	case !known && pe.Routine == "exec_stmt_raise":
		class = dest.ClassRow // a RAISE with a SQLSTATE of its own, in a trigger
	case class == dest.ClassRow && endsSession(pe):
		class = dest.ClassTable // about a setting in the URL, not about a value in a row
	}
	return class, hints[pe.Code]
}

// ClassOf tells who is to blame for an error with a SQLSTATE of which nothing
// else is known.
func ClassOf(sqlstate string) dest.Class {
	class, _ := classOf(&pgconn.PgError{Code: sqlstate})
	return class
}

// endsSession tells an error that closes the connection.
func endsSession(pe *pgconn.PgError) bool {
	severity := pe.SeverityUnlocalized
	if fromOpenGauss(pe) {
		severity = pe.Severity
	}
	return severity == "FATAL" || severity == "PANIC"
}

// knownState tells whether a SQLSTATE says by itself who is to blame.
func knownState(code string) bool {
	_, known := states[code]
	if !known && len(code) == 5 {
		_, known = classes[code[:2]]
	}
	return known
}
