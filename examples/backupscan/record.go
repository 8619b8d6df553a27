package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/memdbwriter/memdbwriter"
	"github.com/memdbwriter/memdbwriter/examples/backupscan/internal/catalog"
	"github.com/memdbwriter/memdbwriter/examples/backupscan/internal/progress"
	"github.com/memdbwriter/memdbwriter/examples/backupscan/internal/walk"
)

// record brings the set to what the roots hold.
func (s *scan) record(ctx context.Context) error {
	found, walkErr := s.find(ctx)
	storeErr := s.store(ctx)
	err := errors.Join(walkErr, storeErr)
	if err == nil {
		s.doing.Store(removing)
		err = s.prune(ctx, found)
	}
	if err == nil {
		err = s.count(ctx)
	}
	switch {
	case err == nil && s.exact():
		s.status = catalog.Completed
	case err == nil:
		s.status = catalog.Errors
	case ctx.Err() != nil && !errors.Is(context.Cause(ctx), catalog.ErrLost):
		s.status = catalog.Cancelled
		if storeErr == nil && !errors.Is(err, walk.ErrStuck) {
			err = nil // the rest is the interrupt itself
		}
	default:
		s.status = catalog.Failed
	}
	if finishErr := s.finish(ctx); finishErr != nil {
		if s.status == catalog.Completed || s.status == catalog.Errors {
			s.status = catalog.Failed
		}
		err = errors.Join(err, finishErr)
	}
	return err
}

// exact reports whether the catalogue has what the tree has.
func (s *scan) exact() bool {
	return s.walker.Counts.Unreadable.Load() == 0 && s.failed == 0 && s.pruned.doubtful() == 0 && !s.pruned.refused()
}

// find walks the roots and adds what is there.
func (s *scan) find(ctx context.Context) (walk.Result, error) {
	if err := s.begin(ctx); err != nil {
		return walk.Result{}, err
	}
	s.doing.Store(reading)
	if err := s.load(ctx); err != nil {
		return walk.Result{}, err
	}
	s.walker.Watch = make(map[string]bool)
	for path := range s.before {
		s.walker.Watch[filepath.FromSlash(memdbwriter.UnescapePath(path))] = true
	}
	s.doing.Store(scanning)
	found, err := s.walker.Walk(ctx, s.roots, s.add)
	if err == nil {
		for _, p := range s.walker.Exclude.Unused() {
			s.log.Log(ctx, notice, "an exclude pattern matches nothing", "pattern", p)
		}
	}
	return found, err
}

func (s *scan) begin(ctx context.Context) error {
	source := catalog.Source{Exclude: s.exclude}
	for _, root := range s.roots {
		source.Roots = append(source.Roots, stored(root))
	}
	source.Host, _ = os.Hostname() // only informs
	before, err := s.catalog.Begin(ctx, catalog.Set{ID: s.set, Started: s.started, Source: source})
	if before == catalog.Running {
		s.log.Warn("the set is marked as being scanned: an earlier scan was killed", "set", s.set)
	}
	return err
}

// load reads the rows of the set, when those that an earlier scan left on disk
// are among them.
func (s *scan) load(ctx context.Context) error {
	if s.writer.SyncStatus().Recovered > 0 {
		if err := ignoreRows(s.writer.ForceSync(ctx)); err != nil {
			return err
		}
	}
	status := s.writer.SyncStatus()
	s.older, s.recovered = status.Failed, status.Synced
	err := s.catalog.Rows(ctx, s.set, s.known.reset, s.known.add)
	s.known.sort()
	return err
}

// finish marks the set and gives it back.
func (s *scan) finish(ctx context.Context) error {
	ctx, cancel := s.lasting(ctx, patience+time.Second)
	defer cancel()
	return s.catalog.Finish(ctx, s.set, s.status, time.Now(), s.totals)
}

// count compares what the set has with what was stored: durable is said of what
// is there.
func (s *scan) count(ctx context.Context) error {
	totals, err := s.catalog.Totals(ctx, s.set)
	if err != nil {
		return err
	}
	if want := s.known.count() + s.fresh.Load() - s.failed - s.writer.SyncStatus().Skipped - s.pruned.gone - s.pruned.left; totals.Rows < want {
		return fmt.Errorf("the set has %d rows where %d were stored: somebody else removed some, or the catalogue is not the one it was; scan again", totals.Rows, want)
	}
	s.totals = &totals
	return nil
}

// enter notes a file system before anything in it is stored: a later scan, even
// after the death of this one, must know where its files were.
func (s *scan) enter(ctx context.Context, path string, fs *walk.FileSystem) error {
	s.placesMu.Lock()
	defer s.placesMu.Unlock()
	path = stored(path)
	s.now[path] = []walk.FileSystem{*fs}
	if fs.Type == "" {
		s.log.Warn("the file system is not known: a share that is not mounted next time is noticed only if its directory is empty", "path", path)
	}
	if !s.before.enter(path, *fs, s.known.count() > 0) {
		return nil
	}
	return s.catalog.Save(ctx, s.set, s.before.text())
}

// add hands an entry to the writer, unless the catalogue has it as it is. Only
// what concerns all entries ends the walk; a row that no database could take is
// one that failed.
func (s *scan) add(ctx context.Context, e *walk.Entry) error {
	if s.entry != nil {
		s.entry(e.Path)
	}
	path := stored(e.Path)
	if e.Err != nil {
		s.mentionUnreadable(path, e.Err)
	}
	value, there := s.known.meet(path)
	if e.Empty && there {
		s.doubtEmpty(path, e)
	}
	f := row(e)
	if there && !looked(e) {
		if err := s.recall(ctx, path, &f); err != nil {
			return err
		}
	}
	if there && (value == copied || value == valueOf(facts(&f))) {
		s.unchanged.Add(1)
		return nil
	}
	err := s.writer.Add(ctx, f)
	if rowErr, ok := errors.AsType[*memdbwriter.RowError](err); ok {
		s.refuse(failure{path, rowErr.Err}, there)
		return nil
	}
	if err == nil && !there {
		s.fresh.Add(1)
	}
	return err
}

// recall fills in what an earlier scan knew of an entry that cannot be looked at.
func (s *scan) recall(ctx context.Context, path string, f *memdbwriter.FileInfo) error {
	old, err := s.catalog.Row(ctx, s.set, path)
	if old != nil {
		remember(f, old)
	}
	return err
}

// doubtEmpty notes a directory that has nothing now, where that may be the look
// of a file system that is not there. A directory on a local disk, which is not
// a mount point, is empty when it says so.
func (s *scan) doubtEmpty(path string, e *walk.Entry) {
	switch {
	case e.Mounted:
		s.emptied.Store(path, "nothing is in it now: is it mounted?")
	case e.FS != nil && !e.FS.Proven:
		s.emptied.Store(path, "nothing is in it now, on a file system that may hide a missing disk ("+e.FS.String()+")")
	}
}

func (s *scan) refuse(f failure, there bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refused++
	if !there {
		s.fresh.Add(1) // and failed
	}
	s.fail(f)
}

// fail keeps the first failures. The caller holds s.mu.
func (s *scan) fail(f failure) {
	if len(s.failures) < mention {
		s.failures = append(s.failures, f)
	}
}

func (s *scan) mentionUnreadable(path string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mentions++
	switch {
	case s.mentions <= mention:
		s.log.Warn("cannot be read, recorded with the error", "path", path, "error", walk.Reason(err))
	case s.mentions == mention+1:
		s.log.Warn("more entries cannot be read; the summary counts them")
	}
}

// store waits until everything found is durable and ends the writer. An
// interrupt does not end it at once: the list of what was found would be lost.
// What cannot be stored in time is left on disk, if there is a directory for it.
func (s *scan) store(ctx context.Context) error {
	s.doing.Store(storing)
	told := make(chan struct{})
	untold := context.AfterFunc(ctx, func() {
		defer close(told)
		s.log.Warn("interrupted: storing what was found until now, for some seconds; interrupt again to leave it",
			"waiting", s.writer.SyncStatus().Pending)
	})
	defer func() {
		if !untold() {
			<-told
		}
	}()
	syncing, cancel := s.lasting(ctx, patience)
	err := ignoreRows(s.writer.ForceSync(syncing))
	cancel()
	s.listFailures()
	stopping := syncing
	if err == nil {
		var cancel context.CancelFunc
		stopping, cancel = s.lasting(ctx, patience)
		defer cancel()
	}
	err = ignoreRows(s.writer.Stop(stopping))

	status := s.writer.SyncStatus()
	s.stored = status.Synced - s.recovered + s.unchanged.Load()
	s.failed += s.refused
	s.unsent = status.Pending
	return err
}

// listFailures counts the rows that the destination refused in this scan, and
// keeps the first. Those of earlier scans, which are tried no more, are none of
// its concern.
func (s *scan) listFailures() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for f, err := range s.writer.SyncErrors() {
		if err != nil {
			s.log.Error("the refused rows cannot be listed", "error", err)
			return
		}
		if f.Last.Before(s.started) {
			continue
		}
		s.failed++
		s.fail(failure{stored(f.Row.Path), f.Err.Err})
	}
}

// ignoreRows drops the part of an error that listFailures and the count say
// better.
func ignoreRows(err error) error {
	if errors.Is(err, memdbwriter.ErrRowsFailed) && !errors.Is(err, memdbwriter.ErrUnsynced) {
		return nil
	}
	return err
}

// state is what progress shows.
func (s *scan) state() progress.State {
	doing, begun := s.doing.Load().(string)
	if !begun {
		return progress.State{Doing: connecting}
	}
	st := progress.State{
		Doing: doing, Entries: s.walker.Counts.Entries(), Bytes: s.walker.Counts.Bytes.Load(),
		Waiting: s.writer.SyncStatus().Pending,
	}
	if doing == scanning {
		st.Directory = s.walker.Current()
		st.Expected = s.known.count()
	}
	return st
}
