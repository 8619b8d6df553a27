package stage

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

// query returns the rows as text.
func query(t *testing.T, s *Store, q string, args ...any) (columns, rows []string) {
	t.Helper()
	columns, values, err := s.Query(context.Background(), q, args...)
	if err != nil {
		t.Fatalf("%s: %v", q, err)
	}
	for _, v := range values {
		rows = append(rows, fmt.Sprint(v...))
	}
	return columns, rows
}

func TestQueryDecodesEveryType(t *testing.T) {
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

func TestQuerySeesFailures(t *testing.T) {
	s := open(t, testConfig)
	stage(t, s, 1, 3)
	at := time.Date(2024, 1, 1, 0, 0, 0, 5000, time.UTC)
	must(t, s.Settle(1, 2, []Failure{{Seq: 2, Tuple: row("/f2", 2), SQLState: "22001", Column: "path", Message: "too long", Attempts: 3, First: at, Last: at}}))
	columns, rows := query(t, s, "SELECT * FROM files_failed")
	if want := []string{"path", "size", "_seq", "_sqlstate", "_column", "_error", "_attempts", "_first", "_last"}; !slices.Equal(columns, want) {
		t.Errorf("columns %q", columns)
	}
	at1 := "2024-01-01 00:00:00.000005+00:00"
	if want := fmt.Sprint("/f2", int64(2), int64(2), "22001", "path", "too long", int64(3), at1, at1); len(rows) != 1 || rows[0] != want {
		t.Errorf("got %q, want %q", rows, want)
	}
	if _, rows := query(t, s, "SELECT path FROM files"); !slices.Equal(rows, []string{"/f3"}) {
		t.Errorf("staged %q", rows)
	}
}

func TestQueryTakesAnyName(t *testing.T) {
	for _, c := range []struct {
		view    string
		columns []string
		from    string
		want    []string
	}{
		{`we"ird; DROP TABLE staging; --`, []string{`"`, "'", ";", " ", "日本", "select"}, `"we""ird; DROP TABLE staging; --"`, []string{`"`, "'", ";", " ", "日本", "select", "_seq"}},
		{"select", []string{"from", "order"}, `"select"`, []string{"from", "order", "_seq"}},
		{"staging", []string{"seq", "tuple"}, "staging", []string{"seq", "tuple", "_seq"}},
		{"failed", []string{"a"}, "failed", []string{"a", "_seq"}},
		{"таблица", []string{"ä", "Ä"}, "таблица", []string{"ä", "Ä", "_seq"}},
		{"sqlite_master", []string{"a"}, "_sqlite_master", []string{"a", "_seq"}},
		{"SQLITE_x", []string{"a"}, "_SQLITE_x", []string{"a", "_seq"}},
		{"MemDBWriter_source", []string{"a"}, "_MemDBWriter_source", []string{"a", "_seq"}},
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

func TestQueryOnlyReads(t *testing.T) {
	s := open(t, testConfig)
	stage(t, s, 1, 10)
	file := t.TempDir() + "/x.db"
	for _, q := range []string{
		"DELETE FROM staging", "INSERT INTO staging VALUES (99, x'00')", "UPDATE staging SET tuple = x'00'",
		"REPLACE INTO main.staging VALUES (1, x'00')", "WITH x AS (SELECT 1) DELETE FROM main.staging",
		"DROP TABLE main.staging", "DROP VIEW files", "CREATE TABLE x(a)", "CREATE TEMP TABLE x(a)", "ALTER TABLE main.staging RENAME TO x",
		"CREATE TEMP TABLE x AS SELECT 1", "CREATE TEMP TRIGGER x AFTER DELETE ON main.staging BEGIN SELECT 1; END",
		"ATTACH '" + file + "' AS x", "DETACH main", "VACUUM", "VACUUM INTO '" + file + "'", "ANALYZE", "REINDEX",
		"PRAGMA page_size", "PRAGMA journal_mode = OFF", "SELECT * FROM pragma_table_info('staging')",
		"BEGIN", "COMMIT", "SAVEPOINT x", "SELECT load_extension('x')",
		"SELECT 1; DELETE FROM staging", "SELECT 1; COMMIT", "DELETE FROM staging RETURNING seq", "EXPLAIN DELETE FROM staging",
		"INSERT INTO temp." + sinkName + " SELECT 1",
	} {
		unchanged(t, s, func() {
			_, _, err := s.Query(context.Background(), q)
			if !errors.Is(err, errReadOnly) {
				t.Errorf("%s: error %v", q, err)
			}
		})
	}
	for _, q := range []string{"", "-- nothing", "SELEC 1", "SELECT nope FROM files", "SELECT * FROM temp." + sinkName, "SELECT ?", "SELECT @a"} {
		unchanged(t, s, func() {
			if _, rows, err := s.Query(context.Background(), q); err == nil {
				t.Errorf("%q returned %v", q, rows)
			}
		})
	}
	for _, table := range []string{sourceName, watchedName} {
		if _, rows := query(t, s, "SELECT * FROM temp."+table); len(rows) != 0 {
			t.Errorf("%s has the rows %q", table, rows)
		}
	}
	if _, rows := query(t, s, "VALUES (1)"); !slices.Equal(rows, []string{"1"}) {
		t.Errorf("VALUES: %q", rows)
	}
	if _, rows := query(t, s, "SELECT 1; SELECT count(*) FROM files"); !slices.Equal(rows, []string{"10"}) {
		t.Errorf("two statements: %q", rows)
	}
	if _, rows := query(t, s, "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c LIMIT 3) SELECT sum(x) FROM c"); !slices.Equal(rows, []string{"6"}) {
		t.Errorf("recursive: %q", rows)
	}
	if _, _, err := s.Query(context.Background(), "SELECT ?", struct{}{}); err == nil {
		t.Error("a struct was taken for an argument")
	}
}

// A query that would never end is ended by its context, wherever it is, and
// leaves the store as it was.
func TestQueryEndsWithItsContext(t *testing.T) {
	s := open(t, testConfig)
	stage(t, s, 1, 2000)
	const endless = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c) "
	for _, q := range []string{
		endless + "SELECT count(*) FROM c",
		endless + "SELECT x FROM c WHERE x < 2", // one row, and no second
		endless + "SELECT path FROM c CROSS JOIN files WHERE size < 0",
		"SELECT count(*) FROM files a, files b, files c WHERE a.path || b.path || c.path = ''",
		"SELECT count(*) FROM files a, files b, files c, files d",
		"SELECT 1; " + endless + "SELECT count(*) FROM c",
	} {
		unchanged(t, s, func() {
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
			defer cancel()
			if _, _, err := s.Query(ctx, q); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s: error %v", q, err)
			}
		})
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if _, _, err := s.Query(ctx, q); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: error %v, want canceled", q, err)
		}
	}
	next := int64(2000)
	for range 200 { // contexts that end while a query begins, runs or has just ended
		ctx, cancel := context.WithCancel(context.Background())
		go cancel()
		_, rows, err := s.Query(ctx, "SELECT sum(size) FROM files WHERE _seq <= 2000")
		if err == nil && (len(rows) != 1 || rows[0][0] != int64(2000*2001/2)) {
			t.Fatalf("rows %v", rows)
		} else if err != nil && !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		next++
		stage(t, s, next, next)
	}
	if c := s.Counts(); c.Rows != next {
		t.Errorf("%d rows, want %d", c.Rows, next)
	}
	if _, rows := query(t, s, "SELECT count(*) FROM files"); rows[0] != fmt.Sprint(next) {
		t.Errorf("%q rows, want %d", rows, next)
	}
}

// The views decode what is staged, whatever it is.
func FuzzField(f *testing.F) {
	f.Add(row("/f", 1), int64(1), int64(tuple.Int8))
	f.Add(row("/f", -1), int64(1), int64(tuple.Text))
	f.Add([]byte{}, int64(0), int64(0))
	f.Add([]byte{255, 255, 0, 0, 0, 1, 9}, int64(-1), int64(99))
	f.Fuzz(func(t *testing.T, tup []byte, i, typ int64) {
		v, err := field(nil, []driver.Value{tup, i, typ})
		if err == nil && !driver.IsValue(v) {
			t.Errorf("%T is not a value of SQLite", v)
		}
		if err == nil && (i < 0 || i >= int64(tup[1])|int64(tup[0])<<8) {
			t.Errorf("field %d of a tuple that has none", i)
		}
	})
}
