package main

import (
	"context"
	"errors"
	"fmt"
	"io"
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
	"github.com/memdbwriter/memdbwriter/memdbui"
)

// mention is how many entries of a kind are named. All are counted.
const mention = 20

// The stages of a scan, as progress shows them.
const (
	connecting = "connecting"
	reading    = "reading the catalogue"
	scanning   = "scanning"
	storing    = "storing"
	removing   = "removing what is gone"
)

// scan is one scan of one backup set. Its order keeps the set right at any
// moment: the set is taken in hand and marked as running; rows are added and
// updated; when every one is durable, those of files that are gone are removed;
// and then alone the set is marked as completed.
type scan struct {
	*options
	roots       []string // clean and absolute
	checkpoints string   // where rows wait on disk; empty: nowhere
	log         *slog.Logger
	started     time.Time

	walker  walk.Walker
	writer  memdbwriter.Writer[memdbwriter.FileInfo]
	catalog *catalog.Catalog
	doing   atomic.Value // string, the stage; set once the fields above are
	known   known        // the rows that the set had

	placesMu sync.Mutex
	before   places   // of earlier scans and of this one, by and by
	now      places   // of this scan
	emptied  sync.Map // paths of directories that are empty and had rows -> why that is doubted

	unchanged atomic.Int64 // rows that the database has as they are
	fresh     atomic.Int64 // rows that it did not have

	mu       sync.Mutex
	refused  int64     // rows that the writer did not take
	failures []failure // the first of them and of those that the destination refused
	mentions int       // unreadable entries named so far

	status catalog.Status // how the set was left; empty if it was not touched
	stored int64
	failed int64
	older  int64 // rows that failed in earlier scans
	unsent int64 // rows that are not in the catalogue

	recovered int64 // rows that an earlier scan left on disk, stored at the start
	pruned    pruned
	totals    *catalog.Totals
}

// failure is a row that is not in the catalogue.
type failure struct {
	path   string
	reason error
}

// scan checks everything that can be wrong before a scan touches a database,
// and runs it.
func (o *options) scan(ctx context.Context, stdout, stderr io.Writer) (code int, err error) {
	cfg, err := o.readSettings()
	if err != nil {
		return exitUsage, err
	}
	roots, err := walk.Roots(o.dirs)
	if err != nil {
		return exitUsage, err
	}
	if err := o.readExcludes(); err != nil {
		return exitUsage, err
	}
	if err := checkExcludes(o.exclude, roots); err != nil {
		return exitUsage, err
	}
	s := &scan{options: o, roots: roots, started: time.Now(), now: make(places)}
	log, hide := stderr, func() {}
	if !o.quiet {
		display := progress.Start(stderr, terminal(stderr), s.state)
		log, hide = display, display.Stop
	}
	s.log = slog.New(newLogHandler(log, o.verbose))
	if cfg.ignored != nil {
		s.log.Warn(cfg.ignored.Error())
	}
	cfg.Logger, s.checkpoints = s.log, cfg.CheckpointDir
	err = s.run(ctx, cfg)
	hide()
	return s.conclude(ctx, err, stdout, stderr)
}

// conclude tells how the scan ended.
func (s *scan) conclude(ctx context.Context, err error, stdout, stderr io.Writer) (int, error) {
	for _, f := range s.failures {
		fmt.Fprintf(stderr, "not stored: %s: %s\n", printable(f.path), printable(f.reason.Error()))
	}
	s.pruned.tell(stderr)
	if s.status != "" {
		err = errors.Join(err, s.summary(stdout, time.Since(s.started)))
	}
	return s.exitCode(ctx, err), err
}

func (s *scan) exitCode(ctx context.Context, err error) int {
	switch {
	case errors.As(err, new(*catalog.BusyError)):
		return exitBusy
	case ctx.Err() != nil && s.status != catalog.Completed && s.status != catalog.Errors:
		return codeOf(ctx)
	case err != nil:
		return exitFailed
	case s.pruned.refused():
		return exitTooMany
	case s.status == catalog.Errors:
		return exitErrors
	}
	return exitOK
}

// run does the scan. Whatever it returns, the counts and the status are right.
func (s *scan) run(ctx context.Context, cfg settings) (err error) {
	dest, err := memdbwriter.OpenDestination(ctx, cfg.url)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dest.Close()) }()
	if cfg.from != "" && cfg.from != "-db" {
		s.log.Log(ctx, notice, "the catalogue is named by "+cfg.from, "catalogue", dest.String())
	}

	// These may lie inside the tree, and change meanwhile.
	file, isFile := strings.CutPrefix(dest.String(), "sqlite:")
	if !isFile {
		file = ""
	}
	if err := s.prepare(file, cfg.CheckpointDir); err != nil {
		return err
	}
	s.catalog, err = catalog.Open(ctx, catalog.Options{URL: cfg.url, File: file, Create: s.create, Log: s.log})
	if err != nil {
		return s.explain(err)
	}
	defer func() { err = errors.Join(err, s.catalog.Close()) }()
	return s.inHand(ctx, dest, cfg.Config)
}

// explain adds what to do.
func (s *scan) explain(err error) error {
	if errors.Is(err, catalog.ErrNoTables) {
		return fmt.Errorf("%w: if this is the right database, have the tables made with -create", err)
	}
	return err
}

// prepare sets up the walk.
func (s *scan) prepare(file, checkpoints string) (err error) {
	s.walker.Stats, s.walker.OneFileSystem, s.walker.Pseudo = s.stats, s.oneFS, s.pseudo
	s.walker.Enter, s.walker.Fault = s.enter, s.fault
	s.walker.Exclude, err = walk.NewExclude(s.exclude, ownFiles(file, checkpoints)...)
	return err
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
		if abs, err := filepath.Abs(filepath.Dir(checkpoints)); err == nil { // those of other sets too
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

// inHand takes the set in hand, and scans it while that lasts.
func (s *scan) inHand(ctx context.Context, dest *memdbwriter.Destination, cfg memdbwriter.Config) (err error) {
	saved, err := s.catalog.Acquire(ctx, s.set, s.wait)
	if err != nil {
		return err
	}
	if s.before, err = readPlaces(saved); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	keeping, stop := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan struct{})
	keep := s.catalog.Keep(s.set)
	go func() {
		defer close(ended)
		if err := keep(keeping); err != nil {
			cancel(err)
		}
	}()
	defer func() {
		stop()
		<-ended
		cancel(nil)
	}()
	page, closePage, err := s.servePage(ctx, &cfg)
	if err != nil {
		return errors.Join(err, s.giveBack(ctx))
	}
	defer func() { err = errors.Join(err, closePage()) }()
	if s.writer, err = s.open(ctx, dest, cfg); err != nil {
		return errors.Join(err, s.giveBack(ctx))
	}
	if page != nil {
		memdbui.Watch(page, s.writer, cfg)
	}
	return s.record(ctx)
}

// open makes the writer. Scans that start at the same time may make its table
// together: the one that comes late fails, and tries again.
func (s *scan) open(ctx context.Context, dest *memdbwriter.Destination, cfg memdbwriter.Config) (w memdbwriter.Writer[memdbwriter.FileInfo], err error) {
	if cfg.CheckpointDir != "" {
		if err := os.MkdirAll(cfg.CheckpointDir, 0o700); err != nil {
			return nil, fmt.Errorf("MEMORY_DB_CHECKPOINT_DIR: %w", err)
		}
	}
	for try := range 5 {
		w, err = memdbwriter.Open(ctx, memdbwriter.BackupFiles(s.set, memdbwriter.CreateTable()), dest, cfg)
		if err == nil || !catalog.MadeMeanwhile(err) {
			break
		}
		time.Sleep(time.Duration(try+1) * 50 * time.Millisecond)
	}
	return w, err
}

// giveBack gives the set back when the scan did not begin.
func (s *scan) giveBack(ctx context.Context) error {
	ctx, cancel := s.lasting(ctx, time.Second)
	defer cancel()
	return s.catalog.Release(ctx, s.set)
}

// lasting is a context for what an interrupt must not end at once: it lasts so
// much longer, and ends with a second interrupt.
func (s *scan) lasting(ctx context.Context, longer time.Duration) (context.Context, context.CancelFunc) {
	lasting, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	cause := func() { cancel(context.Cause(ctx)) }
	var late atomic.Pointer[time.Timer]
	first := context.AfterFunc(ctx, func() { late.Store(time.AfterFunc(longer, cause)) })
	second := context.AfterFunc(s.hurry, cause)
	return lasting, func() {
		first()
		second()
		if t := late.Load(); t != nil {
			t.Stop()
		}
		cancel(nil)
	}
}
