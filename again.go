package memdbwriter

import (
	"context"
	"time"

	"github.com/memdbwriter/memdbwriter/internal/stage"
)

// Failed rows are tried again by themselves, since what refused them may pass: a
// parent that comes later, a partition that is made, a constraint that is
// dropped, a lock that is given up. The pause after which a row is tried doubles
// each time, so that rows that will never get in cost little. It is what
// RetrySyncErrors does, a page at a time, and never overwrites a newer row.

// maxDoublings bounds the pause of a failed row: 64 times the first one.
const maxDoublings = 6

// dueAgain reports whether a failed row is to be tried again at a moment. When it
// failed is a time of the wall clock, as an earlier process may have seen it: if
// that is still to come, the clock was set back, and the pause would last until
// it has caught up.
func dueAgain(f *stage.Failure, first time.Duration, now time.Time) bool {
	pause := first << min(max(f.Attempts-1, 0), maxDoublings)
	return now.Before(f.Last) || !now.Before(f.Last.Add(pause))
}

// setAgain sets the timer after which failed rows are looked through.
func (s *syncer) setAgain() {
	if s.cfg.FailedRetryDelay > 0 {
		s.again.Reset(s.cfg.FailedRetryDelay)
	}
}

// tryAgain tries the next page of failed rows that are due, unless the destination
// fails. It reports whether there is room for failed rows again, the lack of which
// kept new rows from being sent.
func (s *syncer) tryAgain(ctx context.Context) (room bool) {
	defer s.setAgain()
	full := func() bool { return s.store.Counts().FailedRows >= int64(s.cfg.MaxFailedRows) }
	before := full()
	if s.tally.awake() != nil || s.store.Counts().FailedRows == 0 || s.attempts > 0 && !before {
		return false
	}
	now := time.Now()
	due := func(f *stage.Failure) bool { return dueAgain(f, s.cfg.FailedRetryDelay, now) }
	for page := (&retriedPage{more: true}); page.more && !page.tried && page.err == nil; {
		page = &retriedPage{after: page.last, upTo: page.upTo, due: due}
		s.retryFailed(ctx, page)
		if page.stored > 0 {
			s.cfg.Logger.Info("failed rows are stored now", "table", s.table.String(), "rows", page.stored)
		}
	}
	return before && !full()
}
