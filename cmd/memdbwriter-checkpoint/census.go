package main

import (
	"context"
	"hash/maphash"

	"github.com/memdbwriter/memdbwriter/internal/dest"
	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

// census counts in place of writing.
type census struct {
	*replayer
	d     *destination
	empty bool            // there is no table yet
	seen  map[uint64]bool // hashes of the keys that were counted
}

var seed = maphash.MakeSeed()

func (c *census) count(ctx context.Context, b *tuple.Batch) error {
	if c.table.Policy == dest.InsertOnly {
		c.fresh += int64(b.Len())
		return nil
	}
	if c.seen == nil {
		c.seen = map[uint64]bool{}
	}
	left := &tuple.Batch{Data: b.Data}
	for i := range b.Rows {
		key := maphash.Bytes(seed, tuple.Key(b.Tuple(i), c.table.Keys))
		if c.seen[key] {
			c.replaced++
			continue
		}
		c.seen[key] = true
		left.Rows = append(left.Rows, b.Rows[i])
	}
	n := int64(left.Len())
	if c.empty {
		c.fresh += n
		return nil
	}
	there, err := c.d.existing(ctx, c.table, left)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil { // a dry run does not end for the want of a number
		c.uncounted = err
		c.notCounted += n
		return nil
	}
	c.existing += there
	c.fresh += n - there
	return nil
}
