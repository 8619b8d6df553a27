package stage

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/memdbwriter/memdbwriter/internal/tuple"
	"github.com/memdbwriter/memdbwriter/internal/vtable"
)

// Limits of a query. SQLite heeds the end of a context between two steps of its
// program only; with values of this size none of them takes long.
const (
	maxValue  = 1 << 20 // bytes of a value, a row that is sorted, and the statement
	maxAnswer = 64 << 20
	maxTime   = time.Minute // for contexts that last longer
)

var windowLimits = map[int]int{
	sqlite3.SQLITE_LIMIT_LENGTH:              maxValue,
	sqlite3.SQLITE_LIMIT_SQL_LENGTH:          maxValue,
	sqlite3.SQLITE_LIMIT_EXPR_DEPTH:          200,
	sqlite3.SQLITE_LIMIT_COMPOUND_SELECT:     100,
	sqlite3.SQLITE_LIMIT_VDBE_OP:             250_000,
	sqlite3.SQLITE_LIMIT_FUNCTION_ARG:        100,
	sqlite3.SQLITE_LIMIT_ATTACHED:            0,
	sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH: 500,
	sqlite3.SQLITE_LIMIT_WORKER_THREADS:      0,
}

var (
	errTooLong = fmt.Errorf("it has not ended within %v", maxTime)
	errTooMuch = fmt.Errorf("the answer has more than %d MiB: use LIMIT, or fewer columns", maxAnswer>>20)
)

// windowDriver serves the windows of all stores.
var windowDriver = vtable.Driver{Functions: windowFunctions}

// window is where queries run: a database of its own, empty but for the two
// views of the store's rows, which are fetched page by page. Whatever a query
// does to it, the store waits for a page at most.
type window struct {
	name    string // of the view of the staged rows
	views   []string
	columns []tuple.Column

	life  context.Context // until Close
	end   context.CancelCauseFunc
	turn  chan struct{} // held by the query that runs, and guards everything below
	close func() error  // of the database; nil until the first query

	conn    *sql.Conn
	modules map[string]bool // see readable
	watched *vtable.Source  // see run
	ctx     context.Context
	staged  int64 // what the query sees
	failed  int64
	asked   bool  // the caller's statement is being prepared or run;
	selects bool  // it does SELECT,
	denied  bool  // it wants what it may not
	broken  error // of a scan
}

func newWindow(name string, views []string, columns []tuple.Column) *window {
	w := &window{name: name, views: views, columns: columns, turn: make(chan struct{}, 1)}
	w.life, w.end = context.WithCancelCause(context.Background())
	return w
}

// question is a query.
type question struct {
	text string
	args []driver.NamedValue
}

// answer is the result of one.
type answer struct {
	columns []string
	rows    [][]any
	bytes   int
}

// run runs the query when it is its turn. The goroutine that does so outlives
// run when the context ends in the middle of a step of SQLite's; the next query
// and shut wait for it.
func (w *window) run(ctx context.Context, s *Store, q question) (*answer, error) {
	limited, stop := context.WithTimeoutCause(ctx, maxTime, errTooLong)
	within, cancel := context.WithCancelCause(limited)
	unhook := context.AfterFunc(w.life, func() { cancel(ErrClosed) })
	release := func() { unhook(); cancel(nil); stop() }
	ended := func() error {
		if err := ctx.Err(); err != nil {
			return err
		}
		return context.Cause(within)
	}
	select {
	case w.turn <- struct{}{}:
	case <-within.Done():
		defer release()
		return nil, ended()
	}
	if err := ended(); err != nil {
		defer release()
		<-w.turn
		return nil, err
	}
	var a answer
	var err error
	done := make(chan struct{})
	go func() {
		defer release()
		if err = w.answer(within, s, q, &a); err != nil && within.Err() != nil {
			err = ended()
		}
		<-w.turn
		close(done)
	}()
	select {
	case <-done:
	case <-within.Done():
		select {
		case <-done:
		default:
			return nil, ended()
		}
	}
	return &a, err
}

// shut waits for the query that runs, and closes the database. No other query
// runs any more.
func (w *window) shut() error {
	w.end(ErrClosed)
	w.turn <- struct{}{}
	defer func() { <-w.turn }()
	if w.close == nil {
		return nil
	}
	err := w.close()
	w.close = nil
	return err
}

// open makes the database.
func (w *window) open(s *Store) (err error) {
	w.watched = &vtable.Source{Name: watchedName, Columns: 1}
	stream := func(name string, columns int, scan func() vtable.Scan, rows func(Counts) int64) vtable.Table {
		return &vtable.Stream{Name: name, Columns: columns, Scan: scan, Rows: func() int64 { return rows(s.Counts()) }}
	}
	n := len(w.columns) + 1
	db, err := windowDriver.Open(":memory:?_defensive=1", append([]string{"PRAGMA temp_store = MEMORY"}, w.views...), w.watched,
		stream(stagedName, n, func() vtable.Scan {
			return &stagedScan{window: w, store: s, after: beforeAll}
		}, func(c Counts) int64 { return c.Rows }),
		stream(failedName, n+len(failureNames), func() vtable.Scan {
			return &failedScan{window: w, store: s, after: beforeAll}
		}, func(c Counts) int64 { return c.FailedRows }))
	if err != nil {
		return err
	}
	if w.conn, err = db.Conn(context.Background()); err != nil {
		return errors.Join(err, db.Close())
	}
	w.close = func() error { return errors.Join(w.conn.Close(), db.Close()) }
	if err := w.limit(); err != nil {
		err = errors.Join(err, w.close())
		w.close = nil
		return err
	}
	return nil
}

func (w *window) limit() (err error) {
	if w.modules, err = w.moduleNames(); err != nil {
		return err
	}
	for id, n := range windowLimits {
		if _, err := sqlite.Limit(w.conn, id, n); err != nil {
			return err
		}
	}
	return w.conn.Raw(func(conn any) error {
		return conn.(sqlite.AuthorizerRegisterer).RegisterAuthorizer(w.authorize)
	})
}

// answer runs the query.
func (w *window) answer(ctx context.Context, s *Store, q question, a *answer) (err error) {
	if w.staged, w.failed, err = s.horizon(); err != nil {
		return err
	}
	if w.close == nil {
		if err := w.open(s); err != nil {
			return err
		}
	}
	w.ctx = ctx

	// The driver heeds a context while one Exec lasts, and not while rows are
	// read: a statement could take for ever to find the second one. Hence the
	// query runs inside another statement, as the value of its only row.
	// database/sql has no part in it, so that it cannot come to the conclusion
	// that the connection is broken.
	return w.conn.Raw(func(conn any) error {
		var failed error
		w.watched.Serve(watchedRow(func() error {
			w.watched.Serve(nil)
			failed = w.ask(conn.(driver.QueryerContext), q, a)
			return failed
		}))
		defer w.watched.Serve(nil)
		_, err := conn.(driver.ExecerContext).ExecContext(ctx, "SELECT c0 FROM temp."+watchedName, nil)
		if failed != nil {
			return failed // which is what err says, less directly
		}
		return err
	})
}

// watchedRow is the row whose value is a query.
type watchedRow func() error

func (watchedRow) Len() int { return 1 }

func (query watchedRow) Value(int, int) (driver.Value, error) { return nil, query() }

func (w *window) ask(conn driver.QueryerContext, q question, a *answer) (err error) {
	w.asked, w.selects, w.denied, w.broken = true, false, false, nil
	defer func() { w.asked = false }()
	rows, err := conn.QueryContext(context.Background(), q.text, q.args)
	if w.denied || err == nil && !w.selects { // the authorizer is not asked about everything, but always about SELECT
		if err == nil {
			err = rows.Close()
		}
		if err != nil {
			return fmt.Errorf("%w: %w", errReadOnly, err)
		}
		return errReadOnly
	}
	if err == nil {
		err = a.read(rows)
	}
	if w.broken != nil {
		return w.broken
	}
	return err
}

// page lets a scan read the store. SQLite does not pass on why a scan failed.
func (w *window) page(read func() error) error {
	if w.broken = context.Cause(w.ctx); w.broken == nil {
		w.broken = read()
	}
	return w.broken
}

// read takes the rows.
func (a *answer) read(rows driver.Rows) (err error) {
	defer func() { err = errors.Join(err, rows.Close()) }()
	a.columns = rows.Columns()
	values := make([]driver.Value, len(a.columns))
	for {
		if err := rows.Next(values); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		row := make([]any, len(values))
		a.bytes += rowCost
		for i, v := range values {
			row[i] = v
			a.bytes += valueCost + size(v)
		}
		if a.rows = append(a.rows, row); a.bytes > maxAnswer {
			return errTooMuch
		}
	}
}

// What a row takes besides its values, and a value besides its bytes.
const rowCost, valueCost = 40, 24

func size(v driver.Value) int {
	switch v := v.(type) {
	case string:
		return len(v)
	case []byte:
		return len(v)
	}
	return 0
}
