package dest

import (
	"context"

	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

// Comparer is a Sink whose database may hold keys for equal whose bytes differ:
// texts without regard to case, times that a column rounds. Of a Sink that is
// no Comparer, equal keys are the same bytes.
//
// Where a key column is not byte-exact, nothing may rest on the bytes of keys:
// batches are written one at a time, in arrival order and with all their rows,
// and the database chooses among those that it holds for one. Write takes such a
// batch of any Comparer: its rows in any order, a key any number of times; their
// sequence numbers decide, and Result.Superseded counts.
type Comparer interface {
	Sink

	// InexactKeys returns the names of the key columns that are not byte-exact,
	// as of the last look at the table. known is false before the first.
	InexactKeys() (names []string, known bool)

	// Insert is Write for rows that must not replace any: a key that the table
	// has is an error, of ClassRow.
	Insert(ctx context.Context, b *tuple.Batch) (Result, error)
}

// KnowKeys has a Comparer look at its table if it has not, so that ExactKeys tells.
func KnowKeys(ctx context.Context, s Sink) error {
	if c, ok := s.(Comparer); ok {
		if _, known := c.InexactKeys(); !known {
			return c.Check(ctx)
		}
	}
	return nil
}

// ExactKeys tells whether keys are equal to the database exactly when their bytes
// are, and that is known.
func ExactKeys(s Sink) bool {
	c, ok := s.(Comparer)
	if !ok {
		return true
	}
	inexact, known := c.InexactKeys()
	return known && len(inexact) == 0
}
