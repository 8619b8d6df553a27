//go:build unix

package fsys

import (
	"io/fs"
	"os"
	"syscall"
)

// noFollow makes a link an error. What waits for a reader or a writer, a FIFO,
// does not make us wait.
const noFollow = syscall.O_NOFOLLOW | syscall.O_NONBLOCK

// owner returns who owns a file, and whether that is this user or root.
func owner(info fs.FileInfo) (uid uint32, ours bool) {
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, false
	}
	return s.Uid, s.Uid == 0 || int64(s.Uid) == int64(os.Geteuid())
}

// shared reports whether anybody but the owner may write.
func shared(info fs.FileInfo) bool { return info.Mode().Perm()&0o022 != 0 }

func oneName(info fs.FileInfo) bool {
	s, ok := info.Sys().(*syscall.Stat_t)
	return ok && s.Nlink <= 1 // none is left of a file that was deleted just now
}
