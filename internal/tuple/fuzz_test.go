package tuple

import (
	"bytes"
	"database/sql"
	"encoding/json"
	"errors"
	"math"
	"reflect"
	"testing"
	"time"
	"unicode/utf8"
)

// FuzzDecode feeds the decoder arbitrary bytes. What it accepts, and encodes
// to bytes of its own choice, must stay the same from then on.
func FuzzDecode(f *testing.F) {
	c := codecOf[everyType](f)
	f.Add(appended(f, c, fullRow()))
	f.Add(appended(f, c, everyType{}))
	f.Add([]byte{})
	f.Add([]byte{0, 1, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		var row everyType
		if c.Decode(b, &row) != nil {
			return
		}
		first, err := c.Append(nil, &row)
		if err != nil {
			t.Fatalf("%+v was decoded and is refused: %v", row, err)
		}
		var again everyType
		if err := c.Decode(first, &again); err != nil {
			t.Fatal(err)
		}
		if second := appended(t, c, again); !bytes.Equal(first, second) {
			t.Errorf("%x\nbecame %x", first, second)
		}
	})
}

// simple has only types with one form of each value.
type simple struct {
	ID   int32            `db:"id,key"`
	Path string           `db:"path,key"`
	B    bool             `db:"b"`
	I    int16            `db:"i"`
	U    uint32           `db:"u"`
	P    *string          `db:"p"`
	Y    []byte           `db:"y"`
	At   *time.Time       `db:"at"`
	N    sql.Null[uint16] `db:"n"`
	ID16 [16]byte         `db:"uuid"`
}

// FuzzDecodeCanonical holds that each accepted tuple of types with one form is
// what Append makes of the result, byte for byte.
func FuzzDecodeCanonical(f *testing.F) {
	c := codecOf[simple](f)
	s, at := "s", time.Unix(0, 0)
	f.Add(appended(f, c, simple{}))
	f.Add(appended(f, c, simple{7, "/data", true, -1, 1, &s, []byte{}, &at, sql.Null[uint16]{V: 1, Valid: true}, [16]byte{1}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		var row simple
		if c.Decode(b, &row) != nil || Absences(b) != nil { // a field that cannot be left out comes back as zero
			return
		}
		if again := appended(t, c, row); !bytes.Equal(again, b) {
			t.Errorf("%x\nbecame %x", b, again)
		}
	})
}

func FuzzRoundTrip(f *testing.F) {
	type row struct {
		ID    int64           `db:"id,key"`
		Path  string          `db:"path,key"`
		Data  []byte          `db:"data"`
		N     uint64          `db:"n"`
		F     float64         `db:"f"`
		F4    *float32        `db:"f4"`
		B     bool            `db:"b,nullzero"`
		At    time.Time       `db:"at"`
		Doc   json.RawMessage `db:"doc"`
		Note  string          `db:"note,nullzero"`
		Boxed map[string]any  `db:"boxed,json"`
		Cents money           `db:"cents"`
	}
	c := codecOf[row](f)
	f.Add(int64(7), "/data/x", []byte(nil), uint64(1), 0.5, true, int64(0), int64(999), `{"a": 1}`)
	f.Add(int64(-1), "\x00", []byte{}, uint64(math.MaxUint64), math.NaN(), false, int64(math.MaxInt64), int64(-1), `"\u0000"`)
	f.Add(int64(0), "\xff", []byte("x"), uint64(0), math.Inf(1), false, int64(-1<<40), int64(1), ``)
	f.Fuzz(func(t *testing.T, id int64, text string, data []byte, n uint64, x float64, b bool, sec, nsec int64, doc string) {
		x4 := float32(x)
		in := row{
			ID: id, Path: text, Data: data, N: n, F: x, F4: &x4, B: b, At: time.Unix(sec, nsec).UTC(), Note: text,
			Boxed: map[string]any{text: text}, Cents: money(id % 1e9),
		}
		if doc != "" {
			in.Doc = json.RawMessage(doc)
		}
		tup, err := c.Append([]byte("kept"), &in)
		if err != nil {
			var fe *FieldError
			if !errors.As(err, &fe) || string(tup) != "kept" || !utf8.ValidString(err.Error()) {
				t.Fatalf("%T %v, dst %q", err, err, tup)
			}
			return
		}
		var out row
		if err := c.Decode(tup[4:], &out); err != nil {
			t.Fatal(err)
		}
		if x != x && out.F != out.F && *out.F4 != *out.F4 {
			in.F, in.F4, out.F, out.F4 = 0, nil, 0, nil // NaN, which equals nothing
		}
		in.At = time.Unix(in.At.Unix(), int64(in.At.Nanosecond()/1000*1000)).UTC()
		if !reflect.DeepEqual(in, out) {
			t.Errorf("%+v\nbecame %+v", in, out)
		}
	})
}
