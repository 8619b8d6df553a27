package journal

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"

	"github.com/memdbwriter/memdbwriter/internal/journal/fsys"
	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

// Visitor takes recovered rows. What it is given is valid during the call.
type Visitor struct {
	Rows   func(*tuple.Batch) error // rows that wait, each once, in order of arrival; gaps are possible
	Failed func(*Failure) error     // rows that had failed, as Failures hands them out; may be nil
}

// Replay hands out every failed row, and then every row that is not settled. Then
// it cuts what is behind the valid records of
// segments, having kept a copy if it is damaged. It is called once. After an
// error of the visitor, or of reading, nothing has been changed; what goes wrong
// with cutting and copying is among the Problems.
func (rec *Recovery) Replay(v Visitor) error {
	if v.Failed != nil {
		if err := rec.Failures(v.Failed); err != nil {
			return err
		}
	}
	p := replay{rec: rec, visit: v.Rows, next: rec.Settled + 1}
	for i, s := range rec.segments {
		p.again = math.MaxInt64
		for _, later := range rec.segments[i+1:] {
			p.again = min(p.again, later.next)
		}
		if err := p.segment(s); err != nil {
			return fmt.Errorf("replay journal file %s: %w", s.path, err)
		}
	}
	rec.Missing += max(0, rec.Last+1-p.next)
	rec.repair()
	rec.replayed = true
	if rec.writer != nil {
		rec.writer.release()
	}
	return nil
}

// Failures hands out every failed row, each once, in any order. Whoever sends
// rows has to know these first: a newer row of a key supersedes them.
func (rec *Recovery) Failures(visit func(*Failure) error) error {
	for _, s := range rec.segments {
		if !rec.hasFailures(s) {
			continue
		}
		_, err := rec.eachAgain(s, func(r *segmentReader, c *control) error {
			if c == nil {
				return nil
			}
			return rec.failures(place{number: s.number, off: r.at}, c, visit)
		})
		if err != nil {
			return fmt.Errorf("read the failed rows in journal file %s: %w", s.path, err)
		}
	}
	return nil
}

func (rec *Recovery) hasFailures(s *segment) bool {
	for _, at := range rec.failed {
		if at.number == s.number {
			return true
		}
	}
	return false
}

// failures hands out the failures of the record at a place that no later
// record replaces.
func (rec *Recovery) failures(at place, c *control, visit func(*Failure) error) error {
	for i := range c.failed {
		f := &c.failed[i]
		if newest, ok := rec.failed[f.Seq]; !ok || newest.number != at.number || newest.off != at.off {
			continue
		}
		rec.FailedRows++
		if err := visit(f); err != nil {
			return err
		}
	}
	return nil
}

// eachAgain is each for a segment that was scanned, which must not have changed.
func (rec *Recovery) eachAgain(s *segment, visit func(*segmentReader, *control) error) (*segmentReader, error) {
	return rec.each(s, func(r *segmentReader, c *control) error {
		if r.off > s.size {
			return errors.New("the file has changed since it was scanned")
		}
		return visit(r, c)
	})
}

// replay is a Replay under way.
type replay struct {
	rec   *Recovery
	visit func(*tuple.Batch) error
	next  int64 // rows below were handed out, or need not be
	again int64 // rows from here on were given up after a failed fsync: a later segment begins with them
}

func (p *replay) segment(s *segment) error {
	_, err := p.rec.eachAgain(s, func(r *segmentReader, c *control) error {
		if c != nil {
			return nil
		}
		return p.rows(&r.rows)
	})
	return err
}

// rows hands out those rows of a block that were not yet. Of rows that were given up
// after a failed fsync there may be gaps, behind which only a later segment goes on.
func (p *replay) rows(b *tuple.Batch) error {
	begin := b.Rows[0].Seq
	first := max(begin, p.next)
	if first >= begin+int64(b.Len()) || first > p.next && p.again <= p.next {
		return nil
	}
	p.rec.Missing += first - p.next
	p.rec.Rows += begin + int64(b.Len()) - first
	p.next = begin + int64(b.Len())
	return p.visit(b.Slice(int(first-begin), b.Len()))
}

// repair makes every segment end with its last valid record, so that what is
// incomplete now is never taken for damage later.
func (rec *Recovery) repair() {
	for _, path := range rec.broken {
		rec.moveAside(path)
	}
	changed := len(rec.broken) > 0
	for _, s := range rec.segments {
		if s.excess == 0 {
			continue
		}
		changed = true
		var aside string
		var err error
		if s.damaged != nil {
			aside, err = rec.copyAside(s)
			rec.Problems = append(rec.Problems, Problem{File: s.path, Aside: aside, Err: errors.Join(s.damaged, err)})
		}
		if err == nil {
			rec.cut(s)
		}
	}
	if !changed {
		return
	}
	if err := rec.cfg.FS.SyncDir(rec.cfg.Dir); err != nil {
		rec.problem(rec.cfg.Dir, err)
	}
}

func (rec *Recovery) cut(s *segment) {
	f, err := rec.cfg.FS.OpenFile(s.path, os.O_RDWR, 0)
	if err == nil {
		if err = f.Truncate(s.size); err == nil {
			err = f.Sync()
		}
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		rec.problem(s.path, fmt.Errorf("cut behind byte %d: %w", s.size, err))
		return
	}
	if s.damaged == nil {
		rec.Cut += s.excess
	}
}

// moveAside renames a file that has no header.
func (rec *Recovery) moveAside(path string) {
	f, aside, err := rec.createAside(path) // so that nothing is overwritten
	if err == nil {
		err = errors.Join(f.Close(), rec.cfg.FS.Rename(path, aside))
	}
	rec.Problems = append(rec.Problems, Problem{File: path, Aside: aside, Err: errors.Join(errHeader, err)})
}

// copyAside keeps a copy of a damaged segment, durably.
func (rec *Recovery) copyAside(s *segment) (aside string, err error) {
	from, err := rec.cfg.FS.OpenFile(s.path, os.O_RDONLY, 0)
	if err != nil {
		return "", err
	}
	defer from.Close() // only read
	to, aside, err := rec.createAside(s.path)
	if err != nil {
		return "", err
	}
	_, err = io.Copy(io.NewOffsetWriter(to, 0), io.NewSectionReader(from, 0, s.size+s.excess))
	if err == nil {
		err = to.Sync()
	}
	if err = errors.Join(err, to.Close()); err != nil {
		return "", errors.Join(err, rec.cfg.FS.Remove(aside))
	}
	return aside, nil
}

// createAside makes an empty file under the first free name for what a segment
// had in it.
func (rec *Recovery) createAside(path string) (f fsys.File, aside string, err error) {
	for i := 1; ; i++ {
		aside = path + damagedExt
		if i > 1 {
			aside = fmt.Sprintf("%s%s-%d", path, damagedExt, i)
		}
		f, err = rec.cfg.FS.OpenFile(aside, os.O_WRONLY|os.O_CREATE|os.O_EXCL, filePerm)
		switch {
		case err == nil:
			return f, aside, nil
		case !errors.Is(err, fs.ErrExist):
			return nil, "", err
		}
	}
}
