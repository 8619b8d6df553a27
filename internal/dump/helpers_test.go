package dump

import (
	"bytes"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

// everyType has a column of every type, and one that can be NULL. Two names
// differ in case only, and some are those of our own columns.
type everyType struct {
	ID    int64           `db:"id,key"`
	Bool  bool            `db:"bool"`
	Int2  int16           `db:"select"`
	Int4  int32           `db:"it's \"quoted\""`
	Float float32         `db:"größe"`
	Doubl float64         `db:"_seq"`
	Text  string          `db:"_error"`
	Bytes []byte          `db:"bytes"`
	At    time.Time       `db:"at"`
	JSON  json.RawMessage `db:"json"`
	UUID  [16]byte        `db:"uuid"`
	PInt2 *int16          `db:"p_int2"`
	PText *string         `db:"p_text"`
	PAt   *time.Time      `db:"p_at"`
	PUUID *[16]byte       `db:"p_uuid"`
	PBool *bool           `db:"p_bool"`
	PF4   *float32        `db:"p_f4"`
	PF8   *float64        `db:"p_f8"`
}

var created = time.Date(2026, 11, 23, 7, 42, 46, 123456000, time.UTC)

// edgeRows has the ends of every type's range and the texts that are hardest to
// quote.
func edgeRows() []everyType {
	at := func(y int, m time.Month, d, h, min, s, us int) time.Time {
		return time.Date(y, m, d, h, min, s, us*1000, time.UTC)
	}
	rows := []everyType{
		{},
		{
			ID: math.MaxInt64, Bool: true, Int2: math.MaxInt16, Int4: math.MaxInt32, Float: math.MaxFloat32, Doubl: math.MaxFloat64,
			Text: "plain", Bytes: []byte{0, 0xff, '\''}, At: at(294276, 12, 31, 23, 59, 59, 999999),
			JSON: json.RawMessage(`{"it's": "\u0001\\ \ud83c\udf89", "n": 1e400}`), UUID: [16]byte{0xff, 15: 1},
		},
		{
			ID: math.MinInt64, Int2: math.MinInt16, Int4: math.MinInt32, Float: math.SmallestNonzeroFloat32, Doubl: math.SmallestNonzeroFloat64,
			Bytes: []byte{}, At: at(-4713, 11, 24, 0, 0, 0, 0), JSON: json.RawMessage(" [1,\r\n2]"),
		},
		{Float: float32(math.Inf(1)), Doubl: math.Inf(-1), At: at(0, 2, 29, 1, 2, 3, 4), JSON: json.RawMessage(`"NULL"`)},
		{Float: float32(math.NaN()), Doubl: math.NaN(), At: at(-1, 12, 31, 1, 2, 3, 4)},
		{Float: float32(math.Copysign(0, -1)), Doubl: math.Copysign(0, -1), At: at(9999, 12, 31, 0, 0, 0, 1)},
		{Float: 0.1, Doubl: 0.1, At: at(10000, 1, 1, 0, 0, 0, 0)},
		{Float: 1 << 24, Doubl: 1 << 53, At: at(1999, 12, 31, 23, 59, 59, 999999)},
		{Float: -1e30, Doubl: -123456789.125, At: at(2024, 2, 29, 12, 0, 0, 100)},
	}
	for _, s := range []string{
		"'", "''", "it's", "';DROP TABLE files;--", "\n-- end: 1 rows, 0 failed, crc32c 00000000\n", "/* ", "NULL", "NaN", "x'00'",
		"CAST(x'00' AS TEXT)", "a\r\nb", "\r", "\t\n", "\x1b[2J\x07", "\x7f", "),\n(1,2);\n", "漢字 🎉 ünï'cöde", "\u2028", "\ufeff", "COMMIT;\n",
		"1234567'", "12345678'", "1234567\x1f", "1234567\x7f", "1234567ü", strings.Repeat("'", 1000), strings.Repeat("x\n", 5000), "ü\r", "\\", "%s", "?1 :a @b $c",
	} {
		rows = append(rows, everyType{Text: s, PText: &s, JSON: json.RawMessage(must(json.Marshal(s)))})
	}
	for i := range rows {
		if rows[i].JSON == nil {
			rows[i].JSON = json.RawMessage("null")
		}
		if rows[i].Bytes == nil {
			rows[i].Bytes = []byte("b")
		}
		if i%2 == 1 {
			r := rows[i]
			rows[i].PInt2, rows[i].PAt, rows[i].PUUID, rows[i].PBool, rows[i].PF4, rows[i].PF8 = &r.Int2, &r.At, &r.UUID, &r.Bool, &r.Float, &r.Doubl
		}
	}
	return rows
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// tableOf is the table of a struct, and a batch of rows from number 1 on.
func tableOf[T any](tb testing.TB, name string, rows ...T) (Table, *tuple.Batch) {
	tb.Helper()
	c, err := tuple.NewCodec[T]()
	if err != nil {
		tb.Fatal(err)
	}
	var b tuple.Batch
	for i := range rows {
		t, err := c.Append(nil, &rows[i])
		if err != nil {
			tb.Fatal(err)
		}
		b.Append(int64(i+1), t)
	}
	return Table{Name: name, Columns: c.Columns()}, &b
}

func dirOf(tb testing.TB) Dir {
	return Dir{Path: tb.TempDir(), Identity: Identity("files", "test")}
}

func meta(t Table) Meta {
	return Meta{Table: t, FirstSeq: 1, LastSeq: 1 << 40, Created: created, Library: "memdbwriter test"}
}

// dumped writes a checkpoint.
func dumped(tb testing.TB, d Dir, m Meta, b *tuple.Batch, failed ...Failed) Info {
	tb.Helper()
	w, err := d.Create(m)
	if err != nil {
		tb.Fatal(err)
	}
	if err := w.WriteRows(b); err != nil {
		tb.Fatal(err)
	}
	if err := w.WriteFailed(failed); err != nil {
		tb.Fatal(err)
	}
	info, err := w.Commit()
	if err != nil {
		tb.Fatal(err)
	}
	return info
}

// contents is what Read hands over.
type contents struct {
	batch  tuple.Batch
	failed []Failed
}

func (c *contents) rows(b *tuple.Batch) error {
	for i := range b.Rows {
		c.batch.Append(b.Rows[i].Seq, b.Tuple(i))
	}
	return nil
}

func (c *contents) fail(f Failed) error {
	c.failed = append(c.failed, f)
	return nil
}

func read(d Dir, path string, t Table) (*contents, Info, error) {
	c := new(contents)
	info, err := d.Read(path, t, c.rows, c.fail)
	return c, info, err
}

// loaded reads a checkpoint that has no faults.
func loaded(tb testing.TB, d Dir, path string, t Table) (*contents, Info) {
	tb.Helper()
	c, info, err := read(d, path, t)
	if err != nil {
		tb.Fatal(err)
	}
	return c, info
}

func sameRows(tb testing.TB, got, want *tuple.Batch) {
	tb.Helper()
	if got.Len() != want.Len() {
		tb.Fatalf("%d rows, want %d", got.Len(), want.Len())
	}
	for i := range want.Rows {
		if got.Rows[i].Seq != want.Rows[i].Seq || !bytes.Equal(got.Tuple(i), want.Tuple(i)) {
			tb.Errorf("row %d: %d %q\nwant %d %q", i, got.Rows[i].Seq, got.Tuple(i), want.Rows[i].Seq, want.Tuple(i))
		}
	}
}

func sameFailed(tb testing.TB, got, want []Failed) {
	tb.Helper()
	if !reflect.DeepEqual(got, want) {
		tb.Errorf("failed rows %+v\nwant        %+v", got, want)
	}
}

// put writes a file with the next name of the writer, as nobody should.
func put(tb testing.TB, d Dir, text []byte) (path string) {
	tb.Helper()
	number, err := d.next()
	if err != nil {
		tb.Fatal(err)
	}
	path = filepath.Join(d.Path, fileName(d.Identity, created, number))
	rewrite(tb, path, text)
	return path
}

func rewrite(tb testing.TB, path string, text []byte) {
	tb.Helper()
	if err := os.WriteFile(path, text, 0o600); err != nil {
		tb.Fatal(err)
	}
}

func contentOf(tb testing.TB, path string) []byte {
	tb.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	return text
}
