package walk

import (
	"os"
	"syscall"
	"time"
)

func lstat(path string) (Stat, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return Stat{}, err
	}
	s := info.Sys().(*syscall.Stat_t)
	at := func(t syscall.Timespec) time.Time { return time.Unix(t.Unix()).UTC() }
	return Stat{
		Mode: info.Mode().Type(), Perm: uint32(s.Mode) & 0o7777, Size: s.Size,
		Owned: true, UID: s.Uid, GID: s.Gid,
		Modified: at(s.Mtimespec), Accessed: at(s.Atimespec), Created: at(s.Birthtimespec), Birth: true,
	}, nil
}
