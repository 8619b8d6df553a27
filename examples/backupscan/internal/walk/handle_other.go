//go:build !linux && !darwin

package walk

import (
	"errors"
	"io"
	"os"
	"path/filepath"
)

// handle is an open directory, by its path: a link that is swapped in while a
// scan runs may be followed on this system.
type handle struct {
	path string
	f    *os.File // nil until it is listed
}

func openRoot(path string) (*handle, error) {
	info, err := os.Lstat(path)
	if err == nil && !info.IsDir() {
		err = &os.PathError{Op: "open", Path: path, Err: errReplaced}
	}
	return &handle{path: path}, err
}

func (h *handle) open(name string) (*handle, error) { return openRoot(filepath.Join(h.path, name)) }

func (h *handle) close() {
	if h.f != nil {
		_ = h.f.Close() // of a directory that was only read
	}
}

func (h *handle) self() (Stat, error) { return lstat(h.path) }

func (h *handle) lstat(name string) (Stat, error) { return lstat(filepath.Join(h.path, name)) }

// list returns the next entries, nil at the end.
func (h *handle) list() (entries []dirent, err error) {
	if h.f == nil {
		if h.f, err = os.Open(h.path); err != nil {
			return nil, err
		}
	}
	part, err := h.f.ReadDir(1024)
	if errors.Is(err, io.EOF) {
		return nil, nil
	}
	for _, e := range part {
		entries = append(entries, dirent{e.Name(), e.Type(), true})
	}
	return entries, err
}

// descriptors is how many files the process may have open.
func descriptors() int { return 4096 }

// mountTable knows nothing here: absence is believed unless a directory is
// empty.
type mountTable struct{}

func newMountTable() *mountTable { return new(mountTable) }

func (t *mountTable) of(_ string, st *Stat) *FileSystem { return &FileSystem{device: st.Device} }

func (t *mountTable) elsewhere(string, *FileSystem, []string) string { return "" }
