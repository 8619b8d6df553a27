package tuple

import (
	"bytes"
	"database/sql/driver"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// fieldOf is what AppendValue appends, without the length.
func fieldOf(t *testing.T, typ Type, v driver.Value) []byte {
	t.Helper()
	b, err := AppendValue(nil, typ, v)
	if err != nil {
		t.Fatalf("%v %v: %v", typ, v, err)
	}
	value, _, rest := Next(b)
	if len(rest) != 0 {
		t.Fatalf("%v %v: %x", typ, v, b)
	}
	return value
}

func TestValues(t *testing.T) {
	for _, tc := range []struct {
		typ   Type
		value driver.Value
		field string
	}{
		{Bool, int64(0), "\x00"},
		{Bool, int64(1), "\x01"},
		{Int2, int64(-2), "\xff\xfe"},
		{Int4, int64(math.MinInt32), "\x80\x00\x00\x00"},
		{Int8, int64(math.MaxInt64), "\x7f\xff\xff\xff\xff\xff\xff\xff"},
		{Float4, 1.5, "\x3f\xc0\x00\x00"},
		{Float4, "NaN", "\x7f\xc0\x00\x00"},
		{Float8, math.Inf(-1), "\xff\xf0\x00\x00\x00\x00\x00\x00"},
		{Float8, "NaN", "\x7f\xf8\x00\x00\x00\x00\x00\x00"},
		{Text, "", ""},
		{Text, "ä", "ä"},
		{Bytea, []byte{}, ""},
		{Bytea, []byte{0}, "\x00"},
		{Timestamptz, "2000-01-01 00:00:00.000001+00:00", "\x00\x00\x00\x00\x00\x00\x00\x01"},
		{Timestamptz, "1999-12-31 23:59:59.999999+00:00", "\xff\xff\xff\xff\xff\xff\xff\xff"},
		{Timestamptz, "0001-01-01 00:00:00.000000+00:00", "\xff\x1f\xe2\xff\xc5\x9c\x60\x00"},
		{Timestamptz, "-4713-11-24 00:00:00.000000+00:00", "\xfd\x0f\x7c\xc1\x41\x1f\xa0\x00"},
		{JSON, `{"a": 1}`, "\x01{\"a\": 1}"},
		{UUID, "00010203-0405-0607-0809-0a0b0c0d0eff", "\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\xff"},
	} {
		field := fieldOf(t, tc.typ, tc.value)
		if string(field) != tc.field {
			t.Errorf("%v %v: field %x, want %x", tc.typ, tc.value, field, tc.field)
		}
		if got, err := Value(tc.typ, field); err != nil || !reflect.DeepEqual(got, tc.value) {
			t.Errorf("%v %x: value %v (%T), %v; want %v", tc.typ, field, got, got, err, tc.value)
		}
	}
}

func TestNullValue(t *testing.T) {
	for typ := Bool; typ <= Types; typ++ {
		if v, err := Value(typ, nil); v != nil || err != nil {
			t.Errorf("%v: %v, %v", typ, v, err)
		}
		if b, err := AppendValue(nil, typ, nil); string(b) != "\xff\xff\xff\xff" || err != nil {
			t.Errorf("%v: %x, %v", typ, b, err)
		}
	}
}

func TestWhatDriversMakeOfValues(t *testing.T) {
	at := time.Date(2024, 2, 29, 1, 2, 3, 4000, time.FixedZone("", -3600))
	for _, tc := range []struct {
		typ             Type
		value, standard driver.Value
	}{
		{Bool, true, int64(1)},
		{Float8, int64(3), 3.0},
		{Float4, int64(-3), -3.0},
		{Timestamptz, at, "2024-02-29 02:02:03.000004+00:00"},
	} {
		if got, want := fieldOf(t, tc.typ, tc.value), fieldOf(t, tc.typ, tc.standard); !bytes.Equal(got, want) {
			t.Errorf("%v: %x, want %x", tc.value, got, want)
		}
	}
}

func TestUnfitValues(t *testing.T) {
	for _, tc := range []struct {
		typ   Type
		value driver.Value
		want  string
	}{
		{Bool, int64(2), "boolean value 2: out of range"},
		{Int2, int64(1 << 15), "smallint value 32768: out of range"},
		{Int4, int64(1 << 31), "integer value 2147483648: out of range"},
		{Int8, 1.0, "bigint value of type float64: cannot be in such a column"},
		{Int8, "1", "bigint value of type string"},
		{Float4, 0.1, "real value 0.1: more digits"},
		{Float4, 1e300, "real value 1e+300: more digits"},
		{Float8, int64(math.MaxInt64), "double precision value 9223372036854775807: out of range"},
		{Float8, "Infinity", "of type string"},
		{Text, []byte("a"), "of type []uint8"},
		{Text, "\x00", `text value '\x00': a NUL byte`},
		{Text, int64(1), "text value of type int64"},
		{Bytea, "a", "bytea value of type string"},
		{JSON, "", "jsonb value '': empty"},
		{JSON, `"\u0000"`, "the escape"},
		{Timestamptz, "2024-01-01 00:00:00+00:00", "want the form 2006-01-02"},
		{Timestamptz, "2023-02-29 00:00:00.000000+00:00", "want the form"},
		{Timestamptz, "+2024-01-01 00:00:00.000000+00:00", "want the form"},
		{Timestamptz, "2024-01-01 00:00:00.000000+01:00", "want the form"},
		{Timestamptz, "x2024-01-01 00:00:00.000000+00:00", "want the form"},
		{Timestamptz, "999999-01-01 00:00:00.000000+00:00", "want the form"},
		{Timestamptz, int64(1), "of type int64"},
		{UUID, "00010203-0405-0607-0809-0A0B0C0D0EFF", "want the form"},
		{UUID, "000102030405060708090a0b0c0d0eff", "want the form"},
		{UUID, strings.Repeat("-", 36), "want the form"},
		{Type(0), int64(1), "tuple.Type(0) value of type int64"},
		{Int4, struct{}{}, "of type struct {}"},
	} {
		dst, err := AppendValue([]byte("kept"), tc.typ, tc.value)
		if err == nil || !strings.Contains(err.Error(), tc.want) || string(dst) != "kept" {
			t.Errorf("%v %v: %q, %v; want %s", tc.typ, tc.value, dst, err, tc.want)
		}
	}
}

func TestUnfitFields(t *testing.T) {
	for _, tc := range []struct {
		typ   Type
		field string
	}{
		{Bool, "\x02"},
		{Bool, ""},
		{Int4, "\x00"},
		{Timestamptz, "\x7f\xff\xff\xff\xff\xff\xff\xff"},
		{JSON, ""},
		{JSON, "\x02{}"},
		{UUID, "short"},
		{Type(0), ""},
		{UUID + 1, ""},
	} {
		if v, err := Value(tc.typ, []byte(tc.field)); err == nil {
			t.Errorf("%v %x: %v", tc.typ, tc.field, v)
		}
	}
}

func TestKeyString(t *testing.T) {
	cols := []Column{{"backup_set_id", Int4, false}, {"file_path", Text, false}, {"note", Bytea, true}}
	row := func(path string, note driver.Value) []byte {
		b := AppendHeader(nil, 3)
		b, _ = AppendValue(b, Int4, int64(7))
		b = append(appendLen(b, len(path)), path...)
		b, _ = AppendValue(b, Bytea, note)
		return b
	}
	for _, tc := range []struct {
		keys int
		t    []byte
		want string
	}{
		{1, row("", nil), "(backup_set_id)=(7)"},
		{2, row("/data/x", nil), "(backup_set_id, file_path)=(7, '/data/x')"},
		{0, row("/data/x", nil), "(backup_set_id, file_path, note)=(7, '/data/x', NULL)"},
		{3, row("\xff\n", []byte{1, 0xab}), `(backup_set_id, file_path, note)=(7, '\xff\n', '\x01ab')`},
		{
			3, row("/data/"+strings.Repeat("d/", 99)+"file.txt", make([]byte, 99)),
			`(backup_set_id, file_path, note)=(7, '/data/d/d/d/d/d/d/d/d/d/d/d/d/d/d…d/d/d/d/file.txt', '\x00000000000000000000000000000000000000000000000000…')`,
		},
		{4, row("", nil), "(unreadable row of 18 bytes)"},
		{2, []byte("junk"), "(unreadable row of 4 bytes)"},
	} {
		if got := KeyString(cols, tc.keys, tc.t); got != tc.want {
			t.Errorf("got  %s\nwant %s", got, tc.want)
		}
	}
	many := make([]Column, 32)
	long := AppendHeader(nil, len(many))
	for i := range many {
		many[i] = Column{strings.Repeat("ö", 30), UUID, false}
		long = append(appendLen(long, 3), "abc"...)
	}
	if got := KeyString(many, 32, long); len(got) > maxKeyString || !utf8.ValidString(got) {
		t.Errorf("%d bytes: %s", len(got), got)
	}
	if got := KeyString(many[:1], 1, append(AppendHeader(nil, 1), 0, 0, 0, 1, 'x')); !strings.HasSuffix(got, "=((unreadable uuid))") {
		t.Error(got)
	}
}

// FuzzValue holds that what Value accepts AppendValue gives back, or refuses
// because it looks into texts.
func FuzzValue(f *testing.F) {
	for typ := Bool; typ <= Types; typ++ {
		for _, field := range []string{
			"", "\x00", "\x01", "\xff\xfe", "1234", "\x7f\xc0\x00\x00", "12345678", "\x7f\xf8\x00\x00\x00\x00\x00\x01",
			"\x01{}", "\x01\"\\u0000\"", "0123456789abcdef", "2024-02-29 01:02:03.000004+00:00", "-4713-11-24 00:00:00.000000+00:00",
			"00010203-0405-0607-0809-0a0b0c0d0eff",
		} {
			f.Add(uint8(typ), []byte(field))
		}
	}
	f.Fuzz(func(t *testing.T, typ uint8, field []byte) {
		roundTripField(t, Type(typ), field)
		// The same bytes as a text.
		if b, err := AppendValue(nil, Type(typ), string(field)); err == nil {
			if v, err := Value(Type(typ), b[4:]); err != nil || v != string(field) {
				t.Errorf("%v %q came back as %v, %v", Type(typ), field, v, err)
			}
		}
	})
}

func roundTripField(t *testing.T, typ Type, field []byte) {
	t.Helper()
	if field == nil {
		field = []byte{}
	}
	v, err := Value(typ, field)
	if err != nil {
		return
	}
	b, err := AppendValue([]byte{1}, typ, v)
	switch {
	case err != nil && typ != Text && typ != JSON:
		t.Errorf("%v %x is %v, which is refused: %v", typ, field, v, err)
	case err == nil && v == "NaN" && typ != Text:
	case err == nil && !bytes.Equal(b[5:], field):
		t.Errorf("%v %x is %v, which is %x", typ, field, v, b[5:])
	}
	cols := []Column{{"column", typ, true}}
	s := KeyString(cols, 1, append(appendLen(AppendHeader(nil, 1), len(field)), field...))
	if len(s) > maxKeyString || !utf8.ValidString(s) || strings.ContainsAny(s, "\x00\n\x1b") {
		t.Errorf("key string %q", s)
	}
}
