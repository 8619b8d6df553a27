package journal

import (
	"fmt"
	"slices"
)

// entry is a control record that must not be lost as long as later ones are
// written.
type entry struct {
	control
	written uint64 // Writer.written when it was, 0 if it was not yet
}

// Settle notes that every row up to the given number is in the destination or
// needs not be, except the failed ones, whose numbers are not above it. It is
// called after the destination has committed, and after the rows have left the
// memory that a checkpoint is made of. An error of writing only means that
// after a crash the rows would be recovered once more; the failures are kept
// and written with the next record.
func (w *Writer) Settle(upTo int64, failed []Failure) error {
	for i := range failed {
		if failed[i].Seq > upTo {
			return fmt.Errorf("settle in journal: failed row %d is above %d", failed[i].Seq, upTo)
		}
	}
	w.mu.Lock()
	defer w.unlock()
	if w.closed {
		return ErrClosed
	}
	w.receipts = w.receipts.settle(w.settled, upTo)
	w.settled = max(w.settled, upTo)
	err := w.control(&control{settled: w.settled, failed: failed})
	w.prune()
	if err == nil {
		err = w.carry()
	}
	return w.noted("settle", err)
}

// Amend notes that failed rows are gone, because they are stored now or a newer
// row is (see Discard for those that somebody gave up), and what others are now that have failed again or of which a newer row
// has taken a part. It is called when nothing waits that came before them. Errors
// are those of Settle.
func (w *Writer) Amend(gone []int64, again []Failure) error {
	if len(gone) == 0 && len(again) == 0 {
		return nil
	}
	w.mu.Lock()
	defer w.unlock()
	if w.closed {
		return ErrClosed
	}
	for _, seq := range gone {
		w.settled = max(w.settled, seq)
	}
	for i := range again {
		w.settled = max(w.settled, again[i].Seq)
	}
	c := &control{settled: w.settled, gone: gone, failed: again}
	w.receipts = w.receipts.amend(c)
	err := w.control(c)
	w.prune()
	return w.noted("amend", err)
}

// Discard notes that failed rows are gone, because somebody gave them up. Unlike
// Amend it says nothing of a transaction that tries them again with others. Errors
// are those of Settle.
func (w *Writer) Discard(gone []int64) error {
	if len(gone) == 0 {
		return nil
	}
	w.mu.Lock()
	defer w.unlock()
	if w.closed {
		return ErrClosed
	}
	w.settled = max(w.settled, slices.Max(gone))
	err := w.control(&control{settled: w.settled, gone: gone})
	w.receipts = w.receipts.discard(w.settled, w.isLive)
	w.prune()
	return w.noted("discard", err)
}

// isLive reports whether a row is a failed one.
func (w *Writer) isLive(seq int64) bool {
	for _, e := range slices.Backward(w.backlog) {
		switch {
		case slices.Contains(e.gone, seq):
			return false
		case slices.ContainsFunc(e.failed, func(f Failure) bool { return f.Seq == seq }):
			return true
		}
	}
	_, live := w.failed[seq]
	return live
}

func (w *Writer) noted(what string, err error) error {
	if err == nil {
		return nil
	}
	w.failure = fmt.Errorf("%s in journal: %w", what, err)
	return w.failure
}

// control writes a control record, and those before it that could not be
// written yet: failures must not come to light after what settles the rows.
func (w *Writer) control(c *control) error {
	if k := len(w.backlog); k >= maxBacklog && !w.unwritten() {
		w.mergeBacklog(w.backlog[k-1].written)
	}
	if e := w.revise(c); len(e.gone) > 0 || len(e.failed) > 0 {
		w.backlog = append(w.backlog, &entry{control: e})
	}
	if err := w.flushBacklog(); err != nil {
		return err
	}
	if w.marked < c.settled {
		if err := w.writeControl(&control{settled: c.settled}); err != nil {
			return err
		}
	}
	if w.owing = w.owing && len(w.receipts) > 0; !w.owing {
		return nil
	}
	return w.writeReceipts(w.receipts)
}

// revise brings records that could not be written up to date, so that they do
// not pile up, and returns a copy of what is left of c: its memory is the
// caller's.
func (w *Writer) revise(c *control) control {
	left := c.clone()
	gone := make(map[int64]bool, len(c.gone))
	for _, seq := range c.gone {
		gone[seq] = true
	}
	for _, e := range w.backlog {
		if e.written > 0 {
			continue
		}
		e.failed = slices.DeleteFunc(e.failed, func(f Failure) bool { return gone[f.Seq] })
		for i := range e.failed {
			f := &e.failed[i]
			if at := slices.IndexFunc(left.failed, func(again Failure) bool { return again.Seq == f.Seq }); at >= 0 {
				*f = left.failed[at]
				left.failed = slices.Delete(left.failed, at, at+1)
			}
		}
	}
	return left
}

// maxBacklog is how many control records wait to become durable before they are
// made one.
const maxBacklog = 64

// clone copies what the caller may change.
func (c *control) clone() control {
	n := control{settled: c.settled, gone: slices.Clone(c.gone), failed: slices.Clone(c.failed)}
	for i := range n.failed {
		n.failed[i].Tuple = slices.Clone(n.failed[i].Tuple)
	}
	return n
}

func (w *Writer) flushBacklog() error {
	for _, e := range slices.Clone(w.backlog) {
		if e.written > 0 {
			continue
		}
		w.buf = e.append(w.buf[:headSize])
		if err := w.room(int64(len(w.buf))); err != nil {
			return err
		}
		if e.written > 0 { // a new segment has begun with it
			continue
		}
		if err := w.writeControl(&e.control); err != nil {
			return err
		}
		e.written = w.written
	}
	w.trimBacklog()
	return nil
}

// catchUp writes what could not be written, or was lost, of what is settled
// and has failed.
func (w *Writer) catchUp() error {
	if w.marked == w.settled && !w.unwritten() && !w.owing {
		return nil
	}
	return w.noted("settle", w.control(&control{settled: w.settled}))
}

// trimBacklog forgets control records that cannot be lost any more.
func (w *Writer) trimBacklog() {
	w.backlog = slices.DeleteFunc(w.backlog, func(e *entry) bool {
		return e.written > 0 && e.written <= w.durable
	})
}

func (w *Writer) writeControl(c *control) error {
	w.buf = c.append(w.buf[:headSize])
	if err := w.write(c.kind(), c.settled); err != nil {
		return err
	}
	w.marked = max(w.marked, c.settled)
	// Whoever reads that a row is gone or has failed takes the receipts around it
	// for ended, though some may be of later attempts.
	w.owing = w.owing || len(c.gone)+len(c.failed) > 0
	w.refer(w.current, c, w.current.size-int64(len(w.buf)))
	return nil
}

// refer notes where the newest record of failed rows is.
func (w *Writer) refer(s *segment, c *control, off int64) {
	for _, seq := range c.gone {
		w.unrefer(seq)
	}
	for i := range c.failed {
		w.unrefer(c.failed[i].Seq)
		w.failed[c.failed[i].Seq] = place{number: s.number, off: off, bytes: c.failed[i].size()}
		s.live++
	}
}

func (w *Writer) unrefer(seq int64) {
	at, ok := w.failed[seq]
	if !ok {
		return
	}
	delete(w.failed, seq)
	for _, s := range w.segments {
		if s.number == at.number {
			s.live--
		}
	}
}
