package main

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/memdbwriter/memdbwriter/examples/backupscan/internal/catalog"
	"github.com/memdbwriter/memdbwriter/internal/pgtest"
)

// asProgram makes the test binary be the program, for tests that send signals.
const asProgram = "BACKUPSCAN_TEST_AS_PROGRAM"

// hangsAt names a path that the file system of such a program does not answer for.
const hangsAt = "BACKUPSCAN_TEST_HANGS_AT"

func hang(at string) func(op, path string) error {
	return func(op, path string) error {
		if path == at {
			fmt.Fprintln(os.Stderr, "hangs now")
			select {}
		}
		return nil
	}
}

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		if path := os.Getenv(hangsAt); path != "" {
			faultOfProcess = hang(path)
		}
		main()
	}
	pgtest.Main(m)
}

// place is a fresh catalogue of either kind.
type place struct {
	url    string
	sqlite string // the file; empty for PostgreSQL
	db     *pgtest.DB
}

func onBoth(t *testing.T, test func(t *testing.T, p place)) {
	t.Run("postgres", func(t *testing.T) {
		settle(t)
		db := pgtest.Open(t)
		test(t, place{url: db.URL, db: db})
	})
	t.Run("sqlite", func(t *testing.T) {
		settle(t)
		file := filepath.Join(realDir(t), "catalog.db")
		test(t, place{url: "sqlite:///" + strings.TrimPrefix(filepath.ToSlash(file), "/"), sqlite: file})
	})
}

// settle keeps the environment and the directory of whoever runs the tests out
// of them.
func settle(t testing.TB) {
	t.Helper()
	t.Chdir(t.TempDir())
	for _, v := range os.Environ() {
		name, _, _ := strings.Cut(v, "=")
		if strings.HasPrefix(name, "MEMORY_DB_") || name == "USE_MEMORY_DB" || name == "DATABASE_URL" {
			t.Setenv(name, "")
		}
	}
}

// rows runs a query and returns its rows, the values separated by "|".
func (p place) rows(t testing.TB, query string) (out []string) {
	t.Helper()
	if p.db != nil {
		return p.db.Rows(t, query)
	}
	db, err := sql.Open("sqlite", p.sqlite)
	check(t, err)
	defer func() { check(t, db.Close()) }()
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
		texts := make([]string, len(names))
		for i, v := range values {
			texts[i] = v.String
			if !v.Valid {
				texts[i] = "NULL"
			}
		}
		out = append(out, strings.Join(texts, "|"))
	}
	check(t, rows.Err())
	return out
}

func (p place) exec(t testing.TB, statement string) {
	t.Helper()
	if p.db != nil {
		p.db.Exec(t, statement)
		return
	}
	db, err := sql.Open("sqlite", p.sqlite)
	check(t, err)
	_, err = db.Exec(statement)
	check(t, errors.Join(err, db.Close()))
}

// paths are the paths of set 1 below dir, relative to it, in byte order.
func (p place) paths(t testing.TB, dir string) []string {
	t.Helper()
	var names []string
	for _, path := range p.rows(t, "SELECT file_path FROM backup_files WHERE backup_set_id = 1") {
		rel, err := filepath.Rel(dir, path)
		check(t, err)
		names = append(names, filepath.ToSlash(rel))
	}
	slices.Sort(names)
	return names
}

// versions are all rows with what changes whenever a row is written.
func (p place) versions(t testing.TB) []string {
	t.Helper()
	if p.db != nil {
		return p.rows(t, "SELECT file_path, ctid, xmin, f.* FROM backup_files f ORDER BY id")
	}
	return p.rows(t, "SELECT * FROM backup_files ORDER BY id")
}

func (p place) wantStatus(t testing.TB, want string) {
	t.Helper()
	if got := p.rows(t, "SELECT scan_status FROM backup_sets WHERE id = 1"); !slices.Equal(got, []string{want}) {
		t.Errorf("the set is %q, want %q", got, want)
	}
}

// result is what the program left behind.
type result struct {
	code        int
	out, errout string
}

// figure returns the number of a line of the summary.
func (r result) figure(t testing.TB, name string) string {
	t.Helper()
	for l := range strings.Lines(r.out) {
		if f := strings.Fields(l); len(f) > 1 && f[0] == name {
			return f[1]
		}
	}
	t.Fatalf("no figure %q in\n%s", name, r.out)
	return ""
}

func (r result) want(t testing.TB, code int) result {
	t.Helper()
	if r.code != code {
		t.Fatalf("exit code %d, want %d\n%s%s", r.code, code, r.out, r.errout)
	}
	return r
}

func program(ctx context.Context, args ...string) result {
	var out, errout bytes.Buffer
	code := run(ctx, context.Background(), args, &out, &errout)
	return result{code, out.String(), errout.String()}
}

// scanned runs the program on set 1 of the place.
func scanned(t testing.TB, p place, args ...string) result {
	t.Helper()
	return program(t.Context(), append([]string{"-quiet", "-create", "-db", p.url}, args...)...)
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// realDir is a temporary directory whose path holds no links.
func realDir(t testing.TB) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	check(t, err)
	return dir
}

// tree makes files with their name as content, directories (a trailing slash)
// and links ("name -> target") below dir.
func tree(t testing.TB, dir string, names ...string) string {
	t.Helper()
	for _, name := range names {
		link, target, isLink := strings.Cut(name, " -> ")
		path := filepath.Join(dir, filepath.FromSlash(link))
		check(t, os.MkdirAll(filepath.Dir(path), 0o755))
		switch {
		case isLink:
			check(t, os.Symlink(target, path))
		case strings.HasSuffix(name, "/"):
			check(t, os.MkdirAll(path, 0o755))
		default:
			check(t, os.WriteFile(path, []byte(name), 0o644))
		}
	}
	return dir
}

// found are all paths below dir, as an independent walk sees them.
func found(t testing.TB, dir string) (names []string) {
	t.Helper()
	check(t, filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		rel, relErr := filepath.Rel(dir, path)
		names = append(names, filepath.ToSlash(rel))
		return errors.Join(err, relErr)
	}))
	slices.Sort(names)
	return names
}

func wantEqual(t testing.TB, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s:\n  %s\nwant\n  %s", what, strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

func TestEveryEntryOfATreeBecomesARow(t *testing.T) {
	onBoth(t, func(t *testing.T, p place) {
		dir := tree(t, realDir(t), "a.txt", "sub/b", "sub/deep/er/c", "empty/", "link -> sub", "it's \"quoted\" \\ 中文")
		r := scanned(t, p, dir).want(t, exitOK)
		wantEqual(t, "paths", p.paths(t, dir), found(t, dir))
		p.wantStatus(t, "completed")
		if r.figure(t, "scanned") != "10" || r.figure(t, "stored") != "10" {
			t.Errorf("summary\n%s", r.out)
		}
		wantEqual(t, "types", p.rows(t, "SELECT file_type, count(*) FROM backup_files GROUP BY 1 ORDER BY 1"),
			[]string{"directory|5", "file|4", "symlink|1"})
		var size int
		for _, name := range []string{"a.txt", "sub/b", "sub/deep/er/c", "it's \"quoted\" \\ 中文"} {
			size += len(name)
		}
		wantEqual(t, "totals of the set", p.rows(t, "SELECT total_files, total_bytes FROM backup_sets"), []string{fmt.Sprintf("4|%d", size)})
		wantEqual(t, "sizes", p.rows(t, "SELECT sum(file_size) FROM backup_files WHERE file_type <> 'symlink'"), []string{fmt.Sprint(size)})
	})
}

func TestARowHoldsTheMetadataOfItsFile(t *testing.T) {
	onBoth(t, func(t *testing.T, p place) {
		dir := tree(t, realDir(t), "sub/file.bin")
		path := filepath.Join(dir, "sub", "file.bin")
		check(t, os.Chmod(path, 0o640))
		mtime := time.Date(2001, 2, 3, 4, 5, 6, 789012000, time.FixedZone("", 8*3600))
		check(t, os.Chtimes(path, mtime, mtime))
		scanned(t, p, dir).want(t, exitOK)

		wantEqual(t, "row", p.rows(t, `SELECT file_name, directory_path, display_name, file_type, file_size, file_metadata
			FROM backup_files WHERE file_name = 'file.bin'`), []string{"file.bin|" + filepath.ToSlash(filepath.Dir(path)) + "|file.bin|file|12|NULL"})
		utc := "modified_time"
		if p.db != nil {
			utc = "(modified_time AT TIME ZONE 'UTC')::text || '+00:00'"
		}
		wantEqual(t, "modified", p.rows(t, "SELECT CAST("+utc+" AS TEXT) FROM backup_files WHERE file_name = 'file.bin'"), []string{"2001-02-02 20:05:06.789012+00:00"})
		if runtime.GOOS != "windows" {
			wantEqual(t, "permissions", p.rows(t, "SELECT file_permissions FROM backup_files WHERE file_name = 'file.bin'"), []string{"0640"})
			wantEqual(t, "owner is known", p.rows(t, "SELECT count(file_owner) FROM backup_files WHERE file_owner <> '' AND file_group <> ''"), []string{"3"})
		}
	})
}

func TestASecondScanChangesNothing(t *testing.T) {
	onBoth(t, func(t *testing.T, p place) {
		dir := tree(t, realDir(t), "a", "sub/b", "sub/c -> b", "\xe4\xff.d/f\xe9", "x/")
		scanned(t, p, dir).want(t, exitOK)
		before := p.versions(t)
		r := scanned(t, p, dir).want(t, exitOK)
		wantEqual(t, "rows", p.versions(t), before)
		if r.figure(t, "gone") != "0" || len(before) != 8 {
			t.Errorf("%d rows\n%s", len(before), r.out)
		}
	})
}

func TestAScanAfterChangesUpdatesJustThose(t *testing.T) {
	onBoth(t, func(t *testing.T, p place) {
		dir := tree(t, realDir(t), "stays/a", "grows/b", "gone/c", "gone/sub/d", "turns", "caf\xe9/x")
		scanned(t, p, dir).want(t, exitOK)
		before := p.versions(t)

		check(t, os.WriteFile(filepath.Join(dir, "grows", "b"), make([]byte, 1000), 0o644))
		check(t, os.RemoveAll(filepath.Join(dir, "gone")))
		check(t, os.Remove(filepath.Join(dir, "turns")))
		check(t, os.RemoveAll(filepath.Join(dir, "caf\xe9")))
		tree(t, dir, "turns/e", "new/f")
		r := scanned(t, p, dir).want(t, exitOK)

		wantEqual(t, "paths", p.paths(t, dir), found(t, dir))
		if r.figure(t, "gone") != "6" { // gone, gone/c, gone/sub, gone/sub/d, caf?, caf?/x
			t.Errorf("summary\n%s", r.out)
		}
		wantEqual(t, "what grew and what turned", p.rows(t, `SELECT file_type, file_size FROM backup_files
			WHERE file_name IN ('b', 'turns') ORDER BY file_name`), []string{"file|1000", "directory|0"})
		after := p.versions(t)
		for _, row := range before {
			unchanged := strings.Contains(row, "/stays")
			if unchanged && !slices.Contains(after, row) {
				t.Errorf("rewritten without a change: %s", row)
			}
		}
	})
}

func TestWhatIsOnTapeStays(t *testing.T) {
	onBoth(t, func(t *testing.T, p place) {
		dir := tree(t, realDir(t), "taped", "other")
		scanned(t, p, dir).want(t, exitOK)
		p.exec(t, "UPDATE backup_files SET is_copy_success = TRUE, chunk_number = 5 WHERE file_name = 'taped'")
		check(t, os.Remove(filepath.Join(dir, "taped")))
		r := scanned(t, p, dir).want(t, exitOK)
		wantEqual(t, "paths", p.paths(t, dir), []string{".", "other", "taped"})
		if r.figure(t, "kept") != "1" || r.figure(t, "gone") != "0" {
			t.Errorf("summary\n%s", r.out)
		}
	})
}

func TestWhatIsExcludedLaterLeavesTheSet(t *testing.T) {
	onBoth(t, func(t *testing.T, p place) {
		dir := tree(t, realDir(t), "keep", "note.tmp", "cache/x", "cache/y/z")
		scanned(t, p, dir).want(t, exitOK)
		r := scanned(t, p, "-exclude", "*.tmp", "-exclude", "*/cache/*", dir).want(t, exitOK)
		wantEqual(t, "paths", p.paths(t, dir), []string{".", "cache", "keep"})
		if r.figure(t, "left") != "out" || !strings.Contains(r.out, "left out    4 ") || r.figure(t, "gone") != "0" || r.figure(t, "excluded") != "2" {
			t.Errorf("summary\n%s", r.out)
		}
	})
}

func TestRowsOutsideTheRootsAndOfOtherSetsStay(t *testing.T) {
	onBoth(t, func(t *testing.T, p place) {
		dir := tree(t, realDir(t), "one/a", "two/b", "twofold/c")
		scanned(t, p, filepath.Join(dir, "one"), filepath.Join(dir, "two"), filepath.Join(dir, "twofold")).want(t, exitOK)
		scanned(t, p, "-set", "2", filepath.Join(dir, "two")).want(t, exitOK)
		check(t, os.Remove(filepath.Join(dir, "two", "b")))
		tree(t, dir, "two/new")
		r := scanned(t, p, filepath.Join(dir, "two")).want(t, exitOK)
		wantEqual(t, "paths", p.paths(t, dir), []string{"one", "one/a", "two", "two/new", "twofold", "twofold/c"})
		if r.figure(t, "kept") != "4" || r.figure(t, "gone") != "1" {
			t.Errorf("summary\n%s", r.out)
		}
		wantEqual(t, "set 2", p.rows(t, "SELECT count(*) FROM backup_files WHERE backup_set_id = 2"), []string{"2"})
	})
}

func TestARootThatIsSuddenlyEmptyEmptiesNoSet(t *testing.T) {
	onBoth(t, func(t *testing.T, p place) {
		dir := tree(t, realDir(t), "mnt/a", "mnt/b/c")
		mnt := filepath.Join(dir, "mnt")
		scanned(t, p, mnt).want(t, exitOK)
		check(t, os.RemoveAll(mnt))
		check(t, os.Mkdir(mnt, 0o755))
		for _, name := range []string{"", "lost+found"} { // that of a disk that was made anew
			check(t, os.MkdirAll(filepath.Join(mnt, name), 0o755))
			r := scanned(t, p, mnt).want(t, exitErrors)
			p.wantStatus(t, "completed_errors")
			if r.figure(t, "kept") != "3" || !strings.Contains(r.errout, "kept: "+mnt+": 3 rows: nothing is in it now: is it mounted?") {
				t.Errorf("%s%s", r.out, r.errout)
			}
		}
		wantEqual(t, "paths", p.paths(t, dir), []string{"mnt", "mnt/a", "mnt/b", "mnt/b/c", "mnt/lost+found"})
		r := scanned(t, p, "-accept", mnt, mnt).want(t, exitOK)
		wantEqual(t, "paths", p.paths(t, dir), []string{"mnt", "mnt/lost+found"})
		if r.figure(t, "gone") != "3" {
			t.Errorf("summary\n%s", r.out)
		}
	})
}

func TestNamesThatAreNotUTF8AreStoredEscaped(t *testing.T) {
	if runtime.GOOS != "linux" {
		return // elsewhere the file system refuses such names
	}
	onBoth(t, func(t *testing.T, p place) {
		dir := tree(t, realDir(t), "gbk-\xd6\xd0", "d\xff/x", `lit\xFF`)
		scanned(t, p, dir).want(t, exitOK)
		wantEqual(t, "paths", p.paths(t, dir), []string{".", `d\xFF`, `d\xFF/x`, `gbk-\xD6\xD0`, `lit\x5CxFF`})
	})
}

func TestAnInterruptKeepsWhatWasFound(t *testing.T) {
	onBoth(t, func(t *testing.T, p place) {
		var names []string
		for i := range 400 {
			names = append(names, fmt.Sprintf("%d/%d", i%20, i))
		}
		dir := tree(t, realDir(t), names...)
		scanned(t, p, filepath.Join(dir, "0")).want(t, exitOK)
		check(t, os.Remove(filepath.Join(dir, "0", "0")))

		o, err := parse([]string{"-quiet", "-create", "-db", p.url, "-stats", "1", dir}, nil)
		check(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		var mu sync.Mutex
		met := 0
		o.entry = func(string) {
			mu.Lock()
			defer mu.Unlock()
			if met++; met == 100 {
				cancel()
			}
		}
		var out, errout bytes.Buffer
		code, err := o.scan(ctx, &out, &errout)
		r := result{code, out.String(), errout.String()}.want(t, interrupted)
		check(t, err)
		p.wantStatus(t, "cancelled")
		if !strings.Contains(r.errout, "interrupted") {
			t.Errorf("no word about the interrupt: %s", r.errout)
		}
		rows := p.paths(t, dir)
		if len(rows) < 100 || len(rows) > 300 {
			t.Errorf("%d rows after an interrupt at the 100th entry", len(rows))
		}
		if r.figure(t, "scanned") != r.figure(t, "stored") {
			t.Errorf("something found was not stored\n%s", r.out)
		}
		if !slices.Contains(rows, "0/0") {
			t.Error("an incomplete scan removed a row")
		}

		scanned(t, p, dir).want(t, exitOK)
		wantEqual(t, "paths", p.paths(t, dir), found(t, dir))
		p.wantStatus(t, "completed")
	})
}

// One row does not decide over the set: what is gone is removed all the same.
func TestARefusedRowIsNamedAndTheRestIsExact(t *testing.T) {
	settle(t)
	db := pgtest.Open(t)
	p := place{url: db.URL, db: db}
	dir := tree(t, realDir(t), "good", "gone")
	scanned(t, p, dir).want(t, exitOK)
	check(t, os.Remove(filepath.Join(dir, "gone")))
	tree(t, dir, "bad", "fine")
	p.exec(t, "ALTER TABLE backup_files ADD CONSTRAINT no_bad CHECK (file_name <> 'bad')")

	r := scanned(t, p, dir).want(t, exitErrors)
	p.wantStatus(t, "completed_errors")
	wantEqual(t, "paths", p.paths(t, dir), []string{".", "fine", "good"})
	if r.figure(t, "failed") != "1" || r.figure(t, "stored") != "3" || !strings.Contains(r.errout, "not stored: "+filepath.Join(dir, "bad")+": ") ||
		!strings.Contains(r.errout, "no_bad") || r.figure(t, "gone") != "1" {
		t.Errorf("%s%s", r.out, r.errout)
	}
}

func TestCompatibilityModeStoresTheSame(t *testing.T) {
	onBoth(t, func(t *testing.T, p place) {
		t.Setenv("USE_MEMORY_DB", "False")
		dir := tree(t, realDir(t), "a", "sub/b", "sub/c -> b")
		scanned(t, p, dir).want(t, exitOK)
		wantEqual(t, "paths", p.paths(t, dir), found(t, dir))
		p.wantStatus(t, "completed")
	})
}

func TestAFileAndOverlappingRootsAreStoredOnce(t *testing.T) {
	onBoth(t, func(t *testing.T, p place) {
		dir := tree(t, realDir(t), "a/x", "a/y", "file", "unscanned")
		r := scanned(t, p, filepath.Join(dir, "file"), filepath.Join(dir, "a"), filepath.Join(dir, "a", "x"), dir+"/a/").want(t, exitOK)
		wantEqual(t, "paths", p.paths(t, dir), []string{"a", "a/x", "a/y", "file"})
		if r.figure(t, "scanned") != "4" {
			t.Errorf("summary\n%s", r.out)
		}
	})
}

func TestAnEmptyDirectoryIsOneRow(t *testing.T) {
	onBoth(t, func(t *testing.T, p place) {
		dir := realDir(t)
		scanned(t, p, dir).want(t, exitOK)
		wantEqual(t, "paths", p.paths(t, dir), []string{"."})
		p.wantStatus(t, "completed")
	})
}

// Nobody scans nothing: such a pattern is a slip of the pen, and would empty the
// set.
func TestAPatternThatLeavesOutARootIsWrongUsage(t *testing.T) {
	onBoth(t, func(t *testing.T, p place) {
		dir := tree(t, realDir(t), "a/x")
		scanned(t, p, dir+"/a").want(t, exitOK)
		for _, pattern := range []string{"*", dir, dir + "/*", "/*/*"} {
			r := scanned(t, p, "-exclude", pattern, dir+"/a").want(t, exitUsage)
			if !strings.Contains(r.errout, fmt.Sprintf("%q leaves out all of", pattern)) {
				t.Error(r.errout)
			}
		}
		wantEqual(t, "paths", p.paths(t, dir), []string{"a", "a/x"})
	})
}

func TestTheCatalogueDoesNotListItself(t *testing.T) {
	settle(t)
	dir := tree(t, realDir(t), "data")
	t.Chdir(dir)
	for range 2 {
		program(t.Context(), "-quiet", ".").want(t, exitOK)
	}
	p := place{sqlite: filepath.Join(dir, "catalog.db")}
	wantEqual(t, "paths", p.paths(t, dir), []string{".", "data"})
}

func TestSettingsComeFromTheEnvFile(t *testing.T) {
	settle(t)
	dir := tree(t, realDir(t), "data")
	t.Chdir(realDir(t))
	check(t, os.WriteFile(".env", []byte("MEMORY_DB_DATABASE_URL=sqlite:other.db\n"), 0o644))
	r := program(t.Context(), "-quiet", dir).want(t, exitFailed)
	if !strings.Contains(r.errout, "-create") {
		t.Error(r.errout)
	}
	r = program(t.Context(), "-quiet", "-create", dir).want(t, exitOK)
	if _, err := os.Stat("other.db"); err != nil || !strings.Contains(r.errout, "MEMORY_DB_DATABASE_URL in the file .env") {
		t.Error(err, r.errout)
	}
	check(t, os.WriteFile(".env", []byte("MEMORY_DB_SYNC_BATCH_SIZE=many\n"), 0o644))
	r = program(t.Context(), "-quiet", dir).want(t, exitUsage)
	if !strings.Contains(r.errout, "MEMORY_DB_SYNC_BATCH_SIZE") {
		t.Errorf("got %s", r.errout)
	}
	check(t, os.WriteFile(".env", []byte("no line\nDATABASE_URL=postgres://joe:secret@h/db\n"), 0o600))
	r = program(t.Context(), "-quiet", dir).want(t, exitUsage)
	if !strings.Contains(r.errout, ".env") || strings.Contains(r.errout, "secret") {
		t.Errorf("got %s", r.errout)
	}
}

func TestWrongUsageTouchesNothing(t *testing.T) {
	settle(t)
	dir := realDir(t)
	for _, c := range []struct {
		name string
		args []string
		want string
	}{
		{"no directory", nil, "no directory to scan"},
		{"a missing directory", []string{dir, dir + "/gone"}, "cannot scan " + dir + "/gone: no such file"},
		{"a bad pattern", []string{"-exclude", "*/[", dir}, `"*/["`},
		{"an empty pattern", []string{"-exclude", "*.o", "-exclude", "", dir}, `"": is empty`},
		{"an unknown flag", []string{"-frobnicate", dir}, "-frobnicate"},
		{"a flag behind the directory", []string{dir, "-quiet"}, "flags come before"},
		{"a bad set", []string{"-set", "0", dir}, "-set 0"},
		{"no number", []string{"-set", "x", dir}, `"x"`},
		{"a huge set", []string{"-set", "2147483648", dir}, "-set 2147483648"},
		{"no stat goroutines", []string{"-stats", "0", dir}, "-stats 0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := program(t.Context(), c.args...).want(t, exitUsage)
			if !strings.Contains(r.errout, c.want) || r.out != "" {
				t.Errorf("got %s%s", r.out, r.errout)
			}
			if _, err := os.Stat("catalog.db"); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("a catalogue was made: %v", err)
			}
		})
	}
}

func TestHelp(t *testing.T) {
	r := program(t.Context(), "-h").want(t, exitOK)
	for _, want := range []string{"usage: backupscan [flags] DIR...", "-db URL", "-exclude pattern", "MEMORY_DB_"} {
		if !strings.Contains(r.out, want) || r.errout != "" {
			t.Errorf("%q is not in\n%s", want, r.out)
		}
	}
}

func TestACatalogueThatIsNotThereIsSaidWithoutThePassword(t *testing.T) {
	settle(t)
	r := program(t.Context(), "-quiet", "-db", "postgres://me:s3cret@127.0.0.1:1/x", realDir(t)).want(t, exitFailed)
	if r.errout == "" || strings.Contains(r.errout, "s3cret") || r.out != "" {
		t.Errorf("got %s%s", r.out, r.errout)
	}
}

func TestBelow(t *testing.T) {
	for _, c := range []struct {
		path, dir string
		want      bool
	}{
		{"/a", "/a", true},
		{"/a/b/c", "/a", true},
		{"/ab", "/a", false},
		{"/a", "/a/b", false},
		{"/a/b", "/", true},
		{"/", "/", true},
		{"C:/x/y", "C:/", true},
		{"C:/x/y", "C:/x", true},
		{"C:/x/y", "D:/", false},
	} {
		if got := below(c.path, map[string]bool{c.dir: true}); got != c.want {
			t.Errorf("below(%q, %q) = %v", c.path, c.dir, got)
		}
	}
}

func TestKnownRows(t *testing.T) {
	for _, n := range []int{0, 1, 5, 5000} {
		var k known
		k.reset()
		for i := range n {
			k.add(&catalog.Row{Path: fmt.Sprintf("/%d", i*2), Size: int64(i), Copied: i%5 == 0})
		}
		k.sort()
		for i := range 2*n + 10 {
			path := fmt.Sprintf("/%d", i)
			want := i%2 == 0 && i < 2*n
			if k.has(path) != want || k.unmet(path) != want {
				t.Fatalf("of %d: has(/%d) = %v, unmet %v", n, i, k.has(path), k.unmet(path))
			}
			value, there := k.meet(path)
			if there != want || there && (value == copied) != (i/2%5 == 0) || k.unmet(path) {
				t.Fatalf("of %d: meet(/%d) = %v, unmet %v", n, i, there, k.unmet(path))
			}
		}
		if k.rest() != 0 || k.count() != int64(n) {
			t.Errorf("%d of %d left", k.rest(), k.count())
		}
	}
}
