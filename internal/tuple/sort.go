package tuple

import (
	"cmp"
	"slices"
)

// SortUnique sorts the rows of b by key and leaves, for each key, only the one
// that arrived last. It returns the others, in no particular order; they stand
// behind b.Rows in the same memory, so they are good until b is next appended
// to or reset. Without key columns every row is one of its own and stays where
// it is. It does not allocate, and a batch in order costs one pass.
func (o KeyOrder) SortUnique(b *Batch) (superseded []Span) {
	rows := b.Rows
	if len(o) == 0 || o.ascending(b) {
		return nil
	}
	slices.SortFunc(rows, func(x, y Span) int {
		if d := o.Compare(b.Data[x.Off:], b.Data[y.Off:]); d != 0 {
			return d
		}
		return cmp.Compare(y.Seq, x.Seq)
	})
	// The latest row of each key comes first now. Swap the others behind.
	kept := 1
	for i := 1; i < len(rows); i++ {
		if o.Compare(b.Data[rows[kept-1].Off:], b.Data[rows[i].Off:]) != 0 {
			rows[kept], rows[i] = rows[i], rows[kept]
			kept++
		}
	}
	b.Rows = rows[:kept]
	return rows[kept:]
}

// ascending reports whether each row's key is above the one before.
func (o KeyOrder) ascending(b *Batch) bool {
	for i := 1; i < len(b.Rows); i++ {
		if o.Compare(b.Tuple(i-1), b.Tuple(i)) >= 0 {
			return false
		}
	}
	return true
}
