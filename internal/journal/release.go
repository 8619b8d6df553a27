package journal

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// Cut is a place in the journal: the segments before it.
type Cut uint64

// Cut ends the current segment. What is appended and settled from now on comes
// after the place that it returns. A checkpoint is made in three steps: Cut,
// write the checkpoint from what is in memory then or later, Release.
func (w *Writer) Cut() (Cut, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return 0, ErrClosed
	}
	if w.current != nil && !w.current.started {
		return Cut(w.current.number), nil
	}
	var err error
	if w.current != nil {
		err = w.retire()
	}
	if err == nil {
		err = w.begin()
	}
	if err != nil {
		return 0, w.noted("cut", err)
	}
	return Cut(w.current.number), nil
}

// Release says that a checkpoint is durable that holds every row up to the
// given number which waits, and every failed row, all as they were after Cut.
// Segments before the cut are deleted when they have no other rows that wait.
func (w *Writer) Release(cut Cut, upTo int64) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return ErrClosed
	}
	w.checkpointed = true
	w.released, w.releasedRows = max(w.released, cut), max(w.releasedRows, upTo)
	return w.noted("release", w.prune())
}

// prune deletes segments that are not needed, from the oldest to the first that
// is. None is as long as a failure might be lost: its row would be too.
func (w *Writer) prune() error {
	for !w.held && len(w.backlog) == 0 && len(w.segments) > 0 && w.needless(w.segments[0]) {
		if err := w.remove(w.segments[0]); err != nil {
			return err
		}
	}
	return nil
}

func (w *Writer) needless(s *segment) bool {
	switch {
	case s == w.current || s.file != nil:
		return false
	case s.number < uint64(w.released):
		return s.last <= max(w.settledOnDisk(), w.releasedRows)
	default:
		// That failed rows are gone must be remembered while a checkpoint has them.
		return s.last <= w.settledOnDisk() && s.live == 0 && !(s.gone && w.checkpointed)
	}
}

// settledOnDisk is how far a machine that dies remembers what is settled. Rows
// beyond are still needed: a checkpoint may have older ones of their keys, which
// recovery would write over what the destination has.
func (w *Writer) settledOnDisk() int64 {
	if w.cfg.Fsync {
		return w.durableEnd
	}
	return w.settled
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
	if s == w.current || s.file != nil || s.last > w.settled || s.live == 0 || s.gone && w.checkpointed {
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
	var err error
	if w.cfg.Fsync {
		close(w.stop)
		<-w.ended
		err = w.makeDurable()
	}
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

// empty reports whether no segment says anything that a recovery needs. With a
// checkpoint that is so only if nothing has happened since.
func (w *Writer) empty() bool {
	if w.held {
		return false
	}
	if w.checkpointed {
		return len(w.segments) == 1 && w.current != nil && !w.current.started && w.current.number == uint64(w.released)
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
	Durable    int64 // with Fsync: the highest one that is durable
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
