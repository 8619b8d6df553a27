package memdbwriter

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/memdbwriter/memdbwriter/internal/dest"
)

// Returned when a writer is made or configured.
var (
	// ErrConfig is wrapped by every complaint about a setting. The message
	// names all bad settings, their values and the allowed ranges.
	ErrConfig = errors.New("memdbwriter: bad configuration")

	// ErrTable is wrapped by every complaint about a table definition: the
	// struct's tags, the table's name, the key. The message names the field.
	ErrTable = errors.New("memdbwriter: bad table definition")

	// ErrDestination is wrapped when the destination cannot take the rows of
	// this table, whatever they hold: the table or a column is missing, a
	// right is not granted, the password is wrong. The message says how to
	// fix it: the Go field that fits the column, or a statement that only adds.
	ErrDestination = errors.New("memdbwriter: the destination cannot take the rows")

	// ErrClosed is wrapped, with ErrDestination, by every method that needs the
	// destination once that, or the pool that it was made of, is closed. No
	// retry opens it again. Rows are where they were.
	ErrClosed = dest.ErrClosed
)

// Returned when a row is added.
var (
	// ErrBufferFull is returned by TryAdd when the limit on waiting rows or
	// bytes is reached. The row was not taken.
	ErrBufferFull = errors.New("memdbwriter: the buffer is full")

	// ErrStopped is returned by every method that needs a running writer once
	// Stop was called. A row passed along was not taken.
	ErrStopped = errors.New("memdbwriter: the writer is stopped")
)

// Returned by ForceSync and Stop.
var (
	// ErrUnsynced is wrapped when rows are not in the destination. For
	// ForceSync they are still waiting and will be tried again; for Stop they
	// are in the journal or, without a CheckpointDir, gone with the writer's
	// memory. The error is an UnsyncedError, with the counts, the place and the last
	// error.
	ErrUnsynced = errors.New("memdbwriter: rows are not in the destination")

	// ErrRowsFailed is wrapped when the destination refused rows, together with
	// a *RowError for each of the first hundred. The message counts them by
	// SQLSTATE and has the first one's error. SyncErrors lists all.
	ErrRowsFailed = errors.New("memdbwriter: the destination refused rows")

	// ErrPaused is wrapped, with ErrUnsynced if rows wait, by what would have to
	// send rows while the writer is paused. The message has the reason that Pause
	// was given.
	ErrPaused = errors.New("memdbwriter: the writer is paused")

	// ErrStopInHook is returned by Stop when it is called with the context that
	// OnSync or another hook was called with: Stop waits until it has returned. Call
	// it from another goroutine.
	ErrStopInHook = errors.New("memdbwriter: a hook must not call Stop, which waits for the hook to return")
)

// Returned by writers that keep rows on disk.
var (
	// ErrLocked is wrapped when another writer of this process uses the files of
	// this table and destination, or one of another process did until the context
	// of New ended. The message names it.
	ErrLocked = errors.New("memdbwriter: the checkpoint directory is in use")

	// ErrRecovery is wrapped when New finds rows of an earlier writer that it
	// cannot take over: a newer version wrote them, their columns cannot follow,
	// or the disk does not give them or make them durable. Nothing of them is
	// lost. Drain them with the program that wrote them, mend the disk, or move
	// the files away. It is also wrapped when a writer that keeps nothing on
	// disk cannot get them stored before it begins.
	ErrRecovery = errors.New("memdbwriter: rows on disk cannot be recovered")

	errNoDisk = errors.New("memdbwriter: nothing is written to disk: set Config.CheckpointDir (MEMORY_DB_CHECKPOINT_DIR) and a Durability other than none")
)

// ErrTooManyFailed is the cause while no further batches are sent because
// Config.MaxFailedRows rows are kept as failed. Nothing is lost: rows wait.
// Mend what the rows fail for and call RetrySyncErrors, or give them up with
// DiscardSyncErrors.
var ErrTooManyFailed = errors.New("memdbwriter: too many failed rows are kept: call RetrySyncErrors once the cause is mended, or DiscardSyncErrors")

func tooManyFailed(n int64) error {
	return &dest.Error{Class: dest.ClassTable, Row: -1, Err: fmt.Errorf("%w: %d", ErrTooManyFailed, n)}
}

// RowError is an error about one row: Add returns it for a row that no
// database could take, ForceSync and SyncErrors for one that the destination
// refused. Find it with errors.As.
type RowError struct {
	Table      string // destination table
	Column     string // where it is known
	Constraint string // that the row violates, where it is known
	Key        string // the row's key columns and their values, shortened; the first columns when the table has no key
	SQLState   string // the database's five-character code, empty when the row never got there
	Err        error  // the reason
}

// Error gives table, key, column and reason in one line.
func (e *RowError) Error() string {
	var b strings.Builder
	b.WriteString("memdbwriter: row of ")
	b.WriteString(e.Table)
	if e.Key != "" {
		b.WriteString(" with ")
		b.WriteString(e.Key)
	}
	if e.Column != "" {
		b.WriteString(", column ")
		b.WriteString(e.Column)
	}
	b.WriteString(": ")
	b.WriteString(e.Err.Error())
	if e.SQLState != "" && !strings.Contains(e.Err.Error(), e.SQLState) {
		fmt.Fprintf(&b, " (SQLSTATE %s)", e.SQLState)
	}
	return b.String()
}

// Unwrap returns the reason.
func (e *RowError) Unwrap() error { return e.Err }

// failedRowsError is the error that wraps ErrRowsFailed.
type failedRowsError struct {
	table  string
	states map[string]int64 // how many rows by SQLSTATE
	first  []*RowError
}

// Error counts the rows by SQLSTATE, and has the first one's error.
func (e *failedRowsError) Error() string {
	var total int64
	for _, n := range e.states {
		total += n
	}
	return fmt.Sprintf("%v: %d of %s (%s), the first: %v", ErrRowsFailed, total, e.table, countStates(e.states), e.first[0])
}

// Unwrap returns ErrRowsFailed and the first rows' errors.
func (e *failedRowsError) Unwrap() []error {
	errs := []error{ErrRowsFailed}
	for _, row := range e.first {
		errs = append(errs, row)
	}
	return errs
}

// countStates says how many rows failed with which SQLSTATE, the most frequent
// first.
func countStates(states map[string]int64) string {
	byNumber := slices.SortedFunc(maps.Keys(states), func(a, b string) int {
		return cmp.Or(cmp.Compare(states[b], states[a]), cmp.Compare(a, b))
	})
	var parts []string
	for _, state := range byNumber {
		parts = append(parts, fmt.Sprintf("%d with %s", states[state], cmp.Or(state, "no SQLSTATE")))
	}
	return strings.Join(parts, ", ")
}
