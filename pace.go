package memdbwriter

import (
	"math"
	"time"
)

// pace is the rate of something, averaged so that what is older than over counts
// ever less.
type pace struct {
	over   time.Duration
	rate   float64 // per second, times weight
	weight float64 // 1 once over has passed many times
}

// add adds n that took d.
func (p *pace) add(n float64, d time.Duration) {
	if d <= 0 {
		d = time.Microsecond
	}
	w := -math.Expm1(-d.Seconds() / p.over.Seconds())
	p.rate += w * (n/d.Seconds() - p.rate)
	p.weight += w * (1 - p.weight)
}

// perSecond is 0 before the first add.
func (p *pace) perSecond() float64 {
	if p.weight == 0 {
		return 0
	}
	return p.rate / p.weight
}

// seconds is a duration of s seconds, the longest one if that is longer.
func seconds(s float64) time.Duration {
	if s >= math.MaxInt64/float64(time.Second) {
		return math.MaxInt64
	}
	return time.Duration(s * float64(time.Second))
}

// filling is how fast the memory fills.
type filling struct {
	at                  time.Time // of the last observation
	rows, bytes         int64     // that waited then
	rowsPace, bytesPace pace
}

// observeEvery is the shortest time between two observations: moments say
// nothing.
const observeEvery = 100 * time.Millisecond

func newFilling() filling {
	over := pace{over: 30 * time.Second}
	return filling{at: time.Now(), rowsPace: over, bytesPace: over}
}

func (f *filling) observe(l *ledger) {
	took := time.Since(f.at)
	if took < observeEvery {
		return
	}
	f.rowsPace.add(float64(l.waiting()-f.rows), took)
	f.bytesPace.add(float64(l.waitingBytes-f.bytes), took)
	f.at, f.rows, f.bytes = time.Now(), l.waiting(), l.waitingBytes
}

// timeToFull estimates when no row fits any more; negative if that is not to be
// expected.
func (f *filling) timeToFull(front *front) time.Duration {
	if front.full {
		return 0
	}
	d := f.rowsPace.timeTo(front.maxRows - front.ledger.waiting())
	if front.maxBytes > 0 {
		if bytes := f.bytesPace.timeTo(front.maxBytes - front.ledger.waitingBytes); d < 0 || bytes >= 0 && bytes < d {
			d = bytes
		}
	}
	return d
}

// timeTo is how long n more take; negative if n only shrinks.
func (p *pace) timeTo(n int64) time.Duration {
	rate := p.perSecond()
	if rate <= 0 {
		return -1
	}
	return seconds(float64(max(n, 0)) / rate)
}
