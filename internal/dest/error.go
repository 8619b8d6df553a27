package dest

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// Class says who is to blame for an error, and so what to do about it.
type Class uint8

const (
	// ClassTransient passes: connection, timeout, deadlock, resources. The
	// batch is written again after a delay. Unknown errors count as transient.
	ClassTransient Class = iota
	// ClassRow is about the values of one row. The row is set aside, and the
	// others are stored.
	ClassRow
	// ClassTable hits every row alike: missing table or column, rights,
	// wrong database. Retried slowly, until somebody mends it.
	ClassTable
)

func (c Class) String() string {
	return [...]string{ClassTransient: "transient", ClassRow: "row", ClassTable: "table"}[c]
}

// Error is every error of a Sink.
type Error struct {
	Class      Class
	Row        int    // index of the offending row in the batch, -1 when not known; only for ClassRow
	Column     string // where known
	Constraint string // or the unique index, where known
	SQLState   string // five characters, empty when the error is not the server's
	// Answered: the database itself said so, and the session lives on. So the rows
	// may be the cause, whatever the class says.
	Answered bool
	// Locks: the server locks an account whose login fails often, as this one has
	// more than once. Another attempt should be a long time off.
	Locks bool
	Hint  string // what to do, one sentence or the mending DDL; may be empty
	Err   error  // the cause, never nil; without table and destination, in one line
}

func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Err.Error())
	if e.Hint != "" {
		b.WriteString("; ")
		b.WriteString(e.Hint)
	}
	return b.String()
}

func (e *Error) Unwrap() error { return e.Err }

// ErrClosed is the error of a destination that its owner closed, or whose pool
// he closed.
var ErrClosed = errors.New("memdbwriter: the destination is closed")

// Closed returns the error of a closed destination. No retry opens it again.
func Closed() *Error { return &Error{Class: ClassTable, Row: -1, Err: ErrClosed} }

// AsError returns err as an *Error. What is not one yet (a bug of a Sink, or
// a context's error) becomes transient: never success, never loss.
func AsError(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return &Error{Class: ClassTransient, Row: -1, Err: err}
}

// RowErrorf makes an error of row i of a batch that the client itself found,
// before the row was sent.
func RowErrorf(i int, column, sqlstate, format string, args ...any) *Error {
	return &Error{Class: ClassRow, Row: i, Column: column, SQLState: sqlstate, Err: fmt.Errorf(format, args...)}
}

// Timeout reports whether err is the end of a context or a network timeout.
func Timeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &t) && t.Timeout()
}
