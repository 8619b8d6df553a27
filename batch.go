package memdbwriter

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"time"

	"github.com/memdbwriter/memdbwriter/internal/dest"
	"github.com/memdbwriter/memdbwriter/internal/stage"
	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

// BatchDBWriter is the compatibility mode: no memory database and no
// goroutines. It collects rows up to Config.SyncBatchSize and writes them in
// the goroutine of the caller whose row finds the batch full, who waits for
// the database. Tables, destinations, errors and counts are those of
// MemoryDBWriter. Make it with NewBatch, and call Stop when done. All methods
// are safe for concurrent use: while one of them writes, rows go into the next
// batch, and who finds that full, or wants to write too, waits for its turn.
// OnSync has a goroutine while it is called, and so have Stop, a look at the
// destination, and failed rows that are tried again.
//
// SyncStatus.State is what the last call has found: where nobody calls, nobody
// looks. A ForceSync without rows looks at a destination that was away.
//
// There are no triggers by time or memory: rows of a batch that is not full
// wait for the next Add, ForceSync or Stop.
type BatchDBWriter[T any] struct {
	*core
	rowTable Table[T]
	scratch  sync.Pool // of *scratch[T]
	reduce   *reducer  // nil: every row is written
	stopping chan struct{}

	turn       chan struct{} // holds one token; who has it owns the fields below, and may be waiting for the database
	writing    *batch        // taken from rows and not settled, while attempts fail
	settled    int64         // rows up to here are
	keys       *failedKeys
	attempts   int       // failed ones in a row, that of NewBatch included
	loginAfter time.Time // no Add logs in before, since the server locks accounts
	run        SyncEvent // what the run under way has done
	ended      bool
	stopErr    error

	mu     sync.Mutex      // a leaf, so that neither the counts nor TryAdd ever wait for the database
	rows   *tuple.Batch    // not being written yet
	last   int64           // sequence number of the last row
	failed []stage.Failure // never changed in place, and only with the turn
	came   time.Time       // when the oldest row that is not settled came, if there is one
	next   time.Time       // when the oldest row in rows came, if there is one
	ledger ledger
	closed bool // Stop was called
}

// NewBatch makes a writer in compatibility mode. It looks at the destination
// and fails as New does. Rows that a MemoryDBWriter left in Config.CheckpointDir
// are stored first, for which it waits; if they cannot be, that is an
// ErrRecovery. It keeps nothing there itself.
func NewBatch[T any](ctx context.Context, table Table[T], d *Destination, cfg Config) (*BatchDBWriter[T], error) {
	if err := usable(&table, d); err != nil {
		return nil, err
	}
	cfg, err := cfg.withDir(false)
	if err != nil {
		return nil, err
	}
	if err := deliverLeft(ctx, table.shape, d, cfg); err != nil {
		return nil, err
	}
	c, err := newCore(ctx, table.shape, d, cfg)
	if err != nil {
		return nil, err
	}
	w := &BatchDBWriter[T]{
		core: c, rowTable: table, stopping: make(chan struct{}), turn: make(chan struct{}, 1),
		rows: &tuple.Batch{}, keys: newFailedKeys(&c.table),
	}
	w.scratch.New = newScratch[T]
	if c.table.Policy != dest.InsertOnly {
		w.reduce = newReducer(&c.table)
	}
	if c.unreachable {
		w.attempts = 1
	}
	w.turn <- struct{}{}
	w.states.watch(w.SyncStatus)
	w.events.begin() // no event is emitted but by a method
	c.cfg.Logger.Info("writer started in compatibility mode", "table", c.table.String(),
		"destination", c.destination, "batch", c.cfg.SyncBatchSize)
	return w, nil
}

// take waits for the turn of a call that needs a running writer. Whoever took
// it must call done.
func (w *BatchDBWriter[T]) take(ctx context.Context) error {
	select {
	case <-w.turn:
	case <-w.stopping:
		return ErrStopped
	case <-ctx.Done():
		return ended(ctx)
	}
	if w.isClosed() {
		w.done()
		return ErrStopped
	}
	return nil
}

func (w *BatchDBWriter[T]) done() { w.turn <- struct{}{} }

func (w *BatchDBWriter[T]) isClosed() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.closed
}

// Add puts one row into the batch. If the batch is full it is written first,
// with retries until ctx ends while the destination cannot be reached. Where a
// server that locks accounts has refused the login, Add does not ask it again for
// 15 minutes; ForceSync and Stop do. A nil error means that the row is in the
// batch, any error that it is not.
func (w *BatchDBWriter[T]) Add(ctx context.Context, row T) error {
	s := w.scratch.Get().(*scratch[T])
	defer s.release(&w.scratch)
	if err := s.encode(&w.rowTable, &row); err != nil {
		return err
	}
	return w.add(ctx, s.tuple)
}

// TryAdd puts one row into the batch and never waits. If the batch is full it
// returns ErrBufferFull; the next Add, AddBatch or ForceSync writes it.
func (w *BatchDBWriter[T]) TryAdd(row T) error {
	s := w.scratch.Get().(*scratch[T])
	defer s.release(&w.scratch)
	if err := s.encode(&w.rowTable, &row); err != nil {
		return err
	}
	return w.push(s.tuple)
}

// AddBatch puts rows into the batch, in order, and returns how many it took,
// as MemoryDBWriter.AddBatch does.
func (w *BatchDBWriter[T]) AddBatch(ctx context.Context, rows []T) (n int, err error) {
	s := w.scratch.Get().(*scratch[T])
	defer s.release(&w.scratch)
	for i := range rows {
		if err := s.encode(&w.rowTable, &rows[i]); err != nil {
			return 0, err
		}
	}
	for n < len(rows) {
		if err := s.encode(&w.rowTable, &rows[n]); err != nil {
			return n, err
		}
		if err := w.add(ctx, s.tuple); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

// add takes a tuple, and writes the batch as often as it finds it full.
func (w *BatchDBWriter[T]) add(ctx context.Context, t []byte) error {
	for {
		if err := w.push(t); !errors.Is(err, ErrBufferFull) {
			return err
		}
		if err := w.makeRoom(ctx); err != nil {
			return err
		}
	}
}

// push takes a tuple, or returns ErrBufferFull or ErrStopped.
func (w *BatchDBWriter[T]) push(t []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.closed:
		return ErrStopped
	case w.full():
		return ErrBufferFull
	}
	if w.rows.Len() == 0 {
		w.next = time.Now()
		if w.ledger.waiting() == 0 {
			w.came = w.next
		}
	}
	w.last++
	w.rows.Append(w.last, t)
	w.ledger.added++
	w.ledger.waitingBytes += int64(len(t))
	return nil
}

// full reports whether the batch takes no more rows. Called with the mutex.
func (w *BatchDBWriter[T]) full() bool {
	return w.rows.Len() >= w.cfg.SyncBatchSize || len(w.rows.Data) >= maxBatchBytes
}

// makeRoom writes the batch, unless another caller has done so meanwhile.
func (w *BatchDBWriter[T]) makeRoom(ctx context.Context) error {
	if err := w.take(ctx); err != nil {
		return err
	}
	defer w.done()
	w.mu.Lock()
	full := w.full()
	w.mu.Unlock()
	switch {
	case !full:
		return nil
	case time.Now().Before(w.loginAfter):
		s := w.SyncStatus()
		return w.unsynced(s, s.LastError)
	}
	return w.sync(ctx, ReasonBatchSize)
}

// ForceSync writes everything added before the call. Its errors are those of
// MemoryDBWriter.ForceSync.
func (w *BatchDBWriter[T]) ForceSync(ctx context.Context) error {
	err := w.take(ctx)
	switch {
	case errors.Is(err, ErrStopped):
		return err
	case err != nil:
		return w.unsynced(w.SyncStatus(), err)
	}
	defer w.done()
	if err := w.sync(ctx, ReasonForce); err != nil {
		return err
	}
	return w.rejected(everyFailed)
}

// rejected returns the error of the failed rows among some, or nil if there are
// none. Called with the turn.
func (w *BatchDBWriter[T]) rejected(which selection) error {
	failed := w.selected(which)
	return w.failedRows(failed[:min(len(failed), maxListed)], statesOf(failed))
}

// selected returns the failed rows among some. Called with the turn.
func (w *BatchDBWriter[T]) selected(which selection) []stage.Failure {
	if which.all() {
		return w.failed
	}
	var some []stage.Failure
	for i := range w.failed {
		if which.has(&w.failed[i]) {
			some = append(some, w.failed[i])
		}
	}
	return some
}

// Stop writes what is left and ends the writer. Its errors are those of
// MemoryDBWriter.Stop, and it takes no longer. If ctx ends while another call still
// waits for the database, Stop may be called again; Add gets ErrStopped all the same.
func (w *BatchDBWriter[T]) Stop(ctx context.Context) error {
	if w.events.called(ctx) {
		return ErrStopInHook
	}
	return errors.Join(w.stop(ctx), w.events.close(ctx))
}

func (w *BatchDBWriter[T]) stop(ctx context.Context) error {
	w.close()
	select {
	case <-w.turn:
	default:
		select {
		case <-w.turn:
		case <-ctx.Done():
			return w.left(w.SyncStatus(), fmt.Errorf("another call is still under way: %w", ended(ctx)))
		}
	}
	result := make(chan error, 1)
	if waitFor(ctx, after(func() {
		defer w.done()
		result <- w.finish(ctx)
	})) {
		return <-result
	}
	w.tally.stop()
	w.noteState()
	err := w.left(w.SyncStatus(), fmt.Errorf("%w: %w", errHangs, ended(ctx)))
	noteEnd(err, "")
	return err
}

// left is the error of a Stop that does not wait any longer.
func (w *BatchDBWriter[T]) left(s SyncStatus, cause error) error {
	if s.Pending > 0 {
		return w.unsynced(s, cause)
	}
	return fmt.Errorf("memdbwriter: %s at %s: %w", w.table.String(), w.destination, cause)
}

// finish is the last call that needs the turn.
func (w *BatchDBWriter[T]) finish(ctx context.Context) error {
	if w.ended {
		return w.stopErr
	}
	w.ended = true
	err := w.sync(ctx, ReasonStop)
	noteEnd(err, "")
	w.stopErr = errors.Join(err, w.rejected(everyFailed), w.sink.Close())
	w.tally.stop()
	w.noteState()
	w.logStopped(w.SyncStatus(), w.stopErr)
	return w.stopErr
}

// close refuses rows and calls from now on.
func (w *BatchDBWriter[T]) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.closed {
		w.closed = true
		close(w.stopping)
	}
}

// SyncErrors iterates over the rows that the destination refused, as
// MemoryDBWriter.SyncErrors does. It sees the rows of the moment at which the
// loop begins, and never waits. After Stop it gives those that were left then.
func (w *BatchDBWriter[T]) SyncErrors() iter.Seq2[FailedRow[T], error] {
	return func(yield func(FailedRow[T], error) bool) {
		w.mu.Lock()
		failed := w.failed
		w.mu.Unlock()
		for i := range failed {
			row, err := failedRow(w.core, &w.rowTable, &failed[i])
			if !yield(row, err) || err != nil {
				return
			}
		}
	}
}

// RetrySyncErrors tries every failed row once more, as
// MemoryDBWriter.RetrySyncErrors does, after the rows that wait.
func (w *BatchDBWriter[T]) RetrySyncErrors(ctx context.Context) (stored int64, err error) {
	return w.retrySelected(ctx, everyFailed)
}

// RetryFailed is RetrySyncErrors for the failed rows with these sequence numbers,
// as MemoryDBWriter.RetryFailed is.
func (w *BatchDBWriter[T]) RetryFailed(ctx context.Context, seqs []int64) (stored int64, err error) {
	return w.retrySelected(ctx, selectionOf(seqs))
}

func (w *BatchDBWriter[T]) retrySelected(ctx context.Context, which selection) (stored int64, err error) {
	if err := w.take(ctx); err != nil {
		return 0, err
	}
	defer w.done()
	if which.none() {
		return 0, nil
	}
	if err := w.drain(ctx, ReasonRetry); err != nil {
		return 0, err
	}
	if stored, err = w.retryFailed(ctx, which); err != nil {
		return stored, w.unsynced(w.SyncStatus(), w.destinationError(dest.AsError(err)))
	}
	if stored > 0 {
		w.recovered()
	}
	return stored, w.rejected(which)
}

// DiscardSyncErrors gives up all failed rows, as
// MemoryDBWriter.DiscardSyncErrors does.
func (w *BatchDBWriter[T]) DiscardSyncErrors(ctx context.Context) (discarded int64, err error) {
	return w.discardSelected(ctx, everyFailed)
}

// DiscardFailed is DiscardSyncErrors for the failed rows with these sequence
// numbers, as MemoryDBWriter.DiscardFailed is.
func (w *BatchDBWriter[T]) DiscardFailed(ctx context.Context, seqs []int64) (discarded int64, err error) {
	return w.discardSelected(ctx, selectionOf(seqs))
}

func (w *BatchDBWriter[T]) discardSelected(ctx context.Context, which selection) (discarded int64, err error) {
	if err := w.take(ctx); err != nil {
		return 0, err
	}
	defer w.done()
	var gone []int64
	for _, f := range w.selected(which) {
		gone = append(gone, f.Seq)
	}
	discarded = int64(len(gone))
	w.keys.update(nil, gone)
	w.book(settlement{discarded: discarded, resolved: discarded}, amend(w.failed, gone, nil))
	return discarded, nil
}

// SyncStatus returns where the rows are. It never waits for I/O and works
// after Stop.
func (w *BatchDBWriter[T]) SyncStatus() SyncStatus {
	w.mu.Lock()
	s := w.ledger.status()
	if s.Pending > 0 {
		s.OldestPending = time.Since(w.came)
	}
	w.mu.Unlock()
	s.TimeToFull = -1
	return w.tally.status(s, condition{})
}

// Stats returns the figures of the writer. It never waits for I/O and works
// after Stop.
func (w *BatchDBWriter[T]) Stats() Stats {
	s := w.tally.stats()
	s.SyncStatus = w.SyncStatus()
	w.mu.Lock()
	defer w.mu.Unlock()
	s.PendingBytes, s.SyncedBytes, s.Rejected = w.ledger.waitingBytes, w.ledger.syncedBytes, w.ledger.rejections
	s.Limits = limitsOf(&w.cfg)
	return s
}
