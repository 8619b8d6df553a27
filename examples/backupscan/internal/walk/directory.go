package walk

import (
	"errors"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// errReplaced is met where a directory is not the one that was entered.
var errReplaced = errors.New("another directory is in its place since the scan entered it")

// directory is a directory that is opened and listed, or that others wait in.
type directory struct {
	parent *directory // nil for a root
	name   string     // in the parent
	path   string
	stat   Stat
	opened bool // stat is that of the directory that was opened
	fs     *FileSystem
	mount  bool // a root or a mount point, now or in an earlier walk
	watch  bool // Enter is to be called for the first entry

	// Of the listing, which one worker at a time has in hand.
	met     bool         // anything but lost+found
	subdirs []*directory // found so far
	err     error        // why it could not be listed to its end
	pending atomic.Int64 // entries of the last part that are not done

	mu       sync.Mutex
	handle   *handle
	users    int      // of handle
	children int      // subdirectories that were not opened yet
	kept     bool     // handle stays open for them
	missing  []dirent // listed, and not found
}

// dirent is a name in a directory, with its type if the system tells.
type dirent struct {
	name  string
	mode  fs.FileMode
	typed bool
}

// acquire returns the directory's handle, which stays open until release. It
// opens it, again if need be, below the parent's.
func (r *run) acquire(d *directory) (*handle, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.handle == nil {
		h, err := r.open(d)
		if err != nil {
			return nil, err
		}
		d.handle = h
		r.track(h)
	}
	d.users++
	return d.handle, nil
}

func (r *run) open(d *directory) (h *handle, err error) {
	if err := r.fault("open", d.path); err != nil {
		return nil, err
	}
	if d.parent == nil {
		h, err = openRoot(d.path)
	} else {
		var above *handle
		if above, err = r.acquire(d.parent); err != nil {
			return nil, err
		}
		h, err = above.open(d.name)
		r.release(d.parent)
	}
	if err != nil {
		return nil, err
	}
	return h, r.identify(d, h)
}

// identify looks at what was opened, the first time, and compares it after.
func (r *run) identify(d *directory, h *handle) error {
	st, err := h.self()
	switch {
	case err == nil && !d.opened:
		d.stat, d.opened = st, true
	case err == nil && !d.stat.same(&st):
		err = errReplaced
	}
	if err != nil {
		h.close()
	}
	return err
}

// release gives the handle back. It stays open while subdirectories wait, as
// far as there are descriptors.
func (r *run) release(d *directory) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.users--
	r.letGo(d)
}

// letGo closes the handle if nobody needs it. The caller holds d.mu.
func (r *run) letGo(d *directory) {
	if d.users > 0 || d.handle == nil {
		return
	}
	if d.children > 0 && (d.kept || r.keep()) {
		d.kept = true
		return
	}
	r.close(d.handle)
	d.handle = nil
	if d.kept {
		d.kept = false
		r.spare.Add(1)
	}
}

// keep takes one of the descriptors that may stay open.
func (r *run) keep() bool {
	if r.spare.Add(-1) >= 0 {
		return true
	}
	r.spare.Add(1)
	return false
}

// childOpened tells a directory that one of its subdirectories needs it less.
// After the last it looks again for those that were not found.
func (r *run) childOpened(d *directory) {
	d.mu.Lock()
	d.children--
	last := d.children == 0
	if last && len(d.missing) == 0 {
		r.letGo(d)
	}
	missing := d.missing
	if last {
		d.missing = nil
	}
	d.mu.Unlock()
	if last && len(missing) > 0 {
		r.lookAgain(d, missing)
	}
}

func (d *directory) lost(e dirent) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.missing = append(d.missing, e)
}

// child is the subdirectory of that name.
func (d *directory) child(name string) *directory {
	return &directory{parent: d, name: name, path: join(d.path, name), fs: d.fs}
}

// await sorts the subdirectories for the queue: the walk then goes roughly in
// the order of the paths, which is that of the catalogue's index.
func (d *directory) await() []*directory {
	slices.SortFunc(d.subdirs, func(a, b *directory) int { return strings.Compare(b.name, a.name) })
	d.mu.Lock()
	defer d.mu.Unlock()
	d.children = len(d.subdirs)
	subdirs := d.subdirs
	d.subdirs = nil
	return subdirs
}
