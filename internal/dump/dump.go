// Package dump writes and reads checkpoints: files of SQL text with the rows
// that are not in the destination yet and those that it refused.
//
//	-- memdbwriter checkpoint, format 1       the head, for people and for Read
//	-- ...
//	-- table: "public" "files"
//	-- writer: "files-5f2a9d0c11e3b8a7"
//	-- created: 2026-11-23 07:42:46.000000+00:00
//	-- library: "memdbwriter v1.0.0"
//	-- sequence: 1 to 4711                    arrival numbers that the file covers
//	-- column: "id" bigint not null           one line per column, in tuple order
//	-- column: "name" text
//	BEGIN;
//	CREATE TABLE "files" ("_seq" INTEGER PRIMARY KEY, "id" BIGINT NOT NULL, "name" TEXT);
//	CREATE TABLE "files_failed" (the same, and _sqlstate, _column, _error, ...);
//	INSERT INTO "files" VALUES                the body, a line per row
//	(1,7,'seven'),
//	(2,8,NULL);
//	COMMIT;
//	-- end: 2 rows, 0 failed, crc32c 1a2b3c4d
//
// The checksum is of every byte before its own eight digits. Names and types
// in the statements are those that suit SQLite: the sqlite3 shell loads such a
// file, and a person can read it.
//
// # A checkpoint is data
//
// Read never executes the SQL. It takes a file apart by the very narrow
// grammar that the Writer emits: a head that is byte by byte the one that the
// Writer would make of what it says, then lists of literals for the two
// tables, COMMIT and the trailer. There is no SQL engine behind it that an
// authorizer would have to keep on a lead, so there is nothing in a hostile
// file that could run: what is not a literal of a row is an error. Every value
// goes through tuple.AppendValue, which checks it as it would check a row that
// a program adds.
//
// # Files
//
// A Writer fills a temporary file next to the final one, syncs it, renames it
// and syncs the directory: under its final name a checkpoint is whole or not
// there. Names are checkpoint_<identity>_<UTC time>_<number>.sql, where the
// identity is that of one writer (see Identity). Functions of this package
// touch regular files with such a name and that very identity, and no others.
//
// One process at a time may use a Dir; see package dirlock.
package dump

import (
	"errors"
	"time"

	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

// Why a file cannot be read. The messages name the file and what is wrong.
var (
	// ErrDamaged: the file is not what a Writer made: cut off, changed, or
	// never a checkpoint. It belongs set aside.
	ErrDamaged = errors.New("damaged checkpoint")
	// ErrVersion: the file is in a format of a later version of the library.
	ErrVersion = errors.New("checkpoint of another version")
	// ErrForeign: the name is ours, but the head names another writer. The
	// file must be left alone.
	ErrForeign = errors.New("checkpoint of another writer")
	// ErrMismatch: the file is whole, but its rows are of another table, or of
	// columns that the table does not have any more.
	ErrMismatch = errors.New("checkpoint of other columns")
)

// Table is where the rows belong.
type Table struct {
	Schema, Name string         // of the destination's table, not quoted; Schema may be empty
	Columns      []tuple.Column // in tuple order
}

// Meta is what the head of a checkpoint says.
type Meta struct {
	Table
	FirstSeq, LastSeq int64 // every row's arrival number is in this range, its ends included
	Created           time.Time
	Library           string // name and version of the library, for people
}

// Info describes a checkpoint.
type Info struct {
	Path   string
	Number uint64 // of two checkpoints of one writer, the later has the higher one
	Size   int64  // of the file, in bytes
	Meta
	Rows, Failed int64 // how many of each

	// Err says why List could not make out the rest.
	Err error
}

// Failed is a row that the destination refused, and why.
type Failed struct {
	Seq         int64
	Tuple       []byte
	SQLState    string // may be empty
	Column      string // may be empty
	Constraint  string // may be empty
	Message     string
	Attempts    int
	First, Last time.Time // kept to the microsecond, read in UTC
}
