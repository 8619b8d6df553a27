package journal

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"time"
)

// header is that of a new segment.
func (c *Config) header(number uint64, next int64) *header {
	return &header{
		number: number, next: next, created: time.Now(),
		table: c.Table, writer: c.Writer, columns: c.Columns,
	}
}

// write writes the record whose body is in buf behind space for a head. When
// it fails the segment is as before.
func (w *Writer) write(k kind, seq int64) error {
	if len(w.buf)-headSize > maxBody {
		return fmt.Errorf("a record of %d bytes is too large", len(w.buf))
	}
	if err := w.room(int64(len(w.buf))); err != nil {
		return err
	}
	s := w.current
	check := s.seal(w.buf, k, seq, w.firm(s))
	if _, err := s.file.WriteAt(w.buf, s.size); err != nil {
		return fmt.Errorf("write %s: %w", s.path, errors.Join(err, w.takeBack()))
	}
	s.size += int64(len(w.buf))
	s.prev, s.started = check, true
	w.written++
	return nil
}

// seal fills in the head of a record and returns its check.
func (s *segment) seal(record []byte, k kind, seq, firm int64) uint32 {
	body := record[headSize:]
	h := head{kind: k, length: uint32(len(body)), seq: seq, firm: firm, prev: s.prev, crc: checksum(body)}
	h.encode(record, s.crc)
	return h.check
}

// firm is what a record that is about to be written says of those before it.
// Without Fsync that they were written is all that can be relied on.
func (w *Writer) firm(s *segment) int64 {
	if w.cfg.Fsync {
		return s.firm
	}
	return s.size
}

// takeBack removes what a failed write has left. Where that fails too, nothing
// more is written to the segment: what is incomplete at its end is cut by
// Replay.
func (w *Writer) takeBack() error {
	err := w.current.file.Truncate(w.current.size)
	if err == nil {
		return nil
	}
	return errors.Join(err, w.retire())
}

// room sees to it that there is a segment for a record of n bytes.
func (w *Writer) room(n int64) error {
	if s := w.current; s != nil && s.started && s.size+n > w.cfg.SegmentBytes {
		if err := w.retire(); err != nil {
			return err
		}
	}
	if w.current != nil {
		return nil
	}
	if err := w.begin(); err != nil {
		return fmt.Errorf("begin a segment: %w", err)
	}
	return nil
}

// begin makes a new segment. It begins with one record of all that must not be
// lost: what the control records say that are not durable, since what is before
// them in older segments may be lost when this one is not; what is settled; and
// which failed rows of the checkpoint are gone. As it is one, no part of it can be
// taken without the rest when writing fails half-way.
func (w *Writer) begin() error {
	h := w.cfg.header(w.next, w.last+1)
	b := h.encode()
	s := &segment{number: h.number, path: w.cfg.path(h.number), next: h.next, crc: h.crc, prev: h.crc}
	c, off := w.summary(), int64(len(b))
	record := c.append(make([]byte, headSize))
	if len(record)-headSize > maxBody {
		return fmt.Errorf("failed rows of %d bytes are too many for a record", len(record))
	}
	s.prev = s.seal(record, c.kind(), c.settled, 0)
	b = append(b, record...)
	if len(w.receipts) > 0 {
		record = w.receipts.append(make([]byte, headSize))
		s.prev = s.seal(record, receiptsKind, c.settled, 0)
		b = append(b, record...)
	}
	s.size = int64(len(b))
	if err := w.make(s, b); err != nil {
		return err
	}
	w.written++
	w.current, w.marked = s, w.settled
	for _, e := range w.backlog {
		e.written = w.written
	}
	w.refer(s, c, off)
	w.owing = false
	w.trimBacklog()
	w.dropVoid()
	return nil
}

// summary is what the records of the backlog say together, and which failed rows of
// checkpoints are gone.
func (w *Writer) summary() *control {
	return w.together(slices.Concat(w.undone, w.since))
}

// together is what the records of the backlog say, and that some rows are gone.
func (w *Writer) together(rowsGone []int64) *control {
	c := &control{settled: w.settled}
	gone := map[int64]bool{}
	take := func(seqs []int64) {
		for _, seq := range seqs {
			if !gone[seq] {
				gone[seq] = true
				c.gone = append(c.gone, seq)
			}
		}
	}
	take(rowsGone)
	for _, e := range w.backlog {
		take(e.gone)
	}
	known := map[int64]bool{}
	for _, e := range slices.Backward(w.backlog) { // the newest first
		for _, f := range e.failed {
			if !gone[f.Seq] && !known[f.Seq] {
				known[f.Seq] = true
				c.failed = append(c.failed, f)
			}
		}
	}
	return c
}

// mergeBacklog makes one record of the backlog, so that it does not grow as long
// as nothing becomes durable.
func (w *Writer) mergeBacklog(written uint64) {
	if len(w.backlog) > 0 {
		w.backlog = []*entry{{control: *w.together(nil), written: written}}
	}
}

// dropVoid deletes segments of which nothing was durable when an fsync failed.
// The rows in them are given up now that the current one begins with their
// numbers, and it repeats all else. Else a disk that keeps failing would be
// filled.
func (w *Writer) dropVoid() {
	w.segments = slices.DeleteFunc(w.segments, func(s *segment) bool {
		if !s.void || s.next < w.current.next {
			return false
		}
		err := w.cfg.FS.Remove(s.path)
		if err != nil {
			w.undeleted = err
		}
		return err == nil
	})
}

// make makes the file of a new segment. What a failed attempt leaves that cannot
// be removed stays in its place among the segments, until its turn comes to be
// deleted: it may say something about failed rows that later ones take back.
func (w *Writer) make(s *segment, b []byte) error {
	w.next++ // whatever happens: the name may be taken now
	f, err := w.cfg.FS.OpenFile(s.path, os.O_RDWR|os.O_CREATE|os.O_EXCL, filePerm)
	if err != nil {
		return err
	}
	w.dirDirty = true
	if _, err = f.WriteAt(b, 0); err == nil {
		s.file = f
		w.segments = append(w.segments, s)
		return nil
	}
	err = errors.Join(fmt.Errorf("write %s: %w", s.path, err), f.Close())
	if removeErr := w.cfg.FS.Remove(s.path); removeErr != nil {
		err = errors.Join(err, removeErr)
		s.size = 0 // nothing that can be relied on
		w.segments = append(w.segments, s)
	}
	return err
}

// retire ends writing to the current segment. With Fsync it stays open until
// it is durable, without until nobody makes it so.
func (w *Writer) retire() error {
	s := w.current
	w.current = nil
	if w.cfg.Fsync || w.syncing {
		return nil
	}
	err := s.file.Close()
	s.file = nil
	return err
}
