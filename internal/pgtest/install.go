package pgtest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
)

// installation is what all private servers of a test binary share.
type installation struct {
	bin     string  // directory of the PostgreSQL programs
	root    string  // holds everything that the servers write
	account account // which the servers run under
}

// hba lets everybody on this machine in, except PasswordRole.
const hba = `
host all ` + PasswordRole + ` 127.0.0.1/32 scram-sha-256
host all all 127.0.0.1/32 trust
`

// install prepares private servers, once per test binary.
var install = sync.OnceValues(newInstallation)

func newInstallation() (*installation, error) {
	if !inMain.Load() {
		return nil, errors.New("the package's TestMain must call pgtest.Main")
	}
	inst := &installation{}
	var err error
	if inst.account, err = serverAccount(); err != nil {
		return nil, err
	}
	if inst.root, err = os.MkdirTemp("", "memdbwriter-pgtest-"); err != nil {
		return nil, err
	}
	if err := startWatchdog(inst.root); err != nil {
		return nil, errors.Join(err, os.RemoveAll(inst.root))
	}
	if inst.bin, err = findBinaries(usualPlaces, filepath.Join(inst.root, "fetched")); err != nil {
		return nil, err
	}
	return inst, inst.account.own(inst.root)
}

// newData makes the directory of one more server, with a data directory in it.
// (To copy one made earlier takes as long: most of it is the making of files.)
func (inst *installation) newData() (dir string, err error) {
	if dir, err = os.MkdirTemp(inst.root, "server-"); err != nil {
		return "", err
	}
	if err := inst.account.own(dir); err != nil {
		return "", err
	}
	data := filepath.Join(dir, "data")
	// The collation C sorts alike everywhere. Not to sync is about initdb
	// itself; the servers sync as usual.
	err = inst.run("initdb", "-D", data, "-U", "postgres", "-A", "trust",
		"-E", "UTF8", "--locale=C", "--no-sync")
	if err != nil {
		return "", err
	}
	return dir, os.WriteFile(filepath.Join(data, "pg_hba.conf"), []byte(hba), 0o600)
}

// command prepares a PostgreSQL program to run under the servers' account.
func (inst *installation) command(program string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(inst.bin, program), args...)
	cmd.Dir = inst.root // that account may have no access to the current one
	inst.account.runAs(cmd)
	return cmd
}

func (inst *installation) run(program string, args ...string) error {
	cmd := inst.command(program, args...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", cmd.Path, err, strings.TrimSpace(string(out)))
	}
	return nil
}
