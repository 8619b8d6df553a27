package memdbwriter

import (
	"sort"

	"github.com/memdbwriter/memdbwriter/internal/dest"
	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

// reducer leaves of a batch the rows that decide, such that writing them has
// the same outcome as writing all rows of the batch one after another. Which
// rows of a key decide is said in contest.go.
//
// Whether the destination rejects a row shows only later. Then others of its
// key decide instead, see reduced.rejected.
//
// It holds no state and is safe for concurrent use.
type reducer struct {
	policy dest.Policy
	order  tuple.KeyOrder
	oldest bool   // the oldest row of a key has a say
	reason []bool // by column: a difference is a reason to write; nil without passive columns
	guard  int    // the column of the rows that is the guard; negative: the rows do not set it
}

func newReducer(t *dest.Table) *reducer {
	r := &reducer{policy: t.Policy, order: tuple.NewKeyOrder(tupleColumns(t)[:t.Keys]), oldest: t.Guard != "", guard: -1}
	passive, reason := false, make([]bool, len(t.Columns))
	for i, c := range t.Columns {
		r.oldest = r.oldest || c.InsertOnly
		passive = passive || c.Passive
		reason[i] = i >= t.Keys && !c.InsertOnly && !c.Passive
		if c.Name == t.Guard && !c.InsertOnly {
			r.guard = i
		}
	}
	if passive {
		r.reason = reason
	}
	return r
}

// reduce sorts b by key and leaves each key in it once: the first of its rows
// that decide. The others are in again, to be written after b, one element
// after another; each is in key order and has a key once.
func (r *reducer) reduce(b *tuple.Batch) (again [][]tuple.Span, left *reduced) {
	if !r.order.Sort(b) {
		return nil, nil
	}
	left = &reduced{reducer: r, data: b.Data}
	rows, kept := b.Rows, 0
	for lo, hi := 0, 0; lo < len(rows); lo = hi {
		for hi = lo + 1; hi < len(rows) && r.order.CompareSpans(b, rows[lo], rows[hi]) == 0; {
			hi++
		}
		first := rows[lo]
		if hi-lo > 1 {
			decide := left.add(rows[lo:hi], r.partial(b, rows[lo:hi]))
			first = left.rows[decide[0]]
			for i, row := range decide[1:] {
				if i == len(again) {
					again = append(again, nil)
				}
				again[i] = append(again[i], left.rows[row])
			}
		}
		rows[kept] = first
		kept++
	}
	b.Rows = rows[:kept]
	return again, left
}

// reduced is the rows of those keys that are more than once in a batch.
type reduced struct {
	*reducer
	data     []byte       // of the batch
	rows     []tuple.Span // by key, those of one key in the order of arrival
	contests []contest    // one for each key, in key order
	scratch  [3]int32     // of decide

	// Made when the first row is rejected, by the index of a row.
	before, after []int32 // the neighbours of the same key that are not rejected, or none
	sent          []bool  // handed out to be written
}

// add begins the contest of some rows of one key, which is above the ones
// before, and returns those that decide.
func (l *reduced) add(rows []tuple.Span, partial bool) []int32 {
	lo := int32(len(l.rows))
	l.rows = append(l.rows, rows...)
	c := l.newContest(lo, int32(len(l.rows)))
	c.partial = partial
	l.contests = append(l.contests, c)
	return l.decide(&l.contests[len(l.contests)-1])
}

// rejected takes out a row that was written and rejected, and returns the rows
// to write in its place, one after another and before any other of their key.
// What they cost is shared: with all the rows of a batch rejected, one pass.
func (l *reduced) rejected(row tuple.Span) (instead []tuple.Span) {
	if l == nil {
		return nil
	}
	c, i := l.find(row)
	if c == nil {
		return nil
	}
	l.link()
	if c.partial {
		return l.insteadOf(c, i)
	}
	l.remove(c, i)
	decide := []int32{c.first, c.last}
	if !l.oldest {
		decide = decide[1:]
	}
	for _, d := range decide {
		if d != none && !l.sent[d] {
			l.sent[d] = true
			instead = append(instead, l.rows[d])
		}
	}
	return instead
}

// find returns the contest of a row, nil if it has none, and the row's index.
func (l *reduced) find(row tuple.Span) (*contest, int32) {
	at := sort.Search(len(l.contests), func(i int) bool { return l.compare(l.rows[l.contests[i].lo], row) >= 0 })
	if at == len(l.contests) || l.compare(l.rows[l.contests[at].lo], row) != 0 {
		return nil, 0
	}
	c := &l.contests[at]
	n := sort.Search(int(c.hi-c.lo), func(i int) bool { return l.rows[int(c.lo)+i].Seq >= row.Seq })
	return c, c.lo + int32(n)
}

func (l *reduced) compare(x, y tuple.Span) int {
	return l.order.Compare(l.data[x.Off:], l.data[y.Off:])
}

// link makes what is needed to take rows out.
func (l *reduced) link() {
	if l.sent != nil {
		return
	}
	n := len(l.rows)
	before, after, sent := make([]int32, n), make([]int32, n), make([]bool, n)
	for k := range l.contests {
		c := &l.contests[k]
		for i := c.lo; i < c.hi; i++ {
			before[i], after[i] = i-1, l.next(c, i)
		}
		for _, d := range l.decide(c) {
			sent[d] = true
		}
		before[c.lo] = none
	}
	l.before, l.after, l.sent = before, after, sent
}

// tuple returns the bytes of the i-th row.
func (l *reduced) tuple(i int32) []byte {
	s := l.rows[i]
	return l.data[s.Off : s.Off+s.Len]
}
