package memdbwriter

import (
	"context"
	"errors"
	"slices"

	"github.com/memdbwriter/memdbwriter/internal/dest"
)

// contextError is the error of a call whose context ended with a cause. It is
// context.Canceled or context.DeadlineExceeded for errors.Is, and whatever the
// cause is, but for errors of this package: the cause may be the error of
// another writer, which says nothing about this one.
type contextError struct{ err, cause error }

// ended is the error of a call whose context has ended, nil if it has not.
func ended(ctx context.Context) error {
	err, cause := ctx.Err(), context.Cause(ctx)
	if err == nil || cause == err { //nolint:errorlint // the very same
		return err
	}
	return &contextError{err: err, cause: cause}
}

func (e *contextError) Error() string { return e.err.Error() + ": " + e.cause.Error() }

func (e *contextError) Unwrap() error { return e.err }

// sentinels are what a writer says about itself.
var sentinels = []error{
	ErrConfig, ErrTable, ErrDestination, ErrBufferFull, ErrStopped, ErrUnsynced, ErrRowsFailed,
	ErrStopInHook, ErrPaused, ErrLocked, ErrRecovery, ErrTooManyFailed,
}

// Is finds the cause.
func (e *contextError) Is(target error) bool {
	return !slices.Contains(sentinels, target) && errors.Is(e.cause, target)
}

// As finds the cause.
func (e *contextError) As(target any) bool {
	switch target.(type) {
	case **RowError, **UnsyncedError, **dest.Error:
		return false
	}
	return errors.As(e.cause, target)
}
