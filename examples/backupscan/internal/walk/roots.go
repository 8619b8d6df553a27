package walk

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Roots turns the directories and files that a person named into what Walk
// takes: absolute, clean, each place once. A name inside another is dropped,
// as walking the other covers it.
//
// Links on the way to a root, and the root itself where it is one, are
// resolved: the paths of a backup must not depend on the name by which a place
// was reached, or one file would be in it twice.
//
// The error names every root that is missing or is neither a directory nor a
// file.
func Roots(names []string) ([]string, error) {
	var roots []string
	var errs []error
	for _, name := range names {
		root, err := resolve(name)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		roots = append(roots, root)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return outermost(roots), nil
}

func resolve(name string) (string, error) {
	abs, err := filepath.Abs(name)
	if err != nil {
		return "", rootError(name, err)
	}
	path, err := filepath.EvalSymlinks(abs)
	if err != nil {
		return "", rootError(name, err)
	}
	info, err := os.Lstat(path)
	if err != nil {
		return "", rootError(name, err)
	}
	if special(info.Mode()) {
		return "", fmt.Errorf("cannot scan %s: neither a directory nor a regular file", name)
	}
	return path, nil
}

func rootError(name string, err error) error {
	if pe, ok := errors.AsType[*os.PathError](err); ok {
		err = pe.Err
	}
	return fmt.Errorf("cannot scan %s: %w", name, err)
}

// outermost drops repeated paths and those inside another one.
func outermost(paths []string) []string {
	var kept []string
	slices.SortFunc(paths, func(a, b string) int { return len(a) - len(b) })
	for _, p := range paths {
		if !slices.ContainsFunc(kept, func(k string) bool { return Inside(p, k) }) {
			kept = append(kept, p)
		}
	}
	slices.Sort(kept)
	return kept
}

// Inside reports whether the clean path is dir or below it.
func Inside(path, dir string) bool {
	if !strings.HasPrefix(path, dir) {
		return false
	}
	return len(path) == len(dir) || os.IsPathSeparator(path[len(dir)]) || os.IsPathSeparator(dir[len(dir)-1])
}
