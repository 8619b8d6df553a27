package journal

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// prune deletes segments that are not needed, from the oldest to the first that
// is. None is as long as a failure might be lost: its row would be too.
func (w *Writer) prune() {
	w.undeleted = nil
	w.dropVoid()
	for !w.held && len(w.backlog) == 0 && len(w.segments) > 0 && w.needless(w.segments[0]) {
		if err := w.remove(w.segments[0]); err != nil {
			w.undeleted = err
			return
		}
	}
}

// needless reports whether recovery can do without the oldest segment: its rows are
// settled, which a machine that dies remembers, no failed row is in it, and what it
// says of transactions is repeated in the next one.
func (w *Writer) needless(s *segment) bool {
	return s != w.current && s.file == nil && s.last <= w.durableMark && s.live == 0 &&
		(len(w.receipts) == 0 || len(w.segments) > 1 && w.segments[1].firm > 0)
}

// remove deletes the oldest segment. The directory is made durable each time,
// so that of the deleted ones none but the last can come back.
func (w *Writer) remove(s *segment) error {
	if err := w.cfg.FS.Remove(s.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	w.segments = w.segments[1:]
	for seq, at := range w.failed {
		if at.number == s.number {
			delete(w.failed, seq)
		}
	}
	return w.cfg.FS.SyncDir(w.cfg.Dir)
}

// carry writes the live failures of the oldest segment once more, if they are
// all that keeps it and those behind it, and if that frees more than it costs.
func (w *Writer) carry() error {
	if w.held || len(w.backlog) > 0 || len(w.segments) == 0 || w.size() <= 2*w.cfg.SegmentBytes {
		return nil
	}
	s := w.segments[0]
	if s == w.current || s.file != nil || s.last > w.settled || s.live == 0 {
		return nil
	}
	var live int64
	for _, at := range w.failed {
		live += at.bytes
	}
	if w.size() <= 2*(w.cfg.SegmentBytes+live) {
		return nil
	}
	failed, err := w.liveFailures(s)
	if err != nil {
		return fmt.Errorf("read %s: %w", s.path, err)
	}
	return w.control(&control{settled: w.settled, failed: failed})
}

// liveFailures reads the failures of a segment that no later record replaces.
func (w *Writer) liveFailures(s *segment) (failed []Failure, err error) {
	f, err := w.cfg.FS.OpenFile(s.path, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close() // only read
	r, err := newSegmentReader(f, 0)
	if err == nil {
		err = r.follow(&w.cfg)
	}
	if err != nil {
		return nil, err
	}
	for r.off < s.size {
		if ok, err := r.next(); err != nil || !ok {
			return nil, errors.Join(err, r.broken)
		}
		c, err := r.decode()
		if err != nil {
			return nil, err
		}
		if c != nil {
			failed = append(failed, w.liveOf(c, s.number, r.at)...)
		}
	}
	return failed, nil
}

// liveOf copies those of a record's failures that no later one replaces.
func (w *Writer) liveOf(c *control, number uint64, off int64) (live []Failure) {
	kept := c.clone()
	for i := range kept.failed {
		if at, ok := w.failed[kept.failed[i].Seq]; ok && at.number == number && at.off == off {
			live = append(live, kept.failed[i])
		}
	}
	return live
}

// Close makes durable what is written, and ends the goroutine of the writer,
// which waits for the operating system. If nothing is left to be recovered no
// file remains. After the first call it does nothing.
func (w *Writer) Close() error {
	w.mu.Lock()
	if w.closed {
		w.mu.Unlock()
		return nil
	}
	w.closed = true
	w.mu.Unlock()
	close(w.stop)
	<-w.ended
	err := w.makeDurable()
	w.mu.Lock()
	defer w.mu.Unlock()
	if missing := w.missing(w.offered); missing != nil {
		err = missing
	}
	empty := w.empty()
	for _, s := range w.segments {
		if s.file != nil {
			err = errors.Join(err, s.file.Close())
			s.file = nil
		}
	}
	w.current = nil
	for empty && len(w.segments) > 0 {
		if removeErr := w.remove(w.segments[0]); removeErr != nil {
			return errors.Join(err, fmt.Errorf("close journal: %w", removeErr))
		}
	}
	return err
}

// empty reports whether no segment says anything that a recovery needs.
func (w *Writer) empty() bool {
	if w.held {
		return false
	}
	for _, s := range w.segments {
		if s.last > w.settled || s.live > 0 {
			return false
		}
	}
	return len(w.backlog) == 0
}

// Stats says what a journal holds.
type Stats struct {
	Segments   int
	Bytes      int64
	Last       int64 // the highest arrival number written
	Durable    int64 // the highest one that is durable
	Settled    int64
	FailedRows int
	Syncs      int64 // attempts to make durable
	Losses     int64 // of them, those that failed
}

// Stats may be called at any time.
func (w *Writer) Stats() Stats {
	w.mu.Lock()
	defer w.mu.Unlock()
	return Stats{
		Segments: len(w.segments), Bytes: w.size(), Last: w.last, Durable: w.durableRow, Settled: w.settled,
		FailedRows: len(w.failed), Syncs: w.syncs, Losses: w.losses,
	}
}
