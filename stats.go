package memdbwriter

import (
	"context"
	"maps"
	"sync"
	"time"

	"github.com/memdbwriter/memdbwriter/internal/dest"
)

// State is what a writer is doing.
type State string

// The states of a writer.
const (
	StateOK       State = "ok"       // nothing is wrong; rows may be waiting for a trigger
	StateSyncing  State = "syncing"  // rows are on their way to the destination
	StateDegraded State = "degraded" // the destination failed in a way that passes; trying again with growing pauses
	StateBlocked  State = "blocked"  // the destination cannot take the rows until somebody mends it; trying again slowly
	StateFull     State = "full"     // the limit on waiting rows is reached and Add waits
	StatePaused   State = "paused"   // Pause was called: nothing is sent until Resume or Stop
	StateStopped  State = "stopped"  // Stop was called
)

// SyncStatus tells where the rows are. The counts are taken at one moment, none
// is negative, and they are exact: each row is in one place only,
//
//	Total + Recovered = Pending + Synced + Superseded + Failed +
//		Skipped + Discarded + Lost + Deleted
type SyncStatus struct {
	Total     int64 // rows taken by Add, AddBatch and TryAdd
	Recovered int64 // rows of earlier writers found on disk, the lost ones included

	Pending    int64 // rows waiting or in flight
	Synced     int64 // rows that the destination has committed, and those it kept its stored row for (unchanged, guarded, ConflictIgnore)
	Superseded int64 // rows never written, since another row of the same key made them void: a newer one, an older one with ConflictIgnore, or one that set the guard
	Failed     int64 // rows that the destination rejected and the writer keeps: SyncErrors lists them
	Skipped    int64 // rows that a trigger of the table cancelled
	Discarded  int64 // failed rows that DiscardSyncErrors gave up
	Lost       int64 // rows that earlier writers left on disk and that cannot be read any more: not counted yet, the log tells of damaged files
	Deleted    int64 // rows that were calls for a delete which the destination has committed

	// Progress is the share of rows that need nothing more (all but the
	// pending and the failed ones), in percent; 100 for a writer without rows.
	Progress float64
	Syncing  bool // a sync run is under way

	State State
	Since time.Time // when State began
	// PauseReason is what Pause was given, while the writer is paused.
	PauseReason string

	// OldestPending is for how long the oldest pending row has waited, 0 if none
	// waits: never less than it has, and at most a sixteenth of SyncInterval more.
	// Rows of earlier writers count from the moment at which they were recovered.
	OldestPending time.Duration
	// Usage is the share of MaxRows or MaxBytes, whichever is closer to its limit,
	// that the pending rows take, from 0 to 1.
	Usage float64
	// NearFull is the warning before StateFull: Usage has reached 0.8, and has not
	// fallen to 0.5 since.
	NearFull bool
	// TimeToFull estimates when Add will wait, if the buffer goes on to fill as it
	// has over the last half minute or so. 0: Add waits; negative: the buffer does
	// not fill.
	TimeToFull time.Duration
	// TimeToDrain estimates how long it takes to move the pending rows, at the rate
	// of the last batches and if no rows come. 0: none is pending; negative: not
	// known, since no batch was stored yet, or because the destination fails.
	TimeToDrain time.Duration

	LastSync       time.Time // end of the last successful batch; zero: never
	LastCheckpoint time.Time // when the last checkpoint was made; zero: never
	DiskError      error     // why rows that should be on disk are in memory only; nil if there is no such row
	LastError      error     // the last error of a sync, nil after a success
	LastErrorAt    time.Time
}

// Stats are the figures of a writer since it was made.
type Stats struct {
	SyncStatus

	PendingBytes int64 // encoded size of the pending rows
	SyncedBytes  int64 // encoded size of the synced and skipped rows
	MemoryBytes  int64 // memory that SQLite holds for waiting and failed rows, measured

	Batches       int64            // transactions committed
	DirectBatches int64            // of them: rows went straight into the table
	PassBatches   int64            // of them: the database told the rows of a refused batch apart
	RoundTrips    int64            // requests to the destination that were waited for
	Retries       int64            // attempts that failed and were repeated
	StandbyWaits  int64            // insert-only transactions found committed whose COMMIT was not answered, and which a synchronous standby did not have yet: their rows are pending until it has
	Rejected      int64            // times that the destination rejected a waiting row; it only grows, while Failed is how many are kept
	Refusals      map[string]int64 // requests that failed, by the class of their SQLSTATE, its first two characters; "": no SQLSTATE
	Times         BatchTimes       // what writing batches was spent with, summed up

	Limits Limits

	Runs     map[Reason]int64         // sync runs by what started them
	RunTime  map[Reason]time.Duration // time spent in them
	SyncTime time.Duration            // time spent in all sync runs
	Uptime   time.Duration            // since the writer was made, until it stopped

	Checkpoints     int64         // checkpoints made
	CheckpointBytes int64         // size of the last one
	CheckpointTime  time.Duration // that the last one took
	JournalFiles    int64         // segments of the journal on disk
	JournalBytes    int64         // size of all of them
	JournalFsyncs   int64         // times that the journal was made durable, or that it failed

	Panics    int64 // panics of hooks, the log handler or the destination that were survived
	LastPanic error // the last of them, with its stack

	Waits    int64         // times that an Add found the buffer full and waited
	WaitTime time.Duration // time that callers spent so, added up
}

// Limits are the limits in force.
type Limits struct {
	MaxRows       int64
	MaxBytes      int64 // 0: none
	MaxFailedRows int64
	BatchRows     int64
	BatchBytes    int64
	Workers       int64
}

func limitsOf(cfg *Config) Limits {
	return Limits{
		MaxRows: int64(cfg.MaxRows), MaxBytes: cfg.MaxBytes, MaxFailedRows: int64(cfg.MaxFailedRows),
		BatchRows: int64(cfg.SyncBatchSize), BatchBytes: maxBatchBytes, Workers: int64(cfg.SyncWorkers),
	}
}

// ledger counts rows by where they are. Every row that came in is in exactly
// one of the places, so what waits is the difference.
type ledger struct {
	added, recovered            int64
	synced, superseded, skipped int64
	failed, discarded           int64
	lost, deleted               int64
	waitingBytes, syncedBytes   int64
	rejections                  int64 // what failed has ever grown by
}

func (l *ledger) waiting() int64 {
	return l.added + l.recovered - l.synced - l.superseded - l.skipped - l.failed - l.discarded - l.lost - l.deleted
}

// settlement is rows that leave the waiting ones or the failed ones. No field
// is negative.
type settlement struct {
	synced, superseded, skipped, discarded int64

	rejected int64 // waiting rows that are failed ones now
	resolved int64 // failed rows that are among those above now

	bytes       int64 // of the waiting rows
	syncedBytes int64 // of the synced and skipped ones
}

// add adds another settlement.
func (s *settlement) add(more settlement) {
	s.synced += more.synced
	s.superseded += more.superseded
	s.skipped += more.skipped
	s.discarded += more.discarded
	s.rejected += more.rejected
	s.resolved += more.resolved
	s.bytes += more.bytes
	s.syncedBytes += more.syncedBytes
}

func (l *ledger) settle(s settlement) {
	l.synced += s.synced
	l.superseded += s.superseded
	l.skipped += s.skipped
	l.discarded += s.discarded
	l.failed += s.rejected - s.resolved
	l.rejections += s.rejected
	l.waitingBytes -= s.bytes
	l.syncedBytes += s.syncedBytes
}

// status fills in the counts of the ledger.
func (l *ledger) status() SyncStatus {
	s := SyncStatus{
		Total: l.added, Recovered: l.recovered, Pending: l.waiting(),
		Synced: l.synced, Superseded: l.superseded, Failed: l.failed, Skipped: l.skipped,
		Discarded: l.discarded, Lost: l.lost, Deleted: l.deleted,
		Progress: 100,
	}
	if all := l.added + l.recovered; all > 0 {
		s.Progress = 100 * float64(all-s.Pending-s.Failed) / float64(all)
	}
	return s
}

// tally is what the syncing side reports about itself. Its mutex is a leaf,
// held for a few assignments.
type tally struct {
	started time.Time
	panics  panics

	mu                           sync.Mutex
	state                        State
	since                        time.Time
	running                      condition // a sync run is under way
	diskFailed                   condition // disk is not nil
	paused                       condition // nothing is sent
	pauseReason                  string
	untilPause                   context.Context // see pausing; beginPause ends it
	beginPause                   context.CancelCauseFunc
	lastSync, lastErrorAt        time.Time
	lastCheckpoint               time.Time
	checkpoints, checkpointBytes int64
	checkpointTime               time.Duration
	disk                         error // why not everything is on disk
	failureLogged                time.Time
	lastError                    error
	batches, direct, pass        int64
	trips, fail, run             int64
	refusals                     map[string]int64 // by the class of their SQLSTATE
	standbyWaits                 int64
	times                        BatchTimes
	pace                         pace // of acknowledged rows, in time that is spent on it
	lastAck                      time.Time
	runs                         map[Reason]int64
	runTime                      map[Reason]time.Duration
	stopped                      time.Time
}

// condition is something that holds or does not, since a moment.
type condition struct {
	on    bool
	since time.Time
}

func (c *condition) set(on bool) {
	if c.on != on {
		c.on, c.since = on, time.Now()
	}
}

func newTally() *tally {
	now := time.Now()
	t := &tally{
		started: now, since: now, state: StateOK,
		runs: map[Reason]int64{}, runTime: map[Reason]time.Duration{}, refusals: map[string]int64{},
		pace: pace{over: 10 * time.Second},
	}
	t.untilPause, t.beginPause = context.WithCancelCause(context.Background())
	return t
}

// setState sets the state. A writer that is stopped stays so, also when a call
// returns that Stop has left behind.
func (t *tally) setState(s State) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.state != s && t.state != StateStopped {
		t.state, t.since = s, time.Now()
	}
}

// well notes that the destination takes rows.
func (t *tally) well() {
	t.setState(StateOK)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lastError = nil
}

func (t *tally) failed(err error, s State) {
	t.setState(s)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lastError, t.lastErrorAt = err, time.Now()
	t.fail++
}

// failureLogDue reports whether a repeated failure may be logged at full level
// again, which it then counts as.
func (t *tally) failureLogDue() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if time.Since(t.failureLogged) < logEvery {
		return false
	}
	t.failureLogged = time.Now()
	return true
}

// stored books one committed transaction.
func (t *tally) stored(r dest.Result) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.batches++
	t.trips += int64(r.RoundTrips)
	t.standbyWaits += int64(r.StandbyWaits)
	switch r.Way {
	case dest.Direct:
		t.direct++
	case dest.Pass:
		t.pass++
	}
	t.lastSync, t.lastError = time.Now(), nil
}

// refused books a call that stored nothing.
func (t *tally) refused(err error, r dest.Result) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.trips += int64(r.RoundTrips)
	t.standbyWaits += int64(r.StandbyWaits)
	state := dest.AsError(err).SQLState
	t.refusals[state[:min(2, len(state))]]++
}

// attempted books what an attempt to write a batch was spent with.
func (t *tally) attempted(times BatchTimes) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.times.add(times)
}

// acknowledged books that rows of a batch have left the memory.
func (t *tally) acknowledged(times BatchTimes, rows int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.times.add(times)
	now := time.Now()
	since := t.lastAck
	if t.running.since.After(since) {
		since = t.running.since
	}
	t.pace.add(float64(rows), now.Sub(since))
	t.lastAck = now
}

// timeToDrain estimates how long so many rows take. Called with the mutex.
func (t *tally) timeToDrain(rows int64) time.Duration {
	switch rate := t.pace.perSecond(); {
	case rows == 0:
		return 0
	case rate <= 0 || t.state != StateOK || t.paused.on:
		return -1
	default:
		return seconds(float64(rows) / rate)
	}
}

// beginRun books a run and returns its number.
func (t *tally) beginRun(r Reason) int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.running.set(true)
	t.runs[r]++
	t.run++
	return t.run
}

// endRun books a run; more says that the next one follows at once.
func (t *tally) endRun(r Reason, took time.Duration, more bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.running.set(more)
	t.runTime[r] += took
}

func (t *tally) stop() {
	t.setState(StateStopped)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stopped = time.Now()
	t.endPause()
}

// setDisk notes what is wrong with the disk, nil if nothing is.
func (t *tally) setDisk(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.disk = err
	t.diskFailed.set(err != nil)
}

func (t *tally) checkpointed(at time.Time, size int64, took time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lastCheckpoint, t.checkpointBytes, t.checkpointTime = at, size, took
	t.checkpoints++
}

// status fills in the state: the first of those below that holds. It began when
// it did, or when the last one above it ended.
func (t *tally) status(s SyncStatus, full condition) SyncStatus {
	t.mu.Lock()
	defer t.mu.Unlock()
	s.Syncing = t.running.on
	s.LastSync, s.LastError, s.LastErrorAt = t.lastSync, t.lastError, t.lastErrorAt
	s.LastCheckpoint, s.DiskError = t.lastCheckpoint, t.disk
	s.State, s.Since = t.state, t.since
	s.TimeToDrain = t.timeToDrain(s.Pending)
	switch {
	case t.state == StateStopped:
		return s
	case t.paused.on:
		s.State, s.Since, s.PauseReason = StatePaused, t.paused.since, t.pauseReason
		return s
	case t.paused.since.After(s.Since):
		s.Since = t.paused.since
	}
	moving := t.running
	if moving.on && s.Pending == 0 { // a run that ends has no rows on their way
		moving = condition{since: t.lastSync}
	}
	for _, c := range []struct {
		state State
		condition
	}{{StateDegraded, t.diskFailed}, {StateFull, full}, {StateSyncing, moving}} {
		if s.State != StateOK {
			break
		}
		if c.since.After(s.Since) {
			s.Since = c.since
		}
		if c.on {
			s.State = c.state
		}
	}
	return s
}

// stats fills in the figures that are not in the ledger.
func (t *tally) stats() Stats {
	panics, lastPanic := t.panics.stats()
	t.mu.Lock()
	defer t.mu.Unlock()
	s := Stats{
		Panics: panics, LastPanic: lastPanic,
		Checkpoints: t.checkpoints, CheckpointBytes: t.checkpointBytes, CheckpointTime: t.checkpointTime,
		Batches: t.batches, DirectBatches: t.direct, PassBatches: t.pass,
		Refusals: maps.Clone(t.refusals), Times: t.times,
		RoundTrips: t.trips, Retries: t.fail, StandbyWaits: t.standbyWaits,
		Runs: map[Reason]int64{}, RunTime: map[Reason]time.Duration{},
		Uptime: time.Since(t.started),
	}
	if !t.stopped.IsZero() {
		s.Uptime = t.stopped.Sub(t.started)
	}
	for r, n := range t.runs {
		s.Runs[r] = n
		s.RunTime[r] = t.runTime[r]
		s.SyncTime += t.runTime[r]
	}
	return s
}
