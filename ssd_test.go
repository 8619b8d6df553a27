package memdbwriter

import (
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/memdbwriter/memdbwriter/internal/journal/faultfs"
	"github.com/memdbwriter/memdbwriter/internal/journal/fsys"
)

// ssd is a disk: what the operating system sees of it, and what is durable.
type ssd struct {
	dir     string
	durable *faultfs.FS
	before  func() error // each operation; an error is that the machine is dead
}

func newSSD(t *testing.T, files map[string][]byte) *ssd {
	t.Helper()
	d := &ssd{dir: t.TempDir(), durable: &faultfs.FS{}}
	for name, data := range files {
		path := filepath.Join(d.dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		d.durable.Put(path, data)
	}
	if err := d.durable.SyncDir(d.dir); err != nil {
		t.Fatal(err)
	}
	return d
}

// left is what is on the disk when the power comes back.
func (d *ssd) left(r *rand.Rand) map[string][]byte {
	files := map[string][]byte{}
	cut := d.durable.PowerCut(r)
	for _, path := range cut.Names("") {
		files[filepath.Base(path)] = cut.Get(path)
	}
	return files
}

// both does something to the files that are seen, and to those that will be left.
func (d *ssd) both(seen, durable func() error) error {
	if err := d.before(); err != nil {
		return err
	}
	if err := seen(); err != nil {
		return err
	}
	return durable()
}

func (d *ssd) OpenFile(name string, flag int, perm fs.FileMode) (fsys.File, error) {
	if flag&os.O_CREATE == 0 {
		f, err := fsys.OS.OpenFile(name, flag, perm)
		if err != nil || flag == os.O_RDONLY {
			return f, err
		}
		mirror, err := d.durable.OpenFile(name, flag, perm)
		return &ssdFile{f, mirror, d}, err
	}
	f := &ssdFile{disk: d}
	err := d.both(
		func() (err error) { f.File, err = fsys.OS.OpenFile(name, flag, perm); return err },
		func() (err error) { f.durable, err = d.durable.OpenFile(name, flag, perm); return err },
	)
	return f, err
}

func (d *ssd) ReadDir(dir string) ([]fs.DirEntry, error) { return fsys.OS.ReadDir(dir) }

func (d *ssd) Rename(from, to string) error {
	return d.both(func() error { return fsys.OS.Rename(from, to) }, func() error { return d.durable.Rename(from, to) })
}

func (d *ssd) Remove(name string) error {
	return d.both(func() error { return fsys.OS.Remove(name) }, func() error { return d.durable.Remove(name) })
}

func (d *ssd) SyncDir(dir string) error {
	return d.both(func() error { return nil }, func() error { return d.durable.SyncDir(dir) })
}

type ssdFile struct {
	fsys.File
	durable fsys.File
	disk    *ssd
}

func (f *ssdFile) WriteAt(b []byte, off int64) (n int, err error) {
	err = f.disk.both(
		func() (err error) { n, err = f.File.WriteAt(b, off); return err },
		func() error { _, err := f.durable.WriteAt(b, off); return err },
	)
	return n, err
}

func (f *ssdFile) Truncate(size int64) error {
	return f.disk.both(func() error { return f.File.Truncate(size) }, func() error { return f.durable.Truncate(size) })
}

func (f *ssdFile) Sync() error {
	return f.disk.both(func() error { return nil }, f.durable.Sync)
}
