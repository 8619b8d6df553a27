package memdbwriter

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"slices"
	"time"

	"github.com/memdbwriter/memdbwriter/internal/dest"
	"github.com/memdbwriter/memdbwriter/internal/dump"
	"github.com/memdbwriter/memdbwriter/internal/journal"
	"github.com/memdbwriter/memdbwriter/internal/stage"
	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

// recovery brings back the rows that an earlier writer left in the journal: the
// failed ones, then those that waited. The stager's goroutine does it before it
// takes the first new row, so recovered rows come first, with the numbers that
// they had. What does not fit into the buffer stays on disk until there is room,
// and others are sent meanwhile: so the failed rows that they may supersede must
// be known before.
type recovery struct {
	disk   *disk
	stager *stager
	syncer *syncer                             // touched by call only
	call   func(context.Context, func()) error // runs in the syncer's goroutine

	journal *journal.Recovery

	outcome chan error    // receives what run returned; has room for it
	err     error         // that, if it is not nil; read after stager.broken
	full    chan struct{} // closed when run has to wait for room
	waits   bool          // full is closed

	began        time.Time
	rows, failed int64
}

// openRecovery looks at what is there. Files that cannot be read are set aside
// and reported; those that a newer version wrote, or whose columns cannot follow,
// are an error: somebody must decide.
func openRecovery(d *disk) (*recovery, error) {
	step("recovery begins")
	r := &recovery{disk: d, began: time.Now(), outcome: make(chan error, 1), full: make(chan struct{})}
	if err := d.tidy(); err != nil {
		return nil, err
	}
	d.noteOthers()
	var err error
	if r.journal, err = journal.Scan(d.journalConfig()); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRecovery, err)
	}
	if d.journal, err = r.journal.Create(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRecovery, err)
	}
	d.known = r.journal.Last
	if j := r.journal; len(j.Added)+len(j.Removed) > 0 {
		d.cfg.Logger.Warn("rows on disk are of an earlier row type: they have no value for the added columns, and lose those of the removed ones",
			"table", d.table.String(), "added", j.Added, "removed", j.Removed)
	}
	return r, nil
}

// tidy deletes unfinished checkpoints, and finds the newest one.
func (d *disk) tidy() error {
	if deleted, err := d.dir.Sweep(); err != nil {
		return fmt.Errorf("memdbwriter: cannot tidy %s: %w", d.cfg.CheckpointDir, err)
	} else if len(deleted) > 0 {
		d.cfg.Logger.Info("unfinished checkpoints deleted", "table", d.table.String(), "files", deleted)
	}
	infos, err := d.dir.List()
	if err != nil {
		return fmt.Errorf("memdbwriter: cannot list the checkpoints: %w", err)
	}
	if i := slices.IndexFunc(infos, func(i dump.Info) bool { return i.Err == nil }); i >= 0 {
		d.newest = infos[i]
	}
	d.settled = -1
	return nil
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
	err := r.replay(ctx)
	if err != nil && ctx.Err() == nil {
		err = fmt.Errorf("%w: %w", ErrRecovery, err)
	}
	if err != nil {
		return err
	}
	r.report()
	step("recovery replayed")
	if err := r.end(ctx); err != nil {
		return err
	}
	r.disk.recovered.Store(true)
	if r.rows+r.failed > 0 {
		r.disk.events.emit(&Recovered{Rows: r.rows, Failed: r.failed, Duration: time.Since(r.began)})
	}
	return nil
}

// replay hands out what the journal holds.
func (r *recovery) replay(ctx context.Context) error {
	return r.journal.Replay(journal.Visitor{
		Failed: func(f *journal.Failure) error { return r.fail(ctx, stage.Failure(*f)) },
		Rows:   func(b *tuple.Batch) error { return r.stage(ctx, b) },
	})
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

// end tells stager and syncer that new rows come now.
func (r *recovery) end(ctx context.Context) error {
	if r.rows > 0 {
		return nil
	}
	if err := r.begin(ctx, r.stager.next); err != nil {
		return err
	}
	r.stager.last = r.stager.next - 1
	r.stager.staged(r.stager.last)
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

func (r *recovery) report() {
	log := r.disk.cfg.Logger
	for _, p := range r.journal.Problems {
		log.Error("damaged journal file, used up to the damage", "table", r.disk.table.String(), "file", p.File, "aside", p.Aside, "error", p.Err)
	}
	if r.rows+r.failed > 0 {
		log.Info("rows recovered", "table", r.disk.table.String(), "rows", r.rows, "failed", r.failed,
			"journal_files", r.journal.Segments, "cut_bytes", r.journal.Cut)
	}
}

// A writer that keeps nothing on disk itself (DurabilityNone, or the
// compatibility writer) may be given the directory of one that did. What that
// left must be stored before anything newer is: else it would be written over
// that when somebody recovers it at last.

// deliverLeft has the rows that an earlier writer left in cfg.CheckpointDir
// stored, as a writer would that takes them over and is stopped. nil means that
// none of them waits any more, and none has failed that newer ones could replace;
// failed rows of a table without a key stay in the journal.
func deliverLeft(ctx context.Context, table dest.Table, d *Destination, cfg Config) error {
	left, err := isLeft(&table, d, cfg)
	if err != nil {
		return fmt.Errorf("%w: CheckpointDir (MEMORY_DB_CHECKPOINT_DIR): %w", ErrConfig, err)
	}
	if !left {
		return nil
	}
	cfg.Durability, cfg.CheckpointInterval, cfg.OnSync, cfg.Hooks = DurabilityJournal, -1, nil, nil
	e, err := newEngine(ctx, table, d, cfg)
	if err != nil {
		return err
	}
	// A destination that is away may be so for long.
	if s := e.status(); s.LastError != nil && s.Pending > 0 {
		ended, cancel := context.WithCancelCause(ctx)
		cancel(s.LastError)
		ctx = ended
	}
	err = e.stop(ctx, false)
	switch s := e.status(); {
	case errors.Is(err, ErrUnsynced):
		return fmt.Errorf("%w: %s has rows of an earlier writer, and newer ones must wait until they are stored: "+
			"make the writer again when the destination is there, with the durability it had, or move the files away: %w", ErrRecovery, cfg.CheckpointDir, err)
	case errors.Is(err, ErrRowsFailed) && table.ReplaceKeys() > 0:
		return fmt.Errorf("%w: %s has %d failed rows of an earlier writer, which must not be tried again once newer ones of their keys are stored: "+
			"make the writer again with the durability it had and call RetrySyncErrors or DiscardSyncErrors, or move the files away: %w",
			ErrRecovery, cfg.CheckpointDir, s.Failed, err)
	case errors.Is(err, ErrRowsFailed) && s.DiskError == nil:
		e.cfg.Logger.Warn("failed rows of an earlier writer stay on disk", "table", table.String(), "directory", cfg.CheckpointDir, "failed", s.Failed)
		return nil
	}
	if err != nil {
		err = fmt.Errorf("%w: %w", ErrRecovery, err)
	}
	return err
}

// isLeft reports whether there are files of such a writer.
func isLeft(table *dest.Table, d *Destination, cfg Config) (bool, error) {
	if cfg.CheckpointDir == "" {
		return false, nil
	}
	found, err := journal.Exists(journal.Config{Dir: cfg.CheckpointDir, Table: table.String(), Writer: d.String(), FS: cfg.fs})
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return found, err
}

// noteOthers says whose files for a table of the same name are in the directory.
// They may be those of this very writer, under another name of the destination.
func (d *disk) noteOthers() {
	others, err := journal.Others(d.journalConfig())
	if err != nil || len(others) == 0 { // Scan will say what is wrong
		return
	}
	d.cfg.Logger.Info("the directory has files of other writers for a table of this name, which are not taken over",
		"table", d.table.String(), "destination", d.destination, "files", others)
}
