package tuple

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func TestKeysCompareByValue(t *testing.T) {
	type ints struct {
		A int8  `db:"a,key"`
		B int32 `db:"b,key"`
		C int64 `db:"c,key"`
	}
	type floats struct {
		A float32 `db:"a,key"`
		B float64 `db:"b,key"`
	}
	type texts struct {
		A string `db:"a,key"`
		B []byte `db:"b,key"`
	}
	type others struct {
		A bool      `db:"a,key"`
		B time.Time `db:"b,key"`
		C [16]byte  `db:"c,key"`
	}
	at := time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC)
	inf := math.Inf(1)
	ascending(t, ints{-128, 1, 1}, ints{-1, 1, 1}, ints{0, math.MinInt32, 9}, ints{0, -1, 9}, ints{0, 0, math.MinInt64},
		ints{0, 0, -2}, ints{0, 0, -1}, ints{0, 0, 0}, ints{0, 0, 255}, ints{0, 0, 256}, ints{0, 1, -1}, ints{127, 0, 0})
	ascending(t, floats{float32(-inf), 0}, floats{-2, 0}, floats{-1, 0}, floats{0, -inf}, floats{0, -1e300}, floats{0, -1e-300},
		floats{0, 0}, floats{0, 5e-324}, floats{0, 1}, floats{0, 2}, floats{0, inf}, floats{0, math.NaN()}, floats{1, 0})
	ascending(t, texts{"", []byte{}}, texts{"", []byte{0}}, texts{"a", []byte{0xff}}, texts{"a", []byte{0xff, 0}},
		texts{"a/b", []byte{}}, texts{"aa", []byte{}}, texts{"ä", []byte{}})
	ascending(t, others{false, at, [16]byte{}}, others{false, at, [16]byte{15: 1}}, others{false, at, [16]byte{0x80}},
		others{false, at.Add(time.Microsecond), [16]byte{}}, others{false, at.AddDate(2, 0, 0), [16]byte{}}, others{true, at, [16]byte{}})
}

// ascending fails the test unless each row is below all that follow it.
func ascending[T any](t *testing.T, rows ...T) {
	t.Helper()
	c := codecOf[T](t)
	order := NewKeyOrder(c.Columns()[:c.Keys()])
	for i, a := range rows {
		for j, b := range rows {
			want := min(1, max(-1, i-j))
			if got := order.Compare(appended(t, c, a), appended(t, c, b)); got != want {
				t.Errorf("%+v against %+v: %d, want %d", a, b, got, want)
			}
		}
	}
}

type keyed struct {
	N    int32  `db:"n,key"`
	Path string `db:"path,key"`
	Note string `db:"note"`
}

// Against the obvious way, a map of the last row of each key.
func TestSortUnique(t *testing.T) {
	c := codecOf[keyed](t)
	order := NewKeyOrder(c.Columns()[:c.Keys()])
	rng := rand.New(rand.NewPCG(1, 2))
	for _, n := range []int{0, 1, 2, 3, 10, 1000} {
		for _, keys := range []int{1, 2, 7, 100000} {
			var b Batch
			last := map[string]int64{}
			for _, seq := range rng.Perm(n) {
				row := keyed{int32(rng.IntN(3)) - 1, fmt.Sprint("/data/", rng.IntN(keys)), fmt.Sprint(seq)}
				tup := appended(t, c, row)
				b.Append(int64(seq), tup)
				key := string(Key(tup, 2))
				last[key] = max(last[key], int64(seq))
			}
			superseded := order.SortUnique(&b)
			if b.Len() != len(last) || b.Len()+len(superseded) != n {
				t.Fatalf("%d rows: %d kept and %d superseded of %d keys", n, b.Len(), len(superseded), len(last))
			}
			seen := map[int64]bool{}
			for i, s := range b.Rows {
				seen[s.Seq] = true
				if tup := b.Tuple(i); last[string(Key(tup, 2))] != s.Seq {
					t.Errorf("row %s is not the last of its key", KeyString(c.Columns(), 0, tup))
				}
				if i > 0 && order.Compare(b.Tuple(i-1), b.Tuple(i)) >= 0 {
					t.Errorf("row %d is not above the one before", i)
				}
			}
			for _, s := range superseded {
				if seen[s.Seq] {
					t.Errorf("row %d is there twice", s.Seq)
				}
				seen[s.Seq] = true
			}
			if len(seen) != n {
				t.Errorf("%d of %d rows are left", len(seen), n)
			}
		}
	}
}

func TestSortUniqueWithoutKeyKeepsEveryRow(t *testing.T) {
	c := codecOf[keyed](t)
	var b Batch
	for seq := range int64(3) {
		b.Append(seq, appended(t, c, keyed{Note: "same"}))
	}
	want := slices.Clone(b.Rows)
	if superseded := NewKeyOrder(nil).SortUnique(&b); len(superseded) != 0 || !slices.Equal(b.Rows, want) {
		t.Errorf("rows %v, superseded %v", b.Rows, superseded)
	}
}

func TestSortUniqueDoesNotAllocate(t *testing.T) {
	c := codecOf[keyed](t)
	order := NewKeyOrder(c.Columns()[:c.Keys()])
	var source, b Batch
	for seq := range int64(100) {
		source.Append(seq, appended(t, c, keyed{Path: fmt.Sprint(seq * 37 % 50)}))
	}
	b.Data, b.Rows = source.Data, slices.Clone(source.Rows)
	if n := testing.AllocsPerRun(10, func() {
		b.Rows = append(b.Rows[:0], source.Rows...)
		order.SortUnique(&b)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzKeyOrder cuts its input into values for three keys of every column type.
func FuzzKeyOrder(f *testing.F) {
	f.Add([]byte(""), []byte("a"), []byte("b"))
	f.Add(binary.BigEndian.AppendUint64(nil, 1<<63), binary.BigEndian.AppendUint64(nil, 1), make([]byte, 8))
	f.Add([]byte{0xff, 0xf8}, []byte{0x7f, 0xf8}, []byte{0x80, 0})
	f.Add([]byte("0123456789abcdef"), []byte("0123456789abcdeg"), []byte("0123456789abcde"))
	types := []Type{Int4, Float8, Text, Bool, Int2, Float4, Timestamptz, UUID, Bytea, Int8}
	cols := make([]Column, len(types))
	for i, typ := range types {
		cols[i].Type = typ
	}
	f.Fuzz(func(t *testing.T, a, b, c []byte) {
		for from := range cols {
			order := NewKeyOrder(cols[from:])
			x, y, z := cut(cols[from:], a), cut(cols[from:], b), cut(cols[from:], c)
			xy, yz, xz := order.Compare(x, y), order.Compare(y, z), order.Compare(x, z)
			if xy != -order.Compare(y, x) {
				t.Error("not antisymmetric")
			}
			if xy <= 0 && yz <= 0 && (xz > 0 || xz == 0 && xy+yz != 0) {
				t.Errorf("not transitive: %d, %d, %d", xy, yz, xz)
			}
			if same := bytes.Equal(Key(x, len(cols)-from), Key(y, len(cols)-from)); same != (xy == 0) {
				t.Errorf("keys equal: %v, compared as %d", same, xy)
			}
		}
	})
}

// cut makes a tuple of the columns from the bytes of b. What is missing is
// NULL or cut short, as no codec would have it.
func cut(cols []Column, b []byte) []byte {
	t := AppendHeader(nil, len(cols))
	for _, c := range cols {
		n := fixedSize[c.Type]
		if n == 0 && len(b) > 0 {
			n = int(b[0]) % 8
		}
		n = min(n, len(b))
		if n == 0 && len(b)%2 == 0 {
			t = appendNull(t)
			continue
		}
		t = append(appendLen(t, n), b[:n]...)
		b = b[n:]
	}
	return t
}
