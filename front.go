package memdbwriter

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

const (
	// chunkBytes is the size of a piece of the front buffer: small enough
	// that a new one costs an Add little, and about the number of rows that
	// SQLite takes best in one statement.
	chunkBytes = 256 << 10
	// spareChunks are kept for the next rows instead of being collected.
	spareChunks = 16
)

// front is the buffer that Add appends to: chunks of tuples, in arrival order,
// that the stager takes away. It also keeps the ledger, since every row enters
// it here, and makes callers wait while too much is in memory. The mutex is
// held for a few hundred nanoseconds and never while anything is waited for.
//
// Callers who wait for room are a queue: when rows leave the memory, those of
// the first come in as far as they fit, then those of the next. Nobody passes
// them, so a large row is let in once what came before it has left.
type front struct {
	maxRows, maxBytes int64

	// Both have room for one signal, and are only ever sent to without waiting.
	rowsReady chan struct{} // the first row is in, or a new chunk was begun, or staging must not linger
	limitHit  chan struct{} // an Add found the buffer full

	mu     sync.Mutex
	chunks []*tuple.Batch // not empty, the last one is being filled
	spare  []*tuple.Batch
	ledger ledger
	seen   int64         // rows that had come when shrink was called last
	queue  []*entrant    // callers of Add who wait, in the order of their coming
	room   chan struct{} // closed when rows leave the memory; nil unless a recovery waits
	hit    bool          // a sync was asked for since rows last left the memory
	full   bool          // callers of Add wait, or the next one will
	turned time.Time     // when full changed
	waits  int64         // Adds that had to wait
	waited time.Duration // for so long in total
	closed bool

	came    time.Time // when the oldest row in chunks came; zero: there is none
	taken   time.Time // when the oldest row came that the stager has taken and not staged; zero: there is none
	near    bool      // usage has reached nearFull, and has not fallen to noLongerNear since
	filling filling   // how fast the memory fills

	waitEnded func(AddWait) // nil: nobody wants to know
}

const (
	nearFull     = 0.8
	noLongerNear = 0.5
)

// entrant is a caller who waits until its rows are in.
type entrant struct {
	rows *tuple.Batch
	next int           // the first row that is not in
	done chan struct{} // closed when all rows are in, or the front is closed
}

func newFront(cfg Config) *front {
	return &front{
		maxRows: int64(cfg.MaxRows), maxBytes: cfg.MaxBytes, filling: newFilling(),
		rowsReady: make(chan struct{}, 1), limitHit: make(chan struct{}, 1),
	}
}

// signal sends without waiting: one signal that is already there will do.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// fits reports whether a row of n bytes may come in. An empty buffer takes any.
func (f *front) fits(n int) bool {
	rows := f.ledger.waiting()
	return rows < f.maxRows && (f.maxBytes == 0 || rows == 0 || f.ledger.waitingBytes+int64(n) <= f.maxBytes)
}

// open reports whether a row of n bytes may come in now, before nobody who waits.
func (f *front) open(n int) bool { return len(f.queue) == 0 && f.fits(n) }

// tryAdd takes one tuple or says why not: ErrBufferFull or ErrStopped.
func (f *front) tryAdd(t []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return ErrStopped
	}
	if !f.open(len(t)) {
		f.press()
		return ErrBufferFull
	}
	f.push(t)
	return nil
}

// addOne is add for a single tuple.
func (f *front) addOne(ctx context.Context, t []byte) error {
	f.mu.Lock()
	if !f.closed && f.open(len(t)) {
		f.push(t)
		f.mu.Unlock()
		return nil
	}
	f.mu.Unlock()
	_, err := f.add(ctx, &tuple.Batch{Data: t, Rows: []tuple.Span{{Len: uint32(len(t))}}})
	return err
}

// add takes the tuples of b in order, waiting for room as needed, and returns
// how many it took. The error is nil exactly when that is all of them.
func (f *front) add(ctx context.Context, b *tuple.Batch) (int, error) {
	me := &entrant{rows: b, done: make(chan struct{})}
	at, err := f.enter(me)
	if err != nil || at == b.Len() {
		return at, err
	}
	start := time.Now()
	select {
	case <-me.done:
	case <-ctx.Done():
	}
	waited := time.Since(start)
	n, err := f.leave(ctx, me, waited)
	if f.waitEnded != nil {
		f.waitEnded(AddWait{Rows: int64(b.Len() - at), Waited: waited, Err: err})
	}
	return n, err
}

// leave ends the wait of a caller, and returns how many of its rows are in.
func (f *front) leave(ctx context.Context, me *entrant, waited time.Duration) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.waited += waited
	switch {
	case me.next == me.rows.Len():
		return me.next, nil
	case f.closed:
		return me.next, ErrStopped
	}
	f.queue = slices.DeleteFunc(f.queue, func(other *entrant) bool { return other == me })
	f.let()
	return me.next, ended(ctx)
}

// enter takes what fits now, unless others wait, and queues the rest. It returns
// how many rows are in.
func (f *front) enter(me *entrant) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return 0, ErrStopped
	}
	f.queue = append(f.queue, me)
	f.let()
	if me.next < me.rows.Len() {
		f.waits++
	}
	return me.next, nil
}

// let lets those who wait come in, as far as they fit. Called with the mutex held
// whenever rows have left the memory, or the queue has changed.
func (f *front) let() {
	for len(f.queue) > 0 {
		first := f.queue[0]
		for ; first.next < first.rows.Len(); first.next++ {
			t := first.rows.Tuple(first.next)
			if !f.fits(len(t)) {
				f.turn()
				f.press()
				return
			}
			f.push(t)
		}
		close(first.done)
		f.queue = slices.Delete(f.queue, 0, 1)
	}
	f.turn()
}

// turn notes whether the next Add has to wait. Called with the mutex held when
// that may have changed.
func (f *front) turn() {
	if full := !f.open(1); full != f.full {
		f.full, f.turned = full, time.Now()
	}
}

// admit books rows that an earlier writer left behind, once there is room for
// them, or none is staged: new rows cannot leave the front buffer before these,
// which is also why a closed front lets them in. waiting is called before it
// waits.
func (f *front) admit(ctx context.Context, rows, bytes int64, staged func() bool, waiting func()) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for staged() && (f.ledger.waiting()+rows > f.maxRows || f.maxBytes > 0 && f.ledger.waitingBytes+bytes > f.maxBytes) {
		waiting()
		if err := f.wait(ctx); err != nil {
			return err
		}
	}
	f.ledger.recovered += rows
	f.ledger.waitingBytes += bytes
	f.turn()
	return nil
}

// recoverFailed books a failed row that an earlier writer left behind.
func (f *front) recoverFailed() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ledger.recovered++
	f.ledger.failed++
}

// wait lets go of the mutex until rows have left the memory, the front is
// closed or ctx ends, which is the error.
func (f *front) wait(ctx context.Context) error {
	if f.room == nil {
		f.room = make(chan struct{})
	}
	room := f.room
	f.press()
	f.mu.Unlock()
	var err error
	select {
	case <-room:
	case <-ctx.Done():
		err = ended(ctx)
	}
	f.mu.Lock()
	return err
}

// push appends a tuple that fits. Called with the mutex held.
func (f *front) push(t []byte) {
	c := f.chunk(len(t))
	c.Append(0, t)
	f.ledger.added++
	f.ledger.waitingBytes += int64(len(t))
	if !f.fits(1) {
		f.turn()
		f.press()
	}
}

// press asks for a sync because the limit is reached. Called with the mutex held.
func (f *front) press() {
	if !f.hit {
		f.hit = true
		signal(f.limitHit)
	}
}

// pressed reports whether the limit was reached since rows last left, and since
// it was asked last: who waits from now on asks for a sync again.
func (f *front) pressed() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	hit := f.hit
	f.hit = false
	return hit
}

// chunk returns the chunk that takes n more bytes, a new one if need be.
func (f *front) chunk(n int) *tuple.Batch {
	if k := len(f.chunks); k > 0 {
		if c := f.chunks[k-1]; len(c.Data)+n <= cap(c.Data) {
			return c
		}
	}
	if len(f.chunks) == 0 {
		f.came = time.Now()
	}
	c := &tuple.Batch{}
	if k := len(f.spare); k > 0 && n <= chunkBytes {
		c, f.spare = f.spare[k-1], f.spare[:k-1]
	} else {
		c.Data = make([]byte, 0, max(chunkBytes, n))
	}
	f.chunks = append(f.chunks, c)
	signal(f.rowsReady)
	return c
}

// take hands all chunks to the stager, in arrival order, behind those of into.
func (f *front) take(into []*tuple.Batch) []*tuple.Batch {
	f.mu.Lock()
	defer f.mu.Unlock()
	into = append(into, f.chunks...)
	clear(f.chunks)
	f.chunks = f.chunks[:0]
	if f.taken.IsZero() {
		f.taken = f.came
	}
	f.came = time.Time{}
	return into
}

// recycle gives chunks back once their rows are staged.
func (f *front) recycle(chunks []*tuple.Batch) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.taken = time.Time{}
	for _, c := range chunks {
		if cap(c.Data) == chunkBytes && len(f.spare) < spareChunks {
			c.Reset()
			f.spare = append(f.spare, c)
		}
	}
}

// shrink lets go of the chunks that are kept, if no row has come since it was
// called last, and reports that.
func (f *front) shrink() (idle bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	seen := f.ledger.added + f.ledger.recovered
	if idle = seen == f.seen; idle {
		f.spare = nil
	}
	f.seen = seen
	return idle
}

// settle books rows that left the memory, and lets those in who wait.
func (f *front) settle(s settlement) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ledger.settle(s)
	f.filling.observe(&f.ledger)
	f.hit = false
	f.wake()
	if !f.closed {
		f.let()
	}
}

// wake has a recovery look again. Called with the mutex held.
func (f *front) wake() {
	if f.room != nil {
		close(f.room)
		f.room = nil
	}
}

// close refuses rows from now on, those of callers who wait as well.
func (f *front) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return
	}
	f.closed = true
	for _, e := range f.queue {
		close(e.done)
	}
	f.queue = nil
	f.turn()
	f.wake()
}

// waiting is the number of rows that are not settled.
func (f *front) waiting() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ledger.waiting()
}

// halfFree reports whether half of what the limit allows is free.
func (f *front) halfFree() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ledger.waiting() <= f.maxRows/2 && (f.maxBytes == 0 || f.ledger.waitingBytes <= f.maxBytes/2)
}

// isClosed reports whether close was called.
func (f *front) isClosed() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.closed
}

// status is what the ledger says at this moment, whether the limit is reached,
// and since when that is so. staged is when the oldest staged row came; zero if
// there is none.
func (f *front) status(staged time.Time) (s SyncStatus, full condition) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s = f.ledger.status()
	for _, at := range []time.Time{staged, f.taken, f.came} {
		if s.Pending > 0 && !at.IsZero() {
			s.OldestPending = max(s.OldestPending, time.Since(at))
		}
	}
	s.Usage = f.usage()
	s.NearFull = f.isNear(s.Usage)
	f.filling.observe(&f.ledger)
	s.TimeToFull = f.filling.timeToFull(f)
	return s, condition{on: f.full, since: f.turned}
}

// usage is the share of the limit that is used, from 0 to 1. Called with the
// mutex.
func (f *front) usage() float64 {
	usage := float64(f.ledger.waiting()) / float64(f.maxRows)
	if f.maxBytes > 0 {
		usage = max(usage, float64(f.ledger.waitingBytes)/float64(f.maxBytes))
	}
	return min(usage, 1)
}

// isNear reports whether the buffer is nearly full. Called with the mutex.
func (f *front) isNear(usage float64) bool {
	f.near = usage >= nearFull || f.near && usage > noLongerNear
	return f.near
}

// fillStats adds the figures that the front buffer keeps.
func (f *front) fillStats(s *Stats) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s.PendingBytes, s.SyncedBytes = f.ledger.waitingBytes, f.ledger.syncedBytes
	s.Waits, s.WaitTime = f.waits, f.waited
	s.Rejected = f.ledger.rejections
}
