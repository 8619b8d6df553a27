package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/memdbwriter/memdbwriter/examples/backupscan/internal/mountns"
)

// onSQLite is a fresh catalogue in a mount namespace.
func onSQLite(t testing.TB) place {
	t.Helper()
	settle(t)
	file := filepath.Join(realDir(t), "catalog.db")
	return place{url: "sqlite://" + file, sqlite: file}
}

func TestAShareThatIsNotMountedKeepsItsRows(t *testing.T) {
	if !mountns.Inside(t) {
		return
	}
	p := onSQLite(t)
	dir := tree(t, realDir(t), "own/file", "share/")
	share := filepath.Join(dir, "share")
	mountns.Mount(t, "diskA", share, "tmpfs", 0)
	tree(t, share, "a", "b/c", "b/d/e")
	scanned(t, p, dir).want(t, exitOK)
	all := p.paths(t, dir)

	mountns.Unmount(t, share)
	for range 2 { // not mounted twice in a row is no better
		r := scanned(t, p, dir).want(t, exitErrors)
		if r.figure(t, "kept") != "5" || r.figure(t, "gone") != "0" {
			t.Errorf("%s%s", r.out, r.errout)
		}
		wantEqual(t, "paths", p.paths(t, dir), all)
	}
	tree(t, share, "stray") // something was written into the mount point
	check(t, os.Remove(dir+"/own/file"))
	r := scanned(t, p, dir).want(t, exitErrors)
	if r.figure(t, "gone") != "1" || !strings.Contains(r.errout, "kept: "+share+": 5 rows: files were found here in tmpfs diskA; now there is ") {
		t.Errorf("%s%s", r.out, r.errout)
	}

	mountns.Mount(t, "diskA", share, "tmpfs", 0)
	tree(t, share, "a", "b/c", "b/d/e")
	r = scanned(t, p, dir).want(t, exitErrors) // the stray file is hidden and not gone
	if !strings.Contains(r.errout, "kept: "+share+": 1 rows") {
		t.Error(r.errout)
	}
	mountns.Unmount(t, share)
	check(t, os.Remove(share+"/stray"))
	mountns.Mount(t, "diskA", share, "tmpfs", 0)
	tree(t, share, "a", "b/c")
	r = scanned(t, p, "-accept", share, dir).want(t, exitOK)
	if r.figure(t, "gone") != "3" { // stray, b/d, b/d/e
		t.Error(r.out)
	}
	wantEqual(t, "paths", p.paths(t, dir), found(t, dir))
	check(t, os.Remove(share+"/a")) // and from then on absence is believed again
	scanned(t, p, dir).want(t, exitOK)
	wantEqual(t, "paths", p.paths(t, dir), found(t, dir))
}

func TestAReplacedDiskIsAcceptedByAFlag(t *testing.T) {
	if !mountns.Inside(t) {
		return
	}
	p := onSQLite(t)
	dir := realDir(t)
	mountns.Mount(t, "diskA", dir, "tmpfs", 0)
	tree(t, dir, "a", "b/c")
	scanned(t, p, dir).want(t, exitOK)
	mountns.Unmount(t, dir)
	mountns.Mount(t, "diskB", dir, "tmpfs", 0)
	tree(t, dir, "new")
	r := scanned(t, p, dir).want(t, exitErrors)
	wantEqual(t, "paths", p.paths(t, dir), []string{".", "a", "b", "b/c", "new"})
	if !strings.Contains(r.errout, "in tmpfs diskA; now there is tmpfs diskB") {
		t.Error(r.errout)
	}
	scanned(t, p, "-accept", dir, dir).want(t, exitOK)
	wantEqual(t, "paths", p.paths(t, dir), []string{".", "new"})
	check(t, os.Remove(dir+"/new"))
	tree(t, dir, "newer")
	scanned(t, p, dir).want(t, exitOK)
	wantEqual(t, "paths", p.paths(t, dir), []string{".", "newer"})
}

func TestADiskPulledWithItsMountPointKeepsItsRows(t *testing.T) {
	if !mountns.Inside(t) {
		return
	}
	p := onSQLite(t)
	dir := tree(t, realDir(t), "own", "media/disk/")
	mountns.Mount(t, "usb", dir+"/media/disk", "tmpfs", 0)
	tree(t, dir, "media/disk/photo")
	scanned(t, p, dir).want(t, exitOK)
	all := p.paths(t, dir)
	mountns.Unmount(t, dir+"/media/disk")
	check(t, os.Remove(dir+"/media/disk"))
	scanned(t, p, dir).want(t, exitErrors)
	wantEqual(t, "paths", p.paths(t, dir), all)
}

// A scan that died has said what its rows are of before it stored them.
func TestAShareThatIsUnmountedInMidScanKeepsItsRows(t *testing.T) {
	if !mountns.Inside(t) {
		return
	}
	p := onSQLite(t)
	dir := tree(t, realDir(t), "own", "share/")
	share := dir + "/share"
	mountns.Mount(t, "diskA", share, "tmpfs", 0)
	tree(t, share, "a/1", "b/2", "c/3")
	scanned(t, p, dir).want(t, exitOK)
	all := p.paths(t, dir)
	r := faulty(t, p, func(op, path string) error {
		if op == "open" && path == share+"/b" {
			mountns.Unmount(t, share)
		}
		return nil
	}, "-stats", "1", dir)
	if r.code != exitOK && r.code != exitErrors { // with what was open the scan may have seen it all
		t.Errorf("exit code %d\n%s%s", r.code, r.out, r.errout)
	}
	wantEqual(t, "paths", p.paths(t, dir), all)
	scanned(t, p, dir).want(t, exitErrors)
	wantEqual(t, "paths", p.paths(t, dir), all)
}

func TestPseudoFileSystemsAreLeftOut(t *testing.T) {
	if !mountns.Inside(t) {
		return
	}
	p := onSQLite(t)
	dir := tree(t, realDir(t), "own", "proc/", "disk/")
	mountns.Mount(t, "proc", dir+"/proc", "proc", 0)
	mountns.Mount(t, "diskA", dir+"/disk", "tmpfs", 0)
	tree(t, dir, "disk/x")
	r := scanned(t, p, dir).want(t, exitOK)
	wantEqual(t, "paths", p.paths(t, dir), []string{".", "disk", "disk/x", "own", "proc"})
	if r.figure(t, "mounts") != "1" {
		t.Error(r.out)
	}
	scanned(t, p, "-x", dir).want(t, exitOK)
	wantEqual(t, "paths with -x", p.paths(t, dir), []string{".", "disk", "own", "proc"})
}

// File systems keep any number of seconds. One such file, or one owner, does not
// decide over the set.
func TestTimesThatNoColumnCanHave(t *testing.T) {
	if !mountns.Inside(t) {
		return
	}
	p := onSQLite(t)
	dir := realDir(t)
	mountns.Mount(t, "diskA", dir, "tmpfs", 0)
	tree(t, dir, "far", "early", "good")
	for name, seconds := range map[string]int64{"/far": 1 << 40, "/early": -1 << 40} {
		at, err := unix.TimeToTimespec(time.Unix(seconds, 0))
		check(t, err)
		check(t, unix.UtimesNanoAt(unix.AT_FDCWD, dir+name, []unix.Timespec{at, at}, 0))
	}
	for range 2 {
		r := scanned(t, p, dir).want(t, exitOK)
		wantEqual(t, "times", p.rows(t, "SELECT file_name, modified_time, json_extract(file_metadata, '$.times.modified_time') FROM backup_files WHERE file_name IN ('far', 'early') ORDER BY file_name"),
			[]string{"early|NULL|-1099511627776 seconds since 1970", "far|NULL|1099511627776 seconds since 1970"})
		if r.figure(t, "failed") != "0" {
			t.Error(r.out)
		}
	}
	program(t.Context(), "verify", "-db", p.url, dir).want(t, exitOK)
}
