package memdbwriter

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"testing"
	"time"

	"github.com/memdbwriter/memdbwriter/internal/dest"
	"github.com/memdbwriter/memdbwriter/internal/memtable"
	"github.com/memdbwriter/memdbwriter/internal/stage"
	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

// failedItems are failed rows that share a tuple of so many bytes.
func failedItems(n, size int) []stage.Failure {
	failed := make([]stage.Failure, n)
	for i := range failed {
		failed[i] = stage.Failure{Seq: int64(i + 1), Tuple: make([]byte, size)}
	}
	return failed
}

// gate is a simulated table that rejects all rows until it is open.
type gate struct {
	*simulated
	open bool
}

func (g *gate) Write(ctx context.Context, b *tuple.Batch) (dest.Result, error) {
	if !g.open {
		return dest.Result{}, dest.RowErrorf(0, "", "23514", "%w", errors.New("closed"))
	}
	return g.simulated.Write(ctx, b)
}

// Failed rows of one key that are tried again in one page: each of them is
// stored or superseded then, and none is both or neither, whatever the rules of
// the table.
func TestEveryRetriedRowIsInOnePlace(t *testing.T) {
	for kind, batch := range writers {
		for n := range 32 {
			r := rules{n&1 > 0, n&2 > 0, n&4 > 0, n&8 > 0, n&16 > 0}
			if r.ignore && r.guard {
				continue
			}
			t.Run(fmt.Sprintf("%s/%+v", kind, r), func(t *testing.T) {
				table := mustTable[ruled](t, "t")
				table.shape = *r.table(t)
				g := &gate{simulated: &simulated{tb: t, codec: table.codec, rows: memtable.New(&table.shape), latest: map[int64]int64{}}}
				w := openWriter(t, table, &Destination{scripted{g}}, Config{DisableMemoryDB: batch})
				want := memtable.New(&table.shape)
				for i, row := range []ruled{
					{1, 1, 1, 1, false}, {1, 2, 2, 2, false}, {1, 1, 3, 3, false}, {2, 1, 4, 4, true}, {2, 2, 5, 5, false}, {3, 1, 6, 6, false},
				} {
					mustAdd(t, w, row)
					g.put(want, row)
					if i%2 == 1 {
						wantError(t, w.ForceSync(patient(t)), ErrRowsFailed)
					}
				}
				if s := w.SyncStatus(); s.Failed != 6 {
					t.Fatalf("6 rows were rejected: %+v", s)
				}
				g.open = true // nothing is on its way
				stored, err := w.RetrySyncErrors(patient(t))
				s := w.SyncStatus()
				wantBalance(t, s)
				if err != nil || s.Failed != 0 || s.Pending != 0 || stored != s.Synced || s.Synced+s.Superseded != 6 {
					t.Errorf("stored %d, %v: %+v", stored, err, s)
				}
				if got, want := g.stored(g.rows), g.stored(want); !maps.Equal(got, want) {
					t.Errorf("the table has %v, want %v", got, want)
				}
				mustStop(t, w)
			})
		}
	}
}

// What a batch costs must not depend on how many rows have failed before, and
// what a failed row costs not on how many others of its key there are.
func BenchmarkJudge(b *testing.B) {
	codec, err := tuple.NewCodec[ruled]()
	if err != nil {
		b.Fatal(err)
	}
	encode := func(k int64) []byte {
		enc, err := codec.Append(nil, &ruled{K: k})
		if err != nil {
			b.Fatal(err)
		}
		return enc
	}
	for _, earlier := range []int{1_000, 100_000} {
		for _, keys := range []int64{1, 100_000} {
			b.Run(fmt.Sprintf("%d failed rows of %d keys", earlier, keys), func(b *testing.B) {
				k := newFailedKeys(rules{}.table(b))
				failed := make([]stage.Failure, earlier)
				for i := range failed {
					failed[i] = stage.Failure{Seq: int64(i + 1), Tuple: encode(int64(i) % keys)}
				}
				part := &tuple.Batch{}
				for i := range int64(1000) {
					part.Append(int64(earlier)+i, encode(-i))
				}
				next := int64(earlier + 1000)
				k.update(failed, nil)
				f := &flush{stored: []*tuple.Batch{part}, failed: []failure{{span: tuple.Span{Seq: next}, tuple: encode(keys + 1), err: &dest.Error{Err: errFlaky}}}}
				for b.Loop() {
					j, err := k.judge(f, nil)
					k.update(j.kept, j.gone)
					k.update(nil, []int64{next})
					if len(j.kept) != 1 || err != nil {
						b.Fatal(j, err)
					}
				}
			})
		}
	}
}

// The failures of a compatibility writer are amended in one pass.
func TestAmend(t *testing.T) {
	failed := failedItems(6, 1)
	again := map[int64]stage.Failure{2: {Seq: 2, Message: "again", Attempts: 2, Last: time.Now(), Tuple: []byte("less")}}
	got := amend(failed, []int64{1, 3, 99}, again)
	if len(got) != 4 || got[0].Message != "again" || string(got[0].Tuple) != "less" || got[1].Seq != 4 {
		t.Errorf("amended to %+v", got)
	}
	if len(failed) != 6 || failed[1].Message != "" {
		t.Errorf("what a reader may have was changed: %+v", failed)
	}
}
