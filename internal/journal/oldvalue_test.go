package journal_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/memdbwriter/memdbwriter/internal/journal"
	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

// A checkpoint has rows 1 to 3, and rows 4 to 6, perhaps newer ones of the same
// keys, were stored after it. When the machine dies before it is durable that
// they were, recovery must not bring back the former without the latter.
func TestOldRowsNeverComeBackWithoutTheNewerOnes(t *testing.T) {
	for seed := range uint64(50) {
		fs := newFS()
		cfg := config(fs)
		cfg.Fsync, cfg.SyncEvery, cfg.SegmentBytes = true, time.Hour, 300
		w := open(t, cfg)
		must(t, w.Append(rows(1, 3)))
		must(t, w.Sync(ctx))
		c, err := w.Cut()
		must(t, err)
		must(t, w.Release(c, 3))
		for first := int64(4); first < 10; first += 3 {
			must(t, w.Append(rows(first, first+2)))
			must(t, w.Sync(ctx)) // durable before they are sent
		}
		must(t, w.Settle(6, nil))

		cut := cfg
		cut.FS = fs.PowerCut(rand.New(rand.NewPCG(seed, 1)))
		rec, err := journal.Scan(cut)
		must(t, err)
		var got []int64
		must(t, rec.Replay(3, journal.Visitor{
			Rows: func(b *tuple.Batch) error {
				for _, r := range b.Rows {
					got = append(got, r.Seq)
				}
				return nil
			},
			Failed: func(*journal.Failure) error { return nil },
		}))
		if !rec.Supersedes(1, false) && (len(got) == 0 || got[0] != 4) {
			t.Errorf("seed %d: row 1 comes back, and of the newer ones only %v", seed, got)
		}
		must(t, w.Close())
	}
}
