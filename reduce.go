package memdbwriter

import (
	"cmp"
	"slices"
	"sort"

	"github.com/memdbwriter/memdbwriter/internal/dest"
	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

// reducer leaves of a batch one row per key, such that writing it has the same
// effect as writing all rows of the batch one after another:
//
//   - with ConflictUpdate the newest row of a key counts, but its insert-only
//     columns are those of the oldest, which is the one that would have been
//     inserted;
//   - with ConflictIgnore the oldest row of a key counts.
//
// It holds no state and is safe for concurrent use.
type reducer struct {
	table *dest.Table
	order tuple.KeyOrder
	first bool // the first row of a key has a say in what is written
}

func newReducer(t *dest.Table) *reducer {
	r := &reducer{table: t, order: tuple.NewKeyOrder(tupleColumns(t)[:t.Keys]), first: t.Policy == dest.Ignore}
	for _, c := range t.Columns {
		r.first = r.first || c.InsertOnly
	}
	return r
}

// reduce sorts b by key and takes out what newer rows replace. The rows taken
// out are returned; they are good until b is reset.
func (r *reducer) reduce(b *tuple.Batch) (superseded []tuple.Span) {
	superseded = r.order.SortUnique(b)
	if len(superseded) == 0 || !r.first {
		return superseded
	}
	superseded = slices.Clone(superseded)
	for _, first := range r.oldest(b, superseded) {
		i := r.find(b, first)
		if r.table.Policy == dest.Update {
			b.Rows[i] = r.merge(b, first, b.Rows[i])
			continue
		}
		at := slices.Index(superseded, first)
		superseded[at], b.Rows[i] = b.Rows[i], first
	}
	return superseded
}

// runnerUp returns the row to write in place of one that the destination
// refused: the one that would count if the refused one had never been there.
func (r *reducer) runnerUp(b *tuple.Batch, superseded []tuple.Span, refused tuple.Span) (next tuple.Span, ok bool) {
	ignore := r.table.Policy == dest.Ignore
	oldest := refused
	for _, s := range superseded {
		if r.order.Compare(b.Data[s.Off:], b.Data[refused.Off:]) != 0 || s.Seq > refused.Seq != ignore {
			continue
		}
		if !ok || s.Seq < next.Seq == ignore {
			next, ok = s, true
		}
		if s.Seq < oldest.Seq {
			oldest = s
		}
	}
	if ok && !ignore && r.first && oldest != next {
		next = r.merge(b, oldest, next)
	}
	return next, ok
}

// oldest returns for each key among the spans the one that arrived first.
func (r *reducer) oldest(b *tuple.Batch, spans []tuple.Span) []tuple.Span {
	spans = slices.Clone(spans)
	slices.SortFunc(spans, func(x, y tuple.Span) int {
		return cmp.Or(r.order.Compare(b.Data[x.Off:], b.Data[y.Off:]), cmp.Compare(x.Seq, y.Seq))
	})
	return slices.CompactFunc(spans, func(x, y tuple.Span) bool {
		return r.order.Compare(b.Data[x.Off:], b.Data[y.Off:]) == 0
	})
}

// find returns the index of the row with the key of s.
func (r *reducer) find(b *tuple.Batch, s tuple.Span) int {
	return sort.Search(b.Len(), func(i int) bool { return r.order.Compare(b.Tuple(i), b.Data[s.Off:]) >= 0 })
}

// merge appends to b the newer row with the insert-only columns of the older.
func (r *reducer) merge(b *tuple.Batch, older, newer tuple.Span) tuple.Span {
	of := func(s tuple.Span) []byte { return tuple.Fields(b.Data[s.Off : s.Off+s.Len]) }
	merged := slices.Clone(b.Data[newer.Off : newer.Off+2])
	newFields, oldFields := of(newer), of(older)
	for _, c := range r.table.Columns {
		fields := newFields
		if c.InsertOnly {
			fields = oldFields
		}
		_, _, rest := tuple.Next(fields)
		merged = append(merged, fields[:len(fields)-len(rest)]...)
		_, _, newFields = tuple.Next(newFields)
		_, _, oldFields = tuple.Next(oldFields)
	}
	s := tuple.Span{Off: uint32(len(b.Data)), Len: uint32(len(merged)), Seq: newer.Seq}
	b.Data = append(b.Data, merged...)
	return s
}
