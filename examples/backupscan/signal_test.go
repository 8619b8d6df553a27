//go:build unix

package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/memdbwriter/memdbwriter/internal/pgtest"
)

// process is the program as the system runs it.
type process struct {
	cmd    *exec.Cmd
	stderr *bufio.Reader
	log    strings.Builder
}

func start(t *testing.T, env []string, args ...string) *process {
	t.Helper()
	p := &process{cmd: exec.Command(os.Args[0], args...)}
	p.cmd.Env = append(os.Environ(), append(env, asProgram+"=1")...)
	stderr, err := p.cmd.StderrPipe()
	check(t, err)
	p.stderr = bufio.NewReader(stderr)
	check(t, p.cmd.Start())
	return p
}

// waitFor reads what the process says until a line holds the text.
func (p *process) waitFor(t *testing.T, text string) {
	t.Helper()
	for {
		line, err := p.stderr.ReadString('\n')
		p.log.WriteString(line)
		if strings.Contains(line, text) {
			return
		}
		if err != nil {
			t.Fatalf("%q never came: %v\n%s", text, err, p.log.String())
		}
	}
}

// end waits for the end of the process.
func (p *process) end(t *testing.T) *os.ProcessState {
	t.Helper()
	_, err := io.Copy(&p.log, p.stderr)
	check(t, err)
	_ = p.cmd.Wait() // the exit code is the caller's to judge
	return p.cmd.ProcessState
}

// stalled is a program that scans a tree into a table that nobody can write to
// until release is called: its buffer is full and its walk waits.
func stalled(t *testing.T) (p *process, at place, dir string, release func()) {
	t.Helper()
	settle(t)
	db := pgtest.Open(t)
	at = place{url: db.URL, db: db}
	scanned(t, at, "-set", "9", realDir(t)).want(t, exitOK) // makes the tables

	conn, err := pgx.Connect(t.Context(), db.URL)
	check(t, err)
	_, err = conn.Exec(t.Context(), "BEGIN; LOCK TABLE backup_files IN EXCLUSIVE MODE")
	check(t, err)

	var names []string
	for i := range 2000 {
		names = append(names, fmt.Sprintf("%d/%d", i%20, i))
	}
	dir = tree(t, realDir(t), names...)
	p = start(t, []string{"MEMORY_DB_MAX_FILES=100", "MEMORY_DB_SYNC_BATCH_SIZE=50", "MEMORY_DB_SYNC_TIMEOUT=1"}, "-quiet", "-db", db.URL, dir)
	p.waitFor(t, "sync failed") // a sync has run into the lock
	return p, at, dir, func() { check(t, conn.Close(t.Context())) }
}

func TestCtrlCStoresWhatWasFound(t *testing.T) {
	p, at, dir, release := stalled(t)
	check(t, p.cmd.Process.Signal(os.Interrupt))
	p.waitFor(t, "interrupted: storing what was found")
	release()
	if state := p.end(t); state.ExitCode() != exitInterrupted {
		t.Errorf("%v\n%s", state, p.log.String())
	}
	at.wantStatus(t, "cancelled")
	// A batch of 50 was waiting, and the buffer takes 100.
	if n := len(at.paths(t, dir)); n < 50 || n > 100 {
		t.Errorf("%d rows, want what the buffer held", n)
	}
}

func TestASecondCtrlCEndsAtOnce(t *testing.T) {
	p, _, _, release := stalled(t)
	check(t, p.cmd.Process.Signal(os.Interrupt))
	p.waitFor(t, "interrupted: storing what was found")
	check(t, p.cmd.Process.Signal(os.Interrupt))
	state := p.end(t) // while nothing can be stored
	release()
	if state.ExitCode() != exitInterrupted || !strings.Contains(p.log.String(), "given up") {
		t.Errorf("%v\n%s", state, p.log.String())
	}
}
