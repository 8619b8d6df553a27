package stage

import (
	"encoding/binary"
	"fmt"
	"slices"
	"testing"

	"go.uber.org/goleak"

	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var testConfig = Config{View: "files", Columns: []tuple.Column{{Name: "path", Type: tuple.Text}, {Name: "size", Type: tuple.Int8, Nullable: true}}}

func open(tb testing.TB, cfg Config) *Store {
	tb.Helper()
	s, err := Open(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := s.Close(); err != nil {
			tb.Error(err)
		}
	})
	return s
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// row is a tuple of testConfig; a negative size is NULL.
func row(path string, size int64) []byte {
	b := binary.BigEndian.AppendUint16(nil, 2)
	b = binary.BigEndian.AppendUint32(b, uint32(len(path)))
	b = append(b, path...)
	if size < 0 {
		return binary.BigEndian.AppendUint32(b, 0xffffffff)
	}
	b = binary.BigEndian.AppendUint32(b, 8)
	return binary.BigEndian.AppendUint64(b, uint64(size))
}

// stage appends rows with the arrival numbers lo to hi.
func stage(t *testing.T, s *Store, lo, hi int64) {
	t.Helper()
	var b tuple.Batch
	for seq := lo; seq <= hi; seq++ {
		b.Append(seq, row(fmt.Sprintf("/f%d", seq), seq))
	}
	must(t, s.Append(&b))
}

// describe makes a failed row text.
func describe(f Failure) string {
	return fmt.Sprintf("%d %x %s %s %s %d %d %d", f.Seq, f.Tuple, f.SQLState, f.Column, f.Message, f.Attempts, f.First.UnixMicro(), f.Last.UnixMicro())
}

// contents lists the staged rows and the failed rows, as text.
func contents(t *testing.T, s *Store) (staged, failed []string) {
	t.Helper()
	b, err := s.Page(-1<<63, 0)
	must(t, err)
	for i := range b.Rows {
		staged = append(staged, fmt.Sprintf("%d %x", b.Rows[i].Seq, b.Tuple(i)))
	}
	failures, err := s.Failures(-1<<63, 0)
	must(t, err)
	for _, f := range failures {
		failed = append(failed, describe(f))
	}
	return staged, failed
}

// unchanged fails the test if fn changes what the store holds, counts or knows
// of its chunks.
func unchanged(t *testing.T, s *Store, fn func()) {
	t.Helper()
	staged, failed := contents(t, s)
	counts, known := s.Counts(), slices.Clone(s.extents)
	fn()
	nowStaged, nowFailed := contents(t, s)
	if !slices.Equal(staged, nowStaged) || !slices.Equal(failed, nowFailed) {
		t.Errorf("contents changed:\n%q\n%q\nwere:\n%q\n%q", nowStaged, nowFailed, staged, failed)
	}
	if s.Counts() != counts || !slices.Equal(s.extents, known) {
		t.Errorf("counts changed: %+v, were %+v; chunks %v, were %v", s.Counts(), counts, s.extents, known)
	}
	consistent(t, s)
}

// consistent checks what the store knows of its chunks against the table.
func consistent(t *testing.T, s *Store) {
	t.Helper()
	rows, err := s.conn.QueryContext(t.Context(), "SELECT first, data FROM main.chunk ORDER BY first")
	must(t, err)
	defer rows.Close()
	var n, bytes int64
	i := 0
	for ; rows.Next(); i++ {
		var first int64
		var data chunk
		must(t, rows.Scan(&first, (*[]byte)(&data)))
		must(t, data.check())
		if i == len(s.extents) {
			t.Fatalf("the chunk of row %d is not known", first)
		}
		skip := s.extents[i].rowsTo(s.settled)
		want := extent{first, first + int64(data.rows()) - 1, int64(len(data) - data.offset(skip))}
		if s.extents[i] != want || skip == data.rows() {
			t.Fatalf("the chunk of row %d is known as %+v, and is %+v, %d rows of it settled", first, s.extents[i], want, skip)
		}
		n += int64(data.rows() - skip)
		bytes += want.bytes
	}
	must(t, rows.Err())
	if c := s.Counts(); i != len(s.extents) || c.Rows != n || c.Bytes != bytes {
		t.Fatalf("%d chunks of %d; counts %+v, want %d rows and %d bytes", i, len(s.extents), c, n, bytes)
	}
}
