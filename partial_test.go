package memdbwriter

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"github.com/memdbwriter/memdbwriter/internal/dest"
	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

// sparse is a row that may leave out all but its key. Each column is of a kind;
// which rules hold a test chooses.
type sparse struct {
	K int64           `db:"k,key"`
	V Optional[int64] `db:"v"`
	P Optional[int64] `db:"p"`
	S Optional[int64] `db:"s"`
	G Optional[bool]  `db:"g"`
}

// or returns what a column holds after a row came: what the row has, else what
// was there or the default.
func or[T any](v Optional[T], before T) T {
	if v.Set {
		return v.V
	}
	return before
}

// upsertSparse is what a database does with a row that leaves out columns, whose
// defaults are zero.
func (r rules) upsertSparse(stored map[int64]ruled, row sparse) {
	old, ok := stored[row.K]
	merged := ruled{row.K, or(row.V, old.V), or(row.P, old.P), or(row.S, old.S), or(row.G, old.G)}
	if ok && r.insertOnly {
		merged.S = old.S
	}
	if ok && r.guardInsertOnly {
		merged.G = old.G
	}
	reason := merged
	if r.passive {
		reason.P = old.P
	}
	if !ok || !r.ignore && !(r.guard && old.G) && reason != old {
		stored[row.K] = merged
	}
}

// simulatedSparse is a table that keeps the rules and rejects some rows.
type simulatedSparse struct {
	simulated
	rules
	codec *tuple.Codec[sparse]
	rows  map[int64]ruled
}

func (s *simulatedSparse) Write(_ context.Context, b *tuple.Batch) (dest.Result, error) {
	if len(b.Uniform()) != 1 {
		s.tb.Fatal("the rows of a batch leave out different columns")
	}
	rows := make([]sparse, b.Len())
	for i := range rows {
		if err := s.codec.Decode(b.Tuple(i), &rows[i]); err != nil {
			s.tb.Fatal(err)
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
		s.upsertSparse(s.rows, row)
	}
	return dest.Result{Way: dest.Upsert, RoundTrips: 1}, nil
}

// What rows leave out they leave as it is, and a batch of such rows leaves what
// its rows leave one after another, whatever the rules of the table are and
// whichever rows it rejects.
func TestABatchOfRowsThatLeaveOutColumns(t *testing.T) {
	seed := *historySeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("-history.seed=%d", seed)
	rng := rand.New(rand.NewPCG(seed, 4))
	for n := range 64 {
		r := rules{n&1 > 0, n&2 > 0, n&4 > 0, n&8 > 0, n&16 > 0}
		t.Run(fmt.Sprintf("%+v/%v", r, n&32 > 0), func(t *testing.T) {
			for range 200 {
				oneSparseBatch(t, r, rng, n&32 > 0)
			}
		})
	}
}

func oneSparseBatch(t *testing.T, r rules, rng *rand.Rand, rejects bool) {
	codec, err := tuple.NewCodec[sparse]()
	if err != nil {
		t.Fatal(err)
	}
	full := rng.IntN(3) // how often rows leave out nothing, and so the same
	random := func(k int64) sparse {
		row := sparse{k, Some(rng.Int64N(3)), Some(rng.Int64N(1000)), Some(rng.Int64N(3)), Some(rng.IntN(6) == 0)}
		if rng.IntN(3) < full {
			return row
		}
		row.V.Set, row.P.Set, row.S.Set, row.G.Set = rng.IntN(2) == 0, rng.IntN(2) == 0, rng.IntN(2) == 0, rng.IntN(2) == 0
		return row
	}
	const keys = 3
	sink := &simulatedSparse{simulated{tb: t, bad: map[int64]bool{}, latest: map[int64]int64{}}, r, codec, map[int64]ruled{}}
	for k := range int64(keys) {
		if rng.IntN(2) == 0 {
			sink.rows[k] = ruled{K: k, V: 1, P: 1, S: 1}
		}
	}
	before, want := maps.Clone(sink.rows), maps.Clone(sink.rows)
	rejected := map[int64]bool{}
	b := &batch{}
	var rows []sparse
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
		r.upsertSparse(want, row)
	}
	c := &core{sink: sink, tally: newTally(), cfg: Config{SyncTimeout: time.Minute}}
	b.prepare(c, newReducer(r.table(t)))
	if err := b.flush.run(context.Background()); err != nil {
		t.Fatal(err)
	}
	for k := range int64(keys) {
		got, want := sink.rows[k], want[k]
		if r.passive && rejected[k] {
			got.P, want.P = 0, 0
		}
		if got != want {
			t.Fatalf("%+v on %+v, rejected %v:\n got %+v\nwant %+v", rows, before, sink.bad, got, want)
		}
	}
}

// Rows that leave out the same columns are reduced as others are, and those that
// take turns with them are not.
func TestRowsThatLeaveOutTheSameAreReduced(t *testing.T) {
	codec, err := tuple.NewCodec[sparse]()
	if err != nil {
		t.Fatal(err)
	}
	v, p, both := sparse{K: 1, V: Some[int64](1)}, sparse{K: 1, P: Some[int64](1)}, sparse{K: 1, V: Some[int64](1), P: Some[int64](1)}
	for name, c := range map[string]struct {
		rows   []sparse
		writes []int64 // sequence numbers
	}{
		"the same":                 {[]sparse{v, v, v}, []int64{3}},
		"one that has more, last":  {[]sparse{v, p, both}, []int64{3}},
		"one that has more, first": {[]sparse{both, v, v}, []int64{1, 3}},
		"turns":                    {[]sparse{v, p, v, p}, []int64{1, 2, 3, 4}},
		"nothing but the key":      {[]sparse{v, {K: 1}, v}, []int64{3}},
	} {
		t.Run(name, func(t *testing.T) {
			b := &tuple.Batch{}
			for i := range c.rows {
				enc, err := codec.Append(nil, &c.rows[i])
				if err != nil {
					t.Fatal(err)
				}
				b.Append(int64(i+1), enc)
			}
			again, _ := newReducer(rules{}.table(t)).reduce(b)
			got := []int64{b.Rows[0].Seq}
			for _, rows := range again {
				got = append(got, rows[0].Seq)
			}
			if fmt.Sprint(got) != fmt.Sprint(c.writes) {
				t.Errorf("writes %v, want %v", got, c.writes)
			}
		})
	}
}

type document struct {
	ID    int64             `db:"id,key"`
	Title Optional[string]  `db:"title"`
	Note  Optional[*string] `db:"note"`
	Size  *int64            `db:"size,omitnil"`
}

func (p *place) createDocuments(tb testing.TB) {
	tb.Helper()
	p.exec(tb, `CREATE TABLE documents (id bigint PRIMARY KEY, title text NOT NULL DEFAULT 'untitled' CHECK (title <> '`+badName+`'),
		note text DEFAULT 'none', size bigint DEFAULT 7)`)
}

// A new row gets the defaults of the columns that it leaves out, and a stored row
// keeps what it has in them, through whichever writer and into whichever
// destination.
func TestColumnsThatARowLeavesOut(t *testing.T) {
	for where, place := range places {
		for kind, batch := range writers {
			t.Run(where+"/"+kind, func(t *testing.T) {
				p := place(t)
				p.createDocuments(t)
				w := openWriter(t, mustTable[document](t, "documents"), p.Destination, Config{DisableMemoryDB: batch})
				size := int64(1)
				for _, step := range []struct {
					rows []document
					want []string
				}{
					{[]document{{ID: 1}, {ID: 2, Title: Some("b")}, {ID: 3, Note: Some[*string](nil)}}, []string{"1|untitled|none|7", "2|b|none|7", "3|untitled|NULL|7"}},
					{[]document{{ID: 1, Size: &size}, {ID: 2}, {ID: 3, Title: Some("c")}}, []string{"1|untitled|none|1", "2|b|none|7", "3|c|NULL|7"}},
					{[]document{{ID: 4, Title: Some("d")}, {ID: 4, Size: &size}, {ID: 4, Note: Some[*string](nil)}}, []string{"1|untitled|none|1", "2|b|none|7", "3|c|NULL|7", "4|d|NULL|1"}},
				} {
					mustAdd(t, w, step.rows...)
					mustSync(t, w)
					wantRows(t, p, "SELECT id, title, note, size FROM documents ORDER BY id", step.want...)
				}
				wantBalance(t, w.SyncStatus())
				mustStop(t, w)
			})
		}
	}
}

// What a row leaves out is left out when it comes back from the disk, and in what
// a writer shows of it.
func TestColumnsThatARowLeavesOutSurviveTheProcess(t *testing.T) {
	for _, level := range levels {
		t.Run(string(level), func(t *testing.T) {
			t.Parallel()
			p := sqlitePlace(t)
			p.createDocuments(t)
			p.exec(t, "INSERT INTO documents VALUES (1, 'a', 'kept', 3)")
			cfg := Config{CheckpointDir: t.TempDir(), Durability: level}
			table := mustTable[document](t, "documents")
			w, err := New(patient(t), table, p.Destination, cfg)
			if err != nil {
				t.Fatal(err)
			}
			p.exec(t, "ALTER TABLE documents RENAME TO away")
			p.exec(t, "CREATE VIEW documents AS SELECT * FROM away") // a view takes no rows
			rows := []document{{ID: 1, Title: Some("b")}, {ID: 2, Note: Some[*string](nil)}}
			mustAdd[document](t, w, rows...)
			var seen []document
			for row, err := range w.Pending(patient(t)) {
				if err != nil {
					t.Fatal(err)
				}
				seen = append(seen, row)
			}
			if !reflect.DeepEqual(seen, rows) {
				t.Errorf("pending: %+v, want %+v", seen, rows)
			}
			if err := w.Stop(patient(t)); !errors.Is(err, ErrUnsynced) {
				t.Fatalf("Stop: %v", err)
			}
			p.exec(t, "DROP VIEW documents")
			p.exec(t, "ALTER TABLE away RENAME TO documents")
			if w, err = New(patient(t), table, p.Destination, cfg); err != nil {
				t.Fatal(err)
			}
			mustStop[document](t, w)
			wantRows(t, p, "SELECT id, title, note, size FROM documents ORDER BY id", "1|b|kept|3", "2|untitled|NULL|7")
		})
	}
}

// A failed row keeps what it leaves out, until it is tried again.
func TestFailedRowKeepsWhatItLeavesOut(t *testing.T) {
	for where, place := range places {
		for kind, batch := range writers {
			t.Run(where+"/"+kind, func(t *testing.T) {
				p := place(t)
				p.exec(t, `CREATE TABLE documents (id bigint PRIMARY KEY, title text DEFAULT 'untitled', note text DEFAULT 'none', size bigint DEFAULT 7)`)
				p.exec(t, `CREATE UNIQUE INDEX taken ON documents (title)`)
				p.exec(t, `INSERT INTO documents VALUES (1, 'a', 'kept', 3), (2, 'b', 'kept', 3)`)
				w := openWriter(t, mustTable[document](t, "documents"), p.Destination, Config{DisableMemoryDB: batch})
				bad := document{ID: 1, Title: Some("b")}
				mustAdd(t, w, bad)
				wantError(t, w.ForceSync(patient(t)), ErrRowsFailed)
				for f, err := range w.SyncErrors() {
					if err != nil || f.Row != bad {
						t.Errorf("failed: %+v, %v", f.Row, err)
					}
				}
				p.exec(t, `UPDATE documents SET title = 'free' WHERE id = 2`)
				if stored, err := w.RetrySyncErrors(patient(t)); stored != 1 || err != nil {
					t.Errorf("the retry stored %d rows: %v", stored, err)
				}
				wantRows(t, p, "SELECT id, title, note, size FROM documents ORDER BY id", "1|b|kept|3", "2|free|kept|3")
				wantBalance(t, w.SyncStatus())
			})
		}
	}
}

// wantLeft compares the failed rows.
func wantLeft(t *testing.T, w Writer[document], want ...document) {
	t.Helper()
	var got []document
	for f, err := range w.SyncErrors() {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, f.Row)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("failed rows %+v, want %+v", got, want)
	}
}

// A newer row takes from a failed one of its key what it has itself, whichever
// transaction stores it, and what is left gets in when it is tried again.
func TestANewerRowLeavesOfAFailedOneWhatItLeavesOut(t *testing.T) {
	size := int64(5)
	bad := document{ID: 1, Title: Some(badName), Note: Some[*string](nil), Size: &size}
	for where, place := range places {
		for kind, batch := range writers {
			for _, together := range []bool{true, false} {
				t.Run(fmt.Sprintf("%s/%s/%v", where, kind, together), func(t *testing.T) {
					p := place(t)
					p.createDocuments(t)
					w := openWriter(t, mustTable[document](t, "documents"), p.Destination, Config{DisableMemoryDB: batch})
					mustAdd(t, w, bad)
					if !together {
						wantError(t, w.ForceSync(patient(t)), ErrRowsFailed)
					}
					mustAdd(t, w, document{ID: 1, Title: Some("good")})
					wantError(t, w.ForceSync(patient(t)), ErrRowsFailed)
					wantRows(t, p, "SELECT id, title, note, size FROM documents", "1|good|none|7")
					wantLeft(t, w, document{ID: 1, Note: bad.Note, Size: bad.Size})
					six := int64(6)
					mustAdd(t, w, document{ID: 1, Size: &six})
					wantError(t, w.ForceSync(patient(t)), ErrRowsFailed)
					wantLeft(t, w, document{ID: 1, Note: bad.Note})
					wantBalance(t, w.SyncStatus())
					p.exec(t, "UPDATE documents SET title = 'elsewhere', size = 9")
					if stored, err := w.RetrySyncErrors(patient(t)); stored != 1 || err != nil {
						t.Errorf("the retry stored %d rows: %v", stored, err)
					}
					wantRows(t, p, "SELECT id, title, note, size FROM documents", "1|elsewhere|NULL|9")
					if s := w.SyncStatus(); s.Synced != 3 || s.Superseded != 0 {
						t.Errorf("status: %+v", s)
					}
					mustAdd(t, w, bad)
					wantError(t, w.ForceSync(patient(t)), ErrRowsFailed)
					mustAdd(t, w, document{ID: 1, Title: Some("good"), Note: Some[*string](nil)}, document{ID: 1, Size: &size})
					mustSync(t, w)
					if s := w.SyncStatus(); s.Superseded != 1 {
						t.Errorf("of a failed row nothing is left: %+v", s)
					}
					wantBalance(t, w.SyncStatus())
					mustStop(t, w)
				})
			}
		}
	}
}

// What is left of a failed row outlives the process, also if a checkpoint has all
// of it.
func TestWhatIsLeftOfAFailedRowSurvivesTheProcess(t *testing.T) {
	for _, level := range levels {
		for _, saved := range []bool{true, false} {
			t.Run(fmt.Sprint(level, "/", saved), func(t *testing.T) {
				t.Parallel()
				p := sqlitePlace(t)
				p.createDocuments(t)
				cfg := Config{CheckpointDir: t.TempDir(), Durability: level, SyncInterval: time.Hour}
				open := func() *MemoryDBWriter[document] {
					w, err := New(patient(t), mustTable[document](t, "documents"), p.Destination, cfg)
					if err != nil {
						t.Fatal(err)
					}
					return w
				}
				w := open()
				mustAdd[document](t, w, document{ID: 1, Title: Some(badName), Note: Some[*string](nil)})
				wantError(t, w.ForceSync(patient(t)), ErrRowsFailed)
				if _, err := w.Checkpoint(patient(t)); err != nil {
					t.Fatal(err)
				}
				mustAdd[document](t, w, document{ID: 1, Title: Some("good")})
				wantError(t, w.ForceSync(patient(t)), ErrRowsFailed)
				if saved {
					if _, err := w.Checkpoint(patient(t)); err != nil {
						t.Fatal(err)
					}
				}
				crash(t, w, &cfg)
				p.exec(t, "UPDATE documents SET title = 'elsewhere'")
				w = open()
				wantLeft(t, w, document{ID: 1, Note: Some[*string](nil)})
				if stored, err := w.RetrySyncErrors(patient(t)); stored != 1 || err != nil {
					t.Errorf("the retry stored %d rows: %v", stored, err)
				}
				wantRows(t, p, "SELECT id, title, note, size FROM documents", "1|elsewhere|NULL|7")
				mustStop[document](t, w)
			})
		}
	}
}
