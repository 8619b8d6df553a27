package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/memdbwriter/memdbwriter/examples/backupscan/internal/walk"
)

// places are the file systems in which the files of a set were found, by the
// paths of the catalogue at which they are mounted, kept from scan to scan. A
// path has several if rows of more than one may be below: until a scan finds
// that no old row is left there.
//
// The absence of a file is believed only if the file system that it was in, and
// no other, was walked again in that place.
type places map[string][]walk.FileSystem

func readPlaces(text string) (places, error) {
	p := make(places)
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		return nil, fmt.Errorf("the file systems of the set, in backup_scans, cannot be read: %w", err)
	}
	return p, nil
}

func (p places) text() string {
	text, _ := json.Marshal(p) // strings cannot fail
	return string(text)
}

// at returns the file systems that a path may be in, and where they are mounted.
func (p places) at(path string) (mounted string, in []walk.FileSystem) {
	for dir := range above(path) {
		if in, ok := p[dir]; ok {
			return dir, in
		}
	}
	return "", nil
}

// enter notes that a scan walks a file system at a path. Others that may have
// rows there stay, if the set has rows at all. It reports a change.
func (p places) enter(path string, fs walk.FileSystem, rows bool) bool {
	in, exact := p[path]
	if !exact && rows {
		_, in = p.at(path)
	}
	for i := range in {
		if in[i].Same(fs) {
			if exact && (fs.UUID == "" || in[i].UUID == fs.UUID) && in[i].Source == fs.Source {
				return false
			}
			in = slices.Clone(in)
			in[i] = fs
			p[path] = in
			return true
		}
	}
	p[path] = append(slices.Clone(in), fs)
	return true
}

// settle forgets, after a complete scan, what has no rows any more: below a path
// that is not among kept only what this scan walked is left.
func (p places) settle(now places, kept func(path string) bool, scanned func(path string) bool) {
	for path := range p {
		switch in, walked := now[path]; {
		case !scanned(path) || kept(path):
		case walked:
			p[path] = in
		default:
			delete(p, path)
		}
	}
}

// moved says why the absence of a path cannot be believed; empty if it can.
// before are the places of earlier scans and of this one, now those of this one.
func moved(path string, before, now places) (mounted, why string) {
	mounted, then := before.at(path)
	_, here := now.at(path)
	if len(then) == 0 || len(here) == 0 {
		return mounted, ""
	}
	for _, fs := range then {
		if !fs.Same(here[0]) {
			return mounted, fmt.Sprintf("files were found here in %s; now there is %s", fs, here[0])
		}
	}
	return mounted, ""
}

// above yields a path of the catalogue and the directories above it.
func above(path string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for end := len(path); end > 0; end = strings.LastIndexByte(path[:end], '/') {
			if !yield(path[:end]) {
				return
			}
		}
		// What remains is the root of the file system: "/", or "C:/".
		yield(path[:strings.IndexByte(path, '/')+1])
	}
}

// below reports whether the path or a directory above it is in the set.
func below(path string, set map[string]bool) bool {
	_, ok := prefix(path, set)
	return ok
}

// prefix returns which of the set it is.
func prefix(path string, set map[string]bool) (string, bool) {
	if len(set) == 0 {
		return "", false
	}
	for dir := range above(path) {
		if set[dir] {
			return dir, true
		}
	}
	return "", false
}

func pathSet(paths []string) map[string]bool {
	set := make(map[string]bool, len(paths))
	for _, p := range paths {
		set[stored(p)] = true
	}
	return set
}
