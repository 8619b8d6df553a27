package memdbwriter

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/memdbwriter/memdbwriter/internal/dest"
	"github.com/memdbwriter/memdbwriter/internal/stage"
)

// This file is the way out: one goroutine, the syncer, takes batches from the
// staging table and has them written to the destination.
//
//	trigger -> run -> [ load -> flush -> settle ] until the run's goal is met
//
// What happens inside the brackets is in pipeline.go.
//
// Invariants:
//   - Arrival numbers have no gaps but among recovered rows. Everything up to settled is stored, failed
//     or superseded; everything up to staged is in the staging table; what is
//     above is in the front buffer.
//   - A batch is a contiguous range of arrival numbers, and batches are settled
//     in order, so a key's newer row never gets in before its older one.
//   - A row leaves the staging table only after the destination committed it.
//
// Locks: front.mu, tally.mu, syncer.mu and the staging store's own are leaves:
// none is held while another is taken or while anything is waited for.

// Reason says what started a sync run.
type Reason string

// The reasons for a sync run.
const (
	ReasonBatchSize Reason = "batch_size_reached"   // SyncBatchSize rows were waiting
	ReasonInterval  Reason = "interval_reached"     // SyncInterval passed since the last run
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
)

// goal is what somebody waits for: every row up to upTo is out of the memory.
type goal struct {
	upTo   int64
	reason Reason
	done   chan error // receives the outcome; has room for it
}

// syncer moves rows from the staging table to the destination. The fields
// without a remark belong to its goroutine.
type syncer struct {
	*core
	store  *stage.Store
	front  *front
	reduce *reducer // nil: every row is written
	disk   *disk    // nil: nothing is kept on disk

	boundary boundary

	stageAll    func(context.Context) (last int64, err error) // stager.flush
	staged      atomic.Int64                                  // written by the stager
	stagedReady chan struct{}                                 // room for one signal
	asked       chan struct{}                                 // room for one signal: goals is not empty
	calls       chan func()                                   // work on what belongs to the syncer, done between two runs
	mu          sync.Mutex
	goals       []*goal // guarded by mu

	settled  int64
	landed   []*batch // flushed and not settled
	flying   []*batch // behind them: being flushed, or waiting for a retry
	ready    *batch   // behind them: loaded ahead
	loaded   int64    // the last row in any of them
	underway int64    // the bytes of all of them
	spare    []*batch
	air      sync.WaitGroup // the goroutines of the flying batches
	failed   *failedKeys
	attempts int // failed ones in a row

	idle      *time.Timer // see shrink
	shrinking bool        // idle is set

	full bool // the log says that the buffer is full

	logged time.Time // when a frequent kind of run was last logged at full level
}

func newSyncer(c *core, store *stage.Store, f *front) *syncer {
	s := &syncer{
		core: c, store: store, front: f, failed: newFailedKeys(c.table.ReplaceKeys()), stagedReady: make(chan struct{}, 1),
		asked: make(chan struct{}, 1), calls: make(chan func()),
	}
	if c.table.Policy != dest.InsertOnly {
		s.reduce = newReducer(&c.table)
	}
	return s
}

// loop runs until ctx ends. It owns the syncer.
func (s *syncer) loop(ctx context.Context) {
	interval := time.NewTimer(s.cfg.SyncInterval)
	defer interval.Stop()
	retry := time.NewTimer(time.Hour)
	retry.Stop()
	defer retry.Stop()
	s.idle = time.NewTimer(shrinkAfter)
	s.shrinking = true
	defer s.idle.Stop()
	for ctx.Err() == nil {
		reason, due := s.next(ctx, interval.C, retry.C)
		if due {
			retry.Stop()
			if err := s.run(ctx, reason); err != nil && ctx.Err() == nil {
				retry.Reset(s.pause(err))
			}
		}
		if due || reason == ReasonInterval {
			interval.Reset(s.cfg.SyncInterval)
		}
	}
	s.answer(context.Cause(ctx))
}

// next waits for a trigger and reports whether it calls for a run. While the
// destination fails, only a retry, a ForceSync and a Stop do.
func (s *syncer) next(ctx context.Context, interval, retry <-chan time.Time) (Reason, bool) {
	failing := s.attempts > 0
	if !failing && s.fullBatch(s.settled) {
		return ReasonBatchSize, true
	}
	select {
	case <-ctx.Done():
		return "", false
	case <-s.asked:
		s.answerReached()
		return s.goalReason(), s.highestGoal() > s.settled
	case <-retry:
		return ReasonRetry, true
	case <-interval:
		return ReasonInterval, !failing && s.front.waiting() > 0
	case <-s.front.limitHit:
		s.logLimit()
		return ReasonLimit, s.front.pressed() && !failing
	case call := <-s.calls:
		call()
		return ReasonRetry, failing // what kept it from going on may be mended
	case <-s.stagedReady:
		return "", false
	case <-s.idle.C:
		s.shrink()
		return "", false
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

// run moves batches until the goal of the reason, and every goal asked for
// meanwhile, is met. The error says why it is not.
func (s *syncer) run(ctx context.Context, reason Reason) error {
	start := time.Now()
	ev := SyncEvent{Reason: reason}
	upTo := s.goalOf(ctx, reason)
	s.tally.beginRun(reason)
	s.cfg.Logger.Debug("sync started", "table", s.table.String(), "reason", string(reason), "waiting", s.front.waiting())
	err := s.move(ctx, &ev, func(after int64) bool { return s.wanted(reason, upTo, after) })
	if err != nil {
		ev.Err = s.destinationError(dest.AsError(err))
	}
	s.answerReached()
	s.tally.setMemory(s.store.Memory())
	s.shrinkLater()
	ev.Duration = time.Since(start)
	s.tally.endRun(reason, ev.Duration)
	s.report(ev)
	s.events.emit(ev)
	return err
}

// goalOf is the last row that a run of this reason must move: every row that
// is in the buffer now. Goals and full batches speak for themselves.
func (s *syncer) goalOf(ctx context.Context, reason Reason) int64 {
	if reason == ReasonBatchSize || reason == ReasonForce || reason == ReasonStop {
		return 0
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

// wanted reports whether a run moves rows behind the given one too.
func (s *syncer) wanted(reason Reason, upTo, after int64) bool {
	if s.highestGoal() > after {
		return true
	}
	if reason == ReasonBatchSize {
		return s.fullBatch(after)
	}
	return upTo > after
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
	s.tally.setMemory(s.store.Memory())
}

// pause books a failed run and returns how long to wait before the next one.
func (s *syncer) pause(err error) time.Duration {
	s.attempts++
	delay, err := s.attemptFailed(err, s.attempts, s.front.waiting())
	if errors.Is(err, ErrDestination) {
		s.answer(err)
	}
	return delay
}

// recovered ends a series of failed attempts.
func (s *syncer) recovered() {
	if s.attempts > 0 {
		s.cfg.Logger.Info("destination is back", "table", s.table.String(), "destination", s.destination, "attempts", s.attempts)
		s.attempts = 0
	}
	s.tally.setState(StateOK)
}
