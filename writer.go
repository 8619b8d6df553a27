package memdbwriter

import (
	"context"
	"errors"
	"iter"
	"sync"
	"time"

	"github.com/memdbwriter/memdbwriter/internal/stage"
	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

// addPortion is how many rows AddBatch appends at a time, so that it does not
// make other callers of Add wait for long.
const addPortion = 256

// pageRows is how many rows the iterators fetch at a time.
const pageRows = 512

// MemoryDBWriter buffers rows in memory and moves them to the destination in
// the background. Make it with New, and call Stop when done. All methods are
// safe for concurrent use.
type MemoryDBWriter[T any] struct {
	table   Table[T]
	engine  *engine
	scratch sync.Pool // of *scratch[T]
}

// scratch is the working memory of one Add: a copy of the row, which may be
// completed without touching the caller's, and the tuple.
type scratch[T any] struct {
	row   T
	tuple []byte
	batch tuple.Batch
}

// New starts a writer for the table.
//
// It looks at the destination first, for at most Config.SyncTimeout and until
// ctx ends. A destination that cannot take the rows (no such table, a column
// missing, no unique index for the key, a wrong password) is an error that
// wraps ErrDestination and says what fixes it. A destination that
// cannot be reached is none: the writer starts, rows are buffered, and the look
// is repeated before the first batch. Errors about the table definition wrap
// ErrTable, those about cfg wrap ErrConfig.
//
// Rows that an earlier writer left in Config.CheckpointDir come first: New
// returns when they are in the buffer or fill it. With DurabilityNone it waits
// until they are stored, since nothing would be known of them afterwards; if
// they cannot be, that is an ErrRecovery.
//
// If another process has the files of this table and destination, New waits for it
// to end as long as ctx lasts; the log names it after a second. A writer of this
// process that has them is an error at once. Both wrap ErrLocked.
//
// ctx has no effect after New has returned. The destination must stay open
// until Stop has returned.
func New[T any](ctx context.Context, table Table[T], d *Destination, cfg Config) (*MemoryDBWriter[T], error) {
	if err := usable(&table, d); err != nil {
		return nil, err
	}
	cfg, err := cfg.withDir(cfg.Durability != DurabilityNone)
	if err != nil {
		return nil, err
	}
	if cfg.Durability == DurabilityNone {
		if err := deliverLeft(ctx, table.shape, d, cfg); err != nil {
			return nil, err
		}
	}
	e, err := newEngine(ctx, table.shape, d, cfg)
	if err != nil {
		return nil, err
	}
	w := &MemoryDBWriter[T]{table: table, engine: e}
	w.scratch.New = newScratch[T]
	e.events.ready()
	return w, nil
}

func newScratch[T any]() any { return new(scratch[T]) }

// use returns the engine to a method that somebody called, who so has the
// writer, and may get events.
func (w *MemoryDBWriter[T]) use() *engine {
	w.engine.events.begin()
	return w.engine
}

// Add puts one row into the buffer. It does not wait for the database: it
// takes about a microsecond, unless Config.MaxRows or MaxBytes is reached, when
// it waits until rows have left the buffer or ctx ends. Callers who wait come in
// in the order of their calls, however large their rows are.
//
// A nil error means that the row is in the buffer, and any error that it is
// not: a *RowError if the row itself is at fault (text that is not UTF-8, a
// NULL key, a time out of range), ErrStopped after Stop, or ctx's error. The
// row is encoded before Add returns; what it points to may be changed then.
func (w *MemoryDBWriter[T]) Add(ctx context.Context, row T) error {
	s := w.scratch.Get().(*scratch[T])
	defer s.release(&w.scratch)
	if err := s.encode(&w.table, &row); err != nil {
		return err
	}
	return w.use().front.addOne(ctx, s.tuple)
}

// TryAdd is Add that never waits: when the buffer is full it returns
// ErrBufferFull, and the row is not taken. It does not pass callers who wait.
func (w *MemoryDBWriter[T]) TryAdd(row T) error {
	s := w.scratch.Get().(*scratch[T])
	defer s.release(&w.scratch)
	if err := s.encode(&w.table, &row); err != nil {
		return err
	}
	return w.use().front.tryAdd(s.tuple)
}

// AddBatch puts rows into the buffer, in order, and returns how many it took:
// rows[:n] are in the buffer, rows[n:] are not. n is less than len(rows)
// exactly when the error is not nil. All rows are checked before the first is
// taken, so a row that is at fault means n = 0 and a *RowError for the first
// such row. When the buffer is full AddBatch takes what fits and waits like
// Add.
func (w *MemoryDBWriter[T]) AddBatch(ctx context.Context, rows []T) (n int, err error) {
	s := w.scratch.Get().(*scratch[T])
	defer s.release(&w.scratch)
	for i := range rows { // what is beyond a portion is encoded again when its turn comes
		if err := s.encode(&w.table, &rows[i]); err != nil {
			return 0, err
		}
		if s.batch.Len() == i && len(s.batch.Data) < maxBatchBytes {
			s.batch.Append(0, s.tuple)
		}
	}
	for {
		k, err := w.addEncoded(ctx, &s.batch)
		if n += k; err != nil || n == len(rows) {
			return n, err
		}
		s.batch.Reset()
		var fault error
		for i := n; i < len(rows) && len(s.batch.Data) < maxBatchBytes; i++ {
			if fault = s.encode(&w.table, &rows[i]); fault != nil { // somebody has changed it
				break
			}
			s.batch.Append(0, s.tuple)
		}
		if fault != nil {
			k, err := w.addEncoded(ctx, &s.batch)
			return n + k, errors.Join(fault, err)
		}
	}
}

// addEncoded adds the tuples of b and returns how many it took, all if the error
// is nil.
func (w *MemoryDBWriter[T]) addEncoded(ctx context.Context, b *tuple.Batch) (n int, err error) {
	for n < b.Len() && err == nil {
		var k int
		k, err = w.use().front.add(ctx, b.Slice(n, min(n+addPortion, b.Len())))
		n += k
	}
	return n, err
}

// encode leaves the row's tuple in s.
func (s *scratch[T]) encode(t *Table[T], row *T) (err error) {
	s.row = *row
	s.tuple, err = t.encode(s.tuple[:0], &s.row)
	return err
}

// release gives the working memory back without what the row points to, and
// without buffers that only a huge row or batch needed.
func (s *scratch[T]) release(to *sync.Pool) {
	var zero T
	s.row = zero
	if cap(s.tuple) > chunkBytes || cap(s.batch.Data) > 2*maxBatchBytes {
		return
	}
	s.batch.Reset()
	to.Put(s)
}

// ForceSync moves everything added before the call to the destination and
// waits for it. Rows that others add meanwhile do not prolong it.
//
// nil means that every row added so far is in the destination. Otherwise the
// error says why not: it wraps ErrRowsFailed and a *RowError for each of the
// first 100 rows that the destination refused, now or earlier; or it wraps
// ErrUnsynced when rows are still waiting, because ctx ended (its error is
// wrapped too) or because the destination cannot take them (ErrDestination).
// While the destination cannot be reached ForceSync keeps trying until ctx
// ends. Waiting rows stay in the buffer and will be tried again.
func (w *MemoryDBWriter[T]) ForceSync(ctx context.Context) error { return w.use().forceSync(ctx) }

// Persist returns when everything added before the call is as safe on local
// disk as Config.Durability promises: appended to the journal, or appended and
// made durable, by one fsync for all who wait. An error says why not; the rows are in the buffer all the
// same. Without a checkpoint directory it always is one.
func (w *MemoryDBWriter[T]) Persist(ctx context.Context) error {
	if w.use().front.isClosed() {
		return ErrStopped
	}
	return w.use().persist(ctx)
}

// Checkpoint writes every row that is not in the destination, the failed ones
// included, to a new file in Config.CheckpointDir and returns its path; if the
// newest checkpoint says it all, or there is nothing to say, the path is that
// one's, or empty. The file is SQL that the sqlite3 shell reads, for people and
// their backups: no writer reads it. What is in it is durable in the journal,
// too. Adds and syncs go on meanwhile.
func (w *MemoryDBWriter[T]) Checkpoint(ctx context.Context) (path string, err error) {
	if w.use().front.isClosed() {
		return "", ErrStopped
	}
	return w.use().checkpoint(ctx)
}

// Stop refuses new rows, moves what is in the buffer to the destination, and
// ends the writer. It is nil only if no row is left behind; its errors are those
// of ForceSync, the rejected rows included. Calls of Query, Pending, Checkpoint,
// RetrySyncErrors and DiscardSyncErrors that are under way are ended, and they,
// as callers who wait in Add, get ErrStopped.
//
// Rows that are still waiting when ctx ends are left in the journal for the next
// writer, and in a checkpoint; without Config.CheckpointDir they are lost with the
// writer's memory. The error, which wraps ErrUnsynced, has their number. They are
// made durable even if ctx has ended, as long as bytes become so within ten seconds
// each time; if ctx ends meanwhile, or the disk stops, that is given up, and the
// error says that rows were not saved. So Stop takes no longer than ctx, the
// save, and a second each for what does not heed its cancellation: a driver, a
// disk. Such a call is left behind, the error says so, and what it uses, the
// lock on the writer's files included, is released once it returns.
//
// Further calls wait for the first, as long as their ctx lasts, and return its
// result. Stop waits for the hooks, too.
func (w *MemoryDBWriter[T]) Stop(ctx context.Context) error { return w.use().stop(ctx, false) }

// StopNow refuses new rows and ends the writer without moving what is in the
// buffer: waiting and failed rows are left in Config.CheckpointDir for the next
// writer, as by a Stop whose context has ended, and what is in flight is cancelled. nil
// means that every row is stored or saved there; an UnsyncedError says what is lost. A
// writer that keeps nothing on disk returns an error and goes on: use Stop.
// Everything else is as with Stop, of which it may be the first or a further call.
func (w *MemoryDBWriter[T]) StopNow(ctx context.Context) error {
	if w.use().disk == nil {
		return errNoDisk
	}
	return w.use().stop(ctx, true)
}

// SyncStatus returns where the rows are. It never waits for I/O and works
// after Stop.
func (w *MemoryDBWriter[T]) SyncStatus() SyncStatus { return w.use().status() }

// Stats returns the figures of the writer. It never waits for I/O and works
// after Stop.
func (w *MemoryDBWriter[T]) Stats() Stats { return w.use().stats() }

// FailedRow is a row that the destination refused.
type FailedRow[T any] struct {
	Row         T
	Seq         int64     // its handle for RetryFailed and DiscardFailed: no other row of this writer has it
	Err         *RowError // table, column, key, SQLSTATE and reason
	Attempts    int       // how often it was refused
	First, Last time.Time // when
}

// SyncErrors iterates over the rows that the destination refused, in the order
// of their arrival. A row comes with a nil error; a non-nil error ends the
// iteration. Rows that fail meanwhile may or may not be seen. The loop may call
// other methods of the writer. After Stop it gives the rows that were left then.
func (w *MemoryDBWriter[T]) SyncErrors() iter.Seq2[FailedRow[T], error] {
	return func(yield func(FailedRow[T], error) bool) {
		for after := int64(0); ; {
			page, err := w.use().failures(after, pageRows)
			if err != nil {
				yield(FailedRow[T]{}, err)
				return
			}
			if len(page) == 0 {
				return
			}
			for i := range page {
				row, err := failedRow(w.engine.core, &w.table, &page[i])
				if !yield(row, err) || err != nil {
					return
				}
				after = page[i].Seq
			}
		}
	}
}

// RetrySyncErrors tries every failed row once more, in the order of their
// arrival, and returns how many of them are stored now. Newer rows of the same
// key are never overwritten: one that is stored has superseded the failed row
// already, or taken from it the columns that it has (see Optional), and one that
// waits is written later.
//
// The error is nil if no failed row is left. Otherwise it wraps ErrRowsFailed
// with those that failed again, or ErrUnsynced if the destination could not be
// reached or ctx ended; then some of the rows may not have been tried. Batches
// in flight come first, and others are sent in between. Rows that fail meanwhile
// are not tried.
func (w *MemoryDBWriter[T]) RetrySyncErrors(ctx context.Context) (stored int64, err error) {
	if w.use().front.isClosed() {
		return 0, ErrStopped
	}
	return w.use().retryFailed(ctx, everyFailed)
}

// RetryFailed is RetrySyncErrors for the failed rows with these sequence numbers
// (FailedRow.Seq, RowFailed.Seq), and for no other: without any it does nothing.
// A number that is not, or no longer, that of a failed row is ignored, so that
// listing and trying again need not exclude what happens meanwhile. The error is
// about these rows only.
func (w *MemoryDBWriter[T]) RetryFailed(ctx context.Context, seqs []int64) (stored int64, err error) {
	if w.use().front.isClosed() {
		return 0, ErrStopped
	}
	return w.use().retryFailed(ctx, selectionOf(seqs))
}

// DiscardSyncErrors gives up all failed rows and returns how many. They are
// counted as Discarded and no longer as Failed, and are not listed, retried or
// reported any more.
func (w *MemoryDBWriter[T]) DiscardSyncErrors(ctx context.Context) (discarded int64, err error) {
	if w.use().front.isClosed() {
		return 0, ErrStopped
	}
	return w.use().discardFailed(ctx, everyFailed)
}

// DiscardFailed is DiscardSyncErrors for the failed rows with these sequence
// numbers, and for no other: without any it does nothing. A number that is not, or
// no longer, that of a failed row is ignored and not counted.
func (w *MemoryDBWriter[T]) DiscardFailed(ctx context.Context, seqs []int64) (discarded int64, err error) {
	if w.use().front.isClosed() {
		return 0, ErrStopped
	}
	return w.use().discardFailed(ctx, selectionOf(seqs))
}

func failedRow[T any](c *core, t *Table[T], f *stage.Failure) (FailedRow[T], error) {
	row := FailedRow[T]{Seq: f.Seq, Err: c.rowError(f), Attempts: f.Attempts, First: f.First, Last: f.Last}
	return row, t.codec.Decode(f.Tuple, &row.Row)
}

// Pending iterates over the rows that wait, in the order of their arrival,
// including those on their way to the destination. A row comes with a nil
// error; a non-nil error ends the iteration: ctx's, or ErrStopped. Rows that
// arrive or leave meanwhile may or may not be seen. The loop may call other
// methods of the writer.
func (w *MemoryDBWriter[T]) Pending(ctx context.Context) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var zero T
		for after := int64(0); ; {
			page, err := w.pending(ctx, after)
			if err != nil {
				yield(zero, err)
				return
			}
			if page.Len() == 0 {
				return
			}
			for i := range page.Rows {
				var row T
				err := w.table.codec.Decode(page.Tuple(i), &row)
				if !yield(row, err) || err != nil {
					return
				}
				after = page.Rows[i].Seq
			}
		}
	}
}

// pending returns the next page, after making sure that the first one sees
// what was added before.
func (w *MemoryDBWriter[T]) pending(ctx context.Context, after int64) (*tuple.Batch, error) {
	if err := w.look(ctx, after == 0); err != nil {
		return nil, err
	}
	var page *tuple.Batch
	err := w.use().read(ctx, func(context.Context) (err error) {
		page, err = w.engine.store.Page(after, pageRows)
		return err
	})
	return page, err
}

// look makes the rows added before the call visible in the staging table.
func (w *MemoryDBWriter[T]) look(ctx context.Context, stage bool) error {
	if w.use().front.isClosed() {
		return ErrStopped
	}
	if err := ended(ctx); err != nil {
		return err
	}
	if !stage {
		return nil
	}
	_, err := w.use().stager.flush(ctx)
	return err
}

// QueryResult is the answer to a query, complete.
type QueryResult struct {
	Columns []string
	Rows    [][]any // nil, int64, float64, string or []byte
}

// Query runs one SELECT in SQLite's dialect over the rows that wait and returns
// its whole answer. The waiting rows are a view that has the destination table's
// name, without the schema, and its columns; see docs/operations.md for the failed
// rows, for how values look, and for what a query may do. Anything else is an
// error, as is an answer of more than 64 MiB: use LIMIT.
//
// Adds, syncs and checkpoints go on while a query runs; the next query waits for
// it. It sees the rows that were added before the call. Those that are stored
// while it runs may be missing, and a row that is rejected meanwhile may be in
// both views or in neither: it is no snapshot. When ctx ends, or Stop is called,
// or after a minute, the query is abandoned.
func (w *MemoryDBWriter[T]) Query(ctx context.Context, query string, args ...any) (*QueryResult, error) {
	if err := w.look(ctx, true); err != nil {
		return nil, err
	}
	e := w.use()
	within, cancel := e.within(ctx)
	defer cancel()
	columns, rows, err := e.store.Query(within, query, args...)
	if err != nil {
		return nil, e.callError(ctx, err)
	}
	return &QueryResult{Columns: columns, Rows: rows}, nil
}
