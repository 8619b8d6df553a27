//go:build linux || darwin

package pgtest

import (
	"bufio"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"testing"

	"github.com/jackc/pgx/v5"
)

// victimEnv makes TestVictim start servers, tell their directory on standard
// error and wait to be killed.
const victimEnv = "MEMDB_PGTEST_VICTIM"

func TestVictim(t *testing.T) {
	if os.Getenv(victimEnv) == "" {
		return
	}
	Start(t)
	s := Start(t)
	s.Freeze()
	os.Stderr.WriteString(s.inst.root + "\n")
	select {}
}

func TestNothingOutlivesAKilledTestBinary(t *testing.T) {
	end, inherited, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer end.Close()
	cmd := exec.Command(os.Args[0], "-test.run=^TestVictim$")
	cmd.Env = append(os.Environ(), victimEnv+"=1")
	// All that the binary starts inherits this end of the pipe as well.
	cmd.ExtraFiles = []*os.File{inherited}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	inherited.Close()
	lines := bufio.NewScanner(stderr)
	lines.Scan()
	root := lines.Text()
	if _, err := os.Stat(root); err != nil {
		t.Fatalf("the binary did not tell its directory: %v", err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed, which is its error

	// The end of file means that no process has the other end any more: the
	// servers and the watchdog are gone.
	if _, err := io.Copy(io.Discard, end); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(root); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the directory %s is left behind: %v", root, err)
	}
}

func TestKilledServerLeavesNoProcess(t *testing.T) {
	s, _ := stored(t)
	pid := s.cmd.Process.Pid
	if ps, err := family(pid); err != nil || len(ps) < 3 {
		t.Fatalf("%d processes (%v), want a postmaster and its children", len(ps), err)
	}
	s.Kill()
	if ps, err := family(pid); err != nil || len(ps) != 0 {
		t.Errorf("%d processes are left: %v", len(ps), err)
	}
}

func TestFrozenServerAnswersAfterThaw(t *testing.T) {
	s, db := stored(t)
	conn, err := pgx.Connect(t.Context(), db.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	s.Freeze()
	ps, err := family(s.cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range ps {
		if !p.stopped {
			t.Errorf("process %d runs in a frozen server", p.pid)
		}
	}
	answer := make(chan error, 1)
	go func() {
		_, err := conn.Exec(t.Context(), "INSERT INTO files VALUES ('/b')")
		answer <- err
	}()
	s.Thaw()
	if err := <-answer; err != nil {
		t.Errorf("the statement failed after the thaw: %v", err)
	}
	if n := db.Count(t, "files"); n != 2 {
		t.Errorf("%d rows after the thaw, want 2", n)
	}
}

func TestServerLeftFrozenEndsWithItsTest(t *testing.T) {
	var s *Server
	t.Run("test", func(t *testing.T) {
		s = Start(t)
		s.Freeze()
	})
	<-s.exited
}
