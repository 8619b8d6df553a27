package tuple

import (
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"
)

// money keeps cents, is written as an amount, and reads both.
type money int64

func (m money) Value() (driver.Value, error) { return fmt.Sprintf("%.2f", float64(m)/100), nil }

func (m *money) Scan(src any) error {
	s, ok := src.(string)
	if !ok {
		return fmt.Errorf("money from %T", src)
	}
	f, err := strconv.ParseFloat(s, 64)
	*m = money(math.Round(f * 100))
	return err
}

// level is an enumeration by name.
type level uint8

var levels = []string{"low", "middle", "high"}

func (l *level) MarshalText() ([]byte, error) { return []byte(levels[*l]), nil } // panics out of range

func (l *level) UnmarshalText(text []byte) error {
	for i, name := range levels {
		if name == string(text) {
			*l = level(i)
			return nil
		}
	}
	return fmt.Errorf("no level %q", text)
}

// scripted is a Valuer whose result the test chooses, and a Scanner that keeps
// what it gets.
type scripted struct {
	Result driver.Value
	Err    error
	Panic  any
}

func (s *scripted) Value() (driver.Value, error) {
	if s.Panic != nil {
		panic(s.Panic)
	}
	return s.Result, s.Err
}

func (s *scripted) Scan(src any) error {
	if s.Panic != nil {
		panic(s.Panic)
	}
	s.Result = src
	return nil
}

func TestValuerText(t *testing.T) {
	type row struct {
		V scripted `db:"v"`
	}
	c := codecOf[row](t)
	at := time.Date(2024, 5, 6, 7, 8, 9, 123456789, time.FixedZone("", 3600))
	for _, tc := range []struct {
		value driver.Value
		want  string
	}{
		{int64(-12), "-12"},
		{1e21, "1e+21"},
		{0.1, "0.1"},
		{math.Inf(1), "Infinity"},
		{math.Inf(-1), "-Infinity"},
		{math.NaN(), "NaN"},
		{true, "t"},
		{false, "f"},
		{"", ""},
		{"text", "text"},
		{[]byte("bytes"), "bytes"},
		{at, "2024-05-06T07:08:09.123456789+01:00"},
	} {
		tup := appended(t, c, row{scripted{Result: tc.value}})
		got, null := Field(tup, 0)
		if string(got) != tc.want || null {
			t.Errorf("%v: %q (null %v), want %q", tc.value, got, null, tc.want)
		}
		var back row
		if err := c.Decode(tup, &back); err != nil || back.V.Result != tc.want {
			t.Errorf("%v came back as %v, %v", tc.value, back.V.Result, err)
		}
	}
}

func TestValuerNullReachesScan(t *testing.T) {
	type row struct {
		V scripted `db:"v"`
	}
	c := codecOf[row](t)
	tup := appended(t, c, row{})
	if _, null := Field(tup, 0); !null {
		t.Error("a nil driver.Value is not NULL")
	}
	got := row{scripted{Result: "old"}}
	if err := c.Decode(tup, &got); err != nil || got.V.Result != nil {
		t.Errorf("got %+v, %v", got, err)
	}
}

// picky scans only the type named by P.
type picky[P any] struct{ Got P }

func (p picky[P]) Value() (driver.Value, error) { return any(p.Got), nil }

func (p *picky[P]) Scan(src any) error {
	v, ok := src.(P)
	if !ok {
		return fmt.Errorf("want %T, got %T", p.Got, src)
	}
	p.Got = v
	return nil
}

func TestScannersGetTheTypeTheyTake(t *testing.T) {
	type row struct {
		Int   picky[int64]     `db:"i"`
		Float picky[float64]   `db:"f"`
		Bool  picky[bool]      `db:"b"`
		Bytes picky[[]byte]    `db:"y"`
		Text  picky[string]    `db:"s"`
		Time  picky[time.Time] `db:"t"`
	}
	c := codecOf[row](t)
	want := row{
		picky[int64]{-7},
		picky[float64]{math.Inf(1)},
		picky[bool]{true},
		picky[[]byte]{[]byte("y")},
		picky[string]{"12"},
		picky[time.Time]{time.Date(2024, 5, 6, 7, 8, 9, 10, time.UTC)},
	}
	var got row
	if err := c.Decode(appended(t, c, want), &got); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v\nwant %+v", got, err, want)
	}
}

type badJSON struct{ Text string }

func (b badJSON) MarshalJSON() ([]byte, error) {
	if b.Text == "panic" {
		panic(errors.New("out of cheese"))
	}
	return []byte(b.Text), nil
}

func TestForeignFaults(t *testing.T) {
	boom := errors.New("boom")
	type row struct {
		ID int32    `db:"id,key"`
		V  scripted `db:"v"`
		J  badJSON  `db:"j,json"`
		L  level    `db:"l"`
	}
	c := codecOf[row](t)
	ok := badJSON{`1`}
	for _, tc := range []struct {
		row  row
		want string
	}{
		{row{7, scripted{Err: boom}, ok, 0}, `row (id)=(7): column "v" (field V), value tuple.scripted: boom`},
		{row{7, scripted{Panic: "gone\x00"}, ok, 0}, `column "v" (field V), value tuple.scripted: encoding a tuple.scripted panicked: gone\x00`},
		{row{7, scripted{Result: 3}, ok, 0}, `a int, which is not a driver.Value`},
		{row{7, scripted{Result: "a\x00b"}, ok, 0}, `value 'a\x00b': a NUL byte at offset 1`},
		{row{7, scripted{Result: []byte("\xff")}, ok, 0}, `value '\xff': invalid UTF-8 at offset 0`},
		{row{7, scripted{Result: time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)}, ok, 0}, `the year 10000`},
		{row{7, scripted{}, badJSON{"panic"}, 0}, `panicked: out of cheese`},
		{row{7, scripted{}, badJSON{"{"}, 0}, `unexpected end of JSON`},
		{row{7, scripted{}, badJSON{`"\u0000"`}, 0}, `the escape \u0000 at offset 1`},
		{row{7, scripted{}, badJSON{"\"\xff\""}, 0}, `invalid UTF-8`},
		{row{7, scripted{}, ok, 3}, `column "l" (field L), value tuple.level: encoding a tuple.level panicked: runtime error: index out of range`},
	} {
		dst, err := c.Append([]byte("kept"), &tc.row)
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%+v: error %v\nwant %s", tc.row, err, tc.want)
		}
		if string(dst) != "kept" {
			t.Errorf("%+v: dst is %q", tc.row, dst)
		}
	}
	_, err := c.Append(nil, &row{V: scripted{Err: boom}})
	var fe *FieldError
	if !errors.As(err, &fe) || !errors.Is(err, boom) {
		t.Errorf("%#v does not lead to the cause", err)
	}
}

// keeper keeps the pointer that its method was called on.
type keeper struct{ N int64 }

var kept *keeper

func (k *keeper) Value() (driver.Value, error) {
	kept = k
	k.N++
	return k.N, nil
}

func (k *keeper) Scan(any) error { return nil }

func TestMethodsSeeACopy(t *testing.T) {
	type row struct {
		K keeper `db:"k"`
	}
	c := codecOf[row](t)
	r := row{keeper{1}}
	tup, err := c.Append(nil, &r)
	if err != nil {
		t.Fatal(err)
	}
	if v, _ := Field(tup, 0); string(v) != "2" || r.K.N != 1 || kept == &r.K {
		t.Errorf("encoded %s; the caller's row is now %+v", v, r)
	}
}

func TestDecodePanicIsAnError(t *testing.T) {
	type row struct {
		V scripted `db:"v"`
	}
	f := &codecOf[row](t).plan.fields[0]
	err := f.callDecoder(func() error { return (&scripted{Panic: "gone"}).Scan(nil) })
	if err == nil || !strings.Contains(err.Error(), "decoding a tuple.scripted panicked: gone") {
		t.Error(err)
	}
}

func TestJSONNullOrNULL(t *testing.T) {
	type row struct {
		P *address        `db:"p,json"`
		M map[string]int  `db:"m,json"`
		Z []int           `db:"z,json,nullzero"`
		R json.RawMessage `db:"r"`
		Q **address       `db:"q,json"`
	}
	var none *address
	tup := appended(t, codecOf[row](t), row{Q: &none})
	var got []string
	rest := Fields(tup)
	for range 5 {
		var v []byte
		v, _, rest = Next(rest)
		got = append(got, string(v))
	}
	if want := []string{"", "\x01null", "", "", "\x01null"}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
