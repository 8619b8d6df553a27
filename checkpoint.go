package memdbwriter

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/memdbwriter/memdbwriter/internal/dump"
	"github.com/memdbwriter/memdbwriter/internal/journal"
	"github.com/memdbwriter/memdbwriter/internal/stage"
	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

// A checkpoint is made page by page while rows come and go. It holds every row
// that waits all the time that it takes, and some that come or go meanwhile;
// what is settled meanwhile is in the journal, which is read after it. So none of
// its rows is sent again once a newer row of its key has been. docs/durability.md
// says what holds when the machine dies.

// pageCheckpoint is how many rows a checkpoint takes from the staging table at
// a time. Staging and syncs wait no longer than such a page takes.
const pageCheckpoint = 2048

// boundary keeps batches from spanning the last of the rows that are on disk, in
// a checkpoint or kept, at the level that journals no others: rows behind it are
// sent only after it is on disk that those before it are settled.
//
// There may be several: until a checkpoint that is being made is whole, the one
// before is what recovery would begin with.
type boundary struct {
	mu sync.Mutex // held while a batch is read, and while a boundary is set
	at []int64    // ascending; those that are settled do not matter any more
}

// set adds a boundary. Called with the mutex.
func (b *boundary) set(at int64) {
	if i, found := slices.BinarySearch(b.at, at); !found {
		b.at = slices.Insert(b.at, i, at)
	}
}

// next returns the first boundary that a row does not lie behind, the highest
// number if there is none, and whether one that it does lie behind has rows
// before it that may not be settled. Called with the mutex.
func (b *boundary) next(row, settled int64) (at int64, open bool) {
	for len(b.at) > 0 && b.at[0] <= settled {
		b.at = b.at[1:]
	}
	for _, at := range b.at {
		if at >= row {
			return at, open
		}
		open = true
	}
	return math.MaxInt64, open
}

// checkpointLoop makes a checkpoint at every interval, until ctx ends.
func (e *engine) checkpointLoop(ctx context.Context) {
	interval := e.cfg.CheckpointInterval
	if interval <= 0 {
		return
	}
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			_, err := e.checkpoint(ctx)
			if err != nil && ctx.Err() == nil {
				e.cfg.Logger.Error("checkpoint failed, the one before is kept", "table", e.table.String(), "error", err)
			}
		case <-ctx.Done():
			return
		}
	}
}

// checkpoint writes what waits and what failed to a file, and returns its path.
func (e *engine) checkpoint(ctx context.Context) (string, error) {
	d := e.disk
	if d == nil {
		return "", errNoDisk
	}
	within, cancel := e.within(ctx)
	defer cancel()
	upTo, err := e.stager.flush(within)
	if err != nil {
		return "", e.callError(ctx, err)
	}
	select {
	case d.making <- struct{}{}:
		defer func() { <-d.making }()
	case <-within.Done():
		return "", e.callError(ctx, within.Err())
	}
	path, err := d.make(within, upTo, &e.syncer.boundary, &e.syncer.staged)
	return path, e.callError(ctx, err)
}

// make writes a checkpoint of the rows up to the given one at least.
func (d *disk) make(ctx context.Context, upTo int64, bound *boundary, staged *atomic.Int64) (string, error) {
	cut, err := d.journal.Cut()
	if errors.Is(err, journal.ErrClosed) {
		return "", ErrStopped
	} // else no segment will be deleted: the cut is before all of them
	step("checkpoint begins")
	bound.mu.Lock()
	upTo = max(upTo, staged.Load(), d.known)
	d.covered.Store(upTo)
	if !d.rows {
		bound.set(upTo)
	}
	bound.mu.Unlock()
	if d.unchanged(upTo) {
		d.noteUnsaved(nil)
		d.retire()
		return d.newest.Path, nil
	}
	start, settled := time.Now(), d.journal.Stats().Settled
	info, failed, err := d.write(ctx, upTo)
	if err != nil {
		err = fmt.Errorf("memdbwriter: cannot write a checkpoint of %s to %s: %w", d.table.String(), d.cfg.CheckpointDir, err)
		if ctx.Err() == nil {
			d.noteUnsaved(err)
		}
		d.events.emit(&CheckpointEnd{Duration: time.Since(start), Err: err})
		return "", err
	}
	took := time.Since(start)
	d.events.emit(&CheckpointEnd{Path: info.Path, Rows: info.Rows, Failed: info.Failed, Bytes: info.Size, Duration: took})
	d.noteUnsaved(nil)
	d.newest, d.settled, d.failed = info, settled, info.Failed
	d.tally.checkpointed(info.Created, info.Size, took)
	d.cfg.Logger.Info("checkpoint made", "table", d.table.String(), "path", info.Path, "rows", info.Rows, "failed", info.Failed,
		"bytes", info.Size, "seconds", took.Seconds())
	step("checkpoint made")
	_ = d.journal.Release(cut, upTo, failed) // what it lacks it tells noteJournal
	step("checkpoint released")
	d.retire()
	return info.Path, nil
}

// unchanged reports whether the newest checkpoint says it all.
func (d *disk) unchanged(upTo int64) bool {
	c := d.store.Counts()
	if d.newest.Path == "" {
		return c.Rows == 0 && c.FailedRows == 0
	}
	return d.newest.LastSeq == upTo && d.settled == d.journal.Stats().Settled && d.failed == c.FailedRows && d.newest.Rows == c.Rows
}

// write dumps the staging store, and returns which rows failed in it.
func (d *disk) write(ctx context.Context, upTo int64) (info dump.Info, failed []int64, err error) {
	w, err := d.dir.Create(dump.Meta{
		Table:    dump.Table{Schema: d.table.Schema, Name: d.table.Name, Columns: tupleColumns(&d.table)},
		FirstSeq: 1, LastSeq: upTo, Created: time.Now(), Library: "memdbwriter",
	})
	if err != nil {
		return info, nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.Abort())
		}
	}()
	before := d.notes()
	if err := d.writeWaiting(ctx, w, upTo); err != nil {
		return info, nil, err
	}
	if failed, err = d.writeFailed(ctx, w, upTo); err != nil {
		return info, nil, err
	}
	step("checkpoint filled")
	// Rows that were settled before their page was read are not in it, though
	// older ones of their keys may be.
	after := d.notes()
	if err := d.syncMarks(ctx); err != nil && after != before {
		return info, nil, err
	}
	d.progress.made()
	info, err = w.Commit()
	d.progress.made()
	return info, failed, err
}

func (d *disk) writeWaiting(ctx context.Context, w *dump.Writer, upTo int64) error {
	for after := int64(0); ; {
		var page *tuple.Batch
		err := d.readers.read(ctx, func() (err error) { page, err = d.store.Page(after, d.page); return err })
		if err = errors.Join(err, ended(ctx)); err != nil {
			return err
		}
		k := upToSeq(page, upTo)
		if k == 0 {
			return nil
		}
		if err := w.WriteRows(page.Slice(0, k)); err != nil {
			return err
		}
		if err := d.durable(w); err != nil {
			return err
		}
		after = page.Rows[k-1].Seq
	}
}

// durable makes what is written durable, and says so, if the last save is being
// made: only so it shows that the disk answers.
func (d *disk) durable(w *dump.Writer) error {
	if d.progress == nil {
		return nil
	}
	err := w.Sync()
	if err == nil {
		d.progress.made()
	}
	return err
}

// upToSeq returns how many rows of a page in order do not lie behind a number.
func upToSeq(page *tuple.Batch, upTo int64) int {
	k := page.Len()
	for k > 0 && page.Rows[k-1].Seq > upTo {
		k--
	}
	return k
}

func (d *disk) writeFailed(ctx context.Context, w *dump.Writer, upTo int64) (written []int64, err error) {
	for after := int64(0); ; {
		var page []stage.Failure
		err := d.readers.read(ctx, func() (err error) { page, err = d.store.Failures(after, d.page); return err })
		if err = errors.Join(err, ended(ctx)); err != nil || len(page) == 0 {
			return written, err
		}
		var failed []dump.Failed
		for _, f := range page {
			if f.Seq <= upTo {
				failed = append(failed, dump.Failed(f))
				written = append(written, f.Seq)
			}
		}
		if err := w.WriteFailed(failed); err != nil {
			return nil, err
		}
		if err := d.durable(w); err != nil {
			return nil, err
		}
		after = page[len(page)-1].Seq
	}
}

// retire deletes old checkpoints. All but the newest are spent: it holds, with
// the journal, whatever of them is not in the destination.
func (d *disk) retire() {
	before := time.Now().Add(-d.cfg.CheckpointRetention)
	deleted, err := d.dir.Retire(before, func(i dump.Info) bool { return i.Number < d.newest.Number })
	if len(deleted) > 0 {
		d.cfg.Logger.Debug("old checkpoints deleted", "table", d.table.String(), "files", len(deleted))
	}
	if err != nil {
		d.cfg.Logger.Warn("old checkpoints not deleted", "table", d.table.String(), "error", err)
	}
}
