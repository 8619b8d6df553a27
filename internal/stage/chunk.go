package stage

import (
	"encoding/binary"
	"errors"
	"slices"

	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

// A chunk is the tuples of some rows with contiguous arrival numbers:
//
//	struct chunk {
//		uint32 offset[rows]   // of each tuple in the chunk, big endian
//		byte   tuple[rows][]
//	}
//
// As the first tuple follows the offsets, its offset tells how many there are.
type chunk []byte

const (
	offsetSize = 4

	// maxChunk is the most that SQLite keeps on one page, together with what
	// it adds. It hands such a blob out where it is, and copies every other
	// one from the pages that it is spread over.
	maxChunk = pageSize - 64

	// chunkCost is at least what SQLite adds to each of several chunks on a page.
	chunkCost = 24
)

// fit returns the end of the longest chunk of the rows of b from the i-th that
// has no more than limit bytes.
func fit(b *tuple.Batch, i int, limit int64) (end int, size int64) {
	for end = i; end < b.Len(); end++ {
		n := offsetSize + int64(b.Rows[end].Len)
		if size+n > limit {
			break
		}
		size += n
	}
	return end, size
}

// cut divides b into chunks. The first one is to fill up the last page, which
// has room bytes left, each other one is to fill a page; a row for which no page
// is large enough has a chunk of its own. The room that is left then is returned.
func cut(b *tuple.Batch, room int64) (extents, int64) {
	var chunks extents
	for i := 0; i < b.Len(); {
		end, size := fit(b, i, room)
		if end == i {
			room = maxChunk
			end, size = fit(b, i, room)
		}
		if end == i {
			end, size = i+1, offsetSize+int64(b.Rows[i].Len)
		}
		room -= size + chunkCost
		chunks = append(chunks, extent{b.Rows[i].Seq, b.Rows[end-1].Seq, size - int64(end-i)*offsetSize})
		i = end
	}
	return chunks, room
}

// appendChunk appends the chunk of the rows [i, j) of b.
func appendChunk(dst []byte, b *tuple.Batch, i, j int) []byte {
	off := uint32((j - i) * offsetSize)
	if j == i+1 { // of any size
		dst = slices.Grow(dst, int(off+b.Rows[i].Len))
	}
	for k := i; k < j; k++ {
		dst = binary.BigEndian.AppendUint32(dst, off)
		off += b.Rows[k].Len
	}
	for k := i; k < j; k++ {
		dst = append(dst, b.Tuple(k)...)
	}
	return dst
}

var errMalformed = errors.New("malformed chunk")

// check reports whether the other methods can be used on c.
func (c chunk) check() error {
	if len(c) < offsetSize {
		return errMalformed
	}
	low := binary.BigEndian.Uint32(c)
	if low == 0 || low%offsetSize != 0 || uint64(low) > uint64(len(c)) {
		return errMalformed
	}
	for i := range c.rows() {
		off := binary.BigEndian.Uint32(c[i*offsetSize:])
		if off < low || uint64(off) > uint64(len(c)) {
			return errMalformed
		}
		low = off
	}
	return nil
}

func (c chunk) rows() int { return int(binary.BigEndian.Uint32(c) / offsetSize) }

// offset returns where the i-th tuple begins, and the one before it ends.
func (c chunk) offset(i int) int {
	if i == c.rows() {
		return len(c)
	}
	return int(binary.BigEndian.Uint32(c[i*offsetSize:]))
}

func (c chunk) tuple(i int) []byte { return c[c.offset(i):c.offset(i+1)] }

// read adds the rows from the i-th to the batch, until that has maxRows rows or
// would have more than maxBytes bytes; its first row it gets at any size. The
// first row of the chunk has the arrival number first. It reports whether there
// was room for all.
func (c chunk) read(i int, first int64, maxRows, maxBytes int, into *tuple.Batch) bool {
	base, start := len(into.Data), c.offset(i)
	end := start
	for ; i < c.rows() && into.Len() < maxRows; i++ {
		next := c.offset(i + 1)
		if into.Len() > 0 && base+next-start > maxBytes {
			break
		}
		into.Rows = append(into.Rows, tuple.Span{Off: uint32(base + end - start), Len: uint32(next - end), Seq: first + int64(i)})
		end = next
	}
	into.Data = append(into.Data, c[start:end]...)
	return i == c.rows()
}
