package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// maxFile is more than any .env file has.
const maxFile = 1 << 20

// load reads a file of settings; missing says that there is none. A symbolic
// link is followed, and stays one.
func load(path string) (data []byte, missing bool, err error) {
	info, err := os.Stat(path) // before it is opened: a FIFO would make that wait
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, true, nil
	case err != nil:
		return nil, false, err
	case !info.Mode().IsRegular():
		return nil, false, fmt.Errorf("%s is not a regular file", path)
	case info.Size() > maxFile:
		return nil, false, fmt.Errorf("%s has %d bytes, which is no file of settings", path, info.Size())
	}
	data, err = os.ReadFile(path)
	return data, false, err
}

// save replaces the file in one step: who reads it meanwhile has the old one or
// the new one. The new one has the old one's mode; of a file that was missing it
// is 0600, since settings may hold passwords.
func save(path string, data []byte) (err error) {
	mode := fs.FileMode(0o600)
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if info, err := os.Stat(path); err == nil {
		mode = info.Mode().Perm()
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".envsetup-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// show prints what changes and no value but those that are set, of which it
// hides passwords.
func show(w io.Writer, path string, changes []change) {
	fmt.Fprintf(w, "--- %s\n+++ %[1]s\n", path)
	for _, c := range changes {
		fmt.Fprintf(w, "@@ line %d @@\n", c.line)
		if !c.added {
			fmt.Fprintf(w, "-%s=%s\n", c.key, hidden(c.key, c.old))
		}
		fmt.Fprintf(w, "+%s=%s\n", c.key, hidden(c.key, c.new))
	}
}
