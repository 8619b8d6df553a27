package memdbwriter

import (
	"context"
	"time"

	"github.com/memdbwriter/memdbwriter/internal/stage"
	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

const (
	// linger is how long the stager waits for company of the first row.
	linger = 2 * time.Millisecond
	// stageRetry is the pause after SQLite failed to take rows.
	stageRetry = time.Second
)

// stager moves rows from the front buffer to the staging table. Its goroutine
// is the only one that does, so rows are staged in arrival order.
type stager struct {
	front  *front
	store  *stage.Store
	staged func(last int64) // called after every row up to last is staged
	failed func(error)      // called for each failed attempt; nothing is lost by it

	requests chan chan struct{} // flush: stage everything now, then close the channel

	chunks []*tuple.Batch
}

// loop runs until ctx ends.
func (s *stager) loop(ctx context.Context) {
	timer := time.NewTimer(linger)
	defer timer.Stop()
	for {
		var reply chan struct{}
		select {
		case <-ctx.Done():
			return
		case reply = <-s.requests:
		case <-s.front.rowsReady:
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
		if reply != nil {
			close(reply)
		}
	}
}

// stage moves what the front buffer holds; false means that ctx ended first.
func (s *stager) stage(ctx context.Context) bool {
	s.chunks = s.front.take(s.chunks)
	for _, c := range s.chunks {
		for {
			err := s.store.Append(c)
			if err == nil {
				break
			}
			s.failed(err)
			select {
			case <-time.After(stageRetry):
			case <-ctx.Done():
				return false
			}
		}
		s.staged(c.Rows[c.Len()-1].Seq)
	}
	s.front.recycle(s.chunks)
	clear(s.chunks)
	return true
}

// flush returns when every row added before the call is in the staging table.
func (s *stager) flush(ctx, life context.Context) error {
	reply := make(chan struct{})
	select {
	case s.requests <- reply:
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-life.Done():
		return ErrStopped
	}
	select {
	case <-reply:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-life.Done():
		return ErrStopped
	}
}
