package memdbwriter

import (
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
	Lost       int64 // rows that earlier writers left on disk and that cannot be read any more
	Deleted    int64 // rows that were calls for a delete which the destination has committed

	// Progress is the share of rows that need nothing more (all but the
	// pending and the failed ones), in percent; 100 for a writer without rows.
	Progress float64
	Syncing  bool // a sync run is under way

	State State
	Since time.Time // when State began

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

	Batches       int64 // transactions committed
	DirectBatches int64 // of them: rows went straight into the table
	RoundTrips    int64 // requests to the destination that were waited for
	Retries       int64 // attempts that failed and were repeated

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

	Panics    int64 // panics of OnSync, the log handler or the destination that were survived
	LastPanic error // the last of them, with its stack

	Waits    int64         // times that an Add found the buffer full and waited
	WaitTime time.Duration // time that callers spent so, added up
}

// ledger counts rows by where they are. Every row that came in is in exactly
// one of the places, so what waits is the difference.
type ledger struct {
	added, recovered            int64
	synced, superseded, skipped int64
	failed, discarded           int64
	lost, deleted               int64
	waitingBytes, syncedBytes   int64
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
	lastSync, lastErrorAt        time.Time
	lastCheckpoint               time.Time
	checkpoints, checkpointBytes int64
	checkpointTime               time.Duration
	disk                         error // why not everything is on disk
	failureLogged                time.Time
	lastError                    error
	batches, direct, trips, fail int64
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
	return &tally{
		started: now, since: now, state: StateOK,
		runs: map[Reason]int64{}, runTime: map[Reason]time.Duration{},
	}
}

// setState reports whether the state changed.
func (t *tally) setState(s State) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.state == s {
		return false
	}
	t.state, t.since = s, time.Now()
	return true
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
	if r.Way == dest.Direct {
		t.direct++
	}
	t.lastSync, t.lastError = time.Now(), nil
}

// refused books a request that stored nothing. How many round trips it took the
// sink does not say.
func (t *tally) refused() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.trips++
}

func (t *tally) beginRun(r Reason) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.running.set(true)
	t.runs[r]++
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
	t.mu.Lock()
	defer t.mu.Unlock()
	s := Stats{
		Checkpoints: t.checkpoints, CheckpointBytes: t.checkpointBytes, CheckpointTime: t.checkpointTime,
		Batches: t.batches, DirectBatches: t.direct,
		RoundTrips: t.trips, Retries: t.fail,
		Runs: map[Reason]int64{}, RunTime: map[Reason]time.Duration{},
		Uptime: time.Since(t.started),
	}
	s.Panics, s.LastPanic = t.panics.stats()
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
