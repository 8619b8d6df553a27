package stage

import "sort"

// extent is what a store knows of a chunk without reading it.
type extent struct {
	first, last int64 // arrival numbers of its rows
	bytes       int64 // of the tuples that are not settled
}

// rowsTo returns how many of the chunk's rows have numbers up to seq.
func (e extent) rowsTo(seq int64) int {
	if seq < e.first {
		return 0
	}
	return int(min(seq, e.last)-e.first) + 1
}

// extents are those of all chunks, in ascending order: 24 bytes for each, which
// is a sixth of a byte per row when rows of 450 bytes come in large batches.
type extents []extent

// endedBy returns how many chunks have all their numbers up to seq.
func (e extents) endedBy(seq int64) int {
	return sort.Search(len(e), func(i int) bool { return e[i].last > seq })
}
