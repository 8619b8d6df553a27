package journal_test

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/memdbwriter/memdbwriter/internal/journal"
	"github.com/memdbwriter/memdbwriter/internal/journal/faultfs"
	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

// small is a segment of four records: rows 1 to 3, 2 settled with 1 failed,
// rows 4 and 5, row 6. ends is where each of them ends, the first number being
// the end of what every segment begins with.
func small(t testing.TB) (name string, content []byte, ends []int) {
	t.Helper()
	fs := newFS()
	w := open(t, config(fs))
	must(t, w.Roll())
	mark := func() { must(t, w.Sync(ctx)); ends = append(ends, len(fs.Get(fs.Names("")[0]))) }
	mark()
	must(t, w.Append(rows(1, 3)))
	mark()
	must(t, w.Settle(2, []journal.Failure{failure(1)}))
	mark()
	must(t, w.Append(rows(4, 5)))
	mark()
	must(t, w.Append(rows(6, 6)))
	mark()
	name = fs.Names("")[0]
	return name, fs.Get(name), ends
}

// smallHolds are the rows that wait and have failed after n records of small.
var smallHolds = [...]struct{ rows, failed []int64 }{
	{nil, nil},
	{seq(1, 3), nil},
	{seq(3, 3), []int64{1}},
	{seq(3, 5), []int64{1}},
	{seq(3, 6), []int64{1}},
}

// complete is the number of records that are before a byte of small.
func complete(ends []int, at int) int {
	n := -1
	for _, end := range ends {
		if end <= at {
			n++
		}
	}
	return max(n, 0)
}

func TestTruncatedAtEveryByte(t *testing.T) {
	name, content, ends := small(t)
	for size := range content {
		fs := newFS()
		fs.Put(name, content[:size])
		f := replay(t, config(fs))
		holds := smallHolds[complete(ends, size)]
		f.want(t, holds.rows, holds.failed...)
		if len(f.Problems) > 0 || !slices.Equal(fs.Names(""), []string{name}) {
			t.Errorf("cut at %d: problems %v, files\n%v", size, f.Problems, fs)
		}
		again := replay(t, config(fs))
		again.want(t, holds.rows, holds.failed...)
		if again.Cut != 0 {
			t.Errorf("cut at %d: what is incomplete is still there", size)
		}
		if t.Failed() {
			t.Fatalf("cut at %d of %d", size, len(content))
		}
	}
}

func TestEverySingleBitFlipped(t *testing.T) {
	name, content, ends := small(t)
	for bit := range len(content) * 8 {
		flipped := bytes.Clone(content)
		flipped[bit/8] ^= 1 << (bit % 8)
		fs := newFS()
		fs.Put(name, flipped)
		if bit/8 >= 8 && bit/8 < 12 {
			if _, err := journal.Scan(config(fs)); !errors.Is(err, journal.ErrFormat) {
				t.Fatalf("version flipped: %v", err)
			}
			continue
		}
		f := replay(t, config(fs))
		holds := smallHolds[complete(ends, bit/8)]
		f.want(t, holds.rows, holds.failed...)
		last := bit/8 >= ends[len(ends)-2]
		if last != (len(f.Problems) == 0) {
			t.Errorf("problems %v", f.Problems)
		}
		if !last && !slices.Equal(fs.Get(name+".damaged"), flipped) {
			t.Errorf("the damaged file was not kept:\n%v", fs)
		}
		if again := replay(t, config(fs)); len(again.Problems) > 0 {
			t.Errorf("reported twice: %v", again.Problems)
		} else {
			again.want(t, holds.rows, holds.failed...)
		}
		if t.Failed() {
			t.Fatalf("bit %d of byte %d of %d", bit%8, bit/8, len(content))
		}
	}
}

// segments is a journal of three files with the rows 1-3, 4-6 and 7-9.
func segments(t testing.TB) (*faultfs.FS, []string) {
	fs := newFS()
	w := open(t, config(fs))
	for n := int64(1); n <= 7; n += 3 {
		must(t, w.Append(rows(n, n+2)))
		if n < 7 {
			must(t, w.Roll())
		}
	}
	return fs.Copy(), fs.Names("")
}

func TestDamageInOneSegmentCostsNothingOfTheOthers(t *testing.T) {
	fs, names := segments(t)
	b := fs.Get(names[1])
	b[20]++ // its header
	fs.Put(names[1], b)
	f := replay(t, config(fs))
	f.want(t, append(seq(1, 3), seq(7, 9)...))
	if f.Missing != 3 || len(f.Problems) != 1 || f.Problems[0].Aside != names[1]+".damaged" {
		t.Errorf("%d missing, problems %v", f.Missing, f.Problems)
	}
	if !slices.Equal(fs.Get(names[1]+".damaged"), b) || fs.Get(names[1]) != nil {
		t.Errorf("files\n%v", fs)
	}
	w := f.writer(t)
	must(t, w.Append(rows(10, 10)))
	replay(t, config(fs.Copy())).want(t, append(seq(1, 3), seq(7, 10)...))
}

func TestSwappedSegments(t *testing.T) {
	fs, names := segments(t)
	b := fs.Get(names[0])
	fs.Put(names[0], fs.Get(names[2]))
	fs.Put(names[2], b)
	replay(t, config(fs)).want(t, seq(1, 9)) // in order all the same
}

func TestRecordsOfAnotherSegmentAreNotTaken(t *testing.T) {
	fs, names := segments(t)
	first, second := fs.Get(names[0]), fs.Get(names[1])
	rowsAt := bytes.LastIndex(second, []byte("\xf5JR\n"))
	fs.Put(names[0], append(first, second[rowsAt:]...)) // as if the disk gave back an old block
	f := replay(t, config(fs))
	f.want(t, seq(1, 9))
	if f.Cut != int64(len(second)-rowsAt) {
		t.Errorf("cut %d bytes", f.Cut)
	}
}

func TestRepeatedRecordsAreNotTaken(t *testing.T) {
	name, content, ends := small(t)
	fs := newFS()
	fs.Put(name, append(bytes.Clone(content), content[ends[2]:ends[3]]...))
	f := replay(t, config(fs))
	f.want(t, seq(3, 6), 1)
	if f.Cut != int64(ends[3]-ends[2]) {
		t.Errorf("cut %d bytes", f.Cut)
	}
}

func TestACopyThatCannotBeKeptLeavesTheDamagedFile(t *testing.T) {
	name, content, ends := small(t)
	content[ends[2]+50]++
	fs := newFS()
	fs.Put(name, content)
	fs.Fault = func(op faultfs.Op, path string) error {
		if op == faultfs.Write && strings.HasSuffix(path, ".damaged") {
			return errors.New("no space left on device")
		}
		return nil
	}
	f := replay(t, config(fs))
	f.want(t, seq(3, 3), 1)
	if !slices.Equal(fs.Get(name), content) || len(f.Problems) != 1 || f.Problems[0].Aside != "" {
		t.Errorf("problems %v, files\n%v", f.Problems, fs)
	}
	fs.Fault = nil
	f = replay(t, config(fs))
	f.want(t, seq(3, 3), 1)
	if !slices.Equal(fs.Get(name+".damaged"), content) || len(fs.Get(name)) != ends[2] {
		t.Errorf("problems %v, files\n%v", f.Problems, fs)
	}
}

func TestAReadErrorIsNotTakenForDamage(t *testing.T) {
	fs, _ := segments(t)
	eio := errors.New("input/output error")
	for n := 1; ; n++ {
		reads := 0
		fs.Fault = func(op faultfs.Op, _ string) error {
			if op == faultfs.Read {
				if reads++; reads == n {
					return eio
				}
			}
			return nil
		}
		rec, err := journal.Scan(config(fs))
		if err == nil {
			err = rec.Replay((&found{}).visitor(t))
		}
		if err == nil {
			break // there are no more reads
		}
		if !errors.Is(err, eio) || len(fs.Names("damaged")) > 0 {
			t.Fatalf("read %d: %v\n%v", n, err, fs)
		}
	}
	fs.Fault = nil
	replay(t, config(fs)).want(t, seq(1, 9))
}

func FuzzSegment(f *testing.F) {
	name, content, ends := small(f)
	f.Add(content)
	for _, end := range ends {
		f.Add(content[:end-1])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		fs := newFS()
		fs.Put(name, b)
		rec, err := journal.Scan(config(fs))
		if err != nil {
			return
		}
		var total, last int64
		err = rec.Replay(journal.Visitor{
			Rows: func(b *tuple.Batch) error {
				for i, s := range b.Rows {
					if err := tuple.Check(b.Tuple(i), len(columns)); err != nil || s.Seq <= last {
						t.Fatalf("row %d after %d: %v", s.Seq, last, err)
					}
					last = s.Seq
				}
				total += b.Bytes()
				return nil
			},
			Failed: func(f *journal.Failure) error {
				total += int64(len(f.Tuple))
				return tuple.Check(f.Tuple, len(columns))
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		if total > int64(len(b)) {
			t.Errorf("%d bytes of rows out of a file of %d", total, len(b))
		}
	})
}
