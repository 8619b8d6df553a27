// Package stage keeps the rows that wait for the destination, as tuples, in a
// private in-memory SQLite database:
//
//	main.staging                       rows that wait
//	    seq      INTEGER PRIMARY KEY     arrival number
//	    tuple    BLOB                    the row (see package tuple)
//
//	main.failed                        rows that the destination refused
//	    seq, tuple                       as above; a row is in one of the two
//	    sqlstate, "column", message      why
//	    attempts                         how often it was tried
//	    first, last                      when it failed, microseconds since 1970
//
//	main.retried                       what is to be remembered of rows that
//	    seq, attempts, first             went back from failed to staging
//
//	temp.<table>                       view: staging with a column per field,
//	                                     and _seq
//	temp.<table>_failed                view: failed, likewise, and _sqlstate,
//	                                     _column, _error, _attempts, _first, _last
//
// Rows enter and leave staging in blocks, each by one statement over a virtual
// table, so that a row costs about a microsecond and nothing on the Go heap.
//
// Arrival numbers only grow: whoever has read up to a number has seen every
// row up to it, and can settle that range as a whole.
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
	counts atomic.Pointer[Counts]

	mu      sync.Mutex // guards everything below
	closed  bool
	db      *vtable.DB
	conn    *sql.Conn // the only one, held until Close: it is the database
	stmts   []*sql.Stmt
	source  *vtable.Source
	sink    *vtable.Sink
	watched *vtable.Source // see Query
	reading bool           // a statement of Query's caller is being prepared or run;
	selects bool           // it does SELECT,
	denied  bool           // it wants what it may not
	last    int64          // the highest seq that was ever staged
	extents []extent       // of the latest reads
	retried int64          // rows in main.retried

	begin, commit, rollback      *sql.Stmt
	insert, read, size, remove   *sql.Stmt
	fail, failures, forget       *sql.Stmt
	unfailInto, unfailKeep       *sql.Stmt
	unfail                       *sql.Stmt
	pageCount, freePages, vacuum *sql.Stmt
}

// Counts says what a Store holds.
type Counts struct {
	Rows, Bytes             int64 // waiting; bytes are those of the tuples
	FailedRows, FailedBytes int64
}

// pageSize is large because the allocator below SQLite rounds up what it takes
// for a page: the process holds 2.3 bytes per byte of row with pages of 4 KiB,
// 1.35 with 16, 1.2 with 32 and 1.12 with 64. Each page of 64 KiB is a memory
// mapping of its own, of which Linux by default allows a process 65530: about
// 4 GiB of rows.
const pageSize = 64 << 10

var setup = []string{
	fmt.Sprintf("PRAGMA page_size = %d", pageSize),
	"PRAGMA auto_vacuum = INCREMENTAL", // for Trim
	"PRAGMA journal_mode = MEMORY",     // for atomic statements
	"PRAGMA temp_store = MEMORY",
	"CREATE TABLE staging(seq INTEGER PRIMARY KEY, tuple BLOB NOT NULL)",
	`CREATE TABLE failed(seq INTEGER PRIMARY KEY, tuple BLOB NOT NULL, sqlstate TEXT NOT NULL, "column" TEXT NOT NULL,
		message TEXT NOT NULL, attempts INTEGER NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL)`,
	"CREATE TABLE retried(seq INTEGER PRIMARY KEY, attempts INTEGER NOT NULL, first INTEGER NOT NULL)",
}

// Names of the virtual tables, all in the temp schema, where a view may have
// any other name: statements say which schema they mean.
const (
	sourceName  = "memdbwriter_source"
	sinkName    = "memdbwriter_sink"
	watchedName = "memdbwriter_watched"
)

// privateDriver serves all stores.
var privateDriver = vtable.Driver{Functions: functions}

// Open makes an empty store.
func Open(cfg Config) (*Store, error) {
	views, name, err := views(cfg)
	if err != nil {
		return nil, fmt.Errorf("open staging store: %w", err)
	}
	s := &Store{
		view:    name,
		last:    math.MinInt64,
		source:  &vtable.Source{Name: sourceName, Columns: failureColumns},
		sink:    &vtable.Sink{Name: sinkName, Columns: 1},
		watched: &vtable.Source{Name: watchedName, Columns: 1},
	}
	s.counts.Store(&Counts{})
	if err := s.open(views); err != nil {
		return nil, errors.Join(fmt.Errorf("open staging store: %w", err), s.Close())
	}
	return s, nil
}

func (s *Store) open(views []string) (err error) {
	ctx := context.Background()
	s.db, err = privateDriver.Open(":memory:", append(setup[:len(setup):len(setup)], views...), s.source, s.sink, s.watched)
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

		&s.insert: "INSERT INTO main.staging SELECT c0, c1 FROM temp." + sourceName,
		&s.read:   "INSERT INTO temp." + sinkName + "(rowid, c0) SELECT seq, tuple FROM main.staging WHERE seq > ? ORDER BY seq LIMIT ?",
		&s.size:   "SELECT ifnull(sum(length(tuple)), 0) FROM main.staging WHERE seq BETWEEN ? AND ?",
		&s.remove: "DELETE FROM main.staging WHERE seq BETWEEN ? AND ?",

		&s.fail:       failSQL,
		&s.forget:     "DELETE FROM main.retried WHERE seq BETWEEN ? AND ?",
		&s.failures:   failuresSQL,
		&s.unfailInto: "INSERT INTO main.staging SELECT c1, tuple FROM temp." + sourceName + " CROSS JOIN main.failed ON seq = c0",
		&s.unfailKeep: "INSERT INTO main.retried SELECT c1, attempts, first FROM temp." + sourceName + " CROSS JOIN main.failed ON seq = c0",
		&s.unfail:     "DELETE FROM main.failed WHERE seq IN (SELECT c0 FROM temp." + sourceName + ")",

		&s.pageCount: "PRAGMA page_count",
		&s.freePages: "PRAGMA freelist_count",
		&s.vacuum:    fmt.Sprintf("PRAGMA incremental_vacuum(%d)", trimPages),
	} {
		if *stmt, err = s.conn.PrepareContext(ctx, query); err != nil {
			return fmt.Errorf("%s: %w", query, err)
		}
		s.stmts = append(s.stmts, *stmt)
	}
	return s.authorize()
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

// Close gives back all memory; what was staged is gone. Closing again does
// nothing.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.db == nil {
		return nil
	}
	s.closed = true
	var errs []error
	for _, stmt := range s.stmts { // one left open would keep the whole database alive
		errs = append(errs, stmt.Close())
	}
	if s.conn != nil {
		errs = append(errs, s.conn.Close())
	}
	return errors.Join(append(errs, s.db.Close())...)
}
