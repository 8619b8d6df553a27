package tuple

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"testing"
)

// wide is a tuple of fields; nil is NULL.
func wide(cols []Column, fields ...[]byte) []byte {
	t := binary.BigEndian.AppendUint16(nil, uint16(len(fields)))
	for _, f := range fields {
		switch {
		case f == nil:
			t = appendNull(t)
		case string(f) == "absent":
			t = AppendAbsent(t)
		default:
			t = append(binary.BigEndian.AppendUint32(t, uint32(len(f))), f...)
		}
	}
	Mark(t, cols)
	return t
}

func TestRowsFollowTheirColumns(t *testing.T) {
	absent := []byte("absent")
	local := []byte{0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 14, 16}
	before := append(bytes.Repeat([]byte{0xff}, 8), 0, 0, 14, 16) // the last microsecond of 1999, UTC, where it is 2000
	from := []Column{
		{"id", Int2, false},
		{"n", Int4, true},
		{"f", Float4, false},
		{"at", Timestamptz, false},
		{"here", Local, false},
		{"day", Local, false},
		{"wall", Local, false},
		{"gone", Text, false},
		{"may", Text, true},
	}
	to := []Column{
		{"id", Int8, false},
		{"may", Text, true},
		{"n", Int8, true},
		{"f", Float8, false},
		{"new", Text, false},
		{"at", Local, false},
		{"here", Timestamptz, false},
		{"day", Date, false},
		{"wall", Timestamp, false},
	}
	m, err := NewRemap(from, to, 1)
	if err != nil || !slices.Equal(m.Added, []string{"new"}) || !slices.Equal(m.Removed, []string{"gone"}) {
		t.Fatalf("%+v, %v", m, err)
	}
	for _, c := range []struct{ was, is [][]byte }{
		{
			[][]byte{{0xff, 0xfe}, {0, 1, 0, 0}, {0x3f, 0x80, 0, 0}, local[:8], local, before, local, []byte("x"), []byte("y")},
			[][]byte{
				{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe},
				[]byte("y"),
				{0, 0, 0, 0, 0, 1, 0, 0},
				{0x3f, 0xf0, 0, 0, 0, 0, 0, 0},
				absent, local[:8], local[:8],
				{0, 0, 0, 0},
				{0, 0, 0, 0, 0xd6, 0x93, 0xa4, 5},
			},
		},
		{
			[][]byte{{0, 7}, nil, {0xbf, 0x80, 0, 0}, local[:8], local[:8], before[:8], local[:8], []byte(""), absent},
			[][]byte{{0, 0, 0, 0, 0, 0, 0, 7}, absent, nil, {0xbf, 0xf0, 0, 0, 0, 0, 0, 0}, absent, local[:8], local[:8], {0xff, 0xff, 0xff, 0xff}, local[:8]},
		},
	} {
		got, err := m.Append([]byte("before"), wide(from, c.was...))
		if want := append([]byte("before"), wide(to, c.is...)...); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%x, %v\nwant %x", got, err, want)
		}
		if err := Check(got[6:], len(to)); err != nil {
			t.Error(err)
		}
	}
}

func TestRowsThatCannotFollow(t *testing.T) {
	id, text := Column{"id", Int8, false}, Column{"a", Text, true}
	for name, to := range map[string][]Column{
		"narrower":  {{"id", Int4, false}, text},
		"other":     {id, {"a", Bytea, true}},
		"a new key": {id, {"part", Int8, false}, text},
		"wall time": {{"id", Timestamp, false}, text},
	} {
		if m, err := NewRemap([]Column{id, text}, to, 2); !errors.Is(err, ErrRemap) {
			t.Errorf("%s: %+v, %v", name, m, err)
		}
	}
	m, err := NewRemap([]Column{id, text}, []Column{id, {"a", Text, false}}, 1)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := m.Append(nil, wide(nil, make([]byte, 8), nil)); !errors.Is(err, ErrRemap) || len(got) > 0 {
		t.Errorf("NULL: %x, %v", got, err)
	}
	m, err = NewRemap([]Column{{"id", Int4, false}}, []Column{id}, 1)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := m.Append(nil, wide(nil, make([]byte, 3))); !errors.Is(err, ErrMalformed) || len(got) > 0 {
		t.Errorf("three bytes: %x, %v", got, err)
	}
}
