package stage

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

func TestViewDecodesEveryType(t *testing.T) {
	at := time.Date(2024, 2, 29, 12, 30, 0, 0, time.UTC)
	fields := []struct {
		typ   tuple.Type
		value any
		want  any
	}{
		{tuple.Bool, true, int64(1)},
		{tuple.Int2, int64(-2), int64(-2)},
		{tuple.Int4, int64(4), int64(4)},
		{tuple.Int8, int64(1 << 62), int64(1 << 62)},
		{tuple.Float4, 0.5, 0.5},
		{tuple.Float8, 0.1, 0.1},
		{tuple.Text, "日本", "日本"},
		{tuple.Bytea, []byte{0, 255}, []byte{0, 255}},
		{tuple.Timestamptz, at, "2024-02-29 12:30:00.000000+00:00"},
		{tuple.JSON, `{"a": 1}`, `{"a": 1}`},
		{tuple.UUID, "01234567-89ab-cdef-0123-456789abcdef", "01234567-89ab-cdef-0123-456789abcdef"},
		{tuple.Text, nil, nil},
		{tuple.Text, "", ""},
	}
	cfg := Config{View: "t"}
	tup := []byte{0, byte(len(fields))}
	for i, f := range fields {
		cfg.Columns = append(cfg.Columns, tuple.Column{Name: fmt.Sprintf("f%d", i), Type: f.typ})
		var err error
		if tup, err = tuple.AppendValue(tup, f.typ, f.value); err != nil {
			t.Fatal(err)
		}
	}
	s := open(t, cfg)
	var b tuple.Batch
	b.Append(1, tup)
	must(t, s.Append(&b))
	columns, rows, err := s.Query(context.Background(), "SELECT * FROM t")
	if err != nil || len(rows) != 1 || columns[len(columns)-1] != "_seq" {
		t.Fatalf("columns %q, rows %v, error %v", columns, rows, err)
	}
	for i, f := range fields {
		if fmt.Sprintf("%#v", rows[0][i]) != fmt.Sprintf("%#v", f.want) {
			t.Errorf("%v: got %#v, want %#v", f.typ, rows[0][i], f.want)
		}
	}
	for _, q := range []string{
		"SELECT 1 FROM t WHERE f8 = ? AND f8 <= ?2 AND f8 >= ?2",
		"SELECT 1 FROM t WHERE f8 = @at AND json_extract(f9, '$.a') = 1 AND date(f8) = '2024-02-29'",
	} {
		args := []any{at, at.In(time.FixedZone("", 3600))}
		if strings.Contains(q, "@") {
			args = []any{sql.Named("at", at)}
		}
		if _, rows := query(t, s, q, args...); len(rows) != 1 {
			t.Errorf("%s: %q", q, rows)
		}
	}
}

func TestViewShowsFailures(t *testing.T) {
	s := open(t, testConfig)
	stage(t, s, 1, 3)
	at := time.Date(2024, 1, 1, 0, 0, 0, 5000, time.UTC)
	must(t, s.Settle(2, []Failure{{Seq: 2, Tuple: row("/f2", 2), SQLState: "22001", Column: "path", Constraint: "rule", Message: "too long", Attempts: 3, First: at, Last: at}}))
	columns, rows := query(t, s, "SELECT * FROM files_failed")
	if want := []string{"path", "size", "_seq", "_sqlstate", "_column", "_constraint", "_error", "_attempts", "_first", "_last"}; !slices.Equal(columns, want) {
		t.Errorf("columns %q", columns)
	}
	at1 := "2024-01-01 00:00:00.000005+00:00"
	if want := fmt.Sprint("/f2", int64(2), int64(2), "22001", "path", "rule", "too long", int64(3), at1, at1); len(rows) != 1 || rows[0] != want {
		t.Errorf("got %q, want %q", rows, want)
	}
	if _, rows := query(t, s, "SELECT path FROM files"); !slices.Equal(rows, []string{"/f3"}) {
		t.Errorf("staged %q", rows)
	}
}

func TestViewTakesAnyName(t *testing.T) {
	for _, c := range []struct {
		view    string
		columns []string
		from    string
		want    []string
	}{
		{`we"ird; DROP TABLE chunk; --`, []string{`"`, "'", ";", " ", "日本", "select"}, `"we""ird; DROP TABLE chunk; --"`, []string{`"`, "'", ";", " ", "日本", "select", "_seq"}},
		{"select", []string{"from", "order"}, `"select"`, []string{"from", "order", "_seq"}},
		{"chunk", []string{"first", "data"}, "chunk", []string{"first", "data", "_seq"}},
		{"failed", []string{"seq", "tuple"}, "failed", []string{"seq", "tuple", "_seq"}},
		{"row", []string{"c0", "a0", "c1", "rowid"}, "row", []string{"c0", "a0", "c1", "rowid", "_seq"}},
		{"таблица", []string{"ä", "Ä"}, "таблица", []string{"ä", "Ä", "_seq"}},
		{"sqlite_master", []string{"a"}, "_sqlite_master", []string{"a", "_seq"}},
		{"SQLITE_x", []string{"a"}, "_SQLITE_x", []string{"a", "_seq"}},
		{"MemDBWriter_source", []string{"a"}, "_MemDBWriter_source", []string{"a", "_seq"}},
		{"memdbwriter_staged_rows", []string{"a"}, "_memdbwriter_staged_rows", []string{"a", "_seq"}},
		{"memdbwriter", []string{"a"}, "memdbwriter", []string{"a", "_seq"}},
		{"t", nil, "t", []string{"_seq"}},
		{"t", []string{"a", "A", "a_2", "b", "B"}, "t", []string{"a", "A_3", "a_2", "b", "B_2", "_seq"}},
		{"t", []string{"_seq", "__SEQ", "_error"}, "t", []string{"_seq", "__SEQ", "_error", "___seq"}},
	} {
		cfg := Config{View: c.view}
		tup := []byte{0, byte(len(c.columns))}
		for i, name := range c.columns {
			cfg.Columns = append(cfg.Columns, tuple.Column{Name: name, Type: tuple.Int8})
			var err error
			if tup, err = tuple.AppendValue(tup, tuple.Int8, int64(i)); err != nil {
				t.Fatal(err)
			}
		}
		s := open(t, cfg)
		var b tuple.Batch
		b.Append(77, tup)
		must(t, s.Append(&b))
		columns, rows, err := s.Query(context.Background(), "SELECT * FROM "+c.from)
		if err != nil || !slices.Equal(columns, c.want) || len(rows) != 1 {
			t.Errorf("%q: columns %q, want %q; rows %v, error %v", c.view, columns, c.want, rows, err)
			continue
		}
		for i := range c.columns {
			if rows[0][i] != int64(i) {
				t.Errorf("%q: column %q is %v", c.view, columns[i], rows[0][i])
			}
		}
		if rows[0][len(c.columns)] != int64(77) {
			t.Errorf("%q: seq is %v", c.view, rows[0][len(c.columns)])
		}
		if _, _, err := s.Query(context.Background(), "SELECT * FROM "+quote(s.View()+"_failed")); err != nil {
			t.Errorf("%q: failed rows: %v", c.view, err)
		}
	}
	for _, cfg := range []Config{{}, {View: "a\x00b"}, {View: "t", Columns: []tuple.Column{{Name: "\x00", Type: tuple.Int8}}}} {
		if s, err := Open(cfg); err == nil {
			s.Close()
			t.Errorf("%+v was taken", cfg)
		}
	}
}

// The views are what SQL takes for tables, in every place of a statement.
func TestViewsInLargerStatements(t *testing.T) {
	s := open(t, testConfig)
	stage(t, s, 1, 10_000)
	must(t, s.Settle(9000, []Failure{{Seq: 7, Tuple: row("/f9001", 7)}, {Seq: 8, Tuple: row("/none", 8)}}))
	for q, want := range map[string]string{
		"SELECT count(*), sum(size), sum(_seq) FROM files":                                                                          "1000 9500500 9500500",
		"SELECT count(*) FROM (SELECT 1 FROM files ORDER BY path LIMIT 7 OFFSET 995)":                                               "5",
		"SELECT group_concat(_seq) FROM files WHERE size IN (5, 9005, 9003) OR path = '/f9001'":                                     "9001,9003,9005",
		"SELECT a._seq, b._seq FROM files a, files_failed b WHERE a.path = b.path":                                                  "9001 7",
		"SELECT group_concat(b._seq || ifnull(a._seq, '-')) FROM files_failed b LEFT JOIN files a USING (path)":                     "79001,8-",
		"SELECT count(*), count(a._seq), count(b._seq) FROM files_failed b FULL JOIN files a USING (path)":                          "1001 1000 2",
		"SELECT count(*) FROM files a JOIN files b ON b.size = a.size - 1 WHERE a.size > 9990":                                      "10",
		"SELECT sum((SELECT count(*) FROM files b WHERE b.size < a.size)) FROM files a WHERE a.size < 9004":                         "3",
		"SELECT count(*) FROM (SELECT path FROM files UNION SELECT path FROM files_failed)":                                         "1001",
		"WITH x AS (SELECT * FROM files) SELECT max(path) FROM x WHERE EXISTS (SELECT 1 FROM files_failed f WHERE f.path = x.path)": "/f9001",
		"SELECT sum(size) OVER (ORDER BY _seq) FROM files LIMIT 1":                                                                  "9001",
	} {
		if _, rows := query(t, s, q); len(rows) != 1 || rows[0] != want {
			t.Errorf("%s: %q, want %q", q, rows, want)
		}
	}
}

// The views decode what is there, whatever it is.
func FuzzView(f *testing.F) {
	good := row("/f", 1)
	f.Add(int64(1), good)
	f.Add(int64(5), good[:len(good)-1])
	f.Add(int64(-1<<63), []byte{0, 2, 0, 0, 0, 0})
	f.Add(int64(1<<63-1), []byte{})
	f.Fuzz(func(t *testing.T, seq int64, data []byte) {
		var r rowValues
		r.set(testConfig.Columns, data, seq)
		for col := range len(testConfig.Columns) + 1 {
			if v, err := r.value(col); err == nil && !driver.IsValue(v) {
				t.Errorf("%T is not a value of SQLite", v)
			}
		}
	})
}
