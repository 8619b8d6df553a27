// Package walk lists directory trees for a backup: every file, directory and
// symbolic link with its metadata, as fast as the file system answers.
//
// On a network file system nearly all the time of a scan is the latency of one
// call after another, so many goroutines work at a time:
//
//	queue   directories to open, newest first; the entries of those that are
//	   |    listed, which come first and are handed out a few at a time
//	workers, Walker.Stats: open a directory, list a part of it, or lstat a few
//	   |    entries and emit them
//	the caller
//
// A directory is listed by one worker and its entries are looked at by all. An
// emit that blocks holds up the worker, and so the walk never runs further
// ahead of the caller than one part of a directory for each worker.
//
// A directory is opened below the descriptor of its parent, without following
// a link, so nothing that is swapped in meanwhile leads outside, and no path is
// too long. Descriptors are few: those of directories that are being listed, and
// of some whose children wait. One that was closed is opened again from the next
// ancestor that is open, and must be the same by device and inode.
//
// Symbolic links are listed and never followed. Sockets, pipes and devices are
// counted and not listed. What cannot be read is listed with its error. A name
// that is not found is looked for in a second listing: only if that does not
// have it either did it vanish.
package walk

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"sync/atomic"
	"time"
)

// DefaultStats is how many workers a Walker has.
const DefaultStats = 32

// Grace is how long Walk waits, after the end of its context, for calls that
// the file system does not answer.
const Grace = 2 * time.Second

// ErrStuck is wrapped by Walk's error if calls were unanswered after Grace. Their
// goroutines end, without another effect, when the file system answers.
var ErrStuck = errors.New("the file system does not answer")

// Type is what an entry is.
type Type string

// The types of an entry.
const (
	File      Type = "file"
	Directory Type = "directory"
	Symlink   Type = "symlink"
)

// Stat is what the file system knows about an entry. Times are in UTC, and
// zero where the system does not tell.
type Stat struct {
	Mode      fs.FileMode // type bits only
	Perm      uint32      // the twelve permission bits of Unix
	Size      int64
	Allocated int64  // bytes on the disk, -1 where the system does not tell
	Links     uint64 // hard links, 0 where the system does not tell
	Owned     bool   // UID and GID are known
	UID, GID  uint32
	Modified  time.Time
	Accessed  time.Time
	Created   time.Time
	Birth     bool // Created is the time of birth, else that of the last change of the inode

	// Device and Inode identify the file while the system runs, and Mount its
	// mount; 0 where the system does not tell.
	Device, Inode, Mount uint64
}

// same reports whether two looks at a directory were at the same one.
func (s *Stat) same(o *Stat) bool {
	return s.Device == o.Device && s.Inode == o.Inode && s.Mount == o.Mount
}

// Entry is one file, directory or symbolic link.
type Entry struct {
	Path string // absolute, in the system's spelling, any bytes
	Type Type
	Stat Stat

	// Owner and Group are names, or decimal ids where an id has no name; empty
	// where they are not known.
	Owner, Group string

	// FS is the file system that a directory's content is in.
	FS *FileSystem
	// Mounted is set for a root and a mount point.
	Mounted bool
	// Empty is set for a directory in which there was nothing but, perhaps,
	// lost+found.
	Empty bool

	// Err is why Stat is empty or, for a directory with a Stat, why its
	// content could not be listed.
	Err error
}

// Counts are the running totals of a walk. They may be read at any time.
type Counts struct {
	Files, Directories, Symlinks atomic.Int64 // entries emitted
	Bytes                        atomic.Int64 // sizes of the files emitted, each inode once
	Linked                       atomic.Int64 // further names of an inode that was emitted
	Excluded                     atomic.Int64 // entries and whole subtrees left out by a pattern
	Special                      atomic.Int64 // sockets, pipes and devices
	Unreadable                   atomic.Int64 // entries emitted with an error
	Vanished                     atomic.Int64 // listed, but gone when looked at
	Mounts                       atomic.Int64 // mounted file systems that were not entered
}

// Entries is the number of entries emitted so far.
func (c *Counts) Entries() int64 {
	return c.Files.Load() + c.Directories.Load() + c.Symlinks.Load()
}

// Result is what a walk learned besides the entries.
type Result struct {
	// Unread are the entries, emitted with an error, below which the walk saw
	// nothing or not everything.
	Unread []string
	// Skipped are mount points whose content was left out, with the reason.
	Skipped []Skip
}

// Skip is a mount point whose content was left out.
type Skip struct{ Path, Reason string }

// Walker walks trees. Its fields are set before Walk and left alone after, and
// it serves one Walk.
type Walker struct {
	Stats   int      // workers, DefaultStats when 0
	Exclude *Exclude // nil excludes nothing
	// OneFileSystem keeps the walk on the file systems of its roots.
	OneFileSystem bool
	// Pseudo has the walk enter file systems that hold no files, as /proc.
	Pseudo bool
	// Enter is called, if set, for each root and for each mount point below,
	// before anything in it is emitted. An error ends the walk.
	Enter func(ctx context.Context, path string, fs *FileSystem) error
	// Watch are paths, mount points of earlier walks, for which Enter is called as
	// well when they are none now and something is in them.
	Watch map[string]bool
	// Fault is called before a path is opened, listed or looked at ("open",
	// "list", "lstat"), and its error is taken for the system's. A test seam, nil
	// in production.
	Fault func(op, path string) error

	Counts      Counts
	current     atomic.Pointer[string]
	descriptors int // test seam: the limit of the process; 0 in production
}

// Current is the directory that was entered last.
func (w *Walker) Current() string {
	if p := w.current.Load(); p != nil {
		return *p
	}
	return ""
}

// Emit takes an entry. It is called from many goroutines at once. The entry is
// the callee's. An error ends the walk. A directory is emitted once, when it has
// been listed, which may be after entries below it.
type Emit func(ctx context.Context, e *Entry) error

// Walk lists the roots and everything below them. The roots come from Roots.
//
// It returns nil after a complete walk, else the cause of ctx's end, the error of
// emit or Enter, that of a root that is no longer there, or that of a system
// that is out of descriptors or memory. Unreadable entries are no error.
//
// When it returns, every goroutine that it started is gone, except those whose
// calls the file system does not answer: then the error is ErrStuck as well.
func (w *Walker) Walk(ctx context.Context, roots []string, emit Emit) (Result, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	r := newRun(ctx, cancel, w, roots, emit)
	defer context.AfterFunc(ctx, r.queue.close)()
	for _, root := range roots {
		if err := r.begin(root); err != nil {
			cancel(err)
			break
		}
	}
	return r.finish(r.work())
}

// work runs the workers and returns how many did not end.
func (r *run) work() (stuck int64) {
	var running atomic.Int64
	var pool sync.WaitGroup
	workers := r.limit
	running.Store(int64(workers))
	for range workers {
		pool.Go(func() {
			defer running.Add(-1)
			r.worker()
		})
	}
	ended := make(chan struct{})
	go func() {
		pool.Wait()
		close(ended)
	}()
	select {
	case <-ended:
		return 0
	case <-r.ctx.Done():
	}
	patience := time.NewTimer(Grace)
	defer patience.Stop()
	select {
	case <-ended:
		return 0
	case <-patience.C:
		return running.Load()
	}
}

// finish closes what is open and returns what Walk does.
func (r *run) finish(stuck int64) (Result, error) {
	err := context.Cause(r.ctx)
	if stuck > 0 {
		return r.taken(), fmt.Errorf("%w: %d calls below %s: %w", ErrStuck, stuck, r.Current(), err)
	}
	r.closeAll()
	return r.taken(), err
}

func typeOf(mode fs.FileMode) Type {
	switch {
	case mode.IsDir():
		return Directory
	case mode&fs.ModeSymlink != 0:
		return Symlink
	}
	return File
}

func special(mode fs.FileMode) bool {
	return mode.Type()&^(fs.ModeDir|fs.ModeSymlink) != 0
}

// Reason is the text of err without the path, which may be any bytes.
func Reason(err error) string {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		return pe.Err.Error()
	}
	return err.Error()
}
