package journal_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/memdbwriter/memdbwriter/internal/journal"
	"github.com/memdbwriter/memdbwriter/internal/journal/faultfs"
	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

func TestAnErrorOfTheVisitorEndsReplayWithoutAChange(t *testing.T) {
	fs := newFS()
	must(t, open(t, config(fs)).Append(rows(1, 3)))
	name := fs.Names(".seg")[0]
	torn := append(fs.Get(name), "torn"...)
	fs.Put(name, torn)
	rec, err := journal.Scan(config(fs))
	must(t, err)
	boom := errors.New("boom")
	if err := rec.Replay(0, journal.Visitor{Rows: func(*tuple.Batch) error { return boom }}); !errors.Is(err, boom) {
		t.Errorf("Replay: %v", err)
	}
	if !slices.Equal(fs.Get(name), torn) {
		t.Error("the file was cut")
	}
}

// Rows that are handed out are sent at once, and what becomes of them is written
// while others are still to be handed out. A process that dies then, or gives up,
// leaves the rest to the next one.
func TestWritingWhileReplaying(t *testing.T) {
	fs := newFS()
	cfg := config(fs)
	cfg.SegmentBytes = 300
	w := open(t, cfg)
	for first := int64(1); first < 12; first += 3 {
		must(t, w.Append(rows(first, first+2)))
	}
	must(t, w.Settle(2, []journal.Failure{failure(1)}))
	cfg.FS = fs.Copy() // w has died
	files := cfg.FS.(*faultfs.FS)
	before := len(files.Names(".seg"))
	rec, err := journal.Scan(cfg)
	must(t, err)
	w, err = rec.Create(0)
	must(t, err)
	boom := errors.New("boom")
	err = rec.Replay(0, journal.Visitor{Rows: func(b *tuple.Batch) error {
		last := b.Rows[b.Len()-1].Seq
		must(t, w.Settle(last, []journal.Failure{failure(last)}))
		must(t, w.Amend([]int64{1}, nil))
		if last < 8 {
			return nil
		}
		return boom
	}})
	if !errors.Is(err, boom) {
		t.Errorf("Replay: %v", err)
	}
	if n := len(files.Names(".seg")); n <= before {
		t.Errorf("there were %d segments, and are %d, though not all is replayed", before, n)
	}
	died := cfg
	died.FS = files.Copy()
	replay(t, died, 0).want(t, seq(10, 12), 3, 6, 9)
	must(t, w.Close())
	f := replay(t, cfg, 0)
	f.want(t, seq(10, 12), 3, 6, 9)
	w = f.writer(t)
	must(t, w.Settle(12, nil))
	must(t, w.Amend([]int64{3, 6, 9}, nil))
	must(t, w.Close())
	if names := files.Names(".seg"); len(names) > 0 {
		t.Errorf("files are left: %v", names)
	}
}

// A journal that is given few rows hands them out in order, whatever the order
// in which it got them, and among those of a later journal that has all.
func TestKeptRows(t *testing.T) {
	fs := newFS()
	w := open(t, config(fs))
	must(t, w.Settle(2, []journal.Failure{failure(1)}))
	some := rows(10, 20)
	some.Rows = append(some.Rows[:1:1], some.Rows[4], some.Rows[5], some.Rows[9])
	must(t, w.Keep(some)) // 10, 14, 15, 19
	_, err := w.Cut()
	must(t, err)
	must(t, w.Keep(rows(12, 14)))
	must(t, w.Settle(5, nil))
	cfg := config(fs.Copy()) // w has died
	f := replay(t, cfg, 0)
	f.want(t, []int64{10, 12, 13, 14, 15, 19}, 1)
	if f.Missing != 0 || f.Last != 19 {
		t.Errorf("%d rows are missing, the last is %d", f.Missing, f.Last)
	}

	later := f.writer(t)
	must(t, later.Append(rows(20, 22)))
	replay(t, cfg, 0).want(t, []int64{10, 12, 13, 14, 15, 19, 20, 21, 22}, 1)
	must(t, later.Settle(13, nil))
	replay(t, cfg, 0).want(t, []int64{14, 15, 19, 20, 21, 22}, 1)
	replay(t, cfg, 15).want(t, []int64{19, 20, 21, 22}, 1) // of a checkpoint
	must(t, later.Settle(22, nil))
	must(t, later.Amend([]int64{1}, nil))
	must(t, later.Close())
	if f := replay(t, cfg, 0); f.Segments != 0 {
		t.Errorf("%d segments are left", f.Segments)
	}
}
