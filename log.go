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
	total, _ := s.front.status()
	log("sync done", "table", s.table.String(), "reason", string(ev.Reason),
		"synced", ev.Synced, "superseded", ev.Superseded, "failed", ev.Failed, "batches", ev.Batches,
		"seconds", ev.Duration.Seconds(), "waiting", total.Pending, "synced_total", total.Synced)
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
// many more there are.
func (c *core) logFailed(failed []failure) {
	const spelledOut = 3
	for i, r := range failed {
		if i == spelledOut {
			c.cfg.Logger.Error("more rows failed", "table", c.table.String(), "rows", len(failed)-spelledOut)
			return
		}
		c.cfg.Logger.Error("row failed", "table", c.table.String(), "sqlstate", r.err.SQLState,
			"error", rowError(&c.table, r.tuple, r.err.Column, r.err.SQLState, r.err))
	}
}
