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
	check := s.seal(w.buf, k, seq, s.firm)
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

// takeBack removes what a failed write has left. Where that fails too, nothing
// more is written to the segment: what is incomplete at its end is cut by
// Replay.
func (w *Writer) takeBack() error {
	err := w.current.file.Truncate(w.current.size)
	if err == nil {
		return nil
	}
	w.current = nil // it stays open until it is durable
	return err
}

// room sees to it that there is a segment for a record of n bytes.
func (w *Writer) room(n int64) error {
	if s := w.current; s != nil && s.started && s.size+n > w.cfg.SegmentBytes {
		w.current = nil // it stays open until it is durable
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
// lost: what is settled, and what the control records say that are not durable, since
// what is before them in older segments may be lost when this one is not. As it is
// one, no part of it can be taken without the rest when writing fails half-way.
func (w *Writer) begin() error {
	h := w.cfg.header(w.next, w.last+1)
	b := h.encode()
	s := &segment{number: h.number, path: w.cfg.path(h.number), next: h.next, crc: h.crc, prev: h.crc}
	c, off := w.together(), int64(len(b))
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

// together is what the records of the backlog say.
func (w *Writer) together() *control {
	c := &control{settled: w.settled}
	gone := map[int64]bool{}
	for _, e := range w.backlog {
		for _, seq := range e.gone {
			if !gone[seq] {
				gone[seq] = true
				c.gone = append(c.gone, seq)
			}
		}
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
		w.backlog = []*entry{{control: *w.together(), written: written}}
	}
}

// dropVoid deletes the segments of which nothing was durable when an fsync failed,
// once all their rows have been appended again: every newer segment repeats all
// else. Else a disk that keeps failing would be filled.
func (w *Writer) dropVoid() {
	newest := len(w.segments) - 1
	if newest < 0 || w.segments[newest].void {
		return
	}
	have := max(w.last, w.settled)
	if slices.ContainsFunc(w.segments, func(s *segment) bool { return s.void && s.last > have }) {
		return
	}
	w.segments = slices.DeleteFunc(w.segments, func(s *segment) bool {
		if !s.void {
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
		s.size, s.void = 0, true // nothing that can be relied on
		w.segments = append(w.segments, s)
	}
	return err
}
