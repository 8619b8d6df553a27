package journal

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// Cut is a place in the journal: the segments before it.
type Cut uint64

// checkpoint is what a Writer knows of the newest one.
type checkpoint struct {
	exists       bool
	released     Cut            // segments below it are covered
	releasedRows int64          // rows up to it are
	saved        map[int64]bool // failed rows in it that are not gone
	undone       []int64        // failed rows in it that are gone
	cutting      bool           // another one is being made, or was and may be there
	since        []int64        // failed rows that are gone since it was begun
}

// Cut ends the current segment. What is appended and settled from now on comes
// after the place that it returns. A checkpoint is made in three steps: Cut,
// write the checkpoint from what is in memory then or later, Release.
func (w *Writer) Cut() (Cut, error) {
	w.mu.Lock()
	defer w.unlock()
	if w.closed {
		return 0, ErrClosed
	}
	w.cutting = true
	_ = w.catchUp() // noted, and tried again
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
// given number which waits, and every failed row, as they were after Cut. These
// are the failed ones. Segments before the cut are deleted when they have no
// other rows that wait.
func (w *Writer) Release(cut Cut, upTo int64, failed []int64) error {
	w.mu.Lock()
	defer w.unlock()
	if w.closed {
		return ErrClosed
	}
	w.exists = true
	w.released, w.releasedRows = max(w.released, cut), max(w.releasedRows, upTo)
	w.save(failed)
	var err error
	if len(w.undone) > 0 {
		err = w.control(&control{settled: w.settled, gone: w.undone})
	}
	w.prune()
	return w.noted("release", err)
}

// Checkpoint names the failed rows of the checkpoint that is recovered, after
// Create and before Replay. As one of them was refused, everything that came
// before it was settled, even if that is not noted here.
func (rec *Recovery) Checkpoint(failed []int64) {
	for _, seq := range failed {
		rec.Settled = max(rec.Settled, seq)
	}
	w := rec.writer
	w.mu.Lock()
	defer w.unlock()
	w.settled = max(w.settled, rec.Settled)
	_ = w.catchUp() // noted, and tried again
	w.save(failed)
}

// save notes the failed rows of a checkpoint. Which of them are gone is repeated
// at the begin of each segment as long as it is the newest one.
func (w *Writer) save(failed []int64) {
	w.saved, w.undone = make(map[int64]bool, len(failed)), nil
	for _, seq := range failed {
		w.saved[seq] = true
	}
	gone := w.since
	w.cutting, w.since = false, nil
	w.forget(gone)
}

// forget notes that failed rows are gone.
func (w *Writer) forget(gone []int64) {
	if w.cutting {
		w.since = append(w.since, gone...)
	}
	for _, seq := range gone {
		if w.saved[seq] {
			delete(w.saved, seq)
			w.undone = append(w.undone, seq)
		}
	}
}

// prune deletes segments that are not needed, from the oldest to the first that
// is. None is as long as a failure might be lost: its row would be too.
func (w *Writer) prune() {
	w.undeleted = nil
	for !w.held && w.safe() && len(w.segments) > 0 && w.needless(w.segments[0]) {
		if w.undeleted = w.remove(w.segments[0]); w.undeleted != nil {
			return
		}
	}
}

// safe reports whether what is said of failed rows cannot be lost any more: when
// the machine dies; when only the process does, if the disk makes nothing durable
// and rows need not be, since it would be filled.
func (w *Writer) safe() bool {
	return len(w.backlog) == 0 || w.lost && !w.cfg.Fsync && !w.unwritten()
}

func (w *Writer) needless(s *segment) bool {
	switch {
	case s == w.current || s.file != nil || !w.repeated():
		return false
	case s.number < uint64(w.released):
		return s.last <= max(w.settledOnDisk(), w.releasedRows)
	default:
		return s.last <= w.settledOnDisk() && s.live == 0
	}
}

// repeated reports whether the segment behind the oldest is on disk, which
// repeats what must be known for the sake of the checkpoint, and the receipts.
func (w *Writer) repeated() bool {
	return !w.exists && len(w.receipts) == 0 || len(w.segments) > 1 && w.segments[1].size > 0 && (!w.cfg.Fsync || w.segments[1].firm > 0)
}

// settledOnDisk is how far a machine that dies remembers what is settled. Rows
// beyond are still needed: a checkpoint may have older ones of their keys, which
// recovery would write over what the destination has.
func (w *Writer) settledOnDisk() int64 {
	if w.cfg.Fsync {
		return w.durableMark
	}
	return w.marked
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
// file remains, or one as long as there is a checkpoint. After the first call it
// does nothing.
func (w *Writer) Close() error {
	w.mu.Lock()
	if w.closed {
		w.mu.Unlock()
		return nil
	}
	w.closed = true
	w.mu.Unlock()
	var err error
	close(w.stop)
	<-w.ended
	if w.mustBeDurable() {
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

// empty reports whether no segment says anything that a recovery needs. As long
// as there is a checkpoint, what is settled is needed.
func (w *Writer) empty() bool {
	if w.held || w.exists {
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
