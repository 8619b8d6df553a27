package ogtest

import (
	"sync"
	"time"
)

// Clock is time for the server's timeouts, which stands still until a test
// moves it on.
type Clock struct {
	mu     sync.Mutex
	now    time.Duration
	timers map[*fakeTimer]struct{}
}

type fakeTimer struct {
	at time.Duration
	f  func()
}

// NewClock returns a clock that stands still.
func NewClock() *Clock { return &Clock{timers: map[*fakeTimer]struct{}{}} }

// Advance moves the clock, and has run what was due when it returns. A session
// that answered the client's last request is idle by then.
func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	c.now += d
	var due []func()
	for t := range c.timers {
		if t.at <= c.now {
			due = append(due, t.f)
			delete(c.timers, t)
		}
	}
	c.mu.Unlock()
	for _, f := range due {
		f()
	}
}

// afterFunc calls f in d from now, unless stop is called before, which returns
// whether it came in time. A nil clock is that of the machine.
func (c *Clock) afterFunc(d time.Duration, f func()) (stop func() bool) {
	if c == nil {
		return time.AfterFunc(d, f).Stop
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	t := &fakeTimer{at: c.now + d, f: f}
	c.timers[t] = struct{}{}
	return func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		_, waiting := c.timers[t]
		delete(c.timers, t)
		return waiting
	}
}
