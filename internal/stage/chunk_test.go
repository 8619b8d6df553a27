package stage

import (
	"bytes"
	"slices"
	"testing"

	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

func TestCutFillsPages(t *testing.T) {
	for _, c := range []struct {
		name  string
		room  int64
		sizes []int
		want  []int // rows per chunk
		left  int64
	}{
		{"all on a new page", maxChunk, []int{10, 20, 30}, []int{3}, maxChunk - 60 - 3*offsetSize - chunkCost},
		{"all on the last page", 1000, []int{10, 20}, []int{2}, 1000 - 30 - 2*offsetSize - chunkCost},
		{"exactly the last page", 38, []int{10, 20, 7}, []int{2, 1}, maxChunk - 7 - offsetSize - chunkCost},
		{"not even one row on the last page", 13, []int{10, 20}, []int{2}, maxChunk - 30 - 2*offsetSize - chunkCost},
		{"a page that is more than full", -5, []int{0}, []int{1}, maxChunk - offsetSize - chunkCost},
		{"one row a page", maxChunk, []int{maxChunk - 4, maxChunk - 4}, []int{1, 1}, -chunkCost},
		{"one row more than a page", maxChunk, []int{1, maxChunk - 3, 1}, []int{1, 1, 1}, maxChunk - 1 - offsetSize - chunkCost},
	} {
		var b tuple.Batch
		for i, n := range c.sizes {
			b.Append(int64(100+i), make([]byte, n))
		}
		got, left := cut(&b, c.room)
		var rows []int
		next, total := int64(100), int64(0)
		for _, e := range got {
			if e.first != next || e.last < e.first {
				t.Errorf("%s: chunks %+v", c.name, got)
			}
			rows = append(rows, int(e.last-e.first)+1)
			next = e.last + 1
			total += e.bytes
		}
		if !slices.Equal(rows, c.want) || left != c.left || total != b.Bytes() {
			t.Errorf("%s: chunks of %v rows, %d bytes left; want %v, %d; %d bytes of %d", c.name, rows, left, c.want, c.left, total, b.Bytes())
		}
	}
}

func TestMalformedChunks(t *testing.T) {
	for _, c := range []string{
		"", "\x00\x00\x00", "\x00\x00\x00\x00", "\x00\x00\x00\x05x", "\x00\x00\x00\x08", "\xff\xff\xff\xfc",
		"\x00\x00\x00\x08\x00\x00\x00\x07", "\x00\x00\x00\x08\x00\x00\x00\x09", "\x00\x00\x00\x0c\x00\x00\x00\x0d\x00\x00\x00\x0cx",
	} {
		if err := chunk(c).check(); err == nil {
			t.Errorf("%q was taken", c)
		}
	}
}

// A chunk that passes the check can be read, and is what its rows make.
func FuzzChunk(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x04"), 0)
	f.Add([]byte("\x00\x00\x00\x08\x00\x00\x00\x09xyz"), 1)
	f.Add([]byte("\x00\x00\x00\x08\x00\x00\x00\x07"), 0)
	f.Fuzz(func(t *testing.T, data []byte, from int) {
		c := chunk(data)
		if c.check() != nil {
			return
		}
		var b tuple.Batch
		if !c.read(0, 1, c.rows(), len(c), &b) || b.Len() != c.rows() {
			t.Fatalf("%d rows of %d", b.Len(), c.rows())
		}
		if again := appendChunk(nil, &b, 0, b.Len()); !bytes.Equal(again, data) {
			t.Errorf("%q became %q", data, again)
		}
		if from < 0 || from >= c.rows() {
			return
		}
		b.Reset()
		c.read(from, 1, 1, 0, &b)
		if b.Len() != 1 || b.Rows[0].Seq != int64(1+from) || !bytes.Equal(b.Tuple(0), c.tuple(from)) {
			t.Errorf("row %d is %+v", from, b)
		}
	})
}
