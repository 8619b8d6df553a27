package journal_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"testing"

	"go.uber.org/goleak"

	"github.com/memdbwriter/memdbwriter/internal/journal"
	"github.com/memdbwriter/memdbwriter/internal/journal/faultfs"
	"github.com/memdbwriter/memdbwriter/internal/journal/fsys"
	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var columns = []tuple.Column{
	{Name: "id", Type: tuple.Int8},
	{Name: "note", Type: tuple.Text, Nullable: true},
}

func config(fs fsys.FS) journal.Config {
	return journal.Config{Dir: "dir", Table: "public.Files", Writer: "postgres://db/1", Columns: columns, FS: fs}
}

// row is the tuple of a row: its number, and a text of a length that depends
// on it.
func row(seq int64) []byte {
	text := bytes.Repeat([]byte{'a' + byte(seq%26)}, int(seq*7%90))
	b := binary.BigEndian.AppendUint16(nil, 2)
	b = binary.BigEndian.AppendUint32(b, 8)
	b = binary.BigEndian.AppendUint64(b, uint64(seq))
	b = binary.BigEndian.AppendUint32(b, uint32(len(text)))
	return append(b, text...)
}

func rows(from, to int64) *tuple.Batch {
	b := &tuple.Batch{}
	for seq := from; seq <= to; seq++ {
		b.Append(seq, row(seq))
	}
	return b
}

func failure(seq int64) journal.Failure {
	return journal.Failure{
		Seq: seq, Tuple: row(seq), SQLState: "22001", Column: "note", Constraint: "rule", Message: fmt.Sprintf("row %d is too long", seq), Attempts: 1,
	}
}

// found is what a recovery hands out.
type found struct {
	*journal.Recovery
	rows   []int64
	failed []journal.Failure
}

// replay recovers, and checks what must hold for every recovery.
func replay(t testing.TB, cfg journal.Config) *found {
	t.Helper()
	rec, err := journal.Scan(cfg)
	if err != nil {
		t.Fatal(err)
	}
	f := &found{Recovery: rec}
	if err := rec.Replay(f.visitor(t)); err != nil {
		t.Fatal(err)
	}
	return f
}

func (f *found) visitor(t testing.TB) journal.Visitor {
	check := func(seq int64, got []byte) {
		if !bytes.Equal(got, row(seq)) {
			t.Fatalf("row %d is not what was appended: %x", seq, got)
		}
	}
	return journal.Visitor{
		Rows: func(b *tuple.Batch) error {
			for i, s := range b.Rows {
				check(s.Seq, b.Tuple(i))
				if n := len(f.rows); n > 0 && f.rows[n-1] >= s.Seq {
					t.Fatalf("row %d after row %d", s.Seq, f.rows[n-1])
				}
				f.rows = append(f.rows, s.Seq)
			}
			return nil
		},
		Failed: func(r *journal.Failure) error {
			check(r.Seq, r.Tuple)
			kept := *r
			kept.Tuple = slices.Clone(r.Tuple)
			f.failed = append(f.failed, kept)
			return nil
		},
	}
}

// writer begins to write behind what was recovered.
func (f *found) writer(t testing.TB) *journal.Writer {
	t.Helper()
	w, err := f.Create()
	must(t, err)
	t.Cleanup(func() { _ = w.Close() }) // for those tests that do not
	return w
}

func open(t testing.TB, cfg journal.Config) *journal.Writer {
	t.Helper()
	return replay(t, cfg).writer(t)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// want fails unless exactly these rows wait, and exactly those had failed.
func (f *found) want(t testing.TB, waiting []int64, failed ...int64) {
	t.Helper()
	if !slices.Equal(f.rows, waiting) {
		t.Errorf("recovered rows %v, want %v", f.rows, waiting)
	}
	var got []int64
	for _, r := range f.failed {
		got = append(got, r.Seq)
	}
	slices.Sort(got)
	if !slices.Equal(got, failed) {
		t.Errorf("recovered failed rows %v, want %v", got, failed)
	}
	if f.Rows != int64(len(f.rows)) || f.FailedRows != int64(len(f.failed)) {
		t.Errorf("counted %d rows and %d failed, handed out %d and %d", f.Rows, f.FailedRows, len(f.rows), len(f.failed))
	}
}

func seq(from, to int64) (s []int64) {
	for ; from <= to; from++ {
		s = append(s, from)
	}
	return s
}

var ctx = context.Background()

func newFS() *faultfs.FS { return &faultfs.FS{} }
