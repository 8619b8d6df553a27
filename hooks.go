package memdbwriter

import (
	"context"
	"fmt"
	"time"

	"github.com/memdbwriter/memdbwriter/internal/dest"
	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

// Hook is told what a writer does. A hook is a value that implements at least
// one of the interfaces that begin with Hook, each of which has one method; the
// writer finds them by type assertion, so that a hook implements what it wants to
// know, and new interfaces break no hook.
//
// There are two kinds of hook. Those on a batch's way, HookBatchStart and
// HookBatchEnd, are called synchronously by the goroutine that writes the batch:
// the batch waits for them, with several SyncWorkers they are called concurrently,
// and they must not call the writer, which may be waiting for them.
//
// All others are called by one goroutine, one call at a time, in the order of what
// happened, and nothing waits for them but Stop. They may call every method of the
// writer but Stop, which answers with ErrStopInHook if it gets ctx. While a call has
// not returned, further events wait in a bounded queue. Once it is full, an
// event is merged with the newest one of its kind that waits, and counts it in Merged;
// rejected rows always are, so that they may be told before what happened between them and
// those that wait already. The first call
// comes after New has returned and a method of the writer was called, or a second
// after New. ctx ends when Stop does not wait any longer.
//
// No lock is held during a call. A hook that panics is reported in the log and in
// Stats.Panics, and the writer goes on.
type Hook any

// HookBatchStart is called before each attempt to write a batch, and for failed
// rows that are tried again. What it returns is the context that acquiring a
// connection and the statements see, so that the spans of a tracer nest: its
// values count; cancellation and deadline remain those of ctx. Nil stands for
// ctx.
type HookBatchStart interface {
	OnBatchStart(ctx context.Context, b BatchStart) context.Context
}

// HookBatchEnd is called after each attempt to write a batch, with the context
// that the HookBatchStarts made. The rows are not acknowledged yet: they still
// count as pending.
type HookBatchEnd interface {
	OnBatchEnd(ctx context.Context, b BatchEnd)
}

// HookSyncEnd is called after every sync run, as Config.OnSync is.
type HookSyncEnd interface {
	OnSyncEnd(ctx context.Context, ev SyncEvent)
}

// HookRowFailed is called for every row that the destination rejects, once it is
// among the failed rows, and again each time that trying it again fails. No more
// than 4,096 rows wait for a call; RowFailed.Merged counts those beyond, which
// SyncErrors lists as all others.
type HookRowFailed interface {
	OnRowFailed(ctx context.Context, row RowFailed)
}

// HookStateChanged is called when SyncStatus.State has changed. A state that
// ends before the writer looks, which is when a batch is acknowledged, a run
// begins or ends, or a limit or an error is met, may be left out.
type HookStateChanged interface {
	OnStateChanged(ctx context.Context, c StateChange)
}

// HookAddWaited is called when a call of Add or AddBatch that found the buffer
// full has ended. BatchDBWriter, whose Add writes the batch itself, does not call
// it.
type HookAddWaited interface {
	OnAddWaited(ctx context.Context, w AddWait)
}

// HookCheckpointEnd is called when a checkpoint was made, or could not be.
type HookCheckpointEnd interface {
	OnCheckpointEnd(ctx context.Context, c CheckpointEnd)
}

// HookRecovered is called once, when all rows that an earlier writer left on disk
// are in the buffer. It is not called if there were none.
type HookRecovered interface {
	OnRecovered(ctx context.Context, r Recovered)
}

// BatchStart is a batch about to be written.
type BatchStart struct {
	Table       string
	Destination string
	Run         int64  // number of the sync run that launched the batch, from 1; 0 for failed rows that are tried again
	Reason      Reason // of that run
	FirstSeq    int64  // sequence numbers of its first
	LastSeq     int64  // and last row
	Rows        int64  // rows that the batch took from the buffer
	Bytes       int64  // their encoded size
	Attempt     int    // how many attempts there were to write this batch, this one included
	Start       time.Time
}

// BatchEnd is an attempt to write a batch that has ended.
type BatchEnd struct {
	BatchStart

	Way        Way   // the most expensive way that some rows took; empty if none was stored
	RoundTrips int64 // requests to the destination that were waited for
	Stored     int64 // rows that the attempt stored, the skipped ones included
	Rejected   int64 // rows that the destination rejected in this attempt

	Duration time.Duration // the whole attempt
	Times    BatchTimes    // what it was spent with

	// Err is why the batch is not written and will be tried again, nil if it is:
	// rejected rows are no error of their batch. SQLState is the five-character code of Err,
	// whose first two are its class, if the database gave one.
	Err      error
	SQLState string
}

// BatchTimes splits the time that batches took.
type BatchTimes struct {
	Connecting    time.Duration // until the pool gave a connection, or another writer the SQLite file
	Sending       time.Duration // while rows were handed to the connection
	Server        time.Duration // until the database answered
	Acknowledging time.Duration // taking the rows out of the buffer and noting it on disk; zero in a BatchEnd
}

func (t *BatchTimes) add(more BatchTimes) {
	t.Connecting += more.Connecting
	t.Sending += more.Sending
	t.Server += more.Server
	t.Acknowledging += more.Acknowledging
}

// Way is how the rows of a batch got into the table.
type Way string

// The ways of a batch, from the cheapest to the most expensive.
const (
	WayDirect Way = "direct" // straight in: every key was new
	WayUpsert Way = "upsert" // through the conflict clause: in PostgreSQL by way of a temporary table
	WayPass   Way = "pass"   // the batch was refused, and the database told its rows apart in one pass
)

// costlier returns the more expensive one of two ways.
func costlier(a, b Way) Way {
	if a == WayPass || b == WayPass {
		return WayPass
	}
	return max(a, b) // empty, direct, upsert
}

// RowFailed is a row that the destination rejected.
type RowFailed struct {
	Seq         int64     // its sequence number, as in FailedRow.Seq
	Err         *RowError // table, key, column, constraint, SQLSTATE and reason
	Attempts    int       // how often it was rejected
	First, Last time.Time // when
	Merged      int64     // how many other rows were rejected for which there is no call, since too many wait for one

	table *dest.Table
	row   []byte
}

// JSON returns the row as an object: columns and their values, without the columns
// that the row leaves out. Binary values are in base64; times, UUIDs and what JSON has
// no number for are text, as in Query's answers.
func (r RowFailed) JSON() ([]byte, error) {
	b, err := tuple.Object(tupleColumns(r.table), r.row)
	if err != nil {
		return nil, fmt.Errorf("memdbwriter: row %d of %s as JSON: %w", r.Seq, r.table.String(), err)
	}
	return b, nil
}

// StateChange is a change of SyncStatus.State.
type StateChange struct {
	From, To State
	Since    time.Time // when To began
	Err      error     // why, if To is degraded or blocked
	Reason   string    // what Pause was given, if To is paused
	Merged   int64     // how many other changes lie between From and To
}

// AddWait is a call of Add or AddBatch that waited for room in the buffer.
type AddWait struct {
	Rows   int64         // rows that waited
	Waited time.Duration // how long
	Err    error         // why some of them are not in the buffer; nil: they are
	Merged int64         // how many other calls are in this one: Rows and Waited are sums
}

// CheckpointEnd is a checkpoint that was made, or failed.
type CheckpointEnd struct {
	Path     string // empty if it failed
	Rows     int64  // waiting rows in it
	Failed   int64  // failed rows in it
	Bytes    int64
	Duration time.Duration
	Err      error
	Merged   int64 // how many older events this one stands for
}

// Recovered says what an earlier writer had left on disk.
type Recovered struct {
	Rows     int64 // waiting rows
	Failed   int64 // failed rows
	Duration time.Duration
}

// hooks are the hooks of a writer by what they implement. A nil *hooks has none.
type hooks struct {
	batchStart []HookBatchStart
	batchEnd   []HookBatchEnd

	syncEnd       []HookSyncEnd
	rowFailed     []HookRowFailed
	stateChanged  []HookStateChanged
	addWaited     []HookAddWaited
	checkpointEnd []HookCheckpointEnd
	recovered     []HookRecovered
}

// onSync makes Config.OnSync a hook.
type onSync func(context.Context, SyncEvent)

func (f onSync) OnSyncEnd(ctx context.Context, ev SyncEvent) { f(ctx, ev) }

// findHooks sorts the hooks of a Config, and names the one that is none.
func findHooks(cfg *Config) (*hooks, error) {
	h := &hooks{}
	for i, hook := range cfg.Hooks {
		if !h.add(hook) {
			return nil, fmt.Errorf("value %d of Hooks is a %T, which has no method of a Hook interface: check its name, its parameters, and whether its receiver is a pointer", i, hook)
		}
	}
	if cfg.OnSync != nil {
		h.add(onSync(cfg.OnSync))
	}
	return h, nil
}

// add adds a hook under each interface that it implements, and reports whether it
// implements any.
func (h *hooks) add(hook Hook) bool {
	found := addHook(&h.batchStart, hook)
	found = addHook(&h.batchEnd, hook) || found
	found = addHook(&h.syncEnd, hook) || found
	found = addHook(&h.rowFailed, hook) || found
	found = addHook(&h.stateChanged, hook) || found
	found = addHook(&h.addWaited, hook) || found
	found = addHook(&h.checkpointEnd, hook) || found
	return addHook(&h.recovered, hook) || found
}

func addHook[H any](list *[]H, hook Hook) bool {
	h, ok := hook.(H)
	if ok {
		*list = append(*list, h)
	}
	return ok
}

// queued reports whether some hook is called by the events' goroutine.
func (h *hooks) queued() bool {
	return len(h.syncEnd)+len(h.rowFailed)+len(h.stateChanged)+len(h.addWaited)+len(h.checkpointEnd)+len(h.recovered) > 0
}
