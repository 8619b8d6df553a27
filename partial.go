package memdbwriter

import (
	"slices"

	"github.com/memdbwriter/memdbwriter/internal/dest"
	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

// A row that leaves out columns replaces of an older row of its key what it has,
// and no more. So in a contest with such a row one that decides stands only for
// those right before it that have no column which it leaves out; what has one is
// written before it, and decides, too. In short: rows that leave out the same
// columns cost no more than others, rows that take turns are all written.
//
// Where the oldest row has a say, or a passive column, all rows of such a contest
// are written.

// partial tells whether one of some rows of a key leaves out columns, so that
// more than the newest of them may decide.
func (r *reducer) partial(b *tuple.Batch, rows []tuple.Span) bool {
	return r.policy != dest.Ignore && slices.ContainsFunc(rows, func(row tuple.Span) bool {
		return tuple.Absences(b.Data[row.Off:row.Off+row.Len]) != nil
	})
}

// runs returns the rows from lo on, and before hi, that decide among these, in
// the order of arrival.
func (l *reduced) runs(lo, hi int32) []int32 {
	var decide []int32
	for i := hi - 1; i >= lo; {
		decide = append(decide, i)
		absences := tuple.Absences(l.tuple(i))
		for i--; i >= lo && l.replaces(absences, i); i-- {
		}
	}
	slices.Reverse(decide)
	return decide
}

// replaces tells whether a row that leaves out some columns replaces the i-th,
// which then leaves them out as well.
func (l *reduced) replaces(absences []byte, i int32) bool {
	if l.oldest || l.reason != nil {
		return false
	}
	others := tuple.Absences(l.tuple(i))
	for k, bits := range absences {
		if others == nil && bits != 0 || others != nil && bits&^others[k] != 0 {
			return false
		}
	}
	return true
}

// insteadOf returns the rows to write in the place of a rejected one of a partial
// contest: those that decide among the ones that it stood for.
func (l *reduced) insteadOf(c *contest, i int32) []tuple.Span {
	lo := i
	for lo > c.lo && !l.sent[lo-1] {
		lo--
	}
	var instead []tuple.Span
	for _, d := range l.runs(lo, i) {
		l.sent[d] = true
		instead = append(instead, l.rows[d])
	}
	return instead
}
