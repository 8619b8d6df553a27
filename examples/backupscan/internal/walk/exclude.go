package walk

import (
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/gobwas/glob"
)

// Exclude decides what a walk leaves out. A nil Exclude leaves out nothing.
//
// A pattern is compared with the whole path, written with slashes; its star
// crosses slashes. It leaves out every path that it matches and everything
// below a directory that it matches. "*/cache" so leaves out all directories
// of that name with their content, "*/cache/*" their content only.
type Exclude struct {
	matches []*glob.Pattern // of a path itself
	beneath []*glob.Pattern // of a directory whose whole content is left out
	paths   map[string]bool // exact paths, folded
}

// foldCase is set where two spellings of a path are one file.
var foldCase = runtime.GOOS == "windows"

// NewExclude compiles patterns; exactly are paths, absolute and clean, to be
// left out besides. The error names every bad pattern.
func NewExclude(patterns []string, exactly ...string) (*Exclude, error) {
	x := &Exclude{paths: make(map[string]bool)}
	for _, p := range exactly {
		x.paths[slashed(p)] = true
	}
	var errs []error
	for _, p := range patterns {
		if err := x.add(p); err != nil {
			errs = append(errs, fmt.Errorf("exclude pattern %q: %w", p, err))
		}
	}
	return x, errors.Join(errs...)
}

func (x *Exclude) add(pattern string) error {
	text := slashed(pattern)
	if !rooted(text) {
		return fmt.Errorf("matches nothing, as it is compared with the whole path; write %q", "*/"+pattern)
	}
	whole, err := glob.Compile(text)
	if err != nil {
		return err
	}
	x.matches = append(x.matches, whole)

	// Because the star crosses slashes, "base/*" matches whatever is below
	// a directory that base matches. Knowing the directory spares reading it.
	if base, ok := strings.CutSuffix(text, "/*"); ok && base != "" {
		dir, err := glob.Compile(base)
		if err != nil {
			return err
		}
		x.beneath = append(x.beneath, dir)
	}
	return nil
}

// rooted reports whether the pattern can match an absolute path at all.
func rooted(pattern string) bool {
	return pattern != "" && (strings.ContainsAny(pattern[:1], `/*?[{\`) || filepath.VolumeName(pattern) != "")
}

// slashed is a path, or a pattern, in the form in which they are compared.
func slashed(path string) string {
	path = filepath.ToSlash(path)
	if foldCase {
		path = strings.ToLower(path)
	}
	return path
}

// entry reports whether the path itself is left out. Its directory is not, or
// the path would not have been met.
func (x *Exclude) entry(path string) bool {
	if x == nil {
		return false
	}
	path = slashed(path)
	return x.paths[path] || anyMatch(x.matches, path)
}

// below reports whether everything below a directory is left out.
func (x *Exclude) below(dir string) bool {
	return x != nil && len(x.beneath) > 0 && anyMatch(x.beneath, slashed(dir))
}

// Covers reports whether a path, or a directory above it, is left out, or is
// below a directory whose content is.
func (x *Exclude) Covers(path string) bool {
	if x == nil {
		return false
	}
	for {
		if x.entry(path) {
			return true
		}
		parent := filepath.Dir(path)
		if parent == path {
			return false
		}
		path = parent
	}
}

func anyMatch(patterns []*glob.Pattern, path string) bool {
	for _, p := range patterns {
		if p.Match(path) {
			return true
		}
	}
	return false
}
