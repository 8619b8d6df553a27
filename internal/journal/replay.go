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
	Failed func(*Failure) error     // rows that had failed, each once, in any order
}

// Replay hands out every row that is not settled and whose arrival number is
// above after, the last one in the caller's checkpoint (0 without one), and
// every failed row. Then it cuts what is behind the valid records of segments,
// having kept a copy if it is damaged. It is called once. After an error of the
// visitor, or of reading, nothing has been changed; what goes wrong with cutting
// and copying is among the Problems.
//
// With Config.Fsync everything is made durable first: the process that wrote it
// may have died before it was, and the caller may send rows as soon as it has
// them.
func (rec *Recovery) Replay(after int64, v Visitor) error {
	rec.after = after
	if rec.cfg.Fsync && len(rec.segments) > 0 {
		if err := rec.makeDurable(); err != nil {
			return fmt.Errorf("replay journal: what an earlier process wrote cannot be made durable: %w", err)
		}
	}
	p := replay{rec: rec, visitor: v, next: max(rec.Settled, after) + 1}
	for i, s := range rec.segments {
		p.again = math.MaxInt64
		for _, later := range rec.segments[i+1:] {
			p.again = min(p.again, later.next)
		}
		if err := p.segment(s); err != nil {
			return fmt.Errorf("replay journal file %s: %w", s.path, err)
		}
	}
	rec.Last = max(rec.Last, after)
	rec.Missing += max(0, rec.Last+1-p.next)
	for _, at := range rec.failed {
		rec.byNumber(at.number).live++
	}
	rec.repair()
	rec.replayed = true
	return nil
}

// makeDurable makes durable what Scan has read.
func (rec *Recovery) makeDurable() error {
	for _, s := range rec.segments {
		f, err := rec.cfg.FS.OpenFile(s.path, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		if err := errors.Join(f.Sync(), f.Close()); err != nil {
			return fmt.Errorf("fsync %s: %w", s.path, err)
		}
	}
	return rec.cfg.FS.SyncDir(rec.cfg.Dir)
}

func (rec *Recovery) byNumber(number uint64) *segment {
	for _, s := range rec.segments {
		if s.number == number {
			return s
		}
	}
	return nil
}

// replay is a Replay under way.
type replay struct {
	rec     *Recovery
	visitor Visitor
	next    int64 // rows below were handed out, or need not be
	again   int64 // rows from here on were given up: a later segment begins with them
}

func (p *replay) segment(s *segment) error {
	_, err := p.rec.each(s, func(r *segmentReader, c *control) error {
		if r.off > s.size {
			return errors.New("the file has changed since it was scanned")
		}
		if c == nil {
			return p.rows(&r.rows)
		}
		return p.failures(place{number: s.number, off: r.at}, c)
	})
	return err
}

// rows hands out those rows of a block that were not yet. Rows that were given
// up after a failed fsync are not: what is left of them may have gaps, and
// which of them are used must not depend on what was settled since.
func (p *replay) rows(b *tuple.Batch) error {
	begin := b.Rows[0].Seq
	first, end := max(begin, p.next), min(begin+int64(b.Len()), p.again)
	if first >= end {
		return nil
	}
	b = b.Slice(int(first-begin), int(end-begin))
	p.rec.Missing += first - p.next
	p.rec.Rows += int64(b.Len())
	p.next = end
	return p.visitor.Rows(b)
}

// failures hands out the failures of the record at a place that no later
// record replaces.
func (p *replay) failures(at place, c *control) error {
	for i := range c.failed {
		f := &c.failed[i]
		if newest, ok := p.rec.failed[f.Seq]; !ok || newest.number != at.number || newest.off != at.off {
			continue
		}
		p.rec.FailedRows++
		if err := p.visitor.Failed(f); err != nil {
			return err
		}
	}
	return nil
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
