package memdbwriter

import (
	"cmp"
	"context"
	"hash/maphash"
	"slices"
	"time"

	"github.com/memdbwriter/memdbwriter/internal/dest"
	"github.com/memdbwriter/memdbwriter/internal/stage"
	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

// batch is a range of arrived rows, made ready to be written.
type batch struct {
	tuple.Batch                     // sorted, each key once; in arrival order without a key
	hi          int64               // the last arrival number in the range
	read        int64               // rows in the range
	readBytes   int64               // their size
	flush       *flush              // how far writing it has come
	outcome     <-chan error        // of the attempt under way
	keys        map[uint64]struct{} // hashes of the keys; nil unless batches are flushed side by side
}

// prepare makes a batch of rows in arrival order ready. r is nil when every
// row is written.
func (b *batch) prepare(c *core, r *reducer) {
	b.hi = b.Rows[b.Len()-1].Seq
	b.read, b.readBytes = int64(b.Len()), b.Bytes()
	b.flush = &flush{sink: c.sink, timeout: c.cfg.SyncTimeout, todo: []*tuple.Batch{&b.Batch}, onWrite: c.tally.stored}
	if r == nil {
		return
	}
	again, left := r.reduce(&b.Batch)
	b.flush.left = left
	for _, rows := range again {
		b.flush.todo = append(b.flush.todo, &tuple.Batch{Data: b.Data, Rows: rows})
	}
	slices.Reverse(b.flush.todo)
}

// keySeed makes the hashes of keys. Two keys that share one only wait for each
// other without need.
var keySeed = maphash.MakeSeed()

// hashKeys notes the keys of a prepared batch, which are n columns wide.
func (b *batch) hashKeys(n int) {
	b.keys = make(map[uint64]struct{}, b.Len())
	for i := range b.Rows {
		b.keys[maphash.Bytes(keySeed, tuple.Key(b.Tuple(i), n))] = struct{}{}
	}
}

// flush is one batch on its way into the destination. It survives failed
// attempts, so that what is stored stays stored and is not sent again.
//
// A batch is first written whole. When the destination refuses a row, the
// batch is taken apart around it: if the database named the row, into the rows
// before it, the row alone and the rows after it; if it did not, into halves.
// A row refused alone is set aside with the error that it got alone, so no row
// is ever blamed for another's fault. Rows of the same key that it had replaced
// in the batch are written in its place.
//
// Cost, with n rows and k bad ones: 1 + 3k writes where the rows are named,
// and at most 1 + 2k(1+log2(n/k)) where they are not.
type flush struct {
	sink    dest.Sink
	timeout time.Duration

	todo    []*tuple.Batch // disjoint parts not stored yet, the next one last
	stored  []*tuple.Batch // parts that are in the destination
	skipped int64          // rows of those parts that a trigger cancelled
	failed  []failure      // rows that the destination refused alone
	onWrite func(dest.Result)
	left    *reduced // the rows to write in place of rejected ones; nil: there are none
}

// settlement books the flush: of so many waiting rows with so many bytes,
// rejected ones are failed now, and so many failed rows are resolved. What is
// neither stored nor rejected is superseded.
func (f *flush) settlement(rows, bytes int64, rejected, resolved int) settlement {
	n := settlement{skipped: f.skipped, rejected: int64(rejected), resolved: int64(resolved), bytes: bytes}
	var stored int64
	for _, part := range f.stored {
		stored += int64(part.Len())
		n.syncedBytes += part.Bytes()
	}
	n.synced = stored - n.skipped
	n.superseded = rows + n.resolved - stored - n.rejected
	return n
}

// failures are the refused rows in the form in which they are kept, in the
// order of their arrival.
func (f *flush) failures() []stage.Failure {
	now := time.Now()
	kept := make([]stage.Failure, len(f.failed))
	for i, r := range f.failed {
		kept[i] = stage.Failure{
			Seq: r.span.Seq, Tuple: r.tuple, SQLState: r.err.SQLState, Column: r.err.Column,
			Message: r.err.Error(), Attempts: 1, First: now, Last: now,
		}
	}
	slices.SortFunc(kept, func(a, b stage.Failure) int { return cmp.Compare(a.Seq, b.Seq) })
	return kept
}

// failure is a row that the destination refuses.
type failure struct {
	span  tuple.Span
	tuple []byte // belongs to the batch
	err   *dest.Error
}

// run goes on until every row is stored or refused. Any other outcome is an
// error, after which run may be called again.
func (f *flush) run(ctx context.Context) error {
	for len(f.todo) > 0 {
		part := f.todo[len(f.todo)-1]
		res, err := f.write(ctx, part)
		if err == nil {
			f.todo = f.todo[:len(f.todo)-1]
			f.stored = append(f.stored, part)
			f.skipped += int64(res.Skipped)
			continue
		}
		e := dest.AsError(err)
		if e.Class != dest.ClassRow {
			return e
		}
		f.todo = f.todo[:len(f.todo)-1]
		f.split(part, e)
	}
	return nil
}

func (f *flush) write(ctx context.Context, part *tuple.Batch) (dest.Result, error) {
	ctx, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	step("batch sending")
	res, err := f.sink.Write(ctx, part)
	if err == nil {
		step("batch committed")
		f.onWrite(res)
	}
	return res, err
}

// split takes a refused part apart, or refuses its only row.
func (f *flush) split(part *tuple.Batch, e *dest.Error) {
	n := part.Len()
	if n == 1 {
		f.failed = append(f.failed, failure{span: part.Rows[0], tuple: part.Tuple(0), err: e})
		instead := f.left.rejected(part.Rows[0])
		for i := len(instead) - 1; i >= 0; i-- {
			f.todo = append(f.todo, &tuple.Batch{Data: part.Data, Rows: instead[i : i+1]})
		}
		return
	}
	cuts := []int{0, n / 2, n}
	if e.Row >= 0 && e.Row < n {
		cuts = []int{0, e.Row, e.Row + 1, n}
	}
	for i := len(cuts) - 1; i > 0; i-- {
		if cuts[i-1] < cuts[i] {
			f.todo = append(f.todo, part.Slice(cuts[i-1], cuts[i]))
		}
	}
}
