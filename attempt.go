package memdbwriter

import (
	"bytes"
	"context"
	"errors"
	"time"

	"github.com/memdbwriter/memdbwriter/internal/dest"
	"github.com/memdbwriter/memdbwriter/internal/stage"
)

// errGoroutineEnded is the outcome of an attempt whose goroutine was ended by what
// it called (runtime.Goexit): it is unknown, as that of a lost connection.
var errGoroutineEnded = errors.New("a hook or a function of the pool ended the goroutine that wrote the batch")

// apart runs f, which calls what a user has given, in a goroutine of its own, and
// sends its error: what ends that goroutine ends no other.
func apart(f func() error) <-chan error {
	outcome := make(chan error, 1)
	go func() {
		err := errGoroutineEnded
		defer func() { outcome <- err }()
		err = f()
	}()
	return outcome
}

// writeBatch makes one attempt to write a batch, between the hooks that want to
// know.
// The outcome is that of flush.run.
func (c *core) writeBatch(ctx context.Context, b *batch) error {
	b.attempts++
	start := BatchStart{
		Table: c.table.String(), Destination: c.destination, Run: b.run, Reason: b.reason,
		FirstSeq: b.lo, LastSeq: b.hi, Rows: b.read, Bytes: b.readBytes, Attempt: b.attempts, Start: time.Now(),
	}
	ctx = c.batchStarts(ctx, start)
	began := time.Now()
	within, clock := dest.WithClock(ctx)
	before := b.flush.figures
	err := b.flush.run(within)
	end := BatchEnd{
		BatchStart: start, Way: b.flush.way, RoundTrips: b.flush.trips - before.trips,
		Stored: b.flush.storedRows - before.storedRows, Rejected: int64(len(b.flush.failed)) - before.rejected,
		Times: BatchTimes{
			Connecting: clock.Spent(dest.PhaseConnecting), Sending: clock.Spent(dest.PhaseSending), Server: clock.Spent(dest.PhaseServer),
		},
	}
	end.Duration = time.Since(began)
	b.flush.rejected = int64(len(b.flush.failed))
	b.trips += end.RoundTrips
	b.times.add(end.Times)
	c.tally.attempted(end.Times)
	if err != nil {
		e := dest.AsError(err)
		end.Err, end.SQLState = c.destinationError(e), e.SQLState
	}
	c.batchEnds(ctx, end)
	return err
}

// batchStarts calls the hooks before an attempt, and returns the context of the
// attempt.
func (c *core) batchStarts(ctx context.Context, start BatchStart) context.Context {
	for _, hook := range c.hooks.batchStart {
		guardHook(c.cfg.Logger, &c.tally.panics, start.Table, "OnBatchStart", func() {
			if values := hook.OnBatchStart(ctx, start); values != nil {
				ctx = withValues{ctx, values}
			}
		})
	}
	return ctx
}

// batchEnds calls the hooks after an attempt.
func (c *core) batchEnds(ctx context.Context, end BatchEnd) {
	for _, hook := range c.hooks.batchEnd {
		guardHook(c.cfg.Logger, &c.tally.panics, end.Table, "OnBatchEnd", func() { hook.OnBatchEnd(ctx, end) })
	}
}

// withValues is a context with the values of another one: a hook can neither
// cancel a batch nor keep it from being cancelled.
type withValues struct {
	context.Context
	values context.Context
}

func (c withValues) Value(key any) any { return c.values.Value(key) }

// emitFailed tells the hooks of rows that were rejected.
func (c *core) emitFailed(failed []stage.Failure) {
	if len(failed) == 0 || len(c.hooks.rowFailed) == 0 {
		return
	}
	rows := make([]RowFailed, len(failed))
	for i := range failed {
		f := &failed[i]
		rows[i] = RowFailed{Seq: f.Seq, Err: c.rowError(f), Attempts: f.Attempts, First: f.First, Last: f.Last, table: &c.table, row: bytes.Clone(f.Tuple)}
	}
	c.events.emit(newRowsFailed(rows))
}

// wayNames are the names of the ways.
var wayNames = map[dest.Way]Way{dest.Direct: WayDirect, dest.Upsert: WayUpsert, dest.Pass: WayPass}
