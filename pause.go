package memdbwriter

import "context"

// A paused writer takes rows and sends none: for a time in which the destination
// must be left alone, and in which a person looks at what goes wrong.

// pause begins a pause, or gives the one under way another reason.
func (e *engine) pause(reason string) error {
	if e.front.isClosed() {
		return ErrStopped
	}
	begun := e.tally.pause(reason)
	if e.front.isClosed() { // Stop may have resumed before
		e.tally.resume()
		signal(e.syncer.turned)
		return ErrStopped
	}
	if begun {
		e.cfg.Logger.Info("paused", "table", e.table.String(), "reason", reason, "waiting", e.front.waiting())
	}
	signal(e.syncer.turned)
	e.noteState()
	return nil
}

// resume ends a pause.
func (e *engine) resume() {
	if e.tally.resume() {
		e.cfg.Logger.Info("resumed", "table", e.table.String(), "waiting", e.front.waiting())
	}
	signal(e.syncer.turned)
	e.noteState()
}

// awake returns ErrPaused, with the reason, while the writer is paused.
func (e *engine) awake() error { return e.tally.awake() }

// untilPause returns a context that ends with ctx, and when a pause begins, which
// is its cause then: a *pausedError.
func (e *engine) untilPause(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	pausing := e.tally.pausing()
	stop := context.AfterFunc(pausing, func() { cancel(context.Cause(pausing)) })
	return ctx, func() { stop(); cancel(nil) }
}

// pausedCause returns the *pausedError with which a context of untilPause has
// ended, or nil.
func pausedCause(ctx context.Context) error {
	if paused, ok := context.Cause(ctx).(*pausedError); ok {
		return paused
	}
	return nil
}

// pausedAnswer is the error of a call that a pause does not let wait.
func (e *engine) pausedAnswer(pause error) error {
	if s := e.status(); s.Pending > 0 || e.disk != nil && !e.disk.recovered.Load() {
		return e.unsynced(s, pause)
	}
	return pause
}

// pause reports whether the writer was not paused before.
func (t *tally) pause(reason string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	before := t.paused.on
	t.paused.set(true)
	t.pauseReason = reason
	t.beginPause(&pausedError{reason})
	return !before
}

// pausing returns a context that ends when a pause begins, or has ended if one is
// under way.
func (t *tally) pausing() context.Context {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.untilPause
}

// resume reports whether the writer was paused.
func (t *tally) resume() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.endPause()
}

// endPause is called with the mutex, and reports whether there was a pause.
func (t *tally) endPause() bool {
	before := t.paused.on
	t.paused.set(false)
	t.pauseReason = ""
	if before {
		t.untilPause, t.beginPause = context.WithCancelCause(context.Background())
	}
	return before
}

func (t *tally) awake() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.paused.on {
		return nil
	}
	return &pausedError{t.pauseReason}
}

// pausedError is ErrPaused with the reason.
type pausedError struct{ reason string }

func (e *pausedError) Error() string {
	if e.reason == "" {
		return ErrPaused.Error()
	}
	return ErrPaused.Error() + ": " + e.reason
}

func (e *pausedError) Unwrap() error { return ErrPaused }

// Pause stops the sending of rows until Resume or Stop: no further batch is sent,
// failed rows are not tried again, and the destination is not contacted. Batches in
// flight are finished, and those that fail wait, too. Add goes on until the buffer
// is full; checkpoints and the journal go on. ForceSync answers at once with
// ErrPaused, calls under way included. So do the methods that try failed rows
// again; one that is under way answers within a second, and what it has sent is
// finished without it. State is StatePaused, with the reason in
// SyncStatus.PauseReason; pausing a paused writer changes the reason. The error is
// ErrStopped after Stop. Pause does not wait for the batches in flight:
// SyncStatus.Syncing says whether there are any.
func (w *MemoryDBWriter[T]) Pause(reason string) error { return w.use().pause(reason) }

// Resume ends a pause: what waits is sent when it is due, and an attempt that was
// to be repeated is at once. Without a pause it does nothing. Stop resumes, too.
func (w *MemoryDBWriter[T]) Resume() { w.use().resume() }
