package memdbwriter

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// The end of a writer. Stop never waits longer than its context and what is
// granted here, whatever hangs: a driver that does not heed its context, a disk
// that does not answer, a hook that does not return. What hangs is left behind
// with what it uses, which is closed once it returns.

const (
	// stopGrace is how long Stop waits, after its context has ended, for calls
	// to return that were cancelled.
	stopGrace = time.Second
	// savePatience is how long Stop waits for the disk to make the next bytes
	// durable.
	savePatience = 10 * time.Second
)

var (
	// errHangs is why something is left behind.
	errHangs = errors.New("a call to the destination or to the disk has not returned")
	// errSaving is why a save was given up.
	errSaving = fmt.Errorf("the disk has made nothing durable for %v", savePatience)
)

// stop is Stop, or with leave StopNow. The first call begins the end, and its
// context bounds it; the others wait for it.
func (e *engine) stop(ctx context.Context, leave bool) error {
	if e.events.called(ctx) {
		return ErrStopInHook
	}
	first := false
	e.stopping.Do(func() { first = true })
	if first {
		e.shutDown(ctx, leave)
		return e.stopErr
	}
	select {
	case <-e.stopped:
		return e.stopErr
	default:
	}
	select {
	case <-e.stopped:
		return e.stopErr
	case <-ctx.Done():
		return fmt.Errorf("memdbwriter: an earlier Stop is still under way: %w", ended(ctx))
	}
}

// errLeft is why rows are left by StopNow.
var errLeft = errors.New("StopNow leaves them to the next writer")

// shutDown empties the writer as far as ctx allows, unless it is to leave the
// rows, saves the rest, and ends everything.
func (e *engine) shutDown(ctx context.Context, leave bool) {
	defer close(e.stopped)
	e.front.close()
	e.endCalls(ErrStopped)
	err := errLeft
	if !leave {
		e.resume()
		_, err = e.drain(ctx, ReasonStop)
	}
	e.end(errEnded)
	working := after(e.workers.Wait)
	idle := waitFor(ctx, working)
	err = e.outcome(err)
	saved, saveErr := e.lastSave(ctx)
	switch {
	case saveErr != nil || e.disk == nil:
		noteEnd(err, "")
	case leave:
		err = nil
	default:
		noteEnd(err, e.cfg.CheckpointDir)
	}
	released := make(chan error, 1)
	closed := after(func() {
		<-working
		<-saved
		err := e.keepFailures()
		released <- errors.Join(err, e.disk.close(), e.sink.Close(), e.store.Close())
	})
	e.tally.stop()
	e.noteState()
	err = errors.Join(err, saveErr)
	if idle && waitFor(ctx, closed) {
		err = errors.Join(err, <-released)
	} else {
		err = errors.Join(err, fmt.Errorf("memdbwriter: %s at %s: %w", e.table.String(), e.destination, errHangs))
	}
	e.stopErr = errors.Join(err, e.events.close(ctx))
	e.logStopped(e.status(), e.stopErr)
}

// outcome is what Stop says about the rows; cause is why not all were moved.
func (e *engine) outcome(cause error) error {
	failed := e.failed(allRows)
	if s := e.status(); s.Pending > 0 || e.disk != nil && !e.disk.recovered.Load() {
		return errors.Join(e.unsynced(s, cause), failed)
	}
	return failed
}

// after closes the channel when f has returned.
func after(f func()) <-chan struct{} {
	done := make(chan struct{})
	go func() { defer close(done); f() }()
	return done
}

// waitFor waits for done as long as ctx lasts and stopGrace longer, and reports
// whether it is closed.
func waitFor(ctx context.Context, done <-chan struct{}) bool {
	select {
	case <-done:
		return true
	case <-ctx.Done():
	}
	grace := time.NewTimer(stopGrace)
	defer grace.Stop()
	select {
	case <-done:
		return true
	case <-grace.C:
		return false
	}
}

// progress is what the last save reports when bytes have become durable. A nil
// *progress takes no report.
type progress struct{ timer *time.Timer }

func (p *progress) made() {
	if p != nil {
		p.timer.Reset(savePatience)
	}
}

// lastSave leaves on disk what is not in the destination. It goes on as long as
// bytes become durable, also when ctx has ended before, since rows are left
// because of that; if ctx ends meanwhile, so does the save. saved is closed when
// nothing is being saved any more, which may be later than lastSave returns.
func (e *engine) lastSave(ctx context.Context) (saved <-chan struct{}, err error) {
	if e.disk == nil {
		return after(func() {}), nil
	}
	saving, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	if ctx.Err() == nil {
		defer context.AfterFunc(ctx, func() { cancel(ended(ctx)) })()
	}
	p := &progress{time.AfterFunc(savePatience, func() { cancel(errSaving) })}
	defer p.timer.Stop()
	e.disk.progress.Store(p)
	result := make(chan error, 1)
	saved = after(func() { result <- e.save(saving) })
	if waitFor(saving, saved) {
		err = <-result
	} else {
		err = context.Cause(saving)
	}
	s := e.status()
	switch left := s.Pending + s.Failed; {
	case left == 0:
	case err == nil:
		e.cfg.Logger.Warn("rows saved for the next writer", "table", e.table.String(), "path", e.cfg.CheckpointDir, "waiting", s.Pending, "failed", s.Failed)
	default:
		err = fmt.Errorf("memdbwriter: %d rows of %s were not saved in %s: %w", left, e.table.String(), e.cfg.CheckpointDir, err)
	}
	return saved, err
}
