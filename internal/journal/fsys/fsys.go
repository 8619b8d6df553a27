// Package fsys is the part of a file system that files of record need: enough
// to write, to make durable and to recover, and small enough to be replaced in
// a test by one that fails.
package fsys

import (
	"errors"
	"io"
	"io/fs"
	"os"
)

// FS is a file system. Names are those of package os.
type FS interface {
	// OpenFile is os.OpenFile, for regular files.
	OpenFile(name string, flag int, perm fs.FileMode) (File, error)
	// ReadDir is os.ReadDir: sorted, symbolic links not followed.
	ReadDir(dir string) ([]fs.DirEntry, error)
	Rename(from, to string) error
	Remove(name string) error
	// SyncDir makes the entries of a directory durable: files made, renamed
	// and removed in it.
	SyncDir(dir string) error
}

// File is an open file.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Truncate(size int64) error
	// Sync makes durable what was written. After an error it is unknown what
	// is, and a later nil does not say that it is.
	Sync() error
	Size() (int64, error)
}

// OS is the file system of the operating system. It opens files as Open does.
var OS FS = osFS{}

// Trusting is OS for a directory whose owners and rights do not matter.
var Trusting FS = osFS{trust: true}

type osFS struct{ trust bool }

func (o osFS) OpenFile(name string, flag int, perm fs.FileMode) (File, error) {
	f, err := Open(name, flag, perm, o.trust)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

func (osFS) ReadDir(dir string) ([]fs.DirEntry, error) { return os.ReadDir(dir) }
func (osFS) Rename(from, to string) error              { return os.Rename(from, to) }
func (osFS) Remove(name string) error                  { return os.Remove(name) }

func (osFS) SyncDir(dir string) error {
	if !dirsCanSync {
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

type osFile struct{ *os.File }

func (f osFile) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}
