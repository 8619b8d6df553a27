package memdbwriter

import (
	"bytes"

	"github.com/memdbwriter/memdbwriter/internal/dest"
	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

// contest is the rows of one key in a batch. Of those that are not rejected,
// these decide:
//
//   - with ConflictIgnore the oldest;
//   - with ConflictUpdate the newest, or the first that sets the guard, since
//     it protects what it writes against those behind it;
//   - before that the oldest, if the table has insert-only columns or a guard,
//     which take what the oldest brings;
//   - with passive columns, of the rows that are like the last but for these
//     the first, and one that is not alike before it: the database then sees
//     the change that the row is about.
//
// They are written in the order of arrival, and so are those that decide in the
// place of a rejected one. The last point is not seen to for these: passive
// columns may then keep the value of another row.
//
// All numbers are indexes into reduced.rows, or none.
type contest struct {
	lo, hi int32 // all the rows
	first  int32 // the oldest that is not rejected
	end    int32 // the newest, or the first that sets the guard
	last   int32 // the last that decides: end, or one that is like it

	partial bool // a row leaves out columns, see partial.go
}

const none = -1

func (l *reduced) newContest(lo, hi int32) contest {
	c := contest{lo: lo, hi: hi, first: lo, end: lo, last: lo}
	if l.policy != dest.Ignore {
		c.end = l.endFrom(&c, lo)
		c.last = l.likeBefore(&c, c.end)
	}
	return c
}

// decide returns the rows that decide as long as none is rejected, in the order
// of arrival. They are good until the next call.
func (l *reduced) decide(c *contest) []int32 {
	if c.partial {
		return l.runs(c.lo, c.hi)
	}
	decide := l.scratch[:0]
	if c.first == c.last {
		return append(decide, c.last)
	}
	if l.oldest {
		decide = append(decide, c.first)
	}
	if l.reason != nil && (!l.oldest || l.alike(c.first, c.last)) {
		decide = append(decide, c.last-1)
	}
	return append(decide, c.last)
}

// remove takes a rejected row out.
func (l *reduced) remove(c *contest, i int32) {
	before, after := l.before[i], l.after[i]
	if before != none {
		l.after[before] = after
	}
	if after != none {
		l.before[after] = before
	}
	if i == c.first {
		c.first = after
	}
	switch {
	case l.policy == dest.Ignore:
		c.end, c.last = c.first, c.first
	case i == c.end:
		if c.end = before; after != none { // it set the guard
			c.end = l.endFrom(c, after)
		}
		c.last = c.end
	case i == c.last:
		c.last = after
	}
}

// endFrom returns the first row from i on that sets the guard, or the newest.
func (l *reduced) endFrom(c *contest, i int32) int32 {
	if l.guard < 0 {
		return c.hi - 1
	}
	for {
		next := l.next(c, i)
		if next == none || l.setsGuard(i) {
			return i
		}
		i = next
	}
}

func (l *reduced) setsGuard(i int32) bool {
	value, null := tuple.Field(l.tuple(i), l.guard)
	return !null && len(value) == 1 && value[0] != 0
}

// likeBefore returns the first of the rows that are alike up to i. Without
// passive columns that is i: what is alike makes no difference.
func (l *reduced) likeBefore(c *contest, i int32) int32 {
	for l.reason != nil && i > c.lo && l.alike(i-1, i) {
		i--
	}
	return i
}

// alike reports whether two rows of one key differ in nothing that is a reason
// to write one over the other.
func (l *reduced) alike(i, j int32) bool {
	x, y := tuple.Fields(l.tuple(i)), tuple.Fields(l.tuple(j))
	for _, reason := range l.reason {
		var a, b []byte
		var aNull, bNull bool
		a, aNull, x = tuple.Next(x)
		b, bNull, y = tuple.Next(y)
		if reason && (aNull != bNull || !bytes.Equal(a, b)) {
			return false
		}
	}
	return true
}

// next returns the row after i that is not rejected.
func (l *reduced) next(c *contest, i int32) int32 {
	switch {
	case l.after != nil:
		return l.after[i]
	case i == c.hi-1:
		return none
	}
	return i + 1
}
