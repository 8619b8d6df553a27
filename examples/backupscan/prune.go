package main

import (
	"context"
	"strings"

	"github.com/memdbwriter/memdbwriter/examples/backupscan/internal/catalog"
	"github.com/memdbwriter/memdbwriter/examples/backupscan/internal/walk"
)

// pruned counts the rows of a set whose files a complete walk did not meet.
type pruned struct {
	gone    int64 // removed from the set
	copied  int64 // kept: they describe what is on tape
	unread  int64 // kept: below what could not be read
	empty   int64 // kept: below a root that has nothing in it, as one that is not mounted
	outside int64 // kept: below none of the roots of this scan
}

// ground is what a finished walk knows, as paths of the catalogue.
type ground struct {
	roots, unread, empty map[string]bool
}

func (s *scan) ground(found walk.Result) ground {
	return ground{roots: pathSet(s.roots), unread: pathSet(found.Unread), empty: pathSet(found.Empty)}
}

func pathSet(paths []string) map[string]bool {
	set := make(map[string]bool, len(paths))
	for _, p := range paths {
		set[stored(p)] = true
	}
	return set
}

// prune removes the rows of files that are gone: those below the roots of this
// scan that the walk did not meet, be they deleted or excluded now. It must
// only follow a complete walk whose rows are all durable.
func (s *scan) prune(ctx context.Context, found walk.Result) error {
	s.seen.sort()
	g := s.ground(found)
	for after := ""; ; {
		page, err := s.catalog.Page(ctx, s.set, after)
		if err != nil || len(page) == 0 {
			return err
		}
		if err := s.remove(ctx, s.gone(page, g)); err != nil {
			return err
		}
		after = page[len(page)-1].Path
	}
}

// gone returns the paths of a page that are to be removed, and counts those
// that are not there and stay.
func (s *scan) gone(page []catalog.File, g ground) []string {
	var gone []string
	for _, f := range page {
		switch {
		case s.seen.has(f.Path):
		case !below(f.Path, g.roots):
			s.pruned.outside++
		case below(f.Path, g.unread):
			s.pruned.unread++
		case below(f.Path, g.empty):
			s.pruned.empty++
		case f.Copied:
			s.pruned.copied++
		default:
			gone = append(gone, f.Path)
		}
	}
	return gone
}

func (s *scan) remove(ctx context.Context, paths []string) error {
	if len(paths) == 0 {
		return nil
	}
	n, err := s.catalog.Delete(ctx, s.set, paths)
	s.pruned.gone += n
	s.pruned.copied += int64(len(paths)) - n // copied since the page was read
	return err
}

// below reports whether the path or a directory above it is in the set.
func below(path string, set map[string]bool) bool {
	if len(set) == 0 {
		return false
	}
	for end := len(path); end > 0; end = strings.LastIndexByte(path[:end], '/') {
		if set[path[:end]] {
			return true
		}
	}
	// What remains is the root of the file system: "/", or "C:/".
	return set[path[:strings.IndexByte(path, '/')+1]]
}
