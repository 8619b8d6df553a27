package tuple

import (
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestFaultsNameColumnFieldAndValue(t *testing.T) {
	type named struct {
		Name *string `db:"name,key"`
	}
	type row struct {
		Note string          `db:"note"`
		N    uint64          `db:"n"`
		At   time.Time       `db:"at"`
		J    json.RawMessage `db:"j"`
		named
		Zero int `db:"zero,key,nullzero"`
	}
	c := codecOf[row](t)
	name := "O'Brien"
	key := named{&name}
	for _, tc := range []struct {
		row  row
		want FieldError
	}{
		{row{Zero: 1}, FieldError{Column: "name", Field: "named.Name", Value: "NULL", Reason: "a key column cannot be NULL"}},
		{row{named: key}, FieldError{Column: "zero", Field: "Zero", Value: "NULL", Reason: "a key column cannot be NULL"}},
		{
			row{named: key, Zero: 3, Note: "a\x00b"},
			FieldError{Column: "note", Field: "Note", Key: "(name, zero)=('O'Brien', 3)", Value: `'a\x00b'`, Reason: "a NUL byte at offset 1, which text cannot hold; make the field []byte for a bytea column"},
		},
		{
			row{named: key, Zero: 3, Note: "12345678\xe4"},
			FieldError{Column: "note", Field: "Note", Key: "(name, zero)=('O'Brien', 3)", Value: `'12345678\xe4'`, Reason: "invalid UTF-8 at offset 8 (byte 0xe4); escape it, or make the field []byte for a bytea column"},
		},
		{
			row{named: key, Zero: 3, N: math.MaxUint64},
			FieldError{Column: "n", Field: "N", Key: "(name, zero)=('O'Brien', 3)", Value: "18446744073709551615", Reason: "above the range of bigint; give the tag the option type=numeric(20) and the column that type"},
		},
		{
			row{named: key, Zero: 3, At: time.Unix(1<<50, 0)},
			FieldError{Column: "at", Field: "At", Key: "(name, zero)=('O'Brien', 3)", Value: "1125899906842624 seconds from 1970", Reason: "outside the range of timestamptz, 4714-11-24 BC to 294276 AD"},
		},
		{
			row{named: key, Zero: 3, J: json.RawMessage("[1,]")},
			FieldError{Column: "j", Field: "J", Key: "(name, zero)=('O'Brien', 3)", Value: "'[1,]'", Reason: "not JSON: invalid character ']' looking for beginning of value"},
		},
	} {
		dst, err := c.Append([]byte("kept"), &tc.row)
		var got *FieldError
		if !errors.As(err, &got) || *got != tc.want {
			t.Errorf("got  %+v\nwant %+v", got, tc.want)
		}
		if string(dst) != "kept" {
			t.Errorf("dst is %q", dst)
		}
	}
}

func TestRowsAboveTheLimitAreRefused(t *testing.T) {
	type row struct {
		ID int32  `db:"id,key"`
		A  []byte `db:"a"`
		B  []byte `db:"b"`
		S  string `db:"s"`
	}
	c := codecOf[row](t)
	half := make([]byte, MaxLen/2)
	long := make([]byte, MaxLen+1)
	for _, tc := range []struct {
		row  row
		want string
	}{
		{row{1, half, half, ""}, `row (id)=(1): column "b" (field B): with it the row has 268435474 bytes, 268435456 are the limit`},
		{row{1, long, nil, ""}, `row (id)=(1): column "a" (field A), value of type []byte: 268435457 bytes long, 268435456 are the limit of a row`},
		{row{1, nil, nil, viewString(long)}, `\x00': 268435457 bytes long, 268435456 are the limit of a row`},
	} {
		if _, err := c.Append(nil, &tc.row); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("got  %v\nwant %s", err, tc.want)
		}
	}
}

func TestJSONFaults(t *testing.T) {
	for text, want := range map[string]string{
		`{}`:                         "",
		` [1, "a\\u0000"] `:          "",
		`"\\\\u0000"`:                "",
		`"\ud83d\ude00"`:             "",
		`"\uD83D\uDE00\u0001\ufffe"`: "",
		`"漢字"`:                       "",
		``:                           "empty",
		`{`:                          "not JSON",
		`1 2`:                        "not JSON",
		"\"\x00\"":                   "not JSON",
		"\"\xff\"":                   "invalid UTF-8 at offset 1",
		`"\u0000"`:                   `the escape \u0000 at offset 1`,
		`"\\\u0000"`:                 `the escape \u0000 at offset 3`,
		`"\ud800"`:                   `the escape \ud800 at offset 1 is half`,
		`"\ud800\n\udc00"`:           `the escape \ud800 at offset 1 is half`,
		`"\ud800\u0041"`:             `the escape \ud800 at offset 1 is half`,
		`"\ud800\ud800\udc00"`:       `the escape \ud800 at offset 1 is half`,
		`"\uDC00"`:                   `the escape \uDC00 at offset 1 is half`,
		strings.Repeat("[", 20000) + strings.Repeat("]", 20000): "exceeded max depth",
	} {
		got := jsonFault([]byte(text))
		if (got == "") != (want == "") || !strings.Contains(got, want) {
			t.Errorf("%.40s: %q, want %q", text, got, want)
		}
	}
}

func TestTextFaults(t *testing.T) {
	for s, want := range map[string]string{
		"":                          "",
		"1234567":                   "",
		"12345678":                  "",
		"\x01\x7f to \t the \n end": "",
		"12345678ä":                 "",
		"\x00":                      "NUL byte at offset 0",
		"12345678\x00":              "NUL byte at offset 8",
		"ä2345678\x009":             "NUL byte at offset 9",
		"\x80":                      "invalid UTF-8 at offset 0",
		"123456\xc3":                "invalid UTF-8 at offset 6",
		"1234567\xed\xa0\x80":       "invalid UTF-8 at offset 7",
		"\ufffd\xff":                "invalid UTF-8 at offset 3",
	} {
		got := textFault(s)
		if (got == "") != (want == "") || !strings.Contains(got, want) {
			t.Errorf("%q: %q, want %q", s, got, want)
		}
	}
}

func TestTimeRange(t *testing.T) {
	for _, tc := range []struct {
		at time.Time
		us int64
		ok bool
	}{
		{time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC), 0, true},
		{time.Date(2000, 1, 1, 1, 0, 0, 1999, time.FixedZone("", 3600)), 1, true},
		{time.Date(1999, 12, 31, 23, 59, 59, 999999999, time.UTC), -1, true},
		{time.Time{}, -63082281600000000, true},
		{time.Date(-4713, 11, 24, 0, 0, 0, 0, time.UTC), minMicros, true},
		{time.Date(-4713, 11, 24, 0, 0, 0, -1, time.UTC), 0, false},
		{time.Date(294277, 1, 1, 0, 0, 0, -1, time.UTC), endMicros - 1, true},
		{time.Date(294277, 1, 1, 0, 0, 0, 0, time.UTC), 0, false},
		{time.Unix(math.MaxInt64, 0), 0, false},
		{time.Unix(math.MinInt64, 0), 0, false},
	} {
		us, ok := microseconds(tc.at)
		if us != tc.us || ok != tc.ok {
			t.Errorf("%v: %d, %v; want %d, %v", tc.at, us, ok, tc.us, tc.ok)
		}
		if back, _ := timeOf(us); ok && !back.Equal(tc.at.Truncate(time.Microsecond)) {
			t.Errorf("%v came back as %v", tc.at, back)
		}
	}
	for _, us := range []int64{minMicros - 1, endMicros, math.MaxInt64, math.MinInt64} {
		if _, ok := timeOf(us); ok {
			t.Errorf("%d is a time", us)
		}
	}
}

func TestShortenedTextsArePrintable(t *testing.T) {
	for s, want := range map[string]string{
		"":                       "",
		"it's":                   "it's",
		"a\nb\xff\u200b":         `a\nb\xff\u200b`,
		strings.Repeat("ab", 15): strings.Repeat("ab", 15),
		"/data/" + strings.Repeat("x", 99) + "/end.txt": "/data/xxxxxxxxxxxxxx…xx/end.txt",
		strings.Repeat("\x00", 99):                      `\x00\x00\x00\x00\x00…\x00\x00\x00`,
		strings.Repeat("漢", 99):                         "漢漢漢漢漢漢漢…漢漢漢漢",
	} {
		got := shorten(s, 30)
		if got != want {
			t.Errorf("%q: %s, want %s", s, got, want)
		}
		if !utf8.ValidString(got) || len(got) > 30+15 {
			t.Errorf("%q: %d bytes", got, len(got))
		}
	}
}
