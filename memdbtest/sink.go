package memdbtest

import (
	"context"
	"encoding/binary"
	"slices"
	"sync"

	"github.com/memdbwriter/memdbwriter/internal/dest"
	"github.com/memdbwriter/memdbwriter/internal/memtable"
	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

// table is a table of a DB. A transaction holds mu from its first row to its
// COMMIT, but not while its answer waits.
type table struct {
	mu     sync.Mutex
	shape  *dest.Table     // nil until a writer is made
	rows   *memtable.Table // the same
	tokens map[string]bool // of committed insert-only transactions

	rules rules
}

// sink writes a table.
type sink struct {
	db    *DB
	shape *dest.Table
	table *table

	// Written by Record before the first Write, then by who has table.mu.
	keep   func(context.Context, []dest.Receipt) error // nil: nobody asked for it
	doubts []dest.Receipt                              // of transactions whose answer did not come
}

var (
	_ dest.Isolator = (*sink)(nil)
	_ dest.Recorder = (*sink)(nil)
)

// Record implements dest.Recorder.
func (s *sink) Record(earlier []dest.Receipt, keep func(context.Context, []dest.Receipt) error) {
	s.keep, s.doubts = keep, slices.Clone(earlier)
}

// Check implements dest.Sink.
func (s *sink) Check(ctx context.Context) error {
	if _, err := s.db.look().give(ctx); err != nil {
		return err
	}
	s.table.mu.Lock()
	defer s.table.mu.Unlock()
	return s.make()
}

// Close implements dest.Sink.
func (s *sink) Close() error { return nil }

// make makes the table, or compares it. It is called with the table's mutex.
func (s *sink) make() error {
	t := s.table
	if t.rows == nil {
		t.shape, t.rows = s.shape, memtable.New(s.shape)
		return nil
	}
	if t.shape.Guard != s.shape.Guard || t.shape.Keys != s.shape.Keys || t.shape.Policy != s.shape.Policy || !slices.Equal(t.shape.Columns, s.shape.Columns) {
		return refusal("42804", "the table was made for rows of another type or with other options: use another name or another DB")
	}
	return nil
}

// Write implements dest.Sink.
func (s *sink) Write(ctx context.Context, b *tuple.Batch) (dest.Result, error) {
	res, _, err := s.transact(ctx, b, false)
	return res, err
}

// Isolate implements dest.Isolator. As no row needs another, each is tried once.
func (s *sink) Isolate(ctx context.Context, b *tuple.Batch) (dest.Result, []dest.Refusal, error) {
	return s.transact(ctx, b, true)
}

// transact stores all rows of b, or with isolate those that are not refused, in
// one transaction, which has the next answer.
func (s *sink) transact(ctx context.Context, b *tuple.Batch, isolate bool) (dest.Result, []dest.Refusal, error) {
	answerLost, err := s.db.answer().give(ctx)
	if err != nil {
		return dest.Result{}, nil, err
	}
	broken, err := s.table.rules.look(b)
	if err != nil {
		return dest.Result{}, nil, err
	}

	s.table.mu.Lock()
	defer s.table.mu.Unlock()
	if err := s.make(); err != nil {
		return dest.Result{}, nil, err
	}
	rows := s.table.rows
	rows.Begin()
	var refused []dest.Refusal
	stored := &tuple.Batch{Data: b.Data}
	for _, i := range dest.ByArrival(b) {
		if s.stored(b.Rows[i].Seq) {
			continue
		}
		e := broken[b.Rows[i].Seq]
		if e == nil {
			e = asRefusal(rows.Put(b.Tuple(i)))
		}
		switch {
		case e == nil:
			stored.Rows = append(stored.Rows, b.Rows[i])
		case !isolate:
			rows.Rollback()
			e.Row = i
			return dest.Result{}, nil, e
		default:
			refused = append(refused, dest.Refusal{Row: i, Err: e})
		}
	}
	slices.SortFunc(refused, func(x, y dest.Refusal) int { return x.Row - y.Row })
	if err := s.commit(ctx, stored, answerLost); err != nil {
		return dest.Result{}, nil, err
	}
	if answerLost {
		return dest.Result{}, nil, connectionLost("the answer to COMMIT did not come")
	}
	way := dest.Upsert
	if s.shape.Policy == dest.InsertOnly {
		way = dest.Direct
	}
	return dest.Result{Way: way, RoundTrips: 1}, refused, nil
}

// commit ends a transaction that has stored rows, which are in the order of
// arrival. What must not be stored twice is noted before.
func (s *sink) commit(ctx context.Context, stored *tuple.Batch, answerLost bool) error {
	var receipts []dest.Receipt
	if s.shape.Policy == dest.InsertOnly && stored.Len() > 0 {
		token := binary.BigEndian.AppendUint64(nil, uint64(len(s.table.tokens)))
		receipts = dest.Receipts(stored, nil, token)
		if s.keep != nil {
			if err := s.keep(ctx, receipts); err != nil {
				s.table.rows.Rollback()
				return dest.AsError(err)
			}
		}
		s.table.tokens[string(token)] = true
	}
	s.db.commit()
	if answerLost {
		s.doubts = append(s.doubts, receipts...)
	}
	return nil
}

// stored tells whether an earlier transaction has stored a row.
func (s *sink) stored(seq int64) bool {
	return slices.ContainsFunc(s.doubts, func(d dest.Receipt) bool {
		return seq >= d.First && seq <= d.Last && s.table.tokens[string(d.Token)]
	})
}
