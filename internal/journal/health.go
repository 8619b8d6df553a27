package journal

import (
	"slices"
	"sync/atomic"
)

// health is what others are told of a Writer.
type health struct {
	lacking   bool  // what Err said last
	stuck     bool  // what Undeleted said last
	undeleted error // why files that are not needed any more are there

	files, bytes, fsyncs atomic.Int64
}

// Err says what the journal lacks of what it was given, and why; nil if it has
// everything and the last attempt to make it durable did not fail.
func (w *Writer) Err() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.lacks()
}

// Undeleted says why files are left that nobody needs. It is tried again.
func (w *Writer) Undeleted() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.undeleted
}

func (w *Writer) lacks() error {
	if err := w.missing(w.offered); err != nil {
		return err
	}
	if w.marked < w.settled || w.lost || w.owing || w.unwritten() {
		return w.failure
	}
	return nil
}

func (w *Writer) unwritten() bool {
	return slices.ContainsFunc(w.backlog, func(e *entry) bool { return e.written == 0 })
}

// unlock ends what changes the journal.
func (w *Writer) unlock() {
	w.files.Store(int64(len(w.segments)))
	w.bytes.Store(w.size())
	w.fsyncs.Store(w.syncs)
	lacking, stuck := w.lacks() != nil, w.undeleted != nil
	changed := lacking != w.lacking || stuck != w.stuck
	w.lacking, w.stuck = lacking, stuck
	w.mu.Unlock()
	if changed && w.cfg.Changed != nil {
		w.cfg.Changed(w)
	}
}

// Figures are sizes of a journal.
type Figures struct {
	Files  int64
	Bytes  int64 // of all of them
	Fsyncs int64 // attempts to make durable
}

// Figures never waits, not even for a disk.
func (w *Writer) Figures() Figures {
	return Figures{Files: w.files.Load(), Bytes: w.bytes.Load(), Fsyncs: w.fsyncs.Load()}
}
