package main

import "time"

// progressEvery is how often a replay says how far it is.
const progressEvery = 5 * time.Second

// progress says now and then how many rows of all are done. It is a line of text
// each time, which suits a terminal, a log and a pager.
type progress struct {
	note       func(format string, args ...any)
	now        func() time.Time
	all, done  int64
	begun, due time.Time
}

func newProgress(c *console, all int64) *progress {
	p := &progress{note: c.note, now: time.Now, all: all}
	p.begun = p.now()
	p.due = p.begun.Add(progressEvery)
	return p
}

// add counts n rows more.
func (p *progress) add(n int) {
	p.done += int64(n)
	now := p.now()
	if now.Before(p.due) || p.done >= p.all {
		return
	}
	p.due = now.Add(progressEvery)
	rate := float64(p.done) / now.Sub(p.begun).Seconds()
	left := time.Duration(float64(p.all-p.done) / rate * float64(time.Second))
	p.note("%d of %d rows, %.0f rows/s, about %s left", p.done, p.all, rate, left.Round(time.Second))
}
