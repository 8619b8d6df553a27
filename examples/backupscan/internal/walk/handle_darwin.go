package walk

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// handle is an open directory.
type handle struct{ f *os.File }

const openFlags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC | unix.O_NONBLOCK

// openRoot opens a directory by its path.
func openRoot(path string) (*handle, error) {
	fd, err := unix.Open(path, openFlags, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return &handle{os.NewFile(uintptr(fd), path)}, nil
}

// open opens a directory in this one. A link is ELOOP or ENOTDIR.
func (h *handle) open(name string) (*handle, error) {
	fd, err := unix.Openat(int(h.f.Fd()), name, openFlags, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return &handle{os.NewFile(uintptr(fd), name)}, nil
}

func (h *handle) close() { _ = h.f.Close() } // of a directory that was only read

// self looks at the directory itself.
func (h *handle) self() (Stat, error) {
	var s unix.Stat_t
	if err := unix.Fstat(int(h.f.Fd()), &s); err != nil {
		return Stat{}, &fs.PathError{Op: "fstat", Path: h.f.Name(), Err: err}
	}
	return statOf(&s), nil
}

// lstat looks at an entry.
func (h *handle) lstat(name string) (Stat, error) {
	var s unix.Stat_t
	if err := unix.Fstatat(int(h.f.Fd()), name, &s, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return Stat{}, &fs.PathError{Op: "lstat", Path: name, Err: err}
	}
	return statOf(&s), nil
}

func statOf(s *unix.Stat_t) Stat {
	at := func(t unix.Timespec) time.Time { return time.Unix(t.Unix()).UTC() }
	return Stat{
		Mode: modeType(uint32(s.Mode)), Perm: uint32(s.Mode) & 0o7777,
		Size: s.Size, Allocated: s.Blocks * 512, Links: uint64(s.Nlink),
		Owned: true, UID: s.Uid, GID: s.Gid,
		Modified: at(s.Mtim), Accessed: at(s.Atim), Created: at(s.Btim), Birth: true,
		Device: uint64(s.Dev), Inode: s.Ino,
	}
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

// list returns the next entries, nil at the end. Their types are found by lstat.
func (h *handle) list() ([]dirent, error) {
	names, err := h.f.Readdirnames(1024)
	if errors.Is(err, io.EOF) {
		return nil, nil
	}
	var entries []dirent
	for _, name := range names {
		entries = append(entries, dirent{name: name})
	}
	return entries, err
}

// descriptors is how many files the process may have open.
func descriptors() int {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 256
	}
	return int(min(limit.Cur, 1<<16))
}
