package journal_test

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"syscall"
	"testing"

	"github.com/memdbwriter/memdbwriter/internal/journal"
	"github.com/memdbwriter/memdbwriter/internal/journal/faultfs"
)

func random(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 0)) }

// state is where a row is.
type state int

const (
	waiting state = iota + 1
	failed
	stored
)

// history is a writer's life, and what its journal has to know.
type history struct {
	t   *testing.T
	r   *rand.Rand
	cfg journal.Config
	fs  *faultfs.FS
	w   *journal.Writer

	rows     map[int64]state
	promised map[int64]state // rows when Sync returned nil last
	written  map[int64]state // rows when that or Complete did
	last     int64
	settled  int64
}

// faults makes every operation fail now and then.
type faults struct {
	mu   sync.Mutex
	r    *rand.Rand
	rate int // one in so many; 0 is never
}

func (f *faults) fault(op faultfs.Op, _ string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.rate == 0 || f.r.IntN(f.rate) > 0 || op == faultfs.Open || op == faultfs.Read:
		return nil
	case op == faultfs.Write:
		return faultfs.Short{N: f.r.IntN(300), Err: syscall.ENOSPC}
	default:
		return syscall.EIO
	}
}

func TestRandomHistories(t *testing.T) {
	for seed := range uint64(400) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			h := &history{t: t, r: random(seed), rows: map[int64]state{}, promised: map[int64]state{}, written: map[int64]state{}, fs: newFS()}
			h.cfg = config(nil)
			h.cfg.SegmentBytes = int64(400 + h.r.IntN(4000))
			rate := []int{0, 40, 10}[h.r.IntN(3)]
			for range 6 {
				h.live(&faults{r: random(h.r.Uint64()), rate: rate})
				if t.Failed() {
					break
				}
			}
		})
	}
}

// live recovers, does this and that, and dies.
func (h *history) live(f *faults) {
	h.cfg.FS = h.fs
	h.recover()
	h.fs.Fault = f.fault
	for range h.r.IntN(60) {
		switch h.r.IntN(10) {
		case 0, 1, 2, 3:
			h.append()
		case 4, 5, 6:
			h.settle()
		case 7:
			h.amend()
		case 8:
			if h.w.Complete() == nil { // for a process that dies, and the machine does not
				h.written = maps.Clone(h.rows)
			}
		default:
			if h.w.Sync(ctx) == nil {
				h.promised = maps.Clone(h.rows)
				h.written = h.promised
			}
		}
	}
	old := h.fs
	if h.r.IntN(3) == 0 { // the process dies, and the machine does not
		h.fs, h.promised = old.Copy(), h.written
	} else {
		h.fs = old.PowerCut(h.r)
	}
	f.mu.Lock()
	f.rate = 0
	f.mu.Unlock()
	_ = h.w.Close() // ends its goroutine
}

// recover compares what is recovered with what was promised, and goes on with
// it.
func (h *history) recover() {
	f := &found{}
	var err error
	f.Recovery, err = journal.Scan(h.cfg)
	must(h.t, err)
	h.w, err = f.Create()
	must(h.t, err)
	must(h.t, f.Replay(f.visitor(h.t)))
	got := map[int64]state{}
	for _, seq := range f.rows {
		got[seq] = waiting
	}
	for _, r := range f.failed {
		if got[r.Seq] != 0 {
			h.t.Errorf("row %d both waits and has failed", r.Seq)
		}
		got[r.Seq] = failed
	}
	for seq, was := range h.promised {
		// What was done since may or may not have got to the disk.
		now := h.rows[seq]
		if was == stored && got[seq] != 0 || now != stored && got[seq] == 0 {
			h.t.Errorf("row %d: promised %d, was %d, recovered %d", seq, was, now, got[seq])
		}
	}
	for seq := range got {
		if h.rows[seq] == 0 {
			h.t.Errorf("row %d was never appended", seq)
		}
	}
	for _, p := range f.Problems {
		h.t.Logf("problem: %v", p)
	}
	h.rows, h.promised = got, maps.Clone(got)
	h.written = h.promised
	h.last, h.settled = f.Last, f.Settled
}

// append appends rows, and when the journal says that it lacks some, those
// first.
func (h *history) append() {
	from := h.last + 1
	h.last += 1 + int64(h.r.IntN(8))
	for seq := from; seq <= h.last; seq++ {
		h.rows[seq] = waiting
	}
	err := h.w.Append(rows(from, h.last))
	for range 3 {
		var missing *journal.MissingError
		if !errors.As(err, &missing) {
			return
		}
		err = h.w.Append(rows(missing.First, h.last))
	}
}

func (h *history) settle() {
	if h.settled == h.last {
		return
	}
	upTo := h.settled + 1 + h.r.Int64N(h.last-h.settled)
	var refused []journal.Failure
	for seq := h.settled + 1; seq <= upTo; seq++ {
		if h.rows[seq] == 0 {
			continue
		}
		if h.rows[seq] = stored; h.r.IntN(10) == 0 {
			h.rows[seq] = failed
			refused = append(refused, failure(seq))
		}
	}
	h.settled = upTo
	_ = h.w.Settle(upTo, refused)
}

func (h *history) amend() {
	var gone []int64
	var again []journal.Failure
	for _, seq := range slices.Sorted(maps.Keys(h.rows)) {
		switch {
		case h.rows[seq] != failed:
		case h.r.IntN(3) == 0:
			gone = append(gone, seq)
			h.rows[seq] = stored
		case h.r.IntN(3) == 0:
			again = append(again, failure(seq))
		}
	}
	_ = h.w.Amend(gone, again)
}
