package memdbwriter

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/memdbwriter/memdbwriter/internal/dest"
	"github.com/memdbwriter/memdbwriter/internal/stage"
	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

// What the caller that has the turn of a BatchDBWriter does.

// sync is one run: every row that is there now. Called with the turn.
func (w *BatchDBWriter[T]) sync(ctx context.Context, reason Reason) error {
	start := time.Now()
	w.run = SyncEvent{Reason: reason, Run: w.tally.beginRun(reason)}
	w.noteState()
	err := w.drain(ctx, reason)
	if err == nil && reason != ReasonStop && w.attempts > 0 { // no row could show that it is back
		w.lookAgain(ctx)
	}
	w.run.Duration = time.Since(start)
	w.tally.endRun(reason, w.run.Duration, false)
	if err != nil {
		w.run.Err = w.SyncStatus().LastError
	}
	ev := w.run
	w.events.emit(&ev)
	w.noteState()
	return err
}

// lookAgain finds out whether a destination that was away is back.
func (w *BatchDBWriter[T]) lookAgain(ctx context.Context) {
	err := w.look(ctx)
	switch {
	case err == nil:
		w.recovered()
	case ctx.Err() == nil:
		_, _ = w.refused(err, 0) // the status has it
	}
}

// refused books one more failed attempt in a row, and returns what attemptFailed
// does.
func (w *BatchDBWriter[T]) refused(err error, waiting int64) (time.Duration, error) {
	w.attempts++
	delay, public := w.attemptFailed(err, w.attempts, waiting)
	if dest.AsError(err).Locks {
		w.loginAfter = time.Now().Add(delay)
	}
	return delay, public
}

// recovered ends a series of failed attempts.
func (w *BatchDBWriter[T]) recovered() {
	w.loginAfter = time.Time{}
	if w.attempts > 0 {
		w.cfg.Logger.Info("destination is back", "table", w.table.String(), "destination", w.destination, "attempts", w.attempts)
		w.attempts = 0
	}
	w.tally.well()
	w.noteState()
}

// drain writes every row that is there now, trying again until it is done, ctx
// ends, or the destination cannot take the rows. A Stop ends the others' pauses.
func (w *BatchDBWriter[T]) drain(ctx context.Context, reason Reason) error {
	w.mu.Lock()
	upTo := w.last
	w.mu.Unlock()
	stopping := w.stopping
	if reason == ReasonStop {
		stopping = nil
	}
	for {
		delay, err := w.attempt(ctx, upTo)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return w.unsynced(w.SyncStatus(), ended(ctx))
		case errors.Is(err, ErrDestination):
			return w.unsynced(w.SyncStatus(), err)
		}
		select {
		case <-time.After(delay):
		case <-stopping:
			return ErrStopped
		case <-ctx.Done():
			return w.unsynced(w.SyncStatus(), ended(ctx))
		}
	}
}

// attempt writes the rows up to a number, or says why it could not and how long
// to wait before the next attempt.
func (w *BatchDBWriter[T]) attempt(ctx context.Context, upTo int64) (time.Duration, error) {
	for w.settled < upTo {
		if w.writing == nil && len(w.failed) >= w.cfg.MaxFailedRows {
			return w.refused(tooManyFailed(int64(len(w.failed))), w.SyncStatus().Pending)
		}
		if w.writing == nil {
			w.begin()
		}
		w.writing.run, w.writing.reason = w.run.Run, w.run.Reason
		err := w.writeBatch(ctx, w.writing)
		if err == nil {
			err = w.settle(w.writing)
		}
		if err != nil {
			return w.refused(err, w.SyncStatus().Pending)
		}
	}
	return 0, nil
}

// begin takes the rows that are there, which are some, as one batch.
func (w *BatchDBWriter[T]) begin() {
	w.mu.Lock()
	w.writing = &batch{Batch: *w.rows}
	w.rows = &tuple.Batch{}
	w.mu.Unlock()
	w.writing.prepare(w.core, w.reduce)
}

// settle books a written batch and keeps what the destination rejected.
func (w *BatchDBWriter[T]) settle(b *batch) error {
	start := time.Now()
	j, err := w.keys.judge(b.flush, w.failure)
	if err != nil {
		return err
	}
	w.keys.update(j.kept, j.gone)
	n := b.flush.settlement(b.read, b.readBytes, len(j.kept), len(j.gone))
	for i := range j.kept {
		j.kept[i].Tuple = bytes.Clone(j.kept[i].Tuple) // its memory is the batch's
	}
	left := make(map[int64]stage.Failure, len(j.left))
	for _, f := range j.left {
		left[f.Seq] = f
	}
	w.book(n, append(amend(w.failed, j.gone, left), j.kept...))
	w.logFailed(b.flush.failed)
	w.emitFailed(j.kept)
	took := BatchTimes{Acknowledging: time.Since(start)}
	b.times.add(took)
	w.tally.acknowledged(took, b.read)
	w.run.add(n, b)
	w.settled, w.writing = b.hi, nil
	w.recovered()
	return nil
}

// failure returns a failed row.
func (w *BatchDBWriter[T]) failure(seq int64) (stage.Failure, error) {
	at, ok := slices.BinarySearchFunc(w.failed, seq, func(f stage.Failure, seq int64) int { return cmp.Compare(f.Seq, seq) })
	if !ok {
		return stage.Failure{}, fmt.Errorf("memdbwriter: the failed row %d is lost", seq)
	}
	return w.failed[at], nil
}

// book books rows that went another way, and the failed rows that are left.
func (w *BatchDBWriter[T]) book(n settlement, failed []stage.Failure) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ledger.settle(n)
	w.came = w.next // what is left came into rows
	w.failed = failed
}

// amend returns the failures without those that are gone, and with what became
// of others. What it was given is not changed, since a reader may have it; only the
// newest may be appended to.
func amend(failed []stage.Failure, gone []int64, again map[int64]stage.Failure) []stage.Failure {
	if len(gone) == 0 && len(again) == 0 {
		return failed
	}
	forget := make(map[int64]bool, len(gone))
	for _, seq := range gone {
		forget[seq] = true
	}
	kept := make([]stage.Failure, 0, len(failed))
	for _, f := range failed {
		if forget[f.Seq] {
			continue
		}
		if now, ok := again[f.Seq]; ok {
			f = now
		}
		kept = append(kept, f)
	}
	return kept
}

// retryFailed tries failed rows page by page.
func (w *BatchDBWriter[T]) retryFailed(ctx context.Context, which selection) (stored int64, err error) {
	var gone []int64
	again := map[int64]stage.Failure{}
	earlier := func(seq int64) (stage.Failure, error) {
		if f, ok := again[seq]; ok {
			return f, nil
		}
		return w.failure(seq)
	}
	var sum settlement
	for left := w.selected(which); len(left) > 0 && err == nil; {
		page := failuresPage(left, w.cfg.SyncBatchSize)
		left = left[len(page):]
		var res retried
		res, err = w.retry(ctx, w.reduce, w.keys, page, earlier)
		w.keys.update(nil, res.gone)
		gone = append(gone, res.gone...)
		for _, f := range res.again {
			again[f.Seq] = f
		}
		sum.add(res.settlement)
	}
	w.book(sum, amend(w.failed, gone, again))
	return sum.synced, err
}

// failuresPage returns the first of the failures: at most so many, and not many
// more bytes than a batch has.
func failuresPage(failed []stage.Failure, rows int) []stage.Failure {
	for n, bytes := 0, 0; n < len(failed) && n < rows; n++ {
		if bytes += len(failed[n].Tuple); bytes > maxBatchBytes {
			return failed[:n+1]
		}
	}
	return failed[:min(len(failed), rows)]
}
