package memdbwriter

import (
	"cmp"
	"context"
	"time"
)

// The kinds of events, and what becomes of two of a kind when the queue is full.

// SyncEvent describes a sync run that has ended, or several whose events were
// merged because a hook had not returned.
type SyncEvent struct {
	Run        int64  // number of the newest run, from 1
	Reason     Reason // of the newest run
	Synced     int64  // rows committed
	Superseded int64  // rows made void by another row of their key, earlier failed ones included
	Skipped    int64  // rows that a trigger of the table cancelled
	Failed     int64  // rows that the destination rejected
	Batches    int64  // batches taken from the buffer
	Bytes      int64  // encoded size of the rows in them
	RoundTrips int64  // requests to the destination that were waited for
	Duration   time.Duration
	Times      BatchTimes // of the batches; several workers spend them at the same time
	// Err is why the run ended before its goal, as SyncStatus.LastError has it;
	// rows that are left are tried again. Of several runs it is the newest error.
	Err error
	// Merged is how many other events are in this one: its counts and its
	// Duration are sums of Merged+1 runs.
	Merged int64
}

// add adds an acknowledged batch.
func (ev *SyncEvent) add(n settlement, b *batch) {
	ev.Synced += n.synced
	ev.Superseded += n.superseded
	ev.Skipped += n.skipped
	ev.Failed += n.rejected
	ev.Batches++
	ev.Bytes += n.bytes
	ev.RoundTrips += b.trips
	ev.Times.add(b.times)
}

func (ev *SyncEvent) calls(h *hooks) (calls []hookCall) {
	for _, hook := range h.syncEnd {
		method := "OnSyncEnd"
		if _, ok := hook.(onSync); ok {
			method = "OnSync"
		}
		calls = append(calls, hookCall{method, func(ctx context.Context) { hook.OnSyncEnd(ctx, *ev) }})
	}
	return calls
}

func (ev *SyncEvent) merge(event event, full bool) bool {
	newer, ok := event.(*SyncEvent)
	if !ok || !full {
		return false
	}
	ev.Run, ev.Reason = newer.Run, newer.Reason
	ev.Synced += newer.Synced
	ev.Superseded += newer.Superseded
	ev.Skipped += newer.Skipped
	ev.Failed += newer.Failed
	ev.Batches += newer.Batches
	ev.Bytes += newer.Bytes
	ev.RoundTrips += newer.RoundTrips
	ev.Times.add(newer.Times)
	ev.Duration += newer.Duration
	ev.Err = cmp.Or(newer.Err, ev.Err)
	ev.Merged += newer.Merged + 1
	return true
}

// maxFailedEvents is how many rejected rows wait for their hooks.
const maxFailedEvents = 4096

// rowsFailed is an event of rows that the destination rejected together.
type rowsFailed []RowFailed

// newRowsFailed counts the rows that are too many.
func newRowsFailed(rows []RowFailed) *rowsFailed {
	ev := rowsFailed(rows)
	ev.trim()
	return &ev
}

func (ev *rowsFailed) trim() {
	rows := *ev
	if len(rows) <= maxFailedEvents {
		return
	}
	last := &rows[maxFailedEvents-1]
	for i := range rows[maxFailedEvents:] {
		last.Merged += 1 + rows[maxFailedEvents+i].Merged
	}
	clear(rows[maxFailedEvents:])
	*ev = rows[:maxFailedEvents]
}

func (ev *rowsFailed) calls(h *hooks) (calls []hookCall) {
	for _, row := range *ev {
		for _, hook := range h.rowFailed {
			calls = append(calls, hookCall{"OnRowFailed", func(ctx context.Context) { hook.OnRowFailed(ctx, row) }})
		}
	}
	return calls
}

// merge keeps all rows that wait together, so that their number is bounded.
func (ev *rowsFailed) merge(event event, _ bool) bool {
	newer, ok := event.(*rowsFailed)
	if ok {
		*ev = append(*ev, *newer...)
		ev.trim()
	}
	return ok
}

func (c *StateChange) calls(h *hooks) (calls []hookCall) {
	for _, hook := range h.stateChanged {
		calls = append(calls, hookCall{"OnStateChanged", func(ctx context.Context) { hook.OnStateChanged(ctx, *c) }})
	}
	return calls
}

func (c *StateChange) merge(event event, full bool) bool {
	newer, ok := event.(*StateChange)
	if !ok || !full {
		return false
	}
	from, merged := c.From, c.Merged
	*c = *newer
	c.From, c.Merged = from, merged+newer.Merged+1
	return true
}

func (w *AddWait) calls(h *hooks) (calls []hookCall) {
	for _, hook := range h.addWaited {
		calls = append(calls, hookCall{"OnAddWaited", func(ctx context.Context) { hook.OnAddWaited(ctx, *w) }})
	}
	return calls
}

func (w *AddWait) merge(event event, full bool) bool {
	newer, ok := event.(*AddWait)
	if !ok || !full {
		return false
	}
	w.Rows += newer.Rows
	w.Waited += newer.Waited
	w.Err = cmp.Or(newer.Err, w.Err)
	w.Merged += newer.Merged + 1
	return true
}

func (c *CheckpointEnd) calls(h *hooks) (calls []hookCall) {
	for _, hook := range h.checkpointEnd {
		calls = append(calls, hookCall{"OnCheckpointEnd", func(ctx context.Context) { hook.OnCheckpointEnd(ctx, *c) }})
	}
	return calls
}

func (c *CheckpointEnd) merge(event event, full bool) bool {
	newer, ok := event.(*CheckpointEnd)
	if !ok || !full {
		return false
	}
	merged := c.Merged
	*c = *newer
	c.Merged += merged + 1
	return true
}

func (r *Recovered) calls(h *hooks) (calls []hookCall) {
	for _, hook := range h.recovered {
		calls = append(calls, hookCall{"OnRecovered", func(ctx context.Context) { hook.OnRecovered(ctx, *r) }})
	}
	return calls
}

// merge is never of use: there is one such event.
func (*Recovered) merge(event, bool) bool { return false }
