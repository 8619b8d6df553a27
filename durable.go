package memdbwriter

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/memdbwriter/memdbwriter/internal/dest"
	"github.com/memdbwriter/memdbwriter/internal/dirlock"
	"github.com/memdbwriter/memdbwriter/internal/dump"
	"github.com/memdbwriter/memdbwriter/internal/journal"
	"github.com/memdbwriter/memdbwriter/internal/stage"
	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

// Durability says what survives a crash. See docs/durability.md.
type Durability string

// The levels of durability.
const (
	// DurabilityNone keeps nothing on disk.
	DurabilityNone Durability = "none"
	// DurabilityJournal appends every row to a journal on its way to the buffer:
	// what Persist has returned for survives the process. A batch is sent when the
	// journal is durable up to its last row, so that no older value of a row comes
	// back after one that was sent, even if the machine dies. A disk that fails
	// stops no rows.
	DurabilityJournal Durability = "journal"
	// DurabilityFsync is DurabilityJournal, and what Persist has returned for
	// survives the machine. Nothing is sent while the disk fails.
	DurabilityFsync Durability = "fsync"

	// durabilityCheckpoint is another name of DurabilityJournal.
	durabilityCheckpoint Durability = "checkpoint"
)

// diskRetry is the shortest pause between two attempts to mend the journal.
const diskRetry = time.Second

// disk is what a writer keeps in its checkpoint directory; nil if it keeps
// nothing. Every row is appended to the journal before it is staged, and the
// journal is all that the next writer begins with. Checkpoints are copies for
// people, made beside everything else.
//
// One rule keeps older values from coming back: before a row is sent, the disk
// holds it (see ahead). So what the journal hands out after a crash ends, for each
// key, with the newest value that was sent, or a newer one; and marks, which say
// what needs not be sent again, may be lost without harm.
//
// Locks: mu may be held while the journal's and the store's are taken, and so may
// health; making is held while a checkpoint is made, and the others within.
type disk struct {
	*core
	store    *stage.Store
	dir      dump.Dir
	fsync    bool // DurabilityFsync
	page     int  // pageCheckpoint
	readers  readers
	progress atomic.Pointer[progress] // of the last save; nil before
	patience time.Duration            // at most diskPatience
	release  func() error             // the lock on the writer's files

	journal   *journal.Writer // set before any goroutine runs
	known     int64           // numbers up to here were given by earlier writers
	recovered atomic.Bool     // what these left has been handed out
	unwell    chan struct{}   // has room for one signal: the journal lacks something
	waitAgain atomic.Int64    // nobody waits for an fsync before: nanoseconds since the writer began, whatever the clock is set to

	mu    sync.Mutex // orders rows on their way into the journal
	tried time.Time  // the last attempt to mend it

	health  sync.Mutex // guards what follows
	lacking error      // what the journal lacks, and why; nil when it is whole
	stuck   bool       // files of it cannot be deleted
	unsaved error      // why the last checkpoint was not made
	silent  error      // that an fsync has not returned for long

	making  chan struct{} // has room for one token: who has put it makes a checkpoint, and owns what follows
	newest  dump.Info     // the newest checkpoint; without a path if there is none
	settled int64         // of the journal when it was made; -1 if an earlier writer made it
}

// openDisk locks the writer's files. It waits for another process that has them as
// long as ctx lasts.
func openDisk(ctx context.Context, c *core, store *stage.Store) (*disk, error) {
	if c.cfg.CheckpointDir == "" || c.cfg.Durability == DurabilityNone {
		c.cfg.Logger.Info("nothing is written to disk, rows that wait are lost if the process dies", "table", c.table.String())
		return nil, nil
	}
	if err := dump.CheckTable(&dump.Table{Schema: c.table.Schema, Name: c.table.Name, Columns: tupleColumns(&c.table)}); err != nil {
		return nil, fmt.Errorf("%w: its rows cannot be kept in CheckpointDir: %w", ErrTable, err)
	}
	identity := dump.Identity(c.table.String(), c.destination)
	release, err := dirlock.Wait(ctx, c.cfg.CheckpointDir, identity+".lock", func(h dirlock.Holder) {
		c.cfg.Logger.Warn("the files are another process's, waiting for it to end", "table", c.table.String(),
			"directory", c.cfg.CheckpointDir, "process", h.PID, "host", h.Host, "program", h.Program, "since", h.Since)
	})
	if errors.Is(err, dirlock.ErrLocked) {
		return nil, fmt.Errorf("%w: %w", ErrLocked, errors.Join(err, ended(ctx)))
	}
	if err != nil {
		return nil, fmt.Errorf("%w: CheckpointDir (MEMORY_DB_CHECKPOINT_DIR): %w", ErrConfig, err)
	}
	return &disk{
		core: c, store: store, release: release,
		dir:   dump.Dir{Path: c.cfg.CheckpointDir, Identity: identity, Trust: c.cfg.TrustCheckpointDir, FS: c.cfg.fs},
		fsync: c.cfg.Durability == DurabilityFsync, page: pageCheckpoint, patience: min(diskPatience, c.cfg.SyncTimeout/2),
		unwell: make(chan struct{}, 1), making: make(chan struct{}, 1),
	}, nil
}

func (d *disk) journalConfig() journal.Config {
	return journal.Config{
		Dir: d.cfg.CheckpointDir, Table: d.table.String(), Writer: d.destination, Columns: tupleColumns(&d.table), Keys: d.table.Keys,
		SegmentBytes: d.cfg.segmentBytes, FS: d.cfg.fs, Changed: d.noteJournal, Synced: func() { d.progress.Load().made() },
	}
}

// append journals rows that are staged next.
func (d *disk) append(b *tuple.Batch) {
	if d == nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	var missing *journal.MissingError
	if err := d.journal.Append(b); errors.As(err, &missing) && d.mend() == nil {
		_ = d.journal.Append(b) // what it lacks it tells noteJournal
	}
}

// mend gives the journal the waiting rows that it lacks, and returns nil if it
// lacks no row that is staged then. It tries at most once in a while. Called with
// the mutex.
func (d *disk) mend() error {
	err := d.journal.Err()
	var missing *journal.MissingError
	if !errors.As(err, &missing) {
		return nil
	}
	if time.Since(d.tried) < diskRetry {
		return err
	}
	d.tried = time.Now()
	for after := missing.First - 1; ; {
		page, err := d.store.Page(after, pageRows)
		if err != nil || page.Len() == 0 {
			return err
		}
		if err := d.appendRuns(page); err != nil {
			return err
		}
		after = page.Rows[page.Len()-1].Seq
	}
}

// save journals rows that are not staged any more, and makes all durable.
func (d *disk) save(ctx context.Context, chunks []*tuple.Batch) error {
	d.mu.Lock()
	d.tried = time.Time{}
	d.mu.Unlock()
	for _, c := range chunks {
		d.append(c)
	}
	return d.sync(ctx, d.journal.Sync)
}

// heal gives the journal what it lacks, and reports whether it has it then.
func (d *disk) heal() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.mend() == nil && d.journal.Complete() == nil
}

// trouble has a signal when the journal begins to lack something.
func (d *disk) trouble() <-chan struct{} {
	if d == nil {
		return nil
	}
	return d.unwell
}

// appendRuns journals a page, whose arrival numbers may have gaps.
func (d *disk) appendRuns(page *tuple.Batch) error {
	for _, run := range page.Runs() {
		if err := d.journal.Append(run); err != nil {
			return err
		}
	}
	return nil
}

// receipts keeps the receipts of a transaction that is about to be committed. They
// are made durable if the transaction's rows are, or the transaction is not committed.
func (d *disk) receipts(ctx context.Context, some []dest.Receipt) error {
	kept := make([]journal.Receipt, len(some))
	for i, r := range some {
		kept[i] = journal.Receipt(r)
	}
	err := d.journal.Receipts(kept) // what it lacks it tells noteJournal
	if !d.fsync {
		return nil
	}
	if err == nil {
		err = d.trySync(ctx, d.journal.Sync)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errNotHeld, err)
	}
	return nil
}

// settle notes that every row up to the given one has left the memory, but for
// those that failed.
func (d *disk) settle(upTo int64, failed []stage.Failure) {
	if d != nil {
		_ = d.journal.Settle(upTo, journalFailures(failed)) // what it lacks it tells noteJournal
	}
}

// amend notes what became of failed rows.
func (d *disk) amend(gone []int64, again []stage.Failure) {
	if d != nil {
		_ = d.journal.Amend(gone, journalFailures(again)) // what it lacks it tells noteJournal
	}
}

// discard notes that failed rows were given up.
func (d *disk) discard(gone []int64) {
	if d != nil {
		_ = d.journal.Discard(gone) // as above
	}
}

// noteJournal is called when the journal begins to lack something, or has
// everything again.
func (d *disk) noteJournal(j *journal.Writer) {
	d.health.Lock()
	before, err := d.lacking, j.Err()
	stuck, undeleted := d.stuck, j.Undeleted()
	d.stuck = undeleted != nil
	if err != nil {
		err = d.journalError(err)
		signal(d.unwell)
	}
	d.lacking = err
	d.tellState()
	d.health.Unlock()
	d.noteState()
	switch log := d.cfg.Logger; {
	case before == nil && err != nil:
		log.Error("disk failed, rows are in memory only", "table", d.table.String(), "directory", d.cfg.CheckpointDir, "error", err)
	case before != nil && err == nil:
		log.Info("disk is well again", "table", d.table.String(), "directory", d.cfg.CheckpointDir)
	}
	if undeleted != nil && !stuck {
		d.cfg.Logger.Warn("journal files not deleted", "table", d.table.String(), "error", undeleted)
	}
}

func (d *disk) journalError(err error) error {
	return fmt.Errorf("memdbwriter: cannot write the journal in %s: %w", d.cfg.CheckpointDir, err)
}

// tellState tells the state what is wrong. Called with the mutex health.
func (d *disk) tellState() { d.tally.setDisk(cmp.Or(d.lacking, d.unsaved, d.silent)) }

// noteUnsaved keeps for the state why rows are not saved but by the journal, nil if
// they are.
func (d *disk) noteUnsaved(err error) {
	defer d.noteState()
	d.health.Lock()
	defer d.health.Unlock()
	d.unsaved = err
	d.tellState()
}

// persist waits until every row that was journaled before is as safe as the level
// promises.
func (d *disk) persist(ctx context.Context) error {
	if d.fsync {
		return d.sync(ctx, d.journal.Sync)
	}
	return d.sync(ctx, func(context.Context) error { return d.journal.Written() })
}

// sync calls one of the journal's ways to wait, once more if rows have to be
// appended again first.
func (d *disk) sync(ctx context.Context, wait func(context.Context) error) error {
	err := wait(ctx)
	var missing *journal.MissingError
	if errors.As(err, &missing) {
		d.mu.Lock()
		err = d.mend()
		d.mu.Unlock()
		if err == nil {
			err = wait(ctx) // without the mutex: appending goes on meanwhile
		}
	}
	d.noteJournal(d.journal) // the journal's own goroutine may be on its way to do so
	if err == nil {
		d.noteSilent(false)
	}
	if err != nil && ctx.Err() == nil {
		return d.journalError(err)
	}
	return err
}

// ahead is the rule: it returns when the disk holds every row up to the given one,
// which are sent next. A disk that fails, or does not answer, ends the wait at
// DurabilityJournal, and nobody waits for a while; at DurabilityFsync one that
// fails is an error, and the rows must not be sent.
func (d *disk) ahead(ctx context.Context, upTo int64) error {
	if d == nil {
		return nil
	}
	err := d.trySync(ctx, func(ctx context.Context) error { return d.journal.SyncRows(ctx, upTo) })
	if err == nil || !d.fsync {
		return nil
	}
	return fmt.Errorf("%w: %w", errNotHeld, err)
}

// askAhead begins to make durable what is journaled by now: batches that are read
// while another one is on its way need not wait then.
func (d *disk) askAhead() {
	if d != nil {
		d.journal.Ask()
	}
}

// errNotHeld is why rows are not sent at DurabilityFsync.
var errNotHeld = errors.New("rows are not sent before they are durable")

// trySync is sync for rows that are on their way to the destination.
func (d *disk) trySync(ctx context.Context, wait func(context.Context) error) error {
	if !d.fsync && int64(time.Since(d.tally.started)) < d.waitAgain.Load() {
		return errNoAnswer
	}
	for {
		bounded, cancel := context.WithTimeoutCause(ctx, d.patience, errNoAnswer)
		err := d.sync(bounded, wait)
		cancel()
		silent := errors.Is(err, errNoAnswer)
		if silent {
			d.noteSilent(true)
		}
		switch {
		case silent && d.fsync:
			continue
		case silent:
			d.waitAgain.Store(int64(time.Since(d.tally.started) + 6*d.patience))
		case err != nil && ctx.Err() == nil && !d.fsync:
			d.waitAgain.Store(int64(time.Since(d.tally.started) + diskRetry))
			d.cfg.Logger.Debug("rows are sent though the journal is not durable", "table", d.table.String(), "error", err)
		}
		return err
	}
}

// diskPatience is how long an fsync may take before the state says so; less where
// a batch, whose receipt may wait for it, has less time.
const diskPatience = 10 * time.Second

var errNoAnswer = errors.New("memdbwriter: the disk does not answer: an fsync of the journal has not returned for long")

// noteSilent keeps for the state whether the disk does not answer.
func (d *disk) noteSilent(silent bool) {
	d.health.Lock()
	before := d.silent
	d.silent = nil
	if silent {
		d.silent = errNoAnswer
	}
	d.tellState()
	d.health.Unlock()
	d.noteState()
	if silent && before == nil {
		d.cfg.Logger.Error("disk does not answer", "table", d.table.String(), "directory", d.cfg.CheckpointDir, "error", errNoAnswer)
	}
}

// close ends the journal and gives the files free.
func (d *disk) close() error {
	if d == nil {
		return nil
	}
	d.making <- struct{}{} // a checkpoint that is being made is given up, and others are not begun
	var err error
	if d.journal != nil {
		err = d.journal.Close()
	}
	return errors.Join(err, d.release())
}

func journalFailures(failed []stage.Failure) []journal.Failure {
	out := make([]journal.Failure, len(failed))
	for i := range failed {
		out[i] = journal.Failure(failed[i])
	}
	return out
}
