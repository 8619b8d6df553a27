package memdbwriter

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/memdbwriter/memdbwriter/internal/dest"
	"github.com/memdbwriter/memdbwriter/internal/stage"
)

// This file is the way out: one goroutine, the syncer, takes batches from the
// staging table and has them written to the destination.
//
//	trigger -> run -> [ load -> flush -> settle ] until the run is over
//
// What happens inside the brackets is in pipeline.go.
//
// A run is over when what was there at its begin has been moved, or with the
// first batch that is settled after a second. If more is due, the next run
// follows at once, and batches that are in flight are its. Calls of others
// (RetrySyncErrors, DiscardSyncErrors) are served between two batches.
//
// Invariants:
//   - Arrival numbers have no gaps but among recovered rows. Everything up to settled is stored, failed
//     or superseded; everything up to staged is in the staging table; what is
//     above is in the front buffer.
//   - A batch is a contiguous range of arrival numbers, and batches are settled
//     in order, so a key's newer row never gets in before its older one.
//   - A row leaves the staging table only after the destination committed it.
//
// Locks: front.mu, tally.mu and the staging store's own are leaves:
// none is held while another is taken or while anything is waited for.

// Reason says what started a sync run.
type Reason string

// The reasons for a sync run.
const (
	ReasonBatchSize Reason = "batch_size_reached"   // SyncBatchSize rows were waiting
	ReasonInterval  Reason = "interval_reached"     // a row had waited for SyncInterval
	ReasonLimit     Reason = "memory_limit_reached" // MaxRows or MaxBytes was reached
	ReasonForce     Reason = "force_sync"           // ForceSync was called
	ReasonStop      Reason = "stop"                 // Stop was called
	ReasonRetry     Reason = "retry"                // the pause after a failed attempt was over
)

const (
	// maxBatchBytes ends a batch of large rows, and starts a run: a larger one
	// is not sent faster, and its memory is not at hand when the next one comes.
	maxBatchBytes = 4 << 20
	// shrinkAfter is how long memory is kept that nothing needs: bursts that follow
	// each other find it.
	shrinkAfter = 5 * time.Second
	// runTime is how long a run goes on launching batches.
	runTime = time.Second
)

// syncer moves rows from the staging table to the destination. The fields
// without a remark belong to its goroutine.
type syncer struct {
	*core
	store  *stage.Store
	front  *front
	reduce *reducer // nil: every row is written
	disk   *disk    // nil: nothing is kept on disk

	stageAll    func(context.Context) (last int64, err error) // stager.flush
	staged      atomic.Int64                                  // written by the stager
	stagedReady chan struct{}                                 // room for one signal
	waiters     *waiters
	arrivals    *arrivals
	turned      chan struct{} // has room for one signal: a pause has begun or ended
	calls       chan func()   // work on what belongs to the syncer, done between two batches

	settled  int64
	landed   []*batch // flushed and not settled
	flying   []*batch // behind them: being flushed, or waiting for a retry
	ready    *batch   // behind them: loaded ahead
	loaded   int64    // the last row in any of them
	underway int64    // the bytes of all of them
	spare    []*batch
	failed   *failedKeys
	attempts int    // failed ones in a row
	held     bool   // the disk made the last of them fail
	call     func() // to be served once nothing is in flight
	interval *time.Timer
	retrying *time.Timer
	again    *time.Timer // see tryAgain

	idle      *time.Timer // see shrink
	shrinking bool        // idle is set

	full     bool // the log says that the buffer is full
	nearFull bool // the log says that it is nearly full

	runNumber int64  // of the run under way, or the last one
	runReason Reason // its reason

	logged time.Time // when a frequent kind of run was last logged at full level
}

func newSyncer(c *core, store *stage.Store, f *front) *syncer {
	s := &syncer{
		core: c, store: store, front: f, failed: newFailedKeys(&c.table), stagedReady: make(chan struct{}, 1), turned: make(chan struct{}, 1),
		waiters: newWaiters(), calls: make(chan func()), arrivals: newArrivals(c.cfg.SyncInterval),
	}
	if c.table.Policy != dest.InsertOnly {
		s.reduce = newReducer(&c.table)
	}
	return s
}

// loop runs until ctx ends. It owns the syncer.
func (s *syncer) loop(ctx context.Context) {
	defer s.waiters.close(ErrStopped)
	s.interval, s.retrying = time.NewTimer(time.Hour), time.NewTimer(time.Hour)
	defer s.interval.Stop()
	defer s.retrying.Stop()
	s.retrying.Stop()
	s.again = time.NewTimer(time.Hour)
	defer s.again.Stop()
	s.again.Stop()
	s.setAgain()
	s.idle = time.NewTimer(shrinkAfter)
	s.shrinking = true
	defer s.idle.Stop()
	if s.unreachable {
		s.attempts = 1
		s.retrying.Reset(retryDelay(1, s.cfg.RetryMaxDelay))
	}
	for {
		reason, ok := s.next(ctx)
		if !ok {
			s.settleStored()
			return
		}
		if err := s.runs(ctx, reason); err != nil && ctx.Err() == nil {
			s.retrying.Reset(s.pause(err))
		}
	}
}

// next waits for the reason of a run; there is none any more when ctx has ended.
// While the destination fails, only a retry, a ForceSync and a Stop are one;
// during a pause nothing is.
func (s *syncer) next(ctx context.Context) (Reason, bool) {
	for ctx.Err() == nil {
		failing := func() bool { return s.attempts > 0 && s.tally.awake() == nil }
		if reason, due := s.due(); due && s.attempts == 0 {
			return reason, true
		}
		s.setInterval()
		select {
		case <-ctx.Done():
		case <-s.waiters.asked:
			s.waiters.notify(s.settled, nil)
			if failing() && s.waiters.highest() > s.settled {
				return s.waiters.reason(), true
			}
		case <-s.turned:
			if failing() || len(s.flying) > 0 && s.tally.awake() == nil {
				return ReasonRetry, true
			}
		case <-s.retrying.C:
			if failing() {
				return ReasonRetry, true
			}
		case <-s.again.C:
			if s.tryAgain(ctx) && failing() {
				return ReasonRetry, true
			}
		case <-s.interval.C:
		case <-s.front.limitHit:
			s.logLimit()
		case call := <-s.calls:
			call()
			if failing() { // what kept it from going on may be mended
				return ReasonRetry, true
			}
		case <-s.stagedReady:
			s.logLimit()
		case <-s.idle.C:
			s.shrink()
		}
	}
	return "", false
}

// due is the reason for a run now, if there is one.
func (s *syncer) due() (Reason, bool) {
	switch {
	case s.tally.awake() != nil:
		return "", false
	case s.waiters.highest() > s.settled:
		return s.waiters.reason(), true
	case s.fullBatch(s.settled):
		return ReasonBatchSize, true
	case s.attempts == 0 && s.front.pressed():
		return ReasonLimit, true
	}
	oldest, waiting := s.arrivals.oldest()
	return ReasonInterval, waiting && time.Since(oldest) >= s.cfg.SyncInterval
}

// setInterval sets the timer to the moment at which the oldest row has waited
// for SyncInterval.
func (s *syncer) setInterval() {
	if oldest, waiting := s.arrivals.oldest(); waiting && s.attempts == 0 && s.tally.awake() == nil {
		s.interval.Reset(time.Until(oldest.Add(s.cfg.SyncInterval)))
	} else {
		s.interval.Stop()
	}
}

// fullBatch reports whether the staged rows behind the given one, which are all
// or those that are not loaded, are as many or as large as a batch may be.
func (s *syncer) fullBatch(after int64) bool {
	bytes := s.store.Counts().Bytes
	if after == s.loaded {
		bytes -= s.underway
	}
	return s.staged.Load()-after >= int64(s.cfg.SyncBatchSize) || bytes >= maxBatchBytes
}

// runs makes one run after the other as long as one is due. It returns with
// nothing in flight.
func (s *syncer) runs(ctx context.Context, reason Reason) error {
	s.beginRun(reason)
	for {
		var more bool
		var err error
		if reason, more, err = s.run(ctx, reason); err != nil || !more {
			return err
		}
		select {
		case <-s.again.C:
			s.tryAgain(ctx)
		default:
		}
		s.beginRun(reason)
	}
}

// beginRun books a run, whose batches carry its number and its reason.
func (s *syncer) beginRun(reason Reason) {
	s.runNumber, s.runReason = s.tally.beginRun(reason), reason
	s.noteState()
}

// run makes one run, and returns whether the next one follows, and its reason.
// The error says why rows are left that it should have moved.
func (s *syncer) run(ctx context.Context, reason Reason) (next Reason, more bool, err error) {
	start := time.Now()
	ev := SyncEvent{Run: s.runNumber, Reason: reason}
	s.cfg.Logger.Debug("sync started", "table", s.table.String(), "reason", string(reason), "waiting", s.front.waiting())
	upTo := s.goalOf(ctx, reason)
	if reason == ReasonRetry && s.quiet() && upTo <= s.settled {
		if err = s.tally.awake(); err == nil {
			err = s.look(ctx)
		}
		if err == nil {
			s.recovered()
		}
	} else {
		err = s.move(ctx, &ev, goal{upTo: upTo, until: start.Add(runTime)})
	}
	if _, paused := err.(*pausedError); paused { // what it keeps back is no failure
		err = nil
	}
	s.waiters.notify(s.settled, nil)
	if err == nil {
		next, more = s.due()
		if !more && (s.inFlight() || !s.quiet() && s.tally.awake() == nil) {
			next, more = reason, true
		}
	} else if ev.Err = err; !errors.Is(err, errNotHeld) {
		ev.Err = s.destinationError(dest.AsError(err))
	}
	s.shrinkLater()
	ev.Duration = time.Since(start)
	s.tally.endRun(reason, ev.Duration, more)
	s.report(ev)
	s.events.emit(&ev)
	s.noteState()
	return next, more, err
}

// quiet reports that no batch is in flight or ready to be.
func (s *syncer) quiet() bool { return len(s.flying)+len(s.landed) == 0 && s.ready == nil }

// goalOf is the last row that a run of this reason must move: every row that is
// in the buffer now, or every full batch of them.
func (s *syncer) goalOf(ctx context.Context, reason Reason) int64 {
	switch reason {
	case ReasonForce, ReasonStop:
		return s.waiters.highest()
	case ReasonBatchSize:
		batch := int64(s.cfg.SyncBatchSize)
		return s.settled + max(1, (s.staged.Load()-s.settled)/batch*batch)
	}
	if s.disk != nil && !s.disk.recovered.Load() {
		return s.staged.Load() // the stager is busy, perhaps until this has made room
	}
	// If the stager is in trouble, what is staged has to do.
	ctx, cancel := context.WithTimeout(ctx, stageRetry)
	defer cancel()
	if upTo, err := s.stageAll(ctx); err == nil {
		return upTo
	}
	return s.staged.Load()
}

// goal is when a run is over.
type goal struct {
	upTo   int64     // when these rows are settled,
	until  time.Time // or after this moment, when the next batch is
	finish bool      // not before nothing is in flight, and nothing else is begun
}

// over reports whether a run is.
func (s *syncer) over(g goal) bool { return s.settled >= g.upTo || time.Now().After(g.until) }

// wanted reports whether rows behind the given one are to be moved too: for this
// run, or for the one that follows.
func (s *syncer) wanted(g goal, after int64) bool {
	return !g.finish && s.tally.awake() == nil && (g.upTo > after || s.waiters.highest() > after ||
		s.attempts == 0 && s.fullBatch(after))
}

// shrinkLater has shrink called after a while.
func (s *syncer) shrinkLater() {
	if !s.shrinking {
		s.idle.Reset(shrinkAfter)
		s.shrinking = true
	}
}

// shrink gives memory back that nothing has needed for a while: SQLite's, and, if
// no row has come, the buffers.
func (s *syncer) shrink() {
	s.shrinking = false
	idle := s.front.shrink()
	if idle {
		s.spare = nil
	}
	more, err := s.store.Shrink()
	if err != nil {
		s.cfg.Logger.Warn("staging memory not given back", "table", s.table.String(), "error", err)
	}
	if more || !idle {
		s.shrinkLater()
	}
}

// pause books a failed run and returns how long to wait before the next one.
func (s *syncer) pause(err error) time.Duration {
	s.attempts++
	if s.held = errors.Is(err, errNotHeld); s.held {
		s.tally.failed(err, StateDegraded)
		return diskRetry
	}
	delay, err := s.attemptFailed(err, s.attempts, s.front.waiting())
	if errors.Is(err, ErrDestination) {
		s.waiters.giveUp(err)
	}
	return delay
}

// recovered ends a series of failed attempts.
func (s *syncer) recovered() {
	if s.attempts > 0 && !s.held {
		s.cfg.Logger.Info("destination is back", "table", s.table.String(), "destination", s.destination, "attempts", s.attempts)
	}
	s.attempts = 0
	s.tally.well()
	s.noteState()
}
