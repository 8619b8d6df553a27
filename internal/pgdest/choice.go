package pgdest

import "sync"

// How many batches take the upsert way after a conflict: at first, and at
// most.
const (
	firstDetour = 8
	maxDetour   = 128
)

// choice decides which way a batch tries first. New keys are the rule in a
// first scan, known ones in a re-scan, and both come in long runs. So the
// direct way is tried until it meets a known key; then a number of batches go
// by upsert, and twice as many after each further conflict, until a batch gets
// through directly. The zero value is ready; it is safe for concurrent use.
type choice struct {
	mu     sync.Mutex
	left   int // batches that go by upsert before the next attempt
	detour int // how many it were at the last conflict
}

// direct tells whether the next batch tries the direct way.
func (c *choice) direct() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.left == 0 {
		return true
	}
	c.left--
	return false
}

// succeeded notes that a batch got through directly.
func (c *choice) succeeded() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.left, c.detour = 0, 0
}

// conflicted notes that a batch met a known key. Batches under way at the
// same time that meet one too count as one.
func (c *choice) conflicted() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.left > 0 {
		return
	}
	c.detour = min(max(2*c.detour, firstDetour), maxDetour)
	c.left = c.detour
}
