package tuple

import (
	"bytes"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"math"
	"math/big"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"
)

// A codec of T, or the end of the test.
func codecOf[T any](tb testing.TB) *Codec[T] {
	tb.Helper()
	c, err := NewCodec[T]()
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

func appended[T any](tb testing.TB, c *Codec[T], v T) []byte {
	tb.Helper()
	t, err := c.Append(nil, &v)
	if err != nil {
		tb.Fatal(err)
	}
	if err := Check(t, len(c.Fields())); err != nil {
		tb.Fatal(err)
	}
	return t
}

type (
	myInt    int16
	myString string
	myBool   bool
	myBytes  []byte
	myUUID   [16]byte // with text methods, which do not count
)

func (u myUUID) MarshalText() ([]byte, error)  { panic("not called") }
func (u *myUUID) UnmarshalText(b []byte) error { panic("not called") }

type address struct {
	Street string `json:"street"`
	Zip    int    `json:"zip"`
}

type audit struct {
	By string    `db:"audit_by"`
	At time.Time `db:"audit_at"`
}

// everyType has each kind of column once.
type everyType struct {
	Bool    bool            `db:"bool"`
	Int8    int8            `db:"int8"`
	Uint8   uint8           `db:"uint8"`
	Int16   int16           `db:"int16"`
	Uint16  uint16          `db:"uint16"`
	Int32   int32           `db:"int32"`
	Uint32  uint32          `db:"uint32"`
	Int64   int64           `db:"int64"`
	Uint64  uint64          `db:"uint64"`
	Int     int             `db:"int"`
	Uint    uint            `db:"uint"`
	Float32 float32         `db:"float32"`
	Float64 float64         `db:"float64"`
	String  string          `db:"string"`
	Bytes   []byte          `db:"bytes"`
	Time    time.Time       `db:"time"`
	Raw     json.RawMessage `db:"raw"`
	UUID    [16]byte        `db:"uuid"`

	MyInt    myInt    `db:"my_int"`
	MyString myString `db:"my_string,key"`
	MyBool   myBool   `db:"my_bool"`
	MyBytes  myBytes  `db:"my_bytes"`
	MyUUID   myUUID   `db:"my_uuid"`

	PInt    *int             `db:"p_int"`
	PString *string          `db:"p_string"`
	PTime   *time.Time       `db:"p_time"`
	PBytes  *[]byte          `db:"p_bytes"`
	PUUID   *myUUID          `db:"p_uuid"`
	PNull   *sql.NullString  `db:"p_null"`
	PRaw    *json.RawMessage `db:"p_raw"`

	NullString sql.NullString       `db:"null_string"`
	NullByte   sql.NullByte         `db:"null_byte"`
	NullTime   sql.NullTime         `db:"null_time"`
	NullOfInt  sql.Null[int32]      `db:"null_of_int"`
	NullOfAddr sql.Null[netip.Addr] `db:"null_of_addr"`

	ZeroInt    int       `db:"zero_int,nullzero"`
	ZeroString string    `db:"zero_string,nullzero"`
	ZeroTime   time.Time `db:"zero_time,nullzero"`
	ZeroMoney  money     `db:"zero_money,nullzero"`

	JSON    address           `db:"json,json"`
	PJSON   *address          `db:"p_json,json"`
	Map     map[string]int    `db:"map,json"`
	Any     any               `db:"any,json"`
	JSONAt  time.Time         `db:"json_at,json"`
	ZeroMap map[string]string `db:"zero_map,json,nullzero"`

	Money  money      `db:"money"`
	PMoney *money     `db:"p_money"`
	Addr   netip.Addr `db:"addr,insertonly"`
	PBig   *big.Int   `db:"p_big,passive"`
	Level  level      `db:"level"`

	audit
	Skipped  chan int `db:"-"`
	Untagged func()
}

func fullRow() everyType {
	at := time.Date(2024, 2, 29, 23, 59, 59, 123456000, time.UTC)
	n, s, b := -5, "pointed", []byte{}
	u := myUUID{1, 2, 3, 15: 0xff}
	raw := json.RawMessage(`[]`)
	return everyType{
		Bool: true, Int8: math.MinInt8, Uint8: math.MaxUint8, Int16: math.MinInt16, Uint16: math.MaxUint16,
		Int32: math.MinInt32, Uint32: math.MaxUint32, Int64: math.MinInt64, Uint64: math.MaxInt64,
		Int: math.MinInt32, Uint: math.MaxUint32, Float32: math.SmallestNonzeroFloat32, Float64: math.Inf(-1),
		String: "plain, ünïcode, 漢字 🎉", Bytes: []byte{0, 1, 0xff}, Time: at,
		Raw: json.RawMessage(` {"a": "\\u0000 \ud83c\udf89"} `), UUID: [16]byte{15: 1},
		MyInt: 7, MyString: "named", MyBool: true, MyBytes: myBytes("b"), MyUUID: u,
		PInt: &n, PString: &s, PTime: &at, PBytes: &b, PUUID: &u, PNull: &sql.NullString{String: "x", Valid: true}, PRaw: &raw,
		NullString: sql.NullString{Valid: true}, NullByte: sql.NullByte{Byte: 200, Valid: true},
		NullTime:   sql.NullTime{Time: at, Valid: true},
		NullOfInt:  sql.Null[int32]{V: 3, Valid: true},
		NullOfAddr: sql.Null[netip.Addr]{V: netip.MustParseAddr("::1"), Valid: true},
		ZeroInt:    1, ZeroString: "z", ZeroTime: at, ZeroMoney: 1,
		JSON: address{"<High> & Low", 1}, PJSON: &address{}, Map: map[string]int{"b": 2, "a": 1},
		Any: []any{"x", json.Number("9007199254740993"), nil}, JSONAt: at, ZeroMap: map[string]string{},
		Money: -1234, PMoney: new(money), Addr: netip.MustParseAddr("10.0.0.1"), PBig: big.NewInt(42), Level: 2,
		audit: audit{"me", at},
	}
}

func TestRowComesBackAsItWas(t *testing.T) {
	c := codecOf[everyType](t)
	for name, row := range map[string]everyType{"full": fullRow(), "zero": {}} {
		t.Run(name, func(t *testing.T) {
			b := appended(t, c, row)
			got := fullRow() // what was in it must not shine through
			if err := c.Decode(b, &got); err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, row) {
				t.Errorf("got  %+v\nwant %+v", got, row)
			}
			if again := appended(t, c, got); !bytes.Equal(again, b) {
				t.Errorf("encoded again: %x\nbefore:        %x", again, b)
			}
		})
	}
}

func TestZeroRowIsNullWhereItCanBe(t *testing.T) {
	c := codecOf[everyType](t)
	b := appended(t, c, everyType{})
	for i, f := range c.Fields() {
		_, null := Field(b, i)
		// A Valuer may return NULL, but these do not for zero.
		want := f.Nullable && f.Name != "money"
		if null != want {
			t.Errorf("%s: null is %v, want %v", f.Name, null, want)
		}
	}
}

func TestDecodeRefusesWhatAppendDoesNotMake(t *testing.T) {
	refused[bool](t, "\x02", "0x02 for a boolean")
	refused[bool](t, "", "0 bytes of boolean, want 1")
	refused[int8](t, "\x00\x80", "128 does not fit the field's int8")
	refused[uint8](t, "\xff\xff", "-1 does not fit the field's uint8")
	refused[uint64](t, "\xff\xff\xff\xff\xff\xff\xff\xff", "-1 does not fit the field's uint64")
	refused[int32](t, "\x00\x00", "2 bytes of integer, want 4")
	refused[string](t, "a\x00", "NUL byte at offset 1")
	refused[time.Time](t, "\x7f\xff\xff\xff\xff\xff\xff\xff", "outside the range of timestamptz")
	refused[json.RawMessage](t, "{}", "jsonb without its version byte")
	refused[json.RawMessage](t, "", "jsonb without its version byte")
	refused[json.RawMessage](t, "\x01{", "not JSON")
	refused[money](t, "\xff", "invalid UTF-8")
	refused[level](t, "\xff", "invalid UTF-8")

	type row struct {
		V any `db:"v,json"`
	}
	c := codecOf[row](t)
	for tup, want := range map[string]string{
		"\x00\x01\xff\xff\xff\xff":             `column "v" (field V): malformed tuple: NULL`,
		"\x00\x01\x00\x00\x00\x02\x01{":        `column "v" (field V): malformed tuple: not JSON`,
		"\x00\x01\x00\x00\x00\x03\x02{}":       "jsonb without its version byte",
		"\x00\x01\x00\x00\x00\x03\x01{":        "field 0 claims 3 bytes, 2 are left",
		"\x00\x01\x00\x00":                     "ends inside the length of field 0",
		"\x00\x01\xff\xff\xff\xfd":             "field 0 claims -3 bytes",
		"\x00\x01\xff\xff\xff\xfe":             "the mark of absent fields is wrong",
		"\x20\x01\xff\xff\xff\xff":             "the mark of absent fields is wrong",
		"\x00\x01\xff\xff\xff\xff\x00":         "1 bytes after the last field",
		"\x00\x02\xff\xff\xff\xff":             "2 fields, want 1",
		"\x00":                                 "shorter than a field count",
		"\x00\x01\x00\x00\x00\x05\x01\"\xff\"": "",
	} {
		if err := c.Decode([]byte(tup), &row{}); !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), want) {
			t.Errorf("%x: %v, want %s", tup, err, want)
		}
	}
}

// refused decodes a tuple with the given bytes as its one field.
func refused[T any](t *testing.T, value, want string) {
	t.Helper()
	type row struct {
		V T `db:"v"`
	}
	tup := append(appendLen(AppendHeader(nil, 1), len(value)), value...)
	err := codecOf[row](t).Decode(tup, &row{})
	if !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), `column "v" (field V)`) {
		t.Errorf("%T %x: %v, want %s", *new(T), value, err, want)
	}
}

func TestScanAndUnmarshalErrorsSurface(t *testing.T) {
	type row struct {
		L level          `db:"l"`
		M money          `db:"m"`
		J map[string]int `db:"j,json"`
	}
	c := codecOf[row](t)
	for _, tc := range []struct{ l, m, j, want string }{
		{"none", "1", `{}`, `column "l" (field L): no level "none"`},
		{"low", "much", `{}`, `column "m" (field M): strconv.ParseFloat`},
		{"low", "1", `[]`, `column "j" (field J): json: cannot unmarshal array`},
	} {
		tup := AppendHeader(nil, 3)
		for _, v := range []string{tc.l, tc.m, "\x01" + tc.j} {
			tup = append(appendLen(tup, len(v)), v...)
		}
		if err := c.Decode(tup, &row{}); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%v, want %s", err, tc.want)
		}
	}
}

func TestDecodeCopies(t *testing.T) {
	c := codecOf[everyType](t)
	b := appended(t, c, fullRow())
	var got everyType
	if err := c.Decode(b, &got); err != nil {
		t.Fatal(err)
	}
	clear(b)
	if want := fullRow(); !reflect.DeepEqual(got, want) {
		t.Errorf("changing the tuple changed the row:\n%+v\n%+v", got, want)
	}
}

// The bytes are those of the binary COPY format, taken from the manual and the
// receive functions of the types.
func TestTupleBytes(t *testing.T) {
	type row struct {
		B  bool            `db:"b"`
		I2 int16           `db:"i2"`
		I4 int32           `db:"i4"`
		I8 int64           `db:"i8"`
		F4 float32         `db:"f4"`
		F8 float64         `db:"f8"`
		S  string          `db:"s"`
		Y  []byte          `db:"y"`
		T  time.Time       `db:"t"`
		J  json.RawMessage `db:"j"`
		U  [16]byte        `db:"u"`
		N  *int            `db:"n"`
	}
	got := appended(t, codecOf[row](t), row{
		true, -2, 3, -4, 1, 2, "ab",
		[]byte{9},
		time.Date(1999, 12, 31, 23, 59, 59, 999998999, time.FixedZone("", 0)),
		json.RawMessage(`{}`),
		[16]byte{1, 15: 2},
		nil,
	})
	want := "000c" +
		"00000001" + "01" +
		"00000002" + "fffe" +
		"00000004" + "00000003" +
		"00000008" + "fffffffffffffffc" +
		"00000004" + "3f800000" +
		"00000008" + "4000000000000000" +
		"00000002" + "6162" +
		"00000001" + "09" +
		"00000008" + "fffffffffffffffe" +
		"00000003" + "017b7d" +
		"00000010" + "01000000000000000000000000000002" +
		"ffffffff"
	if hex.EncodeToString(got) != want {
		t.Errorf("got  %x\nwant %s", got, want)
	}
}

func TestKeyColumnsComeFirst(t *testing.T) {
	type inner struct {
		C int32 `db:"c,key"`
	}
	type row struct {
		A string `db:"a,insertonly"`
		B *int16 `db:"b,key"`
		inner
		D bool  `db:"d,passive,nullzero"`
		E *bool `db:"e"`
	}
	c := codecOf[row](t)
	want := []TaggedColumn{
		{Column: Column{"b", Int2, false}, Key: true, SQL: "smallint"},
		{Column: Column{"c", Int4, false}, Key: true, SQL: "integer"},
		{Column: Column{"a", Text, false}, InsertOnly: true, SQL: "text"},
		{Column: Column{"d", Bool, true}, Passive: true, SQL: "boolean"},
		{Column: Column{"e", Bool, true}, SQL: "boolean"},
	}
	if got := c.Fields(); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if c.Keys() != 2 || len(c.Columns()) != 5 || c.Columns()[1].Name != "c" {
		t.Errorf("%d keys, columns %v", c.Keys(), c.Columns())
	}
	b := int16(1)
	tup := appended(t, c, row{B: &b, inner: inner{2}})
	if got := hex.EncodeToString(Key(tup, 2)); got != "00000002"+"0001"+"00000004"+"00000002" {
		t.Errorf("key %s", got)
	}
}

// Minus zero and zero are one key in the database, and so are all NaNs.
func TestFloatKeysHaveOneForm(t *testing.T) {
	type row struct {
		A float32 `db:"a,key"`
		B float64 `db:"b,key"`
		C float64 `db:"c"`
	}
	c := codecOf[row](t)
	zero := math.Copysign(0, -1)
	minus := appended(t, c, row{float32(zero), zero, zero})
	if plus := appended(t, c, row{}); !bytes.Equal(Key(minus, 2), Key(plus, 2)) {
		t.Error("-0 and 0 are two keys")
	}
	if v, _ := Field(minus, 2); v[0] != 0x80 {
		t.Error("-0 outside the key lost its sign")
	}
	a := appended(t, c, row{float32(math.NaN()), math.NaN(), 0})
	b := appended(t, c, row{math.Float32frombits(0xffc00001), math.Float64frombits(0xfff8000000000123), 0})
	if !bytes.Equal(a, b) {
		t.Error("two NaNs are two keys")
	}
}

func TestAppendKeepsRowOnTheStack(t *testing.T) {
	c := codecOf[catalogueRow](t)
	template := aCatalogueRow()
	buf := make([]byte, 0, 4096)
	allocs := testing.AllocsPerRun(100, func() {
		row := template
		var err error
		if buf, err = c.Append(buf[:0], &row); err != nil {
			t.Fatal(err)
		}
	})
	if allocs != 0 {
		t.Errorf("%v allocations a row, want none", allocs)
	}
}

func TestAppendAppends(t *testing.T) {
	c := codecOf[catalogueRow](t)
	row := aCatalogueRow()
	one := appended(t, c, row)
	two, err := c.Append([]byte("before"), &row)
	if err != nil {
		t.Fatal(err)
	}
	if want := append([]byte("before"), one...); !bytes.Equal(two, want) {
		t.Errorf("got %x, want %x", two, want)
	}
}
