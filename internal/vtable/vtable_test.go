package vtable

import (
	"bytes"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"
	"modernc.org/sqlite"
	"modernc.org/sqlite/vtab"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// table is rows in memory.
type table [][]driver.Value

func (t table) Len() int { return len(t) }

func (t table) Value(row, col int) (driver.Value, error) {
	if err, ok := t[row][col].(error); ok {
		return nil, err
	}
	return t[row][col], nil
}

var testDriver Driver

func open(t *testing.T, dsn string, tables ...Table) *DB {
	t.Helper()
	db, err := testDriver.Open(dsn, []string{"CREATE TABLE IF NOT EXISTS t(a INTEGER PRIMARY KEY, b NOT NULL)"}, tables...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

func TestRowsGoInAndComeOutUnchanged(t *testing.T) {
	var got []string
	src := &Source{Name: "source", Columns: 2}
	sink := &Sink{Name: "sink", Columns: 2, Row: func(rowid int64, row []vtab.Value) error {
		got = append(got, fmt.Sprintf("%d %T %v", rowid, row[1], row[1]))
		return nil
	}}
	db := open(t, ":memory:", src, sink)
	src.Serve(table{
		{int64(1), "text"},
		{int64(2), []byte{0, 1}},
		{int64(3), []byte{}},
		{int64(4), ""},
		{int64(5), 1.5},
		{int64(6), int64(-1 << 63)},
		{int64(7), true},
	})
	mustExec(t, db, "INSERT INTO t SELECT c0, c1 FROM temp.source")
	mustExec(t, db, "INSERT INTO temp.sink(rowid, c1) SELECT a, b FROM t ORDER BY a")
	want := []string{
		"1 string text", "2 []uint8 [0 1]", "3 []uint8 []", "4 string ",
		"5 float64 1.5", "6 int64 -9223372036854775808", "7 int64 1",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestRowNamesTheRowThatFailed(t *testing.T) {
	src := &Source{Name: "source", Columns: 2}
	db := open(t, filepath.Join(t.TempDir(), "x.db"), src)
	for _, policy := range []string{"", "ON CONFLICT(a) DO UPDATE SET b = excluded.b"} {
		rows := make(table, 100)
		for i := range rows {
			rows[i] = []driver.Value{int64(i), "x"}
		}
		rows[42][1] = nil
		src.Serve(rows)
		_, err := db.Exec("INSERT INTO t SELECT c0, c1 FROM temp.source WHERE true " + policy)
		if err == nil || !strings.Contains(err.Error(), "NOT NULL constraint failed: t.b") {
			t.Fatalf("%q: error %v, want NOT NULL", policy, err)
		}
		if src.Row() != 42 {
			t.Errorf("%q: Row() is %d, want 42", policy, src.Row())
		}
		var n int
		if err := db.QueryRow("SELECT count(*) FROM t").Scan(&n); err != nil || n != 0 {
			t.Errorf("%q: %d rows stayed, error %v", policy, n, err)
		}
	}
}

func TestErrorsOfGoEndTheStatement(t *testing.T) {
	src := &Source{Name: "source", Columns: 2}
	sink := &Sink{Name: "sink", Columns: 1}
	db := open(t, ":memory:", src, sink)

	src.Serve(table{{int64(1), "x"}, {int64(2), errors.New("no such value")}})
	if _, err := db.Exec("INSERT INTO t SELECT c0, c1 FROM temp.source"); err == nil || !strings.Contains(err.Error(), "no such value") {
		t.Errorf("source: error %v", err)
	}

	src.Serve(table{{int64(1), "x"}, {int64(2), "y"}, {int64(3), "z"}})
	taken := 0
	sink.Row = func(int64, []vtab.Value) error {
		if taken++; taken == 2 {
			return errors.New("enough")
		}
		return nil
	}
	if _, err := db.Exec("INSERT INTO temp.sink SELECT c0 FROM temp.source"); err == nil || !strings.Contains(err.Error(), "enough") {
		t.Errorf("sink: error %v", err)
	}
	if taken != 2 {
		t.Errorf("the sink was called %d times, want 2", taken)
	}
	for _, q := range []string{"SELECT * FROM temp.sink", "DELETE FROM temp.sink", "UPDATE temp.sink SET c0 = 1"} {
		if _, err := db.Exec(q); err == nil || !strings.Contains(err.Error(), errWriteOnly.Error()) {
			t.Errorf("%s: error %v", q, err)
		}
	}
	if _, err := db.Exec("DELETE FROM temp.source"); err == nil {
		t.Error("a source let itself be written")
	}
}

func TestNothingIsLeftInTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	src := &Source{Name: "source", Columns: 2}
	src.Serve(table{{int64(1), "x"}})
	mustExec(t, open(t, path, src), "INSERT INTO t SELECT * FROM temp.source")

	host, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer host.Close()
	var names string
	if err := host.QueryRow("SELECT group_concat(name) FROM sqlite_master").Scan(&names); err != nil || names != "t" {
		t.Errorf("the file has %q, error %v", names, err)
	}
	if _, err := host.Exec("CREATE VIRTUAL TABLE temp.x USING " + sourceModule + "(1)"); err == nil || !strings.Contains(err.Error(), "no such module") {
		t.Errorf("the host's driver knows our module: %v", err)
	}
}

// SQLite forgets virtual tables and connects to them anew when another
// connection changes the schema of the file.
func TestTablesSurviveASchemaChangeByOthers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	src := &Source{Name: "source", Columns: 2}
	src.Serve(table{{int64(1), "x"}})
	db := open(t, path, src)
	mustExec(t, db, "INSERT INTO t SELECT * FROM temp.source")
	other := open(t, path)
	mustExec(t, other, "CREATE TABLE u(x)")
	src.Serve(table{{int64(2), "y"}})
	mustExec(t, db, "INSERT INTO t SELECT * FROM temp.source")
}

func TestCloseLetsGoOfTheTables(t *testing.T) {
	var d Driver
	d.Functions = map[string]*sqlite.FunctionImpl{"answer": {
		NArgs: 0, Scalar: func(*sqlite.FunctionContext, []driver.Value) (driver.Value, error) { return int64(42), nil },
	}}
	for range 3 {
		db, err := d.Open(":memory:", nil, &Source{Name: "source", Columns: 1})
		if err != nil {
			t.Fatal(err)
		}
		var n int
		if err := db.QueryRow("SELECT answer()").Scan(&n); err != nil || n != 42 {
			t.Errorf("answer is %d, error %v", n, err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if len(d.tables) != 0 {
		t.Errorf("%d tables are still known", len(d.tables))
	}
}

func TestSetupErrorNamesTheStatement(t *testing.T) {
	db, err := testDriver.Open(":memory:", []string{"CREATE NONSENSE"})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.PingContext(context.Background()); err == nil || !strings.Contains(err.Error(), "CREATE NONSENSE") {
		t.Errorf("error %v", err)
	}
}

func mustExec(t *testing.T, db *DB, query string) {
	t.Helper()
	if _, err := db.Exec(query); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
}

type blobs []byte

func (b blobs) Len() int                             { return 5000 }
func (b blobs) Value(int, int) (driver.Value, error) { return []byte(b), nil }

// BenchmarkSource reads 5000 blobs of 450 bytes from Go, and hands them back
// to Go through a sink.
func BenchmarkSource(b *testing.B) {
	src := &Source{Name: "source", Columns: 1}
	src.Serve(blobs(bytes.Repeat([]byte{1}, 450)))
	sink := &Sink{Name: "sink", Columns: 1, Row: func(int64, []vtab.Value) error { return nil }}
	db, err := testDriver.Open(":memory:", nil, src, sink)
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := db.Exec("INSERT INTO temp.sink SELECT c0 FROM temp.source"); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed())/float64(b.N)/float64(src.rows.Len()), "ns/row")
}

// A statement that fails before it took a row says nothing of a row, whatever
// the one before took.
func TestNoRowWasTaken(t *testing.T) {
	src := &Source{Name: "source", Columns: 2}
	db := open(t, ":memory:", src)
	src.Serve(table{{int64(1), "x"}, {int64(2), "y"}, {int64(3), "z"}})
	mustExec(t, db, "INSERT INTO t SELECT c0, c1 FROM temp.source")
	if src.Row() != 2 {
		t.Errorf("Row() is %d after three rows", src.Row())
	}
	src.Serve(table{{int64(4), "x"}})
	if _, err := db.Exec("INSERT INTO nowhere SELECT c0, c1 FROM temp.source"); err == nil || src.Row() != -1 {
		t.Errorf("Row() is %d after a statement that took none: %v", src.Row(), err)
	}
}
