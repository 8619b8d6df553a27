package memdbwriter

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/memdbwriter/memdbwriter/internal/dump"
	"github.com/memdbwriter/memdbwriter/internal/stage"
	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

// A checkpoint is a copy of what waits and what has failed, as SQL, for people and
// their backups; no writer reads it. It is made page by page while rows come and go,
// and holds every row that waits all the time that it takes.

// pageCheckpoint is how many rows a checkpoint takes from the staging table at
// a time. Staging and syncs wait no longer than such a page takes.
const pageCheckpoint = 2048

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
	path, err := d.make(within, upTo)
	return path, e.callError(ctx, err)
}

// make writes a checkpoint of the rows up to the given one at least. These are
// durable in the journal before, so that whoever sees them there knows that they
// are not lost.
func (d *disk) make(ctx context.Context, upTo int64) (string, error) {
	step("checkpoint begins")
	start, settled := time.Now(), d.journal.Stats().Settled
	if d.unchanged(upTo, settled) {
		d.noteUnsaved(nil)
		d.retire()
		return d.newest.Path, nil
	}
	err := d.sync(ctx, d.journal.Sync)
	var info dump.Info
	if err == nil {
		info, err = d.write(ctx, upTo)
	}
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
	d.newest, d.settled = info, settled
	d.tally.checkpointed(info.Created, info.Size, took)
	d.cfg.Logger.Info("checkpoint made", "table", d.table.String(), "path", info.Path, "rows", info.Rows, "failed", info.Failed,
		"bytes", info.Size, "seconds", took.Seconds())
	step("checkpoint made")
	d.retire()
	return info.Path, nil
}

// unchanged reports whether the newest checkpoint says it all.
func (d *disk) unchanged(upTo, settled int64) bool {
	c, n := d.store.Counts(), d.newest
	if c.Rows == 0 && c.FailedRows == 0 {
		return n.Rows == 0 && n.Failed == 0
	}
	return n.LastSeq == upTo && d.settled == settled && n.Failed == c.FailedRows && n.Rows == c.Rows
}

// write dumps the staging store.
func (d *disk) write(ctx context.Context, upTo int64) (info dump.Info, err error) {
	w, err := d.dir.Create(dump.Meta{
		Table:    dump.Table{Schema: d.table.Schema, Name: d.table.Name, Columns: tupleColumns(&d.table)},
		FirstSeq: 1, LastSeq: upTo, Created: time.Now(), Library: "memdbwriter",
	})
	if err != nil {
		return info, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.Abort())
		}
	}()
	if err := d.writeWaiting(ctx, w, upTo); err != nil {
		return info, err
	}
	if err := d.writeFailed(ctx, w, upTo); err != nil {
		return info, err
	}
	step("checkpoint filled")
	info, err = w.Commit()
	d.progress.Load().made()
	return info, err
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
	p := d.progress.Load()
	if p == nil {
		return nil
	}
	err := w.Sync()
	if err == nil {
		p.made()
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

func (d *disk) writeFailed(ctx context.Context, w *dump.Writer, upTo int64) error {
	for after := int64(0); ; {
		var page []stage.Failure
		err := d.readers.read(ctx, func() (err error) { page, err = d.store.Failures(after, d.page); return err })
		if err = errors.Join(err, ended(ctx)); err != nil || len(page) == 0 {
			return err
		}
		var failed []dump.Failed
		for _, f := range page {
			if f.Seq <= upTo {
				failed = append(failed, dump.Failed(f))
			}
		}
		if err := w.WriteFailed(failed); err != nil {
			return err
		}
		if err := d.durable(w); err != nil {
			return err
		}
		after = page[len(page)-1].Seq
	}
}

// retire deletes old checkpoints, but never the newest.
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
