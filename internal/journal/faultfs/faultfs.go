// Package faultfs is a file system in memory that fails when a test says so,
// and that can lose its power: then of what was not made durable some part is
// left, in the way that disks and file systems are known to leave it.
package faultfs

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/memdbwriter/memdbwriter/internal/journal/fsys"
)

// Op is what a file system is asked to do.
type Op string

// The operations that can be made to fail.
const (
	Open     Op = "open"
	Create   Op = "create"
	Read     Op = "read"
	Write    Op = "write"
	Truncate Op = "truncate"
	Sync     Op = "sync"
	Rename   Op = "rename"
	Remove   Op = "remove"
	SyncDir  Op = "syncdir"
)

// Short is the error of a Fault that has N bytes written before it fails.
type Short struct {
	N   int
	Err error
}

func (e Short) Error() string { return e.Err.Error() }
func (e Short) Unwrap() error { return e.Err }

// sector is the piece of a write that reaches the disk whole or not at all.
const sector = 512

// FS is a file system in memory. The zero value is empty and has every
// directory.
type FS struct {
	// Fault is asked before every operation, without locks: it may block. An
	// error makes the operation fail. It must be set before the first use.
	Fault func(op Op, path string) error

	mu      sync.Mutex
	names   map[string]*inode
	durable map[string]*inode
	changes []func(map[string]*inode) // of names, not durable yet
}

// inode is a file, whatever it is called.
type inode struct {
	data    []byte  // as programs see it
	disk    []byte  // what survives
	pending []write // what makes data of disk
}

// write is one write, or a truncation if data is nil.
type write struct {
	off  int64
	data []byte
}

func (w write) apply(b []byte) []byte {
	if w.data == nil {
		if w.off <= int64(len(b)) {
			return b[:w.off]
		}
		return append(b, make([]byte, w.off-int64(len(b)))...)
	}
	if end := w.off + int64(len(w.data)); end > int64(len(b)) {
		b = append(b, make([]byte, end-int64(len(b)))...)
	}
	copy(b[w.off:], w.data)
	return b
}

func (f *FS) fault(op Op, path string) error {
	if f.Fault == nil {
		return nil
	}
	if err := f.Fault(op, path); err != nil {
		return &fs.PathError{Op: string(op), Path: path, Err: err}
	}
	return nil
}

// change changes the names, durably only after SyncDir.
func (f *FS) change(c func(map[string]*inode)) {
	if f.names == nil {
		f.names, f.durable = map[string]*inode{}, map[string]*inode{}
	}
	c(f.names)
	f.changes = append(f.changes, c)
}

// OpenFile opens a file, and makes it if flag says so.
func (f *FS) OpenFile(name string, flag int, _ fs.FileMode) (fsys.File, error) {
	op := Open
	if flag&os.O_CREATE != 0 {
		op = Create
	}
	if err := f.fault(op, name); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.names[name]
	switch {
	case n == nil && op == Open:
		return nil, &fs.PathError{Op: string(op), Path: name, Err: fs.ErrNotExist}
	case n != nil && flag&os.O_EXCL != 0:
		return nil, &fs.PathError{Op: string(op), Path: name, Err: fs.ErrExist}
	case n == nil:
		n = &inode{}
		f.change(func(names map[string]*inode) { names[name] = n })
	}
	return &file{fs: f, name: name, n: n}, nil
}

// ReadDir lists the files of a directory.
func (f *FS) ReadDir(dir string) (entries []fs.DirEntry, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(f.names)) {
		if filepath.Dir(name) == dir {
			entries = append(entries, fs.FileInfoToDirEntry(info(filepath.Base(name))))
		}
	}
	return entries, nil
}

// Rename renames a file, over another if there is one.
func (f *FS) Rename(from, to string) error {
	if err := f.fault(Rename, from); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.names[from]
	if n == nil {
		return &fs.PathError{Op: "rename", Path: from, Err: fs.ErrNotExist}
	}
	f.change(func(names map[string]*inode) { delete(names, from); names[to] = n })
	return nil
}

// Remove removes a file.
func (f *FS) Remove(name string) error {
	if err := f.fault(Remove, name); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.names[name] == nil {
		return &fs.PathError{Op: "remove", Path: name, Err: fs.ErrNotExist}
	}
	f.change(func(names map[string]*inode) { delete(names, name) })
	return nil
}

// SyncDir makes all changes of names durable.
func (f *FS) SyncDir(dir string) error {
	if err := f.fault(SyncDir, dir); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.durable, f.changes = maps.Clone(f.names), nil
	return nil
}

// PowerCut returns what is found on the disk after the machine died now: all
// that is durable, the first few of the other changes of names, and of every
// file any of the sectors written since.
func (f *FS) PowerCut(r *rand.Rand) *FS {
	f.mu.Lock()
	defer f.mu.Unlock()
	names := maps.Clone(f.durable)
	for _, c := range f.changes[:r.IntN(len(f.changes)+1)] {
		c(names)
	}
	after := &FS{names: map[string]*inode{}}
	for name, n := range names {
		b := n.left(r)
		after.names[name] = &inode{data: b, disk: slices.Clone(b)}
	}
	after.durable = maps.Clone(after.names)
	return after
}

// Copy returns what a later process finds after this one died, on a disk of
// which everything is durable.
func (f *FS) Copy() *FS {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := &FS{names: map[string]*inode{}}
	for name, n := range f.names {
		c.names[name] = &inode{data: slices.Clone(n.data), disk: slices.Clone(n.data)}
	}
	c.durable = maps.Clone(c.names)
	return c
}

// left is the content of a file after the power was cut.
func (n *inode) left(r *rand.Rand) []byte {
	b := slices.Clone(n.disk)
	fate := r.IntN(4)
	for i, w := range n.pending {
		switch {
		case fate == 0: // nothing arrived
		case fate == 1 && i < r.IntN(len(n.pending))+1, w.data == nil: // whole writes
			b = w.apply(b)
		case fate >= 2:
			b = w.torn(r, b)
		}
	}
	return b
}

// torn applies some of the sectors of a write.
func (w write) torn(r *rand.Rand, b []byte) []byte {
	for off := 0; off < len(w.data); {
		n := min(sector-int(w.off+int64(off))%sector, len(w.data)-off)
		if r.IntN(3) > 0 {
			b = write{off: w.off + int64(off), data: w.data[off : off+n]}.apply(b)
		}
		off += n
	}
	return b
}

// Put makes a durable file.
func (f *FS) Put(name string, data []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := &inode{data: slices.Clone(data), disk: slices.Clone(data)}
	f.change(func(names map[string]*inode) { names[name] = n })
}

// Get returns what a file holds, nil if there is none.
func (f *FS) Get(name string) []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	if n := f.names[name]; n != nil {
		return bytes.Clone(n.data)
	}
	return nil
}

// Names lists all files whose path contains part.
func (f *FS) Names(part string) []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.DeleteFunc(slices.Sorted(maps.Keys(f.names)), func(name string) bool {
		return !strings.Contains(name, part)
	})
}

// file is an open file.
type file struct {
	fs   *FS
	name string
	n    *inode
}

func (h *file) ReadAt(b []byte, off int64) (int, error) {
	if err := h.fs.fault(Read, h.name); err != nil {
		return 0, err
	}
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	if off >= int64(len(h.n.data)) {
		return 0, io.EOF
	}
	n := copy(b, h.n.data[off:])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

func (h *file) WriteAt(b []byte, off int64) (int, error) {
	err := h.fs.fault(Write, h.name)
	n := len(b)
	if err != nil {
		n = 0
		if short, ok := err.(*fs.PathError).Err.(Short); ok { //nolint:errorlint // made above
			n = min(short.N, len(b))
		}
	}
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	if n > 0 {
		h.n.apply(write{off: off, data: bytes.Clone(b[:n])})
	}
	return n, err
}

func (h *file) Truncate(size int64) error {
	if err := h.fs.fault(Truncate, h.name); err != nil {
		return err
	}
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	h.n.apply(write{off: size})
	return nil
}

func (n *inode) apply(w write) {
	n.data = w.apply(n.data)
	n.pending = append(n.pending, w)
}

// Sync makes durable what was written before the call. When it is made to fail
// nothing of that ever becomes so, whatever a later Sync says.
func (h *file) Sync() error {
	h.fs.mu.Lock()
	upTo := len(h.n.pending)
	h.fs.mu.Unlock()
	err := h.fs.fault(Sync, h.name)
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	upTo = min(upTo, len(h.n.pending))
	if err == nil {
		for _, w := range h.n.pending[:upTo] {
			h.n.disk = w.apply(h.n.disk)
		}
	}
	h.n.pending = slices.Delete(h.n.pending, 0, upTo)
	return err
}

func (h *file) Size() (int64, error) {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	return int64(len(h.n.data)), nil
}

func (h *file) Close() error { return nil }

// info is what ReadDir says of a regular file.
type info string

func (i info) Name() string       { return string(i) }
func (i info) Size() int64        { return 0 }
func (i info) Mode() fs.FileMode  { return 0o600 }
func (i info) ModTime() time.Time { return time.Time{} }
func (i info) IsDir() bool        { return false }
func (i info) Sys() any           { return nil }

// String lists the files with their sizes.
func (f *FS) String() string {
	var b strings.Builder
	for _, name := range f.Names("") {
		fmt.Fprintf(&b, "%s %d bytes\n", filepath.Base(name), len(f.Get(name)))
	}
	return b.String()
}
