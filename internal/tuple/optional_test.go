package tuple

import (
	"bytes"
	"database/sql"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"
)

type sparseRow struct {
	ID    int64                       `db:"id,key"`
	Name  Optional[string]            `db:"name"`
	Size  Optional[*int64]            `db:"size"`
	Note  *string                     `db:"note,omitnil"`
	Count sql.Null[int64]             `db:"count,omitnil"`
	Mode  int32                       `db:"mode,nullzero,omitnil"`
	Bytes []byte                      `db:"bytes,omitnil"`
	Tags  Optional[map[string]string] `db:"tags,json"`
	At    Optional[time.Time]         `db:"at,type=timestamptz"`
	Raw   Optional[json.RawMessage]   `db:"raw"`
	Valid Optional[sql.Null[string]]  `db:"valid"`
	Whole string                      `db:"whole"`
}

// What a row leaves out comes back as left out, NULL as NULL, and a value as
// itself, whichever way the field says so.
func TestAbsentFieldsComeBackAsTheyWere(t *testing.T) {
	c := codecOf[sparseRow](t)
	size, note := int64(0), ""
	at := time.Unix(1e9, 0).UTC()
	for name, tc := range map[string]struct {
		row    sparseRow
		absent string // one letter for each column, - for one that is there
	}{
		"nothing": {sparseRow{ID: 1, Whole: "w"}, "-xxxxxxxxxx-"},
		"everything": {sparseRow{
			1,
			Optional[string]{"", true},
			Optional[*int64]{&size, true},
			&note,
			sql.Null[int64]{V: 0, Valid: true},
			7,
			[]byte{},
			Optional[map[string]string]{map[string]string{"a": "b"}, true},
			Optional[time.Time]{at, true},
			Optional[json.RawMessage]{json.RawMessage("1"), true},
			Optional[sql.Null[string]]{sql.Null[string]{V: "", Valid: true}, true},
			"",
		}, "------------"},
		"NULL": {sparseRow{
			ID: 1, Size: Optional[*int64]{nil, true}, Raw: Optional[json.RawMessage]{nil, true},
			Valid: Optional[sql.Null[string]]{sql.Null[string]{}, true},
		}, "-x-xxxxxx---"},
	} {
		t.Run(name, func(t *testing.T) {
			tup := appended(t, c, tc.row)
			if err := Check(tup, len(tc.absent)); err != nil {
				t.Fatal(err)
			}
			bits, got := Absences(tup), ""
			for i := range tc.absent {
				got += map[bool]string{true: "x", false: "-"}[bits != nil && bits[i/8]&(1<<(i%8)) != 0]
			}
			if got != tc.absent || (bits == nil) != Plain(tup) {
				t.Errorf("absent %s, want %s; plain %v", got, tc.absent, Plain(tup))
			}
			out := sparseRow{Name: Optional[string]{"left over", true}, Note: &note, Mode: 3}
			if err := c.Decode(tup, &out); err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(out, tc.row) {
				t.Errorf("%+v\nbecame %+v", tc.row, out)
			}
			if again := appended(t, c, out); !bytes.Equal(again, tup) {
				t.Errorf("%x\nbecame %x", tup, again)
			}
		})
	}
}

// A column that an earlier row type did not have is absent in its rows, and the
// field that has it now is zero.
func TestFieldThatIsNewIsZeroInOldRows(t *testing.T) {
	type now struct {
		ID   int64  `db:"id,key"`
		Name string `db:"name"`
	}
	c := codecOf[now](t)
	old := AppendAbsent(appendInt8(AppendHeader(nil, 2), 1))
	Mark(old, c.Columns())
	out := now{2, "left over"}
	if err := c.Decode(old, &out); err != nil || out != (now{1, ""}) {
		t.Errorf("%+v, %v", out, err)
	}
	key := appendText0(AppendAbsent(AppendHeader(nil, 2)))
	Mark(key, c.Columns())
	if err := c.Decode(key, &out); !errors.Is(err, ErrMalformed) {
		t.Errorf("a key that is absent: %v", err)
	}
}

func appendText0(dst []byte) []byte { return appendLen(dst, 0) }

func TestFieldThatCannotBeLeftOutIsRefused(t *testing.T) {
	type key struct {
		ID Optional[int64] `db:"id,key"`
	}
	type keyNil struct {
		ID *int64 `db:"id,key,omitnil"`
	}
	type never struct {
		ID   int64  `db:"id,key"`
		Name string `db:"name,omitnil"`
	}
	type pointer struct {
		ID   int64             `db:"id,key"`
		Name *Optional[string] `db:"name"`
	}
	for want, typ := range map[string]reflect.Type{
		"a key column cannot be left out":  reflect.TypeFor[key](),
		"drop Optional and omitnil":        reflect.TypeFor[keyNil](),
		"needs a field that can be NULL":   reflect.TypeFor[never](),
		"make it an Optional of a pointer": reflect.TypeFor[pointer](),
	} {
		if _, err := newPlan(typ); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want %s", typ, err, want)
		}
	}
}

// NULL in a field that has no NULL is an error, not a zero value.
func TestNULLDoesNotBecomeAnOptionalValue(t *testing.T) {
	type row struct {
		ID   int64            `db:"id,key"`
		Name Optional[string] `db:"name"`
	}
	c := codecOf[row](t)
	if err := c.Decode(appendNull(appendInt8(AppendHeader(nil, 2), 1)), &row{}); !errors.Is(err, ErrMalformed) {
		t.Errorf("got %v", err)
	}
}

func TestUniformBatches(t *testing.T) {
	c := codecOf[sparseRow](t)
	b := &Batch{}
	for i, name := range []Optional[string]{{}, {"a", true}, {}, {"b", true}} {
		b.Append(int64(i), appended(t, c, sparseRow{ID: int64(i), Name: name}))
	}
	parts := b.Uniform()
	if len(parts) != 2 || parts[0].Rows[1].Seq != 2 || parts[1].Rows[1].Seq != 3 {
		t.Fatalf("%d parts", len(parts))
	}
	if whole := parts[1].Uniform(); len(whole) != 1 {
		t.Errorf("%d parts of rows that are alike", len(whole))
	}
	type full struct {
		ID int64 `db:"id,key"`
	}
	b = &Batch{}
	b.Append(1, appended(t, codecOf[full](t), full{1}))
	if parts := b.Uniform(); parts[0] != b {
		t.Error("a batch without absent fields is copied")
	}
}

// A newer row takes from an older one what it has, and what no row of the type
// can leave out.
func TestLeftover(t *testing.T) {
	type row struct {
		K int64            `db:"k,key"`
		A int64            `db:"a"`
		B Optional[int64]  `db:"b"`
		C *int64           `db:"c,omitnil"`
		D Optional[*int64] `db:"d"`
		L time.Time        `db:"l"`
	}
	codec, err := NewCodec[row]()
	if err != nil {
		t.Fatal(err)
	}
	cols := make([]Column, len(codec.Fields()))
	optional := make([]bool, len(cols))
	for i, f := range codec.Fields() {
		cols[i], optional[i] = f.Column, f.Absent
	}
	encode := func(r row) []byte {
		enc, err := codec.Append(nil, &r)
		if err != nil {
			t.Fatal(err)
		}
		return enc
	}
	one, two, utc, local := int64(1), int64(2), time.Unix(0, 0).UTC(), time.Unix(0, 0).In(time.FixedZone("", 3600))
	for _, tc := range []struct{ older, newer, want row }{
		{row{1, 1, Optional[int64]{one, true}, &one, Optional[*int64]{&one, true}, local}, row{1, 2, Optional[int64]{}, nil, Optional[*int64]{}, utc}, row{1, 2, Optional[int64]{one, true}, &one, Optional[*int64]{&one, true}, utc}},
		{row{1, 1, Optional[int64]{one, true}, &one, Optional[*int64]{Set: true}, utc}, row{1, 2, Optional[int64]{two, true}, nil, Optional[*int64]{}, local}, row{1, 2, Optional[int64]{}, &one, Optional[*int64]{Set: true}, local}},
		{row{1, 1, Optional[int64]{one, true}, nil, Optional[*int64]{&one, true}, utc}, row{1, 2, Optional[int64]{}, &two, Optional[*int64]{Set: true}, utc}, row{1, 2, Optional[int64]{one, true}, nil, Optional[*int64]{}, utc}},
	} {
		got := Leftover(encode(tc.older), encode(tc.newer), cols, optional)
		if want := encode(tc.want); !bytes.Equal(got, want) {
			t.Errorf("%+v after %+v: %q, want %q", tc.older, tc.newer, got, want)
		}
	}
}
