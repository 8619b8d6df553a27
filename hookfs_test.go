package memdbwriter

import (
	"io/fs"
	"os"
	"testing"

	"github.com/memdbwriter/memdbwriter/internal/journal/faultfs"
	"github.com/memdbwriter/memdbwriter/internal/journal/fsys"
)

// hookFS is the operating system's file system with something before each
// operation that changes it, whose error makes the operation fail, and
// something after each that took place.
type hookFS struct {
	before func(op faultfs.Op, path string) error
	after  func(op faultfs.Op, path string) // may be nil
}

func (h hookFS) do(op faultfs.Op, path string, what func() error) error {
	err := h.before(op, path)
	if err == nil {
		err = what()
	}
	if err == nil && h.after != nil {
		h.after(op, path)
	}
	return err
}

func (h hookFS) OpenFile(name string, flag int, perm fs.FileMode) (f fsys.File, err error) {
	if flag&os.O_CREATE == 0 {
		f, err = fsys.OS.OpenFile(name, flag, perm)
	} else {
		err = h.do(faultfs.Create, name, func() error { f, err = fsys.OS.OpenFile(name, flag, perm); return err })
	}
	if err != nil {
		return nil, err
	}
	return hookFile{f, h, name}, nil
}

func (h hookFS) ReadDir(dir string) ([]fs.DirEntry, error) { return fsys.OS.ReadDir(dir) }

func (h hookFS) Rename(from, to string) error {
	return h.do(faultfs.Rename, from, func() error { return fsys.OS.Rename(from, to) })
}

func (h hookFS) Remove(name string) error {
	return h.do(faultfs.Remove, name, func() error { return fsys.OS.Remove(name) })
}

func (h hookFS) SyncDir(dir string) error {
	return h.do(faultfs.SyncDir, dir, func() error { return fsys.OS.SyncDir(dir) })
}

type hookFile struct {
	fsys.File
	fs   hookFS
	name string
}

func (f hookFile) WriteAt(b []byte, off int64) (n int, err error) {
	err = f.fs.do(faultfs.Write, f.name, func() error { n, err = f.File.WriteAt(b, off); return err })
	return n, err
}

func (f hookFile) Truncate(size int64) error {
	return f.fs.do(faultfs.Truncate, f.name, func() error { return f.File.Truncate(size) })
}

func (f hookFile) Sync() error {
	return f.fs.do(faultfs.Sync, f.name, f.File.Sync)
}

// copyDir copies a directory as a process that dies now would leave it.
func copyDir(tb testing.TB, dir string) string {
	tb.Helper()
	left := tb.TempDir()
	if err := os.CopyFS(left, os.DirFS(dir)); err != nil {
		tb.Fatal(err)
	}
	return left
}
