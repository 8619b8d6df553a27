package memdbwriter

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/memdbwriter/memdbwriter/internal/dest"
	"github.com/memdbwriter/memdbwriter/internal/stage"
)

// This file is the way out: one goroutine, the syncer, takes batches from the
// staging table and writes them to the destination.
//
//	trigger -> run -> [ load -> flush -> settle ] until the run's goal is met
//	                    ^ the next full batch is loaded while one is flushed
//
// Invariants:
//   - Arrival numbers have no gaps. Everything up to settled is stored, failed
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

// SyncEvent describes a sync run that has ended.
type SyncEvent struct {
	Reason     Reason
	Synced     int64 // rows committed in this run
	Superseded int64 // rows replaced by newer ones before they were sent
	Failed     int64 // rows that the destination refused
	Batches    int64 // batches taken from the buffer
	Duration   time.Duration
	Err        error // why the run ended before its goal; rows that are left will be tried again
}

const (
	// maxBatchBytes bounds the memory of a batch of large rows.
	maxBatchBytes = 64 << 20
	// trimAbove is the memory that SQLite may keep when nothing waits.
	trimAbove = 8 << 20
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

	staged      atomic.Int64  // written by the stager
	stagedReady chan struct{} // room for one signal
	asked       chan struct{} // room for one signal: goals is not empty
	mu          sync.Mutex
	goals       []*goal // guarded by mu

	settled  int64
	current  *batch // taken and not settled: being flushed, or waiting for a retry
	loading  chan *batch
	spare    []*batch
	attempts int // failed ones in a row

	logged time.Time // when a frequent kind of run was last logged at full level
}

func newSyncer(c *core, store *stage.Store, f *front) *syncer {
	s := &syncer{core: c, store: store, front: f, stagedReady: make(chan struct{}, 1), asked: make(chan struct{}, 1)}
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
	if !failing && s.waiting() >= int64(s.cfg.SyncBatchSize) {
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
		return ReasonInterval, !failing && s.front.last() > s.settled
	case <-s.front.limitHit:
		return ReasonLimit, !failing && s.front.pressed()
	case <-s.stagedReady:
		return "", false
	}
}

// waiting is the number of staged rows that are not settled.
func (s *syncer) waiting() int64 { return s.staged.Load() - s.settled }

// run moves batches until the goal of the reason, and every goal asked for
// meanwhile, is met. The error says why it is not.
func (s *syncer) run(ctx context.Context, reason Reason) error {
	start := time.Now()
	ev := SyncEvent{Reason: reason}
	upTo := s.front.last()
	s.tally.beginRun(reason)
	s.cfg.Logger.Debug("sync started", "table", s.table.String(), "reason", string(reason), "waiting", upTo-s.settled)
	for ev.Err == nil && s.more(reason, upTo) {
		ev.Err = s.one(ctx, &ev)
	}
	s.settleLoading()
	s.answerReached()
	s.trim()
	ev.Duration = time.Since(start)
	s.tally.endRun(reason, ev.Duration)
	s.report(ev)
	if s.cfg.OnSync != nil {
		s.cfg.OnSync(ev)
	}
	return ev.Err
}

// more reports whether the run has work left.
func (s *syncer) more(reason Reason, upTo int64) bool {
	if g := s.highestGoal(); g > s.settled {
		return true
	}
	if reason == ReasonBatchSize {
		return s.waiting() >= int64(s.cfg.SyncBatchSize)
	}
	return upTo > s.settled
}

// one moves one batch, or waits for the stager if nothing is staged.
func (s *syncer) one(ctx context.Context, ev *SyncEvent) error {
	if s.current == nil {
		b, err := s.load(ctx)
		if err != nil || b == nil {
			return err
		}
		s.current = b
	}
	b := s.current
	s.prefetch(b.hi)
	if err := b.flush.run(ctx); err != nil {
		return err
	}
	if err := s.settle(b, ev); err != nil {
		return err
	}
	s.recovered()
	s.answerReached()
	return nil
}

// load returns the next batch, or nil after waiting for the stager.
func (s *syncer) load(ctx context.Context) (*batch, error) {
	if s.loading != nil {
		b := <-s.loading
		s.loading = nil
		if b != nil {
			return b, nil
		}
	}
	if s.waiting() == 0 {
		select {
		case <-s.stagedReady:
			return nil, nil
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	return s.read(s.spareBatch(), s.settled)
}

// read takes the batch behind the given arrival number and prepares it.
func (s *syncer) read(b *batch, after int64) (*batch, error) {
	if err := s.store.Read(after, s.cfg.SyncBatchSize, maxBatchBytes, &b.Batch); err != nil {
		return nil, fmt.Errorf("memdbwriter: cannot read the staging table: %w", err)
	}
	if b.Len() == 0 {
		return nil, errors.New("memdbwriter: the staging table lost rows")
	}
	b.prepare(s.core, s.reduce)
	return b, nil
}

// prefetch starts to load the batch behind hi while another one is flushed,
// if there is a full one. Its error shows when the batch is loaded for real.
func (s *syncer) prefetch(hi int64) {
	if s.loading != nil || s.staged.Load()-hi < int64(s.cfg.SyncBatchSize) {
		return
	}
	loading, b := make(chan *batch, 1), s.spareBatch()
	s.loading = loading
	go func() {
		b, err := s.read(b, hi)
		if err != nil {
			b = nil
		}
		loading <- b
	}()
}

// settleLoading waits for a prefetched batch, so that no goroutine outlives a
// run. The batch stays the next one if the run ended in order; after a failed
// attempt it is still behind the current one, and stays too.
func (s *syncer) settleLoading() {
	if s.loading == nil {
		return
	}
	b := <-s.loading
	s.loading <- b
}

func (s *syncer) spareBatch() *batch {
	if k := len(s.spare); k > 0 {
		b := s.spare[k-1]
		s.spare = s.spare[:k-1]
		return b
	}
	return &batch{}
}

// settle takes a flushed batch out of the staging table and books its rows.
func (s *syncer) settle(b *batch, ev *SyncEvent) error {
	if err := s.store.Settle(s.settled+1, b.hi, b.flush.failures()); err != nil {
		return fmt.Errorf("memdbwriter: cannot take synced rows out of the staging table: %w", err)
	}
	s.settled = b.hi
	n := b.settlement()
	s.front.settle(n)
	ev.Synced += n.synced
	ev.Failed += n.failed
	ev.Superseded += n.superseded
	ev.Batches++
	s.logRefusals(b.flush.refused)
	s.current = nil
	s.spare = append(s.spare, b)
	return nil
}

// trim gives SQLite's memory back once nothing waits.
func (s *syncer) trim() {
	memory, err := s.store.Memory()
	if err == nil && s.waiting() == 0 && memory > trimAbove {
		if err = s.store.Trim(); err == nil {
			memory, err = s.store.Memory()
		}
	}
	if err != nil {
		s.cfg.Logger.Warn("staging memory not given back", "table", s.table.String(), "error", err)
		return
	}
	s.tally.setMemory(memory)
}

// pause books a failed run and returns how long to wait before the next one.
func (s *syncer) pause(err error) time.Duration {
	s.attempts++
	delay, err := s.attemptFailed(err, s.attempts, s.front.last()-s.settled)
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
