package memdbwriter

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// maxEvents is how many events wait for a hook; further ones are merged.
	maxEvents = 64
	// eventsAfter is when the first event is delivered if no method of the
	// writer is called.
	eventsAfter = time.Second
)

// event is something that hooks are told.
type event interface {
	// calls are the calls of the hooks that want to know.
	calls(h *hooks) []hookCall
	// merge adds a newer event, and reports whether it is of the same kind. The
	// queue is full, or it is not; then most events stay by themselves.
	merge(newer event, full bool) bool
}

// hookCall is one call of a hook.
type hookCall struct {
	method string
	call   func(context.Context)
}

// events delivers events to hooks. A nil *events does nothing.
//
// One goroutine calls the hooks. It holds no lock, so a hook may call every
// method of the writer. It exists only while an event waits. Nobody waits for
// it but Stop: emit appends to a bounded queue and merges what does not fit.
//
// Nothing is delivered before begin: the first call of a method of the writer
// shows that New has returned and that its caller has the writer, which a
// hook may use.
type events struct {
	hooks  *hooks
	log    *slog.Logger
	panics *panics
	table  string

	ctx   context.Context // the hooks': it ends when nobody waits for them any more
	end   context.CancelCauseFunc
	timer *time.Timer // calls begin; nil until New returns
	begun atomic.Bool // written with mu

	mu      sync.Mutex // a leaf
	queue   []event
	left    []hookCall    // of the event that was taken last
	running bool          // the goroutine exists
	calling string        // the method that is being called; empty: none is
	closed  bool          // no event is taken any more
	done    chan struct{} // closed when closed and the queue is empty and the goroutine has ended
}

// eventsKey finds, in a hook's context, the events that it belongs to.
type eventsKey struct{}

func newEvents(h *hooks, log *slog.Logger, table string, p *panics) *events {
	if !h.queued() {
		return nil
	}
	e := &events{hooks: h, log: log, panics: p, table: table, done: make(chan struct{})}
	e.ctx, e.end = context.WithCancelCause(context.WithValue(context.Background(), eventsKey{}, e))
	return e
}

// called reports whether ctx is that of a call of one of this writer's hooks.
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
func (e *events) emit(ev event) {
	if e == nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return
	}
	merged, full := false, len(e.queue) >= maxEvents
	for i := len(e.queue) - 1; i >= 0 && !merged; i-- {
		merged = e.queue[i].merge(ev, full)
	}
	if !merged {
		e.queue = append(e.queue, ev)
	}
	e.start()
}

// start starts the goroutine if there is something to deliver, and notes the
// end if nothing will be. Called with the mutex.
func (e *events) start() {
	switch {
	case e.running:
	case len(e.queue)+len(e.left) > 0 && e.begun.Load():
		e.running = true
		go e.deliver()
	case e.closed && len(e.queue)+len(e.left) == 0:
		e.end(ErrStopped)
		select {
		case <-e.done:
		default:
			close(e.done)
		}
	}
}

// deliver calls hooks until no event waits. A hook that ends the goroutine
// (runtime.Goexit, as t.FailNow does) does not end the delivery.
func (e *events) deliver() {
	defer func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.running, e.calling = false, ""
		e.start()
	}()
	for {
		c, ok := e.next()
		if !ok {
			return
		}
		guardHook(e.log, e.panics, e.table, c.method, func() { c.call(e.ctx) })
	}
}

// next takes the next call, of the oldest event that has one left.
func (e *events) next() (c hookCall, ok bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.calling = ""
	for len(e.left) == 0 {
		if len(e.queue) == 0 {
			return c, false
		}
		e.left = e.queue[0].calls(e.hooks)
		e.queue = slices.Delete(e.queue, 0, 1)
	}
	c, e.left = e.left[0], e.left[1:]
	e.calling = c.method
	return c, true
}

// guardHook calls a method of a hook and survives its panic.
func guardHook(log *slog.Logger, p *panics, table, method string, call func()) {
	defer func() {
		if v := recover(); v != nil {
			log.Error("hook panicked", "table", table, "hook", method, "error", p.survived(method, v), "stack", string(debug.Stack()))
		}
	}()
	call()
}

// close refuses further events and returns when the others are delivered. When
// ctx ends first, those that wait are dropped and the hooks' context ends; the
// error says which hook has not returned.
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

// giveUp drops what waits, and returns an error if a hook is being called.
func (e *events) giveUp(ctx context.Context) error {
	dropped, calling := e.drop()
	if dropped > 0 {
		e.log.Warn("events dropped", "table", e.table, "events", dropped)
	}
	if calling == "" {
		return nil
	}
	return fmt.Errorf("memdbwriter: the hook %s of %s has not returned: %w", calling, e.table, ended(ctx))
}

func (e *events) drop() (dropped int, calling string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	dropped, e.queue, e.left = len(e.queue), nil, nil
	e.end(ErrStopped)
	e.start()
	return dropped, e.calling
}
