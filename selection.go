package memdbwriter

import (
	"math"
	"slices"

	"github.com/memdbwriter/memdbwriter/internal/stage"
)

// selection is which failed rows a call is about: those with the sequence numbers,
// which are in order, or if it is everyFailed all of them.
type selection struct{ seqs []int64 }

// everyFailed selects all failed rows.
var everyFailed = selection{}

// selectionOf selects some rows, which may be none.
func selectionOf(seqs []int64) selection {
	sorted := append(make([]int64, 0, len(seqs)), seqs...)
	slices.Sort(sorted)
	return selection{sorted}
}

func (s selection) all() bool { return s.seqs == nil }

func (s selection) none() bool { return !s.all() && len(s.seqs) == 0 }

func (s selection) has(f *stage.Failure) bool {
	if s.all() {
		return true
	}
	_, found := slices.BinarySearch(s.seqs, f.Seq)
	return found
}

// before is a number below all of them.
func (s selection) before() int64 {
	if len(s.seqs) == 0 {
		return 0
	}
	return s.seqs[0] - 1
}

// last is the highest of them.
func (s selection) last() int64 {
	switch {
	case s.all():
		return math.MaxInt64
	case s.none():
		return math.MinInt64
	}
	return s.seqs[len(s.seqs)-1]
}

// statesOf counts failed rows by SQLSTATE.
func statesOf(failed []stage.Failure) map[string]int64 {
	states := map[string]int64{}
	for i := range failed {
		states[failed[i].SQLState]++
	}
	return states
}
