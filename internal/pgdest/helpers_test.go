package pgdest

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/memdbwriter/memdbwriter/internal/dest"
	"github.com/memdbwriter/memdbwriter/internal/pgtest"
	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// row is the values of a tuple: nil, bool, int16, int32, int64, float32,
// float64, string (text), []byte (as it is) or time.Time.
type row []any

func batch(rows ...row) *tuple.Batch {
	b := &tuple.Batch{}
	for i, r := range rows {
		b.Append(int64(i), encode(r))
	}
	return b
}

func encode(r row) []byte {
	be := binary.BigEndian
	t := be.AppendUint16(nil, uint16(len(r)))
	for _, v := range r {
		var f []byte
		switch v := v.(type) {
		case nil:
			t = be.AppendUint32(t, math.MaxUint32)
			continue
		case bool:
			f = []byte{0}
			if v {
				f[0] = 1
			}
		case int16:
			f = be.AppendUint16(nil, uint16(v))
		case int32:
			f = be.AppendUint32(nil, uint32(v))
		case int64:
			f = be.AppendUint64(nil, uint64(v))
		case float32:
			f = be.AppendUint32(nil, math.Float32bits(v))
		case float64:
			f = be.AppendUint64(nil, math.Float64bits(v))
		case string:
			f = []byte(v)
		case []byte:
			f = v
		case time.Time:
			f = be.AppendUint64(nil, uint64(v.UnixMicro()-time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro()))
		default:
			panic(fmt.Sprintf("a test has a value of type %T", v))
		}
		t = be.AppendUint32(t, uint32(len(f)))
		t = append(t, f...)
	}
	return t
}

// jsonb is the field of a JSON value.
func jsonb(text string) []byte { return append([]byte{1}, text...) }

// col is a column; options are "null", "insertonly" and "passive".
func col(name string, typ tuple.Type, options ...string) dest.Column {
	c := dest.Column{Column: tuple.Column{Name: name, Type: typ}}
	for _, o := range options {
		switch o {
		case "null":
			c.Nullable = true
		case "insertonly":
			c.InsertOnly = true
		case "passive":
			c.Passive = true
		default:
			panic("a test has an unknown option " + o)
		}
	}
	return c
}

// files is the table that most tests write to: id int8 as the key, name text,
// size int8 with NULLs.
func files() *dest.Table {
	return &dest.Table{
		Name: "files", Keys: 1,
		Columns: []dest.Column{col("id", tuple.Int8), col("name", tuple.Text), col("size", tuple.Int8, "null")},
	}
}

const filesDDL = `CREATE TABLE files (id bigint PRIMARY KEY, name text NOT NULL, size bigint)`

// open returns a Sink for the table on a connection pool of its own.
func open(tb testing.TB, url string, t *dest.Table) *Sink {
	tb.Helper()
	db, err := Open(url)
	if err != nil {
		tb.Fatal(err)
	}
	sink, err := db.Bind(t, nil)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := sink.Close(); err != nil {
			tb.Error(err)
		}
		if err := db.Close(); err != nil {
			tb.Error(err)
		}
	})
	return sink.(*Sink)
}

// write stores the rows and returns how.
func write(tb testing.TB, s dest.Sink, rows ...row) dest.Result {
	tb.Helper()
	res, err := s.Write(context.Background(), batch(rows...))
	if err != nil {
		tb.Fatal(err)
	}
	return res
}

// refused writes the rows, which must fail, and returns how.
func refused(tb testing.TB, s dest.Sink, rows ...row) *dest.Error {
	tb.Helper()
	_, err := s.Write(context.Background(), batch(rows...))
	if err == nil {
		tb.Fatal("the batch was stored")
	}
	return asError(tb, err)
}

func asError(tb testing.TB, err error) *dest.Error {
	tb.Helper()
	e, ok := err.(*dest.Error)
	if !ok {
		tb.Fatalf("not a *dest.Error: %T %v", err, err)
	}
	return e
}

func check(tb testing.TB, s dest.Sink) {
	tb.Helper()
	if err := s.Check(context.Background()); err != nil {
		tb.Fatal(err)
	}
}

func equal(tb testing.TB, got []string, want ...string) {
	tb.Helper()
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		tb.Fatalf("got\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}
