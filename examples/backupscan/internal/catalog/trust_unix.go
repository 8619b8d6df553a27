//go:build unix

package catalog

import (
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// trusted refuses a file that somebody else may write or may have planted.
func trusted(path string, info fs.FileInfo) error {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return nil
	}
	if uid := os.Getuid(); int(st.Uid) != uid && st.Uid != 0 {
		return fmt.Errorf("%s belongs to the user %d and not to you or root: somebody else may have planted it", path, st.Uid)
	}
	if st.Nlink > 1 {
		return fmt.Errorf("%s has %d names (hard links): the file would be written under the others too", path, st.Nlink)
	}
	return nil
}
