package memdbtest

import (
	"fmt"
	"slices"
	"sync"

	"github.com/memdbwriter/memdbwriter"
	"github.com/memdbwriter/memdbwriter/internal/dest"
	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

// rules are what the rows of a table must keep.
type rules struct {
	mu  sync.Mutex // a leaf
	all []*rule
}

type rule struct {
	sqlstate string
	broken   func(tuple []byte) (bool, error)
}

// Reject makes the table reject rows for which bad returns true, with the
// SQLSTATE, as a constraint of a database does ("23514" is that of a CHECK).
// Stored rows stay. drop takes the rule back. bad must be safe for concurrent
// use and depend on nothing but the row.
func Reject[T any](db *DB, table memdbwriter.Table[T], sqlstate string, bad func(row T) bool) (drop func()) {
	codec, err := tuple.NewCodec[T]()
	if err != nil {
		panic(fmt.Sprintf("memdbtest: Reject with a table that no writer takes: %v", err))
	}
	return db.table(table.String()).rules.add(&rule{sqlstate, func(tup []byte) (bool, error) {
		var row T
		if err := codec.Decode(tup, &row); err != nil {
			return false, err
		}
		return bad(row), nil
	}})
}

func (r *rules) add(one *rule) (drop func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, one)
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.all = slices.DeleteFunc(r.all, func(other *rule) bool { return other == one })
	}
}

// look returns the refusals of the rows of b that break a rule, by sequence
// number. No lock is held while it calls the rules.
func (r *rules) look(b *tuple.Batch) (map[int64]*dest.Error, error) {
	r.mu.Lock()
	all := slices.Clone(r.all)
	r.mu.Unlock()
	broken := map[int64]*dest.Error{}
	for _, rule := range all {
		for i, row := range b.Rows {
			is, err := rule.broken(b.Tuple(i))
			if err != nil {
				return nil, fmt.Errorf("a rule of Reject is for rows of another type: %w", err)
			}
			if is && broken[row.Seq] == nil {
				broken[row.Seq] = refusal(rule.sqlstate, "the row breaks a rule of memdbtest.Reject")
			}
		}
	}
	return broken, nil
}
