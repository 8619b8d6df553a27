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
	if err := rec.Replay(journal.Visitor{Rows: func(*tuple.Batch) error { return boom }}); !errors.Is(err, boom) {
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
	w, err = rec.Create()
	must(t, err)
	boom := errors.New("boom")
	err = rec.Replay(journal.Visitor{Rows: func(b *tuple.Batch) error {
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
	replay(t, died).want(t, seq(10, 12), 3, 6, 9)
	must(t, w.Close())
	f := replay(t, cfg)
	f.want(t, seq(10, 12), 3, 6, 9)
	w = f.writer(t)
	must(t, w.Settle(12, nil))
	must(t, w.Amend([]int64{3, 6, 9}, nil))
	must(t, w.Close())
	if names := files.Names(".seg"); len(names) > 0 {
		t.Errorf("files are left: %v", names)
	}
}
