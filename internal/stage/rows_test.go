package stage

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"modernc.org/sqlite"

	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

func TestReadKeepsToItsLimits(t *testing.T) {
	s := open(t, testConfig)
	size := len(row("/f", -1))
	for _, batch := range [][]int64{{0, 1, 2}, {10, 11}, {12}, {20, 21, 22, 23}} {
		var b tuple.Batch
		for _, seq := range batch {
			b.Append(seq, row("/f", -1))
		}
		must(t, s.Append(&b))
	}
	for _, c := range []struct {
		settled, after int64
		rows, bytes    int
		want           []int64
	}{
		{settled: -1, after: -1, want: []int64{0, 1, 2, 10, 11, 12, 20, 21, 22, 23}},
		{settled: -1, after: 0, want: []int64{1, 2, 10, 11, 12, 20, 21, 22, 23}},
		{settled: -1, after: 1, rows: 3, want: []int64{2, 10, 11}},
		{settled: -1, after: 2, rows: 2, want: []int64{10, 11}},
		{settled: -1, after: 5, rows: 5, want: []int64{10, 11, 12, 20, 21}},
		{settled: -1, after: -1, rows: 3, bytes: 2 * size, want: []int64{0, 1}},
		{settled: -1, after: 1, rows: 9, bytes: 4 * size, want: []int64{2, 10, 11, 12}},
		{settled: -1, after: -1, bytes: 2*size - 1, want: []int64{0}},
		{settled: -1, after: 1, bytes: 2*size - 1, want: []int64{2}},
		{settled: -1, after: -1, bytes: 1, want: []int64{0}},
		{settled: -1, after: 22, bytes: 1, want: []int64{23}},
		{settled: -1, after: 23},
		{settled: -1, after: 1<<63 - 1},
		{settled: 1, after: -1 << 63, rows: 2, want: []int64{2, 10}},
		{settled: 10, after: 0, rows: 2, want: []int64{11, 12}},
		{settled: 10, after: 11, rows: 2, want: []int64{12, 20}},
		{settled: 15, after: 0, rows: 2, want: []int64{20, 21}},
		{settled: 99, after: 0},
	} {
		must(t, s.Settle(c.settled, nil))
		var got tuple.Batch
		got.Append(7, []byte("old"))
		must(t, s.Read(c.after, c.rows, c.bytes, &got))
		var seqs []int64
		for i := range got.Rows {
			seqs = append(seqs, got.Rows[i].Seq)
			if !bytes.Equal(got.Tuple(i), row("/f", -1)) {
				t.Errorf("%+v: row %d is %q", c, got.Rows[i].Seq, got.Tuple(i))
			}
		}
		if !slices.Equal(seqs, c.want) || len(got.Data) != size*len(seqs) {
			t.Errorf("%+v: rows %v, %d bytes", c, seqs, len(got.Data))
		}
	}
}

// A chunk holds some hundred rows: a read may begin and end in any of them.
func TestReadBeginsAndEndsAnywhere(t *testing.T) {
	s := open(t, testConfig)
	var b tuple.Batch
	for seq := range int64(1000) {
		b.Append(seq, row(strings.Repeat("x", 400), seq))
	}
	must(t, s.Append(&b))
	var got tuple.Batch
	for after := int64(-1); after < 1000; after += 7 {
		for _, n := range []int{1, 150, 500} {
			must(t, s.Read(after, n, 0, &got))
			lo := int(after) + 1
			hi := min(lo+n, 1000)
			if got.Len() != max(0, hi-lo) {
				t.Fatalf("after %d: %d rows of %d", after, got.Len(), n)
			}
			for i := range got.Rows {
				if got.Rows[i].Seq != int64(lo+i) || !bytes.Equal(got.Tuple(i), b.Tuple(lo+i)) {
					t.Fatalf("after %d: row %d is %d, %q", after, i, got.Rows[i].Seq, got.Tuple(i))
				}
			}
		}
	}
}

func TestReadAllocatesNothingPerRow(t *testing.T) {
	s := open(t, testConfig)
	stage(t, s, 1, 10_000)
	var b tuple.Batch
	must(t, s.Read(0, 0, 0, &b))
	if n := testing.AllocsPerRun(10, func() { must(t, s.Read(0, 0, 0, &b)) }); n > 200 {
		t.Errorf("%v allocations for 10,000 rows", n)
	}
}

func TestAppendRefusesNumbersThatDoNotGrow(t *testing.T) {
	s := open(t, testConfig)
	stage(t, s, 5, 9)
	for _, c := range []struct {
		seqs []int64
		want string
	}{
		{[]int64{9}, "the first arrival number 9 is not above 9"},
		{[]int64{3}, "is not above 9"},
		{[]int64{10, 10}, "stage row 1 of 2: its arrival number 10 does not follow 10"},
		{[]int64{10, 12}, "its arrival number 12 does not follow 10"},
		{[]int64{11, 10}, "its arrival number 10 does not follow 11"},
	} {
		var b tuple.Batch
		for _, seq := range c.seqs {
			b.Append(seq, row("/x", 1))
		}
		unchanged(t, s, func() {
			if err := s.Append(&b); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%d: error %v, want %q", c.seqs, err, c.want)
			}
		})
	}
	must(t, s.Settle(9, nil))
	var b tuple.Batch
	b.Append(9, row("/x", 1))
	if err := s.Append(&b); err == nil {
		t.Error("the number of a settled row was taken again")
	}
	must(t, s.Append(new(tuple.Batch)))
	stage(t, s, 20, 21) // a gap between batches is allowed
}

func TestAppendTakesRowsInAnyOrderOfMemory(t *testing.T) {
	s := open(t, testConfig)
	var b tuple.Batch
	for seq := range int64(3) {
		b.Append(2-seq, row("/x", 2-seq))
		b.Data = append(b.Data, "unused"...)
	}
	slices.Reverse(b.Rows)
	must(t, s.Append(&b))
	got, err := s.Page(-1, 0)
	must(t, err)
	for i := range got.Rows {
		if got.Rows[i].Seq != int64(i) || !bytes.Equal(got.Tuple(i), row("/x", int64(i))) {
			t.Errorf("row %d is %d, %q", i, got.Rows[i].Seq, got.Tuple(i))
		}
	}
	if got.Len() != 3 {
		t.Errorf("%d rows", got.Len())
	}
}

// limitBlobs makes SQLite refuse longer chunks in the middle of a statement.
func limitBlobs(t *testing.T, s *Store, n int) {
	t.Helper()
	const limitLength = 0
	if _, err := sqlite.Limit(s.conn, limitLength, n); err != nil {
		t.Fatal(err)
	}
}

func TestFailedAppendChangesNothing(t *testing.T) {
	s := open(t, testConfig)
	stage(t, s, 0, 2000)
	must(t, s.Settle(99, nil))
	unchanged(t, s, func() {
		limitBlobs(t, s, 70_000)
		defer limitBlobs(t, s, 1e9)
		var b tuple.Batch
		for seq := range int64(1000) {
			size := 300
			if seq == 700 {
				size = 80_000
			}
			b.Append(3000+seq, row(strings.Repeat("x", size), 1))
		}
		err := s.Append(&b)
		if err == nil || !strings.Contains(err.Error(), "too big") {
			t.Fatalf("error %v, want too big", err)
		}
		if want := "stage the rows 3700 to 3700, 80018 bytes, out of 1000 rows"; !strings.Contains(err.Error(), want) {
			t.Errorf("error %q does not say %q", err, want)
		}
	})
	unchanged(t, s, func() {
		b := tuple.Batch{Rows: []tuple.Span{{Len: tuple.MaxLen + 1, Seq: 3000}}}
		if err := s.Append(&b); err == nil || !strings.Contains(err.Error(), "stage row 0 of 1 (arrival number 3000)") {
			t.Errorf("error %v", err)
		}
	})
	stage(t, s, 3000, 3999) // the numbers of the failed Append are free
	consistent(t, s)
}

func TestTuplesOfManyMegabytes(t *testing.T) {
	s := open(t, testConfig)
	var b tuple.Batch
	for i, n := range []int{1, 60_000, 65_000, 65_472 - 22, 65_473 - 22, 70_000, 33 << 20, 0, 5} {
		b.Append(int64(i), row(strings.Repeat("x", n), 1))
	}
	b.Append(int64(b.Len()), nil)
	must(t, s.Append(&b))
	consistent(t, s)
	var got tuple.Batch
	must(t, s.Read(-1, 0, 0, &got))
	if !bytes.Equal(got.Data, b.Data) || !slices.Equal(got.Rows, b.Rows) {
		t.Error("the rows came back otherwise than they went in")
	}
	must(t, s.Settle(6, nil))
	consistent(t, s)
	if c := s.Counts(); c.Rows != 3 {
		t.Errorf("counts %+v", c)
	}
	must(t, s.Settle(10, nil))
	if c := s.Counts(); c != (Counts{}) {
		t.Errorf("counts %+v", c)
	}
}

// A page of large rows is bounded in bytes, too, and goes on where it ended.
func TestPagesOfLargeRows(t *testing.T) {
	s := open(t, testConfig)
	large := strings.Repeat("x", pageBytes/4-100)
	var failed []Failure
	for seq := int64(1); seq <= 12; seq++ {
		b := &tuple.Batch{}
		b.Append(seq, row(large, seq))
		must(t, s.Append(b))
		if seq <= 6 {
			failed = append(failed, Failure{Seq: seq, Tuple: b.Tuple(0)})
		}
	}
	must(t, s.Settle(6, failed))
	var rows, refused []int64
	for after := int64(0); ; {
		page, err := s.Page(after, 100)
		must(t, err)
		if page.Len() == 0 {
			break
		}
		if page.Bytes() > pageBytes {
			t.Errorf("a page of %d bytes", page.Bytes())
		}
		for _, r := range page.Rows {
			rows = append(rows, r.Seq)
		}
		after = rows[len(rows)-1]
	}
	for after := int64(0); ; {
		page, err := s.Failures(after, 100)
		must(t, err)
		if len(page) == 0 {
			break
		}
		if len(page) > 5 {
			t.Errorf("a page of %d large failed rows", len(page))
		}
		for _, f := range page {
			refused = append(refused, f.Seq)
		}
		after = refused[len(refused)-1]
	}
	if fmt.Sprint(rows, refused) != "[7 8 9 10 11 12] [1 2 3 4 5 6]" {
		t.Errorf("rows %v, failed %v", rows, refused)
	}
}

// An error of SQLite before it took the first row of a statement ended the
// process, if the statement before had more rows.
func TestAnErrorBeforeTheFirstRow(t *testing.T) {
	s := open(t, testConfig)
	stage(t, s, 1, 5000) // many chunks
	var failed []Failure
	for seq := range int64(9) {
		failed = append(failed, Failure{Seq: seq + 1, Tuple: row("/x", 1)})
	}
	must(t, s.Settle(0, failed))
	must(t, errors.Join(s.insert.Close(), s.fail.Close()))
	var b tuple.Batch
	b.Append(5001, row("/x", 1))
	if err := s.Append(&b); err == nil || !strings.Contains(err.Error(), "5001") {
		t.Errorf("Append: %v", err)
	}
	if err := s.Settle(0, []Failure{{Seq: 10, Tuple: row("/x", 1)}}); err == nil {
		t.Error("Settle kept a failure without a statement")
	}
}
