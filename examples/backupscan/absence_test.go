package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
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
