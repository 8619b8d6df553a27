package memdbwriter

import (
	"context"
	"math"
	"slices"
	"sync"
)

// waiters are the callers who wait until every row up to a sequence number has
// left the memory. Each gets one answer, those too who come after the last one.
type waiters struct {
	asked chan struct{} // has room for one signal: somebody has come

	mu   sync.Mutex // a leaf
	list []*waiter
	last error // the answer to everybody from now on; nil while the syncer runs
}

type waiter struct {
	upTo   int64
	reason Reason
	done   chan error // receives the answer; has room for it
}

func newWaiters() *waiters { return &waiters{asked: make(chan struct{}, 1)} }

// wait asks for the rows up to upTo to be moved and returns when they are, when
// the syncer gives up on them, or when ctx ends.
func (w *waiters) wait(ctx context.Context, reason Reason, upTo int64) error {
	me := &waiter{upTo: upTo, reason: reason, done: make(chan error, 1)}
	if err := w.register(me); err != nil {
		return err
	}
	select {
	case err := <-me.done:
		return err
	case <-ctx.Done():
		w.forget(me)
		return ended(ctx)
	}
}

func (w *waiters) register(me *waiter) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.last != nil {
		return w.last
	}
	w.list = append(w.list, me)
	signal(w.asked)
	return nil
}

func (w *waiters) forget(me *waiter) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.list = slices.DeleteFunc(w.list, func(other *waiter) bool { return other == me })
}

// highest is the row up to which somebody waits, 0 if nobody does.
func (w *waiters) highest() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	var highest int64
	for _, other := range w.list {
		highest = max(highest, other.upTo)
	}
	return highest
}

// reason is the reason of a run for their sake.
func (w *waiters) reason() Reason {
	w.mu.Lock()
	defer w.mu.Unlock()
	if slices.ContainsFunc(w.list, func(other *waiter) bool { return other.reason == ReasonStop }) {
		return ReasonStop
	}
	return ReasonForce
}

// notify answers those who wait for rows up to upTo at most.
func (w *waiters) notify(upTo int64, answer error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.answer(upTo, answer)
}

// giveUp answers all who wait now.
func (w *waiters) giveUp(answer error) { w.notify(math.MaxInt64, answer) }

// close answers all who wait and all who will.
func (w *waiters) close(answer error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.last = answer
	w.answer(math.MaxInt64, answer)
}

// answer is called with the mutex.
func (w *waiters) answer(upTo int64, answer error) {
	w.list = slices.DeleteFunc(w.list, func(other *waiter) bool {
		if other.upTo > upTo {
			return false
		}
		other.done <- answer
		return true
	})
}
