package tuple

import (
	"cmp"
	"slices"
)

// Sort sorts the rows of b by key, those of one key in the order of their
// arrival, and reports whether a key is there more than once. Without key
// columns every row stays where it is. It does not allocate, and a batch in
// order costs one pass.
func (o KeyOrder) Sort(b *Batch) (repeated bool) {
	if len(o) == 0 || o.Ascending(b) {
		return false
	}
	slices.SortFunc(b.Rows, func(x, y Span) int {
		if d := o.CompareSpans(b, x, y); d != 0 {
			return d
		}
		return cmp.Compare(x.Seq, y.Seq)
	})
	return !o.Ascending(b)
}

// SortUnique sorts the rows of b by key and leaves, for each key, only the one
// that arrived last. It returns the others, in no particular order; they stand
// behind b.Rows in the same memory, so they are good until b is next appended
// to or reset. Without key columns every row is one of its own.
func (o KeyOrder) SortUnique(b *Batch) (superseded []Span) {
	if !o.Sort(b) {
		return nil
	}
	rows, kept := b.Rows, 0
	for i := range rows {
		if i+1 == len(rows) || o.CompareSpans(b, rows[i], rows[i+1]) != 0 {
			rows[kept], rows[i] = rows[i], rows[kept]
			kept++
		}
	}
	b.Rows = rows[:kept]
	return rows[kept:]
}

// CompareSpans compares the keys of two rows of b.
func (o KeyOrder) CompareSpans(b *Batch, x, y Span) int {
	return o.Compare(b.Data[x.Off:], b.Data[y.Off:])
}

// Ascending reports whether each row's key is above the one before.
func (o KeyOrder) Ascending(b *Batch) bool {
	for i := 1; i < len(b.Rows); i++ {
		if o.CompareSpans(b, b.Rows[i-1], b.Rows[i]) >= 0 {
			return false
		}
	}
	return true
}
