//go:build !linux && !darwin

package pgtest

import (
	"errors"
	"os"
	"os/exec"
	"runtime"
)

// Here the servers run as the current user, and die by the hand of the
// operating system one after the other: a PostgreSQL backend ends by itself
// when it finds that the first process is gone.

var memorySettings []string

type account struct{}

func serverAccount() (account, error) { return account{}, nil }
func (account) own(string) error      { return nil }
func (account) runAs(*exec.Cmd)       {}

func detach(*exec.Cmd) {}

func kill(root int) error {
	p, err := os.FindProcess(root)
	if err != nil {
		return nil // gone already
	}
	if err := p.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return nil
}

var errNoFreeze = errors.New("a server cannot be frozen on " + runtime.GOOS)

func freeze(int) ([]struct{}, error) { return nil, errNoFreeze }
func thaw(int) error                 { return errNoFreeze }

func removeSegment(int) error { return nil }
