//go:build unix

package main

import (
	"os"
	"strings"
	"syscall"
	"testing"
)

// A file of settings in the working directory that somebody else may have put
// there is not followed, trusted or waited for, and that is said.
func TestAnEnvFileOfSomebodyElseIsIgnored(t *testing.T) {
	const setting = urlVariable + "=sqlite:theirs.db\n"
	for _, c := range []struct {
		name, why string
		put       func() error
	}{
		{"ours", "", func() error { return os.WriteFile(".env", []byte(setting), 0o600) }},
		{"link", "", func() error {
			if err := os.WriteFile("target", []byte(setting), 0o600); err != nil {
				return err
			}
			return os.Symlink("target", ".env")
		}},
		{"pipe", "not a regular file", func() error { return syscall.Mkfifo(".env", 0o600) }},
		{"directory", "not a regular file", func() error { return os.Mkdir(".env", 0o700) }},
		{"writable", "others may write", func() error {
			if err := os.WriteFile(".env", []byte(setting), 0o600); err != nil {
				return err
			}
			return os.Chmod(".env", 0o662)
		}},
		{"foreign", "belongs to the user 65534", func() error {
			if err := os.WriteFile(".env", []byte(setting), 0o644); err != nil {
				return err
			}
			return os.Chown(".env", 65534, -1)
		}},
	} {
		if c.name == "foreign" && os.Geteuid() != 0 {
			continue // only root can give a file away
		}
		t.Run(c.name, func(t *testing.T) {
			t.Chdir(realDir(t))
			check(t, c.put())
			values, ignored, err := readEnv(".env")
			check(t, err)
			if ours := c.name == "ours"; (len(values) == 1) != ours || (ignored == nil) != ours {
				t.Errorf("%v, ignored: %v", values, ignored)
			}
			if ignored != nil && !strings.Contains(ignored.Error(), c.why) {
				t.Errorf("ignored: %v", ignored)
			}
		})
	}
}
