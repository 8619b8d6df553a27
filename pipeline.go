package memdbwriter

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/memdbwriter/memdbwriter/internal/dest"
	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

// The pipeline: while up to SyncWorkers batches fly, each flushed by a
// goroutine of its own, the syncer loads and prepares the next one and settles
// the ones before. Batches are settled in order, and no key is in two batches
// that fly, so with several connections too a key's rows do not overtake each
// other.
//
//	staging table -> ready -> flying -> landed -> settled

// finish moves what is in flight, or was left there by an earlier failure. During
// a pause that ends with ErrPaused, and sends nothing.
func (s *syncer) finish(ctx context.Context) error {
	if err := s.tally.awake(); err != nil {
		return err
	}
	if err := s.move(ctx, &SyncEvent{}, goal{finish: true}); err != nil {
		return err
	}
	return s.tally.awake()
}

// inFlight reports whether a goroutine has a batch, or one has come back that is
// not settled.
func (s *syncer) inFlight() bool {
	return len(s.landed) > 0 || slices.ContainsFunc(s.flying, func(b *batch) bool { return b.outcome != nil })
}

// ground waits for the goroutines of the batches that fly. The batches stay, with
// their progress.
func (s *syncer) ground() {
	for _, b := range s.flying {
		if b.outcome != nil {
			<-b.outcome
			b.outcome = nil
		}
	}
}

// move flushes and settles batches: those in flight, then those that are wanted.
// It returns when the run is over, perhaps with batches in flight, or with an
// error and no goroutine left. After an error what has not been settled stays
// where it is, with its progress. The error is a *pausedError if a pause keeps
// back what an earlier failure has left.
func (s *syncer) move(ctx context.Context, ev *SyncEvent, g goal) (err error) {
	defer func() {
		if err != nil {
			s.ground()
			s.serve()
		}
	}()
	var noMore error // why no further batch is launched; those under way go on
	for {
		s.launchAll(ctx)
		// A batch is launched before the one ahead of it is settled, so that
		// the destination does not wait for that.
		if noMore == nil && s.call == nil && !g.finish {
			noMore = s.topUp(ctx, g)
		}
		if len(s.landed) > 0 {
			if err := s.settle(ev); err != nil {
				return err
			}
			if s.call == nil && !g.finish && s.over(g) {
				return nil
			}
			continue
		}
		var outcome <-chan error
		if len(s.flying) > 0 {
			if outcome = s.flying[0].outcome; outcome == nil { // for a pause, unless that has just ended
				if err := s.tally.awake(); err != nil {
					return err
				}
				continue
			}
		} else if s.call != nil {
			s.serve()
			continue
		} else if noMore != nil || !s.wanted(g, s.settled) {
			return noMore
		}
		var calls <-chan func()
		if s.call == nil && !g.finish {
			calls = s.calls
		}
		select {
		case err := <-outcome:
			if s.flying[0].outcome = nil; err != nil {
				return err
			}
			s.landed = append(s.landed, s.flying[0])
			s.flying = slices.Delete(s.flying, 0, 1) // which lets go of the batch, too
		case s.call = <-calls: // once nothing is in flight
		case <-s.stagedReady: // perhaps there is a batch to load now
			s.logLimit()
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// settleStored settles what was stored before ctx ended, so that it is not saved
// as rows that wait.
func (s *syncer) settleStored() {
	for len(s.flying) > 0 && len(s.flying[0].flush.todo) == 0 {
		s.landed = append(s.landed, s.flying[0])
		s.flying = s.flying[1:]
	}
	for len(s.landed) > 0 {
		if err := s.settle(&SyncEvent{}); err != nil {
			s.cfg.Logger.Error("stored rows count as waiting", "table", s.table.String(), "error", err)
			return
		}
	}
}

// serve serves the call that waits, if one does.
func (s *syncer) serve() {
	if call := s.call; call != nil {
		s.call = nil
		call()
	}
}

// topUp loads the next batch if it is due, and launches it if it may fly, as
// long as both hold.
func (s *syncer) topUp(ctx context.Context, g goal) error {
	for s.tally.awake() == nil {
		if s.ready == nil {
			if due, err := s.load(ctx, g); err != nil || !due {
				return err
			}
		}
		if len(s.flying) >= s.cfg.SyncWorkers || s.collides(s.ready) || len(s.flying) > 0 && !dest.ExactKeys(s.sink) {
			return nil
		}
		if s.tally.awake() != nil { // since it was loaded, which waits for the disk
			return nil
		}
		s.launch(ctx, s.ready)
		s.flying = append(s.flying, s.ready)
		s.ready = nil
	}
	return nil
}

// load makes the batch behind those that fly ready, and reports whether there
// is one. A batch that is not full has to wait until nothing flies: more rows
// may have come by then.
func (s *syncer) load(ctx context.Context, g goal) (bool, error) {
	if s.staged.Load() == s.loaded || len(s.flying) > 0 && !s.fullBatch(s.loaded) || !s.wanted(g, s.loaded) {
		return false, nil
	}
	if failed := s.store.Counts().FailedRows; failed >= int64(s.cfg.MaxFailedRows) {
		return false, tooManyFailed(failed)
	}
	b := &batch{}
	if k := len(s.spare); k > 0 {
		b, s.spare = s.spare[k-1], s.spare[:k-1]
	}
	err := s.read(&b.Batch)
	if err == nil {
		err = s.disk.ahead(ctx, b.Rows[b.Len()-1].Seq)
	}
	if err != nil {
		s.spare = append(s.spare, b)
		return false, err
	}
	step("batch loaded")
	b.prepare(s.core, s.reduce)
	if s.cfg.SyncWorkers > 1 && s.reduce != nil {
		b.hashKeys(s.table.Keys)
	}
	s.ready, s.loaded = b, b.hi
	s.underway += b.readBytes
	return true, nil
}

// keepSpare keeps the memory of a batch for another one, unless only a huge row
// needed that.
func (s *syncer) keepSpare(b *batch) {
	if cap(b.Data) <= 2*maxBatchBytes {
		s.spare = append(s.spare, &batch{Batch: b.Batch})
	}
}

// read takes the next rows from the staging table.
func (s *syncer) read(into *tuple.Batch) error {
	if err := s.store.Read(s.loaded, s.cfg.SyncBatchSize, maxBatchBytes, into); err != nil {
		return fmt.Errorf("memdbwriter: cannot read the staging table: %w", err)
	}
	into.Rows = into.Rows[:upToSeq(into, s.staged.Load())] // the stager has not told of what is behind
	if into.Len() == 0 {
		return errors.New("memdbwriter: the staging table lost rows")
	}
	return nil
}

// collides reports whether a key of b is in a batch that flies.
func (s *syncer) collides(b *batch) bool {
	for _, f := range s.flying {
		for k := range b.keys {
			if _, ok := f.keys[k]; ok {
				return true
			}
		}
	}
	return false
}

// launchAll launches the batches that no goroutine has: all of them, unless
// their keys may be equal without being the same bytes, and none during a pause.
func (s *syncer) launchAll(ctx context.Context) {
	if s.tally.awake() != nil {
		return
	}
	for i, b := range s.flying {
		if b.outcome == nil && (i == 0 || dest.ExactKeys(s.sink)) {
			s.launch(ctx, b)
		}
	}
}

// launch has the batch flushed by a goroutine, which move waits for.
func (s *syncer) launch(ctx context.Context, b *batch) {
	b.run, b.reason = s.runNumber, s.runReason
	s.disk.askAhead()
	b.outcome = apart(func() error { return s.writeBatch(ctx, b) })
}

// settle takes the first of the landed batches out of the staging table and
// books its rows.
func (s *syncer) settle(ev *SyncEvent) error {
	start := time.Now()
	b := s.landed[0]
	j, err := s.failed.judge(b.flush, s.failure)
	if err != nil {
		return err
	}
	// In this order all can be repeated, should one fail.
	if err := s.store.Amend(j.gone, j.left); err != nil {
		return fmt.Errorf("memdbwriter: cannot take superseded rows out of the failed ones: %w", err)
	}
	if err := s.store.Settle(b.hi, j.kept); err != nil {
		return fmt.Errorf("memdbwriter: cannot take synced rows out of the staging table: %w", err)
	}
	step("batch out of memory")
	s.disk.amend(j.gone, j.left)
	s.disk.settle(b.hi, j.kept)
	step("batch settled")
	s.settled = b.hi
	s.failed.update(j.kept, j.gone)
	n := b.flush.settlement(b.read, b.readBytes, len(j.kept), len(j.gone))
	s.logLimit()
	s.front.settle(n)
	s.arrivals.acknowledge(s.settled)
	s.logFailed(b.flush.failed)
	s.emitFailed(j.kept)
	s.landed = slices.Delete(s.landed, 0, 1)
	s.underway -= b.readBytes
	s.keepSpare(b)
	s.recovered()
	s.waiters.notify(s.settled, nil)
	took := BatchTimes{Acknowledging: time.Since(start)}
	b.times.add(took)
	s.tally.acknowledged(took, b.read)
	ev.add(n, b)
	s.noteState()
	return nil
}
