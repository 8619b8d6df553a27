//go:build linux || darwin

package pgtest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// account is whom the servers run as; the zero value is the current user.
type account struct{ credential *syscall.Credential }

// serverAccount finds an account for the servers: root may not run them.
func serverAccount() (account, error) {
	if os.Geteuid() != 0 {
		return account{}, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, uidErr := strconv.ParseUint(u.Uid, 10, 32)
		gid, gidErr := strconv.ParseUint(u.Gid, 10, 32)
		if err := errors.Join(uidErr, gidErr); err != nil {
			return account{}, err
		}
		return account{&syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}, nil
	}
	return account{}, errors.New("PostgreSQL refuses to run as root, and there is no user postgres or nobody")
}

func (a account) own(path string) error {
	if a.credential == nil {
		return nil
	}
	return os.Lchown(path, int(a.credential.Uid), int(a.credential.Gid))
}

func (a account) runAs(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: a.credential}
}

// detach gives the process a session of its own: what is sent to the test
// binary's terminal or process group does not reach it.
func detach(cmd *exec.Cmd) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setsid = true
}

// process is a line of the process table. A process that is dead and not yet
// reaped by its parent is not in the table here.
type process struct {
	pid, parent int
	stopped     bool
}

// family returns a process and its descendants. Sessions and process groups
// would not tell them: every PostgreSQL backend makes its own.
func family(root int) ([]process, error) {
	table, err := processes()
	if err != nil {
		return nil, err
	}
	member := map[int]bool{root: true}
	for grown := true; grown; {
		grown = false
		for _, p := range table {
			if member[p.parent] && !member[p.pid] {
				member[p.pid], grown = true, true
			}
		}
	}
	var found []process
	for _, p := range table {
		if member[p.pid] {
			found = append(found, p)
		}
	}
	return found, nil
}

// freeze stops a process and its descendants and returns them. A signal takes
// effect some time after it was sent, and a process may fork until then: only
// a look that finds every one stopped is the end.
func freeze(root int) ([]process, error) {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		ps, err := family(root)
		if err != nil {
			return nil, err
		}
		running := 0
		for _, p := range ps {
			if !p.stopped {
				running++
				if err := signal(p.pid, syscall.SIGSTOP); err != nil {
					return nil, err
				}
			}
		}
		if running == 0 {
			return ps, nil
		}
	}
	return nil, fmt.Errorf("process %d and its children could not be stopped within %v", root, patience)
}

func thaw(root int) error {
	ps, err := family(root)
	for _, p := range ps {
		err = errors.Join(err, signal(p.pid, syscall.SIGCONT))
	}
	return err
}

// kill ends a process and its descendants and returns when all are dead. They
// are frozen first: a postmaster that sees its backends die would act on it.
func kill(root int) error {
	ps, err := freeze(root)
	if err != nil {
		return err
	}
	alive := make(map[int]bool)
	for _, p := range ps {
		if err := signal(p.pid, syscall.SIGKILL); err != nil {
			return err
		}
		alive[p.pid] = true
	}
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		table, err := processes()
		if err != nil {
			return err
		}
		left := 0
		for _, p := range table {
			if alive[p.pid] {
				left++
			}
		}
		if left == 0 {
			return nil
		}
	}
	return fmt.Errorf("process %d and its children are not dead %v after SIGKILL", root, patience)
}

// signal is kill(2); a process that is gone already is no error.
func signal(pid int, sig syscall.Signal) error {
	if err := syscall.Kill(pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("sending %v to process %d: %w", sig, pid, err)
	}
	return nil
}

// removeSegment removes a System V memory segment, if it is still there.
func removeSegment(id int) error {
	_, err := unix.SysvShmCtl(id, unix.IPC_RMID, nil)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EIDRM) {
		return nil
	}
	return err
}
