package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/memdbwriter/memdbwriter/internal/dirlock"
	"github.com/memdbwriter/memdbwriter/internal/dump"
)

// writerFiles is what one writer keeps in one directory: checkpoints, a
// journal, or both.
type writerFiles struct {
	dir      string
	identity string      // of the writer, see dump.Identity
	infos    []dump.Info // all its checkpoints, newest first
	journal  *journalFiles
	named    []string // those files of it that the user named
}

// strange is a file that is named like ours and is of no use, as it cannot be
// told whose it is.
type strange struct {
	path string
	err  error
}

// found is what files and directories on a command line stand for.
type found struct {
	args     []string
	writers  []*writerFiles
	strange  []strange
	leftover []strange // what a recovery takes no notice of, and why
}

// find looks for what the arguments name.
func find(args []string) (*found, error) {
	f := found{args: args}
	seen := map[string]bool{}
	for _, arg := range args {
		info, err := os.Stat(arg)
		if err != nil {
			return nil, err
		}
		paths := []string{filepath.Clean(arg)}
		if info.IsDir() {
			if paths, err = below(arg); err != nil {
				return nil, err
			}
		}
		for _, path := range paths {
			if seen[path] {
				continue
			}
			seen[path] = true
			if err := f.add(path); err != nil {
				return nil, err
			}
		}
	}
	return &f, nil
}

// below returns the files of a directory, and of those in it where writers keep
// theirs if others may write to the directory itself.
func below(dir string) (paths []string, err error) {
	paths, err = ours(dir)
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		if !e.IsDir() || !strings.HasPrefix(e.Name(), "memdbwriter-") {
			continue
		}
		more, err := ours(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, err
		}
		paths = append(paths, more...)
	}
	return paths, err
}

// ours returns the files of a directory that are named as writers name theirs.
func ours(dir string) (paths []string, err error) {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if e.Type().IsRegular() && kindOf(e.Name()) != stranger {
			paths = append(paths, path)
		}
	}
	return paths, err
}

// warn names the files that are passed over.
func (f *found) warn(c *console) {
	for _, l := range f.leftover {
		c.note("%s: passed over: %v", l.path, l.err)
	}
}

// nothing is an error if there is nothing to work on.
func (f *found) nothing() error {
	if len(f.writers)+len(f.strange) > 0 {
		return nil
	}
	return fmt.Errorf("there is neither a checkpoint nor a journal in %s", strings.Join(f.args, ", "))
}

type kind int

const (
	stranger kind = iota
	checkpointFile
	segmentFile
	leftoverFile
)

// kindOf goes by the name.
func kindOf(name string) kind {
	switch {
	case strings.HasPrefix(name, "checkpoint_") && strings.HasSuffix(name, ".sql"):
		return checkpointFile
	case strings.HasPrefix(name, "journal_") && strings.HasSuffix(name, ".seg"):
		return segmentFile
	case strings.HasPrefix(name, "checkpoint_") && (strings.HasSuffix(name, ".sql.tmp") || strings.Contains(name, ".sql.damaged")),
		strings.HasPrefix(name, "journal_") && strings.Contains(name, ".seg.damaged"):
		return leftoverFile
	}
	return stranger
}

func (f *found) add(path string) error {
	dir, name := filepath.Split(path)
	dir = filepath.Clean(dir)
	switch kindOf(name) {
	case checkpointFile:
		f.addCheckpoint(dir, name, path)
		return nil
	case segmentFile:
		return f.addSegment(dir, path)
	case leftoverFile:
		why := errors.New("set aside as damaged")
		if strings.HasSuffix(name, ".tmp") {
			why = errors.New("never finished")
		}
		f.leftover = append(f.leftover, strange{path, why})
		return nil
	}
	return fmt.Errorf("%s is neither a checkpoint (checkpoint_*.sql) nor a segment of a journal (journal_*.seg); "+
		"a file that was renamed needs its name back, which tells whose it is", path)
}

// addCheckpoint finds the writer in checkpoint_<writer>_<time>_<number>.sql.
func (f *found) addCheckpoint(dir, name, path string) {
	parts := strings.Split(name, "_")
	if len(parts) < 4 {
		f.strange = append(f.strange, strange{path, errors.New("its name is not one that a writer makes")})
		return
	}
	w, err := f.writer(dir, strings.Join(parts[1:len(parts)-2], "_"))
	if err != nil {
		f.strange = append(f.strange, strange{path, err})
		return
	}
	if w.info(path) == nil {
		f.strange = append(f.strange, strange{path, errors.New("its name is not one that a writer makes, or it is not a regular file")})
		return
	}
	w.named = append(w.named, path)
}

func (f *found) addSegment(dir, path string) error {
	h, err := readHeader(path)
	if errors.Is(err, errUnwritten) {
		f.leftover = append(f.leftover, strange{path, err})
		return nil
	}
	if err != nil {
		f.strange = append(f.strange, strange{path, err})
		return nil
	}
	w, err := f.writer(dir, dump.Identity(h.Table, h.Writer))
	if err == nil {
		w.named = append(w.named, path)
	}
	return err
}

// writer returns the files of a writer, all of them, named or not.
func (f *found) writer(dir, identity string) (*writerFiles, error) {
	for _, w := range f.writers {
		if w.dir == dir && w.identity == identity {
			return w, nil
		}
	}
	w := &writerFiles{dir: dir, identity: identity}
	var err error
	if w.infos, err = (dump.Dir{Path: dir, Identity: identity, Trust: true}).List(); err != nil {
		return nil, err
	}
	if w.journal, err = findJournal(dir, identity); err != nil {
		return nil, err
	}
	f.writers = append(f.writers, w)
	return w, nil
}

// info describes a checkpoint of the writer, nil if it has none at the path.
func (w *writerFiles) info(path string) *dump.Info {
	i := slices.IndexFunc(w.infos, func(i dump.Info) bool { return i.Path == path })
	if i < 0 {
		return nil
	}
	return &w.infos[i]
}

// newest returns the newest good one of some of the writer's checkpoints, nil
// if there is none.
func (w *writerFiles) newest(of func(*dump.Info) bool) *dump.Info {
	for i := range w.infos {
		if w.infos[i].Err == nil && of(&w.infos[i]) {
			return &w.infos[i]
		}
	}
	return nil
}

func (w *writerFiles) isNamed(path string) bool { return slices.Contains(w.named, path) }

// lock keeps writers away until the function returned is called. A directory
// without the writer's lock file is a copy that no writer has ever used: it
// needs no lock, and nothing is written there.
func (w *writerFiles) lock() (release func() error, err error) {
	name := w.identity + ".lock"
	if _, err := os.Lstat(filepath.Join(w.dir, name)); errors.Is(err, fs.ErrNotExist) {
		return func() error { return nil }, nil
	}
	release, err = dirlock.Lock(w.dir, name)
	if errors.Is(err, dirlock.ErrLocked) {
		return nil, fmt.Errorf("the files are in use: %w", err)
	}
	return release, err
}

// readable refuses files that a living writer uses, unless forced. It writes
// nothing and does not keep the lock: a writer that wants to start must not fail
// because somebody looks at its files.
func (f *found) readable(force bool) error {
	for _, w := range f.writers {
		if force {
			continue
		}
		if err := dirlock.Check(w.dir, w.identity+".lock"); err != nil {
			return fmt.Errorf("the files are in use: %w; -force-read reads them all the same", err)
		}
	}
	return nil
}
