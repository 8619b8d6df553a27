package stage

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"modernc.org/sqlite"

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
	if err := s.Append(&b); err != nil {
		t.Fatal(err)
	}
}

// contents lists the staged rows and the failed rows, as text.
func contents(t *testing.T, s *Store) (staged, failed []string) {
	t.Helper()
	b, err := s.Page(-1<<63, 0)
	if err != nil {
		t.Fatal(err)
	}
	for i := range b.Rows {
		staged = append(staged, fmt.Sprintf("%d %x", b.Rows[i].Seq, b.Tuple(i)))
	}
	failures, err := s.Failures(-1<<63, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range failures {
		failed = append(failed, fmt.Sprintf("%d %x %s %s %s %d %d %d", f.Seq, f.Tuple, f.SQLState, f.Column, f.Message,
			f.Attempts, f.First.UnixMicro(), f.Last.UnixMicro()))
	}
	return staged, failed
}

// unchanged fails the test if fn changes what the store holds or counts.
func unchanged(t *testing.T, s *Store, fn func()) {
	t.Helper()
	staged, failed := contents(t, s)
	counts := s.Counts()
	fn()
	nowStaged, nowFailed := contents(t, s)
	if !slices.Equal(staged, nowStaged) || !slices.Equal(failed, nowFailed) {
		t.Errorf("contents changed:\n%q\n%q\nwere:\n%q\n%q", nowStaged, nowFailed, staged, failed)
	}
	if s.Counts() != counts {
		t.Errorf("counts changed: %+v, were %+v", s.Counts(), counts)
	}
}

func TestReadKeepsToItsLimits(t *testing.T) {
	s := open(t, testConfig)
	var b tuple.Batch
	for seq := range int64(10) {
		b.Append(seq*10, row("/f", -1)) // 12 bytes
	}
	if err := s.Append(&b); err != nil {
		t.Fatal(err)
	}
	size := len(b.Tuple(0))
	for _, c := range []struct {
		after            int64
		rows, bytes      int
		want, first, end int64
	}{
		{after: -1, want: 10, first: 0, end: 90},
		{after: 0, want: 9, first: 10, end: 90},
		{after: 5, rows: 3, want: 3, first: 10, end: 30},
		{after: -1, rows: 3, bytes: 2 * size, want: 2, first: 0, end: 10},
		{after: -1, bytes: 2*size - 1, want: 1, first: 0, end: 0},
		{after: -1, bytes: 1, want: 1, first: 0, end: 0},
		{after: 89, bytes: 1, want: 1, first: 90, end: 90},
		{after: 90, want: 0},
	} {
		var got tuple.Batch
		got.Append(7, []byte("old"))
		if err := s.Read(c.after, c.rows, c.bytes, &got); err != nil {
			t.Fatal(err)
		}
		if int64(got.Len()) != c.want {
			t.Errorf("%+v: %d rows", c, got.Len())
		} else if c.want > 0 && (got.Rows[0].Seq != c.first || got.Rows[got.Len()-1].Seq != c.end || !bytes.Equal(got.Tuple(0), b.Tuple(0))) {
			t.Errorf("%+v: rows %+v", c, got.Rows)
		}
	}
}

func TestAppendRefusesNumbersThatDoNotGrow(t *testing.T) {
	s := open(t, testConfig)
	stage(t, s, 5, 9)
	for _, seqs := range [][]int64{{9}, {3}, {10, 10}, {11, 10}} {
		var b tuple.Batch
		for _, seq := range seqs {
			b.Append(seq, row("/x", 1))
		}
		unchanged(t, s, func() {
			if err := s.Append(&b); err == nil || !strings.Contains(err.Error(), "is not above") {
				t.Errorf("%d: error %v", seqs, err)
			}
		})
	}
	if err := s.Settle(5, 9, nil); err != nil {
		t.Fatal(err)
	}
	var b tuple.Batch
	b.Append(9, row("/x", 1))
	if err := s.Append(&b); err == nil {
		t.Error("the number of a settled row was taken again")
	}
}

// limitBlobs makes SQLite refuse longer tuples in the middle of a statement.
func limitBlobs(t *testing.T, s *Store, n int) {
	t.Helper()
	const limitLength = 0
	if _, err := sqlite.Limit(s.conn, limitLength, n); err != nil {
		t.Fatal(err)
	}
}

func TestFailedStatementsChangeNothing(t *testing.T) {
	s := open(t, testConfig)
	stage(t, s, 0, 2000)
	fail := []Failure{{Seq: 7, Tuple: row("/f7", 7), SQLState: "22001", Message: "too long", Attempts: 1}}
	if err := s.Settle(0, 99, fail); err != nil {
		t.Fatal(err)
	}

	unchanged(t, s, func() {
		limitBlobs(t, s, 5000)
		defer limitBlobs(t, s, 1e9)
		var b tuple.Batch
		for seq := range int64(1000) {
			b.Append(3000+seq, row(strings.Repeat("x", int(seq)*10), 1))
		}
		err := s.Append(&b)
		if err == nil || !strings.Contains(err.Error(), "too big") {
			t.Fatalf("error %v, want too big", err)
		}
		if want := "stage row 498 of 1000 (arrival number 3498, 4998 bytes)"; !strings.Contains(err.Error(), want) {
			t.Errorf("error %q does not say %q", err, want)
		}
	})
	unchanged(t, s, func() {
		if err := s.Settle(100, 1999, fail); err == nil || !strings.Contains(err.Error(), "row 7") {
			t.Errorf("a second failure of row 7: error %v", err)
		}
	})
	unchanged(t, s, func() {
		if _, _, err := s.Requeue(-1, 0, func() int64 { return 2000 }); err == nil {
			t.Error("Requeue under a number in use")
		}
	})
	stage(t, s, 3000, 3999) // the numbers of the failed Append are free
}

func TestRequeuedRowKeepsItsHistory(t *testing.T) {
	s := open(t, testConfig)
	stage(t, s, 1, 3)
	at := func(sec int64) time.Time { return time.Unix(sec, 123000).UTC() }
	fail := func(seq int64, attempts int, sec int64) Failure {
		return Failure{Seq: seq, Tuple: row("/f2", 2), SQLState: "23502", Column: "size", Message: "null value", Attempts: attempts, First: at(sec), Last: at(sec)}
	}
	if err := s.Settle(1, 3, []Failure{fail(2, 2, 100)}); err != nil {
		t.Fatal(err)
	}
	next := int64(9)
	n, size, err := s.Requeue(0, 10, func() int64 { next++; return next })
	if err != nil || n != 1 || size != int64(len(row("/f2", 2))) {
		t.Fatalf("requeued %d rows, %d bytes, error %v", n, size, err)
	}
	if c := s.Counts(); c != (Counts{Rows: 1, Bytes: size}) {
		t.Errorf("counts %+v", c)
	}
	if err := s.Settle(10, 10, []Failure{fail(10, 1, 200)}); err != nil {
		t.Fatal(err)
	}
	got, err := s.Failures(0, 0)
	if err != nil || len(got) != 1 {
		t.Fatalf("failures %+v, error %v", got, err)
	}
	want := fail(10, 3, 200)
	want.First = at(100)
	if fmt.Sprint(got[0]) != fmt.Sprint(want) {
		t.Errorf("got %+v, want %+v", got[0], want)
	}
	if s.retried != 0 {
		t.Errorf("%d retries are still remembered", s.retried)
	}
	if n, _, err := s.Requeue(10, 0, nil); n != 0 || err != nil {
		t.Errorf("requeue after the last: %d, error %v", n, err)
	}
}

func TestSettleWithoutRangeOnlyAddsFailures(t *testing.T) {
	s := open(t, testConfig)
	stage(t, s, 5, 6)
	if err := s.Settle(0, -1, []Failure{{Seq: 1, Tuple: row("/a", 1)}, {Seq: 5, Tuple: row("/b", 1)}}); err != nil {
		t.Fatal(err)
	}
	if c := s.Counts(); c.Rows != 2 || c.FailedRows != 2 || c.FailedBytes != int64(len(row("/a", 1))*2) {
		t.Errorf("counts %+v", c)
	}
}

func TestSettlingTwiceCountsOnce(t *testing.T) {
	s := open(t, testConfig)
	stage(t, s, 1, 9)
	var b tuple.Batch
	must(t, s.Read(0, 5, 0, &b))
	for range 2 {
		must(t, s.Settle(1, 5, nil))
		if c := s.Counts(); c != (Counts{Rows: 4, Bytes: 4 * int64(len(row("/f9", 9)))}) {
			t.Errorf("counts %+v", c)
		}
	}
}

func TestTuplesOfManyMegabytes(t *testing.T) {
	s := open(t, testConfig)
	var b tuple.Batch
	for i, n := range []int{1, 60_000, 70_000, 33 << 20, 0} {
		b.Append(int64(i), row(strings.Repeat("x", n), 1))
	}
	if err := s.Append(&b); err != nil {
		t.Fatal(err)
	}
	var got tuple.Batch
	if err := s.Read(-1, 0, 0, &got); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Data, b.Data) || !slices.Equal(got.Rows, b.Rows) {
		t.Error("the rows came back otherwise than they went in")
	}
	if err := s.Settle(0, 10, nil); err != nil {
		t.Fatal(err)
	}
	if c := s.Counts(); c != (Counts{}) {
		t.Errorf("counts %+v", c)
	}
}

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
	if c := s.Counts(); full < c.Bytes || float64(full) > 1.15*float64(c.Bytes) {
		t.Errorf("%d bytes for tuples of %d bytes", full, c.Bytes)
	}
	if err := s.Settle(10, 49_999, nil); err != nil {
		t.Fatal(err)
	}
	if err := s.Trim(); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Memory(); err != nil || got > empty+2*pageSize {
		t.Errorf("%d bytes for 10 rows, %d when it was empty, error %v", got, empty, err)
	}
	if staged, _ := contents(t, s); len(staged) != 10 {
		t.Errorf("%d rows are left, want 10", len(staged))
	}
}

func TestClosedStoreSaysSo(t *testing.T) {
	s := open(t, testConfig)
	stage(t, s, 1, 1)
	for range 2 {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	var b tuple.Batch
	b.Append(2, row("/x", 1))
	for name, call := range map[string]func() error{
		"Append":   func() error { return s.Append(&b) },
		"Read":     func() error { return s.Read(0, 0, 0, &b) },
		"Page":     func() error { _, err := s.Page(0, 1); return err },
		"Settle":   func() error { return s.Settle(1, 1, nil) },
		"Failures": func() error { _, err := s.Failures(0, 1); return err },
		"Requeue":  func() error { _, _, err := s.Requeue(0, 1, nil); return err },
		"Query":    func() error { _, _, err := s.Query(context.Background(), "SELECT 1"); return err },
		"Memory":   func() error { _, err := s.Memory(); return err },
		"Trim":     s.Trim,
	} {
		if err := call(); !errors.Is(err, ErrClosed) {
			t.Errorf("%s: error %v, want ErrClosed", name, err)
		}
	}
	if s.Counts().Rows != 1 {
		t.Errorf("counts %+v", s.Counts())
	}
}

// Many writers live in one process, next to the host program's own SQLite.
func TestStoresSideBySide(t *testing.T) {
	host, err := sql.Open("sqlite", ":memory:")
	if err != nil {
		t.Fatal(err)
	}
	defer host.Close()
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for round := range 5 {
				s, err := Open(testConfig)
				if err != nil {
					t.Error(err)
					return
				}
				stage(t, s, 0, 99)
				if err := s.Settle(0, int64(g), nil); err != nil {
					t.Error(err)
				}
				_, rows, err := s.Query(context.Background(), "SELECT min(size) FROM files")
				if err != nil || rows[0][0] != int64(g+1) {
					t.Errorf("store %d.%d: %v, error %v", g, round, rows, err)
				}
				if _, err := host.Exec("SELECT 1"); err != nil {
					t.Error(err)
				}
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if _, err := host.Exec("SELECT " + fieldName + "(x'', 0, 0)"); err == nil {
		t.Error("the host's driver knows our function")
	}
}

// The stager appends, the syncer reads and settles, and others look on, with
// contexts that end at any moment. Every row is seen exactly once.
func TestConcurrentUse(t *testing.T) {
	s := open(t, testConfig)
	const rows = 20_000
	var writers, watchers sync.WaitGroup
	writers.Go(func() {
		var b tuple.Batch
		for lo := int64(1); lo <= rows; lo += 100 {
			b.Reset()
			for seq := lo; seq < lo+100; seq++ {
				b.Append(seq, row("/f", seq))
			}
			if err := s.Append(&b); err != nil {
				t.Error(err)
				return
			}
		}
	})
	writers.Go(func() {
		var b tuple.Batch
		for after := int64(0); after < rows; {
			if err := s.Read(after, 250, 0, &b); err != nil {
				t.Error(err)
				return
			}
			for i := range b.Rows {
				if after++; b.Rows[i].Seq != after {
					t.Errorf("read row %d, want %d", b.Rows[i].Seq, after)
					return
				}
			}
			if b.Len() > 0 {
				if err := s.Settle(b.Rows[0].Seq, after, nil); err != nil {
					t.Error(err)
					return
				}
			}
		}
	})
	done := make(chan struct{})
	watch := func(look func(r *rand.Rand) error) {
		watchers.Go(func() {
			r := rand.New(rand.NewPCG(1, 2))
			for {
				select {
				case <-done:
					return
				default:
				}
				if err := look(r); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	watch(func(r *rand.Rand) error {
		ctx, cancel := context.WithTimeout(context.Background(), time.Duration(r.IntN(2000))*time.Microsecond)
		defer cancel()
		_, _, err := s.Query(ctx, "SELECT count(*), max(path) FROM files")
		if errors.Is(err, context.DeadlineExceeded) {
			return nil
		}
		return err
	})
	watch(func(*rand.Rand) error {
		if c := s.Counts(); c.Rows < 0 || c.Rows > rows || c.Bytes != c.Rows*int64(len(row("/f", 1))) {
			return fmt.Errorf("counts %+v", c)
		}
		return s.Trim()
	})
	writers.Wait()
	close(done)
	watchers.Wait()
	if c := s.Counts(); c != (Counts{}) {
		t.Errorf("counts %+v", c)
	}
}

// model is what a store should hold.
type model struct {
	staged map[int64][]byte
	failed map[int64]Failure
	tries  map[int64]Failure // of staged rows that failed before
}

func (m *model) staging() (seqs []int64) {
	for seq := range m.staged {
		seqs = append(seqs, seq)
	}
	slices.Sort(seqs)
	return seqs
}

func TestRandomHistoryAgainstModel(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { history(t, rand.New(rand.NewPCG(seed, 1)), 300) })
	}
}

func history(t *testing.T, r *rand.Rand, steps int) {
	s := open(t, testConfig)
	m := model{map[int64][]byte{}, map[int64]Failure{}, map[int64]Failure{}}
	seq := int64(0)
	next := func() int64 { seq += 1 + r.Int64N(3); return seq }
	var into tuple.Batch
	for step := range steps {
		switch op := r.IntN(10); op {
		case 0, 1, 2:
			var b tuple.Batch
			for range r.IntN(150) {
				n, tup := next(), row(strings.Repeat("x", r.IntN(300)), r.Int64N(9)-1)
				b.Append(n, tup)
				m.staged[n] = tup
			}
			must(t, s.Append(&b))
		case 3, 4, 5, 6: // read a batch and settle what was read, or what else there is
			after := int64(-1)
			if seqs := m.staging(); op == 6 && len(seqs) > 0 {
				after = seqs[r.IntN(len(seqs))]
			}
			must(t, s.Read(after, r.IntN(200), r.IntN(50_000), &into))
			if into.Len() == 0 {
				continue
			}
			lo, hi := into.Rows[0].Seq, into.Rows[into.Len()-1].Seq
			if op == 5 {
				lo, hi = lo+r.Int64N(9), hi+r.Int64N(9)
			}
			m.settle(t, s, r, step, lo, hi)
		case 7:
			limit := 1 + r.IntN(20)
			olds := sortedFailures(m.failed)
			olds = olds[:min(limit, len(olds))]
			before := seq
			n, _, err := s.Requeue(-1, limit, next)
			must(t, err)
			if n != len(olds) {
				t.Fatalf("step %d: requeued %d rows, want %d", step, n, len(olds))
			}
			var b tuple.Batch
			must(t, s.Read(before, 0, 0, &b))
			for i, old := range olds {
				f := m.failed[old]
				delete(m.failed, old)
				m.staged[b.Rows[i].Seq], m.tries[b.Rows[i].Seq] = f.Tuple, f
			}
		case 8:
			must(t, s.Trim())
		case 9:
			ctx, cancel := context.WithCancel(context.Background())
			cancel()
			if _, _, err := s.Query(ctx, "SELECT * FROM files"); !errors.Is(err, context.Canceled) {
				t.Fatalf("step %d: error %v", step, err)
			}
		}
		if step%25 == 0 {
			m.compare(t, s, step)
		}
	}
	m.compare(t, s, steps)
}

func (m *model) settle(t *testing.T, s *Store, r *rand.Rand, step int, lo, hi int64) {
	var failed []Failure
	for _, seq := range m.staging() {
		if seq < lo || seq > hi {
			continue
		}
		if r.IntN(20) == 0 {
			at := time.UnixMicro(int64(step)).UTC()
			f := Failure{Seq: seq, Tuple: m.staged[seq], SQLState: "22000", Column: "c", Message: "m", Attempts: 1, First: at, Last: at}
			failed = append(failed, f)
			if before, ok := m.tries[seq]; ok {
				f.Attempts, f.First = f.Attempts+before.Attempts, before.First
			}
			m.failed[seq] = f
		}
		delete(m.staged, seq)
		delete(m.tries, seq)
	}
	must(t, s.Settle(lo, hi, failed))
}

func (m *model) compare(t *testing.T, s *Store, step int) {
	t.Helper()
	var want Counts
	var staged, failed []string
	for _, seq := range m.staging() {
		staged = append(staged, fmt.Sprintf("%d %x", seq, m.staged[seq]))
		want.Rows++
		want.Bytes += int64(len(m.staged[seq]))
	}
	for _, seq := range sortedFailures(m.failed) {
		f := m.failed[seq]
		failed = append(failed, fmt.Sprintf("%d %x %s %s %s %d %d %d", seq, f.Tuple, f.SQLState, f.Column, f.Message,
			f.Attempts, f.First.UnixMicro(), f.Last.UnixMicro()))
		want.FailedRows++
		want.FailedBytes += int64(len(f.Tuple))
	}
	gotStaged, gotFailed := contents(t, s)
	if !slices.Equal(gotStaged, staged) || !slices.Equal(gotFailed, failed) {
		t.Fatalf("step %d: the store has other rows than the model: %d staged of %d, %d failed of %d",
			step, len(gotStaged), len(staged), len(gotFailed), len(failed))
	}
	if s.Counts() != want || s.retried != int64(len(m.tries)) {
		t.Fatalf("step %d: counts %+v and %d retried, want %+v and %d", step, s.Counts(), s.retried, want, len(m.tries))
	}
}

func sortedFailures(failed map[int64]Failure) (seqs []int64) {
	for seq := range failed {
		seqs = append(seqs, seq)
	}
	slices.Sort(seqs)
	return seqs
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
