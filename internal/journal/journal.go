// Package journal keeps rows on disk that are not in the destination yet, so
// that they survive the end of the process or of the machine. It knows tuples
// and their arrival numbers, and nothing of the writer around it.
//
// A journal is a sequence of segment files in one directory, each only ever
// appended to by the process that made it:
//
//	journal_<table>-<hash>_<number>.seg   hash: 12 hex digits of table and writer,
//	                                        number: 16 hex digits, ascending with age
//
// All integers are big endian, every string is a uint32 length and its bytes,
// every CRC is CRC-32C:
//
//	struct segment {
//		struct header {
//			byte   magic[8]            // "MDBWJRNL"
//			uint32 version             // 1
//			uint32 length              // of the header, from magic to crc
//			uint64 number              // as in the file's name
//			int64  next                // arrival number of the next row when the file was made
//			int64  created             // microseconds since 1970-01-01 00:00 UTC
//			string table, writer       // whose rows these are
//			uint32 columns
//			struct { string name; uint8 type; uint8 nullable } column[columns]
//			uint32 crc                 // of all of the above
//		}
//		struct record {
//			byte   magic[4]            // "\xf5JR\n"
//			uint16 kind                // 1 rows, 2 settle, 3 amend, 4 receipts
//			uint16 table               // of those in the header; 0, as there is one
//			uint32 length              // of the body
//			int64  seq                 // rows: of the first row; else: all up to here is settled
//			uint64 firm                // the file was durable up to here when this was written
//			uint32 prev                // check of the record before, of the first one header.crc
//			uint32 crc                 // of the body
//			uint32 check               // of the above, continued from header.crc
//			byte   body[length]
//		} record[]
//	}
//
//	struct rows   { uint32 n; uint32 length[n]; tuple row[n] }      // seq, seq+1, ...; a tuple names its absent fields
//	struct settle { uint32 n; failure failed[n] }
//	struct amend  { uint32 m; int64 gone[m]; uint32 n; failure again[n] }   // gone: failed rows that are no more
//	struct receipts { uint32 n; struct { int64 first, last; string token } receipt[n] }
//	struct failure {
//		int64 seq; string tuple, sqlstate, column, constraint, message
//		uint32 attempts; int64 first, last   // microseconds since 1970
//	}
//
// A settle record says that every row up to seq is in the destination or
// needs not be, except the failed rows that it and earlier records name; an
// amend record takes failed rows back. A failure holds its row, so that one
// failed row does not keep the megabytes around it. Every segment begins with
// what is settled, and with the receipts of the transactions whose outcome is not
// noted yet: what an older one said about that is never needed.
//
// # Assumptions
//
//   - What write took is readable by a later process until the machine dies.
//   - What was written before an fsync that returned nil survives the machine.
//     After an fsync that failed nothing written since the one before does,
//     whatever a later fsync returns.
//   - A machine that dies leaves of what was not synced any part of it, in
//     any order, in pieces of any size; of files made, renamed and removed
//     without an fsync of the directory the first few.
//   - Whatever was read with the right CRCs is what was written.
//   - The caller holds a lock on the directory.
//
// # After a crash
//
//	state of a segment                      what Scan and Replay do
//	complete                                used
//	ends inside a record, or with records   used up to there, then cut there; normal, and
//	  whose write was not durable             counted: nothing was promised of the rest
//	breaks off before what was durable      used up to there, copied aside as *.damaged,
//	  (bit rot, a stranger's write)           cut, and reported
//	header broken, perhaps because the      renamed to *.damaged, and reported
//	  machine died while it was written
//	empty, or ends inside the header        left alone; no row was in it
//	rows of a number from which on a later  used as long as none is missing, then those of the
//	  segment begins                          later one: a failed fsync had them appended again
//	of other columns                        read as the present ones, if these can follow
//	of a newer format, or of columns that   nothing is touched, Scan fails
//	  cannot follow
//	another table's or writer's, a link,    never opened for writing, never touched
//	  a directory
//
// Every segment is checked by itself, so damage in one costs nothing of the
// others. Which segments are deleted is decided oldest first, so that records
// about a row never go before the row.
//
// # Durability
//
// Append hands each block to the operating system with one write: it survives
// the process. A goroutine of the Writer makes that durable, for all callers of
// Sync who wait at that time, and at least every SyncEvery; appending goes on
// meanwhile.
package journal

import (
	"errors"
	"fmt"
	"time"

	"github.com/memdbwriter/memdbwriter/internal/journal/fsys"
	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

// Config describes a journal. Dir, Table and Writer say which one it is. Rows of
// other columns are read as far as these can follow (see tuple.Remap).
type Config struct {
	Dir     string         // exists, and is locked by the caller
	Table   string         // the table of the rows
	Writer  string         // tells writers of the same table apart; any text
	Columns []tuple.Column // in tuple order
	Keys    int            // so many of them are the key

	SyncEvery    time.Duration // the longest time that what must be durable waits for it. 0: one second
	SegmentBytes int64         // size at which a new file is begun. 0: 64 MiB
	MaxBytes     int64         // of all files together; beyond it Append reports ErrFull. 0: no limit
	FS           fsys.FS       // nil: the operating system's

	// Synced is called after each file that has become durable, by the goroutine
	// that has made it so, without a lock. May be nil.
	Synced func()
	// Changed is called whenever Err has become nil or an error, or Undeleted
	// has, by the goroutine that made it so, without a lock. May be nil.
	Changed func(*Writer)
}

const (
	defaultSyncEvery    = time.Second
	defaultSegmentBytes = 64 << 20
)

func (c Config) withDefaults() Config {
	if c.SyncEvery <= 0 {
		c.SyncEvery = defaultSyncEvery
	}
	if c.SegmentBytes <= 0 {
		c.SegmentBytes = defaultSegmentBytes
	}
	if c.FS == nil {
		c.FS = fsys.OS
	}
	return c
}

// Failure is a row that the destination refused, and why.
type Failure struct {
	Seq         int64
	Tuple       []byte
	SQLState    string // may be empty
	Column      string // may be empty
	Constraint  string // may be empty
	Message     string
	Attempts    int
	First, Last time.Time // kept to the microsecond, in UTC when they come out of a journal
}

var (
	// ErrFormat is why Scan refuses a segment that a newer program wrote.
	ErrFormat = errors.New("the journal is of a format that this program does not know")
	// ErrColumns is why Scan refuses a segment whose rows have other columns.
	ErrColumns = errors.New("the journal holds rows with other columns, which this program cannot take over: let the program that wrote them store them and " +
		"stop it cleanly, or replay the files with memdbwriter-checkpoint and move them away")
	// ErrFull is returned by Append when the journal may not grow any more.
	// It can again when rows have been settled.
	ErrFull = errors.New("the journal has reached its size limit")
	// ErrClosed is returned by the methods of a closed Writer.
	ErrClosed = errors.New("the journal is closed")
)

// MissingError says that the journal does not have rows which it was given,
// because Append failed or because they were lost to a failed fsync. Those of
// them that are not settled yet must be appended (again), in order, before it
// takes newer ones.
type MissingError struct {
	First, Last int64 // arrival numbers
	Err         error // what went wrong last, never nil
}

func (e *MissingError) Error() string {
	return fmt.Sprintf("the journal lacks the rows %d to %d: %v", e.First, e.Last, e.Err)
}

func (e *MissingError) Unwrap() error { return e.Err }
