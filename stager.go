package memdbwriter

import (
	"context"
	"errors"
	"time"

	"github.com/memdbwriter/memdbwriter/internal/stage"
	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

const (
	// linger is how long the stager waits for company of the first row.
	linger = 2 * time.Millisecond
	// stageRetry is the pause after SQLite failed to take rows.
	stageRetry = time.Second
	// roomRetry is the pause while the process may have no more memory.
	roomRetry = 20 * time.Millisecond
)

// stager moves rows from the front buffer to the staging table and numbers
// them. Its goroutine is the only one that does, so rows are staged in the
// order of their arrival.
type stager struct {
	front  *front
	store  *stage.Store
	disk   *disk
	staged func(last int64) // called after every row up to last is staged
	came   time.Time        // since when the rows that are staged next may be there
	failed func(error)      // called for each failed attempt; nothing is lost by it

	life     context.Context
	recovery *recovery       // what comes before the first new row; nil: nothing
	ended    chan struct{}   // closed when the goroutine has ended
	broken   chan struct{}   // closed when recovery has failed; then no new row is staged
	requests chan chan int64 // flush: stage everything now, then send the number of the last row

	next   int64          // arrival number of the next new row; they count from 1
	last   int64          // arrival number of the last staged row
	chunks []*tuple.Batch // taken from the front buffer, and not staged yet
}

// loop runs until ctx ends.
func (s *stager) loop(ctx context.Context) {
	if s.recovery != nil {
		if err := s.recovery.run(ctx); err != nil {
			s.recovery.giveUp(err)
			close(s.broken)
			return
		}
		s.recovery.outcome <- nil
	}
	timer := time.NewTimer(linger)
	defer timer.Stop()
	heal := time.NewTimer(diskRetry)
	heal.Stop()
	defer heal.Stop()
	for {
		var reply chan int64
		select {
		case <-ctx.Done():
			return
		case <-s.disk.trouble():
			heal.Reset(diskRetry)
		case <-heal.C:
			if !s.disk.heal() {
				heal.Reset(diskRetry)
			}
		case reply = <-s.requests:
		case <-s.front.rowsReady:
			s.came = time.Now()
			timer.Reset(linger)
			select {
			case <-timer.C:
			case <-s.front.rowsReady: // a whole chunk is there
			case reply = <-s.requests:
			case <-ctx.Done():
				return
			}
		}
		if !s.stage(ctx) {
			return
		}
		s.came = time.Time{}
		if reply != nil {
			reply <- s.last
		}
	}
}

// take adds what the front buffer holds, numbered, to what is to be staged.
func (s *stager) take() []*tuple.Batch {
	left := len(s.chunks)
	s.chunks = s.front.take(s.chunks)
	for _, c := range s.chunks[left:] {
		for i := range c.Rows {
			c.Rows[i].Seq = s.next + int64(i)
		}
		s.next += int64(c.Len())
	}
	return s.chunks
}

// stage moves what the front buffer holds; false means that ctx ended first, and
// that another call goes on.
func (s *stager) stage(ctx context.Context) bool {
	for i, c := range s.take() {
		step("rows taken")
		s.disk.append(c)
		step("rows journaled")
		if s.put(ctx, c) != nil {
			s.chunks = s.chunks[i:]
			return false
		}
		step("rows staged")
	}
	s.front.recycle(s.chunks)
	clear(s.chunks)
	s.chunks = s.chunks[:0]
	return true
}

// put stages numbered rows, trying again until ctx ends.
func (s *stager) put(ctx context.Context, b *tuple.Batch) error {
	for reported := false; ; {
		err := s.store.Append(b)
		if err == nil {
			s.last = b.Rows[b.Len()-1].Seq
			s.staged(s.last)
			return nil
		}
		pause := stageRetry
		full := errors.Is(err, stage.ErrMappings) // which ends when rows leave
		if full {
			pause = roomRetry
		}
		if !full || !reported {
			s.failed(err)
		}
		reported = full
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// flush returns when every row added before the call is in the staging table,
// with the number of the last staged row.
func (s *stager) flush(ctx context.Context) (last int64, err error) {
	reply := make(chan int64, 1)
	select {
	case s.requests <- reply:
	case <-s.broken:
		return 0, s.recovery.err
	case <-ctx.Done():
		return 0, ended(ctx)
	case <-s.life.Done():
		return 0, ErrStopped
	}
	select {
	case last := <-reply:
		return last, nil
	case <-ctx.Done():
		return 0, ended(ctx)
	case <-s.life.Done():
		return 0, ErrStopped
	}
}
