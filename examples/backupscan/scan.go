package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/memdbwriter/memdbwriter"
	"github.com/memdbwriter/memdbwriter/examples/backupscan/internal/catalog"
	"github.com/memdbwriter/memdbwriter/examples/backupscan/internal/progress"
	"github.com/memdbwriter/memdbwriter/examples/backupscan/internal/walk"
)

// mention is how many unreadable entries and failed rows are named. All are
// counted.
const mention = 20

// The stages of a scan, as progress shows them.
const (
	connecting = "connecting"
	scanning   = "scanning"
	storing    = "storing"
	removing   = "removing what is gone"
)

// finishTimeout bounds the last statement of a scan, which an interrupt does
// not end.
const finishTimeout = time.Minute

// scan is one scan of one backup set. Its order keeps the set right at any
// moment: the set is marked as running; rows are added and updated; when every
// one is durable, those of files that are gone are removed; and then alone the
// set is marked as completed.
type scan struct {
	*options
	roots   []string // clean and absolute
	log     *slog.Logger
	started time.Time

	walker  walk.Walker
	writer  memdbwriter.Writer[memdbwriter.FileInfo]
	catalog catalog.Catalog
	doing   atomic.Value // string, the stage; set once the fields above are
	seen    seen         // the paths that are there

	mu       sync.Mutex
	refused  int64     // rows that the writer did not take
	failures []failure // the first of them and of those that the destination refused
	mentions int       // unreadable entries named so far

	status catalog.Status // how the set was left; empty if it was not touched
	stored int64
	failed int64
	pruned pruned
}

// failure is a row that is not in the catalogue.
type failure struct {
	path   string
	reason error
}

// run does the scan. Whatever it returns, the counts and the status are right.
func (s *scan) run(ctx context.Context, cfg memdbwriter.Config) (err error) {
	dest, err := memdbwriter.OpenDestination(ctx, cfg.DatabaseURL)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dest.Close()) }()

	// These may lie inside the tree, and change meanwhile.
	file, isFile := strings.CutPrefix(dest.String(), "sqlite:")
	if !isFile {
		file = ""
	}
	s.walker.Stats = s.stats
	if s.walker.Exclude, err = walk.NewExclude(s.exclude, ownFiles(file, cfg.CheckpointDir)...); err != nil {
		return err
	}

	s.writer, err = memdbwriter.Open(ctx, memdbwriter.BackupFiles(s.set, memdbwriter.CreateTable()), dest, cfg)
	if err != nil {
		return err
	}
	if s.catalog, err = catalog.Open(ctx, cfg.DatabaseURL, file); err != nil {
		return errors.Join(err, s.writer.Stop(ctx))
	}
	defer func() { err = errors.Join(err, s.catalog.Close()) }()
	return s.record(ctx)
}

// ownFiles are what this program itself writes and so must not scan: the files
// of an SQLite destination, if it is one, and the checkpoint directory, if there
// is one.
func ownFiles(database, checkpoints string) []string {
	var own []string
	if database != "" {
		file := resolved(database)
		own = append(own, file, file+"-wal", file+"-shm", file+"-journal")
	}
	if checkpoints != "" {
		if abs, err := filepath.Abs(checkpoints); err == nil {
			own = append(own, resolved(abs))
		}
	}
	return own
}

// resolved returns the path without symbolic links in its directory: so the
// walk names it.
func resolved(path string) string {
	if dir, err := filepath.EvalSymlinks(filepath.Dir(path)); err == nil {
		return filepath.Join(dir, filepath.Base(path))
	}
	return path
}

// record brings the set to what the roots hold.
func (s *scan) record(ctx context.Context) error {
	if err := s.begin(ctx); err != nil {
		return errors.Join(err, s.writer.Stop(ctx))
	}
	s.doing.Store(scanning)
	found, walkErr := s.walker.Walk(ctx, s.roots, s.add)
	storeErr := s.store(ctx)

	err := errors.Join(walkErr, storeErr)
	if err == nil {
		s.doing.Store(removing)
		err = s.prune(ctx, found)
	}
	switch {
	case err == nil:
		s.status = catalog.Completed
	case ctx.Err() != nil:
		s.status = catalog.Cancelled
		err = storeErr // the rest is the interrupt itself
	default:
		s.status = catalog.Failed
	}
	if finishErr := s.finish(ctx); finishErr != nil {
		s.status = catalog.Failed
		err = errors.Join(err, finishErr)
	}
	return err
}

func (s *scan) begin(ctx context.Context) error {
	source := catalog.Source{Exclude: s.exclude}
	for _, root := range s.roots {
		source.Roots = append(source.Roots, stored(root))
	}
	source.Host, _ = os.Hostname() // only informs
	before, err := s.catalog.Begin(ctx, catalog.Set{ID: s.set, Started: s.started, Source: source})
	if before == catalog.Running {
		s.log.Warn("the set is marked as being scanned: an earlier scan was killed, or another one is at work", "set", s.set)
	}
	return err
}

func (s *scan) finish(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), finishTimeout)
	defer cancel()
	return s.catalog.Finish(ctx, s.set, catalog.Outcome{
		Status: s.status, Ended: time.Now(),
		Files: s.walker.Counts.Files.Load(), Bytes: s.walker.Counts.Bytes.Load(),
	})
}

// add hands an entry to the writer. Only what concerns all entries ends the
// walk; a row that no database could take is one that failed.
func (s *scan) add(ctx context.Context, e *walk.Entry) error {
	if s.entry != nil {
		s.entry(e.Path)
	}
	if e.Err != nil {
		s.mentionUnreadable(e)
	}
	s.seen.add(stored(e.Path))
	err := s.writer.Add(ctx, row(e))
	if rowErr, ok := errors.AsType[*memdbwriter.RowError](err); ok {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.refused++
		s.fail(failure{stored(e.Path), rowErr.Err})
		return nil
	}
	return err
}

// fail keeps the first failures. The caller holds s.mu.
func (s *scan) fail(f failure) {
	if len(s.failures) < mention {
		s.failures = append(s.failures, f)
	}
}

func (s *scan) mentionUnreadable(e *walk.Entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mentions++
	switch {
	case s.mentions <= mention:
		s.log.Warn("cannot be read, recorded with the error", "path", stored(e.Path), "error", walk.Reason(e.Err))
	case s.mentions == mention+1:
		s.log.Warn("more entries cannot be read; the summary counts them")
	}
}

// store waits until everything found is durable and ends the writer. An
// interrupt does not end it: the list of what was found would be lost. The
// user can interrupt a second time.
func (s *scan) store(ctx context.Context) error {
	s.doing.Store(storing)
	err := s.writer.ForceSync(ctx)
	if ctx.Err() != nil {
		s.log.Warn("interrupted: storing what was found until now; interrupt again to give that up",
			"waiting", s.writer.SyncStatus().Pending)
		ctx = context.WithoutCancel(ctx)
		err = s.writer.ForceSync(ctx)
	}
	s.listFailures()
	err = errors.Join(ignoreRows(err), ignoreRows(s.writer.Stop(ctx)))

	status := s.writer.SyncStatus()
	s.stored = status.Synced
	s.failed = status.Failed + s.refused
	if s.failed > 0 {
		err = errors.Join(fmt.Errorf("%d rows could not be stored", s.failed), err)
	}
	return err
}

// listFailures keeps the first rows that the destination refused.
func (s *scan) listFailures() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for f, err := range s.writer.SyncErrors() {
		if err != nil {
			s.log.Error("the refused rows cannot be listed", "error", err)
			return
		}
		if s.fail(failure{f.Row.Path, f.Err.Err}); len(s.failures) == mention {
			return
		}
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
	}
	return st
}

// stored is the form in which the catalogue has a path of this system.
func stored(path string) string {
	text, _ := memdbwriter.EscapePath(filepath.ToSlash(path))
	return text
}

// row is the catalogue's row of an entry. A directory has no size: its own is
// that of a list of names, and sizes of a set should add up.
func row(e *walk.Entry) memdbwriter.FileInfo {
	f := memdbwriter.FileInfo{
		Path: filepath.ToSlash(e.Path), Type: memdbwriter.FileType(e.Type), Size: e.Stat.Size,
		Owner: e.Owner, Group: e.Group,
		CreatedTime: e.Stat.Created, ModifiedTime: e.Stat.Modified, AccessedTime: e.Stat.Accessed,
		FileMetadata: metadata(e),
	}
	if e.Type == walk.Directory {
		f.Size = 0
	}
	if !e.Stat.Modified.IsZero() {
		f.Permissions = fmt.Sprintf("%04o", e.Stat.Perm)
	}
	return f
}

// metadata says what the columns cannot: why an entry could not be read, and
// that a creation time is only that of the last change of the inode.
func metadata(e *walk.Entry) json.RawMessage {
	var m struct {
		Error   string `json:"error,omitempty"`
		Created string `json:"created,omitempty"`
	}
	if e.Err != nil {
		m.Error = walk.Reason(e.Err)
	}
	if !e.Stat.Created.IsZero() && !e.Stat.Birth {
		m.Created = "ctime"
	}
	if m.Error == "" && m.Created == "" {
		return nil
	}
	text, _ := json.Marshal(m) // two strings cannot fail
	return text
}
