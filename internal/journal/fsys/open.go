package fsys

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Open opens a file of record, looks at what it has opened, and refuses it with an
// *fs.PathError if somebody else may have put it there or may change it: the name
// is not followed if it is a link; the file is a regular one; it belongs to this
// user or root, and nobody else may write to it, unless trust is set; and if it is
// opened for writing it has no other name, which might be that of another file.
func Open(name string, flag int, perm fs.FileMode, trust bool) (*os.File, error) {
	f, err := os.OpenFile(name, flag|noFollow, perm)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil {
		err = check(info, flag&(os.O_WRONLY|os.O_RDWR) != 0, trust)
	}
	if err == nil && noFollow == 0 { // a system that can only be asked afterwards
		var named fs.FileInfo
		if named, err = os.Lstat(name); err == nil && !os.SameFile(named, info) {
			err = errLink
		}
	}
	if err != nil {
		return nil, errors.Join(&fs.PathError{Op: "open", Path: name, Err: err}, f.Close())
	}
	return f, nil
}

var (
	errLink  = errors.New("it is a symbolic link")
	errKind  = errors.New("it is not a regular file")
	errNames = errors.New("it has another name, too, which may be that of another file: remove one of the hard links")
)

func check(info fs.FileInfo, write, trust bool) error {
	if !info.Mode().IsRegular() {
		return errKind
	}
	if write && !oneName(info) {
		return errNames
	}
	if trust {
		return nil
	}
	return checkOwner(info)
}

// checkOwner refuses what somebody else owns or may write to.
func checkOwner(info fs.FileInfo) error {
	if uid, ours := owner(info); !ours {
		return fmt.Errorf("it belongs to user %d, not to user %d, who runs this, or root", uid, os.Geteuid())
	}
	if shared(info) {
		return fmt.Errorf("others may write to it (mode %v): chmod go-w", info.Mode())
	}
	return nil
}

// MakeDir makes a directory with the parents that are missing, of mode 0700, each
// durable in its own, which it asks on for. One that cannot be made durable is not
// left: nobody would see to that later.
func MakeDir(on FS, dir string) error {
	info, err := os.Stat(dir)
	if err == nil && !info.IsDir() {
		return &fs.PathError{Op: "mkdir", Path: dir, Err: errors.New("it is there, and is no directory")}
	}
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := MakeDir(on, filepath.Dir(dir)); err != nil {
		return err
	}
	return mkdir(on, dir)
}

// mkdir makes one directory durable in its parent, also if somebody else makes it
// meanwhile.
func mkdir(on FS, dir string) error {
	made := os.Mkdir(dir, 0o700)
	if made != nil && !errors.Is(made, fs.ErrExist) {
		return made
	}
	err := on.SyncDir(filepath.Dir(dir))
	if err != nil && made == nil {
		err = errors.Join(err, os.Remove(dir))
	}
	return err
}

// PrivateDir returns the absolute name of the directory in which this user keeps
// files, given the one that was asked for. That is it, unless others may write to
// it, as they may to the volumes of some platforms: then it is one of ours in it,
// of mode 0700. It is an error if the directory asked for belongs to anybody but
// this user and root, who could put another one in its place. With trust it is
// what was asked for in any case.
//
// What is missing is made if create is set, see MakeDir, and otherwise "" is returned.
func PrivateDir(on FS, dir string, create, trust bool) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	if create {
		if err := MakeDir(on, dir); err != nil {
			return "", err
		}
	}
	info, err := os.Stat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil || trust {
		return dir, err
	}
	if uid, ours := owner(info); !ours {
		return "", &fs.PathError{Op: "use directory", Path: dir, Err: fmt.Errorf("it belongs to user %d, not to user %d, who runs this, or root", uid, os.Geteuid())}
	}
	if !shared(info) {
		return dir, nil
	}
	return ownDir(on, dir, create)
}

// ownDir is PrivateDir below a directory that others may write to.
func ownDir(on FS, parent string, create bool) (string, error) {
	dir := filepath.Join(parent, fmt.Sprintf("memdbwriter-%d", os.Geteuid()))
	if create {
		if err := mkdir(on, dir); err != nil {
			return "", err
		}
	}
	info, err := os.Lstat(dir)
	if errors.Is(err, fs.ErrNotExist) && !create {
		return "", nil
	}
	if err == nil && !info.IsDir() {
		err = errors.New("it is no directory")
	}
	if err == nil {
		err = checkOwner(info)
	}
	if err != nil {
		return "", &fs.PathError{Op: "use directory", Path: dir, Err: fmt.Errorf("%w; others may write to %s, and somebody has put it there", err, parent)}
	}
	return dir, nil
}
