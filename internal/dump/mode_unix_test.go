//go:build !windows

package dump

import (
	"os"
	"syscall"
	"testing"
)

func TestOnlyTheOwnerCanRead(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0))
	d := dirOf(t)
	aged(t, d, 1)
	for _, name := range names(t, d) {
		info, err := os.Stat(d.Path + "/" + name)
		if err != nil || info.Mode() != 0o600 {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
}
