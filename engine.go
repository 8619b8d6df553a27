package memdbwriter

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/memdbwriter/memdbwriter/internal/dest"
	"github.com/memdbwriter/memdbwriter/internal/journal"
	"github.com/memdbwriter/memdbwriter/internal/stage"
)

// engine is a MemoryDBWriter without its row type: it knows tuples only. It
// owns the front buffer, the staging table, the sink, and their goroutines.
//
// Life: newEngine starts the goroutines. stop (life.go) closes the front buffer,
// ends the calls that may last, has the syncer empty everything, ends life, waits
// for the goroutines, saves what is left, and closes sink and store. After that
// only the counts answer.
type engine struct {
	*core
	store  *stage.Store
	disk   *disk // nil: nothing is kept on disk
	front  *front
	stager *stager
	syncer *syncer

	life    context.Context // ends when the goroutines must
	end     context.CancelCauseFunc
	workers sync.WaitGroup

	calls    context.Context // ends when Stop begins: see within
	endCalls context.CancelCauseFunc
	readers  readers

	stopping sync.Once
	stopped  chan struct{} // closed when stop is done
	stopErr  error         // its result; read after stopped

	left []stage.Failure // the failed rows at the end; read once the store is closed
}

// errEnded is the cause of the end of an engine's life.
var errEnded = errors.New("memdbwriter: the writer has ended")

// newEngine checks the destination and starts the goroutines. ctx bounds the
// check only.
func newEngine(ctx context.Context, table dest.Table, d *Destination, cfg Config) (*engine, error) {
	c, err := newCore(ctx, table, d, cfg)
	if err != nil {
		return nil, err
	}
	e := &engine{core: c, front: newFront(c.cfg), stopped: make(chan struct{}), readers: make(readers, 1)}
	if e.store, err = stage.Open(stage.Config{View: table.Name, Columns: tupleColumns(&table)}); err != nil {
		return nil, errors.Join(fmt.Errorf("memdbwriter: cannot open the in-memory staging table: %w", err), c.sink.Close())
	}
	if e.disk, err = openDisk(ctx, c, e.store); err != nil {
		return nil, errors.Join(err, c.sink.Close(), e.store.Close())
	}
	if err := e.start(ctx); err != nil {
		return nil, errors.Join(err, c.sink.Close(), e.store.Close(), e.disk.close())
	}
	e.states.watch(e.status)
	e.noteState()
	e.cfg.Logger.Info("writer started", "table", table.String(), "destination", e.destination,
		"batch", e.cfg.SyncBatchSize, "interval", e.cfg.SyncInterval, "max_rows", e.cfg.MaxRows)
	return e, nil
}

// start starts the goroutines and waits until the rows that an earlier writer
// left behind are in the buffer, or as many as it takes. Without nil nothing
// runs any more.
func (e *engine) start(ctx context.Context) (err error) {
	e.life, e.end = context.WithCancelCause(context.Background())
	e.calls, e.endCalls = context.WithCancelCause(context.Background())
	e.syncer = newSyncer(e.core, e.store, e.front)
	e.stager = newStager(e)
	e.syncer.stageAll = e.stager.flush
	if len(e.hooks.addWaited) > 0 {
		e.front.waitEnded = func(w AddWait) { e.events.emit(&w) }
	}
	e.syncer.disk, e.stager.disk = e.disk, e.disk
	if e.disk != nil {
		e.disk.readers = e.readers
		if e.stager.recovery, err = openRecovery(e.disk); err != nil {
			e.end(errEnded)
			return err
		}
		e.stager.recovery.stager, e.stager.recovery.syncer, e.stager.recovery.call = e.stager, e.syncer, e.call
		e.record(e.stager.recovery.journal.Receipts())
		e.workers.Go(func() { e.checkpointLoop(e.life) })
	}
	e.workers.Go(func() { defer close(e.stager.ended); e.stager.loop(e.life) })
	e.workers.Go(func() { e.syncer.loop(e.life) })
	if e.disk == nil {
		return nil
	}
	select {
	case err = <-e.stager.recovery.outcome:
	case <-e.stager.recovery.full:
	case <-ctx.Done():
		err = fmt.Errorf("memdbwriter: cancelled while rows on disk were recovered: %w", ended(ctx))
	}
	if err != nil {
		e.end(errEnded)
		e.workers.Wait()
	}
	return err
}

// record has the sink find out what became of transactions of an earlier writer,
// and the journal keep the receipts of those to come, if rows must not be stored
// twice and the sink can do that.
func (e *engine) record(earlier []journal.Receipt) {
	sink, ok := e.sink.(dest.Recorder)
	if !ok || e.table.Policy != dest.InsertOnly {
		return
	}
	receipts := make([]dest.Receipt, len(earlier))
	for i, r := range earlier {
		receipts[i] = dest.Receipt(r)
	}
	sink.Record(receipts, e.disk.receipts)
}

func newStager(e *engine) *stager {
	return &stager{
		front: e.front, store: e.store, life: e.life, next: 1, broken: make(chan struct{}), ended: make(chan struct{}), requests: make(chan chan int64),
		staged: func(last int64) {
			e.syncer.staged.Store(last)
			came := e.stager.came
			if came.IsZero() {
				came = time.Now()
			}
			e.syncer.arrivals.note(last, came)
			signal(e.syncer.stagedReady)
		},
		failed: func(err error) {
			err = fmt.Errorf("memdbwriter: cannot stage rows in memory, trying again: %w", err)
			e.tally.failed(err, StateDegraded)
			e.noteState()
			e.cfg.Logger.Error("staging failed, rows stay in the front buffer", "table", e.table.String(), "error", err)
		},
	}
}

// allRows is above every sequence number.
const allRows = math.MaxInt64

// forceSync is ForceSync.
func (e *engine) forceSync(ctx context.Context) error {
	if e.front.isClosed() {
		return ErrStopped
	}
	if err := e.awake(); err != nil && e.status().Pending > 0 {
		return e.unsynced(e.status(), err)
	}
	within, cancel := e.untilPause(ctx)
	defer cancel()
	upTo, err := e.drain(within, ReasonForce)
	switch {
	case err == nil:
		return e.failed(upTo)
	case errors.Is(err, ErrStopped):
		return ErrStopped
	}
	if pause := pausedCause(within); pause != nil {
		return e.pausedAnswer(pause)
	}
	return e.unsynced(e.status(), err)
}

// drain waits until every row added before is settled, and returns the number
// of the last of them.
func (e *engine) drain(ctx context.Context, reason Reason) (upTo int64, err error) {
	if (e.disk == nil || e.disk.recovered.Load()) && e.front.waiting() == 0 {
		return allRows, nil
	}
	if err := ended(ctx); err != nil {
		return 0, err
	}
	if upTo, err = e.stager.flush(ctx); err != nil {
		return 0, err
	}
	return upTo, e.syncer.waiters.wait(ctx, reason, upTo)
}

// within returns a context that ends with ctx, and when Stop begins: what others
// would have to wait for must not outlast that.
func (e *engine) within(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(e.calls, func() { cancel(ErrStopped) })
	return ctx, func() { stop(); cancel(nil) }
}

// callError is the error of a call that ran within ctx.
func (e *engine) callError(ctx context.Context, err error) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ended(ctx)
	case e.calls.Err() != nil:
		return ErrStopped
	}
	return err
}

// readers lets one caller at a time read pages of the staging table, so that the
// stager and the syncer wait for one page at most.
type readers chan struct{}

func (r readers) read(ctx context.Context, f func() error) error {
	select {
	case r <- struct{}{}:
		defer func() { <-r }()
		return f()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// read runs f, which reads the staging table for a caller.
func (e *engine) read(ctx context.Context, f func(context.Context) error) error {
	within, cancel := e.within(ctx)
	defer cancel()
	return e.callError(ctx, e.readers.read(within, func() error { return f(within) }))
}

// call runs f in the syncer's goroutine, between two batches, and returns when
// it has: if ctx ends, that should be soon, or call does not wait for it. Then
// what f does is not to be looked at.
func (e *engine) call(ctx context.Context, f func()) error {
	done := make(chan struct{})
	select {
	case e.syncer.calls <- func() { defer close(done); f() }:
	case <-ctx.Done():
		return ended(ctx)
	case <-e.life.Done():
		return ErrStopped
	}
	if !waitFor(ctx, done) {
		return ended(ctx)
	}
	return nil
}

// retryFailed is RetrySyncErrors and RetryFailed. Rows are moved between two pages
// of failed ones. Rows that fail meanwhile are left alone.
func (e *engine) retryFailed(ctx context.Context, which selection) (stored int64, err error) {
	if which.none() {
		return 0, nil
	}
	for page := (&retriedPage{last: which.before(), more: true}); page.more && page.last < which.last(); {
		if err := e.awake(); err != nil {
			return stored, e.pausedAnswer(err)
		}
		next := &retriedPage{after: page.last, upTo: page.upTo, due: which.has}
		if err := e.retryPage(ctx, next); err != nil {
			return stored, err
		}
		page = next
		stored += page.stored
		if page.err != nil {
			return stored, e.retryError(ctx, page.err)
		}
	}
	return stored, e.failedOf(which)
}

// retryPage has the syncer try a page of failed rows again. A pause is answered;
// what is being sent then is finished, as a batch in flight is, whatever becomes of
// ctx.
func (e *engine) retryPage(ctx context.Context, p *retriedPage) error {
	stopping, cancelStopping := e.within(ctx)
	defer cancelStopping()
	within, cancel := e.untilPause(stopping)
	defer cancel()
	err := e.call(within, func() {
		sending, cancel := e.within(context.WithoutCancel(ctx))
		defer cancel()
		defer context.AfterFunc(within, func() {
			if pausedCause(within) == nil {
				cancel()
			}
		})()
		e.syncer.retryFailed(sending, p)
	})
	if err == nil {
		return nil
	}
	if pause := pausedCause(within); pause != nil {
		return e.pausedAnswer(pause)
	}
	return e.callError(ctx, err)
}

// retryError says why failed rows were not tried.
func (e *engine) retryError(ctx context.Context, err error) error {
	if pause, ok := err.(*pausedError); ok {
		return e.pausedAnswer(pause)
	}
	public := e.destinationError(dest.AsError(err))
	switch {
	case ctx.Err() != nil:
		public = fmt.Errorf("%w: %w", ended(ctx), public)
	case e.calls.Err() != nil:
		return ErrStopped
	}
	return e.unsynced(e.status(), public)
}

// discardFailed is DiscardSyncErrors and DiscardFailed.
func (e *engine) discardFailed(ctx context.Context, which selection) (discarded int64, err error) {
	within, cancel := e.within(ctx)
	defer cancel()
	result := make(chan error, 1)
	var n int64
	err = e.call(within, func() {
		var err error
		n, err = e.syncer.discardFailed(which)
		result <- err
	})
	if err != nil {
		return 0, e.callError(ctx, err)
	}
	return n, <-result
}

// failed returns the failed rows up to the given one, joined, or nil if there
// are none.
func (e *engine) failed(upTo int64) error {
	count := e.store.Counts().FailedRows
	if count == 0 {
		return nil
	}
	page, err := e.store.Failures(0, maxListed)
	if err != nil {
		return fmt.Errorf("%w: %d of %s, which cannot be listed: %w", ErrRowsFailed, count, e.table.String(), err)
	}
	if e.disk != nil {
		upTo = max(upTo, e.disk.known)
	}
	page = slices.DeleteFunc(page, func(f stage.Failure) bool { return f.Seq > upTo })
	states, err := e.store.FailureStates(upTo)
	if err != nil {
		return fmt.Errorf("%w: %d of %s, which cannot be counted: %w", ErrRowsFailed, count, e.table.String(), err)
	}
	return e.failedRows(page, states)
}

// failures returns the failed rows behind a number, page by page, also after Stop.
func (e *engine) failures(after int64, limit int) ([]stage.Failure, error) {
	page, err := e.store.Failures(after, limit)
	if !errors.Is(err, stage.ErrClosed) {
		return page, err
	}
	at, _ := slices.BinarySearchFunc(e.left, after+1, func(f stage.Failure, seq int64) int { return cmp.Compare(f.Seq, seq) })
	return failuresPage(e.left[at:], limit), nil
}

// failedOf returns the failed rows among some, joined, or nil if there are none.
func (e *engine) failedOf(which selection) error {
	if which.all() {
		return e.failed(allRows)
	}
	failed, err := e.selected(which)
	if err != nil {
		return fmt.Errorf("%w: some of %s, which cannot be listed: %w", ErrRowsFailed, e.table.String(), err)
	}
	return e.failedRows(failed[:min(len(failed), maxListed)], statesOf(failed))
}

// selected returns the failed rows among some, without their tuples but for the
// first ones, which are listed.
func (e *engine) selected(which selection) (failed []stage.Failure, err error) {
	for after := which.before(); after < which.last(); {
		page, err := e.store.Failures(after, pageRows)
		if err != nil || len(page) == 0 {
			return failed, err
		}
		after = page[len(page)-1].Seq
		for i := range page {
			if !which.has(&page[i]) {
				continue
			}
			if len(failed) >= maxListed {
				page[i].Tuple = nil
			}
			failed = append(failed, page[i])
		}
	}
	return failed, nil
}

// keepFailures keeps the failed rows for those who ask after the end, when the
// staging table is closed.
func (e *engine) keepFailures() error {
	for after := int64(0); ; {
		page, err := e.store.Failures(after, pageRows)
		if err != nil {
			return fmt.Errorf("memdbwriter: failed rows of %s cannot be listed any more: %w", e.table.String(), err)
		}
		if len(page) == 0 {
			return nil
		}
		e.left = append(e.left, page...)
		after = page[len(page)-1].Seq
	}
}

func (e *engine) status() SyncStatus {
	staged, _ := e.syncer.arrivals.oldest()
	s, full := e.front.status(staged)
	return e.tally.status(s, full)
}

func (e *engine) stats() Stats {
	s := e.tally.stats()
	s.SyncStatus = e.status()
	e.front.fillStats(&s)
	s.MemoryBytes = e.store.Memory()
	s.Limits = limitsOf(&e.cfg)
	if e.disk != nil {
		f := e.disk.journal.Figures()
		s.JournalFiles, s.JournalBytes, s.JournalFsyncs = f.Files, f.Bytes, f.Fsyncs
	}
	return s
}

// save leaves in the journal what is not in the destination, and then makes a
// checkpoint of it.
func (e *engine) save(ctx context.Context) error {
	select {
	case <-e.stager.ended:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if err := e.disk.save(ctx, e.stager.take()); err != nil || !e.disk.recovered.Load() {
		return err
	}
	if err := e.saveCopy(ctx); err != nil {
		e.cfg.Logger.Warn("checkpoint failed, the journal has all rows", "table", e.table.String(), "error", err)
	}
	return nil
}

// saveCopy makes the last checkpoint.
func (e *engine) saveCopy(ctx context.Context) error {
	if !e.stager.stage(ctx) {
		return fmt.Errorf("rows cannot be staged: %w", context.Cause(ctx))
	}
	select {
	case e.disk.making <- struct{}{}: // whoever made one gives it up
		defer func() { <-e.disk.making }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	_, err := e.disk.make(ctx, e.stager.last)
	return err
}

// persist is Persist.
func (e *engine) persist(ctx context.Context) error {
	if e.disk == nil {
		return errNoDisk
	}
	_, err := e.stager.flush(ctx)
	if err == nil {
		err = e.disk.persist(ctx)
	}
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ended(ctx)
	case e.life.Err() != nil:
		return ErrStopped
	}
	return err
}
