package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/dustin/go-humanize"

	"github.com/memdbwriter/memdbwriter/examples/backupscan/internal/catalog"
	"github.com/memdbwriter/memdbwriter/examples/backupscan/internal/walk"
)

// More than a tenth of a set, and more than so many rows, are removed only if
// the user says so.
const (
	manyRows  = 1000
	manyShare = 10
)

// pruned counts the rows of a set whose files a complete walk did not meet.
type pruned struct {
	gone    int64 // removed: not there any more
	left    int64 // removed: left out by a pattern or a flag of this scan
	many    int64 // of the two, not removed because they are too many
	copied  int64 // kept: they describe what is on tape
	outside int64 // kept: below none of the roots of this scan

	doubts map[doubt]int64 // kept: nobody knows
}

// doubt is why rows below a path were kept.
type doubt struct{ path, why string }

func (p *pruned) refused() bool { return p.many > 0 }

func (p *pruned) doubtful() (n int64) {
	for _, rows := range p.doubts {
		n += rows
	}
	return n
}

func (p *pruned) keep(path, why string) {
	if p.doubts == nil {
		p.doubts = make(map[doubt]int64)
	}
	p.doubts[doubt{path, why}]++
}

// tell names what was kept, and why.
func (p *pruned) tell(out io.Writer) {
	var lines []string
	for d, n := range p.doubts {
		lines = append(lines, fmt.Sprintf("kept: %s: %s rows: %s", printable(d.path), humanize.Comma(n), printable(d.why)))
	}
	slices.Sort(lines)
	for i, l := range lines {
		if i == mention {
			fmt.Fprintf(out, "kept: %d more places\n", len(lines)-mention)
			break
		}
		fmt.Fprintln(out, l)
	}
	if len(lines) > 0 {
		fmt.Fprintln(out, "kept rows stay in the set until their files are seen again; if what is there now is right, scan once with -accept and that directory")
	}
}

// ground is what a finished walk knows, as paths of the catalogue.
type ground struct {
	roots, unread, skipped, accepted map[string]bool
}

func (s *scan) ground(found walk.Result) ground {
	g := ground{roots: pathSet(s.roots), unread: pathSet(found.Unread), accepted: pathSet(s.accept), skipped: make(map[string]bool)}
	for _, skip := range found.Skipped {
		g.skipped[stored(skip.Path)] = true
	}
	return g
}

// prune removes the rows of files that are gone: those below the roots of this
// scan that the walk did not meet, be they deleted or left out now, as far as
// their absence can be believed. It must only follow a complete walk whose rows
// are all durable.
func (s *scan) prune(ctx context.Context, found walk.Result) error {
	g := s.ground(found)
	if s.known.rest() > 0 {
		var all pruned
		if err := s.unmet(ctx, g, &all, nil); err != nil {
			return err
		}
		if n := all.gone + all.left; n > manyRows && n*manyShare > s.known.count() && !s.removeMany {
			s.pruned = all
			s.pruned.many, s.pruned.gone, s.pruned.left = n, 0, 0
			return nil
		}
		if err := s.unmet(ctx, g, &s.pruned, s.remove); err != nil {
			return err
		}
	}
	return s.settle(ctx, g)
}

// unmet counts the rows that the walk did not meet, and hands those that are to
// go to remove, if there is one.
func (s *scan) unmet(ctx context.Context, g ground, p *pruned, remove func(context.Context, []string, *pruned) error) error {
	for after := ""; ; {
		page, err := s.catalog.Page(ctx, s.set, after)
		if err != nil || len(page) == 0 {
			return err
		}
		gone := s.gone(page, g, p)
		if remove != nil && len(gone) > 0 {
			if err := remove(ctx, gone, p); err != nil {
				return err
			}
		}
		after = page[len(page)-1].Path
	}
}

// gone returns the paths of a page that are to be removed, and counts all that
// were not met.
func (s *scan) gone(page []catalog.File, g ground, p *pruned) []string {
	var gone []string
	for _, f := range page {
		if !s.known.unmet(f.Path) {
			continue
		}
		switch path, why := s.doubtOf(f.Path, g); {
		case !below(f.Path, g.roots):
			p.outside++
		case f.Copied:
			p.copied++
		case why != "":
			p.keep(path, why)
		case below(f.Path, g.skipped) || s.walker.Exclude.Covers(f.Path):
			p.left++
			gone = append(gone, f.Path)
		default:
			p.gone++
			gone = append(gone, f.Path)
		}
	}
	return gone
}

// doubtOf says why the absence of a path is not believed; empty if it is.
func (s *scan) doubtOf(path string, g ground) (place, why string) {
	if dir, ok := prefix(path, g.unread); ok {
		return dir, "could not be read"
	}
	if below(path, g.accepted) || below(path, g.skipped) || s.walker.Exclude.Covers(path) {
		return "", ""
	}
	for dir := range above(path) {
		if why, ok := s.emptied.Load(dir); ok {
			return dir, why.(string)
		}
	}
	return moved(path, s.before, s.now)
}

// remove removes rows, and corrects the count by those that were put on tape
// since the page was read.
func (s *scan) remove(ctx context.Context, paths []string, p *pruned) error {
	n, err := s.catalog.Delete(ctx, s.set, paths)
	spared := int64(len(paths)) - n
	p.copied += spared
	p.gone -= min(spared, p.gone)
	return err
}

// settle keeps for the next scan what file systems the set's files are in now.
func (s *scan) settle(ctx context.Context, g ground) error {
	s.placesMu.Lock()
	defer s.placesMu.Unlock()
	before := s.before.text()
	s.before.settle(s.now, func(path string) bool {
		for d := range s.pruned.doubts {
			if d.path == path || strings.HasPrefix(d.path, strings.TrimRight(path, "/")+"/") {
				return true
			}
		}
		return false
	}, func(path string) bool { return below(path, g.roots) })
	if s.before.text() == before {
		return nil
	}
	return s.catalog.Save(ctx, s.set, s.before.text())
}
