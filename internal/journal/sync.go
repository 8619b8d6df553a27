package journal

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"
)

// durability is how far the journal is on disk, the machine's end included.
type durability struct {
	round       chan struct{} // closed at the end of an attempt to make durable, then replaced
	durable     uint64        // of Writer.written
	durableRow  int64         // of Writer.last
	durableMark int64         // of Writer.settled
	dirDirty    bool          // files were made since the directory was durable
	syncing     bool          // an attempt is under way
	lost        bool          // the last attempt failed
	syncs       int64
	losses      int64
}

// Sync returns nil when every row that was given to Append before is durable, or is
// settled, and what Settle and Amend were told is durable, too. One fsync serves all
// callers that wait for it; if it fails, so do they all. ctx ends the waiting only.
// *MissingError means that rows have to be appended again.
func (w *Writer) Sync(ctx context.Context) error {
	w.mu.Lock()
	defer w.unlock()
	if err := w.complete(); err != nil {
		return err
	}
	target := w.written
	return w.until(ctx, func() bool { return w.durable >= target })
}

// SyncRows returns nil when every row up to the given one is durable, or is settled.
// It waits for an fsync only if that is not so yet; else it is like Sync.
func (w *Writer) SyncRows(ctx context.Context, upTo int64) error {
	w.mu.Lock()
	defer w.unlock()
	if err := w.missing(min(upTo, w.offered)); err != nil {
		return err
	}
	return w.until(ctx, func() bool { return max(w.durableRow, w.settled) >= min(upTo, w.offered) })
}

// Ask begins an fsync, unless one is waited for already: SyncRows finds it done.
func (w *Writer) Ask() {
	select {
	case w.kick <- struct{}{}:
	default:
	}
}

// until waits for fsyncs until a condition holds.
func (w *Writer) until(ctx context.Context, holds func() bool) error {
	for losses := w.losses; !holds(); {
		if w.closed {
			return ErrClosed
		}
		if err := w.wait(ctx); err != nil {
			return err
		}
		if w.losses != losses {
			return cmp.Or(w.missing(w.offered), w.failure)
		}
	}
	return nil
}

// Complete writes what could not be written of what Settle and Amend were told,
// and returns what the journal lacks all the same, nil if nothing. It does not
// wait for anything to be made durable.
func (w *Writer) Complete() error {
	w.mu.Lock()
	defer w.unlock()
	if err := w.complete(); err != nil {
		return err
	}
	return w.lacks()
}

// Written writes what could not be written before, and returns nil when the
// operating system has every row that was given to Append before and is not
// settled, and what Settle and Amend were told.
func (w *Writer) Written() error {
	w.mu.Lock()
	defer w.unlock()
	return w.complete()
}

// complete sees to it that everything is written that the journal was given.
func (w *Writer) complete() error {
	if err := w.missing(w.offered); err != nil {
		return err
	}
	if w.closed {
		return nil
	}
	return w.catchUp()
}

// wait waits for the end of an attempt; mu is held before and after.
func (w *Writer) wait(ctx context.Context) error {
	round := w.round
	w.mu.Unlock()
	defer w.mu.Lock()
	w.Ask()
	select {
	case <-round:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// startSyncing starts the goroutine that makes durable; Close ends it.
func (w *Writer) startSyncing() {
	w.kick, w.stop, w.ended = make(chan struct{}, 1), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(w.ended)
		ticker := time.NewTicker(w.cfg.SyncEvery)
		defer ticker.Stop()
		for {
			select {
			case <-w.kick:
			case <-ticker.C:
			case <-w.stop:
				return
			}
			_ = w.makeDurable() // Sync and Append report it
		}
	}()
}

// makeDurable is one attempt to make durable what is written when it begins, and
// what is settled then.
func (w *Writer) makeDurable() (err error) {
	w.mu.Lock()
	defer w.unlock()
	_ = w.catchUp()     // noted, and tried again
	var dirty []segment // as they are now
	for _, s := range w.segments {
		if s.file != nil && (s.firm < s.size || s != w.current) {
			dirty = append(dirty, *s)
		}
	}
	written, row, settled, dir := w.written, w.last, w.marked, w.dirDirty
	w.dirDirty = false // files made from here on are the next attempt's
	if len(dirty) > 0 || dir {
		w.syncs++
		w.syncing = true
		w.mu.Unlock()
		err = w.fsync(dirty, dir)
		w.mu.Lock()
		w.syncing = false
		if err != nil {
			w.lose(err)
			written, row, settled = 0, 0, 0
		} else {
			w.lost = false
			w.firmed(dirty)
		}
	}
	w.durable, w.durableRow, w.durableMark = max(w.durable, written), max(w.durableRow, row), max(w.durableMark, settled)
	w.trimBacklog()
	w.endRound()
	w.prune()
	return w.noted("make durable", err)
}

// endRound wakes those who wait for the end of an attempt.
func (w *Writer) endRound() {
	close(w.round)
	w.round = make(chan struct{})
}

func (w *Writer) fsync(dirty []segment, dir bool) error {
	for i := range dirty {
		if err := dirty[i].file.Sync(); err != nil {
			return fmt.Errorf("fsync %s: %w", dirty[i].path, err)
		}
		if w.cfg.Synced != nil {
			w.cfg.Synced()
		}
	}
	if !dir {
		return nil
	}
	if err := w.cfg.FS.SyncDir(w.cfg.Dir); err != nil {
		return fmt.Errorf("fsync %s: %w", w.cfg.Dir, err)
	}
	return nil
}

// firmed notes that segments are durable as far as they were, and closes those
// that are so to their end.
func (w *Writer) firmed(durable []segment) {
	for _, s := range w.segments {
		if i := slices.IndexFunc(durable, func(d segment) bool { return d.number == s.number }); i >= 0 {
			s.firm = durable[i].size
		}
		if s.file != nil && s != w.current && s.firm == s.size {
			s.file.Close() // an error has no meaning after fsync
			s.file = nil
		}
	}
}

// lose gives up what is not durable, after an fsync that failed: the system may
// have dropped it, and another fsync would not say so. The next record begins a
// new segment, with the control records that are lost, and the rows have to be
// appended again. Until they are, a process that dies leaves them where they were.
func (w *Writer) lose(err error) {
	w.losses++
	w.lost, w.failure, w.dirDirty = true, err, true
	for _, s := range w.segments {
		if s.file != nil {
			s.file.Close() // what it could say is known
			s.file, s.void = nil, s.firm == 0
		}
	}
	w.current, w.marked = nil, 0
	w.owing = w.owing || len(w.receipts) > 0
	w.last = w.durableRow
	w.mergeBacklog(0)
}
