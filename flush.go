package memdbwriter

import (
	"cmp"
	"context"
	"hash/maphash"
	"math"
	"slices"
	"time"

	"github.com/memdbwriter/memdbwriter/internal/dest"
	"github.com/memdbwriter/memdbwriter/internal/stage"
	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

// batch is a range of arrived rows, made ready to be written.
type batch struct {
	tuple.Batch                     // sorted, each key once; in arrival order without a key
	lo, hi      int64               // the first and the last arrival number in the range
	read        int64               // rows in the range
	readBytes   int64               // their size
	flush       *flush              // how far writing it has come
	outcome     <-chan error        // of the attempt under way
	keys        map[uint64]struct{} // hashes of the keys; nil unless batches are flushed side by side

	run      int64  // number of the run that launched it; 0: none did
	reason   Reason // of that run
	attempts int    // to write it
	trips    int64  // requests of all of them
	times    BatchTimes
}

// prepare makes a batch of rows in arrival order ready. r is nil when every
// row is written; so it is where the destination alone knows which keys are one.
func (b *batch) prepare(c *core, r *reducer) {
	b.lo, b.hi = b.Rows[0].Seq, b.Rows[b.Len()-1].Seq
	b.read, b.readBytes = int64(b.Len()), b.Bytes()
	b.flush = c.newFlush()
	b.flush.inexact = r != nil && !dest.ExactKeys(c.sink)
	todo := []*tuple.Batch{&b.Batch}
	if r != nil && !b.flush.inexact {
		again, left := r.reduce(&b.Batch)
		b.flush.left = left
		for _, rows := range again {
			todo = append(todo, &tuple.Batch{Data: b.Data, Rows: rows})
		}
	}
	b.flush.push(todo)
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
// A batch is first written whole. When the destination refuses a row, the sink
// tells the rows apart (dest.Isolator): one more transaction stores the others.
// Where that is not possible, since the rows end the transaction or the sink
// does not know how, the batch is taken apart here: if the database named the
// row, into the rows before it, the row alone and the rows after it; if it did
// not, into halves. A row is rejected with the error that it got alone, so no
// row is ever blamed for another's fault. Rows of the same key that it had
// replaced in the batch are written in its place.
//
// An error that is not about rows, as far as its SQLSTATE tells, is believed
// once. If the database answers the same again, the rows are told apart all the
// same: what gets in decides (verdict.go).
//
// Cost, with n rows and k bad ones: two writes by an Isolator; else 1 + 3k writes
// where the rows are named, and at most 1 + 2k(1+log2(n/k)) where they are not.
type flush struct {
	sink    dest.Sink
	timeout time.Duration

	todo    []*tuple.Batch // disjoint parts not stored yet, the next one last
	stored  []*tuple.Batch // parts that are in the destination
	skipped int64          // rows of those parts that a trigger cancelled
	dropped int64          // and for which the destination took others of their key
	failed  []failure      // rows that the destination refused alone
	onWrite func(dest.Result)
	verdict verdict
	panics  *panics
	onError func(error, dest.Result)
	left    *reduced // the rows to write in place of rejected ones; nil: there are none
	figures

	// inexact: the destination alone knows which keys are one, so rows go in
	// arrival order. One that comes late, after rows that arrived later, may
	// replace none in the destination, if rows replace each other at all.
	inexact  bool
	replaces bool
	newest   int64 // the number of the last row that is in the destination
}

func (c *core) newFlush() *flush {
	return &flush{
		sink: c.sink, timeout: c.cfg.SyncTimeout, onWrite: c.tally.stored, onError: c.tally.refused, panics: &c.tally.panics,
		replaces: c.table.Policy == dest.Update,
	}
}

// figures are what a flush has done so far.
type figures struct {
	way        Way // the costliest
	trips      int64
	storedRows int64
	rejected   int64 // at the end of the last attempt
}

// storedSeqs are the numbers of the rows that are stored or skipped.
func (f *flush) storedSeqs() (seqs []int64) {
	for _, part := range f.stored {
		for i := range part.Rows {
			seqs = append(seqs, part.Rows[i].Seq)
		}
	}
	return seqs
}

// push has parts written before all that is to do, one after another. Rows that
// leave out other columns than the others of a part are one of their own: a
// part has each key once, so their order makes no difference, unless it is not
// known which keys are one.
func (f *flush) push(parts []*tuple.Batch) {
	for _, part := range slices.Backward(parts) {
		if f.inexact {
			runs := part.UniformRuns()
			slices.Reverse(runs)
			f.todo = append(f.todo, runs...)
			continue
		}
		f.todo = append(f.todo, part.Uniform()...)
	}
}

// pushLate has rows written that were to be written before others.
func (f *flush) pushLate(rows *tuple.Batch) {
	late := upToSeq(rows, f.newest)
	f.push([]*tuple.Batch{rows.Slice(0, late), rows.Slice(late, rows.Len())})
}

// newestFirst turns round the order of the rows. All of them come late.
func (f *flush) newestFirst() {
	f.newest = math.MaxInt64
	slices.Reverse(f.todo)
	for _, part := range f.todo {
		slices.Reverse(part.Rows)
	}
}

// late tells whether a part may replace no row in the destination.
func (f *flush) late(part *tuple.Batch) bool {
	return f.inexact && f.replaces && part.Rows[part.Len()-1].Seq < f.newest
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
	stored -= f.dropped
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
			Seq: r.span.Seq, Tuple: r.tuple, SQLState: r.err.SQLState, Column: r.err.Column, Constraint: r.err.Constraint,
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

// run goes on until every row is stored or rejected. Any other outcome is an
// error, after which run may be called again.
func (f *flush) run(ctx context.Context) error {
	for len(f.todo) > 0 {
		last := len(f.todo) - 1
		part := f.todo[last]
		refused, err := f.write(ctx, part)
		if err == nil {
			if err = f.verdict.onTable(part, refused); err != nil && len(f.stored) == 0 {
				return err
			}
			f.todo = f.todo[:last]
			f.take(part, refused)
			continue
		}
		e := dest.AsError(err)
		if e.Class != dest.ClassRow && !f.verdict.onLoneRow(part, e) {
			return e
		}
		f.todo = f.todo[:last]
		f.split(part, e)
	}
	return nil
}

// write stores a part or, if the destination refuses it, those of its rows that
// the sink can tell from the others.
func (f *flush) write(ctx context.Context, part *tuple.Batch) (refused []dest.Refusal, err error) {
	step("batch sending")
	send := f.sink.Write
	late := f.late(part)
	if comparer, ok := f.sink.(dest.Comparer); ok && late {
		send = comparer.Insert
	}
	res, err := f.within(ctx, func(ctx context.Context) (dest.Result, error) { return send(ctx, part) })
	if isolator, ok := f.sink.(dest.Isolator); ok && !late && err != nil && part.Len() > 1 && f.verdict.onPart(part, dest.AsError(err)) {
		res, err = f.within(ctx, func(ctx context.Context) (res dest.Result, err error) {
			res, refused, err = isolator.Isolate(ctx, part)
			return res, err
		})
		res.Way = dest.Pass
	}
	if err != nil {
		return nil, err
	}
	step("batch committed")
	f.onWrite(res)
	f.way = costlier(f.way, wayNames[res.Way])
	f.skipped += int64(res.Skipped)
	f.dropped += int64(res.Superseded)
	f.storedRows -= int64(res.Superseded)
	return refused, nil
}

// take books the stored rows of a part, rejects refused ones, and has those whose
// refusal may pass written once more, before any other row of their keys.
func (f *flush) take(part *tuple.Batch, refused []dest.Refusal) {
	if stored := dest.Except(part, refused); stored.Len() > 0 {
		f.stored = append(f.stored, stored)
		f.storedRows += int64(stored.Len())
		f.newest = max(f.newest, stored.Rows[stored.Len()-1].Seq)
	}
	rejected, later := f.verdict.onRows(part, refused)
	if f.inexact {
		f.pushLate(later)
	} else if later.Len() > 0 {
		f.todo = append(f.todo, later)
	}
	f.reject(part, rejected)
}

// within bounds a call by the time that one transaction may take. A panic in it
// leaves the outcome unknown, as a lost connection does.
func (f *flush) within(ctx context.Context, call func(context.Context) (dest.Result, error)) (res dest.Result, err error) {
	ctx, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	defer func() {
		if p := recover(); p != nil {
			res, err = dest.Result{}, f.panics.survived("the destination", p)
		}
	}()
	res, err = call(ctx)
	if err != nil {
		res.RoundTrips = max(1, res.RoundTrips) // some sinks do not say
		f.onError(err, res)
	}
	f.trips += int64(res.RoundTrips)
	return res, err
}

// reject sets refused rows aside, and has the rows written that take their
// places. These are parts of their own, since a row that takes the place of
// another may be followed by one more of its key.
func (f *flush) reject(part *tuple.Batch, refused []dest.Refusal) {
	var instead []*tuple.Batch
	for _, r := range refused {
		row := part.Rows[r.Row]
		f.failed = append(f.failed, failure{span: row, tuple: part.Tuple(r.Row), err: r.Err})
		for i, next := range f.left.rejected(row) {
			if i == len(instead) {
				instead = append(instead, &tuple.Batch{Data: part.Data})
			}
			instead[i].Rows = append(instead[i].Rows, next)
		}
	}
	f.push(instead)
}

// split takes a refused part apart, or rejects its only row.
func (f *flush) split(part *tuple.Batch, e *dest.Error) {
	n := part.Len()
	if n == 1 {
		f.reject(part, []dest.Refusal{{Row: 0, Err: e}})
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
