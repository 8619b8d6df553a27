package pgtest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// lockFile is what a running server writes into postmaster.pid, line by line:
// process, data directory, start time, port, socket directory, address, key
// and id of its System V memory segment, state.
type lockFile struct {
	pid     int
	segment int // -1: none
	ready   bool
}

func lockPath(data string) string { return filepath.Join(data, "postmaster.pid") }

func readLock(data string) (lockFile, error) {
	text, err := os.ReadFile(lockPath(data))
	if err != nil {
		return lockFile{}, err
	}
	lines := strings.Split(string(text), "\n")
	l := lockFile{segment: -1}
	if l.pid, err = strconv.Atoi(strings.TrimSpace(lines[0])); err != nil {
		return lockFile{}, fmt.Errorf("%s: %w", lockPath(data), err)
	}
	if len(lines) > 6 {
		if f := strings.Fields(lines[6]); len(f) == 2 {
			if l.segment, err = strconv.Atoi(f[1]); err != nil {
				return lockFile{}, fmt.Errorf("%s: %w", lockPath(data), err)
			}
		}
	}
	l.ready = len(lines) > 7 && strings.HasPrefix(lines[7], "ready")
	return l, nil
}

// killServer ends all processes of the server on this data directory and
// takes away what they leave behind outside of it: the lock file, because
// its process id may soon be somebody else's, and the memory segment. No lock
// file means that no server runs.
func killServer(data string) error {
	lock, err := readLock(data)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := kill(lock.pid); err != nil {
		return err
	}
	if lock.segment >= 0 {
		if err := removeSegment(lock.segment); err != nil {
			return fmt.Errorf("removing the memory segment %d of a killed server: %w", lock.segment, err)
		}
	}
	return os.Remove(lockPath(data))
}
