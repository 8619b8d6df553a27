// Package sqlitedest is the destination that needs no server: tables in an
// SQLite file.
//
// A batch is one statement. A virtual table shows SQLite the tuples of the
// batch as rows, and
//
//	INSERT INTO t (...) SELECT ... FROM source WHERE true ON CONFLICT ...
//
// takes them all, inside one transaction. So nothing is bound or parsed per
// row, and SQLite's place in the virtual table tells which row it refused.
//
// What holds, whatever happens:
//
//   - A batch is in the file wholly or not at all. When Write returns nil it
//     is synced to disk (write-ahead log, synchronous=FULL).
//   - The table has been compared with the writer's columns under the same
//     lock under which the rows go in: every transaction looks at the file's
//     schema version, so a table dropped or altered by somebody else is
//     noticed before a row is written to it.
//   - A context ends waiting and running statements, never a COMMIT, and not
//     the opening of a file that another program has locked (5 to 10 seconds).
//   - Readers, the sqlite3 shell included, may read the file at any time.
//
// A DB has one connection. Its sinks take turns on it; other processes and
// other DBs on the same file take turns through SQLite's file locks.
package sqlitedest

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/memdbwriter/memdbwriter/internal/dest"
	"github.com/memdbwriter/memdbwriter/internal/vtable"
	sqlite3 "modernc.org/sqlite/lib"
)

// maxColumns is SQLite's limit, and the width of the virtual table, which
// serves sinks of any width.
const maxColumns = 2000

const (
	// lockTimeout is how long a transaction waits for other connections' locks.
	lockTimeout = 5 * time.Second
	// dialPause is the pause between two attempts to open a connection.
	dialPause = 10 * time.Millisecond
)

// setup runs on a new connection. What SQLite sets aside for a statement, like
// the rows for a table with triggers, is as large as a batch, so it stays in
// memory.
var setup = []string{
	"PRAGMA journal_mode = WAL",
	"PRAGMA synchronous = FULL",
	"PRAGMA foreign_keys = ON",
	"PRAGMA temp_store = MEMORY",
}

// engine is SQLite as this package uses it, apart from the host program's.
var engine vtable.Driver

// DB is an SQLite file as destination. It implements dest.Destination.
type DB struct {
	path     string
	patience time.Duration // with other connections' locks
	turn     chan struct{} // holds one token while somebody uses the fields below
	pool     *vtable.DB
	source   *vtable.Source
	conn     *sql.Conn          // nil: not connected
	file     os.FileInfo        // what path was when conn opened it
	sinks    map[*sink]struct{} // those with a statement on conn, which must be closed before it
	closed   bool
}

var _ dest.Destination = (*DB)(nil)

// Open returns the destination for the database file at path. The name is
// taken literally: no character in it has a meaning, and it is not a URI. Open
// does no I/O; the file is opened, and made if missing, by the first Check or
// Write. Several DBs, in several processes too, may use one file.
func Open(path string) (*DB, error) { return open(path, lockTimeout) }

func open(path string, lockTimeout time.Duration) (*DB, error) {
	switch {
	case path == "" || path == ":memory:":
		return nil, fmt.Errorf("SQLite destination %q would be lost with the process; name a file, like catalog.db", path)
	case strings.ContainsRune(path, 0):
		return nil, fmt.Errorf("SQLite destination %q: a file name cannot contain a NUL byte", path)
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("SQLite destination: %w", err)
	}
	db := &DB{
		path: path, patience: lockTimeout,
		turn:   make(chan struct{}, 1),
		sinks:  map[*sink]struct{}{},
		source: &vtable.Source{Name: "source", Columns: maxColumns},
	}
	db.pool, err = engine.Open(dsn(path, lockTimeout), setup, db.source)
	return db, err
}

// dsn names the file so that no character of its path is taken for syntax.
func dsn(path string, lockTimeout time.Duration) string {
	path = filepath.ToSlash(path)
	if !strings.HasPrefix(path, "/") { // C:/...
		path = "/" + path
	}
	query := url.Values{
		"_busy_timeout": {fmt.Sprint(lockTimeout.Milliseconds())},
		"_dqs":          {"0"}, // "x" is a name, never a string
		"_error_rc":     {"1"}, // no stale text in error messages
	}
	u := url.URL{Scheme: "file", Path: path, RawQuery: query.Encode()}
	return u.String()
}

// String is the path of the file.
func (db *DB) String() string { return "sqlite:" + db.path }

// Close moves the write-ahead log into the file and removes it, so that the
// one file is all there is, unless another connection uses it still. A second
// Close does nothing.
func (db *DB) Close() error {
	db.turn <- struct{}{}
	defer db.release()
	if db.closed {
		return nil
	}
	db.closed = true
	var err error
	if db.conn != nil {
		// SQLite does this too when the last connection closes, but says
		// nothing of a failure. PASSIVE waits for nobody.
		if _, err = db.conn.ExecContext(context.Background(), "PRAGMA wal_checkpoint(PASSIVE)"); err != nil {
			err = fmt.Errorf("%s: the rows are safe in the write-ahead log, but could not be moved to the file: %w", db.path, err)
		}
		err = errors.Join(err, db.disconnect())
	}
	return errors.Join(err, db.pool.Close())
}

// use gives f the connection for itself. It connects first if need be, and
// lets go of a connection that is not to be trusted after f's error. The
// error of use is a *dest.Error.
func (db *DB) use(ctx context.Context, f func(c *sql.Conn) error) error {
	dest.Enter(ctx, dest.PhaseConnecting)
	defer dest.Enter(ctx, dest.PhaseServer)
	select {
	case db.turn <- struct{}{}:
	case <-ctx.Done():
		return db.asError(fmt.Errorf("waiting for other writers of this program: %w", ctx.Err()))
	}
	defer db.release()
	if db.closed {
		return dest.Closed()
	}
	if err := db.connect(ctx); err != nil {
		return db.asError(err)
	}
	dest.Enter(ctx, dest.PhaseServer)
	err := f(db.conn)
	if err == nil {
		return nil
	}
	if untrusted(err) {
		err = errors.Join(err, db.disconnect())
	}
	return db.asError(err)
}

func (db *DB) release() { <-db.turn }

// connect makes sure of a connection to the file that has the name now: SQLite
// would go on writing to a file that was deleted.
func (db *DB) connect(ctx context.Context) error {
	if db.conn != nil {
		file, err := os.Stat(db.path)
		if err == nil && os.SameFile(file, db.file) {
			return nil
		}
		return errors.Join(errors.New("the file was deleted, moved or replaced while it was open; rows stored before went with it"), err, db.disconnect())
	}
	conn, err := db.dial(ctx)
	if err != nil {
		return err
	}
	db.conn = conn
	if db.file, err = os.Stat(db.path); err != nil {
		return errors.Join(err, db.disconnect())
	}
	return nil
}

// dial opens a connection. SQLite does not wait for others when a file becomes
// one with a write-ahead log, which of several that open a new file one does.
func (db *DB) dial(ctx context.Context) (*sql.Conn, error) {
	for begin := time.Now(); ; {
		conn, err := db.pool.Conn(ctx)
		if primary, _ := code(err); err == nil || primary != sqlite3.SQLITE_BUSY || time.Since(begin) > db.patience {
			return conn, err
		}
		select {
		case <-time.After(dialPause):
		case <-ctx.Done():
			return nil, err
		}
	}
}

// disconnect closes the statements and the connection.
func (db *DB) disconnect() error {
	var err error
	for s := range db.sinks {
		err = errors.Join(err, s.forget())
	}
	conn := db.conn
	db.conn = nil
	if e := conn.Raw(func(any) error { return errBadConn }); !errors.Is(e, errBadConn) {
		err = errors.Join(err, e)
	}
	return err
}

// transact runs f in a transaction that has the write lock from its start, so
// that f waits for nobody and COMMIT finds nobody in its way.
func transact(ctx context.Context, c *sql.Conn, f func() error) error {
	_, err := c.ExecContext(ctx, "BEGIN IMMEDIATE")
	if err == nil {
		err = f()
	}
	if err == nil {
		if _, err = c.ExecContext(context.WithoutCancel(ctx), "COMMIT"); err == nil {
			return nil
		}
		err = &commitError{err}
	}
	return errors.Join(err, rollback(c))
}

// rollback ends the transaction, unless SQLite has done that itself, as it
// does after some errors.
func rollback(c *sql.Conn) error {
	_, err := c.ExecContext(context.Background(), "ROLLBACK")
	if err != nil && !strings.Contains(err.Error(), "no transaction is active") {
		return &rollbackError{err}
	}
	return nil
}
