package catalog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
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

func open(t testing.TB, p place) *Catalog {
	t.Helper()
	c, err := Open(context.Background(), Options{URL: p.url, File: p.file, Create: true, Log: slog.New(slog.DiscardHandler)})
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

// begin takes a set in hand and marks it.
func begin(t testing.TB, c *Catalog, s Set) Status {
	t.Helper()
	_, err := c.Acquire(t.Context(), s.ID, 0)
	check(t, err)
	before, err := c.Begin(t.Context(), s)
	check(t, err)
	return before
}

func TestASetIsMadeAndFollowsItsScan(t *testing.T) {
	onBoth(t, func(t *testing.T, p place) {
		c := open(t, p)
		ctx := t.Context()
		const state = `SELECT id, set_id, backup_group, status, backup_type, scan_status, total_files, total_bytes, scan_completed_at IS NULL FROM backup_sets`
		no, yes := "f", "t"
		if p.file != "" {
			no, yes = "0", "1"
		}

		if before := begin(t, c, Set{ID: 7, Started: start, Source: Source{Host: "h", Roots: []string{"/it's"}}}); before != "" {
			t.Errorf("a new set had the status %q", before)
		}
		wantRows(t, p.rows(t, state), "7|2026-02-000007|2026-02|active|full|running|0|0|"+yes)

		check(t, c.Finish(ctx, 7, Completed, start.Add(time.Hour), &Totals{Files: 12, Bytes: 1 << 40}))
		wantRows(t, p.rows(t, state), "7|2026-02-000007|2026-02|active|full|completed|12|1099511627776|"+no)

		if before := begin(t, c, Set{ID: 7, Started: start.AddDate(0, 3, 0), Source: Source{Roots: []string{"/other"}}}); before != Completed {
			t.Errorf("the set had the status %q, want completed", before)
		}
		wantRows(t, p.rows(t, state), "7|2026-02-000007|2026-02|active|full|running|12|1099511627776|"+yes)
		source := p.rows(t, "SELECT source_info FROM backup_sets")
		wantRows(t, []string{strings.ReplaceAll(source[0], " ", "")}, `{"roots":["/other"]}`)

		check(t, c.Finish(ctx, 7, Cancelled, start, nil))
		wantRows(t, p.rows(t, state), "7|2026-02-000007|2026-02|active|full|cancelled|12|1099511627776|"+yes)
	})
}

func TestASetIsInOneHand(t *testing.T) {
	onBoth(t, func(t *testing.T, p place) {
		a, b := open(t, p), open(t, p)
		saved, err := a.Acquire(t.Context(), 3, 0)
		check(t, err)
		check(t, a.Save(t.Context(), 3, saved+" saved"))
		busy := new(BusyError)
		if _, err := b.Acquire(t.Context(), 3, 0); !errors.As(err, &busy) || busy.Owner.PID != os.Getpid() {
			t.Fatalf("got %v", err)
		}
		check(t, a.Release(t.Context(), 3))
		if saved, err := b.Acquire(t.Context(), 3, 0); err != nil || saved != "{} saved" {
			t.Errorf("got %q, %v", saved, err)
		}
		// Whoever has lost the set changes nothing any more.
		_, err = a.Delete(t.Context(), 3, []string{"/x"})
		for _, err := range []error{err, a.Save(t.Context(), 3, "x"), a.Finish(t.Context(), 3, Completed, start, nil), a.Release(t.Context(), 3)} {
			if !errors.Is(err, ErrLost) {
				t.Errorf("got %v", err)
			}
		}
	})
}

func TestASetIsTakenOverFromTheDead(t *testing.T) {
	onBoth(t, func(t *testing.T, p place) {
		c := open(t, p)
		_, err := c.Acquire(t.Context(), 3, 0)
		check(t, err)
		gone := exec.Command("true")
		check(t, gone.Run())
		for _, change := range []string{
			fmt.Sprintf(`owner = replace(owner, '"pid":%d', '"pid":%d')`, os.Getpid(), gone.Process.Pid), // a process that ended
			`owner = replace(owner, '"process":"', '"process":"9')`,                                      // another of its number
			`owner = '{"host":"elsewhere","pid":1}', seen_at = seen_at - 1000`,                           // no sign of life
			`owner = 'nonsense', seen_at = seen_at - 1000`,
		} {
			p.exec(t, "UPDATE backup_scans SET "+change)
			if _, err := c.Acquire(t.Context(), 3, 0); err != nil {
				t.Errorf("%s: %v", change, err)
			}
		}
		p.exec(t, `UPDATE backup_scans SET owner = '{"host":"elsewhere","pid":1}'`)
		if _, err := c.Acquire(t.Context(), 3, 10*time.Millisecond); !errors.As(err, new(*BusyError)) {
			t.Errorf("a living scan of another machine: %v", err)
		}
	})
}

func TestTimesAreStoredInUTC(t *testing.T) {
	onBoth(t, func(t *testing.T, p place) {
		c := open(t, p)
		begin(t, c, Set{ID: 1, Started: start})
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
		_, err := c.Acquire(t.Context(), 3, 0)
		check(t, err)
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
	_, err := Open(t.Context(), Options{URL: "postgres://me:s3cret@127.0.0.1:1/x", Log: slog.New(slog.DiscardHandler)})
	if err == nil || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("got %v", err)
	}
}

func TestTheFileIsForItsOwner(t *testing.T) {
	file := filepath.Join(t.TempDir(), "catalog.db")
	open(t, place{file: file})
	info, err := os.Stat(file)
	check(t, err)
	if runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
}

func TestAFileThatSomebodyElseMayHavePlantedIsRefused(t *testing.T) {
	dir := t.TempDir()
	check(t, os.WriteFile(dir+"/other.db", nil, 0o600))
	check(t, os.Symlink(dir+"/other.db", dir+"/link.db"))
	check(t, os.Link(dir+"/other.db", dir+"/hard.db"))
	check(t, os.Symlink(dir+"/nowhere.db", dir+"/dangling.db"))
	for _, name := range []string{"link.db", "hard.db", "dangling.db"} {
		_, err := Open(t.Context(), Options{File: filepath.Join(dir, name), Create: true, Log: slog.New(slog.DiscardHandler)})
		if err == nil || !strings.Contains(err.Error(), "link") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := os.Stat(dir + "/nowhere.db"); err == nil {
		t.Error("a link was followed")
	}
}

func TestADatabaseWithoutTablesIsNotFilled(t *testing.T) {
	onBoth(t, func(t *testing.T, p place) {
		_, err := Open(t.Context(), Options{URL: p.url, File: p.file, Log: slog.New(slog.DiscardHandler)})
		if !errors.Is(err, ErrNoTables) {
			t.Errorf("got %v", err)
		}
		if p.file == "" {
			wantRows(t, p.rows(t, "SELECT relname FROM pg_class WHERE relname LIKE 'backup%'"))
		}
	})
}

func TestAReplacedFileIsNoticed(t *testing.T) {
	file := filepath.Join(t.TempDir(), "catalog.db")
	c := open(t, place{file: file})
	begin(t, c, Set{ID: 1, Started: start})
	check(t, os.Rename(file, file+".away"))
	if err := c.Finish(t.Context(), 1, Completed, start, nil); !errors.Is(err, ErrReplaced) {
		t.Errorf("moved: %v", err)
	}
	check(t, os.WriteFile(file, nil, 0o600))
	if err := c.Check(); !errors.Is(err, ErrReplaced) {
		t.Errorf("replaced: %v", err)
	}
}
