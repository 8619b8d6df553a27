package memdbwriter

import (
	"errors"
	"fmt"
)

// UnsyncedError says how many rows are not in the destination, why, and where they
// are. It is what wraps ErrUnsynced. Find it with errors.As.
type UnsyncedError struct {
	Table   string
	Waiting int64 // rows that wait
	Failed  int64 // rows that the destination rejected and the writer keeps
	Added   int64 // rows that came in, those of earlier writers included

	// Lost is how many of the waiting rows nobody has any more: the writer has
	// stopped, and keeps nothing on disk or could not save them there. A journal that the
	// disk refuses now may still have some of them.
	Lost int64
	// SavedTo is the directory in which Stop has left the waiting and the failed
	// rows for the next writer; empty if it has not.
	SavedTo string

	Err error // why they are not in the destination
}

// Error has the table, the counts, the place and the reason.
func (e *UnsyncedError) Error() string {
	place := ""
	switch {
	case e.SavedTo != "":
		place = ", saved in " + e.SavedTo
	case e.Lost > 0:
		place = fmt.Sprintf(", %d lost", e.Lost)
	}
	return fmt.Sprintf("%v: %s: %d waiting, %d failed, of %d added%s: %v", ErrUnsynced, e.Table, e.Waiting, e.Failed, e.Added, place, e.Err)
}

// Unwrap returns ErrUnsynced and the reason.
func (e *UnsyncedError) Unwrap() []error { return []error{ErrUnsynced, e.Err} }

// noteEnd completes the error of a writer that has stopped: dir is where the rows
// were saved, empty if they were not.
func noteEnd(err error, dir string) {
	var e *UnsyncedError
	if !errors.As(err, &e) {
		return
	}
	if e.SavedTo = dir; dir == "" {
		e.Lost = e.Waiting
	}
}
