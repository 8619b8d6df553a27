package main

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/memdbwriter/memdbwriter"
	"github.com/memdbwriter/memdbwriter/examples/backupscan/internal/catalog"
	"github.com/memdbwriter/memdbwriter/examples/backupscan/internal/walk"
	"github.com/memdbwriter/memdbwriter/internal/pgtest"
)

// faulty runs the program on set 1 with faults of the file system.
func faulty(t testing.TB, p place, fault func(op, path string) error, args ...string) result {
	t.Helper()
	return seamed(t, p, func(o *options) { o.fault = fault }, args...)
}

// seamed runs the program on set 1 with its seams set.
func seamed(t testing.TB, p place, set func(*options), args ...string) result {
	t.Helper()
	o, err := parse(append([]string{"-quiet", "-create", "-db", p.url}, args...), nil)
	check(t, err)
	set(o)
	var out, errout bytes.Buffer
	code, err := o.scan(t.Context(), &out, &errout)
	if err != nil {
		say(&errout, err)
	}
	return result{code, out.String(), errout.String()}
}

func many(n int) (names []string) {
	for i := range n {
		names = append(names, fmt.Sprintf("%d/%d", i%10, i))
	}
	return names
}

func TestRemovingManyRowsNeedsAFlag(t *testing.T) {
	onBoth(t, func(t *testing.T, p place) {
		dir := tree(t, realDir(t), many(1200)...)
		scanned(t, p, dir).want(t, exitOK)
		for i := range 10 {
			if i != 3 {
				check(t, os.RemoveAll(filepath.Join(dir, fmt.Sprint(i))))
			}
		}
		tree(t, dir, "new")
		r := scanned(t, p, dir).want(t, exitTooMany)
		if r.figure(t, "gone") != "0" || !strings.Contains(r.out, "too many    1,089 ") || !strings.Contains(r.out, "of 1,211; NOT removed") {
			t.Error(r.out)
		}
		if n := len(p.paths(t, dir)); n != 1212 {
			t.Errorf("%d rows", n)
		}
		p.wantStatus(t, "completed_errors")
		r = scanned(t, p, "-remove-many", dir).want(t, exitOK)
		wantEqual(t, "paths", p.paths(t, dir), found(t, dir))
		if r.figure(t, "gone") != "1,089" {
			t.Error(r.out)
		}
	})
}

func TestAPartialScanLeavesTheTotalsOfTheSet(t *testing.T) {
	onBoth(t, func(t *testing.T, p place) {
		dir := tree(t, realDir(t), "a/one", "b/three", "b/four")
		scanned(t, p, dir).want(t, exitOK)
		scanned(t, p, dir+"/a").want(t, exitOK)
		wantEqual(t, "totals", p.rows(t, "SELECT total_files, total_bytes FROM backup_sets WHERE id = 1"),
			[]string{fmt.Sprintf("3|%d", len("a/one"+"b/three"+"b/four"))})
	})
}

func TestWhatIsNotKnownNowKeepsItsValue(t *testing.T) {
	onBoth(t, func(t *testing.T, p place) {
		dir := tree(t, realDir(t), "good", "bad", "dir/x", "caf\xe9")
		check(t, os.Chtimes(dir+"/bad", time.Unix(1e9, 0), time.Unix(1e9, 123456000)))
		scanned(t, p, dir).want(t, exitOK)
		const facts = `SELECT file_path, file_type, file_size, file_permissions, file_owner, file_group, modified_time, created_time FROM backup_files ORDER BY file_path`
		before := p.rows(t, facts)
		fault := func(op, path string) error {
			switch filepath.Base(path) {
			case "bad", "dir", "caf\xe9":
				return &fs.PathError{Op: op, Path: path, Err: syscall.EIO}
			}
			return nil
		}
		r := faulty(t, p, fault, dir).want(t, exitErrors)
		p.wantStatus(t, "completed_errors")
		wantEqual(t, "rows", p.rows(t, facts), before)
		wantEqual(t, "errors", p.rows(t, "SELECT count(*) FROM backup_files WHERE CAST(file_metadata AS text) LIKE '%input/output error%'"), []string{"3"})
		if r.figure(t, "unreadable") != "3" || r.figure(t, "kept") != "1" { // dir/x
			t.Error(r.out)
		}
		versions := p.versions(t)
		faulty(t, p, fault, dir).want(t, exitErrors)
		wantEqual(t, "rows after the same again", p.versions(t), versions)
		scanned(t, p, dir).want(t, exitOK)
		wantEqual(t, "rows", p.rows(t, facts), before)
		wantEqual(t, "errors", p.rows(t, "SELECT count(*) FROM backup_files WHERE CAST(file_metadata AS text) LIKE '%error%'"), []string{"0"})
	})
}

// A network file system that lists what it does not find has not lost it.
func TestWhatIsListedAndNotFoundStays(t *testing.T) {
	onBoth(t, func(t *testing.T, p place) {
		dir := tree(t, realDir(t), "a", "b/c", "b/d")
		scanned(t, p, dir).want(t, exitOK)
		all := p.paths(t, dir)
		r := faulty(t, p, func(op, path string) error {
			if path == dir+"/a" || path == dir+"/b" {
				return &fs.PathError{Op: op, Path: path, Err: syscall.ENOENT}
			}
			return nil
		}, dir).want(t, exitErrors)
		wantEqual(t, "paths", p.paths(t, dir), all)
		if r.figure(t, "vanished") != "0" || r.figure(t, "unreadable") != "2" {
			t.Error(r.out)
		}
	})
}

func TestRunningOutOfDescriptorsFailsTheScan(t *testing.T) {
	onBoth(t, func(t *testing.T, p place) {
		dir := tree(t, realDir(t), "a/x", "b/y")
		scanned(t, p, dir).want(t, exitOK)
		all := p.paths(t, dir)
		r := faulty(t, p, func(op, path string) error {
			if op == "open" && path == dir+"/b" {
				return &fs.PathError{Op: op, Path: path, Err: syscall.EMFILE}
			}
			return nil
		}, dir).want(t, exitFailed)
		p.wantStatus(t, "failed")
		wantEqual(t, "paths", p.paths(t, dir), all)
		if !strings.Contains(r.errout, "too many open files") {
			t.Error(r.errout)
		}
	})
}

func TestASetHasOneScanAtATime(t *testing.T) {
	onBoth(t, func(t *testing.T, p place) {
		dir := tree(t, realDir(t), "a", "b")
		var once sync.Once
		var waiting sync.WaitGroup
		first := seamed(t, p, func(o *options) {
			o.entry = func(string) {
				once.Do(func() {
					r := scanned(t, p, dir).want(t, exitBusy)
					if !strings.Contains(r.errout, fmt.Sprintf("being scanned by process %d on ", os.Getpid())) || r.out != "" {
						t.Errorf("%s%s", r.out, r.errout)
					}
					scanned(t, p, "-set", "2", dir).want(t, exitOK)
					waiting.Go(func() { scanned(t, p, "-wait", "1m", dir).want(t, exitOK) })
				})
			}
		}, dir)
		first.want(t, exitOK)
		waiting.Wait()
		wantEqual(t, "paths", p.paths(t, dir), found(t, dir))
		p.wantStatus(t, "completed")
	})
}

func TestScansThatStartTogetherMakeTheTablesOnce(t *testing.T) {
	onBoth(t, func(t *testing.T, p place) {
		dir := tree(t, realDir(t), "a", "b")
		var all sync.WaitGroup
		for set := range 3 {
			all.Go(func() {
				scanned(t, p, "-set", fmt.Sprint(set+1), dir).want(t, exitOK)
			})
		}
		all.Wait()
		wantEqual(t, "rows", p.rows(t, "SELECT count(*) FROM backup_files"), []string{"9"})
	})
}

func TestAnOwnerWhoseNameIsNotUTF8(t *testing.T) {
	e := &walk.Entry{Path: "/x", Type: walk.File, Owner: "J\xf6rg", Group: "m\xe4n", Stat: walk.Stat{Owned: true, Allocated: -1}}
	onBoth(t, func(t *testing.T, p place) {
		dest, err := memdbwriter.OpenDestination(t.Context(), p.url)
		check(t, err)
		w, err := memdbwriter.New(t.Context(), memdbwriter.BackupFiles(1, memdbwriter.CreateTable()), dest, memdbwriter.Config{})
		check(t, err)
		f := row(e)
		check(t, w.Add(t.Context(), f))
		check(t, w.Stop(t.Context()))
		check(t, dest.Close())
		wantEqual(t, "owner", p.rows(t, "SELECT file_owner, file_group FROM backup_files"), []string{`J\xF6rg|m\xE4n`})
		c, err := catalog.OpenToRead(t.Context(), catalog.Options{URL: p.url, File: p.sqlite})
		check(t, err)
		var k known
		check(t, c.Rows(t.Context(), 1, k.reset, k.add))
		check(t, c.Close())
		k.sort()
		if value, there := k.meet("/x"); !there || value != valueOf(facts(&f)) {
			t.Error("the row is taken for changed")
		}
		old := &catalog.Row{Owner: `J\xF6rg`, Group: "g", Metadata: `{"created":"ctime"}`}
		remember(&f, old)
		if f.Owner != "J\xf6rg" {
			t.Errorf("remembered as %q", f.Owner)
		}
	})
}

// A path that the catalogue's index cannot take is one row that fails, every
// night, and nothing else.
func TestAPathThatTheIndexCannotTakeIsOneFailedRow(t *testing.T) {
	settle(t)
	db := pgtest.Open(t)
	p := place{url: db.URL, db: db}
	t.Setenv("MEMORY_DB_CHECKPOINT_DIR", realDir(t))
	root := tree(t, realDir(t), "good", "goes")
	at, err := os.OpenRoot(root)
	check(t, err)
	for range 15 { // of 15 * 201 bytes that cannot be compressed
		name := rand.Text() + rand.Text() + rand.Text() + rand.Text() + rand.Text() + rand.Text() + rand.Text()
		check(t, at.Mkdir(name, 0o755))
		next, err := at.OpenRoot(name)
		check(t, errors.Join(err, at.Close()))
		at = next
	}
	check(t, at.Close())
	for night := range 3 {
		r := scanned(t, p, root).want(t, exitErrors)
		if n := r.figure(t, "failed"); n == "0" || !strings.Contains(r.errout, "not stored: "+root) {
			t.Errorf("night %d: %s%s", night, r.out, r.errout)
		}
		if night == 0 {
			check(t, os.Remove(root+"/goes"))
		} else if slices.Contains(p.paths(t, root), "goes") {
			t.Error("nothing is pruned any more")
		}
	}
	r := scanned(t, p, root+"/good").want(t, exitOK) // a scan that does not meet them
	if r.figure(t, "failed") != "0" {
		t.Error(r.out)
	}
	scanned(t, p, "-set", "2", root+"/good").want(t, exitOK)
}
