// Package dirlock makes sure that one process at a time uses the files of a
// writer in a directory.
//
// The lock is one of the operating system's on an open file, so that it ends
// with the process that holds it, however that ends. The file stays when the
// lock is released: deleting it could take it away from under the next holder.
// It tells who holds the lock, as JSON. On network file systems the lock is as
// good as theirs are.
package dirlock

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/memdbwriter/memdbwriter/internal/journal/fsys"
)

// ErrLocked is what a LockedError is.
var ErrLocked = errors.New("locked by another writer")

// errHeld is what the systems' tryLock returns if somebody has the lock.
var errHeld = errors.New("held")

// Holder is who holds a lock.
type Holder struct {
	PID     int       `json:"pid"`
	Host    string    `json:"host"`
	Program string    `json:"program"`
	Since   time.Time `json:"since"`
}

// LockedError says who has the lock.
type LockedError struct {
	Path   string // of the lock file
	Holder Holder // zero, if the file does not tell
}

func (e *LockedError) Error() string {
	h := e.Holder
	if h == (Holder{}) {
		return fmt.Sprintf("%s is %v", e.Path, ErrLocked)
	}
	return fmt.Sprintf("%s is %v: %.100q, process %d on host %.100q, since %s",
		e.Path, ErrLocked, h.Program, h.PID, h.Host, h.Since.Format(time.RFC3339)) // as the file has it
}

// Is makes errors.Is find ErrLocked.
func (e *LockedError) Is(target error) bool { return target == ErrLocked }

// maxHolder is more than a Holder takes in a file.
const maxHolder = 8 << 10

// Lock takes the lock of the given name in a directory, which is made, with its
// parents, if it is not there. It does not wait: if anybody has the lock, this
// process included, the error is a *LockedError. The function returned releases
// the lock and must be called once.
func Lock(dir, name string) (release func() error, err error) {
	if name == "" || name != filepath.Base(name) {
		return nil, fmt.Errorf("lock %q: not a file name", name)
	}
	if err := fsys.MakeDir(fsys.OS, dir); err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	path := filepath.Join(dir, name)
	f, err := fsys.Open(path, os.O_RDWR|os.O_CREATE, 0o600, true) // nothing in it is relied on
	if err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	err = tryLock(f, true)
	if err == errHeld {
		err = &LockedError{path, readHolder(f)}
		return nil, errors.Join(err, f.Close())
	}
	if err == nil {
		err = writeHolder(f)
	}
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", path, errors.Join(err, f.Close()))
	}
	return func() error {
		// The file first, while it is ours. Closing it releases the lock.
		return errors.Join(f.Truncate(0), f.Close())
	}, nil
}

const (
	poll     = 50 * time.Millisecond // between two attempts to take a lock
	patience = time.Second           // before somebody is told
)

// Wait is Lock, and waits for another process to release the lock as long as ctx
// lasts. After a second it calls waiting. A holder in this process is an error at
// once: who waits for itself waits in vain.
func Wait(ctx context.Context, dir, name string, waiting func(Holder)) (release func() error, err error) {
	begin, told := time.Now(), false
	for {
		release, err = Lock(dir, name)
		var locked *LockedError
		if !errors.As(err, &locked) || locked.Holder.isSelf() {
			return release, err
		}
		if !told && time.Since(begin) >= patience {
			told = true
			waiting(locked.Holder)
		}
		select {
		case <-time.After(poll):
		case <-ctx.Done():
			return nil, err
		}
	}
}

// isSelf reports whether the holder is this process.
func (h Holder) isSelf() bool {
	host, err := os.Hostname()
	return h.PID == os.Getpid() && (err != nil || h.Host == host)
}

// Check returns a *LockedError if somebody has the lock. It writes nothing. No
// lock file means no lock.
func Check(dir, name string) error {
	path := filepath.Join(dir, name)
	f, err := fsys.Open(path, os.O_RDONLY, 0, true)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look at the lock: %w", err)
	}
	err = tryLock(f, false)
	if err == errHeld {
		err = &LockedError{path, readHolder(f)}
	} else if err != nil {
		err = fmt.Errorf("look at the lock %s: %w", path, err)
	}
	return errors.Join(err, f.Close())
}

func writeHolder(f *os.File) error {
	h := Holder{PID: os.Getpid(), Program: filepath.Base(os.Args[0]), Since: time.Now().Truncate(time.Second)}
	var err error
	if h.Host, err = os.Hostname(); err != nil {
		h.Host = "unknown"
	}
	text, err := json.Marshal(h)
	if err != nil {
		return err
	}
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err = f.WriteAt(append(text, '\n'), 0)
	return err
}

// readHolder returns the zero Holder where the file does not tell: its holder
// may be just about to write it.
func readHolder(f *os.File) (h Holder) {
	text := make([]byte, maxHolder)
	n, _ := f.ReadAt(text, 0) // an error leaves less text than JSON needs
	if json.Unmarshal(text[:n], &h) != nil {
		return Holder{}
	}
	return h
}
