package walk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io/fs"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// handle is an open directory.
type handle struct{ fd int }

const openFlags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC | unix.O_NONBLOCK

// openRoot opens a directory by a path in which no element may be a link.
func openRoot(path string) (*handle, error) {
	fd, err := retry(func() (int, error) {
		return unix.Openat2(unix.AT_FDCWD, path, &unix.OpenHow{Flags: openFlags, Resolve: unix.RESOLVE_NO_SYMLINKS})
	})
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM) { // before Linux 5.6, or forbidden in a container
		fd, err = retry(func() (int, error) { return unix.Open(path, openFlags, 0) })
	}
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return &handle{fd}, nil
}

// open opens a directory in this one. A link is ELOOP or ENOTDIR.
func (h *handle) open(name string) (*handle, error) {
	fd, err := retry(func() (int, error) { return unix.Openat(h.fd, name, openFlags, 0) })
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return &handle{fd}, nil
}

func (h *handle) close() { _ = unix.Close(h.fd) } // of a directory that was only read

// self looks at the directory itself.
func (h *handle) self() (Stat, error) { return statx(h.fd, "", unix.AT_EMPTY_PATH) }

// lstat looks at an entry, with everything, the time of birth and the mount
// included, in one system call.
func (h *handle) lstat(name string) (Stat, error) {
	return statx(h.fd, name, unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT)
}

func statx(fd int, name string, flags int) (Stat, error) {
	var x unix.Statx_t
	const mask = unix.STATX_BASIC_STATS | unix.STATX_BTIME | unix.STATX_MNT_ID
	_, err := retry(func() (int, error) { return 0, unix.Statx(fd, name, flags, mask, &x) })
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM) {
		return statOld(fd, name, flags) // before Linux 4.11, or forbidden in a container
	}
	if err != nil {
		return Stat{}, &fs.PathError{Op: "lstat", Path: name, Err: err}
	}
	st := Stat{
		Mode: modeType(uint32(x.Mode)), Perm: uint32(x.Mode) & 0o7777,
		Size: int64(x.Size), Allocated: int64(x.Blocks) * 512, Links: uint64(x.Nlink),
		Owned: true, UID: x.Uid, GID: x.Gid,
		Modified: statxTime(x.Mtime), Accessed: statxTime(x.Atime), Created: statxTime(x.Ctime),
		Device: unix.Mkdev(x.Dev_major, x.Dev_minor), Inode: x.Ino,
	}
	if x.Mask&unix.STATX_BTIME != 0 {
		st.Created, st.Birth = statxTime(x.Btime), true
	}
	if x.Mask&unix.STATX_MNT_ID != 0 {
		st.Mount = x.Mnt_id
	}
	return st, nil
}

func statxTime(t unix.StatxTimestamp) time.Time { return time.Unix(t.Sec, int64(t.Nsec)).UTC() }

func statOld(fd int, name string, flags int) (Stat, error) {
	var s unix.Stat_t
	_, err := retry(func() (int, error) { return 0, unix.Fstatat(fd, name, &s, flags) })
	if err != nil {
		return Stat{}, &fs.PathError{Op: "lstat", Path: name, Err: err}
	}
	at := func(t unix.Timespec) time.Time { return time.Unix(t.Unix()).UTC() }
	return Stat{
		Mode: modeType(s.Mode), Perm: s.Mode & 0o7777,
		Size: s.Size, Allocated: s.Blocks * 512, Links: uint64(s.Nlink),
		Owned: true, UID: s.Uid, GID: s.Gid,
		Modified: at(s.Mtim), Accessed: at(s.Atim), Created: at(s.Ctim),
		Device: s.Dev, Inode: s.Ino,
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

// parts are buffers for listings.
var parts = sync.Pool{New: func() any { return new([64 << 10]byte) }}

// list returns the next entries, nil at the end.
func (h *handle) list() ([]dirent, error) {
	buf := parts.Get().(*[64 << 10]byte)
	defer parts.Put(buf)
	for {
		n, err := retry(func() (int, error) { return unix.Getdents(h.fd, buf[:]) })
		if err != nil {
			return nil, &fs.PathError{Op: "readdir", Err: err}
		}
		if n == 0 {
			return nil, nil
		}
		if entries := dirents(buf[:n]); len(entries) > 0 {
			return entries, nil
		}
	}
}

// dirents reads what the kernel wrote: inode 8, offset 8, length of the record
// 2, type 1, name.
func dirents(buf []byte) []dirent {
	const head = 19
	names := string(buf) // of which the names are parts: one allocation
	entries := make([]dirent, 0, len(buf)/32)
	for at := 0; at+head <= len(buf); {
		size := int(binary.NativeEndian.Uint16(buf[at+16:]))
		if size < head || at+size > len(buf) {
			break
		}
		end := bytes.IndexByte(buf[at+head:at+size], 0)
		if end < 0 {
			end = size - head
		}
		if name := names[at+head : at+head+end]; name != "." && name != ".." {
			mode, typed := direntType(buf[at+18])
			entries = append(entries, dirent{name, mode, typed})
		}
		at += size
	}
	return entries
}

func direntType(t byte) (mode fs.FileMode, typed bool) {
	switch t {
	case unix.DT_UNKNOWN:
		return 0, false
	case unix.DT_REG:
		return 0, true
	case unix.DT_DIR:
		return fs.ModeDir, true
	case unix.DT_LNK:
		return fs.ModeSymlink, true
	}
	return fs.ModeIrregular, true
}

// retry repeats a call that a signal interrupted.
func retry(call func() (int, error)) (int, error) {
	for {
		if n, err := call(); err != syscall.EINTR {
			return n, err
		}
	}
}

// descriptors is how many files the process may have open.
func descriptors() int {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 1024
	}
	return int(min(limit.Cur, 1<<20))
}
