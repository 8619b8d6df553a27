package memdbwriter

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/memdbwriter/memdbwriter/internal/dest"
	"github.com/memdbwriter/memdbwriter/internal/stage"
	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

const (
	// maxListed is how many failed rows the error of ForceSync and Stop spells out.
	maxListed = 100
	// retryMinDelay is the first pause after a failed attempt.
	retryMinDelay = 100 * time.Millisecond
	// loginRetryDelay is the least pause after a server that locks accounts has
	// refused the login more than once.
	loginRetryDelay = 15 * time.Minute
)

// core is what both writers are made of: a table, the sink that takes its
// rows, and what they say about it.
type core struct {
	cfg         Config
	table       dest.Table
	sink        dest.Sink
	destination string // its name, for errors and logs
	tally       *tally
	hooks       *hooks
	events      *events // nil without a hook that it would call
	states      states
	unreachable bool // the destination was, when the writer was made
}

// newCore binds the table to the destination and looks whether it takes the
// rows. What can never work is an error; a destination that cannot be reached
// is not. ctx bounds the look only.
func newCore(ctx context.Context, table dest.Table, d *Destination, cfg Config) (*core, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	c := &core{cfg: cfg, table: table, destination: d.String(), tally: newTally()}
	c.cfg.Logger = carefulLogger(cfg.Logger, &c.tally.panics)
	if c.hooks, err = findHooks(&cfg); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	c.events = newEvents(c.hooks, c.cfg.Logger, table.String(), &c.tally.panics)
	if c.sink, err = d.d.Bind(&c.table, c.cfg.Logger); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrTable, err)
	}
	if err := c.check(ctx); err != nil {
		return nil, errors.Join(err, c.sink.Close())
	}
	return c, nil
}

func (c *core) check(ctx context.Context) error {
	checking, cancel := context.WithTimeout(ctx, c.cfg.SyncTimeout)
	defer cancel()
	err := c.sink.Check(checking)
	if err == nil {
		return nil
	}
	e := dest.AsError(err)
	err = c.destinationError(e)
	if e.Class == dest.ClassTable {
		return err
	}
	if ctx.Err() != nil {
		return fmt.Errorf("memdbwriter: cancelled while looking at the destination: %w: %w", ended(ctx), err)
	}
	c.unreachable = true
	c.tally.refused(err, dest.Result{RoundTrips: 1})
	c.tally.failed(err, StateDegraded)
	c.cfg.Logger.Warn("destination not reachable yet, rows are buffered", "table", c.table.String(),
		"destination", c.destination, "sqlstate", e.SQLState, "error", e)
	return nil
}

// destinationError gives a sink's error the place, and the public sentinel if
// it is about the table as a whole.
func (c *core) destinationError(e *dest.Error) error {
	if errors.Is(e, dest.ErrClosed) {
		return fmt.Errorf("%w: %s at %s: %w", ErrDestination, c.table.String(), c.destination, ErrClosed)
	}
	if e.Class == dest.ClassTable {
		return fmt.Errorf("%w: %s at %s: %w", ErrDestination, c.table.String(), c.destination, e)
	}
	return fmt.Errorf("memdbwriter: %s at %s: %w", c.table.String(), c.destination, e)
}

// attemptFailed books and logs the n-th failed attempt in a row. It returns
// the pause before the next one, and the public error.
func (c *core) attemptFailed(err error, n int, waiting int64) (time.Duration, error) {
	e := dest.AsError(err)
	state, delay := StateDegraded, c.cfg.RetryMaxDelay
	switch {
	case e.Class != dest.ClassTable:
		delay = retryDelay(n, delay)
	case e.Locks:
		state, delay = StateBlocked, max(delay, loginRetryDelay)
	case strings.HasPrefix(e.SQLState, "28"): // of a login, whose password may just be changing
		state, delay = StateBlocked, retryDelay(n, delay)
	default:
		state = StateBlocked
	}
	err = c.destinationError(e)
	c.tally.failed(err, state)
	c.noteState()
	c.logFailure(e, n, delay, waiting)
	return delay, err
}

// look finds out whether the destination is back, when no row is there that could
// show it.
func (c *core) look(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.SyncTimeout)
	defer cancel()
	err := <-apart(func() (err error) {
		defer func() {
			if p := recover(); p != nil {
				err = c.tally.panics.survived("the destination", p)
			}
		}()
		return c.sink.Check(ctx)
	})
	if err != nil {
		c.tally.refused(err, dest.Result{RoundTrips: 1})
	}
	return err
}

// retryDelay is exponential backoff with full jitter (Brooker, "Exponential
// Backoff And Jitter"), kept from falling below a tenth so that it never is a
// busy loop.
func retryDelay(n int, most time.Duration) time.Duration {
	delay := most
	if n < 20 {
		delay = min(most, retryMinDelay<<(n-1))
	}
	return delay/10 + rand.N(delay*9/10)
}

// unsynced says how much is not in the destination, and why.
func (c *core) unsynced(s SyncStatus, cause error) error {
	if s.LastError != nil && !errors.Is(cause, s.LastError) {
		cause = fmt.Errorf("%w; last error: %w", cause, s.LastError)
	}
	return &UnsyncedError{Table: c.table.String(), Waiting: s.Pending, Failed: s.Failed, Added: s.Total + s.Recovered, Err: cause}
}

// failedRows is the error of rows that the destination refused, of which there are
// as many of each SQLSTATE as states says and the first maxListed are given. It is
// nil without any.
func (c *core) failedRows(first []stage.Failure, states map[string]int64) error {
	if len(first) == 0 {
		return nil
	}
	e := &failedRowsError{table: c.table.String(), states: states}
	for i := range first {
		e.first = append(e.first, c.rowError(&first[i]))
	}
	return e
}

func (c *core) rowError(f *stage.Failure) *RowError {
	return rowError(&c.table, f.Tuple, &dest.Error{Column: f.Column, Constraint: f.Constraint, SQLState: f.SQLState, Err: errors.New(f.Message)})
}

func tupleColumns(t *dest.Table) []tuple.Column {
	columns := make([]tuple.Column, len(t.Columns))
	for i := range columns {
		columns[i] = t.Columns[i].Column
	}
	return columns
}
