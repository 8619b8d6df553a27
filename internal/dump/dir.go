package dump

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/memdbwriter/memdbwriter/internal/journal/fsys"
)

// Dir is the checkpoints of one writer in a directory, which may hold other
// files as well. Its methods must not run at the same time.
type Dir struct {
	Path     string
	Identity string  // see the function Identity
	Trust    bool    // files of other users are read, too
	FS       fsys.FS // nil: the operating system's. Files are read from that one in any case
}

func (d Dir) fs() fsys.FS {
	if d.FS == nil {
		return fsys.OS
	}
	return d.FS
}

// entry is a file, or anything else, with a name of ours.
type entry struct {
	name   string
	number uint64
	rest   string // what follows .sql in the name
	isFile bool
}

// entries returns everything in the directory that has a name of ours.
func (d Dir) entries() ([]entry, error) {
	if err := checkIdentity(d.Identity); err != nil {
		return nil, err
	}
	all, err := d.fs().ReadDir(d.Path)
	if err != nil {
		return nil, err
	}
	var ours []entry
	for _, e := range all {
		if number, rest, ok := parseName(d.Identity, e.Name()); ok {
			ours = append(ours, entry{e.Name(), number, rest, e.Type().IsRegular()})
		}
	}
	return ours, nil
}

// List returns the checkpoints, newest first, as their heads and trailers
// describe them; only Read checks that all in between is as it was written. A
// file that cannot be made out is in the list with its Err. Symbolic links and
// directories are not.
func (d Dir) List() ([]Info, error) {
	entries, err := d.entries()
	if err != nil {
		return nil, fmt.Errorf("list checkpoints: %w", err)
	}
	var infos []Info
	for _, e := range entries {
		if e.rest == "" && e.isFile {
			infos = append(infos, d.inspect(filepath.Join(d.Path, e.name), e.number))
		}
	}
	slices.SortFunc(infos, func(a, b Info) int { return cmp.Compare(b.Number, a.Number) })
	return infos, nil
}

func (d Dir) inspect(path string, number uint64) Info {
	c, err := d.open(path)
	if err != nil {
		return Info{Path: path, Number: number, Err: err}
	}
	if c.info.Err = errors.Join(c.foreign, c.Close()); c.info.Err != nil {
		c.info.Err = fmt.Errorf("checkpoint %s: %w", path, c.info.Err)
	}
	return c.info
}

// checkOurs makes sure that path is a checkpoint of ours and no link to one.
func (d Dir) checkOurs(path string) error {
	if err := checkIdentity(d.Identity); err != nil {
		return err
	}
	_, rest, ok := parseName(d.Identity, filepath.Base(path))
	if !ok || rest != "" || filepath.Clean(filepath.Dir(path)) != filepath.Clean(d.Path) {
		return fmt.Errorf("%s is not the name of a checkpoint of writer %s in %s", path, d.Identity, d.Path)
	}
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a regular file", path)
	}
	return nil
}

// Retire deletes checkpoints that were made before the given time and of which
// spent says that none of their rows is needed any more. It returns their
// paths, those deleted before an error included.
//
// It goes from the oldest to the newest and ends at the first that must stay:
// a checkpoint is never deleted while an older one is left, which would then
// be taken for the state of things. Files of which List gives an Err that says
// that nobody would load them stay, and do not count.
func (d Dir) Retire(before time.Time, spent func(Info) bool) (deleted []string, err error) {
	infos, err := d.List()
	if err != nil {
		return nil, err
	}
	made := make([]time.Time, len(infos))
	var next time.Time // the earliest of those that are newer
	for i, info := range infos {
		if made[i] = info.Created; !next.IsZero() && next.Before(made[i]) {
			made[i] = next
		}
		if info.Err == nil {
			next = made[i]
		}
	}
	for i, info := range slices.Backward(infos) {
		if errors.Is(info.Err, ErrForeign) || errors.Is(info.Err, ErrDamaged) {
			continue
		}
		if info.Err != nil || !made[i].Before(before) || !spent(info) {
			break
		}
		if err = d.fs().Remove(info.Path); err != nil {
			break
		}
		deleted = append(deleted, info.Path)
	}
	if len(deleted) > 0 {
		err = errors.Join(err, d.fs().SyncDir(d.Path))
	}
	if err != nil {
		return deleted, fmt.Errorf("delete old checkpoints: %w", err)
	}
	return deleted, nil
}

// Sweep deletes the unfinished files that a process left which died while it
// made a checkpoint, and returns their paths. No Writer may be open.
func (d Dir) Sweep() (deleted []string, err error) {
	entries, err := d.entries()
	for _, e := range entries {
		if e.rest != tempSuffix || !e.isFile {
			continue
		}
		path := filepath.Join(d.Path, e.name)
		if rerr := d.fs().Remove(path); rerr != nil {
			err = errors.Join(err, rerr)
			continue
		}
		deleted = append(deleted, path)
	}
	if err != nil {
		return deleted, fmt.Errorf("delete unfinished checkpoints: %w", err)
	}
	return deleted, nil
}

// next returns a number above all that the directory has seen of ours, what
// was set aside included.
func (d Dir) next() (uint64, error) {
	entries, err := d.entries()
	if err != nil {
		return 0, err
	}
	var last uint64
	for _, e := range entries {
		last = max(last, e.number)
	}
	return last + 1, nil
}

// printable reports whether a name can be part of a statement that people read.
func printable(name string) bool {
	return name != "" && !strings.ContainsFunc(name, func(r rune) bool { return r == '\ufffd' || !strconv.IsPrint(r) })
}
