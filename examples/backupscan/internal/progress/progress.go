// Package progress shows a person how far a scan is: a line that is redrawn in
// place on a terminal, and a plain line every few seconds elsewhere.
package progress

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/dustin/go-humanize"
	"github.com/schollz/progressbar/v3"
)

const (
	barInterval  = 200 * time.Millisecond
	lineInterval = 5 * time.Second

	barColumns  = 14 // what the bar adds to a line: a spinner and the time
	lineColumns = 250
)

// State is what is shown.
type State struct {
	Doing     string // the stage: "scanning", "storing"
	Entries   int64  // found so far
	Bytes     int64
	Waiting   int64 // rows that are not stored yet
	Directory string
	Expected  int64 // entries of the last scan; 0 where there was none
}

// Reporter shows the state until it is stopped. Whatever else goes to the same
// output is written through it, so that the two do not mix.
type Reporter struct {
	out     io.Writer
	state   func() State
	bar     *progressbar.ProgressBar // nil: plain lines
	columns int                      // the longest line
	done    chan struct{}
	ended   chan struct{}

	mu sync.Mutex // orders the output
}

// Start begins to show what state returns. Columns is the width of the terminal
// that out is, 0 if it is none. Stop must be called.
func Start(out io.Writer, width func() int, state func() State) *Reporter {
	columns := 0
	if width != nil {
		columns = width()
	}
	r := &Reporter{
		out: out, state: state, columns: lineColumns,
		done: make(chan struct{}), ended: make(chan struct{}),
	}
	interval := lineInterval
	if columns > 0 {
		interval = barInterval
		r.columns = columns - barColumns
		r.bar = progressbar.NewOptions64(-1,
			progressbar.OptionSetWriter(out),
			progressbar.OptionSpinnerType(14),
			progressbar.OptionSetSpinnerChangeInterval(0), // turns when redrawn
			progressbar.OptionSetElapsedTime(true),
			progressbar.OptionThrottle(0),
			progressbar.OptionClearOnFinish())
	}
	go r.run(interval, state())
	return r
}

func (r *Reporter) run(interval time.Duration, last State) {
	defer close(r.ended)
	tick := time.NewTicker(interval)
	defer tick.Stop()
	at := time.Now()
	for {
		select {
		case <-r.done:
			return
		case <-tick.C:
		}
		s, now := r.state(), time.Now()
		rate := float64(s.Entries-last.Entries) / now.Sub(at).Seconds()
		r.show(s, rate)
		// A rate over the last seconds is steadier than one between redraws.
		if now.Sub(at) >= lineInterval {
			last, at = s, now
		}
	}
}

func (r *Reporter) show(s State, rate float64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	text := line(s, rate, r.columns)
	if r.bar != nil {
		r.bar.Describe(text) // draws
		return
	}
	_, _ = fmt.Fprintln(r.out, text) // an output that is gone is no reason to end a scan
}

// line is the state in words, in about so many columns: as much of the
// directory as there is room for.
func line(s State, rate float64, columns int) string {
	text := fmt.Sprintf("%s: %s entries, %s, %s/s, %s waiting",
		s.Doing, humanize.Comma(s.Entries), humanize.IBytes(uint64(s.Bytes)), humanize.Comma(int64(rate)), humanize.Comma(s.Waiting))
	const least = 8
	if room := columns - len(text) - 2; s.Directory != "" && room >= least {
		text += ", " + shorten(s.Directory, room)
	}
	return text
}

// shorten keeps the end of a path, which tells more than its beginning, and
// nothing that a terminal would act upon.
func shorten(path string, room int) string {
	path = strings.Map(func(c rune) rune {
		if !unicode.IsPrint(c) {
			return '?'
		}
		return c
	}, path)
	runes := []rune(path)
	if len(runes) > room {
		return "…" + string(runes[len(runes)-room+1:])
	}
	return path
}

// Write writes a whole line of something else.
func (r *Reporter) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.bar != nil {
		_ = r.bar.Clear()
	}
	return r.out.Write(p)
}

// Stop ends the display and returns when nothing of it runs any more.
func (r *Reporter) Stop() {
	close(r.done)
	<-r.ended
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.bar != nil {
		_ = r.bar.Finish()
	}
}
