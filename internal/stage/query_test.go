package stage

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"
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

func TestQueryOnlyReads(t *testing.T) {
	s := open(t, testConfig)
	stage(t, s, 1, 10)
	file := t.TempDir() + "/x.db"
	for _, q := range []string{
		"DELETE FROM chunk", "INSERT INTO chunk VALUES (99, x'00')", "UPDATE chunk SET data = x'00'",
		"REPLACE INTO main.chunk VALUES (1, x'00')", "PRAGMA writable_schema = ON", "EXPLAIN SELECT 1",
		"DROP TABLE main.chunk", "DROP VIEW files", "CREATE TABLE x(a)", "CREATE TEMP TABLE x(a)", "ALTER TABLE main.chunk RENAME TO x",
		"CREATE TEMP TABLE x AS SELECT 1", "CREATE TEMP TRIGGER x AFTER DELETE ON main.chunk BEGIN SELECT 1 END",
		"ATTACH '" + file + "' AS x", "DETACH main", "VACUUM", "VACUUM INTO '" + file + "'", "ANALYZE", "REINDEX",
		"PRAGMA page_size", "PRAGMA journal_mode = OFF", "SELECT * FROM pragma_table_info('chunk')",
		"BEGIN", "COMMIT", "SAVEPOINT x", "SELECT load_extension('x')",
		"DELETE FROM files RETURNING size", "EXPLAIN DELETE FROM files",
		"INSERT INTO files VALUES ('x', 1, 2)", "UPDATE files SET size = 1", "DELETE FROM files", "DELETE FROM temp." + stagedName,
		"SELECT * FROM sqlite_master", "SELECT * FROM temp.sqlite_master", "SELECT * FROM dbstat", "SELECT * FROM sqlite_dbpage",
		"SELECT * FROM json_each('[1]')", "SELECT * FROM json_tree('[1]')", "SELECT * FROM temp." + watchedName,
		"SELECT * FROM temp." + stagedName, "SELECT * FROM temp." + failedName, "SELECT count(*) FROM temp." + watchedName,
		"SELECT count(*) FROM sqlite_master", "SELECT count(*) FROM json_each('[1]')", "SELECT count(*) FROM pragma_journal_mode", "SELECT count(*) FROM dbstat",
		"SELECT * FROM (SELECT c0 FROM temp." + stagedName + ")",
		"SELECT randomblob(1)", "SELECT zeroblob(1)", "SELECT hex(randomblob(400000000))", "SELECT sqlite_version()", "SELECT last_insert_rowid()",
		"SELECT changes()", "SELECT sqlite_compileoption_get(1)", "SELECT json_patch('{}', '{}')", "SELECT fts5(NULL)", "SELECT rtreecheck('x')",
		"SELECT sqlite_offset(size) FROM files",
	} {
		unchanged(t, s, func() {
			_, _, err := s.Query(context.Background(), q)
			if !errors.Is(err, errReadOnly) {
				t.Errorf("%s: error %v", q, err)
			}
		})
	}
	for _, q := range []string{
		"WITH x AS (SELECT 1) DELETE FROM files", "WITH x AS (SELECT 1) INSERT INTO files SELECT 1, 2, 3", "SELECT matchinfo(path) FROM files",
		"", "-- nothing", "SELEC 1", "SELECT nope FROM files", "SELECT * FROM temp." + sinkName, "SELECT ?", "SELECT @a", "SELECT * FROM chunk", "SELECT * FROM main.chunk",
		"SELECT * FROM temp." + stagedName + "(1)", "SELECT no_such_function(1)", "SELECT 1 FROM files WHERE path REGEXP 'x'",
	} {
		unchanged(t, s, func() {
			if _, rows, err := s.Query(context.Background(), q); err == nil {
				t.Errorf("%q returned %v", q, rows)
			}
		})
	}
	if _, rows := query(t, s, "VALUES (1)"); !slices.Equal(rows, []string{"1"}) {
		t.Errorf("VALUES: %q", rows)
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
