package walk

import (
	"context"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/memdbwriter/memdbwriter/examples/backupscan/internal/mountns"
)

// mount mounts a tmpfs whose source has that name, as a disk would.
func mount(t testing.TB, source, dir string) {
	t.Helper()
	mountns.Mount(t, source, dir, "tmpfs", 0)
}

// entered collects the file systems of a walk, by their paths below dir.
type entered struct {
	mu  sync.Mutex
	dir string
	fs  map[string]string
}

func (e *entered) enter(_ context.Context, path string, fs *FileSystem) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.fs == nil {
		e.fs = make(map[string]string)
	}
	rel, err := filepath.Rel(e.dir, path)
	e.fs[rel] = fs.Source
	return err
}

func TestMounts(t *testing.T) {
	if !mountns.Inside(t) {
		return
	}
	dir := realDir(t)
	tree(t, dir, "host/file", "host/share/", "host/twice/", "host/proc/", "host/orig/sub/x")
	share := filepath.Join(dir, "host", "share")
	mount(t, "diskA", share)
	tree(t, share, "a", "inner/b")
	mountns.Mount(t, dir+"/host/orig", dir+"/host/twice", "", unix.MS_BIND)
	mountns.Mount(t, "proc", dir+"/host/proc", "proc", 0)

	e := &entered{dir: dir}
	w := Walker{Enter: e.enter}
	s, res := walk(t, &w, dir+"/host")
	wantNames(t, s.below(t, dir), "host", "host/file", "host/share", "host/share/a", "host/share/inner", "host/share/inner/b",
		"host/twice", "host/proc", "host/orig", "host/orig/sub", "host/orig/sub/x")
	if len(e.fs) != 2 || e.fs["host/share"] != "diskA" || e.fs["host"] == "" || w.Counts.Mounts.Load() != 2 {
		t.Errorf("entered %v, %d not", e.fs, w.Counts.Mounts.Load())
	}
	slices.SortFunc(res.Skipped, func(a, b Skip) int { return strings.Compare(a.Path, b.Path) })
	if len(res.Skipped) != 2 || !strings.Contains(res.Skipped[0].Reason, "(proc)") || !strings.HasSuffix(res.Skipped[1].Reason, "host/orig") {
		t.Errorf("skipped %v", res.Skipped)
	}
	for path, want := range map[string]string{share: "diskA", share + "/inner": "diskA", share + "/a": "diskA"} {
		if got := s.entries[path].FS; got == nil || got.Source != want || !got.Proven {
			t.Errorf("%s is on %+v", path, got)
		}
	}
	if !s.entries[share].Mounted || s.entries[share+"/inner"].Mounted {
		t.Error("a mount point is not marked, or something else is")
	}

	w = Walker{OneFileSystem: true}
	s, _ = walk(t, &w, dir+"/host")
	wantNames(t, s.below(t, dir), "host", "host/file", "host/share", "host/twice", "host/proc", "host/orig", "host/orig/sub", "host/orig/sub/x")

	w = Walker{} // the original is not in the walk: the bind mount is
	s, _ = walk(t, &w, dir+"/host/twice", share)
	wantNames(t, s.below(t, dir), "host/share", "host/share/a", "host/share/inner", "host/share/inner/b", "host/twice", "host/twice/sub", "host/twice/sub/x")
}

func TestADiskThatIsUnmountedWhileItIsWalked(t *testing.T) {
	if !mountns.Inside(t) {
		return
	}
	dir := realDir(t)
	share := filepath.Join(dir, "share")
	tree(t, dir, "share/", "other/x")
	mount(t, "diskA", share)
	tree(t, share, "a/1", "b/2", "c/3")
	var once sync.Once
	w := Walker{Stats: 1, descriptors: 8, Fault: func(op, path string) error { // none is kept open
		if op == "open" && filepath.Dir(path) == share {
			once.Do(func() { mountns.Unmount(t, share) })
		}
		return nil
	}}
	s, res := walk(t, &w, dir)
	if !slices.Contains(res.Unread, share+"/b") || !slices.Contains(res.Unread, share+"/c") {
		t.Errorf("met %v, unread %v", s.below(t, dir), res.Unread)
	}
}

func TestSameFileSystem(t *testing.T) {
	for _, c := range []struct {
		name string
		a, b FileSystem
		want bool
	}{
		{"all alike", FileSystem{Type: "ext4", Source: "/dev/sda1", Root: "/"}, FileSystem{Type: "ext4", Source: "/dev/sda1", Root: "/"}, true},
		{"a device that was renamed", FileSystem{Type: "ext4", Source: "/dev/sda1", UUID: "u"}, FileSystem{Type: "ext4", Source: "/dev/sdb1", UUID: "u"}, true},
		{"another disk of that name", FileSystem{Type: "ext4", Source: "/dev/sda1", UUID: "u"}, FileSystem{Type: "ext4", Source: "/dev/sda1", UUID: "v"}, false},
		{"a container without UUIDs", FileSystem{Type: "ext4", Source: "/dev/sda1", UUID: "u"}, FileSystem{Type: "ext4", Source: "/dev/sda1"}, true},
		{"another part", FileSystem{Type: "ext4", Source: "d", Root: "/a"}, FileSystem{Type: "ext4", Source: "d", Root: "/b"}, false},
		{"another type", FileSystem{Type: "nfs", Source: "d"}, FileSystem{Type: "cifs", Source: "d"}, false},
	} {
		if got := c.a.Same(c.b); got != c.want || c.b.Same(c.a) != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

func TestWithoutProcTheFileSystemIsUnknown(t *testing.T) {
	fs := new(mountTable).of("/", &Stat{Mount: 1 << 60})
	if fs.Type != "" || fs.Proven || fs.String() != "unknown file system" {
		t.Errorf("got %+v", fs)
	}
}
