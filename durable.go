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
	// DurabilityCheckpoint writes what waits to a file of SQL text at
	// intervals: after a crash, of the machine too, the rows since the last
	// one are gone.
	DurabilityCheckpoint Durability = "checkpoint"
	// DurabilityJournal also appends every row to a journal, which survives
	// the process; what the operating system has not written yet is lost if
	// the machine dies.
	DurabilityJournal Durability = "journal"
	// DurabilityFsync also makes the journal durable: nothing for which
	// Persist has returned is lost, and no row is sent before it is durable.
	DurabilityFsync Durability = "fsync"
)

// diskRetry is the shortest pause between two attempts to mend the journal.
const diskRetry = time.Second

// disk is what a writer keeps in its checkpoint directory; nil if it keeps
// nothing. A failing disk never stops the rows: what fails is reported, shows
// in the state, and is tried again.
//
// The journal is open at every level. At DurabilityCheckpoint it holds no rows
// but what is settled, so that recovery from a checkpoint does not write a value
// over a newer one that was synced after it. It is made durable there before
// anything is sent that depends on it, which is seldom: see due.
//
// Locks: mu and noting may be held while the journal's and the store's are taken,
// and so may health; making is held while a checkpoint is made, and the others within.
type disk struct {
	*core
	store    *stage.Store
	dir      dump.Dir
	rows     bool // the journal takes rows
	fsync    bool // and makes them durable
	page     int  // pageCheckpoint
	readers  readers
	progress *progress     // of the last save; nil before
	patience time.Duration // at most diskPatience
	due      bool          // the syncer's: what it has noted must be durable before it sends more rows
	release  func() error  // the lock on the writer's files

	journal   *journal.Writer // set before any goroutine runs
	known     int64           // numbers up to here were given by earlier writers
	recovered atomic.Bool     // what these left has been handed out
	covered   atomic.Int64    // rows up to here may be in a checkpoint
	unwell    chan struct{}   // has room for one signal: the journal lacks something
	waitAgain atomic.Int64    // nobody waits for an fsync before: nanoseconds since the writer began, whatever the clock is set to

	noting sync.Mutex // held while rows leave the memory and the journal is told
	noted  int64      // how often that was, or that a receipt was kept

	mu    sync.Mutex // orders rows on their way into the journal
	tried time.Time  // the last attempt to mend it

	health  sync.Mutex // guards what follows
	lacking error      // what the journal lacks, and why; nil when it is whole
	stuck   bool       // files of it cannot be deleted
	unsaved error      // why the last checkpoint was not made
	silent  error      // that an fsync has not returned for long

	making  chan struct{} // has room for one token: who has put it makes a checkpoint, and owns what follows
	newest  dump.Info     // the newest checkpoint; without a path if there is none
	settled int64         // of the journal when it was made
	failed  int64         // failed rows in it
}

// openDisk locks the writer's files.
func openDisk(c *core, store *stage.Store) (*disk, error) {
	if c.cfg.CheckpointDir == "" || c.cfg.Durability == DurabilityNone {
		c.cfg.Logger.Info("nothing is written to disk, rows that wait are lost if the process dies", "table", c.table.String())
		return nil, nil
	}
	if err := dump.CheckTable(&dump.Table{Schema: c.table.Schema, Name: c.table.Name, Columns: tupleColumns(&c.table)}); err != nil {
		return nil, fmt.Errorf("%w: its rows cannot be kept in CheckpointDir: %w", ErrTable, err)
	}
	identity := dump.Identity(c.table.String(), c.destination)
	release, err := dirlock.Lock(c.cfg.CheckpointDir, identity+".lock")
	if errors.Is(err, dirlock.ErrLocked) {
		return nil, fmt.Errorf("%w: %w", ErrLocked, err)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: CheckpointDir (MEMORY_DB_CHECKPOINT_DIR): %w", ErrConfig, err)
	}
	return &disk{
		core: c, store: store, release: release,
		dir:   dump.Dir{Path: c.cfg.CheckpointDir, Identity: identity, Trust: c.cfg.TrustCheckpointDir, FS: c.cfg.fs},
		rows:  c.cfg.Durability == DurabilityJournal || c.cfg.Durability == DurabilityFsync,
		fsync: c.cfg.Durability == DurabilityFsync, page: pageCheckpoint, patience: min(diskPatience, c.cfg.SyncTimeout/2),
		unwell: make(chan struct{}, 1), making: make(chan struct{}, 1),
	}, nil
}

func (d *disk) journalConfig() journal.Config {
	return journal.Config{
		Dir: d.cfg.CheckpointDir, Table: d.table.String(), Writer: d.destination,
		Columns: tupleColumns(&d.table), Fsync: d.fsync || !d.rows, FS: d.cfg.fs, Changed: d.noteJournal,
	}
}

// append journals rows that are staged next, if the level asks for it.
func (d *disk) append(b *tuple.Batch) {
	if d == nil || !d.rows {
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

// keep journals rows that are sent next, at the level that journals none else,
// because a failed row of their key is on disk: should the process die before it
// is noted there that they are stored, the failed one would be all that is known
// of the key, and trying it again would bring an old value back.
func (d *disk) keep(rows *tuple.Batch) {
	_ = d.journal.Keep(rows) // what it lacks it tells noteJournal
	d.due = true
}

// receipts keeps the receipts of a transaction that is about to be committed.
// They are made durable if the transaction's rows are.
func (d *disk) receipts(ctx context.Context, some []dest.Receipt) {
	kept := make([]journal.Receipt, len(some))
	for i, r := range some {
		kept[i] = journal.Receipt(r)
	}
	_ = d.note(func() error { return d.journal.Receipts(kept) }) // what it lacks it tells noteJournal
	if d.fsync || !d.rows && some[0].First <= max(d.covered.Load(), d.journal.Stats().Settled) {
		d.trySync(ctx)
	}
}

// note has rows leave the memory, or be committed, and the journal told about it,
// while no checkpoint can get between.
func (d *disk) note(what func() error) error {
	if d == nil {
		return what()
	}
	d.noting.Lock()
	defer d.noting.Unlock()
	d.noted++
	return what()
}

// notes waits for a note that is being made, and returns how many were.
func (d *disk) notes() int64 {
	d.noting.Lock()
	defer d.noting.Unlock()
	return d.noted
}

// settle notes that every row up to the given one has left the memory, but for
// those that failed.
func (d *disk) settle(upTo int64, failed []stage.Failure) {
	if d != nil {
		_ = d.journal.Settle(upTo, journalFailures(failed)) // what it lacks it tells noteJournal
		d.due = d.due || len(failed) > 0
	}
}

// amend notes what became of failed rows.
func (d *disk) amend(gone []int64, again []stage.Failure) {
	if d != nil {
		_ = d.journal.Amend(gone, journalFailures(again)) // what it lacks it tells noteJournal
		d.due = d.due || len(gone)+len(again) > 0
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

// sync waits until every row that was journaled before is as durable as the
// level promises.
func (d *disk) sync(ctx context.Context) error { return d.syncBy(ctx, d.journal.Sync) }

// syncMarks is sync, after which it is durable what is settled, at every level.
func (d *disk) syncMarks(ctx context.Context) error { return d.syncBy(ctx, d.journal.SyncMarks) }

func (d *disk) syncBy(ctx context.Context, sync func(context.Context) error) error {
	err := sync(ctx)
	var missing *journal.MissingError
	if errors.As(err, &missing) {
		d.mu.Lock()
		err = d.mend()
		d.mu.Unlock()
		if err == nil {
			err = sync(ctx) // without the mutex: appending goes on meanwhile
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

// syncBefore makes durable, before rows are sent, what these depend on: else a
// machine that dies could forget a row that the destination has, or that it has
// it, remember an older one of its key, and write that over it later.
func (d *disk) syncBefore(ctx context.Context) {
	if d != nil && (d.fsync || d.due) && d.trySync(ctx) {
		d.due = false
	}
}

// trySync is sync where rows go on without it: a disk that fails, or does not
// answer, does not stop them. Only rows that the level promises to make durable
// before wait for one that does not answer. After a failure nobody waits for a
// while.
func (d *disk) trySync(ctx context.Context) bool {
	if !d.fsync && int64(time.Since(d.tally.started)) < d.waitAgain.Load() {
		return false
	}
	for {
		bounded, cancel := context.WithTimeoutCause(ctx, d.patience, errNoAnswer)
		err := d.sync(bounded)
		cancel()
		silent := errors.Is(err, errNoAnswer)
		if silent {
			d.noteSilent(true)
		}
		switch {
		case err == nil:
			return true
		case silent && d.fsync:
			continue
		case silent:
			d.waitAgain.Store(int64(time.Since(d.tally.started) + 6*d.patience))
		case ctx.Err() == nil:
			d.waitAgain.Store(int64(time.Since(d.tally.started) + diskRetry))
			d.cfg.Logger.Debug("rows are sent though the journal is not durable", "table", d.table.String(), "error", err)
		}
		return false
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
