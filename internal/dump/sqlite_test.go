package dump

import (
	"bytes"
	"database/sql"
	"encoding/hex"
	"fmt"
	"math"
	"os/exec"
	"strings"
	"testing"

	_ "modernc.org/sqlite"

	"github.com/memdbwriter/memdbwriter/internal/dest"
	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

// What SQLite makes of a checkpoint are the rows, under the table's name and
// with the columns' names.
func TestSQLiteLoadsTheSameRows(t *testing.T) {
	d := dirOf(t)
	table, batch := tableOf(t, "it's \"the\" files", edgeRows()...)
	failed := failedRows(batch.Tuple(1), batch.Tuple(2))
	info := dumped(t, d, meta(table), batch, failed...)
	db, err := sql.Open("sqlite", ":memory:")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	if _, err := db.Exec(string(contentOf(t, info.Path))); err != nil {
		t.Fatal(err)
	}
	sameInSQL(t, db, `SELECT __seq, %s FROM "it's ""the"" files" ORDER BY 1`, table, batch)
	refused := new(tuple.Batch)
	for _, f := range failed {
		refused.Append(f.Seq, f.Tuple)
	}
	sameInSQL(t, db, `SELECT __seq, %s FROM "it's ""the"" files_failed" ORDER BY 1`, table, refused)
	var got Failed
	var first string
	if err := db.QueryRow(`SELECT _sqlstate, _column, __error, _attempts, _first FROM "it's ""the"" files_failed" WHERE __seq = 20`).
		Scan(&got.SQLState, &got.Column, &got.Message, &got.Attempts, &first); err != nil {
		t.Fatal(err)
	}
	f := failed[1]
	if got.SQLState != f.SQLState || got.Column != f.Column || got.Message != f.Message || got.Attempts != f.Attempts || first != "2026-11-23 07:42:46.123456+00:00" {
		t.Errorf("%+v, %s; want %+v", got, first, f)
	}
}

func sameInSQL(t *testing.T, db *sql.DB, query string, table Table, want *tuple.Batch) {
	t.Helper()
	var names []string
	for _, c := range table.Columns {
		names = append(names, "+"+dest.Quote(c.Name)) // an expression has no declared type to convert to
	}
	rows, err := db.Query(fmt.Sprintf(query, strings.Join(names, ", ")))
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	n := 0
	for ; rows.Next(); n++ {
		var seq int64
		got := make([]any, len(table.Columns))
		into := []any{&seq}
		for i := range got {
			into = append(into, &got[i])
		}
		if err := rows.Scan(into...); err != nil {
			t.Fatal(err)
		}
		if seq != want.Rows[n].Seq {
			t.Fatalf("row %d, want %d", seq, want.Rows[n].Seq)
		}
		for i, c := range table.Columns {
			field, _ := tuple.Field(want.Tuple(n), i)
			v, err := tuple.Value(c.Type, field)
			if err != nil {
				t.Fatal(err)
			}
			if !sameValue(c.Type, got[i], v) {
				t.Errorf("row %d, column %q: %T %v, want %T %v", seq, c.Name, got[i], got[i], v, v)
			}
		}
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	if n != want.Len() {
		t.Errorf("%d rows, want %d", n, want.Len())
	}
}

func sameValue(typ tuple.Type, got, want any) bool {
	switch want := want.(type) {
	case float64:
		x, ok := got.(float64)
		if typ == tuple.Float4 { // written with as many digits as tell a real from others
			return ok && float32(x) == float32(want)
		}
		return ok && (x == want || math.Nextafter(x, want) == want) // SQLite does not promise the last bit
	case []byte:
		x, ok := got.([]byte)
		return ok && bytes.Equal(x, want)
	}
	return got == want
}

func TestColumnNamesThatSQLiteTakesForOne(t *testing.T) {
	table := Table{Name: "SQLite_files", Columns: []tuple.Column{
		{Name: "a", Type: tuple.Int8}, {Name: "A", Type: tuple.Int8}, {Name: "A_2", Type: tuple.Int8}, {Name: "_SEQ", Type: tuple.Int8}, {Name: "__seq", Type: tuple.Int8},
	}}
	batch := new(tuple.Batch)
	row := tuple.AppendHeader(nil, 5)
	for i := range 5 {
		row = append(row, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, byte(i))
	}
	batch.Append(42, row)
	d := dirOf(t)
	info := dumped(t, d, meta(table), batch)
	got, _ := loaded(t, d, info.Path, table)
	sameRows(t, &got.batch, batch)
	db, err := sql.Open("sqlite", ":memory:")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	if _, err := db.Exec(string(contentOf(t, info.Path))); err != nil {
		t.Fatal(err)
	}
	var a, b, c, seq, own int64
	if err := db.QueryRow(`SELECT a, A_3, A_2, _SEQ, ___seq FROM _SQLite_files`).Scan(&a, &b, &c, &seq, &own); err != nil {
		t.Fatal(err)
	}
	if a != 0 || b != 1 || c != 2 || seq != 3 || own != 42 {
		t.Error(a, b, c, seq, own)
	}
}

// The engine was tested above; here is what the shell adds: it reads lines.
func TestSQLiteShellLoadsTheSameTexts(t *testing.T) {
	shell, err := exec.LookPath("sqlite3")
	if err != nil {
		t.Logf("there is no sqlite3 shell here, the engine alone was tested: %v", err)
		return
	}
	d := dirOf(t)
	table, batch := tableOf(t, "files", edgeRows()...)
	info := dumped(t, d, meta(table), batch)
	cmd := exec.Command(shell, "-batch", "-bail", ":memory:")
	cmd.Stdin = strings.NewReader(string(contentOf(t, info.Path)) + "SELECT hex(CAST(_error AS BLOB)) FROM files ORDER BY __seq;\n")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil || stderr.Len() > 0 {
		t.Fatalf("%v: %s", err, &stderr)
	}
	var want strings.Builder
	for i := range batch.Rows {
		field, _ := tuple.Field(batch.Tuple(i), 6)
		want.WriteString(strings.ToUpper(hex.EncodeToString(field)) + "\n")
	}
	if string(out) != want.String() {
		t.Errorf("got\n%s\nwant\n%s", out, &want)
	}
}
