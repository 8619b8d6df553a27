//go:build unix

package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
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
func stalled(t *testing.T, env ...string) (p *process, at place, dir string, release func()) {
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
	env = append(env, "MEMORY_DB_MAX_FILES=100", "MEMORY_DB_SYNC_BATCH_SIZE=50", "MEMORY_DB_SYNC_TIMEOUT=1")
	p = start(t, env, "-quiet", "-db", db.URL, dir)
	p.waitFor(t, "sync failed") // a sync has run into the lock
	return p, at, dir, func() { check(t, conn.Close(t.Context())) }
}

func TestCtrlCStoresWhatWasFound(t *testing.T) {
	p, at, dir, release := stalled(t)
	check(t, p.cmd.Process.Signal(os.Interrupt))
	p.waitFor(t, "interrupted: storing what was found")
	release()
	if state := p.end(t); state.ExitCode() != interrupted {
		t.Errorf("%v\n%s", state, p.log.String())
	}
	at.wantStatus(t, "cancelled")
	// A batch of 50 was waiting, and the buffer takes 100.
	if n := len(at.paths(t, dir)); n < 50 || n > 100 {
		t.Errorf("%d rows, want what the buffer held", n)
	}
}

func TestASecondCtrlCLeavesTheRest(t *testing.T) {
	p, _, _, release := stalled(t)
	check(t, p.cmd.Process.Signal(os.Interrupt))
	p.waitFor(t, "interrupted: storing what was found")
	check(t, p.cmd.Process.Signal(os.Interrupt))
	state := p.end(t) // while nothing can be stored
	release()
	if state.ExitCode() != interrupted || !strings.Contains(p.log.String(), "rows are not in the destination") {
		t.Errorf("%v\n%s", state, p.log.String())
	}
}

// Every end is bounded, leaves on disk what it could not store, and says so; the
// next scan takes it over.
func TestASignalWithTheDatabaseAwayLeavesTheRestOnDisk(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGHUP} {
		t.Run(sig.String(), func(t *testing.T) {
			dir := realDir(t)
			p, at, tree, release := stalled(t, "MEMORY_DB_CHECKPOINT_DIR="+dir)
			check(t, p.cmd.Process.Signal(sig))
			state := p.end(t)
			release()
			if state.ExitCode() != exitSignal+int(sig) || !strings.Contains(p.log.String(), "rows are not in the destination") {
				t.Errorf("%v\n%s", state, p.log.String())
			}
			t.Setenv("MEMORY_DB_CHECKPOINT_DIR", dir)
			r := scanned(t, at, realDir(t)).want(t, exitOK)
			if n := len(at.paths(t, tree)); n < 100 || r.figure(t, "recovered") != "100" || r.figure(t, "stored") != "1" {
				t.Errorf("%d rows\n%s", n, r.out)
			}
		})
	}
}

func TestACallThatIsNotAnsweredDoesNotHoldUpTheEnd(t *testing.T) {
	settle(t)
	dir := tree(t, realDir(t), "a", "b/hangs", "c")
	p := start(t, []string{hangsAt + "=" + dir + "/b/hangs"}, "-quiet", dir)
	p.waitFor(t, "hangs now")
	check(t, p.cmd.Process.Signal(os.Interrupt))
	if state := p.end(t); state.ExitCode() != interrupted || !strings.Contains(p.log.String(), "the file system does not answer") {
		t.Errorf("%v\n%s", state, p.log.String())
	}
	at := place{sqlite: "catalog.db"}
	at.wantStatus(t, "cancelled")
	scanned(t, place{url: "sqlite:catalog.db"}, dir).want(t, exitOK)
}

func TestAClosedPipeEndsNothing(t *testing.T) {
	settle(t)
	dir := tree(t, realDir(t), many(50)...)
	p := &process{cmd: exec.Command(os.Args[0], "-v", dir)}
	p.cmd.Env = append(os.Environ(), asProgram+"=1")
	r, w, err := os.Pipe()
	check(t, err)
	p.cmd.Stdout, p.cmd.Stderr = w, w
	check(t, r.Close()) // before the first word
	check(t, p.cmd.Start())
	check(t, w.Close())
	if err := p.cmd.Wait(); p.cmd.ProcessState.ExitCode() != exitFailed { // the summary could not be written
		t.Error(err)
	}
	at := place{sqlite: "catalog.db"}
	at.wantStatus(t, "completed")
	wantEqual(t, "paths", at.paths(t, dir), found(t, dir))
}

func TestAnEarlyInterrupt(t *testing.T) {
	settle(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	program(ctx, "-quiet", realDir(t)).want(t, interrupted)
}

// A scan that was killed holds up nobody on its machine.
func TestTheSetOfAKilledScanIsTakenOver(t *testing.T) {
	p, at, dir, release := stalled(t)
	check(t, p.cmd.Process.Kill())
	p.end(t)
	release()
	r := scanned(t, at, dir).want(t, exitOK)
	if !strings.Contains(r.errout, "an earlier scan was killed") {
		t.Error(r.errout)
	}
	wantEqual(t, "paths", at.paths(t, dir), found(t, dir))
}
