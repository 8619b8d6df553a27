package stage

import (
	"bytes"
	"errors"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

func TestTrimGivesMemoryBack(t *testing.T) {
	s := open(t, testConfig)
	empty := s.Memory()
	var b tuple.Batch
	for seq := range int64(50_000) {
		b.Append(seq, make([]byte, 450))
	}
	if err := s.Append(&b); err != nil {
		t.Fatal(err)
	}
	full := s.Memory()
	if c := s.Counts(); full < c.Bytes || float64(full) > 1.03*float64(c.Bytes) {
		t.Errorf("%d bytes for tuples of %d bytes", full, c.Bytes)
	}
	if err := s.Settle(49_989, nil); err != nil {
		t.Fatal(err)
	}
	if err := s.Trim(); err != nil {
		t.Fatal(err)
	}
	if got := s.Memory(); got > empty+2*pageSize {
		t.Errorf("%d bytes for 10 rows, %d when it was empty", got, empty)
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
		empty := s.Memory()
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
			memory := s.Memory()
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

// Memory that the last rows did not need goes back; that of bursts which follow
// each other stays.
func TestShrinkKeepsWhatIsNeeded(t *testing.T) {
	s := open(t, testConfig)
	empty, seq := s.Memory(), int64(0)
	shrink := func(want bool) {
		t.Helper()
		if more, err := s.Shrink(); err != nil || more != want {
			t.Errorf("something more to give back: %v, want %v; error %v", more, want, err)
		}
	}
	burst := func(rows int64) {
		t.Helper()
		stage(t, s, seq+1, seq+rows)
		seq += rows
	}
	shrink(false)
	burst(50_000)
	must(t, s.Settle(seq, nil))
	full := s.Memory()
	shrink(true)
	burst(45_000)
	must(t, s.Settle(seq, nil))
	shrink(true)
	if s.Memory() != full {
		t.Errorf("%d bytes after two bursts, want the first one's %d", s.Memory(), full)
	}
	burst(4000)
	shrink(true)
	if got := s.Memory(); got > full/4 {
		t.Errorf("%d of %d bytes are left for a 12th of the rows", got, full)
	}
	must(t, s.Settle(seq, nil))
	shrink(false)
	if got := s.Memory(); got > empty+pageSize {
		t.Errorf("%d bytes are left of none, %d when it was new", got, empty)
	}
	consistent(t, s)
}

// A batch's memory is there before it is read, and is no more than it needs.
func TestReadSizesTheBatch(t *testing.T) {
	s := open(t, testConfig)
	stage(t, s, 1, 5000)
	var large tuple.Batch
	large.Append(5001, row(strings.Repeat("x", 1<<20), 1))
	must(t, s.Append(&large))
	must(t, s.Settle(7, nil))
	var b tuple.Batch
	for _, c := range []struct {
		after          int64
		rows, maxBytes int
	}{{0, 5000, 1 << 19}, {3000, 100, 0}, {0, 0, 0}, {5000, 10, 1 << 16}, {5001, 10, 0}} {
		b = tuple.Batch{}
		must(t, s.Read(c.after, c.rows, c.maxBytes, &b))
		if b.Len() > 0 && (cap(b.Data) > len(b.Data)+pageSize || cap(b.Rows) > b.Len()+pageSize/18) {
			t.Errorf("%+v: room for %d bytes and %d rows, need for %d and %d", c, cap(b.Data), cap(b.Rows), len(b.Data), b.Len())
		}
	}
}

// The limit on mappings is one of the process. Who holds little may always work.
func TestMappingsAreCountedInAllStores(t *testing.T) {
	before := process.pages.Load()
	a, b := open(t, testConfig), open(t, testConfig)
	t.Cleanup(LimitMemory(100 * pageSize))
	var seq int64
	fill := func(s *Store) (err error) {
		for err == nil {
			var rows tuple.Batch
			for range 100 {
				seq++
				rows.Append(seq, row(strings.Repeat("x", 400), 1))
			}
			c := s.Counts()
			if err = s.Append(&rows); err != nil && s.Counts() != c {
				t.Errorf("counts are %+v after a failed Append, were %+v", s.Counts(), c)
			}
		}
		seq -= 100
		return err
	}
	for _, s := range []*Store{a, b} {
		if err := fill(s); !errors.Is(err, ErrMappings) {
			t.Fatalf("error %v, want %v", err, ErrMappings)
		}
	}
	if pages := process.pages.Load() - before; pages > 100+reserve {
		t.Errorf("%d pages, more than the limit and what everybody may have", pages)
	}
	if c := b.Counts(); c.Rows == 0 {
		t.Error("a store without rows got no room")
	}
	must(t, a.Settle(seq, nil))
	if err := fill(a); !errors.Is(err, ErrMappings) || a.Counts().Rows == 0 {
		t.Errorf("free pages were not used: %+v, error %v", a.Counts(), err)
	}
	must(t, a.Settle(seq, nil))
	must(t, a.Trim())
	rows := b.Counts().Rows
	if err := fill(b); !errors.Is(err, ErrMappings) || b.Counts().Rows == rows {
		t.Errorf("pages that another store gave back were not used: %+v, error %v", b.Counts(), err)
	}
	must(t, a.Close())
	must(t, b.Close())
	if left := process.pages.Load() - before; left != 0 {
		t.Errorf("%d pages are still counted", left)
	}
}

// An idle store costs next to nothing, and many rows few mappings.
func TestMappings(t *testing.T) {
	const stores, rows = 100, 60_000
	before := mappings(t)
	for range stores {
		open(t, testConfig)
	}
	if n := mappings(t) - before; n > 3*stores {
		t.Errorf("%d mappings for %d stores without rows", n, stores)
	}
	s := open(t, testConfig)
	before = mappings(t)
	for seq := int64(0); seq < rows; {
		var b tuple.Batch
		for range 1000 {
			b.Append(seq, make([]byte, 450))
			seq++
		}
		must(t, s.Append(&b))
	}
	if n, pages := mappings(t)-before, s.pages.Load(); int64(n) > pages/pagesPerMapping {
		t.Errorf("%d mappings for %d pages", n, pages)
	}
}

func mappings(t *testing.T) int {
	text, err := os.ReadFile("/proc/self/maps")
	if err != nil && runtime.GOOS == "linux" {
		t.Fatal(err)
	}
	return bytes.Count(text, []byte("\n"))
}
