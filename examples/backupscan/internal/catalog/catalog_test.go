package catalog

import (
	"context"
	"database/sql"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/memdbwriter/memdbwriter/internal/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// place is a fresh database of either kind.
type place struct {
	url, file string
	exec      func(t testing.TB, sql string)
	rows      func(t testing.TB, sql string) []string
}

func onBoth(t *testing.T, test func(t *testing.T, p place)) {
	t.Run("postgres", func(t *testing.T) {
		db := pgtest.Open(t)
		test(t, place{
			url:  db.URL,
			exec: func(t testing.TB, sql string) { db.Exec(t, sql) },
			rows: func(t testing.TB, sql string) []string { return db.Rows(t, sql) },
		})
	})
	t.Run("sqlite", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "a b?#%.db")
		test(t, place{
			file: file,
			exec: func(t testing.TB, sql string) { sqliteExec(t, file, sql) },
			rows: func(t testing.TB, sql string) []string { return sqliteRows(t, file, sql) },
		})
	})
}

func sqliteDB(t testing.TB, file string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", sqliteDSN(file))
	check(t, err)
	return db
}

func sqliteExec(t testing.TB, file, statement string) {
	t.Helper()
	db := sqliteDB(t, file)
	_, err := db.Exec(statement)
	check(t, err)
	check(t, db.Close())
}

// sqliteRows returns the rows in the form of pgtest's DB.Rows.
func sqliteRows(t testing.TB, file, query string) (out []string) {
	t.Helper()
	db := sqliteDB(t, file)
	rows, err := db.Query(query)
	check(t, err)
	names, err := rows.Columns()
	check(t, err)
	for rows.Next() {
		values := make([]sql.NullString, len(names))
		pointers := make([]any, len(names))
		for i := range values {
			pointers[i] = &values[i]
		}
		check(t, rows.Scan(pointers...))
		var texts []string
		for _, v := range values {
			if !v.Valid {
				v.String = "NULL"
			}
			texts = append(texts, v.String)
		}
		out = append(out, strings.Join(texts, "|"))
	}
	check(t, rows.Err())
	check(t, db.Close())
	return out
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func open(t testing.TB, p place) Catalog {
	t.Helper()
	c, err := Open(context.Background(), p.url, p.file)
	check(t, err)
	t.Cleanup(func() { check(t, c.Close()) })
	return c
}

func wantRows(t testing.TB, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("got\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

var start = time.Date(2026, 2, 3, 4, 5, 6, 789000000, time.FixedZone("", 8*3600))

func TestASetIsMadeAndFollowsItsScan(t *testing.T) {
	onBoth(t, func(t *testing.T, p place) {
		c := open(t, p)
		ctx := t.Context()
		const state = `SELECT id, set_id, backup_group, status, backup_type, scan_status, total_files, total_bytes, scan_completed_at IS NULL FROM backup_sets`
		no, yes := "f", "t"
		if p.file != "" {
			no, yes = "0", "1"
		}

		before, err := c.Begin(ctx, Set{ID: 7, Started: start, Source: Source{Host: "h", Roots: []string{"/it's"}}})
		check(t, err)
		if before != "" {
			t.Errorf("a new set had the status %q", before)
		}
		wantRows(t, p.rows(t, state), "7|2026-02-000007|2026-02|active|full|running|0|0|"+yes)

		check(t, c.Finish(ctx, 7, Outcome{Status: Completed, Ended: start.Add(time.Hour), Files: 12, Bytes: 1 << 40}))
		wantRows(t, p.rows(t, state), "7|2026-02-000007|2026-02|active|full|completed|12|1099511627776|"+no)

		before, err = c.Begin(ctx, Set{ID: 7, Started: start.AddDate(0, 3, 0), Source: Source{Roots: []string{"/other"}}})
		check(t, err)
		if before != Completed {
			t.Errorf("the set had the status %q, want completed", before)
		}
		wantRows(t, p.rows(t, state), "7|2026-02-000007|2026-02|active|full|running|12|1099511627776|"+yes)
		source := p.rows(t, "SELECT source_info FROM backup_sets")
		wantRows(t, []string{strings.ReplaceAll(source[0], " ", "")}, `{"roots":["/other"]}`)

		check(t, c.Finish(ctx, 7, Outcome{Status: Cancelled, Ended: start, Files: 3, Bytes: 4}))
		wantRows(t, p.rows(t, state), "7|2026-02-000007|2026-02|active|full|cancelled|3|4|"+yes)
	})
}

func TestTimesAreStoredInUTC(t *testing.T) {
	onBoth(t, func(t *testing.T, p place) {
		c := open(t, p)
		_, err := c.Begin(t.Context(), Set{ID: 1, Started: start})
		check(t, err)
		query := "SELECT CAST(backup_time AS TEXT) FROM backup_sets"
		if p.file == "" {
			query = "SELECT (backup_time AT TIME ZONE 'UTC')::text || '+00:00' FROM backup_sets"
		}
		wantRows(t, p.rows(t, query), "2026-02-02 20:05:06.789+00:00")
	})
}

func TestPagesHoldEveryFileOfTheSetOnce(t *testing.T) {
	onBoth(t, func(t *testing.T, p place) {
		c := open(t, p)
		files(t, p)
		var insert strings.Builder
		want := 2*PageSize + 17
		for i := range want {
			if i%1000 == 0 {
				insert.WriteString("; INSERT INTO backup_files VALUES ")
			} else {
				insert.WriteString(", ")
			}
			fmt.Fprintf(&insert, "(3, '/Data/ä %d', %v)", i, []string{"TRUE", "FALSE", "NULL"}[i%3])
		}
		p.exec(t, insert.String()[1:]+"; INSERT INTO backup_files VALUES (4, '/of another set', FALSE)")

		seen := map[string]bool{}
		copied := 0
		for after := ""; ; {
			page, err := c.Page(t.Context(), 3, after)
			check(t, err)
			if len(page) == 0 {
				break
			}
			for _, f := range page {
				seen[f.Path] = true
				if f.Copied {
					copied++
				}
			}
			after = page[len(page)-1].Path
		}
		if len(seen) != want || copied != (want+2)/3 {
			t.Errorf("%d paths, %d copied", len(seen), copied)
		}
	})
}

func TestDeleteSparesWhatIsOnTapeAndOtherSets(t *testing.T) {
	onBoth(t, func(t *testing.T, p place) {
		c := open(t, p)
		files(t, p)
		p.exec(t, `INSERT INTO backup_files VALUES (3, '/a''b"\中', FALSE), (3, '/null', NULL), (3, '/taped', TRUE), (3, '/stays', FALSE), (4, '/null', FALSE)`)
		n, err := c.Delete(t.Context(), 3, []string{`/a'b"\中`, "/null", "/taped", "/never was"})
		check(t, err)
		if n != 2 {
			t.Errorf("%d deleted", n)
		}
		wantRows(t, p.rows(t, "SELECT backup_set_id, file_path FROM backup_files ORDER BY 1, 2"), "3|/stays", "3|/taped", "4|/null")
	})
}

func files(t testing.TB, p place) {
	t.Helper()
	p.exec(t, "CREATE TABLE backup_files (backup_set_id integer, file_path text, is_copy_success boolean, UNIQUE (backup_set_id, file_path))")
}

func TestATableWithoutTheStateOfTheScanIsNamedWithTheRemedy(t *testing.T) {
	onBoth(t, func(t *testing.T, p place) {
		p.exec(t, "CREATE TABLE backup_sets (id integer PRIMARY KEY, set_id text, set_name text, backup_group text, status text, backup_type text, backup_time text, source_info text)")
		_, err := open(t, p).Begin(t.Context(), Set{ID: 1, Started: start})
		if err == nil || !strings.Contains(err.Error(), "ALTER TABLE backup_sets ADD COLUMN scan_status") {
			t.Errorf("got %v", err)
		}
	})
}

func TestAServerThatIsNotThereIsAnErrorWithoutThePassword(t *testing.T) {
	_, err := Open(t.Context(), "postgres://me:s3cret@127.0.0.1:1/x", "")
	if err == nil || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("got %v", err)
	}
}
