package journal_test

import (
	"errors"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"github.com/memdbwriter/memdbwriter/internal/journal"
	"github.com/memdbwriter/memdbwriter/internal/journal/faultfs"
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
		must(t, w.Release(c, 3, nil))
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

// A process that dies may leave rows in the journal that are not durable. The
// next one sends them; when the machine dies then, they must still be there, or
// an older row of a key could come back without them.
func TestRecoveredRowsAreDurableBeforeAnybodyHasThem(t *testing.T) {
	for seed := range uint64(20) {
		fs := newFS()
		w := open(t, durable(fs))
		must(t, w.Append(rows(1, 5)))
		must(t, w.Settle(2, nil))
		rec, err := journal.Scan(durable(fs)) // w has died
		must(t, err)
		next, err := rec.Create(0)
		must(t, err)
		visited := false
		must(t, rec.Replay(0, journal.Visitor{
			Rows: func(*tuple.Batch) error {
				visited = true
				cut := durable(fs.PowerCut(rand.New(rand.NewPCG(seed, 1))))
				replay(t, cut, 0).want(t, seq(3, 5))
				return nil
			},
			Failed: func(*journal.Failure) error { return nil },
		}))
		if !visited {
			t.Error("nothing was recovered")
		}
		must(t, next.Close())
	}
}

// Where the disk refuses that, nothing begins.
func TestWhatCannotBeMadeDurable(t *testing.T) {
	for _, op := range []faultfs.Op{faultfs.Sync, faultfs.SyncDir} {
		fs, fail := faulty()
		w := open(t, durable(fs))
		must(t, w.Append(rows(1, 5)))
		fail.set(op, syscall.EIO)
		rec, err := journal.Scan(durable(fs))
		must(t, err)
		if _, err := rec.Create(0); !errors.Is(err, syscall.EIO) {
			t.Errorf("%s fails: %v", op, err)
		}
		fail.set(op, nil)
	}
}
