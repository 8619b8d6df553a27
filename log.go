package memdbwriter

import (
	"time"

	"github.com/memdbwriter/memdbwriter/internal/dest"
)

// logEvery is the shortest pause between two informational lines about syncs
// that the batch size started: under load there are many a second.
const logEvery = 10 * time.Second

// report logs a run that has ended. Failed runs are logged by logFailure.
func (s *syncer) report(ev SyncEvent) {
	if ev.Err != nil {
		return
	}
	log := s.cfg.Logger.Info
	frequent := ev.Reason == ReasonBatchSize || ev.Reason == ReasonLimit
	if frequent && time.Since(s.logged) < logEvery {
		log = s.cfg.Logger.Debug
	} else {
		s.logged = time.Now()
	}
	total, _ := s.front.status(time.Time{})
	log("sync done", "table", s.table.String(), "reason", string(ev.Reason),
		"synced", ev.Synced, "superseded", ev.Superseded, "skipped", ev.Skipped, "failed", ev.Failed, "batches", ev.Batches,
		"seconds", ev.Duration.Seconds(), "waiting", total.Pending, "synced_total", total.Synced)
}

// logStopped logs the end of a writer.
func (c *core) logStopped(s SyncStatus, err error) {
	attrs := []any{
		"table", c.table.String(), "total", s.Total, "synced", s.Synced, "superseded", s.Superseded,
		"skipped", s.Skipped, "failed", s.Failed, "discarded", s.Discarded, "unsynced", s.Pending,
	}
	if err != nil {
		attrs = append(attrs, "error", err)
	}
	c.cfg.Logger.Info("writer stopped", attrs...)
}

// logLimit logs once that the limit is near, once that it was reached, and once
// that half of the buffer is free again.
func (s *syncer) logLimit() {
	st, full := s.front.status(time.Time{})
	if st.NearFull && !s.nearFull && !full.on {
		s.cfg.Logger.Warn("buffer nearly full", "table", s.table.String(), "waiting", st.Pending,
			"max_rows", s.cfg.MaxRows, "max_bytes", s.cfg.MaxBytes, "usage", st.Usage)
	}
	s.nearFull = st.NearFull
	s.noteState()
	switch {
	case full.on && !s.full:
		s.cfg.Logger.Warn("buffer full, Add waits", "table", s.table.String(), "waiting", st.Pending, "max_rows", s.cfg.MaxRows, "max_bytes", s.cfg.MaxBytes)
		s.full = true
	case s.full && s.front.halfFree():
		s.cfg.Logger.Info("buffer has room again", "table", s.table.String(), "waiting", st.Pending)
		s.full = false
	}
}

// logFailure logs the n-th failed attempt in a row. The first ones are logged
// each, later ones once in a while.
func (c *core) logFailure(e *dest.Error, n int, delay time.Duration, waiting int64) {
	log := c.cfg.Logger.Warn
	if e.Class == dest.ClassTable {
		log = c.cfg.Logger.Error
	}
	if n > 3 && !c.tally.failureLogDue() {
		log = c.cfg.Logger.Debug
	}
	log("sync failed, rows stay buffered", "table", c.table.String(), "destination", c.destination, "class", e.Class.String(),
		"sqlstate", e.SQLState, "attempt", n, "retry_in", delay, "waiting", waiting, "error", e)
}

// logFailed logs rows that were set aside: the first of a batch each, and how
// many more there are, by SQLSTATE.
func (c *core) logFailed(failed []failure) {
	const spelledOut = 3
	for _, r := range failed[:min(spelledOut, len(failed))] {
		c.cfg.Logger.Error("row failed", "table", c.table.String(), "sqlstate", r.err.SQLState, "error", rowError(&c.table, r.tuple, r.err))
	}
	if len(failed) <= spelledOut {
		return
	}
	more := map[string]int64{}
	for _, r := range failed[spelledOut:] {
		more[r.err.SQLState]++
	}
	c.cfg.Logger.Error("more rows failed", "table", c.table.String(), "rows", len(failed)-spelledOut, "sqlstates", countStates(more))
}
