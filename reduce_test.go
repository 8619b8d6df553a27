package memdbwriter

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/memdbwriter/memdbwriter/internal/dest"
	"github.com/memdbwriter/memdbwriter/internal/memtable"
	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

// ruled is a row with a column of each kind; which rules hold a test chooses.
type ruled struct {
	K int64 `db:"k,key"`
	V int64 `db:"v"`
	P int64 `db:"p"`
	S int64 `db:"s"`
	G bool  `db:"g"`
}

// rules are what the columns of ruled mean.
type rules struct {
	ignore, passive, insertOnly, guard, guardInsertOnly bool
}

func (r rules) table(tb testing.TB) *dest.Table {
	t := mustTable[ruled](tb, "t").shape
	t.Columns[2].Passive, t.Columns[3].InsertOnly = r.passive, r.insertOnly
	t.Columns[4].InsertOnly = r.guardInsertOnly
	if r.guard {
		t.Guard = "g"
	}
	if r.ignore {
		t.Policy = dest.Ignore
	}
	return &t
}

func mustTable[T any](tb testing.TB, name string, opts ...TableOption) Table[T] {
	tb.Helper()
	t, err := TableOf[T](name, opts...)
	if err != nil {
		tb.Fatal(err)
	}
	return t
}

// simulated is a table that keeps the rules and rejects some rows.
type simulated struct {
	tb     testing.TB
	codec  *tuple.Codec[ruled]
	rows   *memtable.Table
	bad    map[int64]bool  // sequence numbers that are rejected
	latest map[int64]int64 // of the rows written, by key
}

func (s *simulated) Check(context.Context) error { return nil }
func (s *simulated) Close() error                { return nil }

func (s *simulated) Write(_ context.Context, b *tuple.Batch) (dest.Result, error) {
	rows := make([]ruled, b.Len())
	for i := range rows {
		if err := s.codec.Decode(b.Tuple(i), &rows[i]); err != nil {
			s.tb.Fatal(err)
		}
		if i > 0 && rows[i-1].K >= rows[i].K {
			s.tb.Fatalf("the keys of a part do not ascend: %d, %d", rows[i-1].K, rows[i].K)
		}
		if s.bad[b.Rows[i].Seq] {
			return dest.Result{}, dest.RowErrorf(i, "", "23514", "%w", errors.New("bad"))
		}
	}
	for i, row := range rows {
		if seq := b.Rows[i].Seq; s.latest[row.K] >= seq {
			s.tb.Fatalf("row %d of key %d is written after row %d", seq, row.K, s.latest[row.K])
		} else {
			s.latest[row.K] = seq
		}
		s.put(s.rows, row)
	}
	return dest.Result{Way: dest.Upsert, RoundTrips: 1}, nil
}

// put is what a database does with one row.
func (s *simulated) put(into *memtable.Table, row ruled) {
	s.tb.Helper()
	enc, err := s.codec.Append(nil, &row)
	if err == nil {
		err = into.Put(enc)
	}
	if err != nil {
		s.tb.Fatal(err)
	}
}

// stored are the rows of a table by key.
func (s *simulated) stored(in *memtable.Table) map[int64]ruled {
	s.tb.Helper()
	rows := map[int64]ruled{}
	for _, enc := range in.Rows() {
		var row ruled
		if err := s.codec.Decode(enc, &row); err != nil {
			s.tb.Fatal(err)
		}
		rows[row.K] = row
	}
	return rows
}

// Whatever the rules of a table are, and whichever rows it rejects: a batch
// leaves what its rows leave when they are written one after another. Only
// passive columns may differ, and only where a row of the key was rejected.
func TestABatchLeavesWhatItsRowsLeave(t *testing.T) {
	seed := *historySeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("-history.seed=%d", seed)
	rng := rand.New(rand.NewPCG(seed, 3))
	for n := range 64 {
		r := rules{n&1 > 0, n&2 > 0, n&4 > 0, n&8 > 0, n&16 > 0}
		t.Run(fmt.Sprintf("%+v/%v", r, n&32 > 0), func(t *testing.T) {
			for range 300 {
				oneBatch(t, r, rng, n&32 > 0)
			}
		})
	}
}

func oneBatch(t *testing.T, r rules, rng *rand.Rand, rejects bool) {
	table := r.table(t)
	codec, err := tuple.NewCodec[ruled]()
	if err != nil {
		t.Fatal(err)
	}
	random := func(k int64) ruled {
		return ruled{K: k, V: rng.Int64N(3), P: rng.Int64N(1000), S: rng.Int64N(3), G: rng.IntN(6) == 0}
	}
	const keys = 3
	sink := &simulated{tb: t, codec: codec, rows: memtable.New(table), bad: map[int64]bool{}, latest: map[int64]int64{}}
	want := memtable.New(table)
	for k := range int64(keys) {
		if rng.IntN(2) == 0 {
			row := random(k)
			sink.put(sink.rows, row)
			sink.put(want, row)
		}
	}
	before := sink.stored(want)
	rejected := map[int64]bool{}
	b := &batch{}
	var rows []ruled
	for seq := range 1 + rng.Int64N(14) {
		row := random(rng.Int64N(keys))
		rows = append(rows, row)
		enc, err := codec.Append(nil, &row)
		if err != nil {
			t.Fatal(err)
		}
		b.Append(seq+1, enc)
		if rejects && rng.IntN(3) == 0 {
			sink.bad[seq+1], rejected[row.K] = true, true
			continue
		}
		sink.put(want, row)
	}
	c := &core{sink: sink, tally: newTally(), cfg: Config{SyncTimeout: time.Minute}}
	b.prepare(c, newReducer(table))
	if err := b.flush.run(context.Background()); err != nil {
		t.Fatal(err)
	}
	gotRows, wantRows := sink.stored(sink.rows), sink.stored(want)
	for k := range int64(keys) {
		got, want := gotRows[k], wantRows[k]
		if r.passive && rejected[k] {
			got.P, want.P = 0, 0
		}
		if got != want {
			t.Fatalf("%+v on %+v, rejected %v:\n got %+v\nwant %+v", rows, before, sink.bad, got, want)
		}
	}
}

// NULL and the empty string are different values: a row that has one after the
// other is a change, though their bytes are equal.
func TestNullIsNotAlikeTheEmptyString(t *testing.T) {
	type nullable struct {
		K int64   `db:"k,key"`
		V *string `db:"v"`
		P int64   `db:"p,passive"`
	}
	table := mustTable[nullable](t, "t").shape
	codec, err := tuple.NewCodec[nullable]()
	if err != nil {
		t.Fatal(err)
	}
	empty := ""
	for _, values := range [][2]*string{{nil, &empty}, {&empty, nil}} {
		sink, want := memtable.New(&table), memtable.New(&table)
		b := &tuple.Batch{}
		for i, v := range values {
			enc, err := codec.Append(nil, &nullable{K: 1, V: v, P: int64(i)})
			if err != nil {
				t.Fatal(err)
			}
			b.Append(int64(i+1), enc)
			if err := want.Put(enc); err != nil {
				t.Fatal(err)
			}
		}
		data := b.Data
		again, _ := newReducer(&table).reduce(b)
		for _, part := range append([][]tuple.Span{b.Rows}, again...) {
			for _, row := range part {
				if err := sink.Put(data[row.Off : row.Off+row.Len]); err != nil {
					t.Fatal(err)
				}
			}
		}
		if got, want := sink.Rows(), want.Rows(); len(got) != 1 || !bytes.Equal(got[0], want[0]) {
			t.Errorf("%q is stored, not %q", got, want)
		}
	}
}

// BenchmarkRejectedRowsOfOneKey is the worst case of a batch: all its rows have
// one key and all are rejected, so each is tried in the place of another. The
// time for a row must not depend on how many there are.
func BenchmarkRejectedRowsOfOneKey(b *testing.B) {
	codec, err := tuple.NewCodec[ruled]()
	if err != nil {
		b.Fatal(err)
	}
	for _, n := range []int{1_000, 10_000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			rows := &tuple.Batch{}
			for i := range n {
				enc, err := codec.Append(nil, &ruled{V: int64(i / 10), P: int64(i)})
				if err != nil {
					b.Fatal(err)
				}
				rows.Append(int64(i+1), enc)
			}
			r := newReducer(rules{passive: true, insertOnly: true, guard: true}.table(b))
			for b.Loop() {
				work := tuple.Batch{Data: rows.Data, Rows: append([]tuple.Span{}, rows.Rows...)}
				again, left := r.reduce(&work)
				todo, rejected := append([]tuple.Span{}, work.Rows...), 0
				for _, rows := range again {
					todo = append(todo, rows...)
				}
				for ; len(todo) > 0; rejected++ {
					last := len(todo) - 1
					todo = append(todo[:last], left.rejected(todo[last])...)
				}
				if rejected != n {
					b.Fatalf("%d of %d rows were tried", rejected, n)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/row")
		})
	}
}

// What the simulated tables do, real ones do too: a row that sets the guard
// protects what it wrote from the rest of its batch, and a row that goes back to
// the value before brings its passive columns along.
func TestRowsOfOneKeyInABatch(t *testing.T) {
	for where, place := range places {
		for kind, batch := range writers {
			t.Run(where+"/"+kind, func(t *testing.T) {
				t.Parallel()
				p := place(t)
				p.exec(t, "CREATE TABLE watched (k bigint PRIMARY KEY, v bigint NOT NULL, p bigint NOT NULL, done boolean)")
				w := openWriter(t, mustTable[watched](t, "watched", Guard("done")), p.Destination, Config{DisableMemoryDB: batch})
				mustAdd(t, w, watched{K: 1, V: 7, P: 1}, watched{K: 3, V: 7, P: 1})
				mustSync(t, w)
				mustAdd(t, w, watched{1, 7, 2, false}, watched{1, 8, 3, false}, watched{1, 7, 4, false}, watched{1, 7, 5, false})
				mustAdd(t, w, watched{2, 1, 1, true}, watched{2, 2, 2, false})
				mustAdd(t, w, watched{3, 7, 2, false})
				mustSync(t, w)
				wantRows(t, p, "SELECT k, v, p FROM watched ORDER BY k", "1|7|4", "2|1|1", "3|7|1")
				mustAdd(t, w, watched{2, 3, 3, false})
				mustStop(t, w)
				wantRows(t, p, "SELECT v FROM watched WHERE k = 2", "1")
				wantBalance(t, w.SyncStatus())
			})
		}
	}
}

type watched struct {
	K    int64 `db:"k,key"`
	V    int64 `db:"v"`
	P    int64 `db:"p,passive"`
	Done bool  `db:"done"`
}

type passiveGuard struct {
	K    int64 `db:"k,key"`
	Done bool  `db:"done,passive"`
}
