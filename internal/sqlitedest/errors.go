package sqlitedest

import (
	sqldriver "database/sql/driver"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/memdbwriter/memdbwriter/internal/dest"
)

// errBadConn makes database/sql close a connection instead of keeping it.
var errBadConn = sqldriver.ErrBadConn

// commitError is a COMMIT that failed: no row can be told to be the cause.
type commitError struct{ error }

func (e *commitError) Unwrap() error { return e.error }

// rollbackError leaves a connection in an unknown state.
type rollbackError struct{ error }

func (e *rollbackError) Unwrap() error { return e.error }

// code is the primary result code of SQLite, and the extended one. Both are 0
// when err is not SQLite's.
func code(err error) (primary, extended int) {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return 0, 0
	}
	return e.Code() & 0xff, e.Code()
}

// untrusted tells whether the connection may be to blame for err, or may have
// been harmed by it. A fresh one costs about a millisecond.
func untrusted(err error) bool {
	if e := (*rollbackError)(nil); errors.As(err, &e) {
		return true
	}
	switch c, _ := code(err); c {
	case 0, sqlite3.SQLITE_ERROR, sqlite3.SQLITE_SCHEMA, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_INTERRUPT,
		sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_TOOBIG:
		return false
	}
	return true
}

// asError gives err its class.
func (db *DB) asError(err error) *dest.Error {
	var e *dest.Error
	if errors.As(err, &e) {
		return e
	}
	primary, extended := code(err)
	if state, ok := rowState(primary, extended); ok {
		return &dest.Error{Class: dest.ClassRow, Row: -1, SQLState: state, Err: err}
	}
	e = &dest.Error{Row: -1, Err: err}
	switch primary {
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
		e.Hint = "another connection holds the lock: end its transaction (an open BEGIN in an sqlite3 shell is enough), or wait"
	case sqlite3.SQLITE_FULL:
		e.Hint = "free some space on the disk (or raise max_page_count)"
	case sqlite3.SQLITE_READONLY:
		e.Class = dest.ClassTable
		e.Hint = "let this user write to the file and to its directory, where SQLite keeps the -wal and -shm files"
	case sqlite3.SQLITE_NOTADB:
		e.Class = dest.ClassTable
		e.Hint = "the file is not an SQLite database (or is encrypted): name another path, or move the file away"
	case sqlite3.SQLITE_CORRUPT:
		e.Class = dest.ClassTable
		e.Hint = "the database is damaged: see what PRAGMA integrity_check says, restore a backup, or move the file away"
	case sqlite3.SQLITE_CANTOPEN:
		e.Class = dest.ClassTable
		e.Hint = cannotOpen(db.path)
	case sqlite3.SQLITE_ERROR, sqlite3.SQLITE_SCHEMA, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH:
		e.Class = dest.ClassTable
	}
	return e
}

// cannotOpen finds out what SQLite does not tell.
func cannotOpen(path string) string {
	dir := filepath.Dir(path)
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		return fmt.Sprintf("the directory %s does not exist: create it", dir)
	}
	if file, err := os.Stat(path); err == nil && file.IsDir() {
		return "the path is a directory: name a file in it"
	}
	return "let this user read and write the file and its directory"
}

// rowState is the SQLSTATE of the errors that are about the values of a row.
func rowState(primary, extended int) (state string, ok bool) {
	switch extended {
	case sqlite3.SQLITE_CONSTRAINT_NOTNULL:
		return "23502", true
	case sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY:
		return "23503", true
	case sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY, sqlite3.SQLITE_CONSTRAINT_ROWID:
		return "23505", true
	case sqlite3.SQLITE_CONSTRAINT_CHECK:
		return "23514", true
	case sqlite3.SQLITE_CONSTRAINT_DATATYPE:
		return "22000", true
	}
	switch primary {
	case sqlite3.SQLITE_CONSTRAINT: // RAISE in a trigger, and what is rarer
		return "23000", true
	case sqlite3.SQLITE_MISMATCH:
		return "22000", true
	case sqlite3.SQLITE_TOOBIG:
		return "22001", true
	}
	return "", false
}

// errorColumn finds the column of t that SQLite's message names. A message
// about two, as that of a unique index may be, names none.
func errorColumn(t *dest.Table, err error) string {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return ""
	}
	msg := fold(strings.TrimSuffix(e.Error(), fmt.Sprintf(" (%d)", e.Code())))
	for _, c := range t.Columns {
		name := fold(t.Name + "." + c.Name)
		for _, before := range []string{"not null constraint failed: ", "unique constraint failed: ", " column "} {
			if strings.HasSuffix(msg, before+name) {
				return c.Name
			}
		}
	}
	return ""
}
