package pgtest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
)

// watchdogEnv holds the directory of the servers to watch over, in the
// environment of a watchdog only.
const watchdogEnv = "MEMDB_PGTEST_WATCHDOG"

// watchdog is the process that cleans up after the test binary. Its standard
// input is a pipe whose other end nobody else has: when it closes, on purpose
// or because the binary is gone, the work of the servers is over.
var watchdog struct {
	cmd        *exec.Cmd
	pipe       io.Closer
	complaints bytes.Buffer
}

func startWatchdog(root string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(self)
	// A binary with the race detector sleeps at its exit unless told not to.
	cmd.Env = append(os.Environ(), watchdogEnv+"="+root, "GORACE=atexit_sleep_ms=0")
	pipe, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	cmd.Stderr = &watchdog.complaints // go test would wait for the end of its own
	detach(cmd)
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting the watchdog: %w", err)
	}
	watchdog.cmd, watchdog.pipe = cmd, pipe
	return nil
}

// shutdown ends all private servers, by the way that is taken as well when
// the test binary dies.
func shutdown() error {
	if watchdog.cmd == nil {
		return nil
	}
	if err := watchdog.pipe.Close(); err != nil {
		return err
	}
	if err := watchdog.cmd.Wait(); err != nil {
		return fmt.Errorf("the watchdog could not end the servers: %w\n%s", err, &watchdog.complaints)
	}
	reapers.Wait()
	return nil
}

// watch is the watchdog's main: it returns the exit code.
func watch(root string) int {
	_, err := io.Copy(io.Discard, os.Stdin)
	locks, globErr := filepath.Glob(lockPath(filepath.Join(root, "server-*", "data")))
	err = errors.Join(err, globErr)
	for _, lock := range locks {
		err = errors.Join(err, killServer(filepath.Dir(lock)))
	}
	if err = errors.Join(err, os.RemoveAll(root)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}
