package memdbwriter

import (
	"cmp"
	"slices"
	"sort"

	"github.com/memdbwriter/memdbwriter/internal/dest"
	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

// reducer leaves of a batch the rows that decide, such that writing them has
// the same effect as writing all rows of the batch one after another. Of the
// rows of one key
//
//   - the newest decides with ConflictUpdate,
//   - the oldest decides with ConflictIgnore,
//   - both decide, the oldest written first, with ConflictUpdate if the table
//     has insert-only columns or a guard, which take what the oldest brings.
//
// Whether the destination refuses a row shows only later. Then the nearest
// replaced row of its key decides instead, see runnerUp.
//
// It holds no state and is safe for concurrent use.
type reducer struct {
	policy dest.Policy
	order  tuple.KeyOrder
	oldest bool // the oldest row of a key has a say
}

func newReducer(t *dest.Table) *reducer {
	r := &reducer{policy: t.Policy, order: tuple.NewKeyOrder(tupleColumns(t)[:t.Keys])}
	r.oldest = t.Policy == dest.Ignore || t.Guard != ""
	for _, c := range t.Columns {
		r.oldest = r.oldest || c.InsertOnly
	}
	return r
}

// reduced is what is left of a batch.
type reduced struct {
	again    []tuple.Span // rows to write after those that the batch was left with, in key order
	replaced []tuple.Span // rows that need not be written
}

// reduce sorts b by key and leaves each key in it once.
func (r *reducer) reduce(b *tuple.Batch) (left reduced) {
	replaced := r.order.SortUnique(b)
	if len(replaced) == 0 {
		return left
	}
	left.replaced = slices.Clone(replaced) // its memory is the batch's
	if !r.oldest {
		return left
	}
	for _, oldest := range r.oldestOf(b, replaced) {
		i := sort.Search(b.Len(), func(i int) bool { return r.compare(b, b.Rows[i], oldest) >= 0 })
		newest, at := b.Rows[i], slices.Index(left.replaced, oldest)
		b.Rows[i] = oldest
		if r.policy == dest.Ignore {
			left.replaced[at] = newest
			continue
		}
		left.replaced = slices.Delete(left.replaced, at, at+1)
		left.again = append(left.again, newest)
	}
	return left
}

// oldestOf returns for each key among the spans the row that arrived first, in
// key order.
func (r *reducer) oldestOf(b *tuple.Batch, spans []tuple.Span) []tuple.Span {
	spans = slices.Clone(spans)
	slices.SortFunc(spans, func(x, y tuple.Span) int {
		return cmp.Or(r.compare(b, x, y), cmp.Compare(x.Seq, y.Seq))
	})
	return slices.CompactFunc(spans, func(x, y tuple.Span) bool { return r.compare(b, x, y) == 0 })
}

func (r *reducer) compare(b *tuple.Batch, x, y tuple.Span) int {
	return r.order.Compare(b.Data[x.Off:], b.Data[y.Off:])
}

// runnerUp takes the row to write in place of a refused one out of the
// replaced ones: the one of the same key that arrived nearest to it. Those
// between the two were refused before, so this is the row that would have
// decided if they had never been there.
func (r *reducer) runnerUp(b *tuple.Batch, left *reduced, refused tuple.Span) (tuple.Span, bool) {
	distance := func(s tuple.Span) int64 { return max(s.Seq-refused.Seq, refused.Seq-s.Seq) }
	nearest := -1
	for i, s := range left.replaced {
		if r.compare(b, s, refused) == 0 && (nearest < 0 || distance(s) < distance(left.replaced[nearest])) {
			nearest = i
		}
	}
	if nearest < 0 {
		return tuple.Span{}, false
	}
	s := left.replaced[nearest]
	left.replaced = slices.Delete(left.replaced, nearest, nearest+1)
	return s, true
}
