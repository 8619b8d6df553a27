package dump

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

// failedRows are failed rows with the given tuples.
func failedRows(tuples ...[]byte) []Failed {
	var failed []Failed
	for i, t := range tuples {
		failed = append(failed, Failed{
			Seq: int64(10 * (i + 1)), Tuple: t, SQLState: "23505", Column: "it's", Constraint: "rule", Message: fmt.Sprintf("it's\r\nwrong, %d", i),
			Attempts: i, First: created, Last: created.Add(time.Duration(i) * time.Second),
		})
	}
	return append(failed, Failed{Seq: 1 << 30, Tuple: tuples[0], First: time.Time{}, Last: created})
}

func TestEveryValueComesBack(t *testing.T) {
	d := dirOf(t)
	table, batch := tableOf(t, "files", edgeRows()...)
	table.Schema = "public"
	failed := failedRows(batch.Tuple(0), batch.Tuple(1))
	m := meta(table)
	written := dumped(t, d, m, batch, failed...)
	got, info := loaded(t, d, written.Path, table)
	sameRows(t, &got.batch, batch)
	sameFailed(t, got.failed, failed)
	if !reflect.DeepEqual(info, written) || !reflect.DeepEqual(info.Meta, m) || info.Rows != int64(batch.Len()) || info.Failed != int64(len(failed)) {
		t.Errorf("read    %+v\nwritten %+v", info, written)
	}
	listed, err := d.List()
	if err != nil || !reflect.DeepEqual(listed, []Info{written}) {
		t.Errorf("listed  %+v, %v\nwritten %+v", listed, err, written)
	}
}

func TestEmptyCheckpoint(t *testing.T) {
	d := dirOf(t)
	table, none := tableOf[everyType](t, "files")
	got, info := loaded(t, d, dumped(t, d, meta(table), none).Path, table)
	if got.batch.Len() != 0 || got.failed != nil || info.Rows != 0 || info.Failed != 0 {
		t.Errorf("%+v, %+v", got, info)
	}
}

// Many pages and statements, and a row that is larger than all buffers.
func TestManyRowsAndAHugeOne(t *testing.T) {
	type row struct {
		ID   int64  `db:"id,key"`
		Text string `db:"text"`
		Data []byte `db:"data"`
	}
	rows := make([]row, 3*pageRows+1)
	for i := range rows {
		rows[i] = row{int64(i), fmt.Sprint("row ", i), nil}
		rows[i].Data = []byte{byte(i)}
	}
	rows[pageRows/2].Text = strings.Repeat("it's ", 1<<20)
	rows[2*pageRows].Data = bytes.Repeat([]byte{0xff}, 5<<20)
	d := dirOf(t)
	table, batch := tableOf(t, "files", rows...)
	info := dumped(t, d, meta(table), batch)
	pages := 0
	var got contents
	if _, err := d.Read(info.Path, table, func(b *tuple.Batch) error {
		pages++
		if b.Len() > pageRows {
			t.Errorf("a page of %d rows", b.Len())
		}
		return got.rows(b)
	}, got.fail); err != nil {
		t.Fatal(err)
	}
	sameRows(t, &got.batch, batch)
	if pages < 4 {
		t.Errorf("%d pages", pages)
	}
}

func TestMessagesAreMadeStorable(t *testing.T) {
	d := dirOf(t)
	table, batch := tableOf(t, "files", edgeRows()[0])
	info := dumped(t, d, meta(table), new(tuple.Batch), Failed{Seq: 1, Tuple: batch.Tuple(0), Message: "a\x00b\xffc", First: created, Last: created})
	got, _ := loaded(t, d, info.Path, table)
	if m := got.failed[0].Message; m != "a\ufffdb\ufffdc" {
		t.Errorf("%q", m)
	}
}

func TestWriterRefusesWhatItCouldNotRead(t *testing.T) {
	table, good := tableOf(t, "files", edgeRows()...)
	seqs := func(seqs ...int64) *tuple.Batch {
		var b tuple.Batch
		for i, seq := range seqs {
			b.Append(seq, good.Tuple(i))
		}
		return &b
	}
	with := func(c int, field string) *tuple.Batch {
		var b tuple.Batch
		t := good.Tuple(0)
		out := tuple.AppendHeader(nil, len(table.Columns))
		for i, rest := 0, tuple.Fields(t); i < len(table.Columns); i++ {
			before := rest
			_, _, rest = tuple.Next(rest)
			if i == c {
				out = append(append(out, 0, 0, 0, byte(len(field))), field...)
			} else {
				out = append(out, before[:len(before)-len(rest)]...)
			}
		}
		b.Append(1, out)
		return &b
	}
	null := with(1, "")
	null.Data = bytes.Replace(null.Data, []byte{0, 0, 0, 0}, []byte{0xff, 0xff, 0xff, 0xff}, 1)
	for want, b := range map[string]*tuple.Batch{
		"row 3: its arrival number is not above the last one, 3": seqs(2, 3, 3),
		"row 0: its arrival number is outside":                   seqs(0),
		"row 1099511627777: its arrival number is outside":       seqs(1, 1<<40+1),
		"row 1: malformed tuple":                                 {Data: good.Tuple(0)[1:], Rows: []tuple.Span{{Len: 30, Seq: 1}}},
		`row 1: column "bool": malformed tuple: 0x02`:            with(1, "\x02"),
		`row 1: column "bool": malformed tuple: 2 bytes`:         with(1, "\x01\x01"),
		`row 1: column "_error": malformed tuple: invalid UTF-8`: with(6, "\xff"),
		`row 1: column "_error": malformed tuple: a NUL byte`:    with(6, "\r\x00"),
		`row 1: column "at": malformed tuple: 9223372036854`:     with(8, "\x7f\xff\xff\xff\xff\xff\xff\xff"),
		`row 1: column "json": malformed tuple: jsonb without`:   with(9, "{}"),
	} {
		d := dirOf(t)
		w, err := d.Create(meta(table))
		if err != nil {
			t.Fatal(err)
		}
		err = w.WriteRows(b)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
		if _, again := w.Commit(); again != err {
			t.Errorf("Commit then says %v", again)
		}
		if again := w.WriteFailed(nil); again != err {
			t.Errorf("WriteFailed then says %v", again)
		}
		nothingLeft(t, d)
	}
}

func TestCreateRefusesNamesThatAreNoNames(t *testing.T) {
	column := tuple.Column{Name: "id", Type: tuple.Int8}
	for want, m := range map[string]Meta{
		"the table name":               {Table: Table{Columns: []tuple.Column{column}}},
		`"a\nb" is empty or not`:       {Table: Table{Name: "a\nb", Columns: []tuple.Column{column}}},
		`"s\x00" "t"`:                  {Table: Table{Schema: "s\x00", Name: "t", Columns: []tuple.Column{column}}},
		"0 columns":                    {Table: Table{Name: "t"}},
		"1601 columns":                 {Table: Table{Name: "t", Columns: make([]tuple.Column, 1601)}},
		`column name "\xff"`:           {Table: Table{Name: "t", Columns: []tuple.Column{{Name: "\xff", Type: tuple.Int8}}}},
		`two columns have the name`:    {Table: Table{Name: "t", Columns: []tuple.Column{column, column}}},
		"unknown type tuple.Type(99)":  {Table: Table{Name: "t", Columns: []tuple.Column{{Name: "x", Type: 99}}}},
		"is not between the years 1":   {Table: Table{Name: "t", Columns: []tuple.Column{column}}, Created: time.Unix(1<<40, 0)},
		"bytes, 4194304 are the limit": {Table: Table{Name: strings.Repeat("x", maxHead/2), Columns: []tuple.Column{column}}},
	} {
		d := dirOf(t)
		if _, err := d.Create(m); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %.200v, want %s", err, want)
		}
		nothingLeft(t, d)
	}
}

func TestErrorsOfTheReceiverEndTheReading(t *testing.T) {
	d := dirOf(t)
	table, batch := tableOf(t, "files", edgeRows()...)
	info := dumped(t, d, meta(table), batch, failedRows(batch.Tuple(0))...)
	mine := errors.New("mine")
	for name, call := range map[string]func() (Info, error){
		"rows": func() (Info, error) {
			return d.Read(info.Path, table, func(*tuple.Batch) error { return mine }, func(Failed) error { return nil })
		},
		"failed": func() (Info, error) {
			return d.Read(info.Path, table, func(*tuple.Batch) error { return nil }, func(Failed) error { return mine })
		},
	} {
		if _, err := call(); !errors.Is(err, mine) || errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The row type has changed since the checkpoint was written.
func TestColumnsAreMatchedByName(t *testing.T) {
	type before struct {
		ID    int16   `db:"id,key"`
		Small int32   `db:"small"`
		Float float32 `db:"float"`
		Text  *string `db:"text"`
	}
	type reordered struct {
		Text  *string `db:"text"`
		Float float32 `db:"float"`
		Small int32   `db:"small"`
		ID    int16   `db:"id,key"`
	}
	type widened struct {
		ID    int64                   `db:"id,key"`
		New   tuple.Optional[*string] `db:"new"` // what the file does not have is absent, not NULL
		Small int64                   `db:"small"`
		Float float64                 `db:"float"`
		Text  *string                 `db:"text"`
	}
	s := "x"
	d := dirOf(t)
	table, batch := tableOf(t, "files", before{-1, 1 << 30, 0.1, &s}, before{2, 3, float32(math.NaN()), nil})
	info := dumped(t, d, meta(table), batch, Failed{Seq: 9, Tuple: batch.Tuple(0), First: created, Last: created})
	check := func(now Table, want *tuple.Batch) {
		t.Helper()
		got, _ := loaded(t, d, info.Path, now)
		sameRows(t, &got.batch, want)
		if !bytes.Equal(got.failed[0].Tuple, want.Tuple(0)) {
			t.Errorf("failed row %q, want %q", got.failed[0].Tuple, want.Tuple(0))
		}
	}
	check(tableOf(t, "files", reordered{&s, 0.1, 1 << 30, -1}, reordered{nil, float32(math.NaN()), 3, 2}))
	check(tableOf(t, "files", widened{-1, tuple.Optional[*string]{}, 1 << 30, float64(float32(0.1)), &s}, widened{2, tuple.Optional[*string]{}, 3, math.NaN(), nil}))
}

func TestOtherColumnsAreRefused(t *testing.T) {
	columns := func(c ...tuple.Column) []tuple.Column { return c }
	id, text := tuple.Column{Name: "id", Type: tuple.Int8}, tuple.Column{Name: "text", Type: tuple.Text, Nullable: true}
	type row struct {
		ID   int64   `db:"id,key"`
		Text *string `db:"text"`
	}
	d := dirOf(t)
	table, batch := tableOf(t, "files", row{1, nil})
	path := dumped(t, d, meta(table), batch).Path
	for want, now := range map[string]Table{
		`rows of table "" "files", not of "" "others"`:     {Name: "others", Columns: columns(id, text)},
		`rows of table "" "files", not of "s" "files"`:     {Schema: "s", Name: "files", Columns: columns(id, text)},
		`has no column "text" any more; run the program`:   {Name: "files", Columns: columns(id)},
		`no column "new", which in the row type cannot be`: {Name: "files", Columns: columns(id, text, tuple.Column{Name: "new", Type: tuple.Int8})},
		`column "id" is bigint in it, and integer in the`:  {Name: "files", Columns: columns(tuple.Column{Name: "id", Type: tuple.Int4}, text)},
		`column "text" can be NULL in it, and cannot in`:   {Name: "files", Columns: columns(id, tuple.Column{Name: "text", Type: tuple.Text})},
		`column "text" is text in it, and jsonb in the`:    {Name: "files", Columns: columns(id, tuple.Column{Name: "text", Type: tuple.JSON, Nullable: true})},
	} {
		got, _, err := read(d, path, now)
		if !errors.Is(err, ErrMismatch) || errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
		if got.batch.Len() != 0 {
			t.Error("rows came out all the same")
		}
	}
}

// What a row leaves out is NULL for who runs the file as SQL, and left out for
// who loads it.
func TestAbsentFieldsAreLeftOutAgain(t *testing.T) {
	type row struct {
		ID   int64                   `db:"id,key"`
		Name tuple.Optional[string]  `db:"name"`
		Note tuple.Optional[*string] `db:"note"`
	}
	d := dirOf(t)
	table, batch := tableOf(t, "files", row{1, tuple.Optional[string]{}, tuple.Optional[*string]{Set: true}}, row{2, tuple.Optional[string]{V: "a", Set: true}, tuple.Optional[*string]{}})
	info := dumped(t, d, meta(table), batch, Failed{Seq: 9, Tuple: batch.Tuple(0), First: created, Last: created})
	text, err := os.ReadFile(info.Path)
	if err != nil || !bytes.Contains(text, []byte(",NULL/*absent*/,NULL)")) {
		t.Errorf("%v\n%s", err, text)
	}
	got, _ := loaded(t, d, info.Path, table)
	sameRows(t, &got.batch, batch)
	if !bytes.Equal(got.failed[0].Tuple, batch.Tuple(0)) {
		t.Errorf("failed row %q", got.failed[0].Tuple)
	}
}
