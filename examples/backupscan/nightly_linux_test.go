package main

import (
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/memdbwriter/memdbwriter/examples/backupscan/internal/mountns"
)

// A month of nights: a tree that changes, a share that comes and goes, a file
// that cannot be read, a disk of the catalogue that is full, a catalogue that
// somebody has locked, a scan that is killed. No row of a file that exists is ever
// missing after a scan, and at the end catalogue and tree agree.
func TestThirtyNights(t *testing.T) {
	if !mountns.Inside(t) {
		return
	}
	settle(t)
	small := realDir(t)
	mountns.Mount(t, "small", small, "tmpfs", 0)
	p := place{url: "sqlite://" + small + "/catalog.db", sqlite: small + "/catalog.db"}
	dir := tree(t, realDir(t), append(many(200), "share/", "bad")...)
	share, disk := dir+"/share", realDir(t) // the share's content is that of a directory, mounted there
	tree(t, disk, "docs/a", "docs/b", "photos/c")
	random := rand.New(rand.NewPCG(16, 1))
	mounted := false
	for night := range 30 {
		churn(t, random, dir, night)
		if want := night%7 != 3 && night%7 != 4; want != mounted {
			if mounted = want; want {
				mountns.Mount(t, disk, share, "", unix.MS_BIND)
			} else {
				mountns.Unmount(t, share)
			}
		}
		switch night {
		case 10:
			killed(t, p, dir)
		case 15:
			full(t, small, func() { scanned(t, p, dir) })
		case 20:
			locked(t, p, func() { scanned(t, p, dir).want(t, exitOK) })
		}
		want := exitOK
		if !mounted {
			want = exitErrors
		}
		fault := func(op, path string) error {
			if path == dir+"/bad" && night%5 == 2 {
				want = exitErrors
				return &os.PathError{Op: op, Path: path, Err: syscall.EIO}
			}
			return nil
		}
		if r := faulty(t, p, fault, dir); r.code != want {
			t.Fatalf("night %d: exit code %d, want %d\n%s%s", night, r.code, want, r.out, r.errout)
		}
		rows := p.paths(t, dir)
		for _, path := range found(t, dir) {
			if !slices.Contains(rows, path) {
				t.Errorf("night %d: no row of %s", night, path)
			}
		}
		if !slices.Contains(rows, "share/docs/a") {
			t.Errorf("night %d: the share's rows are gone", night)
		}
	}
	scanned(t, p, dir).want(t, exitOK)
	wantEqual(t, "paths", p.paths(t, dir), found(t, dir))
	program(t.Context(), "verify", "-db", p.url, dir).want(t, exitOK)
}

// churn adds, changes and removes a few files.
func churn(t testing.TB, random *rand.Rand, dir string, night int) {
	t.Helper()
	tree(t, dir, fmt.Sprintf("%d/new%d", random.IntN(10), night))
	names := slices.DeleteFunc(found(t, dir), func(name string) bool {
		return strings.HasPrefix(name, "share") || name == "bad" || !strings.Contains(name, "/")
	})
	check(t, os.Remove(filepath.Join(dir, names[random.IntN(len(names))])))
	name := filepath.Join(dir, names[random.IntN(len(names))])
	if _, err := os.Stat(name); err == nil {
		check(t, os.WriteFile(name, []byte(fmt.Sprint("night", night)), 0o644))
	}
}

// killed runs a scan that is killed in its middle.
func killed(t *testing.T, p place, dir string) {
	t.Helper()
	process := start(t, []string{hangsAt + "=" + dir + "/bad"}, "-quiet", "-db", p.url, dir)
	process.waitFor(t, "hangs now")
	check(t, process.cmd.Process.Kill())
	process.end(t)
}

// full fills a file system while f runs.
func full(t testing.TB, dir string, f func()) {
	t.Helper()
	var st unix.Statfs_t
	check(t, unix.Statfs(dir, &st))
	check(t, unix.Mount("", dir, "", unix.MS_REMOUNT, fmt.Sprintf("size=%d", (st.Blocks-st.Bfree)*uint64(st.Bsize))))
	defer func() { check(t, unix.Mount("", dir, "", unix.MS_REMOUNT, "size=64m")) }()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	select {
	case <-done:
	case <-time.After(time.Second): // it waits for room
		check(t, unix.Mount("", dir, "", unix.MS_REMOUNT, "size=64m"))
		<-done
	}
}

// locked holds SQLite's write lock while f begins.
func locked(t testing.TB, p place, f func()) {
	t.Helper()
	db, err := sql.Open("sqlite", p.sqlite)
	check(t, err)
	db.SetMaxOpenConns(1)
	_, err = db.Exec("BEGIN IMMEDIATE")
	check(t, err)
	released := make(chan error)
	time.AfterFunc(3*time.Second, func() { // longer than a connection waits by itself
		_, err := db.Exec("ROLLBACK")
		released <- errors.Join(err, db.Close())
	})
	f()
	check(t, <-released)
}
