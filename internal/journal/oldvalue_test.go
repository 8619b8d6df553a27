package journal_test

import (
	"errors"
	"math/rand/v2"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/memdbwriter/memdbwriter/internal/journal"
	"github.com/memdbwriter/memdbwriter/internal/journal/faultfs"
	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

// Rows 1 to 6, perhaps several of one key, were stored. When the machine dies before
// it is durable that they were, recovery must not bring back older ones without the
// newer ones.
func TestOldRowsNeverComeBackWithoutTheNewerOnes(t *testing.T) {
	for seed := range uint64(50) {
		fs := newFS()
		cfg := config(fs)
		cfg.SyncEvery, cfg.SegmentBytes = time.Hour, 300
		w := open(t, cfg)
		for first := int64(1); first < 10; first += 3 {
			must(t, w.Append(rows(first, first+2)))
			must(t, w.SyncRows(ctx, first+2)) // durable before they are sent
		}
		must(t, w.Settle(6, nil))

		cut := cfg
		cut.FS = fs.PowerCut(random(seed))
		if f := replay(t, cut); !slices.Equal(f.rows, seq(1, 9)) && !slices.Equal(f.rows, seq(7, 9)) {
			t.Errorf("seed %d: rows %v come back", seed, f.rows)
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
		next, err := rec.Create()
		must(t, err)
		visited := false
		must(t, rec.Replay(journal.Visitor{
			Rows: func(*tuple.Batch) error {
				visited = true
				cut := durable(fs.PowerCut(rand.New(rand.NewPCG(seed, 1))))
				replay(t, cut).want(t, seq(3, 5))
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
		if _, err := rec.Create(); !errors.Is(err, syscall.EIO) {
			t.Errorf("%s fails: %v", op, err)
		}
		fail.set(op, nil)
	}
}
