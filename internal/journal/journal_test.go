package journal_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/memdbwriter/memdbwriter/internal/journal"
	"github.com/memdbwriter/memdbwriter/internal/journal/faultfs"
	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

func TestWhatWasAppendedIsRecovered(t *testing.T) {
	fs := newFS()
	w := open(t, config(fs))
	must(t, w.Append(rows(1, 3)))
	must(t, w.Append(rows(4, 10)))
	f := replay(t, config(fs.Copy()), 0) // the process dies
	f.want(t, seq(1, 10))
	if f.Last != 10 || f.Settled != 0 || f.Missing != 0 || f.Segments != 1 || len(f.Problems) != 0 || f.Cut != 0 {
		t.Errorf("recovery is %+v", f.Recovery)
	}
}

func TestSettledRowsAreNotRecoveredAndFailedOnesAreWithTheirHistory(t *testing.T) {
	fs := newFS()
	w := open(t, config(fs))
	must(t, w.Append(rows(1, 10)))
	bad := failure(3)
	bad.First = time.Date(2024, 2, 29, 12, 0, 0, 1000, time.UTC)
	bad.Last, bad.Attempts = bad.First.Add(time.Hour), 4
	must(t, w.Settle(6, []journal.Failure{bad, failure(5)}))
	f := replay(t, config(fs.Copy()), 0)
	f.want(t, seq(7, 10), 3, 5)
	got := f.failed[0]
	if got.SQLState != bad.SQLState || got.Column != bad.Column || got.Message != bad.Message ||
		got.Attempts != bad.Attempts || !got.First.Equal(bad.First) || !got.Last.Equal(bad.Last) {
		t.Errorf("recovered %+v, want %+v", got, bad)
	}

	again := failure(5)
	again.Attempts = 2
	must(t, w.Amend([]int64{3}, []journal.Failure{again}))
	f = replay(t, config(fs.Copy()), 0)
	f.want(t, seq(7, 10), 5)
	if f.failed[0].Attempts != 2 {
		t.Errorf("the failure is not the newest: %+v", f.failed[0])
	}
	must(t, w.Amend([]int64{5}, nil))
	replay(t, config(fs.Copy()), 0).want(t, seq(7, 10))
}

func TestRecoveredRowsAreRecoveredAgainUntilTheyAreSettled(t *testing.T) {
	fs := newFS()
	must(t, open(t, config(fs)).Append(rows(1, 5)))
	for range 3 {
		fs = fs.Copy()
		replay(t, config(fs), 0).want(t, seq(1, 5))
	}
	f := replay(t, config(fs), 0)
	w := f.writer(t)
	if err := w.Append(rows(5, 6)); err == nil {
		t.Error("a number was taken twice")
	}
	must(t, w.Append(rows(6, 8)))
	must(t, w.Settle(4, nil))
	replay(t, config(fs.Copy()), 0).want(t, seq(5, 8))
	must(t, w.Settle(8, nil))
	must(t, w.Close())
	must(t, w.Close())
	if names := fs.Names(""); len(names) != 0 {
		t.Errorf("nothing is left to recover, but there are %v", names)
	}
	if err := w.Append(rows(9, 9)); !errors.Is(err, journal.ErrClosed) {
		t.Errorf("Append after Close: %v", err)
	}
}

func TestSegmentsAreDeletedWhenTheirRowsAreSettled(t *testing.T) {
	fs := newFS()
	cfg := config(fs)
	cfg.SegmentBytes = 1000
	w := open(t, cfg)
	for n := int64(1); n <= 100; n++ {
		must(t, w.Append(rows(n, n)))
	}
	if n := w.Stats().Segments; n < 5 {
		t.Fatalf("%d segments", n)
	}
	must(t, w.Settle(50, nil))
	before := w.Stats()
	must(t, w.Settle(99, nil))
	after := w.Stats()
	if after.Segments >= before.Segments || after.Bytes >= before.Bytes || len(fs.Names(".seg")) != after.Segments {
		t.Errorf("%+v after %+v, files %v", after, before, fs)
	}
	replay(t, config(fs.Copy()), 0).want(t, seq(100, 100))
}

func TestAFailedRowDoesNotKeepTheRowsAroundIt(t *testing.T) {
	fs := newFS()
	cfg := config(fs)
	cfg.SegmentBytes = 2000
	w := open(t, cfg)
	for n := int64(1); n <= 500; n++ {
		must(t, w.Append(rows(n, n)))
		var failed []journal.Failure
		if n == 7 {
			failed = append(failed, failure(7))
		}
		must(t, w.Settle(n, failed))
	}
	if n := w.Stats().Bytes; n > 3*cfg.SegmentBytes {
		t.Errorf("one failed row holds %d bytes", n)
	}
	replay(t, config(fs.Copy()), 0).want(t, nil, 7)
}

func TestACheckpointReplacesSegments(t *testing.T) {
	fs := newFS()
	w := open(t, config(fs))
	must(t, w.Append(rows(1, 10)))
	must(t, w.Settle(4, []journal.Failure{failure(2), failure(3)}))
	cut, err := w.Cut()
	must(t, err)
	// The checkpoint now says: 5 to 11 wait, 2 and 3 have failed.
	must(t, w.Append(rows(11, 12)))
	must(t, w.Release(cut, 11, []int64{2, 3}))
	if n := w.Stats().Segments; n != 1 {
		t.Fatalf("%d segments after Release", n)
	}
	must(t, w.Settle(6, []journal.Failure{failure(6)}))
	must(t, w.Amend([]int64{2}, nil))

	f := replay(t, config(fs.Copy()), 11)
	f.want(t, seq(12, 12), 6)
	for _, c := range []struct {
		seq    int64
		failed bool
		want   bool
	}{
		{seq: 2, failed: true, want: true}, // stored since
		{seq: 3, failed: true, want: false},
		{seq: 5, want: true}, // stored since
		{seq: 6, want: true}, // failed since
		{seq: 7, want: false},
		{seq: 11, want: false},
	} {
		if got := f.Supersedes(c.seq, c.failed); got != c.want {
			t.Errorf("Supersedes(%d, %v) = %v", c.seq, c.failed, got)
		}
	}
}

func TestThatAFailedRowOfACheckpointIsGoneIsNotForgotten(t *testing.T) {
	fs := newFS()
	cfg := config(fs)
	cfg.SegmentBytes = 1000
	w := open(t, cfg)
	must(t, w.Append(rows(1, 2)))
	must(t, w.Settle(2, []journal.Failure{failure(1)}))
	cut, err := w.Cut()
	must(t, err)
	must(t, w.Release(cut, 2, []int64{1}))
	must(t, w.Amend([]int64{1}, nil))
	live := func(from, to int64) {
		t.Helper()
		for n := from; n < to; n++ {
			must(t, w.Append(rows(n, n)))
			must(t, w.Settle(n, nil))
		}
		if n := w.Stats().Segments; n > 2 {
			t.Errorf("%d segments though nothing waits", n)
		}
	}
	live(3, 100)
	died := config(fs.Copy())
	died.SegmentBytes = 1000
	f := replay(t, died, 2)
	if !f.Supersedes(1, true) {
		t.Error("the failed row would come back from the checkpoint")
	}
	must(t, w.Close())
	fs, w = died.FS.(*faultfs.FS), f.writer(t)
	f.Checkpoint([]int64{1})
	live(100, 200)
	if !replay(t, config(fs.Copy()), 2).Supersedes(1, true) {
		t.Error("the failed row would come back after another life")
	}
	cut, err = w.Cut()
	must(t, err)
	must(t, w.Release(cut, 199, nil))
	if n := w.Stats().Segments; n != 1 {
		t.Errorf("%d segments behind a new checkpoint", n)
	}
	must(t, w.Close())
	// An older checkpoint may be all that is found, if the newest is damaged.
	f = replay(t, config(fs.Copy()), 2)
	if n := len(fs.Names("")); n != 1 || !f.Supersedes(2, false) {
		t.Errorf("that all is settled is not known: %v", fs)
	}
	// When there are no checkpoints any more, there is no need for it.
	must(t, replay(t, config(fs), 0).writer(t).Close())
	if n := len(fs.Names("")); n != 0 {
		t.Errorf("files are left: %v", fs)
	}
}

// A row that failed before the checkpoint and is gone before that is whole.
func TestThatARowIsGoneDuringACheckpointIsNotForgotten(t *testing.T) {
	fs := newFS()
	cfg := config(fs)
	cfg.SegmentBytes = 1000
	w := open(t, cfg)
	must(t, w.Append(rows(1, 2)))
	must(t, w.Settle(2, []journal.Failure{failure(1)}))
	cut, err := w.Cut()
	must(t, err)
	must(t, w.Amend([]int64{1}, nil))
	live := func(from, to int64) {
		for n := from; n < to; n++ {
			must(t, w.Append(rows(n, n)))
			must(t, w.Settle(n, nil))
		}
	}
	live(3, 50)
	must(t, w.Release(cut, 2, []int64{1}))
	live(50, 100)
	if f := replay(t, config(fs.Copy()), 2); !f.Supersedes(1, true) || f.Segments > 2 {
		t.Errorf("the failed row would come back from the checkpoint, or %d segments are left", f.Segments)
	}
}

func TestRowsComeInOrderWithoutGaps(t *testing.T) {
	w := open(t, config(newFS()))
	err := w.Append(rows(3, 4))
	var missing *journal.MissingError
	if !errors.As(err, &missing) || missing.First != 1 || missing.Last != 2 {
		t.Errorf("Append with a gap: %v", err)
	}
	if err := w.Sync(ctx); !errors.As(err, &missing) || missing.Last != 4 {
		t.Errorf("Sync of rows that were refused: %v", err)
	}
	b := rows(1, 3)
	b.Rows[1], b.Rows[2] = b.Rows[2], b.Rows[1]
	if err := w.Append(b); err == nil {
		t.Error("rows out of order were taken")
	}
	must(t, w.Append(rows(1, 2)))
	must(t, w.Append(rows(2, 4))) // 2 is there already
	must(t, w.Sync(ctx))
	must(t, w.Settle(10, nil)) // without a journal for a while
	must(t, w.Append(rows(11, 11)))
	if err := w.Settle(11, []journal.Failure{failure(12)}); err == nil {
		t.Error("a failure above what is settled was taken")
	}
}

func TestLargeBatchesAndRows(t *testing.T) {
	big := make([]byte, 9<<20)
	tuple2 := append([]byte{0, 2, 255, 255, 255, 255}, byte(len(big)>>24), byte(len(big)>>16), byte(len(big)>>8), byte(len(big)))
	tuple2 = append(tuple2, big...)
	b := &tuple.Batch{}
	for n := int64(1); n <= 3; n++ {
		b.Append(n, tuple2)
	}
	fs := newFS()
	w := open(t, config(fs))
	must(t, w.Append(b))
	rec, err := journal.Scan(config(fs.Copy()))
	must(t, err)
	blocks := 0
	must(t, rec.Replay(0, journal.Visitor{Rows: func(b *tuple.Batch) error {
		if blocks++; b.Len() != 1 || len(b.Tuple(0)) != len(tuple2) {
			t.Errorf("a block of %d rows", b.Len())
		}
		return nil
	}}))
	if blocks != 3 {
		t.Errorf("%d blocks", blocks)
	}
}

// Everything here must be the same before and after.
func TestFilesOfOthersAreNeverTouched(t *testing.T) {
	dir := t.TempDir()
	cfg := config(nil)
	cfg.Dir = dir
	other := cfg
	other.Writer = "postgres://db/2"
	w := open(t, other)
	must(t, w.Append(rows(1, 3)))
	must(t, w.Close())

	w = open(t, cfg)
	must(t, w.Append(rows(1, 3)))
	must(t, w.Close())
	mine := journalNames(t, dir, other)
	if len(mine) != 1 {
		t.Fatalf("files %v", mine)
	}
	base := strings.TrimSuffix(mine[0], "0000000000000001.seg")
	content, err := os.ReadFile(filepath.Join(dir, mine[0]))
	must(t, err)
	write := func(name string, b []byte) { must(t, os.WriteFile(filepath.Join(dir, name), b, 0o600)) }
	write("outside", content)
	write(base+"0000000000000002.seg", nil)             // empty
	write(base+"0000000000000003.seg", content[:40])    // ends inside the header
	write(base+"0000000000000004.seg", content)         // a copy
	write(base+"5.seg", content)                        // not a name of ours
	write(base+"000000000000000A.seg", content)         // likewise
	write(base+"0000000000000006.seg.damaged", content) // set aside before
	must(t, os.Mkdir(filepath.Join(dir, base+"0000000000000007.seg"), 0o700))
	must(t, os.Symlink("outside", filepath.Join(dir, base+"0000000000000008.seg")))
	theirs := journalNames(t, dir, cfg)
	theirs = slices.DeleteFunc(theirs, func(name string) bool { return strings.HasPrefix(name, base) })
	foreign, err := os.ReadFile(filepath.Join(dir, theirs[0]))
	must(t, err)
	write(base+"0000000000000009.seg", foreign) // another writer's under our name
	before := tree(t, dir)

	f := replay(t, cfg, 0)
	f.want(t, seq(1, 3))
	if f.Empty != 2 || len(f.Problems) != 2 {
		t.Errorf("%d empty files, problems %v", f.Empty, f.Problems)
	}
	w = f.writer(t)
	must(t, w.Append(rows(4, 4)))
	must(t, w.Settle(4, nil))
	must(t, w.Close())
	delete(before, mine[0])
	after := tree(t, dir)
	for name, b := range before {
		if after[name] != b {
			t.Errorf("%s was touched", name)
		}
		delete(after, name)
	}
	if len(after) != 0 {
		t.Errorf("new files: %v", after)
	}
	replay(t, other, 0).want(t, seq(1, 3))
}

// journalNames lists the segments in dir that are not of the given journal.
func journalNames(t *testing.T, dir string, not journal.Config) (names []string) {
	entries, err := os.ReadDir(dir)
	must(t, err)
	empty := t.TempDir()
	not.Dir = empty
	w := open(t, not)
	must(t, w.Append(rows(1, 1)))
	must(t, w.Close())
	theirs, err := os.ReadDir(empty)
	must(t, err)
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".seg") && e.Name() != theirs[0].Name() {
			names = append(names, e.Name())
		}
	}
	return names
}

func tree(t *testing.T, dir string) map[string]string {
	entries, err := os.ReadDir(dir)
	must(t, err)
	content := map[string]string{}
	for _, e := range entries {
		b := []byte(e.Type().String())
		if e.Type().IsRegular() {
			b, err = os.ReadFile(filepath.Join(dir, e.Name()))
			must(t, err)
		}
		content[e.Name()] = string(b)
	}
	return content
}

func TestFilesAreForTheOwnerOnly(t *testing.T) {
	cfg := config(nil)
	cfg.Dir = t.TempDir()
	must(t, open(t, cfg).Append(rows(1, 1)))
	entries, err := os.ReadDir(cfg.Dir)
	must(t, err)
	info, err := entries[0].Info()
	must(t, err)
	if info.Mode().Perm()&0o077 != 0 && os.PathSeparator == '/' {
		t.Errorf("mode %v", info.Mode())
	}
}

func TestAnotherFormatOrOtherColumnsAreRefusedUntouched(t *testing.T) {
	fs := newFS()
	must(t, open(t, config(fs)).Append(rows(1, 3)))
	name := fs.Names(".seg")[0]
	cfg := config(fs)
	cfg.Columns = slices.Clone(columns)
	cfg.Columns[1].Name = "remark"
	if _, err := journal.Scan(cfg); !errors.Is(err, journal.ErrColumns) || !strings.Contains(err.Error(), name) {
		t.Errorf("other columns: %v", err)
	}
	newer := fs.Get(name)
	newer[11]++
	fs.Put(name, newer)
	if _, err := journal.Scan(config(fs)); !errors.Is(err, journal.ErrFormat) || !strings.Contains(err.Error(), name) {
		t.Errorf("newer version: %v", err)
	}
	if len(fs.Names("")) != 1 || !slices.Equal(fs.Get(name), newer) {
		t.Error("the file was touched")
	}
}

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
	w = rec.Create(0)
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

// Receipts are known as long as nobody has noted what became of their rows.
func TestReceipts(t *testing.T) {
	fs := newFS()
	cfg := config(fs)
	cfg.SegmentBytes = 500
	w := open(t, cfg)
	must(t, w.Append(rows(1, 20)))
	for _, r := range []journal.Receipt{{First: 1, Last: 5, Token: []byte("a")}, {First: 6, Last: 10, Token: []byte("b")}} {
		must(t, w.Receipt(r))
	}
	known := func(want ...string) *found {
		t.Helper()
		f := replay(t, config(fs.Copy()), 0)
		var got []string
		for _, r := range f.Receipts() {
			got = append(got, string(r.Token))
		}
		if !slices.Equal(got, want) {
			t.Errorf("receipts %q, want %q", got, want)
		}
		return f
	}
	known("a", "b")
	must(t, w.Settle(5, []journal.Failure{failure(2), failure(3)}))
	known("b")
	for n := int64(21); n < 60; n++ {
		must(t, w.Append(rows(n, n)))
	}
	cut, err := w.Cut()
	must(t, err)
	must(t, w.Release(cut, 59, []int64{2, 3}))
	if f := known("b"); f.Segments > 1 {
		t.Errorf("%d segments behind a checkpoint", f.Segments)
	}
	must(t, w.Settle(59, nil))
	known()
	must(t, w.Receipt(journal.Receipt{First: 2, Last: 3, Token: []byte("again")}))
	known("again")
	must(t, w.Receipt(journal.Receipt{First: 3, Last: 3, Token: []byte("alone")}))
	must(t, w.Amend([]int64{2}, nil)) // it was refused as a whole
	known("alone")
	_, err = w.Cut()
	must(t, err)
	known("alone")
	must(t, w.Amend(nil, []journal.Failure{failure(3)}))
	known()
}
