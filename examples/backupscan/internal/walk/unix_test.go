//go:build unix

package walk

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
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
	if want := []string{filepath.Join(dir, "listable/sub"), filepath.Join(dir, "locked")}; !slices.Equal(res.Unread, want) {
		t.Errorf("unread %v, want %v", res.Unread, want)
	}
	if w.Counts.Unreadable.Load() != 3 || w.Counts.Entries() != 7 {
		t.Errorf("%d unreadable of %d", w.Counts.Unreadable.Load(), w.Counts.Entries())
	}
}

// Paths longer than the system takes can be made step by step, and a walk must
// neither fail nor stay silent about them.
func TestDeepPaths(t *testing.T) {
	root := realDir(t)
	name := strings.Repeat("d", 200)
	const depth = 25 // 25 * 201 is beyond the 4096 bytes of a path
	at, err := os.OpenRoot(root)
	check(t, err)
	for range depth {
		check(t, at.WriteFile("file", nil, 0o644))
		check(t, at.Mkdir(name, 0o755))
		next, err := at.OpenRoot(name)
		check(t, err)
		check(t, at.Close())
		at = next
	}
	check(t, at.Close())

	var w Walker
	s, res := walk(t, &w, root)
	var longest, failed int
	for path, e := range s.entries {
		switch {
		case e.Err == nil:
			longest = max(longest, len(path))
		case errors.Is(e.Err, unix.ENAMETOOLONG):
			failed++
		default:
			t.Errorf("%d bytes long: %v", len(path), e.Err)
		}
	}
	if longest < 3800 || longest >= 4096 {
		t.Errorf("the longest path met has %d bytes", longest)
	}
	// The last directory that could be listed shows one directory, and
	// perhaps one file, that cannot be looked at.
	if failed < 1 || failed > 2 || len(res.Unread) != 1 || w.Counts.Unreadable.Load() != int64(failed) {
		t.Errorf("%d entries failed, unread: %d", failed, len(res.Unread))
	}
}
