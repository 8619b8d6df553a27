package dest

import (
	"context"
	"sync"
	"time"
)

// Phase is what a call of a Sink spends its time with.
type Phase uint8

const (
	PhaseServer     Phase = iota // until the database answers
	PhaseConnecting              // until there is a connection, or the file is free
	PhaseSending                 // while rows are handed to the connection
	phases
)

// Clock splits the time of the calls of a Sink that have its context. It is safe
// for concurrent use.
type Clock struct {
	mu    sync.Mutex
	phase Phase
	since time.Time
	spent [phases]time.Duration
}

type clockKey struct{}

// WithClock returns a context whose calls of Enter turn the clock, which begins
// now, in PhaseServer.
func WithClock(ctx context.Context) (context.Context, *Clock) {
	c := &Clock{since: time.Now()}
	return context.WithValue(ctx, clockKey{}, c), c
}

// Enter is called by a Sink when a phase begins, and with PhaseServer when it is
// over. Without a clock it does nothing.
func Enter(ctx context.Context, p Phase) {
	if c, _ := ctx.Value(clockKey{}).(*Clock); c != nil {
		c.enter(p)
	}
}

func (c *Clock) enter(p Phase) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	c.spent[c.phase] += now.Sub(c.since)
	c.phase, c.since = p, now
}

// Spent returns how long the phase has lasted in total.
func (c *Clock) Spent(p Phase) time.Duration {
	c.enter(PhaseServer)
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.spent[p]
}
