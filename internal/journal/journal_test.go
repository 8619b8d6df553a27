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
	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

func TestWhatWasAppendedIsRecovered(t *testing.T) {
	fs := newFS()
	w := open(t, config(fs))
	must(t, w.Append(rows(1, 3)))
	must(t, w.Append(rows(4, 10)))
	f := replay(t, config(fs.Copy())) // the process dies
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
	f := replay(t, config(fs.Copy()))
	f.want(t, seq(7, 10), 3, 5)
	got := f.failed[0]
	if got.SQLState != bad.SQLState || got.Column != bad.Column || got.Message != bad.Message ||
		got.Attempts != bad.Attempts || !got.First.Equal(bad.First) || !got.Last.Equal(bad.Last) {
		t.Errorf("recovered %+v, want %+v", got, bad)
	}

	again := failure(5)
	again.Attempts = 2
	must(t, w.Amend([]int64{3}, []journal.Failure{again}))
	f = replay(t, config(fs.Copy()))
	f.want(t, seq(7, 10), 5)
	if f.failed[0].Attempts != 2 {
		t.Errorf("the failure is not the newest: %+v", f.failed[0])
	}
	must(t, w.Amend([]int64{5}, nil))
	replay(t, config(fs.Copy())).want(t, seq(7, 10))
}

func TestRecoveredRowsAreRecoveredAgainUntilTheyAreSettled(t *testing.T) {
	fs := newFS()
	must(t, open(t, config(fs)).Append(rows(1, 5)))
	for range 3 {
		fs = fs.Copy()
		replay(t, config(fs)).want(t, seq(1, 5))
	}
	f := replay(t, config(fs))
	w := f.writer(t)
	if err := w.Append(rows(5, 6)); err == nil {
		t.Error("a number was taken twice")
	}
	must(t, w.Append(rows(6, 8)))
	must(t, w.Settle(4, nil))
	replay(t, config(fs.Copy())).want(t, seq(5, 8))
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
	must(t, w.Sync(ctx))
	before := w.Stats()
	must(t, w.Settle(99, nil))
	must(t, w.Sync(ctx))
	after := w.Stats()
	if after.Segments >= before.Segments || after.Bytes >= before.Bytes || len(fs.Names(".seg")) != after.Segments {
		t.Errorf("%+v after %+v, files %v", after, before, fs)
	}
	replay(t, config(fs.Copy())).want(t, seq(100, 100))
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
		must(t, w.Sync(ctx))
	}
	if n := w.Stats().Bytes; n > 3*cfg.SegmentBytes {
		t.Errorf("one failed row holds %d bytes", n)
	}
	replay(t, config(fs.Copy())).want(t, nil, 7)
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
	must(t, rec.Replay(journal.Visitor{Rows: func(b *tuple.Batch) error {
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

	f := replay(t, cfg)
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
	replay(t, other).want(t, seq(1, 3))
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
	cfg.Columns[1].Type = tuple.Int8
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
