package sqlitedest

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"slices"

	"github.com/memdbwriter/memdbwriter/internal/dest"
	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

// isolateRows is how many rows Isolate tries at a time before it tries each by
// itself.
const isolateRows = 64

var _ dest.Isolator = (*sink)(nil)

// Isolate implements dest.Isolator.
func (s *sink) Isolate(ctx context.Context, b *tuple.Batch) (dest.Result, []dest.Refusal, error) {
	way := dest.Upsert
	if s.table.Policy == dest.InsertOnly {
		way = dest.Direct
	}
	refused, skipped, err := s.store(ctx, b, func(c *sql.Conn) putter {
		return func(part *tuple.Batch) ([]dest.Refusal, error) { return s.isolate(ctx, c, part) }
	})
	if err != nil {
		return dest.Result{}, nil, err
	}
	return dest.Result{Way: way, Skipped: skipped}, refused, nil
}

// isolate stores what gets in, in the caller's transaction: block after block in
// the order of arrival, row after row where a block is refused. What is refused
// is tried again as long as that stores something, from the other end each time,
// so that a chain of rows that need each other takes two rounds whichever way
// round it came.
func (s *sink) isolate(ctx context.Context, c *sql.Conn, b *tuple.Batch) ([]dest.Refusal, error) {
	places := dest.ByArrival(b)
	for {
		refused, err := s.round(ctx, c, b, places)
		if err != nil {
			return nil, err
		}
		if len(refused) == 0 || len(refused) == len(places) {
			slices.SortFunc(refused, func(x, y dest.Refusal) int { return cmp.Compare(x.Row, y.Row) })
			return refused, nil
		}
		places = places[:len(refused)]
		for i, r := range slices.Backward(refused) {
			places[len(refused)-1-i] = r.Row
		}
	}
}

// round tries the rows at some places once, and returns the refused ones in the
// order of places.
func (s *sink) round(ctx context.Context, c *sql.Conn, b *tuple.Batch, places []int) (refused []dest.Refusal, err error) {
	for block := range slices.Chunk(places, isolateRows) {
		if len(block) > 1 {
			e, err := s.try(ctx, c, dest.Pick(b, block))
			if err != nil {
				return nil, err
			}
			if e == nil {
				continue
			}
		}
		for _, at := range block {
			e, err := s.try(ctx, c, b.Slice(at, at+1))
			if err != nil {
				return nil, err
			}
			if e != nil {
				refused = append(refused, dest.Refusal{Row: at, Err: e})
			}
		}
	}
	return refused, nil
}

// try stores rows, or nothing: then refused says why, if it is about the rows.
// The savepoint undoes what a trigger's RAISE(FAIL) leaves of the statement. It
// is gone after a RAISE(ROLLBACK), which ends the transaction: an error.
func (s *sink) try(ctx context.Context, c *sql.Conn, b *tuple.Batch) (refused *dest.Error, err error) {
	if _, err := c.ExecContext(ctx, "SAVEPOINT isolate"); err != nil {
		return nil, err
	}
	cause := s.insert(ctx, c, b)
	undo := ""
	if cause != nil {
		if refused = s.db.asError(cause); refused.Class != dest.ClassRow {
			return nil, cause
		}
		refused.Column = cmp.Or(refused.Column, errorColumn(s.table, cause))
		refused.Row = -1
		undo = "ROLLBACK TO isolate; "
	}
	_, err = c.ExecContext(ctx, undo+"RELEASE isolate")
	if err != nil && refused != nil { // the row ended the transaction, and with it what the others did
		ended := *refused
		ended.Err = errors.Join(cause, err)
		return nil, &ended
	}
	return refused, err
}
