package memdbwriter

import (
	"sync"
	"time"
)

// arrivals knows how long rows have been waiting, to a sixteenth of the interval
// that one may wait: never less long than they have.
type arrivals struct {
	grain time.Duration

	mu    sync.Mutex // a leaf
	acked int64      // rows up to here are acknowledged
	marks []arrival  // of the rows behind
}

// arrival says that the rows behind the arrival before it, up to upTo, came at
// this moment or later.
type arrival struct {
	upTo int64
	at   time.Time
}

const maxArrivals = 64

func newArrivals(interval time.Duration) *arrivals { return &arrivals{grain: interval / 16} }

// note is told that rows up to upTo have been staged, of which those that it was
// not told of came at the given moment or later.
func (a *arrivals) note(upTo int64, at time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if upTo <= a.acked {
		return
	}
	if n := len(a.marks); n > 0 && (n == maxArrivals || at.Sub(a.marks[n-1].at) < a.grain) {
		a.marks[n-1].upTo = upTo
		return
	}
	a.marks = append(a.marks, arrival{upTo, at})
}

// acknowledge forgets the rows up to a number, which have left the memory.
func (a *arrivals) acknowledge(upTo int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.acked = upTo
	gone := 0
	for gone < len(a.marks) && a.marks[gone].upTo <= upTo {
		gone++
	}
	a.marks = append(a.marks[:0], a.marks[gone:]...)
}

// oldest is the moment since which the oldest row has waited at most; ok is false
// if no row is staged.
func (a *arrivals) oldest() (at time.Time, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.marks) == 0 {
		return at, false
	}
	return a.marks[0].at, true
}
