package memdbwriter

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
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
// are safe for concurrent use; while one of them writes, the others wait.
// OnSync has a goroutine while it is called.
//
// There are no triggers by time or memory: rows of a batch that is not full
// wait for the next Add, ForceSync or Stop.
type BatchDBWriter[T any] struct {
	*core
	rowTable Table[T]
	reduce   *reducer // nil: every row is written

	turn     chan struct{}   // holds one token; who has it owns the fields below
	rows     *tuple.Batch    // not being written yet
	writing  *batch          // taken from rows and not settled, while attempts fail
	next     int64           // arrival number of the next row
	failed   []stage.Failure // never changed in place: SyncErrors reads it without the turn
	keys     failedKeys
	attempts int // failed ones in a row
	scratch  scratch[T]
	stopped  bool
	stopErr  error

	mu     sync.Mutex // a leaf, so that the counts never wait for the database
	ledger ledger
}

// NewBatch makes a writer in compatibility mode. It looks at the destination
// and fails as New does. Rows that a MemoryDBWriter left in Config.CheckpointDir
// are stored first, for which it waits; if they cannot be, that is an
// ErrRecovery. It keeps nothing there itself.
func NewBatch[T any](ctx context.Context, table Table[T], d *Destination, cfg Config) (*BatchDBWriter[T], error) {
	if err := usable(&table, d); err != nil {
		return nil, err
	}
	if err := deliverLeft(ctx, table.shape, d, cfg); err != nil {
		return nil, err
	}
	c, err := newCore(ctx, table.shape, d, cfg)
	if err != nil {
		return nil, err
	}
	w := &BatchDBWriter[T]{core: c, rowTable: table, turn: make(chan struct{}, 1), rows: &tuple.Batch{}, next: 1, keys: failedKeys{}}
	if c.table.Policy != dest.InsertOnly {
		w.reduce = newReducer(&c.table)
	}
	w.turn <- struct{}{}
	w.events.begin() // no event is emitted but by a method
	c.cfg.Logger.Info("writer started in compatibility mode", "table", c.table.String(),
		"destination", c.destination, "batch", c.cfg.SyncBatchSize)
	return w, nil
}

// take waits for the turn of this call. Whoever took it must call done.
func (w *BatchDBWriter[T]) take(ctx context.Context) error {
	select {
	case <-w.turn:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (w *BatchDBWriter[T]) done() { w.turn <- struct{}{} }

// Add puts one row into the batch. If the batch is full it is written first,
// with retries until ctx ends while the destination cannot be reached. A nil
// error means that the row is in the batch, any error that it is not.
func (w *BatchDBWriter[T]) Add(ctx context.Context, row T) error {
	if err := w.take(ctx); err != nil {
		return err
	}
	defer w.done()
	return w.add(ctx, &row)
}

// TryAdd puts one row into the batch. If the batch is full it tries once to
// write it first, and returns ErrBufferFull with the cause if that fails.
func (w *BatchDBWriter[T]) TryAdd(row T) error {
	<-w.turn
	defer w.done()
	if w.full() && !w.stopped {
		if _, err := w.attempt(context.Background()); err != nil {
			return fmt.Errorf("%w: %w", ErrBufferFull, err)
		}
	}
	return w.add(context.Background(), &row)
}

// AddBatch puts rows into the batch, in order, and returns how many it took,
// as MemoryDBWriter.AddBatch does.
func (w *BatchDBWriter[T]) AddBatch(ctx context.Context, rows []T) (n int, err error) {
	if err := w.take(ctx); err != nil {
		return 0, err
	}
	defer w.done()
	for i := range rows {
		if err := w.encode(&rows[i]); err != nil {
			return 0, err
		}
	}
	for n < len(rows) {
		if err := w.add(ctx, &rows[n]); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

// encode leaves the row's tuple in scratch.
func (w *BatchDBWriter[T]) encode(row *T) (err error) {
	w.scratch.row = *row
	w.scratch.tuple, err = w.rowTable.encode(w.scratch.tuple[:0], &w.scratch.row)
	return err
}

// add takes one row. Called with the turn.
func (w *BatchDBWriter[T]) add(ctx context.Context, row *T) error {
	if w.stopped {
		return ErrStopped
	}
	if err := w.encode(row); err != nil {
		return err
	}
	if w.full() {
		if err := w.drain(ctx); err != nil {
			return err
		}
	}
	w.rows.Append(w.next, w.scratch.tuple)
	w.next++
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ledger.added++
	w.ledger.waitingBytes += int64(len(w.scratch.tuple))
	return nil
}

func (w *BatchDBWriter[T]) full() bool {
	return w.rows.Len() >= w.cfg.SyncBatchSize || len(w.rows.Data) >= maxBatchBytes
}

// drain writes everything, trying again until it is done, ctx ends, or the
// destination cannot take the rows.
func (w *BatchDBWriter[T]) drain(ctx context.Context) error {
	for {
		delay, err := w.attempt(ctx)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return w.unsynced(w.SyncStatus(), context.Cause(ctx))
		case errors.Is(err, ErrDestination):
			return w.unsynced(w.SyncStatus(), err)
		}
		select {
		case <-time.After(delay):
		case <-ctx.Done():
			return w.unsynced(w.SyncStatus(), context.Cause(ctx))
		}
	}
}

// attempt writes everything, or says why it could not and how long to wait
// before the next attempt.
func (w *BatchDBWriter[T]) attempt(ctx context.Context) (time.Duration, error) {
	for w.writing != nil || w.rows.Len() > 0 {
		if w.writing == nil && len(w.failed) >= w.cfg.MaxFailedRows {
			w.attempts++
			return w.attemptFailed(tooManyFailed(int64(len(w.failed))), w.attempts, w.SyncStatus().Pending)
		}
		if w.writing == nil {
			w.begin()
		}
		if err := w.writing.flush.run(ctx); err != nil {
			w.attempts++
			return w.attemptFailed(err, w.attempts, w.SyncStatus().Pending)
		}
		w.settle(w.writing)
	}
	return 0, nil
}

// begin takes the rows that are there as one batch.
func (w *BatchDBWriter[T]) begin() {
	w.writing = &batch{Batch: *w.rows}
	w.rows = &tuple.Batch{}
	w.writing.prepare(w.core, w.reduce)
}

// settle books a written batch and keeps what the destination refused.
func (w *BatchDBWriter[T]) settle(b *batch) {
	kept, superseded := w.keys.judge(b.flush, w.core.table.ReplaceKeys())
	w.keys.update(kept, superseded, w.core.table.ReplaceKeys())
	w.failed = slices.DeleteFunc(slices.Clone(w.failed), func(f stage.Failure) bool { return slices.Contains(superseded, f.Seq) })
	for _, f := range kept {
		f.Tuple = bytes.Clone(f.Tuple)
		w.failed = append(w.failed, f)
	}
	w.logFailed(b.flush.failed)
	w.book(b.flush.settlement(b.read, b.readBytes, len(kept), len(superseded)))
	w.writing, w.attempts = nil, 0
	w.tally.setState(StateOK)
	if w.rows.Len() == 0 {
		b.Reset()
		w.rows = &b.Batch
	}
}

func (w *BatchDBWriter[T]) book(n settlement) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ledger.settle(n)
}

// ForceSync writes everything added before the call. Its errors are those of
// MemoryDBWriter.ForceSync.
func (w *BatchDBWriter[T]) ForceSync(ctx context.Context) error {
	if err := w.take(ctx); err != nil {
		return w.unsynced(w.SyncStatus(), err)
	}
	defer w.done()
	if w.stopped {
		return ErrStopped
	}
	return w.sync(ctx, ReasonForce)
}

// sync is one run: everything that is there. Called with the turn.
func (w *BatchDBWriter[T]) sync(ctx context.Context, reason Reason) error {
	start, before := time.Now(), w.SyncStatus()
	w.tally.beginRun(reason)
	err := w.drain(ctx)
	ev := SyncEvent{Reason: reason, Duration: time.Since(start)}
	w.tally.endRun(reason, ev.Duration)
	after := w.SyncStatus()
	if err != nil {
		ev.Err = after.LastError
	}
	ev.Synced, ev.Superseded, ev.Skipped = after.Synced-before.Synced, after.Superseded-before.Superseded, after.Skipped-before.Skipped
	ev.Failed = max(0, after.Failed-before.Failed)
	w.events.emit(ev)
	if err != nil {
		return err
	}
	return w.failedRows(w.failed[:min(len(w.failed), maxListed)], int64(len(w.failed)))
}

// Stop writes what is left and ends the writer. Its errors are those of
// MemoryDBWriter.Stop.
func (w *BatchDBWriter[T]) Stop(ctx context.Context) error {
	if w.events.called(ctx) {
		return ErrStopInHook
	}
	return errors.Join(w.stop(ctx), w.events.close(ctx))
}

func (w *BatchDBWriter[T]) stop(ctx context.Context) error {
	if err := w.take(ctx); err != nil {
		return w.unsynced(w.SyncStatus(), err)
	}
	defer w.done()
	if w.stopped {
		return w.stopErr
	}
	w.stopped = true
	w.stopErr = errors.Join(w.sync(ctx, ReasonStop), w.sink.Close())
	w.tally.stop()
	w.logStopped(w.SyncStatus(), w.stopErr)
	return w.stopErr
}

// SyncErrors iterates over the rows that the destination refused, as
// MemoryDBWriter.SyncErrors does. It sees the rows of the moment at which the
// loop begins.
func (w *BatchDBWriter[T]) SyncErrors() iter.Seq2[FailedRow[T], error] {
	return func(yield func(FailedRow[T], error) bool) {
		<-w.turn
		failed, stopped := w.failed[:len(w.failed):len(w.failed)], w.stopped
		w.done()
		if stopped {
			yield(FailedRow[T]{}, ErrStopped)
			return
		}
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
	if err := w.take(ctx); err != nil {
		return 0, err
	}
	defer w.done()
	if w.stopped {
		return 0, ErrStopped
	}
	if err := w.drain(ctx); err != nil {
		return 0, err
	}
	if len(w.failed) == 0 {
		return 0, nil
	}
	res, err := w.retry(ctx, w.reduce, w.keys, w.failed)
	w.failed = amend(w.failed, res)
	w.keys.update(nil, res.gone, w.core.table.ReplaceKeys())
	w.book(res.settlement)
	if err != nil {
		return res.synced, w.unsynced(w.SyncStatus(), w.destinationError(dest.AsError(err)))
	}
	return res.synced, w.failedRows(w.failed[:min(len(w.failed), maxListed)], int64(len(w.failed)))
}

// DiscardSyncErrors gives up all failed rows, as
// MemoryDBWriter.DiscardSyncErrors does.
func (w *BatchDBWriter[T]) DiscardSyncErrors(ctx context.Context) (discarded int64, err error) {
	if err := w.take(ctx); err != nil {
		return 0, err
	}
	defer w.done()
	if w.stopped {
		return 0, ErrStopped
	}
	discarded = int64(len(w.failed))
	w.failed = nil
	clear(w.keys)
	w.book(settlement{discarded: discarded, resolved: discarded})
	return discarded, nil
}

// amend returns the failures without those that are gone, and with what was
// learnt of those that failed again.
func amend(failed []stage.Failure, res retried) []stage.Failure {
	again := make(map[int64]stage.Failure, len(res.again))
	for _, f := range res.again {
		f.Tuple = bytes.Clone(f.Tuple)
		again[f.Seq] = f
	}
	var kept []stage.Failure
	for _, f := range failed {
		if slices.Contains(res.gone, f.Seq) {
			continue
		}
		if newer, ok := again[f.Seq]; ok {
			f = newer
		}
		kept = append(kept, f)
	}
	return kept
}

// SyncStatus returns where the rows are. It never waits for I/O and works
// after Stop.
func (w *BatchDBWriter[T]) SyncStatus() SyncStatus {
	w.mu.Lock()
	s := w.ledger.status()
	w.mu.Unlock()
	return w.tally.status(s, false)
}

// Stats returns the figures of the writer. It never waits for I/O and works
// after Stop.
func (w *BatchDBWriter[T]) Stats() Stats {
	s := w.tally.stats()
	s.SyncStatus = w.SyncStatus()
	w.mu.Lock()
	defer w.mu.Unlock()
	s.PendingBytes, s.SyncedBytes = w.ledger.waitingBytes, w.ledger.syncedBytes
	return s
}
