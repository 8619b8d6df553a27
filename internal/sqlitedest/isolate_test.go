package sqlitedest

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/memdbwriter/memdbwriter/internal/dest"
	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

// isolate returns the refused rows as "place:SQLSTATE:column".
func (f *fixture) isolate(b *tuple.Batch) string {
	f.t.Helper()
	_, refused, err := f.Sink.(dest.Isolator).Isolate(ctx, b)
	if err != nil {
		f.t.Fatal(err)
	}
	var said []string
	for _, r := range refused {
		if r.Err.Class != dest.ClassRow || r.Err.Err == nil {
			f.t.Errorf("row %d: %v, %v", r.Row, r.Err.Class, r.Err)
		}
		said = append(said, fmt.Sprintf("%d:%s:%s", r.Row, r.Err.SQLState, r.Err.Column))
	}
	return strings.Join(said, " ")
}

func equal(t *testing.T, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// Of a batch with bad rows the others get in, and each bad one comes back with
// its own reason: the last of a block, the first of the next, and alone.
func TestIsolateStoresTheOtherRows(t *testing.T) {
	tab := table("t", "id bigint", "code bigint", "name text")
	f := newFixture(t, tab, `CREATE TABLE t (id INTEGER PRIMARY KEY, code INTEGER UNIQUE, name TEXT NOT NULL CHECK (name <> 'bad'))`,
		`INSERT INTO t VALUES (1000, 1000, 'there')`)
	var rows []row
	for i := range 3*isolateRows + 1 {
		rows = append(rows, row{i, i, "good"})
	}
	rows[isolateRows-1][2] = "bad"
	rows[isolateRows][1] = 1000
	rows[3*isolateRows][2] = "bad"
	equal(t, f.isolate(batch(t, tab, rows...)), fmt.Sprintf("%d:23514: %d:23505:code %d:23514:", isolateRows-1, isolateRows, 3*isolateRows))
	f.want("SELECT count(*), sum(name = 'good'), min(name) FROM t", fmt.Sprintf("%d|%d|good", 3*isolateRows-1, 3*isolateRows-2))
}

// All rows are bad: nothing is stored, each has its reason.
func TestIsolateRefusesAll(t *testing.T) {
	tab := table("t", "id bigint", "name text")
	f := newFixture(t, tab, `CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT CHECK (name <> 'bad'))`)
	var rows []row
	for i := range 2 * isolateRows {
		rows = append(rows, row{i, "bad"})
	}
	if got := strings.Count(f.isolate(batch(t, tab, rows...)), ":23514:"); got != len(rows) {
		t.Errorf("%d refused", got)
	}
	f.want("SELECT count(*) FROM t", "0")
}

// Rows that need each other get in whichever way round they came, beside one
// that is bad.
func TestIsolateAChainOfParents(t *testing.T) {
	tab := table("t", "id bigint", "parent bigint null")
	f := newFixture(t, tab, `CREATE TABLE t (id INTEGER PRIMARY KEY, parent INTEGER REFERENCES t(id) CHECK (parent <> -1))`)
	const n = 5000
	rows := []row{{n + 1, -1}}
	for i := range n - 1 { // each before its parent
		rows = append(rows, row{i, i + 1})
	}
	rows = append(rows, row{n - 1, nil})
	equal(t, f.isolate(batch(t, tab, rows...)), "0:23514:")
	f.want("SELECT count(*) FROM t", fmt.Sprint(n))
}

// A unique value that one row gives up is another's, though that came first.
func TestIsolateAHandedOverValue(t *testing.T) {
	tab := table("t", "id bigint", "code text")
	f := newFixture(t, tab, `CREATE TABLE t (id INTEGER PRIMARY KEY, code TEXT UNIQUE CHECK (code <> 'bad'))`,
		`INSERT INTO t VALUES (1, 'a'), (2, 'b')`)
	equal(t, f.isolate(batch(t, tab, row{2, "a"}, row{1, "c"}, row{3, "bad"})), "2:23514:")
	f.want("SELECT group_concat(id || code) FROM (SELECT * FROM t ORDER BY id)", "1c,2a")
}

// The order of arrival decides which of two rows has a value that only one may
// have, whatever the order of their keys.
func TestIsolateInTheOrderOfArrival(t *testing.T) {
	tab := table("t", "id bigint", "code text")
	f := newFixture(t, tab, `CREATE TABLE t (id INTEGER PRIMARY KEY, code TEXT UNIQUE)`)
	b := batch(t, tab, row{1, "x"}, row{2, "x"})
	b.Rows[0].Seq, b.Rows[1].Seq = 2, 1
	equal(t, f.isolate(b), "0:23505:code")
	f.want("SELECT id FROM t", "2")
}

// What a trigger's RAISE(FAIL) leaves of a statement is undone: rows without a
// key are not there twice.
func TestIsolateUndoesWhatAStatementLeaves(t *testing.T) {
	tab := &dest.Table{Name: "t", Policy: dest.InsertOnly, Columns: []dest.Column{col("id bigint")}}
	f := newFixture(t, tab, `CREATE TABLE t (id INTEGER)`,
		`CREATE TRIGGER no BEFORE INSERT ON t WHEN NEW.id = 3 BEGIN SELECT RAISE(FAIL, 'no'); END`)
	equal(t, f.isolate(batch(t, tab, row{1}, row{2}, row{3}, row{4})), "2:23000:")
	f.want("SELECT group_concat(id, ' ') FROM t", "1 2 4")
}

// A row that ends the transaction, and one that only COMMIT refuses, cannot be
// told apart: nothing is stored, and the caller writes parts.
func TestIsolateOfWhatEndsTheTransaction(t *testing.T) {
	for name, ddl := range map[string][]string{
		"rollback": {
			`CREATE TABLE t (id INTEGER PRIMARY KEY, parent INTEGER)`,
			`CREATE TRIGGER no BEFORE INSERT ON t WHEN NEW.id = 3 BEGIN SELECT RAISE(ROLLBACK, 'no'); END`,
		},
		"deferred": {`CREATE TABLE t (id INTEGER PRIMARY KEY, parent INTEGER REFERENCES t(id) DEFERRABLE INITIALLY DEFERRED)`},
	} {
		t.Run(name, func(t *testing.T) {
			tab := table("t", "id bigint", "parent bigint null")
			f := newFixture(t, tab, ddl...)
			_, refused, err := f.Sink.(dest.Isolator).Isolate(ctx, batch(t, tab, row{1, nil}, row{2, nil}, row{3, 77}, row{4, nil}))
			if e := asError(t, err, dest.ClassRow, ""); e.Row != -1 || refused != nil {
				t.Errorf("row %d, %v", e.Row, refused)
			}
			f.want("SELECT count(*) FROM t", "0")
			f.mustWrite(row{1, nil}, row{2, 1})
		})
	}
}

// The receipts of a transaction leave out the refused rows: written again after
// all, these are not taken for stored, and the others are not stored twice.
func TestIsolateLeavesReceipts(t *testing.T) {
	tab := &dest.Table{Name: "t", Policy: dest.InsertOnly, Columns: []dest.Column{col("id bigint")}}
	f := newFixture(t, tab, `CREATE TABLE t (id INTEGER CHECK (id NOT IN (2, 3, 6)))`)
	var receipts []dest.Receipt
	f.Sink.(dest.Recorder).Record(nil, func(_ context.Context, some []dest.Receipt) error { receipts = append(receipts, some...); return nil })
	rows := batch(t, tab, row{1}, row{2}, row{3}, row{4}, row{5}, row{6})
	equal(t, f.isolate(rows), "1:23514: 2:23514: 5:23514:")
	if len(receipts) != 2 || receipts[0].First != 1 || receipts[0].Last != 1 || receipts[1].First != 4 || receipts[1].Last != 5 {
		t.Fatalf("receipts %+v", receipts)
	}
	f.exec("DROP TABLE t")
	f.exec("CREATE TABLE t (id INTEGER CHECK (id <> 3))")
	next := &fixture{reader: f.reader, Sink: bind(t, f.db, tab), db: f.db, table: tab}
	next.Sink.(dest.Recorder).Record(receipts, func(context.Context, []dest.Receipt) error { return nil })
	equal(t, next.isolate(rows), "2:23514:")
	f.want("SELECT group_concat(id, ' ') FROM t", "2 6")
}
