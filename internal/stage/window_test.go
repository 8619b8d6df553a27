package stage

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

func TestAQueryIsOneStatement(t *testing.T) {
	s := open(t, testConfig)
	stage(t, s, 1, 1)
	for _, q := range []string{
		"SELECT 1; SELECT 2", "SELECT 1;;SELECT 2", "SELECT 1; -- x\nSELECT 2", "SELECT ';'; /* ; */ SELECT 2", "SELECT 'a''';DELETE FROM files",
		`SELECT "a"";"; x`, "SELECT 1 AS [;]; x", "SELECT 1 AS `;`; x", "SELECT 1; COMMIT", "; SELECT 1",
	} {
		if _, _, err := s.Query(t.Context(), q); !errors.Is(err, errSeveral) {
			t.Errorf("%s: error %v", q, err)
		}
	}
	for _, q := range []string{"SELECT 1;", "SELECT 1 ; ; \n", "SELECT 1; -- SELECT 2", "SELECT 1; /* SELECT 2", "SELECT ';SELECT 2' AS \";\" -- ;\n;", "SELECT/**/1"} {
		if _, _, err := s.Query(t.Context(), q); err != nil {
			t.Errorf("%s: %v", q, err)
		}
	}
	for _, q := range []string{"SELECT 1\x00", "SELECT 'a\x00", "SELECT 1 --\x00", "SELECT 1; /*\x00"} {
		if _, _, err := s.Query(t.Context(), q); !errors.Is(err, errNUL) {
			t.Errorf("%q: error %v", q, err)
		}
	}
}

// What would take memory or time without a bound is an error, and nothing else
// is the worse for it.
func TestQueryHasLimits(t *testing.T) {
	s := open(t, testConfig)
	stage(t, s, 1, 2000)
	var b tuple.Batch
	b.Append(2001, row(strings.Repeat("x", maxValue+1), 1))
	must(t, s.Append(&b))
	for _, c := range []struct{ name, q, want string }{
		{"a value", "SELECT printf('%2000000d', 1)", "too big"},
		{"a value of a row", "SELECT path FROM files WHERE size = 1", "too big"},
		{"a value of replace", "SELECT replace(printf('%2000d', 1), ' ', printf('%2000d', 1))", "too big"},
		{"an aggregate", "SELECT group_concat(printf('%1000d', size)) FROM files", "too big"},
		{"a row that is sorted", "SELECT printf('%900000d', 1) AS a, printf('%900000d', 1) AS b FROM files ORDER BY size", "too big"},
		{"the statement", "SELECT '" + strings.Repeat("x", maxValue) + "'", "too big"},
		{"an expression", "SELECT " + strings.Repeat("(1+", 300) + "1" + strings.Repeat(")", 300), "too large"},
		{"terms", "SELECT 1" + strings.Repeat(" UNION ALL SELECT 1", 200), "too many terms"},
		{"a pattern", "SELECT path LIKE '" + strings.Repeat("%a", 300) + "' FROM files WHERE _seq < 9", "pattern too complex"},
		{"the answer", "WITH x(v) AS (SELECT replace('" + strings.Repeat("x", 1000) + "', 'x', '" + strings.Repeat("y", 1000) + "')) SELECT v FROM x, files", "use LIMIT"},
		{"small values", "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x FROM c) SELECT " + strings.Repeat("1, ", 1999) + "x FROM c", "use LIMIT"},
	} {
		if _, _, err := s.Query(t.Context(), c.q); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v", c.name, err)
		}
	}
	if _, rows := query(t, s, "SELECT count(*), sum(size) FROM files"); rows[0] != fmt.Sprint(2001, 2000*2001/2+1) {
		t.Errorf("%q", rows)
	}
}

// A query without a deadline has one all the same.
func TestQueryEndsByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, testConfig)
		s.window.turn <- struct{}{} // a query before it that does not end
		_, _, err := s.Query(context.Background(), "SELECT 1")
		<-s.window.turn
		if !errors.Is(err, errTooLong) {
			t.Errorf("after a minute: error %v", err)
		}
	})
}

// Functions whose cost is the product of the lengths of their arguments are ours.
func TestTextFunctions(t *testing.T) {
	s := open(t, testConfig)
	for q, want := range map[string]string{
		"instr('grün und blau', 'ü')":           "3",
		"instr('abc', 'x')":                     "0",
		"instr('abc', '')":                      "1",
		"instr(x'00ff', x'ff')":                 "2",
		"instr(x'6162', 'b')":                   "2",
		"instr(1234, 34)":                       "3",
		"instr(1.0, '.')":                       "2",
		"ifnull(instr(NULL, 'x'), 'none')":      "none",
		"replace('a/b/c', '/', '::')":           "a::b::c",
		"replace('abc', '', 'x')":               "abc",
		"replace(1001, 0, 2)":                   "1221",
		"trim('--a-b--', '-') || trim(' x ')":   "a-bx",
		"ltrim('üüaü', 'ü') || ltrim('  y')":    "aüy",
		"rtrim('/a/b', replace('/a/b','/',''))": "/a/",
	} {
		if _, rows := query(t, s, "SELECT "+q); rows[0] != want {
			t.Errorf("%s: %q, want %q", q, rows, want)
		}
	}
	long := strings.Repeat("x", maxValue/4)
	for _, q := range []string{"instr(?1 || ?1, ?1 || 'y')", "length(trim(?1, ?1))", "length(replace(?1 || ?1, ?1 || 'y', ''))"} {
		query(t, s, "SELECT "+q, long) // SQLite's own would take longer than the test may
	}
}

// Rows come and go while a query reads: it sees none that came after it began,
// none twice, and each one that stayed.
func TestAQueryWhileRowsComeAndGo(t *testing.T) {
	s := open(t, testConfig)
	const last, gone = 40_000, 30_000 // several pages
	stage(t, s, 1, last)
	scan := &stagedScan{window: s.window, store: s, after: beforeAll}
	s.window.ctx, s.window.staged = t.Context(), last
	seen := int64(0)
	for next := int64(last + 1); ; next++ {
		more, err := scan.Next()
		must(t, err)
		if !more {
			break
		}
		value, err := scan.Value(len(testConfig.Columns))
		must(t, err)
		seq := value.(int64)
		if len(scan.page.Data) > scanBytes {
			t.Fatalf("the store was held for a page of %d bytes", len(scan.page.Data))
		}
		if seq != seen+1 && (seq != gone+1 || seen < 100) {
			t.Fatalf("row %d after row %d", seq, seen)
		}
		if seen = seq; seq == 100 {
			must(t, s.Settle(gone, nil))
		}
		if seq%1000 == 0 {
			stage(t, s, next, next)
		} else {
			next--
		}
	}
	if seen != last {
		t.Errorf("the scan ended at row %d, want %d", seen, last)
	}
}

// Nobody waits for a query: the store works while one runs that never ends, and
// one that waits for the store ends with its context.
func TestTheStoreWorksWhileAQueryRuns(t *testing.T) {
	s := open(t, testConfig)
	stage(t, s, 1, 2000)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, _, err := s.Query(ctx, "SELECT count(*) FROM files a, files b, files c, files d WHERE a.path || b.path || c.path || d.path = ''")
		ended <- err
	}()
	begun(t, s, ended)
	for seq := int64(2001); seq <= 2300; seq++ {
		stage(t, s, seq, seq)
		must(t, s.Settle(seq-1000, nil))
	}
	select {
	case err := <-ended:
		t.Fatalf("the query has ended: %v", err)
	default:
	}
	waiting, stop := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer stop()
	if _, _, err := s.Query(waiting, "SELECT 1"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the query behind it: %v", err)
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the query: %v", err)
	}

	ctx, cancel = context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	s.mu.Lock()
	_, _, err := s.Query(ctx, "SELECT count(*) FROM files")
	s.mu.Unlock()
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a query in the middle of a step: %v", err)
	}
}

// Close ends a query, and waits for it.
func TestCloseEndsAQuery(t *testing.T) {
	s := open(t, testConfig)
	stage(t, s, 1, 2000)
	ended := make(chan error, 1)
	go func() {
		_, _, err := s.Query(context.Background(), "SELECT count(*) FROM files a, files b, files c, files d")
		ended <- err
	}()
	begun(t, s, ended)
	must(t, s.Close())
	if err := <-ended; !errors.Is(err, ErrClosed) {
		t.Errorf("the query: %v", err)
	}
}

// begun waits until a query runs.
func begun(t *testing.T, s *Store, ended <-chan error) {
	t.Helper()
	for len(s.window.turn) == 0 {
		select {
		case err := <-ended:
			t.Fatalf("the query has ended: %v", err)
		default:
			runtime.Gosched()
		}
	}
}

// Any text is told to be one statement or not, and one that is can be asked.
func FuzzSingle(f *testing.F) {
	for _, q := range []string{"SELECT 1", "select ';' -- ;", "/* ; */ WITH x AS (SELECT 1) SELECT * FROM x;", "VALUES ([;]), (`;`)", "SELECT 'a''b';x", "VACUUM INTO 'x'", "SELECT \x00"} {
		f.Add(q)
	}
	s := open(f, testConfig)
	f.Fuzz(func(t *testing.T, q string) {
		if single(q) != nil {
			return
		}
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		s.Query(ctx, q)
		if c := s.Counts(); c != (Counts{}) {
			t.Errorf("%q: %+v", q, c)
		}
	})
}
