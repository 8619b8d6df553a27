package memdbwriter

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/memdbwriter/memdbwriter/internal/dump"
	"github.com/memdbwriter/memdbwriter/internal/journal"
	"github.com/memdbwriter/memdbwriter/internal/stage"
	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

// recovery brings back the rows that an earlier writer left on disk: the failed
// ones, then those of the newest good checkpoint that the journal does not know
// better, then those of the journal. The stager's goroutine does it before it
// takes the first new row, so recovered rows come first, with the numbers that
// they had. What does not fit into the buffer stays on disk until there is room,
// and others are sent meanwhile: so the failed rows that they may supersede must
// be known before.
type recovery struct {
	disk   *disk
	stager *stager
	syncer *syncer                             // touched by call only
	call   func(context.Context, func()) error // runs in the syncer's goroutine

	journal    *journal.Recovery
	candidates []dump.Info // checkpoints, newest first
	saved      int64       // the last row that one of them may have

	outcome chan error    // receives what run returned; has room for it
	err     error         // that, if it is not nil; read after stager.broken
	full    chan struct{} // closed when run has to wait for room
	waits   bool          // full is closed

	began        time.Time
	rows, failed int64
}

// openRecovery looks at what is there. Files that cannot be read are set aside
// and reported; those that a newer version wrote, or that hold other columns,
// are an error: somebody must decide.
func openRecovery(d *disk) (*recovery, error) {
	step("recovery begins")
	r := &recovery{disk: d, began: time.Now(), outcome: make(chan error, 1), full: make(chan struct{})}
	if deleted, err := d.dir.Sweep(); err != nil {
		return nil, fmt.Errorf("memdbwriter: cannot tidy %s: %w", d.cfg.CheckpointDir, err)
	} else if len(deleted) > 0 {
		d.cfg.Logger.Info("unfinished checkpoints deleted", "table", d.table.String(), "files", deleted)
	}
	d.noteOthers()
	infos, err := d.dir.List()
	if err != nil {
		return nil, fmt.Errorf("memdbwriter: cannot list the checkpoints: %w", err)
	}
	for _, info := range infos {
		switch {
		case info.Err == nil:
			r.candidates = append(r.candidates, info)
		case errors.Is(info.Err, dump.ErrDamaged):
			d.setAside(info.Path, info.Err)
		case errors.Is(info.Err, dump.ErrForeign):
		default:
			return nil, fmt.Errorf("%w: %w", ErrRecovery, info.Err)
		}
	}
	if r.journal, err = journal.Scan(d.journalConfig()); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRecovery, err)
	}
	for _, c := range r.candidates {
		r.saved = max(r.saved, c.LastSeq)
	}
	if d.journal, err = r.journal.Create(r.saved); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRecovery, err)
	}
	d.known = r.journal.Last
	d.covered.Store(d.known)
	return r, nil
}

func (d *disk) setAside(path string, cause error) {
	aside, err := d.dir.SetAside(path)
	d.cfg.Logger.Error("damaged checkpoint set aside, the one before is used", "table", d.table.String(),
		"path", path, "aside", aside, "error", errors.Join(cause, err))
}

// giveUp ends the recovery. Somebody who waits in New is told; later, the rows
// that come stay in the front buffer, and whoever waits for them is told.
func (r *recovery) giveUp(err error) {
	r.err = err
	if r.waits && !errors.Is(err, errEnded) {
		r.disk.noteUnsaved(err)
		r.disk.cfg.Logger.Error("recovery failed, new rows wait until the writer is stopped", "table", r.disk.table.String(), "error", err)
	}
	r.outcome <- err
}

// run hands everything to the staging table. New rows come only after it has
// returned nil: as long as older ones may be left on disk, newer ones of their
// keys must not be sent.
func (r *recovery) run(ctx context.Context) error {
	r.stager.next = r.journal.Last + 1
	base, err := r.replay(ctx)
	if err != nil && ctx.Err() == nil {
		err = fmt.Errorf("%w: %w", ErrRecovery, err)
	}
	if err != nil {
		return err
	}
	r.report(base)
	step("recovery replayed")
	if err := r.end(ctx); err != nil {
		return err
	}
	d := r.disk
	d.newest, d.settled, d.failed = base, r.journal.Settled, base.Failed
	d.recovered.Store(true)
	if r.rows+r.failed > 0 {
		d.events.emit(&Recovered{Rows: r.rows, Failed: r.failed, Duration: time.Since(r.began)})
	}
	return nil
}

// replay hands out what the files hold, and returns the checkpoint that was
// used, empty if there was none.
func (r *recovery) replay(ctx context.Context) (base dump.Info, err error) {
	err = r.journal.Failures(func(f *journal.Failure) error { return r.fail(ctx, stage.Failure(*f)) })
	if err != nil {
		return base, err
	}
	if base, err = r.checkpoint(ctx); err != nil {
		return base, err
	}
	return base, r.journal.Replay(base.LastSeq, journal.Visitor{
		Rows: func(b *tuple.Batch) error { return r.stage(ctx, b) },
	})
}

// checkpoint hands out the newest good checkpoint and returns it, empty if
// there is none.
func (r *recovery) checkpoint(ctx context.Context) (dump.Info, error) {
	d := r.disk
	table := dump.Table{Schema: d.table.Schema, Name: d.table.Name, Columns: tupleColumns(&d.table)}
	for _, c := range r.candidates {
		before := r.rows + r.failed
		info, err := r.read(ctx, c, table)
		switch {
		case err == nil:
			return info, nil
		case errors.Is(err, dump.ErrDamaged) && r.rows+r.failed == before:
			d.setAside(c.Path, err)
		default:
			return info, err
		}
	}
	r.journal.Checkpoint(nil)
	return dump.Info{}, nil
}

// read hands out a checkpoint. One with failed rows is read twice: they come
// first, and they tell that what came before them was settled while it was made.
func (r *recovery) read(ctx context.Context, c dump.Info, table dump.Table) (info dump.Info, err error) {
	var failed []int64
	if c.Failed > 0 {
		info, err = r.disk.dir.Read(c.Path, table,
			func(*tuple.Batch) error { return nil },
			func(f dump.Failed) error {
				failed = append(failed, f.Seq)
				if r.journal.Supersedes(f.Seq, true) {
					return nil
				}
				return r.fail(ctx, stage.Failure(f))
			})
	}
	if err != nil {
		return info, err
	}
	r.journal.Checkpoint(failed)
	return r.disk.dir.Read(c.Path, table,
		func(b *tuple.Batch) error { return r.stage(ctx, r.known(b)) },
		func(dump.Failed) error { return nil })
}

// known leaves out the rows that the journal knows to be settled.
func (r *recovery) known(b *tuple.Batch) *tuple.Batch {
	kept := &tuple.Batch{Data: b.Data}
	for _, s := range b.Rows {
		if !r.journal.Supersedes(s.Seq, false) {
			kept.Rows = append(kept.Rows, s)
		}
	}
	return kept
}

// stage puts rows into the staging table once there is room for them.
func (r *recovery) stage(ctx context.Context, b *tuple.Batch) error {
	for _, run := range b.Runs() {
		if err := r.begin(ctx, run.Rows[0].Seq); err != nil {
			return err
		}
		if err := r.stager.front.admit(ctx, int64(run.Len()), run.Bytes(), r.staged, r.noRoom); err != nil {
			return err
		}
		if err := r.stager.put(ctx, run); err != nil {
			return err
		}
		r.rows += int64(run.Len())
		step("rows recovered")
	}
	return nil
}

// begin tells the syncer where the numbers of the rows begin.
func (r *recovery) begin(ctx context.Context, first int64) error {
	if r.rows > 0 {
		return nil
	}
	return r.call(ctx, func() {
		r.syncer.settled, r.syncer.loaded = first-1, first-1
		r.syncer.arrivals.acknowledge(first - 1)
	})
}

// end tells stager and syncer that new rows come now. At the level that
// journals none, these are sent only after it is on disk that the recovered
// ones are settled: else a second recovery could write an old one over a new.
func (r *recovery) end(ctx context.Context) error {
	if r.rows == 0 {
		if err := r.begin(ctx, r.stager.next); err != nil {
			return err
		}
		r.stager.last = r.stager.next - 1
		r.stager.staged(r.stager.last)
	}
	if !r.disk.rows {
		b := &r.syncer.boundary
		b.mu.Lock()
		defer b.mu.Unlock()
		b.set(r.stager.last)
	}
	return nil
}

// fail puts a row among the failed ones.
func (r *recovery) fail(ctx context.Context, f stage.Failure) error {
	failed := []stage.Failure{f}
	var err error
	callErr := r.call(ctx, func() {
		if err = r.disk.store.Settle(math.MinInt64, failed); err == nil {
			r.syncer.failed.update(failed, nil)
		}
	})
	if err = errors.Join(err, callErr); err != nil {
		return err
	}
	r.stager.front.recoverFailed()
	r.failed++
	return nil
}

func (r *recovery) staged() bool { return r.disk.store.Counts().Rows > 0 }

// noRoom lets New return, since it may take long until there is room.
func (r *recovery) noRoom() {
	if !r.waits {
		r.waits = true
		close(r.full)
	}
}

func (r *recovery) report(base dump.Info) {
	log := r.disk.cfg.Logger
	for _, p := range r.journal.Problems {
		log.Error("damaged journal file, used up to the damage", "table", r.disk.table.String(), "file", p.File, "aside", p.Aside, "error", p.Err)
	}
	if r.rows+r.failed > 0 || base.Path != "" {
		log.Info("rows recovered", "table", r.disk.table.String(), "rows", r.rows, "failed", r.failed,
			"checkpoint", base.Path, "journal_files", r.journal.Segments, "cut_bytes", r.journal.Cut)
	}
}
