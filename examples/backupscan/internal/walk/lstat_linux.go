package walk

import (
	"errors"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// lstat asks for everything, the time of birth included, in one system call.
func lstat(path string) (Stat, error) {
	var x unix.Statx_t
	var err error
	for {
		err = unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW,
			unix.STATX_BASIC_STATS|unix.STATX_BTIME, &x)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM) {
		return lstatOld(path) // before Linux 4.11, or forbidden in a container
	}
	if err != nil {
		return Stat{}, &os.PathError{Op: "lstat", Path: path, Err: err}
	}
	st := Stat{
		Mode: modeType(uint32(x.Mode)), Perm: uint32(x.Mode) & 0o7777, Size: int64(x.Size),
		Owned: true, UID: x.Uid, GID: x.Gid,
		Modified: statxTime(x.Mtime), Accessed: statxTime(x.Atime), Created: statxTime(x.Ctime),
	}
	if x.Mask&unix.STATX_BTIME != 0 {
		st.Created, st.Birth = statxTime(x.Btime), true
	}
	return st, nil
}

func statxTime(t unix.StatxTimestamp) time.Time { return time.Unix(t.Sec, int64(t.Nsec)).UTC() }

func lstatOld(path string) (Stat, error) {
	var s unix.Stat_t
	if err := unix.Lstat(path, &s); err != nil {
		return Stat{}, &os.PathError{Op: "lstat", Path: path, Err: err}
	}
	at := func(t unix.Timespec) time.Time { return time.Unix(t.Unix()).UTC() }
	return Stat{
		Mode: modeType(s.Mode), Perm: s.Mode & 0o7777, Size: s.Size,
		Owned: true, UID: s.Uid, GID: s.Gid,
		Modified: at(s.Mtim), Accessed: at(s.Atim), Created: at(s.Ctim),
	}, nil
}

func modeType(mode uint32) fs.FileMode {
	switch mode & unix.S_IFMT {
	case unix.S_IFREG:
		return 0
	case unix.S_IFDIR:
		return fs.ModeDir
	case unix.S_IFLNK:
		return fs.ModeSymlink
	}
	return fs.ModeIrregular // not told apart: a special file is only counted
}
