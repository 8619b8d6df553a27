package walk

import (
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"

	"github.com/gobwas/glob"
)

// Exclude decides what a walk leaves out. A nil Exclude leaves out nothing.
//
// A pattern is compared with the whole path, written with slashes; its star
// crosses slashes, and ** is the same, but that "a/**/b" matches "a/b" as well.
// It leaves out every path that it matches and everything below a directory that
// it matches. One that begins with neither a slash nor a star counts at any depth:
// "cache" is "*/cache". A slash at its end restricts it to directories. "cache" so
// leaves out all directories of that name with their content, "cache/*" their
// content only. Upper and lower case differ, except on Windows.
type Exclude struct {
	patterns []*pattern
	paths    map[string]bool // exact paths, folded
}

// pattern is one of an Exclude, perhaps in two spellings: as it was given, and
// with the links in its directory resolved, as the walk names paths.
type pattern struct {
	text    string
	matches []*glob.Pattern // of a path itself
	beneath []*glob.Pattern // of a directory whose whole content is left out
	dirs    bool            // it matches directories only
	used    atomic.Bool
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
	for _, text := range patterns {
		p, err := compile(text)
		if err != nil {
			errs = append(errs, fmt.Errorf("exclude pattern %q: %w", text, err))
			continue
		}
		x.patterns = append(x.patterns, p)
	}
	return x, errors.Join(errs...)
}

func compile(text string) (*pattern, error) {
	p := &pattern{text: text}
	whole := slashed(text)
	if trimmed := strings.TrimRight(whole, "/"); trimmed != whole {
		p.dirs, whole = true, trimmed
	}
	if whole == "" {
		return nil, errors.New("is empty")
	}
	if !rooted(whole) {
		whole = "*/" + whole
	}
	for _, spelling := range spellings(whole) {
		if err := p.add(spelling); err != nil {
			return nil, err
		}
	}
	return p, nil
}

func (p *pattern) add(text string) error {
	text = strings.ReplaceAll(text, "/**/", "{/,/*/}")
	for strings.Contains(text, "**") {
		text = strings.ReplaceAll(text, "**", "*")
	}
	whole, err := glob.Compile(text)
	if err != nil {
		return err
	}
	p.matches = append(p.matches, whole)

	// Because the star crosses slashes, "base/*" matches whatever is below
	// a directory that base matches. Knowing the directory spares reading it.
	if base, ok := strings.CutSuffix(text, "/*"); ok && base != "" {
		dir, err := glob.Compile(base)
		if err != nil {
			return err
		}
		p.beneath = append(p.beneath, dir)
	}
	return nil
}

// rooted reports whether the pattern is about a whole path.
func rooted(pattern string) bool {
	return pattern[0] == '/' || pattern[0] == '*' || filepath.VolumeName(pattern) != ""
}

// spellings adds to a pattern with a plain directory in front the one in which
// that directory's links are resolved.
func spellings(text string) []string {
	meta := strings.IndexAny(text, `*?[{\`)
	if meta < 0 {
		meta = len(text)
	}
	end := strings.LastIndexByte(text[:meta], '/')
	if end <= 0 {
		return []string{text}
	}
	real, err := filepath.EvalSymlinks(filepath.FromSlash(text[:end]))
	if err != nil || slashed(real) == text[:end] {
		return []string{text}
	}
	return []string{text, quoteMeta(slashed(real)) + text[end:]}
}

// quoteMeta is a pattern that matches the text only.
func quoteMeta(text string) string {
	var b strings.Builder
	for i := range len(text) {
		if strings.IndexByte(`*?[]{},\`, text[i]) >= 0 {
			b.WriteByte('\\')
		}
		b.WriteByte(text[i])
	}
	return b.String()
}

// Unused returns the patterns that have left out nothing.
func (x *Exclude) Unused() (patterns []string) {
	for _, p := range x.patterns {
		if !p.used.Load() {
			patterns = append(patterns, p.text)
		}
	}
	return patterns
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
func (x *Exclude) entry(path string, isDir bool) bool {
	if x == nil {
		return false
	}
	path = slashed(path)
	return x.paths[path] || x.any(func(p *pattern) bool { return (isDir || !p.dirs) && anyMatch(p.matches, path) })
}

// below reports whether everything below a directory is left out.
func (x *Exclude) below(dir string) bool {
	if x == nil {
		return false
	}
	dir = slashed(dir)
	return x.any(func(p *pattern) bool { return anyMatch(p.beneath, dir) })
}

// any reports whether a pattern matches. Those that have not yet are asked in
// any case, for Unused.
func (x *Exclude) any(matches func(*pattern) bool) (found bool) {
	for _, p := range x.patterns {
		if used := p.used.Load(); (!found || !used) && matches(p) {
			found = true
			if !used {
				p.used.Store(true)
			}
		}
	}
	return found
}

// Covers reports whether a path, or a directory above it, is left out, or is
// below a directory whose content is.
func (x *Exclude) Covers(path string) bool {
	if x == nil {
		return false
	}
	for {
		if x.entry(path, true) {
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
