package dirlock

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// holderEnv makes the test binary a process that holds the lock in the
// directory named by it until its input ends.
const holderEnv = "DIRLOCK_TEST_HOLD"

const name = "files-0123.lock"

func TestMain(m *testing.M) {
	if dir := os.Getenv(holderEnv); dir != "" {
		if _, err := Lock(dir, name); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println("locked")
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// hold starts a process that holds the lock.
func hold(t *testing.T, dir string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), holderEnv+"="+dir)
	if _, err := cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // most tests have done so
		_ = cmd.Wait()
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "locked\n" {
		t.Fatalf("the process says %q, %v", line, err)
	}
	return cmd
}

func locked(t *testing.T, dir string) func() error {
	t.Helper()
	release, err := Lock(dir, name)
	if err != nil {
		t.Fatal(err)
	}
	return release
}

func TestSecondProcessIsToldWhoHoldsTheLock(t *testing.T) {
	dir := t.TempDir()
	other := hold(t, dir)
	_, err := Lock(dir, name)
	var held *LockedError
	if !errors.Is(err, ErrLocked) || !errors.As(err, &held) {
		t.Fatalf("got %v", err)
	}
	host, _ := os.Hostname()
	if h := held.Holder; h.PID != other.Process.Pid || h.Host != host || h.Since.IsZero() || h.Program != filepath.Base(os.Args[0]) {
		t.Errorf("the holder is %+v", h)
	}
	for _, want := range []string{filepath.Join(dir, name), fmt.Sprint(other.Process.Pid), host, "since 2"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not say %q", err, want)
		}
	}
}

func TestLockEndsWithAKilledProcess(t *testing.T) {
	dir := t.TempDir()
	other := hold(t, dir)
	if err := other.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = other.Wait() // says that it was killed
	if err := locked(t, dir)(); err != nil {
		t.Error(err)
	}
}

func TestLockExcludesTheSameProcessUntilItIsReleased(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made", "for it")
	release := locked(t, dir)
	if _, err := Lock(dir, name); !errors.Is(err, ErrLocked) {
		t.Errorf("a second lock: %v", err)
	}
	other, err := Lock(dir, "another.lock")
	if err != nil {
		t.Errorf("a lock of another name: %v", err)
	} else if err := other(); err != nil {
		t.Error(err)
	}
	if err := release(); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(filepath.Join(dir, name)); err != nil || len(text) != 0 {
		t.Errorf("after the release the file says %q, %v", text, err)
	}
	if err := locked(t, dir)(); err != nil {
		t.Error(err)
	}
}

func TestHolderThatHasNotWrittenItsNameYet(t *testing.T) {
	dir := t.TempDir()
	release := locked(t, dir)
	if err := os.WriteFile(filepath.Join(dir, name), []byte(`{"pid":`), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Lock(dir, name)
	if !errors.Is(err, ErrLocked) || strings.Contains(err.Error(), "process") {
		t.Errorf("got %v", err)
	}
	if err := release(); err != nil {
		t.Fatal(err)
	}
}

func TestWhatIsNoLockFileIsLeftAlone(t *testing.T) {
	dir := t.TempDir()
	target := filepath.Join(dir, "target")
	if err := os.WriteFile(target, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(target, filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "folder"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"link", "folder", "", "..", filepath.Join("..", "x")} {
		if _, err := Lock(dir, name); err == nil || errors.Is(err, ErrLocked) {
			t.Errorf("%q: %v", name, err)
		}
	}
	if text, err := os.ReadFile(target); err != nil || string(text) != "precious" {
		t.Errorf("%q, %v", text, err)
	}
}

// Who only looks changes nothing, whatever is in the place of the lock file.
func TestCheckWritesNothing(t *testing.T) {
	dir := t.TempDir()
	if err := Check(dir, name); err != nil {
		t.Errorf("no lock file: %v", err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("made %v, %v", entries, err)
	}
	path := filepath.Join(dir, "precious")
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(path, filepath.Join(dir, name)); err != nil {
		t.Fatal(err)
	}
	if err := Check(dir, name); err != nil {
		t.Errorf("nobody holds it: %v", err)
	}
	if release, err := Lock(dir, name); err == nil {
		t.Error("a hard link to another file was taken for the lock file", release())
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != "precious" {
		t.Errorf("the file says %q, %v", text, err)
	}
	if err := os.Remove(filepath.Join(dir, name)); err != nil {
		t.Fatal(err)
	}
	release := locked(t, dir)
	if err := Check(dir, name); !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), fmt.Sprint("process ", os.Getpid())) {
		t.Errorf("held by this process: %v", err)
	}
	if err := release(); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(Check(dir, name), locked(t, dir)()); err != nil {
		t.Error(err)
	}
}

// What a lock file says is somebody else's text.
func TestTheHoldersNameIsQuoted(t *testing.T) {
	err := &LockedError{"/x", Holder{PID: 1, Program: "a\x1b[2J\nERROR all is lost", Host: "h\r"}}
	if strings.ContainsAny(err.Error(), "\x1b\n\r") {
		t.Errorf("%q", err.Error())
	}
}
