package memdbwriter

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"

	"github.com/memdbwriter/memdbwriter/internal/dest"
	"github.com/memdbwriter/memdbwriter/internal/journal"
	"github.com/memdbwriter/memdbwriter/internal/stage"
)

// engine is a MemoryDBWriter without its row type: it knows tuples only. It
// owns the front buffer, the staging table, the sink, and two goroutines.
//
// Life: newEngine starts both goroutines. stop closes the front buffer, asks
// the syncer to empty everything, ends life, waits for both, and closes sink
// and store. After that only the counts answer.
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

	stopping sync.Once
	stopped  chan struct{} // closed when stop is done
	stopErr  error         // its result; read after stopped
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
	e := &engine{core: c, front: newFront(c.cfg), stopped: make(chan struct{})}
	if e.store, err = stage.Open(stage.Config{View: table.Name, Columns: tupleColumns(&table)}); err != nil {
		return nil, errors.Join(fmt.Errorf("memdbwriter: cannot open the in-memory staging table: %w", err), c.sink.Close())
	}
	if e.disk, err = openDisk(c, e.store); err != nil {
		return nil, errors.Join(err, c.sink.Close(), e.store.Close())
	}
	if err := e.start(ctx); err != nil {
		return nil, errors.Join(err, c.sink.Close(), e.store.Close(), e.disk.close())
	}
	e.cfg.Logger.Info("writer started", "table", table.String(), "destination", e.destination,
		"batch", e.cfg.SyncBatchSize, "interval", e.cfg.SyncInterval, "max_rows", e.cfg.MaxRows)
	return e, nil
}

// start starts the goroutines and waits until the rows that an earlier writer
// left behind are in the buffer, or as many as it takes. Without nil nothing
// runs any more.
func (e *engine) start(ctx context.Context) (err error) {
	e.life, e.end = context.WithCancelCause(context.Background())
	e.syncer = newSyncer(e.core, e.store, e.front)
	e.stager = newStager(e)
	e.syncer.stageAll = e.stager.flush
	e.syncer.disk, e.stager.disk = e.disk, e.disk
	if e.disk != nil {
		if e.stager.recovery, err = openRecovery(e.disk); err != nil {
			e.end(errEnded)
			return err
		}
		e.stager.recovery.stager, e.stager.recovery.syncer, e.stager.recovery.call = e.stager, e.syncer, e.call
		e.record(e.stager.recovery.journal.Receipts())
		e.workers.Go(func() { e.checkpointLoop(e.life) })
	}
	e.workers.Go(func() { e.stager.loop(e.life) })
	e.workers.Go(func() { e.syncer.loop(e.life) })
	if e.disk == nil {
		return nil
	}
	select {
	case err = <-e.stager.recovery.outcome:
	case <-e.stager.recovery.full:
	case <-ctx.Done():
		err = context.Cause(ctx)
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
		front: e.front, store: e.store, life: e.life, next: 1, broken: make(chan struct{}), requests: make(chan chan int64),
		staged: func(last int64) {
			e.syncer.staged.Store(last)
			signal(e.syncer.stagedReady)
		},
		failed: func(err error) {
			err = fmt.Errorf("memdbwriter: cannot stage rows in memory, trying again: %w", err)
			e.tally.failed(err, StateDegraded)
			e.cfg.Logger.Error("staging failed, rows stay in the front buffer", "table", e.table.String(), "error", err)
		},
	}
}

// forceSync is ForceSync.
func (e *engine) forceSync(ctx context.Context) error {
	if e.front.isClosed() {
		return ErrStopped
	}
	upTo, err := e.drain(ctx, ReasonForce)
	switch {
	case err == nil:
		return e.failed(upTo)
	case errors.Is(err, ErrStopped), errors.Is(err, errEnded):
		return ErrStopped
	}
	return e.unsynced(e.status(), err)
}

// call has the syncer run f between two sync runs, and waits for it.
func (e *engine) call(ctx context.Context, f func()) error {
	done := make(chan struct{})
	select {
	case e.syncer.calls <- func() { defer close(done); f() }:
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-e.life.Done():
		return ErrStopped
	}
	<-done
	return nil
}

// retryFailed is RetrySyncErrors.
func (e *engine) retryFailed(ctx context.Context) (stored int64, err error) {
	var failure error
	if err := e.call(ctx, func() { stored, failure = e.syncer.retryFailed(ctx) }); err != nil {
		return 0, err
	}
	if failure != nil {
		return stored, e.unsynced(e.status(), e.destinationError(dest.AsError(failure)))
	}
	return stored, e.failed(math.MaxInt64)
}

// discardFailed is DiscardSyncErrors.
func (e *engine) discardFailed(ctx context.Context) (discarded int64, err error) {
	var failure error
	if err := e.call(ctx, func() { discarded, failure = e.syncer.discardFailed() }); err != nil {
		return 0, err
	}
	return discarded, failure
}

// drain waits until every row added before is settled, and returns the number
// of the last of them.
func (e *engine) drain(ctx context.Context, reason Reason) (upTo int64, err error) {
	if err := context.Cause(ctx); err != nil {
		return 0, err
	}
	if upTo, err = e.stager.flush(ctx); err != nil {
		return 0, err
	}
	return upTo, e.syncer.await(ctx, reason, upTo)
}

// stop is Stop. The first call does the work, and its context bounds it; the
// others wait for it.
func (e *engine) stop(ctx context.Context) error {
	if e.events.called(ctx) {
		return ErrStopInHook
	}
	first := false
	e.stopping.Do(func() { first = true })
	if first {
		e.shutDown(ctx)
		return e.stopErr
	}
	select {
	case <-e.stopped:
		return e.stopErr
	case <-ctx.Done():
		return fmt.Errorf("memdbwriter: an earlier Stop is still under way: %w", context.Cause(ctx))
	}
}

// shutDown empties the writer as far as ctx allows and ends it.
func (e *engine) shutDown(ctx context.Context) {
	defer close(e.stopped)
	e.front.close()
	upTo, err := e.drain(ctx, ReasonStop)
	if err == nil {
		err = e.failed(upTo)
	} else {
		err = e.unsynced(e.status(), err)
	}
	e.end(errEnded)
	e.workers.Wait()
	e.stopErr = errors.Join(err, e.save(), e.disk.close(), e.sink.Close(), e.store.Close())
	e.tally.stop()
	e.stopErr = errors.Join(e.stopErr, e.events.close(ctx))
	e.logStopped(e.status(), e.stopErr)
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
	if i := slices.IndexFunc(page, func(f stage.Failure) bool { return f.Seq > upTo }); i >= 0 {
		page, count = page[:i], int64(i)
	}
	return e.failedRows(page, count)
}

func (e *engine) status() SyncStatus {
	s, full := e.front.status()
	return e.tally.status(s, full)
}

func (e *engine) stats() Stats {
	s := e.tally.stats()
	s.SyncStatus = e.status()
	e.front.fillStats(&s)
	if e.disk != nil {
		f := e.disk.journal.Figures()
		s.JournalFiles, s.JournalBytes, s.JournalFsyncs = f.Files, f.Bytes, f.Fsyncs
	}
	return s
}

// save leaves on disk what is not in the destination, and is nil only if all of
// it is there. The goroutines have ended.
func (e *engine) save() error {
	d := e.disk
	if d == nil {
		return nil
	}
	// Stop's own context may have ended, which is why there are rows to save.
	ctx, cancel := context.WithTimeout(context.Background(), e.cfg.SyncTimeout)
	defer cancel()
	path, err := d.cfg.CheckpointDir, error(nil)
	if d.recovered.Load() {
		path, err = e.saveAll(ctx)
	} else {
		err = e.saveFront()
	}
	if s := e.status(); err == nil && s.Pending+s.Failed > 0 {
		e.cfg.Logger.Warn("rows saved for the next writer", "table", e.table.String(), "path", path, "waiting", s.Pending, "failed", s.Failed)
	}
	return err
}

// saveAll makes a checkpoint of everything.
func (e *engine) saveAll(ctx context.Context) (path string, err error) {
	if !e.stager.stage(ctx) {
		return "", fmt.Errorf("memdbwriter: rows cannot be staged, and so not be saved in %s: %w", e.cfg.CheckpointDir, context.Cause(ctx))
	}
	select {
	case e.disk.making <- struct{}{}: // whoever made one gives it up
		defer func() { <-e.disk.making }()
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
	return e.disk.make(ctx, e.stager.last, &e.syncer.boundary, &e.syncer.staged)
}

// saveFront leaves new rows on disk that had to wait for the end of a recovery,
// which has not come. Those of earlier writers are there already.
func (e *engine) saveFront() error {
	for _, c := range e.stager.take() {
		if err := e.disk.journal.Keep(c); err != nil {
			return fmt.Errorf("memdbwriter: recovery was not over, and new rows cannot be saved in %s: %w", e.cfg.CheckpointDir, err)
		}
	}
	return nil
}

// persist is Persist.
func (e *engine) persist(ctx context.Context) error {
	if e.disk == nil {
		return errNoDisk
	}
	if !e.disk.rows {
		_, err := e.checkpoint(ctx)
		return err
	}
	if _, err := e.stager.flush(ctx); err != nil {
		return err
	}
	return e.disk.sync(ctx)
}
