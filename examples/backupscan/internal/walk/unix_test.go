//go:build unix

package walk

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func mkfifo(t testing.TB, path string) {
	t.Helper()
	check(t, unix.Mkfifo(path, 0o644))
}

// A directory without permission can only be met without the rights of root,
// so the test runs itself again as somebody else when it is root.
func TestADirectoryWithoutPermissionIsListedWithItsError(t *testing.T) {
	const tree = "BACKUPSCAN_TEST_LOCKED_TREE"
	if dir := os.Getenv(tree); dir != "" {
		lockedTree(t, dir)
		return
	}
	dir, err := os.MkdirTemp("/tmp", "backupscan-locked-")
	check(t, err)
	t.Cleanup(func() { check(t, os.RemoveAll(dir)) })
	check(t, os.Chmod(dir, 0o755))
	makeLocked(t, dir)
	if os.Getuid() != 0 {
		t.Cleanup(func() { check(t, os.Chmod(filepath.Join(dir, "tree", "locked"), 0o755)) })
		t.Cleanup(func() { check(t, os.Chmod(filepath.Join(dir, "tree", "listable"), 0o755)) })
		lockedTree(t, filepath.Join(dir, "tree"))
		return
	}
	self, err := os.Executable()
	check(t, err)
	binary, err := os.ReadFile(self)
	check(t, err)
	again := filepath.Join(dir, "walk.test")
	check(t, os.WriteFile(again, binary, 0o755))
	cmd := exec.Command(again, "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Dir = dir
	cmd.Env = []string{tree + "=" + filepath.Join(dir, "tree")}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Errorf("as nobody: %v\n%s", err, out)
	}
}

func makeLocked(t testing.TB, dir string) {
	t.Helper()
	tree(t, filepath.Join(dir, "tree"), "open/file", "locked/hidden", "listable/file", "listable/sub/file")
	check(t, os.Chmod(filepath.Join(dir, "tree", "locked"), 0o000))
	check(t, os.Chmod(filepath.Join(dir, "tree", "listable"), 0o444)) // names, but no lstat
}

func lockedTree(t *testing.T, dir string) {
	var w Walker
	s, res := walk(t, &w, dir)
	wantNames(t, s.below(t, dir), ".", "open", "open/file", "locked", "listable", "listable/file", "listable/sub")
	for _, name := range []string{"locked", "listable/file", "listable/sub"} {
		if e := s.entries[filepath.Join(dir, name)]; !errors.Is(e.Err, os.ErrPermission) {
			t.Errorf("%s has the error %v", name, e.Err)
		}
	}
	if e := s.entries[filepath.Join(dir, "locked")]; e.Type != Directory || e.Owner == "" || e.Stat.Modified.IsZero() {
		t.Errorf("an unreadable directory lost its own metadata: %+v", e)
	}
	slices.Sort(res.Unread)
	if want := []string{dir + "/listable/file", dir + "/listable/sub", dir + "/locked"}; !slices.Equal(slices.Sorted(slices.Values(res.Unread)), want) {
		t.Errorf("unread %v, want %v", res.Unread, want)
	}
	if w.Counts.Unreadable.Load() != 3 || w.Counts.Entries() != 7 {
		t.Errorf("%d unreadable of %d", w.Counts.Unreadable.Load(), w.Counts.Entries())
	}
}

// Paths longer than the system takes can be made step by step, and are walked
// by descriptors, few or many.
func TestDeepPaths(t *testing.T) {
	root := realDir(t)
	const depth = 60 // 60 * 201 is beyond the 4096 bytes of a path
	deepTree(t, root, depth)
	for _, descriptors := range []int{0, 17} {
		w := Walker{descriptors: descriptors, Stats: 3}
		s, res := walk(t, &w, root)
		longest := ""
		for path, e := range s.entries {
			if e.Err != nil {
				t.Errorf("%d bytes long: %v", len(path), e.Err)
			}
			if len(path) > len(longest) {
				longest = path
			}
		}
		if want := len(root) + depth*201; len(longest) != want || len(s.entries) != 2*depth+1 || len(res.Unread) != 0 {
			t.Errorf("%d entries, the longest of %d bytes, want %d", len(s.entries), len(longest), want)
		}
	}
}

// deepTree makes a chain of directories of long names, with a file in each but
// the last.
func deepTree(t testing.TB, root string, depth int) {
	t.Helper()
	at, err := os.OpenRoot(root)
	check(t, err)
	name := strings.Repeat("d", 200)
	for range depth {
		check(t, at.WriteFile("file", nil, 0o644))
		check(t, at.Mkdir(name, 0o755))
		next, err := at.OpenRoot(name)
		check(t, err)
		check(t, at.Close())
		at = next
	}
	check(t, at.Close())
}

// openFiles is how many descriptors the process has.
func openFiles(t testing.TB) int {
	t.Helper()
	names, err := os.ReadDir("/proc/self/fd")
	check(t, err)
	return len(names)
}

func TestDescriptorsAreFewAndGivenBack(t *testing.T) {
	if runtime.GOOS != "linux" {
		return // no /proc to count them in
	}
	dir := realDir(t)
	for i := range 400 {
		tree(t, dir, fmt.Sprintf("%d/%d/%d/x", i%3, i%40, i))
	}
	before := openFiles(t)
	const limit = 128
	var most atomic.Int64
	w := Walker{descriptors: limit, Fault: func(op, path string) error {
		if n := int64(openFiles(t)); n > most.Load() {
			most.Store(n)
		}
		return nil
	}}
	s, _ := walk(t, &w, dir)
	if len(s.entries) != 1+3+120+400+400 {
		t.Errorf("%d entries", len(s.entries))
	}
	if n := most.Load() - int64(before); n > limit/2+8 { // and those of the look into /proc
		t.Errorf("%d descriptors, of which it may take %d", n, limit/2)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	_, err := (&Walker{}).Walk(ctx, []string{dir}, func(context.Context, *Entry) error {
		cancel(errors.New("enough"))
		return nil
	})
	if after := openFiles(t); err == nil || after != before {
		t.Errorf("%d descriptors before, %d after: %v", before, after, err)
	}
}

// A directory whose descriptor was closed is another one when it is opened again.
func TestADirectoryThatIsReplacedAboveIsNotEntered(t *testing.T) {
	dir := tree(t, realDir(t), "other/b/secret", "root/a/b/file", "root/a/c/file")
	var once sync.Once
	w := Walker{descriptors: 1, Fault: func(op, path string) error { // none is kept open
		if op == "open" && strings.HasPrefix(path, dir+"/root/a/") {
			once.Do(func() {
				check(t, os.Rename(dir+"/root/a", dir+"/away"))
				check(t, os.Rename(dir+"/other", dir+"/root/a"))
			})
		}
		return nil
	}}
	s, res := walk(t, &w, dir+"/root")
	if _, met := s.entries[dir+"/root/a/b/secret"]; met {
		t.Error("the walk went into what took the directory's place")
	}
	if len(res.Unread) == 0 || !errors.Is(s.entries[res.Unread[0]].Err, errReplaced) {
		t.Errorf("nothing is said: %v", res.Unread)
	}
}

func TestACallThatIsNotAnsweredDoesNotHoldUpTheEnd(t *testing.T) {
	dir := tree(t, realDir(t), "a/x", "a/hangs", "b/y")
	ctx, cancel := context.WithCancel(t.Context())
	release := make(chan struct{})
	ended := make(chan struct{})
	var s seen
	w := Walker{Stats: 4, Fault: func(op, path string) error {
		if op == "lstat" && filepath.Base(path) == "hangs" {
			cancel()
			<-release
			defer close(ended)
		}
		return nil
	}}
	_, err := w.Walk(ctx, []string{dir}, s.emit)
	if !errors.Is(err, ErrStuck) || !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	calls := s.calls
	close(release)
	<-ended
	if s.calls != calls {
		t.Error("something was emitted after the end")
	}
}

// The names of a network file system whose server has lost the files.
func TestWhatIsListedAndNotFoundIsUnreadable(t *testing.T) {
	dir := tree(t, realDir(t), "good", "bad", "baddir/x", "sub/bad", "sub/gone")
	w := Walker{Fault: func(op, path string) error {
		switch name := filepath.Base(path); {
		case strings.HasPrefix(name, "bad") && strings.HasSuffix(path, "/sub/bad"):
			return &fs.PathError{Op: op, Path: path, Err: syscall.ENOTDIR}
		case strings.HasPrefix(name, "bad"):
			return &fs.PathError{Op: op, Path: path, Err: syscall.ENOENT}
		case name == "gone" && op == "lstat":
			return errors.Join(os.RemoveAll(path), &fs.PathError{Op: op, Path: path, Err: syscall.ENOENT})
		}
		return nil
	}}
	s, res := walk(t, &w, dir)
	wantNames(t, s.below(t, dir), ".", "good", "bad", "baddir", "sub", "sub/bad")
	slices.Sort(res.Unread)
	if want := []string{dir + "/bad", dir + "/baddir", dir + "/sub/bad"}; !slices.Equal(res.Unread, want) || w.Counts.Vanished.Load() != 1 {
		t.Errorf("unread %v, %d vanished", res.Unread, w.Counts.Vanished.Load())
	}
	for _, path := range res.Unread {
		if e := s.entries[path]; !errors.Is(e.Err, errListed) {
			t.Errorf("%s: %v", path, e.Err)
		}
	}
}

// Every further entry would fail alike, and be recorded with the error.
func TestRunningOutOfDescriptorsEndsTheWalk(t *testing.T) {
	dir := tree(t, realDir(t), "a/x", "b/y", "c/z")
	for _, op := range []string{"open", "list"} {
		w := Walker{Fault: func(o, path string) error {
			if o == op && filepath.Base(path) == "b" {
				return &fs.PathError{Op: o, Path: path, Err: syscall.EMFILE}
			}
			return nil
		}}
		var s seen
		_, err := w.Walk(t.Context(), []string{dir}, s.emit)
		if !errors.Is(err, syscall.EMFILE) || !strings.Contains(err.Error(), dir+"/b") {
			t.Errorf("%s: got %v", op, err)
		}
	}
}
