package memdbwriter

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/memdbwriter/memdbwriter/internal/dest"
	"github.com/memdbwriter/memdbwriter/internal/dump"
	"github.com/memdbwriter/memdbwriter/internal/journal"
)

// A writer that keeps nothing on disk itself (DurabilityNone, or the
// compatibility writer) may be given the directory of one that did. What that
// left must be stored before anything newer is: else it would be written over
// that when somebody recovers it at last.

// deliverLeft has the rows that an earlier writer left in cfg.CheckpointDir
// stored, as a writer would that takes them over and is stopped. nil means that
// none of them waits any more, and none has failed that newer ones could replace;
// failed rows of a table without a key stay in the newest checkpoint.
func deliverLeft(ctx context.Context, table dest.Table, d *Destination, cfg Config) error {
	left, err := isLeft(&table, d, cfg)
	if err != nil {
		return fmt.Errorf("%w: CheckpointDir (MEMORY_DB_CHECKPOINT_DIR): %w", ErrConfig, err)
	}
	if !left {
		return nil
	}
	cfg.Durability, cfg.CheckpointInterval, cfg.OnSync, cfg.Hooks = DurabilityCheckpoint, -1, nil, nil
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
	err = e.stop(ctx)
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
	if found || errors.Is(err, fs.ErrNotExist) {
		return found, nil
	}
	infos, listErr := dump.Dir{Path: cfg.CheckpointDir, Identity: dump.Identity(table.String(), d.String()), Trust: cfg.TrustCheckpointDir}.List()
	found = slices.ContainsFunc(infos, func(i dump.Info) bool { return !errors.Is(i.Err, dump.ErrForeign) })
	return found, errors.Join(err, listErr)
}

// noteOthers says whose files for a table of the same name are in the directory.
// They may be those of this very writer, under another name of the destination.
func (d *disk) noteOthers() {
	others, err := d.dir.Others()
	if err != nil || len(others) == 0 { // List will say what is wrong
		return
	}
	d.cfg.Logger.Info("the directory has files of other writers for a table of this name, which are not taken over",
		"table", d.table.String(), "destination", d.destination, "files", others)
}
