package pgdest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/memdbwriter/memdbwriter/internal/dest"
	"github.com/memdbwriter/memdbwriter/internal/pgtest"
	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

// isolate returns the rejected rows as "place:class:SQLSTATE:column".
func isolate(tb testing.TB, s *Sink, b *tuple.Batch) string {
	tb.Helper()
	_, refused, err := s.Isolate(context.Background(), b)
	if err != nil {
		tb.Fatal(err)
	}
	var said []string
	for _, r := range refused {
		said = append(said, fmt.Sprintf("%d:%s:%s:%s", r.Row, r.Err.Class, r.Err.SQLState, r.Err.Column))
	}
	return strings.Join(said, " ")
}

// people is a table of key, parent, code and name.
func people() *dest.Table {
	return &dest.Table{Name: "people", Keys: 1, Columns: []dest.Column{
		col("id", tuple.Int8), col("parent", tuple.Int8, "null"), col("code", tuple.Int8, "null"), col("name", tuple.Text, "null"),
	}}
}

const peopleDDL = `CREATE TABLE people (id bigint PRIMARY KEY, parent bigint REFERENCES people, code bigint UNIQUE,
	name varchar(10) NOT NULL CHECK (name <> 'bad'))`

// The rows that the database takes are stored and each other one comes with its
// own reason: found by the client, by CHECK, by another index, by a reference, at
// the edges of blocks.
func TestIsolateStoresTheOtherRows(t *testing.T) {
	db := pgtest.Open(t)
	db.Exec(t, peopleDDL+`; INSERT INTO people VALUES (-1, NULL, 77, 'there'), (5, NULL, NULL, 'old')`)
	s := open(t, db.URL, people())
	const n = 3*isolateRows + 1
	rows := make([]row, n)
	for i := range rows {
		rows[i] = row{int64(i), nil, nil, "good"}
	}
	rows[0][3] = "bad"
	rows[1][3] = nil
	rows[2][3] = "longer than 10"
	rows[isolateRows-1][2] = int64(77)
	rows[isolateRows][1] = int64(4711)
	rows[isolateRows+1][3] = "bad"
	rows[n-1][3] = "bad"
	equal(t, []string{isolate(t, s, batch(rows...))}, fmt.Sprintf("0:row:23514: 1:row:23502:name 2:row:22001:name %d:row:23505: %d:row:23503: %d:row:23514: %d:row:23514:",
		isolateRows-1, isolateRows, isolateRows+1, n-1))
	equal(t, db.Rows(t, "SELECT count(*), count(*) FILTER (WHERE name = 'good') FROM people"), fmt.Sprintf("%d|%d", n-7+1, n-7))
	if txid := db.Rows(t, "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in%'"); txid[0] != "0" {
		t.Error("a transaction is left open")
	}
}

// All rows are bad: three requests, the attempt included, and nothing is stored.
func TestIsolateRefusesAll(t *testing.T) {
	db := pgtest.Open(t)
	db.Exec(t, peopleDDL)
	s := open(t, db.URL, people())
	rows := make([]row, 5000)
	for i := range rows {
		rows[i] = row{int64(i), nil, nil, "bad"}
	}
	b := batch(rows...)
	res, err := s.Write(context.Background(), b)
	if err == nil {
		t.Fatal("stored")
	}
	first := res.RoundTrips
	res, refused, err := s.Isolate(context.Background(), b)
	if err != nil || len(refused) != len(rows) || res.RoundTrips != 2 {
		t.Errorf("%d refused, %d requests, then %d: %v", len(refused), first, res.RoundTrips, err)
	}
	equal(t, db.Rows(t, "SELECT count(*) FROM people"), "0")
}

// Rows that need each other get in whichever way they came, beside a bad one.
func TestIsolateAChainOfParents(t *testing.T) {
	db := pgtest.Open(t)
	db.Exec(t, peopleDDL)
	s := open(t, db.URL, people())
	const n = 5000
	rows := []row{{int64(n), nil, nil, "bad"}}
	for i := range int64(n - 1) {
		rows = append(rows, row{i, i + 1, nil, "child"})
	}
	rows = append(rows, row{int64(n - 1), nil, nil, "root"})
	before := db.Rows(t, "SELECT txid_current()")[0]
	equal(t, []string{isolate(t, s, batch(rows...))}, "0:row:23514:")
	equal(t, db.Rows(t, "SELECT count(*) FROM people"), fmt.Sprint(n))
	t.Logf("transaction ids: %s", db.Rows(t, "SELECT txid_current() - "+before)[0])
}

// A unique value that one row gives up is another's, though that came first; of
// two rows that want one value the first to arrive has it, whatever their keys.
func TestIsolateInTheOrderOfArrival(t *testing.T) {
	db := pgtest.Open(t)
	db.Exec(t, peopleDDL+`; INSERT INTO people VALUES (1, NULL, 10, 'a'), (2, NULL, 20, 'b')`)
	s := open(t, db.URL, people())
	equal(t, []string{isolate(t, s, batch(row{int64(2), nil, int64(10), "b"}, row{int64(1), nil, int64(30), "a"}, row{int64(3), nil, nil, "bad"}))}, "2:row:23514:")
	equal(t, db.Rows(t, "SELECT id, code FROM people ORDER BY id"), "1|30", "2|10")

	b := batch(row{int64(5), nil, int64(99), "x"}, row{int64(6), nil, int64(99), "x"})
	b.Rows[0].Seq, b.Rows[1].Seq = 2, 1
	equal(t, []string{isolate(t, s, b)}, "0:row:23505:")
	equal(t, db.Rows(t, "SELECT id FROM people WHERE code = 99"), "6")
}

// Of rows whose keys only the database knows to be equal the last one is stored,
// also if it is what was stored before: in a block without a bad row, too.
func TestIsolateKeepsAChangeBack(t *testing.T) {
	db := pgtest.Open(t)
	db.Exec(t, `CREATE EXTENSION IF NOT EXISTS citext; CREATE TABLE keyed (k citext PRIMARY KEY, v text NOT NULL CHECK (v <> 'bad')); INSERT INTO keyed VALUES ('a', 'x')`)
	s := open(t, db.URL, keyValue(tuple.Text))
	rows := []row{{"A", "y"}, {"a", "x"}}
	for i := range isolateRows {
		rows = append(rows, row{fmt.Sprint("k", i), "good"})
	}
	rows[len(rows)-1][1] = "bad"
	equal(t, []string{isolate(t, s, batch(rows...))}, fmt.Sprintf("%d:row:23514:", len(rows)-1))
	equal(t, db.Rows(t, "SELECT v FROM keyed WHERE k = 'a'"), "x")
}

// Rows that a trigger cancels are counted, be it one of a partition, and those that
// are unchanged are not.
func TestIsolateCountsCancelledRows(t *testing.T) {
	for _, policy := range []dest.Policy{dest.Update, dest.InsertOnly} {
		db := pgtest.Open(t)
		db.Exec(t, `CREATE TABLE files (id bigint PRIMARY KEY, name text NOT NULL, size bigint CHECK (size > 0)) PARTITION BY RANGE (id);
			CREATE TABLE part PARTITION OF files FOR VALUES FROM (0) TO (1000);
			CREATE FUNCTION cancel() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.name = 'cancel' THEN RETURN NULL; END IF; RETURN NEW; END $$;
			CREATE TRIGGER cancel BEFORE INSERT OR UPDATE ON part FOR EACH ROW EXECUTE FUNCTION cancel()`)
		table := files()
		if table.Policy = policy; policy == dest.InsertOnly {
			table.Keys = 0
		}
		s := open(t, db.URL, table)
		if res := write(t, s, row{int64(1), "cancel", int64(1)}, row{int64(2), "b", int64(2)}); res.Skipped != 1 {
			t.Errorf("%+v", res)
		}
		rows := []row{{int64(3), "cancel", int64(3)}, {int64(4), "d", int64(0)}, {int64(5), "cancel", int64(5)}, {int64(6), "f", int64(6)}}
		if policy == dest.Update {
			rows = append(rows, row{int64(2), "b", int64(2)})
		}
		for _, bad := range []int{1, 0} { // with a bad row, and without
			res, refused, err := s.Isolate(context.Background(), batch(rows...))
			if err != nil || len(refused) != bad || res.Skipped != 2 {
				t.Fatalf("%+v, %d refused: %v", res, len(refused), err)
			}
			rows[1][2] = int64(4)
			if policy == dest.InsertOnly {
				rows[3][0] = int64(7)
			}
		}
		want := []string{"2", "4", "6"}
		if policy == dest.InsertOnly {
			want = append(want, "7")
		}
		equal(t, db.Rows(t, "SELECT id FROM files ORDER BY id"), want...)
	}
}

// Constraints that are deferred are found before COMMIT; two rows that refer to
// each other get in.
func TestIsolateWithDeferredConstraints(t *testing.T) {
	db := pgtest.Open(t)
	db.Exec(t, `CREATE TABLE people (id bigint PRIMARY KEY, parent bigint REFERENCES people DEFERRABLE INITIALLY DEFERRED,
		code bigint, name text CHECK (name <> 'bad'))`)
	s := open(t, db.URL, people())
	equal(t, []string{isolate(t, s, batch(row{int64(1), int64(2), nil, "a"}, row{int64(2), int64(1), nil, "b"}, row{int64(3), nil, nil, "bad"}))}, "2:row:23514:")
	equal(t, db.Rows(t, "SELECT id FROM people ORDER BY id"), "1", "2")
	equal(t, []string{isolate(t, s, batch(row{int64(4), nil, nil, "a"}, row{int64(5), int64(77), nil, "b"}, row{int64(6), nil, nil, "bad"}))}, "1:row:23503: 2:row:23514:")
	equal(t, db.Rows(t, "SELECT id FROM people ORDER BY id"), "1", "2", "4")
}

// Whatever a trigger raises comes back with the row for which it is raised. A code
// that may pass, or that is about the table, is not called the row's fault here.
func TestIsolateWhatATriggerRaises(t *testing.T) {
	db := pgtest.Open(t)
	db.Exec(t, `CREATE TABLE people (id bigint PRIMARY KEY, parent bigint, code bigint, name text);
		CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
			IF NEW.name LIKE 'E%' THEN RAISE 'no' USING ERRCODE = substr(NEW.name, 2); END IF; RETURN NEW; END $$;
		CREATE TRIGGER no BEFORE INSERT ON people FOR EACH ROW EXECUTE FUNCTION no()`)
	s := open(t, db.URL, people())
	codes := []string{"XX000", "42501", "42P01", "55000", "40001", "40P01", "53200", "57P01", "ZZ999", "P0001", "22012", "23503"}
	rows := []row{}
	for i, code := range codes {
		rows = append(rows, row{int64(2 * i), nil, nil, "E" + code}, row{int64(2*i + 1), nil, nil, "good"})
	}
	got := strings.Fields(isolate(t, s, batch(rows...)))
	if len(got) != len(codes) {
		t.Fatalf("refused: %v", got)
	}
	for i, code := range codes {
		if !strings.HasPrefix(got[i], fmt.Sprintf("%d:", 2*i)) || !strings.Contains(got[i], ":"+code+":") {
			t.Errorf("%s for %s", got[i], code)
		}
		other := slices.Contains([]string{"40", "53", "55", "57", "XX", "42"}, code[:2])
		if other == strings.Contains(got[i], ":row:") {
			t.Errorf("%s of %s", got[i], code)
		}
	}
	equal(t, db.Rows(t, "SELECT count(*) FROM people"), fmt.Sprint(len(codes)))
}

// Names that look like the program's own, or like the end of its text, are names.
func TestIsolateWithStrangeNames(t *testing.T) {
	db := pgtest.Open(t)
	strange := []string{"id", "memdbwriter at", "x", `$memdbwriter$; '"\`, "n", "t"}
	tab := &dest.Table{Name: `it's "memdbwriter refused" \`, Keys: 1}
	var defs []string
	for _, name := range strange {
		tab.Columns = append(tab.Columns, col(name, tuple.Int8))
		defs = append(defs, dest.Quote(name)+" bigint CHECK ("+dest.Quote(name)+" > 0)")
	}
	db.Exec(t, "CREATE TABLE "+dest.Quote(tab.Name)+" ("+strings.Join(defs, ", ")+", PRIMARY KEY (id))")
	s := open(t, db.URL, tab)
	good, bad := row{}, row{}
	for i := range strange {
		good, bad = append(good, int64(i+1)), append(bad, int64(i+2))
	}
	bad[3] = int64(0)
	equal(t, []string{isolate(t, s, batch(good, bad))}, "1:row:23514:")
	equal(t, db.Rows(t, "SELECT count(*) FROM "+dest.Quote(tab.Name)), "1")
}

// Insert-only rows are told apart too, and a receipt never covers a refused row:
// written again after all it is not taken for stored, and no other is stored twice.
func TestIsolateLeavesReceipts(t *testing.T) {
	db := pgtest.Open(t)
	tab := &dest.Table{Name: "log", Policy: dest.InsertOnly, Columns: []dest.Column{col("n", tuple.Int8)}}
	db.Exec(t, "CREATE TABLE log (n bigint CHECK (n NOT IN (2, 3, 6)))")
	s := open(t, db.URL, tab)
	var receipts []dest.Receipt
	s.Record(nil, func(_ context.Context, some []dest.Receipt) error { receipts = append(receipts, some...); return nil })
	rows := batch(row{int64(1)}, row{int64(2)}, row{int64(3)}, row{int64(4)}, row{int64(5)}, row{int64(6)})
	equal(t, []string{isolate(t, s, rows)}, "1:row:23514: 2:row:23514: 5:row:23514:")
	if len(receipts) != 2 || receipts[0].First != 0 || receipts[0].Last != 0 || receipts[1].First != 3 || receipts[1].Last != 4 {
		t.Fatalf("receipts %+v", receipts)
	}
	db.Exec(t, "TRUNCATE log; ALTER TABLE log DROP CONSTRAINT log_n_check, ADD CHECK (n <> 3)")
	next := open(t, db.URL, tab)
	next.Record(receipts, func(context.Context, []dest.Receipt) error { return nil })
	equal(t, []string{isolate(t, next, rows)}, "2:row:23514:")
	equal(t, db.Rows(t, "SELECT n FROM log ORDER BY n"), "2", "6")
}

// A role that may not use the language is served by smaller batches.
func TestIsolateWithoutTheLanguage(t *testing.T) {
	db := pgtest.Start(t).Open(t) // of its own, since the others use the language
	db.Exec(t, peopleDDL+`; DROP EXTENSION plpgsql`)
	t.Cleanup(func() { db.Exec(t, "CREATE EXTENSION plpgsql") }) // other tests use the server, too
	s := open(t, db.URL, people())
	_, _, err := s.Isolate(context.Background(), batch(row{int64(1), nil, nil, "bad"}, row{int64(2), nil, nil, "good"}))
	if e := dest.AsError(err); err == nil || e.Class != dest.ClassRow || e.Row != -1 {
		t.Errorf("%v", err)
	}
}

// A constraint that has refused rows is looked for before: the next batch takes
// no attempt that fails, and the rows that are suspected are still decided by the
// attempt: a trigger mends one of them. In the end the fashion is over.
func TestSuspectsAreTriedLast(t *testing.T) {
	db := pgtest.Open(t)
	db.Exec(t, peopleDDL+`; INSERT INTO people VALUES (-1, NULL, 77, 'there');
		CREATE FUNCTION mend() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
			PERFORM 1 FROM people WHERE id = NEW.id; -- by the session's search path
			IF NEW.id % 1000 = 500 AND NEW.name = 'bad' THEN NEW.name := 'mended'; END IF; RETURN NEW; END $$;
		CREATE TRIGGER mend BEFORE INSERT ON people FOR EACH ROW EXECUTE FUNCTION mend()`)
	s := open(t, db.URL, people())
	store := func(from int64, spoil func(i int64, r row)) (res dest.Result, said string) {
		rows := make([]row, 1000)
		for i := range rows {
			rows[i] = row{from + int64(i), nil, nil, "good"}
			spoil(int64(i), rows[i])
		}
		b := batch(rows...)
		res, err := s.Write(context.Background(), b)
		if err == nil {
			return res, ""
		}
		more, refused, err := s.Isolate(context.Background(), b)
		if err != nil {
			t.Fatal(err)
		}
		more.RoundTrips += res.RoundTrips
		for _, r := range refused {
			said += fmt.Sprintf(" %d:%s", r.Row, r.Err.SQLState)
		}
		return more, said
	}
	bad := func(i int64, r row) {
		switch i {
		case 3, 500, 999:
			r[3] = "bad"
		case 4, 998:
			r[2] = int64(77)
		}
	}
	const want = " 3:23514 4:23505 998:23505 999:23514"
	if _, said := store(0, bad); said != want {
		t.Errorf("first: %s", said)
	}
	before := db.Rows(t, "SELECT txid_current()")[0]
	res, said := store(1000, bad)
	if said != want || res.RoundTrips != 2 {
		t.Errorf("in fashion: %s, %d requests", said, res.RoundTrips)
	}
	// A block of the others, one of the suspects, those one by one: no other row
	// was in a subtransaction of its own.
	if ids := db.Rows(t, "SELECT txid_current() - "+before)[0]; len(ids) > 2 {
		t.Errorf("%s transaction ids", ids)
	}
	equal(t, db.Rows(t, "SELECT count(*), count(*) FILTER (WHERE name = 'mended') FROM people WHERE id >= 0"), "1992|2")
	for i := range int64(outOfFashion) {
		if _, said := store(2000+1000*i, func(int64, row) {}); said != "" {
			t.Error(said)
		}
	}
	s.choice.succeeded()
	if res, _ := store(9000, func(int64, row) {}); res.Way != dest.Direct {
		t.Errorf("out of fashion: %+v", res)
	}
}

// What the server says beside its message comes with a row that it tells apart.
func TestHintAndDetailOfARowThatIsToldApart(t *testing.T) {
	db := pgtest.Open(t)
	db.Exec(t, filesDDL+`; CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
		IF NEW.size = 2 THEN RAISE 'no' USING DETAIL = 'two is no size', HINT = 'try three'; END IF; RETURN NEW; END $$;
		CREATE TRIGGER no BEFORE INSERT ON files FOR EACH ROW EXECUTE FUNCTION no()`)
	s := open(t, db.URL, files())
	_, refused, err := s.Isolate(context.Background(), batch(row{int64(1), "a", int64(1)}, row{int64(2), "b", int64(2)}, row{int64(3), "c", int64(3)}))
	if err != nil || len(refused) != 1 {
		t.Fatal(refused, err)
	}
	if text := refused[0].Err.Error(); !strings.Contains(text, "detail: two is no size") || !strings.Contains(text, "hint of the server: try three") {
		t.Error(text)
	}
}
