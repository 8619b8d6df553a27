package dump

import (
	"bytes"
	"testing"

	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

// A field that the codec can make comes back out of its literal; others are
// refused on one of the two ways, or come back too.
func FuzzLiteral(f *testing.F) {
	table, batch := tableOf(f, "files", edgeRows()...)
	for i := range batch.Rows {
		for c := range table.Columns {
			if field, null := tuple.Field(batch.Tuple(i), c); !null {
				f.Add(byte(table.Columns[c].Type), field)
			}
		}
	}
	f.Fuzz(func(t *testing.T, typ byte, field []byte) {
		want := tuple.Type(typ)%tuple.UUID + 1
		if field == nil {
			field = []byte{}
		}
		literal, err := appendLiteral(nil, want, field)
		canonical := isCanonical(want, field)
		if err != nil {
			if canonical {
				t.Fatalf("%v %q: %v", want, field, err)
			}
			return
		}
		var tokens [1]token
		n, err := lexRow(append(literal, ')'), tokens[:])
		if err != nil || n != len(literal)+1 {
			t.Fatalf("%v %q: %s: %v after %d bytes", want, field, literal, err, n)
		}
		got, err := new(decoder).appendField(nil, want, want, tokens[0])
		if canonical && (err != nil || !bytes.Equal(got[4:], field)) {
			t.Errorf("%v %q: %s: %q, %v", want, field, literal, got, err)
		}
	})
}

// isCanonical reports whether the codec makes such a field.
func isCanonical(t tuple.Type, field []byte) bool {
	v, err := tuple.Value(t, field)
	if err != nil {
		return false
	}
	b, err := tuple.AppendValue(nil, t, v)
	return err == nil && bytes.Equal(b[4:], field)
}

// Of a body that is accepted, what is written again is the same.
func FuzzBody(f *testing.F) {
	d := dirOf(f)
	table, small := smallFile(f, d)
	identity, m, head, err := parseHead(small)
	if err != nil {
		f.Fatal(err)
	}
	_, _, _, end, _ := parseTrailer(small)
	text := small[head : len(small)-end]
	f.Add(text)
	f.Add([]byte(commit))
	for _, literal := range []string{"CAST(x'0d' AS TEXT)", "-9e999", "'NaN'", "''", "1e-5"} {
		f.Add(bytes.Replace(text, []byte("NULL"), []byte(literal), 1))
		f.Add(bytes.Replace(text, []byte("0.5"), []byte(literal), 1))
	}
	columns, err := newMapping(&m.Table, &table)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		accepted := func(text []byte) (*contents, bool) {
			var c contents
			b := newBody(&Info{Meta: m}, &table, columns, window{src: bytes.NewReader(text)}, c.rows, c.fail)
			err := b.read()
			if err != nil { // perhaps only because nothing was counted
				c = contents{}
				b = newBody(&Info{Meta: m, Rows: b.nRows, Failed: b.nFailed}, &table, columns, window{src: bytes.NewReader(text)}, c.rows, c.fail)
				err = b.read()
			}
			return &c, err == nil
		}
		got, ok := accepted(text)
		if !ok {
			return
		}
		written := contentOf(t, dumped(t, Dir{Path: t.TempDir(), Identity: identity}, m, &got.batch, got.failed...).Path)
		_, _, _, end, _ := parseTrailer(written)
		back, ok := accepted(written[head : len(written)-end])
		if !ok {
			t.Fatalf("%q was accepted, but not what was made of it: %q", text, written)
		}
		sameRows(t, &back.batch, &got.batch)
		sameFailed(t, back.failed, got.failed)
	})
}

// Read never panics, and what it accepts is a checkpoint of the same rows when
// it is written again.
func FuzzRead(f *testing.F) {
	d := dirOf(f)
	table, small := smallFile(f, d)
	f.Add(small)
	f.Add(bytes.Replace(small, []byte("NULL"), []byte("CAST(x'0d' AS TEXT)"), 1))
	f.Add(bytes.Replace(small, []byte("0.5"), []byte("-9e999"), 1))
	f.Add(bytes.Replace(small, []byte("0.5"), []byte("'NaN'"), 1))
	_, batch := tableOf[smallRow](f, "files")
	f.Add(contentOf(f, dumped(f, d, meta(table), batch).Path))
	path := put(f, d, nil)
	f.Fuzz(func(t *testing.T, text []byte) {
		rewrite(t, path, signed(bytes.Clone(text)))
		got, info, err := read(d, path, table)
		if err != nil {
			return
		}
		again := Dir{Path: t.TempDir(), Identity: d.Identity}
		written := dumped(t, again, info.Meta, &got.batch, got.failed...)
		back, _ := loaded(t, again, written.Path, table)
		sameRows(t, &back.batch, &got.batch)
		sameFailed(t, back.failed, got.failed)
	})
}
