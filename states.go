package memdbwriter

import "sync"

// states notices changes of the state, which follows from many things: it is
// looked at whenever one of them may have changed.
type states struct {
	mu      sync.Mutex        // front.mu, tally.mu and arrivals.mu are taken under it
	current func() SyncStatus // nil until the writer is made
	last    State
}

// watch begins to look. The writer has not changed its state before.
func (s *states) watch(current func() SyncStatus) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.current, s.last = current, StateOK
}

// noteState emits an event if the state has changed. Called without a lock of the
// three that the counts need.
func (c *core) noteState() {
	if len(c.hooks.stateChanged) == 0 {
		return
	}
	c.states.mu.Lock()
	defer c.states.mu.Unlock()
	if c.states.current == nil {
		return
	}
	now := c.states.current()
	if now.State == c.states.last {
		return
	}
	change := &StateChange{From: c.states.last, To: now.State, Since: now.Since, Reason: now.PauseReason}
	switch now.State {
	case StateDegraded, StateBlocked:
		change.Err = now.LastError
		if change.Err == nil {
			change.Err = now.DiskError
		}
	}
	c.states.last = now.State
	c.events.emit(change)
}
