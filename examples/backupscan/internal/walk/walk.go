// Package walk lists directory trees for a backup: every file, directory and
// symbolic link with its metadata, as fast as the file system answers.
//
// On a network file system nearly all the time of a scan is the latency of one
// lstat after another, so that is what the walk does many of at a time:
//
//	reader goroutines (fastwalk)        list directories, lstat each directory
//	     | bounded channel              and emit it
//	stat goroutines, Walker.Stats       lstat files and links and emit them
//	     | emit, called concurrently
//	the caller
//
// An emit that blocks holds up the stat goroutines, they hold up the readers,
// and so the walk never runs further ahead of the caller than the channel is
// long.
//
// Symbolic links are listed and never followed. Sockets, pipes and devices are
// counted and not listed. What cannot be read is listed with its error; what
// vanishes between being listed and being looked at is only counted.
package walk

import (
	"context"
	"errors"
	"io/fs"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// DefaultStats is how many lstat calls a Walker keeps in flight.
const DefaultStats = 32

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
	Mode     fs.FileMode // type bits only
	Perm     uint32      // the twelve permission bits of Unix
	Size     int64
	Owned    bool // UID and GID are known
	UID, GID uint32
	Modified time.Time
	Accessed time.Time
	Created  time.Time
	Birth    bool // Created is the time of birth, else that of the last change of the inode
}

// Entry is one file, directory or symbolic link.
type Entry struct {
	Path string // absolute, in the system's spelling, any bytes
	Type Type
	Stat Stat

	// Owner and Group are names, or decimal ids where an id has no name; empty
	// where they are not known.
	Owner, Group string

	// Err is why Stat is empty or, for a directory with a Stat, why its
	// content could not be listed.
	Err error
}

// Counts are the running totals of a walk. They may be read at any time.
type Counts struct {
	Files, Directories, Symlinks atomic.Int64 // entries emitted
	Bytes                        atomic.Int64 // sizes of the files emitted
	Excluded                     atomic.Int64 // entries and whole subtrees left out
	Special                      atomic.Int64 // sockets, pipes and devices
	Unreadable                   atomic.Int64 // entries emitted with an error
	Vanished                     atomic.Int64 // listed, but gone when looked at
}

// Entries is the number of entries emitted so far.
func (c *Counts) Entries() int64 {
	return c.Files.Load() + c.Directories.Load() + c.Symlinks.Load()
}

// Result is what a finished walk learned besides the entries.
type Result struct {
	// Unread are the directories, emitted with an error, below which the
	// walk saw nothing or not everything.
	Unread []string
	// Empty are the roots in which there was nothing at all. It is what a
	// file system that is not mounted looks like.
	Empty []string
}

// Walker walks trees. Its fields are set before Walk and left alone after, and
// it serves one Walk.
type Walker struct {
	Stats   int      // lstat calls in flight, DefaultStats when 0
	Exclude *Exclude // nil excludes nothing
	Counts  Counts

	current atomic.Pointer[string]
	lstat   func(path string) (Stat, error) // test seam, nil in production
}

// Current is the directory that was entered last.
func (w *Walker) Current() string {
	if p := w.current.Load(); p != nil {
		return *p
	}
	return ""
}

// Emit takes an entry. It is called from many goroutines at once. The entry is
// the callee's. An error ends the walk.
//
// A directory whose content turns out to be unreadable is emitted a second
// time, then with its error, by the same goroutine.
type Emit func(ctx context.Context, e *Entry) error

// Walk lists the roots and everything below them. The roots come from Roots.
//
// It returns when every goroutine that it started is gone: with nil after a
// complete walk, else with the cause of ctx's end, the error of emit, or that
// of a root that is no longer there. Unreadable entries are no error.
func (w *Walker) Walk(ctx context.Context, roots []string, emit Emit) (Result, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)

	stats := w.Stats
	if stats <= 0 {
		stats = DefaultStats
	}
	r := &run{
		Walker: w, ctx: ctx, cancel: cancel, emit: emit,
		todo:   make(chan item, 8*stats),
		owners: newNames(userName), groups: newNames(groupName),
	}
	if r.lstat == nil {
		r.lstat = lstat
	}
	var pool sync.WaitGroup
	for range stats {
		pool.Go(r.statAll)
	}
	err := r.readAll(roots, stats)
	close(r.todo)
	pool.Wait()
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	return r.result, err
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

// gone reports whether err means that nothing is at the path any more.
func gone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
}

// Reason is the text of err without the path, which may be any bytes.
func Reason(err error) string {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		return pe.Err.Error()
	}
	return err.Error()
}
