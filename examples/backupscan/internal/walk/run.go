package walk

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
)

// errListed is the reason of an entry that its directory lists, twice, and that
// is not found, as on a network file system whose server lost it.
var errListed = errors.New("its directory lists it, and it is not found")

// run is one Walk.
type run struct {
	*Walker
	ctx    context.Context // ends with the caller's, or with the first error
	cancel context.CancelCauseFunc
	emit   Emit
	roots  []string
	queue  *queue
	limit  int          // workers
	spare  atomic.Int64 // descriptors that directories with waiting children may keep
	owners *names
	groups *names
	mounts *mountTable
	links  linkSet

	mu      sync.Mutex
	result  Result
	handles map[*handle]bool // open
}

func newRun(ctx context.Context, cancel context.CancelCauseFunc, w *Walker, roots []string, emit Emit) *run {
	limit := w.descriptors
	if limit == 0 {
		limit = descriptors()
	}
	workers, spare := shares(w.Stats, limit)
	r := &run{
		Walker: w, ctx: ctx, cancel: cancel, emit: emit, roots: roots,
		queue: newQueue(workers), limit: workers,
		owners: newNames(userName), groups: newNames(groupName),
		mounts: newMountTable(), handles: make(map[*handle]bool),
	}
	r.spare.Store(int64(spare))
	return r
}

// shares divides half of the descriptors that the process may have: a worker
// needs up to four, for the directory that it lists, the listing, and two while
// it opens another from above.
func shares(workers, limit int) (stats, spare int) {
	if workers <= 0 {
		workers = DefaultStats
	}
	limit /= 2
	workers = max(1, min(workers, limit/8))
	return workers, max(0, min(limit-4*workers, 1024))
}

func (r *run) taken() Result {
	r.mu.Lock()
	defer r.mu.Unlock()
	return Result{Unread: slices.Clone(r.result.Unread), Skipped: slices.Clone(r.result.Skipped)}
}

// closeAll closes what a walk that was cut short has left open.
func (r *run) closeAll() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for h := range r.handles {
		h.close()
	}
	clear(r.handles)
}

// track notes that a directory's handle is open.
func (r *run) track(h *handle) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.handles[h] = true
}

func (r *run) close(h *handle) {
	h.close()
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.handles, h)
}

func (r *run) fault(op, path string) error {
	if r.Fault == nil {
		return nil
	}
	return r.Fault(op, path)
}

// begin queues a root.
func (r *run) begin(root string) error {
	if r.Exclude.Covers(root) {
		r.Counts.Excluded.Add(1)
		return nil
	}
	info, err := os.Lstat(root)
	if err != nil {
		return rootError(root, err)
	}
	d := &directory{path: root, mount: true}
	if !info.IsDir() { // by itself in a directory that is not emitted
		d = &directory{path: filepath.Dir(root), mount: true}
		return r.single(d, dirent{filepath.Base(root), info.Mode().Type(), true})
	}
	r.queue.directories(d)
	return nil
}

// single looks at one entry of a directory that is no part of the walk.
func (r *run) single(d *directory, e dirent) error {
	if _, err := r.acquire(d); err != nil {
		return rootError(join(d.path, e.name), err)
	}
	defer r.release(d)
	if err := r.place(d, join(d.path, e.name)); err != nil {
		return err
	}
	r.look(d, e)
	return nil
}

// worker works until there is nothing more to do or the walk is cut short.
func (r *run) worker() {
	for p, ok := r.queue.next(false); ok; p, ok = r.queue.next(true) {
		if len(p.entries) == 0 {
			r.enter(p.dir)
			continue
		}
		for _, e := range p.entries {
			if r.ctx.Err() != nil {
				return
			}
			r.look(p.dir, e)
		}
		if p.dir.pending.Add(-int64(len(p.entries))) == 0 {
			r.list(p.dir)
		}
	}
}

// enter opens a directory and begins to list it.
func (r *run) enter(d *directory) {
	r.current.Store(&d.path)
	_, err := r.acquire(d)
	if d.parent != nil {
		defer r.childOpened(d.parent)
	}
	if r.ctx.Err() != nil {
		return
	}
	switch {
	case exhausted(err):
		r.cancel(fmt.Errorf("open %s: %w", d.path, err))
	case err != nil && d.parent == nil:
		r.cancel(rootError(d.path, err))
	case missing(err):
		d.parent.lost(dirent{d.name, fs.ModeDir, true})
	case err != nil:
		r.closed(d, err)
	default:
		if r.into(d) {
			r.list(d)
		}
	}
}

// into decides whether the content of an open directory belongs to the walk.
func (r *run) into(d *directory) bool {
	if err := r.place(d, d.path); err != nil {
		r.cancel(err)
		return false
	}
	if reason := r.foreign(d); reason != "" {
		r.Counts.Mounts.Add(1)
		r.mu.Lock()
		r.result.Skipped = append(r.result.Skipped, Skip{d.path, reason})
		r.mu.Unlock()
		r.finishDirectory(d)
		return false
	}
	if r.Exclude.below(d.path) {
		r.Counts.Excluded.Add(1)
		d.met = true
		r.finishDirectory(d)
		return false
	}
	return true
}

// place finds the file system of an open directory, and says so if it is
// another one than the parent's.
func (r *run) place(d *directory, path string) error {
	if d.parent != nil && d.stat.Mount == d.parent.stat.Mount && (d.stat.Mount != 0 || d.stat.Device == d.parent.stat.Device) {
		d.watch = r.Watch[d.path]
		d.mount = d.watch
		return nil // d.fs is the parent's
	}
	d.mount = true
	d.fs = r.mounts.of(d.path, &d.stat)
	if r.Enter != nil && r.foreign(d) == "" {
		return r.Enter(r.ctx, path, d.fs)
	}
	return nil
}

// foreign says why the content of a mount point is left out.
func (r *run) foreign(d *directory) string {
	if d.parent == nil || d.fs == d.parent.fs {
		return ""
	}
	if d.fs.Pseudo && !r.Pseudo {
		return "holds no files (" + d.fs.Type + ")"
	}
	if r.OneFileSystem {
		return "another file system (" + d.fs.Type + ")"
	}
	if other := r.mounts.elsewhere(d.path, d.fs, r.roots); other != "" {
		return "the same files as " + other
	}
	return ""
}

// list reads parts of a directory until there is one with entries to look at.
func (r *run) list(d *directory) {
	for r.ctx.Err() == nil {
		part, err := r.read(d)
		if exhausted(err) {
			r.cancel(fmt.Errorf("list %s: %w", d.path, err))
			return
		}
		if err != nil {
			d.err = err
		}
		if err != nil || part == nil {
			r.listed(d)
			return
		}
		if d.watch && r.Enter != nil {
			d.watch = false
			if err := r.Enter(r.ctx, d.path, d.fs); err != nil {
				r.cancel(err)
				return
			}
		}
		if entries := r.sift(d, part); len(entries) > 0 {
			d.pending.Store(int64(len(entries)))
			r.queue.entries(d, entries)
			return
		}
	}
}

// read returns the next part of a directory, nil at its end.
func (r *run) read(d *directory) ([]dirent, error) {
	if err := r.fault("list", d.path); err != nil {
		return nil, err
	}
	return d.handle.list()
}

// sift leaves the entries that need an lstat.
func (r *run) sift(d *directory, part []dirent) []dirent {
	kept := part[:0]
	for _, e := range part {
		if e.name != "lost+found" {
			d.met = true
		}
		switch {
		case r.Exclude.entry(join(d.path, e.name), e.typed && e.mode.IsDir()):
			r.Counts.Excluded.Add(1)
		case e.typed && special(e.mode):
			r.Counts.Special.Add(1)
		case e.typed && e.mode.IsDir():
			d.subdirs = append(d.subdirs, d.child(e.name))
		default:
			kept = append(kept, e)
		}
	}
	return kept
}

// listed ends a directory of which every entry was looked at.
func (r *run) listed(d *directory) {
	d.mu.Lock()
	missing := d.missing
	d.missing = nil
	d.mu.Unlock()
	if len(missing) > 0 {
		r.lookAgain(d, missing)
	}
	if r.ctx.Err() == nil {
		r.finishDirectory(d)
	}
}

// finishDirectory emits an open directory and queues those below.
func (r *run) finishDirectory(d *directory) {
	r.record(&Entry{
		Path: d.path, Type: Directory, Stat: d.stat, FS: d.fs, Mounted: d.mount,
		Empty: !d.met && d.err == nil, Err: d.err,
	})
	subdirs := d.await()
	r.release(d)
	r.queue.directories(subdirs...)
}

// closed emits a directory that cannot be opened.
func (r *run) closed(d *directory, reason error) {
	e := &Entry{Path: d.path, Type: Directory, FS: d.fs, Err: reason}
	if above, err := r.acquire(d.parent); err == nil {
		st, err := r.lstat(above, d.path, d.name)
		r.release(d.parent)
		if err == nil && st.Mode.IsDir() {
			e.Stat = st
		}
	}
	r.record(e)
}

// look looks at an entry that is not known to be a directory, and emits it.
func (r *run) look(d *directory, e dirent) {
	h, err := r.acquire(d)
	var st Stat
	path := join(d.path, e.name)
	if err == nil {
		st, err = r.lstat(h, path, e.name)
		r.release(d)
	}
	if r.ctx.Err() != nil {
		return // perhaps long after Walk has returned
	}
	switch {
	case exhausted(err):
		r.cancel(fmt.Errorf("lstat %s: %w", path, err))
	case missing(err):
		d.lost(e)
	case err != nil:
		r.record(&Entry{Path: path, Type: typeOf(e.mode), Stat: Stat{Mode: e.mode}, FS: d.fs, Err: err})
	case special(st.Mode):
		r.Counts.Special.Add(1)
	case st.Mode.IsDir():
		r.descend(d, e)
	default:
		r.record(&Entry{Path: path, Type: typeOf(st.Mode), Stat: st, FS: d.fs})
	}
}

// descend notes a directory that the listing did not call one.
func (r *run) descend(d *directory, e dirent) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.children++ // until childOpened
	r.queue.directories(d.child(e.name))
}

func (r *run) lstat(h *handle, path, name string) (Stat, error) {
	if err := r.fault("lstat", path); err != nil {
		return Stat{}, err
	}
	return h.lstat(name)
}

// lookAgain lists a directory once more for names that were not found in it.
func (r *run) lookAgain(d *directory, names []dirent) {
	again, err := r.relist(d)
	if r.ctx.Err() != nil {
		return
	}
	for _, e := range names {
		path := join(d.path, e.name)
		switch {
		case err != nil && !missing(err):
			r.record(&Entry{Path: path, Type: typeOf(e.mode), Stat: Stat{Mode: e.mode}, FS: d.fs, Err: err})
		case !again[e.name]:
			r.Counts.Vanished.Add(1)
		default:
			r.insist(d, e, path)
		}
	}
}

// insist looks a last time for a name that its directory has again.
func (r *run) insist(d *directory, e dirent, path string) {
	h, err := r.acquire(d)
	if err == nil {
		var st Stat
		st, err = r.lstat(h, path, e.name)
		r.release(d)
		if err == nil && !st.Mode.IsDir() {
			if special(st.Mode) {
				r.Counts.Special.Add(1)
				return
			}
			r.record(&Entry{Path: path, Type: typeOf(st.Mode), Stat: st, FS: d.fs})
			return
		}
	}
	if missing(err) {
		err = errListed
	}
	if err == nil {
		err = errReplaced // a directory that came and went: the next scan sees it
	}
	r.record(&Entry{Path: path, Type: typeOf(e.mode), Stat: Stat{Mode: e.mode}, FS: d.fs, Err: err})
}

// relist returns all names that a directory has now.
func (r *run) relist(d *directory) (map[string]bool, error) {
	h, err := r.acquire(d)
	if err != nil {
		return nil, err
	}
	defer r.release(d)
	again, err := h.open(".")
	if err != nil {
		return nil, err
	}
	defer again.close()
	names := make(map[string]bool)
	for {
		if err := r.fault("list", d.path); err != nil {
			return nil, err
		}
		part, err := again.list()
		if err != nil || part == nil {
			return names, err
		}
		for _, e := range part {
			names[e.name] = true
		}
	}
}

// record emits an entry and counts it.
func (r *run) record(e *Entry) {
	if e.Stat.Owned {
		e.Owner, e.Group = r.owners.of(e.Stat.UID), r.groups.of(e.Stat.GID)
	}
	if err := r.emit(r.ctx, e); err != nil {
		r.cancel(err)
		return
	}
	if e.Err != nil {
		r.Counts.Unreadable.Add(1)
		r.mu.Lock()
		r.result.Unread = append(r.result.Unread, e.Path)
		r.mu.Unlock()
	}
	switch e.Type {
	case Directory:
		r.Counts.Directories.Add(1)
	case Symlink:
		r.Counts.Symlinks.Add(1)
	default:
		r.Counts.Files.Add(1)
		if r.links.again(&e.Stat) {
			r.Counts.Linked.Add(1)
			return
		}
		r.Counts.Bytes.Add(e.Stat.Size)
	}
}

// missing reports whether err means that what was listed is not there any more,
// or something else is: of a directory, a file or a link.
func missing(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) || errors.Is(err, syscall.ELOOP)
}

// exhausted reports whether err is about this process or system and not about a
// file: what follows would fail alike.
func exhausted(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) || errors.Is(err, syscall.ENOMEM)
}

// join appends a name to a directory's path.
func join(dir, name string) string {
	if os.IsPathSeparator(dir[len(dir)-1]) {
		return dir + name
	}
	return dir + string(os.PathSeparator) + name
}
