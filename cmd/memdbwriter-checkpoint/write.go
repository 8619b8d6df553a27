package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/memdbwriter/memdbwriter/internal/dest"
	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

// replayer gathers rows to batches.
type replayer struct {
	table    *dest.Table
	columns  []tuple.Column // of table
	order    []int          // place in the file of each column
	size     int            // rows of a batch
	progress *progress
	note     func(format string, args ...any)
	write    func(context.Context, *tuple.Batch) error // rows in the order of their arrival

	batch  tuple.Batch
	fields [][]byte // of the row at hand, with their lengths
	row    []byte

	written, refused, replaced  int64
	fresh, existing, notCounted int64 // of a dry run
	uncounted                   error // why some were not
}

// maxBatchBytes bounds the memory of a batch of large rows.
const maxBatchBytes = 64 << 20

func (r *replayer) add(ctx context.Context, seq int64, t []byte) error {
	r.batch.Append(seq, r.arrange(t))
	if r.batch.Len() < r.size && len(r.batch.Data) < maxBatchBytes {
		return nil
	}
	return r.flush(ctx)
}

// arrange puts the fields of a row in the order of the table.
func (r *replayer) arrange(t []byte) []byte {
	r.fields = r.fields[:0]
	for rest := tuple.Fields(t); len(rest) > 0; {
		begin := rest
		_, _, rest = tuple.Next(rest)
		r.fields = append(r.fields, begin[:len(begin)-len(rest)])
	}
	r.row = tuple.AppendHeader(r.row[:0], len(r.order))
	for _, from := range r.order {
		r.row = append(r.row, r.fields[from]...)
	}
	tuple.Mark(r.row, r.columns)
	return r.row
}

func (r *replayer) flush(ctx context.Context) error {
	n := r.batch.Len()
	if n == 0 {
		return nil
	}
	err := r.write(ctx, &r.batch)
	r.batch.Reset()
	if err != nil {
		return err
	}
	r.progress.add(n)
	return nil
}

func (r *replayer) report(c *console, dry bool) {
	if !dry {
		fmt.Fprintf(c.stdout, "written: %d rows; replaced by a newer row of their key: %d; refused: %d\n", r.written, r.replaced, r.refused)
		return
	}
	if r.table.Policy == dest.InsertOnly {
		fmt.Fprintf(c.stdout, "dry run, nothing is written: %d rows are to be inserted\n", r.fresh)
		return
	}
	fmt.Fprintf(c.stdout, "dry run, nothing is written: %d keys are new, %d are there already, %d rows are of a key that another row has", r.fresh, r.existing, r.replaced)
	if r.notCounted > 0 {
		fmt.Fprintf(c.stdout, "; %d rows were not looked up (%v)", r.notCounted, r.uncounted)
	}
	fmt.Fprintln(c.stdout)
}

// pen writes batches to a sink.
type pen struct {
	*replayer
	sink dest.Sink
}

// write has the effect of writing the rows one after another. Where only the
// newest row of a key matters, only that one is sent. Otherwise (also where some
// rows leave out columns that others of the batch have), and when the
// destination refuses a row of which an older one must then be stored, the
// batch is cut where a key comes again.
func (p *pen) write(ctx context.Context, b *tuple.Batch) error {
	if p.newestOnly() && len(b.Uniform()) == 1 {
		reduced := tuple.Batch{Data: b.Data, Rows: append([]tuple.Span(nil), b.Rows...)}
		p.sort(&reduced)
		err := p.attempt(ctx, &reduced)
		if err == nil {
			p.written += int64(reduced.Len())
			p.replaced += int64(b.Len() - reduced.Len())
			return nil
		}
		if dest.AsError(err).Class != dest.ClassRow {
			return err
		}
	}
	for b.Len() > 0 {
		n := p.distinct(b)
		part := tuple.Batch{Data: b.Data, Rows: append([]tuple.Span(nil), b.Rows[:n]...)}
		p.sort(&part)
		if err := p.isolate(ctx, &part); err != nil {
			return err
		}
		b = b.Slice(n, b.Len())
	}
	return nil
}

// newestOnly tells whether nothing of a row is left once a newer one of its key
// is written.
func (p *pen) newestOnly() bool {
	if p.table.Policy != dest.Update || p.table.Guard != "" {
		return false
	}
	for _, c := range p.table.Columns {
		if c.InsertOnly {
			return false
		}
	}
	return true
}

// sort puts rows in the order of their keys, the newest row of each.
func (p *pen) sort(b *tuple.Batch) {
	if p.table.Policy != dest.InsertOnly {
		keyOrder(p.table).SortUnique(b)
	}
}

func keyOrder(t *dest.Table) tuple.KeyOrder {
	key := make([]tuple.Column, t.Keys)
	for i := range key {
		key[i] = t.Columns[i].Column
	}
	return tuple.NewKeyOrder(key)
}

// distinct returns how many rows come before a key comes again.
func (p *pen) distinct(b *tuple.Batch) int {
	if p.table.Policy == dest.InsertOnly {
		return b.Len()
	}
	seen := make(map[string]bool, b.Len())
	for i := range b.Rows {
		key := string(tuple.Key(b.Tuple(i), p.table.Keys))
		if seen[key] {
			return i
		}
		seen[key] = true
	}
	return b.Len()
}

// isolate writes rows of which some may be refused, which are reported.
func (p *pen) isolate(ctx context.Context, b *tuple.Batch) error {
	todo := b.Uniform() // the next one last
	for len(todo) > 0 {
		part := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		err := p.attempt(ctx, part)
		e := dest.AsError(err)
		switch n := part.Len(); {
		case err == nil:
			p.written += int64(n)
		case e.Class != dest.ClassRow:
			return err
		case n == 1:
			p.refused++
			p.note("row %d refused: %s: %v", part.Rows[0].Seq, tuple.KeyString(plain(p.table), p.table.Keys, part.Tuple(0)), e)
		default:
			cuts := []int{0, n / 2, n}
			if e.Row >= 0 && e.Row < n {
				cuts = []int{0, e.Row, e.Row + 1, n}
			}
			for i := len(cuts) - 1; i > 0; i-- {
				if cuts[i-1] < cuts[i] {
					todo = append(todo, part.Slice(cuts[i-1], cuts[i]))
				}
			}
		}
	}
	return nil
}

func plain(t *dest.Table) []tuple.Column {
	columns := make([]tuple.Column, len(t.Columns))
	for i := range columns {
		columns[i] = t.Columns[i].Column
	}
	return columns
}

const (
	attempts     = 5
	firstPause   = 100 * time.Millisecond
	writeTimeout = time.Minute
)

// attempt writes a batch, a few times if what stands in the way may pass: a
// deadlock, a connection that broke.
func (p *pen) attempt(ctx context.Context, b *tuple.Batch) error {
	for n := 1; ; n++ {
		writing, cancel := context.WithTimeout(ctx, writeTimeout)
		_, err := p.sink.Write(writing, b)
		cancel()
		if err == nil || dest.AsError(err).Class != dest.ClassTransient || n == attempts || ctx.Err() != nil {
			return err
		}
		p.note("attempt %d failed: %v", n, err)
		select {
		case <-time.After(firstPause << n):
		case <-ctx.Done():
			return errors.Join(context.Cause(ctx), err)
		}
	}
}
