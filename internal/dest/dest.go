// Package dest holds the contract between the writer and the databases it
// writes to. A destination is one package that implements Destination and
// Sink; it knows tuples and tables, and nothing of buffers, triggers or retry.
package dest

import (
	"cmp"
	"context"
	"log/slog"

	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

// Policy says what happens to a row whose key is already in the table.
type Policy uint8

const (
	// Update overwrites the stored row, except its insert-only columns and
	// except when the guard column protects it.
	Update Policy = iota
	// Ignore leaves the stored row as it is; the new row counts as stored.
	Ignore
	// InsertOnly needs no key: every row is a new one, and a duplicate key
	// in the table is an error of the row.
	InsertOnly
)

// Column is a column of the destination table that the writer fills.
type Column struct {
	tuple.Column
	InsertOnly bool // never overwritten on conflict
	Passive    bool // written with an update, but no reason for one
	Absent     bool // rows can leave it out, so a column that is made for it takes NULL

	// SQL is PostgreSQL's type for the column if it has to be made; empty:
	// that of Type.
	SQL string
}

// SQLType is SQL, or what stands for it.
func (c Column) SQLType() string { return cmp.Or(c.SQL, c.Type.SQL()) }

// Table is what a Sink writes to. It is read-only after Bind.
type Table struct {
	Schema  string   // empty: found through the search path
	Name    string   // not quoted
	Columns []Column // in tuple order, the key columns first
	Keys    int      // how many leading columns make the conflict key; 0 with InsertOnly
	Policy  Policy
	Guard   string // a boolean column of the table; a stored row in which it is true is never overwritten. Empty: none

	// Touched is a column that rows do not have: when an upsert changes a stored
	// row it gets its default anew, which is the time. It need not be there.
	Touched string

	// Constraint is the unique constraint that conflicts are looked for by, and
	// Where the predicate of the partial unique index, as SQL of the program;
	// at most one of the two. Both empty: any unique index on exactly the key
	// and on every row.
	Constraint string
	Where      string

	// Create makes a Sink create the table when it is missing. SQLite does so
	// anyway.
	Create bool
	// DDL returns the statements that create the table in the dialect
	// ("postgres", "sqlite"). Nil: derived from Columns and Keys.
	DDL func(dialect string) []string
}

// Without is the table with the columns that a row of it has.
func (t *Table) Without(row []byte) *Table {
	bits := tuple.Absences(row)
	if bits == nil {
		return t
	}
	rest := *t
	rest.Columns = nil
	for i, c := range t.Columns {
		if bits[i/8]&(1<<(i%8)) == 0 {
			rest.Columns = append(rest.Columns, c)
		}
	}
	return &rest
}

// ReplaceKeys is how many leading columns tell which older row a newer one
// replaces; 0 if it replaces none.
func (t *Table) ReplaceKeys() int {
	if t.Policy == InsertOnly {
		return 0
	}
	return t.Keys
}

// String is the table's name as a person writes it.
func (t *Table) String() string {
	if t.Schema == "" {
		return t.Name
	}
	return t.Schema + "." + t.Name
}

// Way is how a batch got into the table.
type Way uint8

const (
	Direct Way = iota + 1 // straight in, every key was new
	Upsert                // through the conflict clause
	Pass                  // told apart by an Isolator
)

// Result describes a stored batch.
type Result struct {
	Way        Way
	RoundTrips int // requests sent to the server and waited for, the failed ones included
	// Skipped is how many rows of the batch a trigger of the table cancelled:
	// the statement succeeded and neither stored them nor found them unchanged.
	// They count as skipped and not as synced. At most the rows of the batch.
	Skipped int
	// Superseded is how many rows of the batch were not stored because a later
	// row of the batch has the same key by the database's own equality, or with
	// Ignore an earlier one. See Comparer.
	Superseded int
	// StandbyWaits is how many insert-only transactions of before, whose COMMIT was
	// not answered, were found to be committed here and not yet where COMMIT waits
	// for them to be, a synchronous standby. It is told with an error, too.
	StandbyWaits int
}

// Destination is a database. It serves any number of tables and writers, and
// is safe for concurrent use.
type Destination interface {
	// Bind returns a Sink for the table. It does no I/O. An error means that
	// this destination can never take such a table.
	Bind(t *Table, log *slog.Logger) (Sink, error)
	// String names the destination for logs and errors, without secrets.
	String() string
	// Close releases what the destination itself opened. Sinks must be
	// closed before.
	Close() error
}

// Sink stores batches in one table. It is safe for concurrent use; concurrent
// batches have no key in common.
type Sink interface {
	// Check connects, creates the table if that was asked for, and compares
	// its shape with what the writer sends. Errors are *Error: a table that
	// cannot take the rows is ClassTable and says, with the DDL, how to mend
	// it; a database that cannot be reached is ClassTransient.
	Check(ctx context.Context) error

	// Write stores all rows of b in one transaction, or none. The rows are
	// sorted by key and have each key once (InsertOnly: in arrival order), and
	// all of them leave out the same columns. It
	// neither keeps nor changes b's memory. A nil error means that the rows
	// are durable as far as the database promises it. Errors are *Error: one
	// that concerns a single row is ClassRow, with that row's index where the
	// database named it. The context bounds the call.
	//
	// After any other error than ClassRow it may be unknown whether the batch
	// got in: the context ended, or the connection, before the database
	// answered. To write it again is the answer. With a key that is harmless.
	// With InsertOnly the Sink remembers the rows of such a batch by their
	// arrival numbers until it is closed, and finds out whether they got in
	// before it stores any of them again, in whatever batches; where the
	// database cannot tell, they are stored again and an error is logged. See
	// Recorder for how that outlives the process.
	Write(ctx context.Context, b *tuple.Batch) (Result, error)

	// Close releases what Bind and Write took. No call may be under way.
	Close() error
}
