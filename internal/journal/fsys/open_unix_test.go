//go:build unix

package fsys

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func write(t *testing.T, path string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte("precious"), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil { // whatever the umask is
		t.Fatal(err)
	}
}

// foreign gives a file to another user, which only root can.
func foreign(t *testing.T, path string) (done bool) {
	t.Helper()
	if os.Geteuid() != 0 {
		return false
	}
	if err := os.Lchown(path, 65534, -1); err != nil {
		t.Fatal(err)
	}
	return true
}

func TestOpenTakesOnlyWhatIsOurs(t *testing.T) {
	dir := t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	write(t, file("ours"), 0o644)
	write(t, file("target"), 0o600)
	if err := os.Symlink(file("target"), file("link")); err != nil {
		t.Fatal(err)
	}
	write(t, file("two"), 0o600)
	if err := os.Link(file("two"), file("names")); err != nil {
		t.Fatal(err)
	}
	write(t, file("group"), 0o660)
	write(t, file("world"), 0o602)
	write(t, file("theirs"), 0o600)
	isTheirs := foreign(t, file("theirs"))
	if err := syscall.Mkfifo(file("fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(file("folder"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name        string
		read, write string // what the errors say; "": none
		trusted     string // when it is opened for writing
	}{
		{"ours", "", "", ""},
		{"link", "symbolic link", "symbolic link", "symbolic link"},
		{"two", "", "another name", "another name"},
		{"group", "others may write", "others may write", ""},
		{"world", "others may write", "others may write", ""},
		{"theirs", "belongs to user 65534", "belongs to user 65534", ""},
		{"fifo", "not a regular file", "not a regular file", "not a regular file"},
		{"folder", "not a regular file", "directory", "directory"},
	} {
		if c.name == "theirs" && !isTheirs {
			continue
		}
		for _, try := range []struct {
			flag  int
			trust bool
			want  string
		}{{os.O_RDONLY, false, c.read}, {os.O_RDWR, false, c.write}, {os.O_RDWR | os.O_CREATE, true, c.trusted}} {
			f, err := Open(file(c.name), try.flag, 0o600, try.trust)
			if err == nil {
				f.Close()
			}
			text := "too many levels of symbolic links" // what systems say of a link
			if err != nil {
				text = strings.Replace(err.Error(), text, "symbolic link", 1)
			}
			if (err == nil) != (try.want == "") || err != nil && (!strings.Contains(text, try.want) || !strings.Contains(text, file(c.name))) {
				t.Errorf("%s, flags %#x, trust %v: %v, want %q", c.name, try.flag, try.trust, err, try.want)
			}
		}
	}
}

// A directory that others may write to is used as it is, by one of ours in it.
func TestPrivateDir(t *testing.T) {
	root := t.TempDir()
	in := func(elements ...string) string { return filepath.Join(append([]string{root}, elements...)...) }
	open := func(name string, mode os.FileMode) string {
		t.Helper()
		if err := os.Mkdir(in(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(in(name), mode); err != nil {
			t.Fatal(err)
		}
		return in(name)
	}
	private := func(name string) string {
		t.Helper()
		dir, err := PrivateDir(OS, name, true, false)
		if err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(dir)
		if err != nil || !info.IsDir() || info.Mode().Perm()&0o022 != 0 {
			t.Errorf("%s: %v, %v", dir, info, err)
		}
		if again, err := PrivateDir(OS, name, true, false); err != nil || again != dir {
			t.Errorf("then %s, %v; first %s", again, err, dir)
		}
		return dir
	}
	if dir := private(in("made", "with", "parents")); dir != in("made", "with", "parents") {
		t.Errorf("a new one: %s", dir)
	}
	if dir := private(open("ours", 0o755)); dir != in("ours") {
		t.Errorf("one of ours: %s", dir)
	}
	for name, mode := range map[string]os.FileMode{"emptyDir": 0o777, "fsGroup": os.ModeSetgid | 0o775, "tmp": os.ModeSticky | 0o777} {
		parent := open(name, mode)
		if dir, err := PrivateDir(OS, parent, false, false); dir != "" || err != nil {
			t.Errorf("%s before anything was made: %s, %v", name, dir, err)
		}
		if dir := private(parent); filepath.Dir(dir) != parent {
			t.Errorf("%s: %s", name, dir)
		}
		if dir, err := PrivateDir(OS, parent, false, true); dir != parent || err != nil {
			t.Errorf("%s, trusted: %s, %v", name, dir, err)
		}
	}
	planted := private(open("planted", 0o777))
	for name, plant := range map[string]func() error{
		"a link":         func() error { return os.Symlink(in("ours"), planted) },
		"writable":       func() error { return os.Mkdir(planted, 0o700) },
		"somebody's own": func() error { return os.Mkdir(planted, 0o700) },
	} {
		if err := os.Remove(planted); err != nil {
			t.Fatal(err)
		}
		if err := plant(); err != nil {
			t.Fatal(err)
		}
		if name == "writable" {
			if err := os.Chmod(planted, 0o770); err != nil {
				t.Fatal(err)
			}
		}
		if name == "somebody's own" && !foreign(t, planted) {
			continue
		}
		if dir, err := PrivateDir(OS, in("planted"), true, false); err == nil || !strings.Contains(err.Error(), planted) {
			t.Errorf("%s was taken: %s, %v", name, dir, err)
		}
	}
	if theirs := open("theirs", 0o755); foreign(t, theirs) {
		if _, err := PrivateDir(OS, theirs, true, false); err == nil || !strings.Contains(err.Error(), "belongs to user 65534") {
			t.Errorf("another user's directory: %v", err)
		}
		if dir, err := PrivateDir(OS, theirs, true, true); dir != theirs || err != nil {
			t.Errorf("another user's directory, trusted: %s, %v", dir, err)
		}
	}
	t.Chdir(root)
	if dir, err := PrivateDir(OS, "ours", false, false); err != nil || !filepath.IsAbs(dir) {
		t.Errorf("a relative name is %s, %v", dir, err)
	}
	write(t, in("file"), 0o600)
	if dir, err := PrivateDir(OS, in("file", "below"), true, false); err == nil {
		t.Errorf("below a file: %s", dir)
	}
}
