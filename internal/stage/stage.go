// Package stage keeps the rows that wait for the destination, as tuples, in a
// private in-memory SQLite database:
//
//	main.chunk                         rows that wait
//	    first    INTEGER PRIMARY KEY     arrival number of the first one
//	    data     BLOB                    the tuples of contiguous rows (see chunk)
//
//	main.failed                        rows that the destination refused
//	    seq      INTEGER PRIMARY KEY     arrival number
//	    tuple    BLOB                    the row (see package tuple)
//	    sqlstate, "column", "constraint", message
//	                                     why
//	    attempts                         how often it was tried
//	    first, last                      when it failed, microseconds since 1970
//
// Queries run on another database (see window), which has nothing but two views:
//
//	temp.<table>                       the rows that wait, with a column per
//	                                     field, and _seq
//	temp.<table>_failed                failed, likewise, and _sqlstate,
//	                                     _column, _error, _attempts, _first, _last
//
// Rows come and go in batches. What SQLite and its driver do for each row that
// they store costs more than all the rest of a row's way through the library, so
// SQLite stores chunks of rows: a batch is cut into pieces of a database page,
// and a row is a few copied bytes.
//
// Arrival numbers only grow, and rows leave in that order: what is settled is
// all up to one number. Chunks are deleted once all their rows are settled; the
// number hides the rows of the first chunk that have been.
package stage

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"

	"github.com/memdbwriter/memdbwriter/internal/tuple"
	"github.com/memdbwriter/memdbwriter/internal/vtable"
)

// ErrClosed is returned by every method of a closed Store.
var ErrClosed = errors.New("the staging store is closed")

// Config describes the table whose rows are staged.
type Config struct {
	View    string         // name for the views, normally the destination table's, without its schema
	Columns []tuple.Column // in tuple order
}

// Store is a staging database. It is safe for concurrent use; callers wait for
// each other. No caller's context reaches a statement that writes.
type Store struct {
	view   string
	window *window
	counts atomic.Pointer[Counts]
	pages  atomic.Int64 // of the database
	empty  int64        // pages without any row

	mu      sync.Mutex // guards everything below
	closed  bool
	db      *vtable.DB
	conn    *sql.Conn // the only one, held until Close: it is the database
	stmts   []*sql.Stmt
	source  *vtable.Source
	sink    *vtable.Sink
	last    int64   // the highest arrival number that was ever staged
	settled int64   // no row up to this number is staged any more
	extents extents // of the chunks
	room    int64   // about what is left of the last chunk's page
	peak    int64   // the most bytes that were held since Shrink
	buf     []byte  // for Append

	begin, commit, rollback      *sql.Stmt
	insert, read, delete         *sql.Stmt
	fail, failures               *sql.Stmt
	unfailSize, unfail           *sql.Stmt
	refail, unknown, lastFailed  *sql.Stmt
	pageCount, freePages, vacuum *sql.Stmt
}

// Counts says what a Store holds.
type Counts struct {
	Rows, Bytes             int64 // waiting; bytes are those of the tuples
	FailedRows, FailedBytes int64
}

var setup = []string{
	fmt.Sprintf("PRAGMA page_size = %d", pageSize),
	"PRAGMA auto_vacuum = INCREMENTAL", // for Trim
	"PRAGMA journal_mode = MEMORY",     // for atomic statements
	"PRAGMA temp_store = MEMORY",
	"CREATE TABLE chunk(first INTEGER PRIMARY KEY, data BLOB NOT NULL)",
	`CREATE TABLE failed(seq INTEGER PRIMARY KEY, tuple BLOB NOT NULL, sqlstate TEXT NOT NULL, "column" TEXT NOT NULL,
		"constraint" TEXT NOT NULL, message TEXT NOT NULL, attempts INTEGER NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL)`,
}

// Names of the virtual tables, all in the temp schema. A view may have any other
// name. None may end in "_failed", as the name of a view does.
const (
	sourceName  = "memdbwriter_source"
	sinkName    = "memdbwriter_sink"
	watchedName = "memdbwriter_watched"
	stagedName  = "memdbwriter_staged_rows"
	failedName  = "memdbwriter_failed_rows"
)

// privateDriver serves all stores.
var privateDriver vtable.Driver

// Open makes an empty store.
func Open(cfg Config) (*Store, error) {
	views, name, err := views(cfg)
	if err != nil {
		return nil, fmt.Errorf("open staging store: %w", err)
	}
	s := &Store{
		view:    name,
		last:    math.MinInt64,
		settled: math.MinInt64,
		source:  &vtable.Source{Name: sourceName, Columns: failureColumns},
		sink:    &vtable.Sink{Name: sinkName, Columns: 1},
		window:  newWindow(name, views, cfg.Columns),
	}
	s.counts.Store(&Counts{})
	if err := s.open(); err != nil {
		return nil, errors.Join(fmt.Errorf("open staging store: %w", err), s.Close())
	}
	return s, nil
}

func (s *Store) open() (err error) {
	ctx := context.Background()
	s.db, err = privateDriver.Open(":memory:", setup, s.source, s.sink)
	if err != nil {
		return err
	}
	if s.conn, err = s.db.Conn(ctx); err != nil {
		return err
	}
	for stmt, query := range map[**sql.Stmt]string{
		&s.begin:    "BEGIN",
		&s.commit:   "COMMIT",
		&s.rollback: "ROLLBACK",

		&s.insert: "INSERT INTO main.chunk SELECT c0, c1 FROM temp." + sourceName,
		&s.read:   "INSERT INTO temp." + sinkName + "(rowid, c0) SELECT first, data FROM main.chunk WHERE first >= ? ORDER BY first",
		&s.delete: "DELETE FROM main.chunk WHERE first <= ?",

		&s.fail:       failSQL,
		&s.failures:   failuresSQL,
		&s.unfailSize: "SELECT count(*), ifnull(sum(length(tuple)), 0) FROM main.failed WHERE seq IN (SELECT c0 FROM temp." + sourceName + ")",
		&s.unfail:     "DELETE FROM main.failed WHERE seq IN (SELECT c0 FROM temp." + sourceName + ")",
		&s.refail:     refailSQL,
		&s.lastFailed: fmt.Sprintf("SELECT ifnull(max(seq), %d) FROM main.failed", int64(beforeAll)),
		&s.unknown:    "SELECT c0 FROM temp." + sourceName + " WHERE c0 NOT IN (SELECT seq FROM main.failed)",

		&s.pageCount: "PRAGMA page_count",
		&s.freePages: "PRAGMA freelist_count",
		&s.vacuum:    fmt.Sprintf("PRAGMA incremental_vacuum(%d)", trimPages),
	} {
		if *stmt, err = s.conn.PrepareContext(ctx, query); err != nil {
			return fmt.Errorf("%s: %w", query, err)
		}
		s.stmts = append(s.stmts, *stmt)
	}
	s.measure()
	s.empty = s.pages.Load()
	return nil
}

// lock begins the work of a method; the caller unlocks s.mu if err is nil.
func (s *Store) lock() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return ErrClosed
	}
	return nil
}

// View returns the name of the view of the staged rows: Config.View, with
// underscores before it if SQLite or the store itself has that name already.
func (s *Store) View() string { return s.view }

// Counts returns exact numbers, all of one moment. It never waits, and still
// answers after Close.
func (s *Store) Counts() Counts { return *s.counts.Load() }

// count changes the counters; s.mu is held.
func (s *Store) count(rows, bytes, failedRows, failedBytes int64) {
	c := s.Counts()
	s.counts.Store(&Counts{c.Rows + rows, c.Bytes + bytes, c.FailedRows + failedRows, c.FailedBytes + failedBytes})
	if held := c.Bytes + bytes + c.FailedBytes + failedBytes; held > s.peak {
		s.peak = held
		s.measure() // only what was never needed before takes new pages
	}
}

// transaction runs fn between BEGIN and COMMIT; s.mu is held.
func (s *Store) transaction(fn func() error) error {
	if _, err := s.begin.Exec(); err != nil {
		return err
	}
	err := fn()
	if err == nil {
		_, err = s.commit.Exec()
	}
	if err != nil {
		if _, rerr := s.rollback.Exec(); rerr != nil {
			err = errors.Join(err, fmt.Errorf("roll back: %w", rerr))
		}
	}
	return err
}

// Close gives back all memory; what was staged is gone. A query that runs ends
// with ErrClosed, and Close waits until it has. Closing again does nothing.
func (s *Store) Close() error {
	shut := s.window.shut()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.db == nil {
		return shut
	}
	s.closed = true
	s.setPages(0)
	errs := []error{shut}
	for _, stmt := range s.stmts { // one left open would keep the whole database alive
		errs = append(errs, stmt.Close())
	}
	if s.conn != nil {
		errs = append(errs, s.conn.Close())
	}
	return errors.Join(append(errs, s.db.Close())...)
}
