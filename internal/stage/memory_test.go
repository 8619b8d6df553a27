package stage

import (
	"strings"
	"testing"

	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

func TestTrimGivesMemoryBack(t *testing.T) {
	s := open(t, testConfig)
	empty, err := s.Memory()
	if err != nil {
		t.Fatal(err)
	}
	var b tuple.Batch
	for seq := range int64(50_000) {
		b.Append(seq, make([]byte, 450))
	}
	if err := s.Append(&b); err != nil {
		t.Fatal(err)
	}
	full, err := s.Memory()
	if err != nil {
		t.Fatal(err)
	}
	if c := s.Counts(); full < c.Bytes || float64(full) > 1.03*float64(c.Bytes) {
		t.Errorf("%d bytes for tuples of %d bytes", full, c.Bytes)
	}
	if err := s.Settle(49_989, nil); err != nil {
		t.Fatal(err)
	}
	if err := s.Trim(); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Memory(); err != nil || got > empty+2*pageSize {
		t.Errorf("%d bytes for 10 rows, %d when it was empty, error %v", got, empty, err)
	}
	consistent(t, s)
	if staged, _ := contents(t, s); len(staged) != 10 {
		t.Errorf("%d rows are left, want 10", len(staged))
	}
}

// Batches of any size share pages, and fill each before the next one is begun.
func TestPagesAreFull(t *testing.T) {
	for _, rows := range []int{7, 60, 145, 582} {
		s := open(t, testConfig)
		empty, err := s.Memory()
		must(t, err)
		var b tuple.Batch
		seq := int64(0)
		add := func(n int64) {
			for end := seq + n; seq < end; must(t, s.Append(&b)) {
				b.Reset()
				for range rows {
					b.Append(seq, row(strings.Repeat("x", 432), 1))
					seq++
				}
			}
			memory, err := s.Memory()
			must(t, err)
			if c := s.Counts(); float64(memory-empty-2*pageSize) > 1.05*float64(c.Bytes) {
				t.Errorf("batches of %d rows: %d bytes more for tuples of %d bytes", rows, memory-empty, c.Bytes)
			}
		}
		add(6000)
		for range 5 { // pages that became free are used again
			must(t, s.Settle(seq-4000, nil))
			add(2000)
		}
	}
}
