package memdbwriter

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
)

// SyncEvent describes a sync run that has ended, or several whose events were
// merged because OnSync had not returned.
type SyncEvent struct {
	Reason     Reason // of the newest run
	Synced     int64  // rows committed
	Superseded int64  // rows made void by another row of their key, earlier failed ones included
	Skipped    int64  // rows that a trigger of the table cancelled
	Failed     int64  // rows that the destination rejected
	Batches    int64  // batches taken from the buffer
	Duration   time.Duration
	// Err is why the run ended before its goal, as SyncStatus.LastError has it;
	// rows that are left are tried again. Of several runs it is the newest error.
	Err error
	// Merged is how many other events are in this one: its counts and its
	// Duration are sums of Merged+1 runs.
	Merged int64
}

func (ev *SyncEvent) add(n settlement) {
	ev.Synced += n.synced
	ev.Superseded += n.superseded
	ev.Skipped += n.skipped
	ev.Failed += n.rejected
	ev.Batches++
}

// merge adds a newer event.
func (ev *SyncEvent) merge(newer SyncEvent) {
	ev.Reason = newer.Reason
	ev.Synced += newer.Synced
	ev.Superseded += newer.Superseded
	ev.Skipped += newer.Skipped
	ev.Failed += newer.Failed
	ev.Batches += newer.Batches
	ev.Duration += newer.Duration
	ev.Err = cmp.Or(newer.Err, ev.Err)
	ev.Merged += newer.Merged + 1
}

const (
	// maxEvents is how many events wait for a hook; further ones are merged.
	maxEvents = 64
	// eventsAfter is when the first event is delivered if no method of the
	// writer is called.
	eventsAfter = time.Second
)

// events delivers events to Config.OnSync. A nil *events does nothing.
//
// One goroutine calls the hook. It holds no lock, so the hook may call every
// method of the writer. It exists only while an event waits. Nobody waits for
// it but Stop: emit appends to a bounded queue and merges what does not fit.
//
// Nothing is delivered before begin: the first call of a method of the writer
// shows that New has returned and that its caller has the writer, which the
// hook may use.
type events struct {
	hook   func(context.Context, SyncEvent)
	log    *slog.Logger
	panics *panics
	table  string

	ctx   context.Context // the hook's: it ends when nobody waits for the hook any more
	end   context.CancelCauseFunc
	timer *time.Timer // calls begin; nil until New returns
	begun atomic.Bool // written with mu

	mu      sync.Mutex // a leaf
	queue   []SyncEvent
	running bool          // the goroutine exists
	calling bool          // the hook is being called
	closed  bool          // no event is taken any more
	done    chan struct{} // closed when closed and the queue is empty and the goroutine has ended
}

// eventsKey finds, in the hook's context, the events that it belongs to.
type eventsKey struct{}

func newEvents(cfg Config, table string, p *panics) *events {
	if cfg.OnSync == nil {
		return nil
	}
	e := &events{hook: cfg.OnSync, log: cfg.Logger, panics: p, table: table, done: make(chan struct{})}
	e.ctx, e.end = context.WithCancelCause(context.WithValue(context.Background(), eventsKey{}, e))
	return e
}

// called reports whether ctx is that of a call of this writer's hook.
func (e *events) called(ctx context.Context) bool {
	return e != nil && ctx.Value(eventsKey{}) == e
}

// ready is called when New returns.
func (e *events) ready() {
	if e != nil {
		e.timer = time.AfterFunc(eventsAfter, e.begin)
	}
}

// begin delivers from now on.
func (e *events) begin() {
	if e == nil || e.begun.Load() {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.begun.Store(true)
	e.start()
}

// emit queues an event and never waits.
func (e *events) emit(ev SyncEvent) {
	if e == nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	switch n := len(e.queue); {
	case e.closed:
	case n == maxEvents:
		e.queue[n-1].merge(ev)
	default:
		e.queue = append(e.queue, ev)
	}
	e.start()
}

// start starts the goroutine if there is something to deliver, and notes the
// end if nothing will be. Called with the mutex.
func (e *events) start() {
	switch {
	case e.running:
	case len(e.queue) > 0 && e.begun.Load():
		e.running = true
		go e.deliver()
	case e.closed && len(e.queue) == 0:
		e.end(ErrStopped)
		select {
		case <-e.done:
		default:
			close(e.done)
		}
	}
}

// deliver calls the hook until no event waits. A hook that ends the goroutine
// (runtime.Goexit, as t.FailNow does) does not end the delivery.
func (e *events) deliver() {
	defer func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.running, e.calling = false, false
		e.start()
	}()
	for {
		ev, ok := e.next()
		if !ok {
			return
		}
		e.call(ev)
	}
}

// next takes the oldest event.
func (e *events) next() (ev SyncEvent, ok bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.calling = len(e.queue) > 0
	if !e.calling {
		return ev, false
	}
	ev = e.queue[0]
	e.queue = append(e.queue[:0], e.queue[1:]...)
	return ev, true
}

// call calls the hook and survives its panic.
func (e *events) call(ev SyncEvent) {
	defer func() {
		if p := recover(); p != nil {
			e.log.Error("OnSync panicked", "table", e.table, "error", e.panics.survived("OnSync", p), "stack", string(debug.Stack()))
		}
	}()
	e.hook(e.ctx, ev)
}

// close refuses further events and returns when the others are delivered. When
// ctx ends first, those that wait are dropped and the hook's context ends; the
// error says that the hook has not returned.
func (e *events) close(ctx context.Context) error {
	if e == nil {
		return nil
	}
	if e.timer != nil {
		e.timer.Stop()
	}
	e.begin()
	e.mu.Lock()
	e.closed = true
	e.start()
	e.mu.Unlock()
	select {
	case <-e.done:
		return nil
	default:
	}
	select {
	case <-e.done:
		return nil
	case <-ctx.Done():
		return e.giveUp(ctx)
	}
}

// giveUp drops what waits, and returns an error if the hook is being called.
func (e *events) giveUp(ctx context.Context) error {
	dropped, calling := e.drop()
	if dropped > 0 {
		e.log.Warn("sync events dropped", "table", e.table, "events", dropped)
	}
	if !calling {
		return nil
	}
	return fmt.Errorf("memdbwriter: OnSync of %s has not returned: %w", e.table, ended(ctx))
}

func (e *events) drop() (dropped int, calling bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	dropped, e.queue = len(e.queue), nil
	e.end(ErrStopped)
	e.start()
	return dropped, e.calling
}
