package journal

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/memdbwriter/memdbwriter/internal/journal/fsys"
	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

// Problem is something about a file that its owner should know. Rows in it may
// be missing; those before the problem were used.
type Problem struct {
	File  string // where it was found
	Aside string // where a copy was kept, or where it was moved; empty if it was left alone
	Err   error
}

func (p Problem) Error() string {
	if p.Aside == "" {
		return fmt.Sprintf("journal file %s: %v; it was left alone", p.File, p.Err)
	}
	return fmt.Sprintf("journal file %s: %v; kept as %s", p.File, p.Err, p.Aside)
}

func (p Problem) Unwrap() error { return p.Err }

// Recovery is what a directory holds of a journal. Scan makes it, Create begins
// to write behind it, and Replay hands out the rows. What becomes of them can be
// written meanwhile.
type Recovery struct {
	Settled int64 // every row up to here was stored or refused
	Last    int64 // the highest arrival number that was ever taken; the next row has a higher one

	Rows, FailedRows int64 // handed out by Replay
	Missing          int64 // rows above Settled of which only the numbers are left
	Segments         int
	Bytes            int64 // on disk, without what was cut
	Cut              int64 // bytes of records that were not complete; normal after a crash
	Empty            int   // files without a row, left alone
	Problems         []Problem
	Added, Removed   []string // columns that rows on disk do not have, or have while the present ones do not

	cfg      Config
	segments []*segment // in the order of their age
	failed   map[int64]place
	receipts receipts
	broken   []string // files without a header, to be moved aside
	next     uint64   // number of the next segment
	writer   *Writer  // what Create made
	replayed bool
}

// place is where a record is.
type place struct {
	number uint64 // of the segment
	off    int64
	bytes  int64 // that the failure takes there
}

// segment is a file of the journal.
type segment struct {
	number uint64
	path   string
	next   int64 // arrival number that was next when it was made
	size   int64 // of its valid records, header included
	last   int64 // the highest arrival number in it, 0 without rows
	live   int   // failures in it that no later record replaces

	// Of segments that are read.
	excess  int64 // bytes behind size
	damaged error // why they are not merely incomplete

	// Of segments that are written.
	file    fsys.File // nil once it needs neither be written nor be made durable
	started bool      // there is more in it than what every segment begins with
	crc     uint32    // of the header
	prev    uint32    // check of the last record
	firm    int64     // size that is durable
	void    bool      // nothing of it was durable when an fsync failed
}

// Scan reads all segments of a journal, and changes nothing. It fails when a file
// cannot be read, or when a segment is of a newer format or has columns that the
// present ones cannot follow: then the program that wrote it has to drain it, or it has to be moved away.
func Scan(cfg Config) (*Recovery, error) {
	rec := &Recovery{cfg: cfg.withDefaults(), failed: map[int64]place{}, next: 1}
	if err := rec.list(); err != nil {
		return nil, fmt.Errorf("scan journal: %w", err)
	}
	for _, s := range rec.segments {
		if err := rec.scan(s); err != nil {
			return nil, fmt.Errorf("scan journal file %s: %w", s.path, err)
		}
	}
	for _, at := range rec.failed {
		rec.byNumber(at.number).live++
	}
	return rec, nil
}

func (rec *Recovery) byNumber(number uint64) *segment {
	for _, s := range rec.segments {
		if s.number == number {
			return s
		}
	}
	return nil
}

// makeDurable makes durable what was read: the process that wrote it may have died
// before it was.
func (rec *Recovery) makeDurable() error {
	for _, s := range rec.segments {
		f, err := rec.cfg.FS.OpenFile(s.path, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		if err := errors.Join(f.Sync(), f.Close()); err != nil {
			return fmt.Errorf("fsync %s: %w", s.path, err)
		}
		s.firm = s.size
	}
	return rec.cfg.FS.SyncDir(rec.cfg.Dir)
}

// list finds the segments and puts them in order.
func (rec *Recovery) list() error {
	entries, err := rec.cfg.FS.ReadDir(rec.cfg.Dir)
	if err != nil {
		return err
	}
	prefix := rec.cfg.prefix()
	for _, e := range entries {
		rec.neverAgain(prefix, e.Name())
		if _, ok := parseName(prefix, e.Name()); !ok || !e.Type().IsRegular() {
			continue
		}
		path := filepath.Join(rec.cfg.Dir, e.Name())
		if err := rec.identify(path); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	slices.SortStableFunc(rec.segments, func(a, b *segment) int { return cmp.Compare(a.number, b.number) })
	rec.dropCopies()
	rec.Segments = len(rec.segments)
	return nil
}

// neverAgain keeps the number of a file, whatever it is, from being used for a
// new one.
func (rec *Recovery) neverAgain(prefix, name string) {
	digits, ok := strings.CutPrefix(name, prefix)
	if !ok || len(digits) < 16 {
		return
	}
	if n, err := strconv.ParseUint(digits[:16], 16, 64); err == nil && n <= tuple.MaxSeq {
		rec.next = max(rec.next, n+1)
	}
}

// identify looks whose file it is.
func (rec *Recovery) identify(path string) error {
	f, err := rec.cfg.FS.OpenFile(path, os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close() // only read
	r, err := newSegmentReader(f, int64(len(rec.cfg.header(0, 0).encode())))
	switch {
	case errors.Is(err, errNothing):
		rec.Empty++
		return nil
	case errors.Is(err, errHeader):
		rec.broken = append(rec.broken, path)
		return nil
	case err != nil:
		return err
	}
	h := r.header
	if h.table != rec.cfg.Table || h.writer != rec.cfg.Writer {
		rec.problem(path, fmt.Errorf("belongs to table %q, writer %q", h.table, h.writer))
		return nil
	}
	if err := r.follow(&rec.cfg); err != nil {
		return err
	}
	if r.remap != nil {
		rec.Added, rec.Removed = r.remap.Added, r.remap.Removed
	}
	rec.segments = append(rec.segments, &segment{number: h.number, path: path, next: h.next})
	rec.next = max(rec.next, h.number+1)
	return nil
}

// dropCopies leaves of files with the same number the one that is named after
// it.
func (rec *Recovery) dropCopies() {
	rec.segments = slices.DeleteFunc(rec.segments, func(s *segment) bool {
		original := slices.ContainsFunc(rec.segments, func(o *segment) bool {
			return o.number == s.number && o.path == rec.cfg.path(s.number)
		})
		if !original || s.path == rec.cfg.path(s.number) {
			return false
		}
		rec.problem(s.path, fmt.Errorf("is a copy of %s", rec.cfg.path(s.number)))
		return true
	})
}

func (rec *Recovery) problem(path string, err error) {
	rec.Problems = append(rec.Problems, Problem{File: path, Err: err})
}

// scan reads the records of a segment and notes what they say.
func (rec *Recovery) scan(s *segment) error {
	r, err := rec.each(s, func(r *segmentReader, c *control) error {
		if c == nil {
			s.last = max(s.last, r.rows.Rows[r.rows.Len()-1].Seq)
			return nil
		}
		rec.note(s, c, r.at)
		return nil
	})
	if err != nil {
		return err
	}
	rec.Last = max(rec.Last, s.last, s.next-1, rec.Settled)
	s.size, s.excess = r.off, r.size-r.off
	rec.Bytes += s.size
	return nil
}

// note applies what a control record at off says.
func (rec *Recovery) note(s *segment, c *control, off int64) {
	rec.receipts = rec.receipts.settle(rec.Settled, c.settled)
	rec.Settled = max(rec.Settled, c.settled)
	for _, seq := range c.gone {
		delete(rec.failed, seq)
	}
	for i := range c.failed {
		rec.failed[c.failed[i].Seq] = place{number: s.number, off: off, bytes: c.failed[i].size()}
	}
	rec.receipts = rec.receipts.amend(c).add(c.receipts)
	for _, r := range c.receipts { // its rows may be nowhere, but their numbers must not be given again
		rec.Last = max(rec.Last, r.Last)
	}
}

// each visits the valid records of a segment, with a nil control for rows. It
// notes in s whether what follows them is damaged. The reader it returns is
// closed.
func (rec *Recovery) each(s *segment, visit func(*segmentReader, *control) error) (*segmentReader, error) {
	f, err := rec.cfg.FS.OpenFile(s.path, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close() // only read
	r, err := newSegmentReader(f, 0)
	if err == nil {
		err = r.follow(&rec.cfg)
	}
	if err != nil {
		return nil, err
	}
	for {
		if ok, err := r.next(); err != nil {
			return nil, err
		} else if !ok {
			break
		}
		c, err := r.decode()
		if errors.Is(err, ErrFormat) || errors.Is(err, ErrColumns) {
			return nil, err
		}
		if err != nil {
			break
		}
		if err := visit(r, c); err != nil {
			return nil, err
		}
	}
	return r, s.judge(r)
}

// judge notes whether what follows the valid records is damaged, or only
// incomplete.
func (s *segment) judge(r *segmentReader) error {
	s.damaged = nil
	if r.broken == nil {
		return nil
	}
	if errors.Is(r.broken, errRecord) {
		if firm, err := r.wasFirm(); err != nil || !firm {
			return err
		}
	}
	s.damaged = fmt.Errorf("damaged at byte %d of %d: %w", r.off, r.size, r.broken)
	return nil
}
