package pgdest

import "sync"

// How many batches go by before one is looked at in another way: at first, and
// at most.
const (
	firstDetour = 8
	maxDetour   = 128
)

// choice decides which way a batch tries first. New keys are the rule in a first
// scan, known ones in a re-scan, with rows that mostly changed or mostly did
// not, and all that comes in long runs. So
//
//   - the direct way is tried until it meets a known key
//   - then batches go by upsert, until one had new keys only
//   - the form of the upsert is the one for few changes, until most rows of a
//     batch were written; then the other, and every few batches the first again
//
// A form that cannot tell new keys from changed rows has the direct way tried
// after a number of batches, twice as many after each further conflict; or never
// again, where an attempt in vain costs something. The zero value is ready; it is
// safe for concurrent use.
type choice struct {
	mu     sync.Mutex
	look   bool // an attempt in vain costs something
	known  bool // the last batches had known keys
	left   int  // batches that go by upsert before the next attempt
	detour int  // how many it were at the last conflict
	many   int  // batches that still take the form for many changes
}

// begin is called before the first batch: with look it goes by upsert, because
// an attempt in vain costs something.
func (c *choice) begin(look bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.look = look; look && c.detour == 0 {
		c.known, c.many = true, 1
	}
}

// direct tells whether the next batch tries the direct way.
func (c *choice) direct() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.known
}

// succeeded notes that a batch got through directly.
func (c *choice) succeeded() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.known, c.left, c.detour = false, 0, 0
}

// conflicted notes that a batch met a known key. Batches under way at the
// same time that meet one too count as one.
func (c *choice) conflicted() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.known {
		return
	}
	c.known = true
	c.detour = min(max(2*c.detour, firstDetour), maxDetour)
	c.left = c.detour + 1 // the batch that conflicted goes by upsert, too
}

// changesMuch tells whether the next upsert takes the form for many changes.
func (c *choice) changesMuch() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.many > 0
}

// upserted notes a batch of so many rows, of which so many were inserted or
// updated. fresh: the form counts inserted ones only.
func (c *choice) upserted(rows, n int64, fresh bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case fresh && n == rows:
		c.known = false
	case fresh:
		c.many--
	case 2*n > rows:
		c.many = firstDetour
	}
}

// counted notes a batch whose form tells nothing.
func (c *choice) counted() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.left--; c.left <= 0 && !c.look {
		c.known = false
	}
}
