package walk

import (
	"context"
	"io/fs"
	"sync"
	"sync/atomic"

	"github.com/charlievieth/fastwalk"
)

// run is one Walk.
type run struct {
	*Walker
	ctx    context.Context // ends with the caller's, or with the first error of emit
	cancel context.CancelCauseFunc
	emit   Emit
	todo   chan item // from the readers to the stat goroutines
	owners *names
	groups *names

	mu     sync.Mutex
	result Result
}

// item is a listed entry that waits for its lstat.
type item struct {
	path string
	mode fs.FileMode
}

// statAll is one goroutine of the pool. It ends when the readers are done;
// after a cancellation it only drains.
func (r *run) statAll() {
	for it := range r.todo {
		if r.ctx.Err() == nil {
			_, _ = r.record(it.path, it.mode, nil) // an error has cancelled r.ctx
		}
	}
}

// readAll lists the roots one after the other.
func (r *run) readAll(roots []string, readers int) error {
	for _, root := range roots {
		st, err := r.lstat(root)
		if err != nil {
			return rootError(root, err)
		}
		if r.Exclude.root(root) {
			r.Counts.Excluded.Add(1)
			continue
		}
		if !st.Mode.IsDir() {
			if err := r.send(item{root, st.Mode}); err != nil {
				return err
			}
			continue
		}
		if err := r.readTree(root, readers); err != nil {
			return err
		}
	}
	return nil
}

// readTree lists one root that is a directory.
func (r *run) readTree(root string, readers int) error {
	var met atomic.Bool // anything but a root that was read
	err := fastwalk.Walk(&fastwalk.Config{NumWorkers: readers}, root,
		func(path string, d fs.DirEntry, unread error) error {
			err := r.visit(path, path == root, d, unread)
			if path != root || unread != nil || err != nil {
				met.Store(true)
			}
			return err
		})
	if err == nil && !met.Load() {
		r.mu.Lock()
		r.result.Empty = append(r.result.Empty, root)
		r.mu.Unlock()
	}
	return err
}

// visit takes an entry from fastwalk, which calls it again with an error for a
// directory that could not be listed.
func (r *run) visit(path string, isRoot bool, d fs.DirEntry, unread error) error {
	switch {
	case r.ctx.Err() != nil:
		return context.Cause(r.ctx)
	case unread != nil:
		return r.unread(path, unread)
	case !isRoot && r.Exclude.entry(path):
		return r.excluded(d)
	case d.IsDir():
		return r.enter(path, d.Type())
	}
	return r.send(item{path, d.Type()})
}

// excluded counts an entry and, of a directory, skips all below.
func (r *run) excluded(d fs.DirEntry) error {
	r.Counts.Excluded.Add(1)
	if d.IsDir() {
		return fs.SkipDir
	}
	return nil
}

// send hands an entry to the stat goroutines.
func (r *run) send(it item) error {
	if special(it.mode) {
		r.Counts.Special.Add(1)
		return nil
	}
	select {
	case r.todo <- it:
		return nil
	case <-r.ctx.Done():
		return context.Cause(r.ctx)
	}
}

// enter emits a directory and decides whether it is read. One that is no
// directory any more is not: opening it would follow a link.
func (r *run) enter(path string, mode fs.FileMode) error {
	r.current.Store(&path)
	isDir, err := r.record(path, mode, nil)
	if err != nil {
		return err
	}
	if !isDir {
		return fs.SkipDir
	}
	if r.Exclude.below(path) {
		r.Counts.Excluded.Add(1)
		return fs.SkipDir
	}
	return nil
}

// unread emits a directory again, with the reason why its content is unknown.
func (r *run) unread(path string, reason error) error {
	if gone(reason) {
		return nil // emitted just before it vanished; nothing is below it
	}
	_, err := r.record(path, fs.ModeDir, reason)
	return err
}

// record looks at an entry, emits it and counts it. listed is the type that
// the directory had for it, and unread the reason why a directory, emitted
// before, could not be listed. It reports whether the entry is a directory
// that can be looked at. After an error r.ctx has ended.
func (r *run) record(path string, listed fs.FileMode, unread error) (isDir bool, err error) {
	st, err := r.lstat(path)
	switch {
	case err != nil && gone(err):
		r.Counts.Vanished.Add(1)
		return false, nil
	case err != nil:
		st = Stat{Mode: listed}
	case special(st.Mode):
		r.Counts.Special.Add(1)
		return false, nil
	}
	e := &Entry{Path: path, Type: typeOf(st.Mode), Stat: st, Err: err}
	if e.Err == nil {
		e.Err = unread
	}
	if st.Owned {
		e.Owner, e.Group = r.owners.of(st.UID), r.groups.of(st.GID)
	}
	if err := r.emit(r.ctx, e); err != nil {
		r.cancel(err)
		return false, err
	}
	r.count(e, unread != nil)
	return e.Type == Directory && e.Err == nil, nil
}

// count adds an emitted entry to the totals. again is set for a directory that
// was emitted and counted before.
func (r *run) count(e *Entry, again bool) {
	if e.Err != nil {
		r.Counts.Unreadable.Add(1)
		if e.Type == Directory {
			r.mu.Lock()
			r.result.Unread = append(r.result.Unread, e.Path)
			r.mu.Unlock()
		}
	}
	switch {
	case again:
	case e.Type == Directory:
		r.Counts.Directories.Add(1)
	case e.Type == Symlink:
		r.Counts.Symlinks.Add(1)
	default:
		r.Counts.Files.Add(1)
		r.Counts.Bytes.Add(e.Stat.Size)
	}
}
