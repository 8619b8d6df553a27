package memdbprom

import (
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/memdbwriter/memdbwriter"
)

// metric is one that is read at a scrape. read emits a value for each
// combination of labels.
type metric struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	read func(s memdbwriter.Stats, emit func(value float64, labels ...string))
}

type descs []metric

// states are those that a writer can be in: each is a series, so that one that
// is over is seen to be.
var states = []memdbwriter.State{
	memdbwriter.StateOK, memdbwriter.StateSyncing, memdbwriter.StateDegraded, memdbwriter.StateBlocked, memdbwriter.StateFull, memdbwriter.StateStopped,
}

func newDescs(labels prometheus.Labels) (all descs) {
	add := func(kind prometheus.ValueType, name, help string, read func(memdbwriter.Stats, func(float64, ...string)), variable ...string) {
		all = append(all, metric{prometheus.NewDesc("memdbwriter_"+name, help, variable, labels), kind, read})
	}
	number := func(kind prometheus.ValueType) func(name, help string, value func(s memdbwriter.Stats) int64) {
		return func(name, help string, value func(s memdbwriter.Stats) int64) {
			add(kind, name, help, func(s memdbwriter.Stats, emit func(float64, ...string)) { emit(float64(value(s))) })
		}
	}
	seconds := func(kind prometheus.ValueType, name, help string, value func(s memdbwriter.Stats) time.Duration) {
		add(kind, name, help, func(s memdbwriter.Stats, emit func(float64, ...string)) { emit(value(s).Seconds()) })
	}
	moment := func(name, help string, at func(s memdbwriter.Stats) time.Time) {
		add(prometheus.GaugeValue, name, help, func(s memdbwriter.Stats, emit func(float64, ...string)) {
			if t := at(s); !t.IsZero() {
				emit(float64(t.UnixMilli()) / 1e3)
			}
		})
	}
	counter, gauge := number(prometheus.CounterValue), number(prometheus.GaugeValue)

	counter("rows_added_total", "Rows taken by Add.", func(s memdbwriter.Stats) int64 { return s.Total })
	counter("rows_recovered_total", "Rows of earlier writers found on disk.", func(s memdbwriter.Stats) int64 { return s.Recovered })
	counter("rows_synced_total", "Rows that the destination has committed.", func(s memdbwriter.Stats) int64 { return s.Synced })
	counter("rows_superseded_total", "Rows that another row of their key made void before they were written.", func(s memdbwriter.Stats) int64 { return s.Superseded })
	counter("rows_skipped_total", "Rows that a trigger of the table cancelled.", func(s memdbwriter.Stats) int64 { return s.Skipped })
	counter("rows_rejected_total", "Times that the destination rejected a waiting row.", func(s memdbwriter.Stats) int64 { return s.Rejected })
	counter("rows_discarded_total", "Failed rows that were given up.", func(s memdbwriter.Stats) int64 { return s.Discarded })
	counter("rows_lost_total", "Rows of earlier writers that cannot be read any more.", func(s memdbwriter.Stats) int64 { return s.Lost })
	counter("rows_deleted_total", "Calls for a delete that the destination has committed.", func(s memdbwriter.Stats) int64 { return s.Deleted })
	gauge("pending_rows", "Rows waiting or in flight.", func(s memdbwriter.Stats) int64 { return s.Pending })
	gauge("failed_rows", "Rows that the destination rejected and the writer keeps.", func(s memdbwriter.Stats) int64 { return s.Failed })
	gauge("pending_bytes", "Encoded size of the pending rows.", func(s memdbwriter.Stats) int64 { return s.PendingBytes })
	gauge("memory_bytes", "Memory that SQLite holds for waiting and failed rows.", func(s memdbwriter.Stats) int64 { return s.MemoryBytes })
	gauge("limit_rows", "Limit on pending rows.", func(s memdbwriter.Stats) int64 { return s.Limits.MaxRows })
	gauge("limit_failed_rows", "Limit on failed rows.", func(s memdbwriter.Stats) int64 { return s.Limits.MaxFailedRows })
	add(prometheus.GaugeValue, "buffer_usage_ratio", "Share of the limit on rows or bytes that the pending rows take.",
		func(s memdbwriter.Stats, emit func(float64, ...string)) { emit(s.Usage) })
	seconds(prometheus.GaugeValue, "oldest_pending_seconds", "For how long the oldest pending row has waited.", func(s memdbwriter.Stats) time.Duration { return s.OldestPending })
	add(prometheus.GaugeValue, "state", "1 for the state that the writer is in, 0 for the others.", func(s memdbwriter.Stats, emit func(float64, ...string)) {
		for _, state := range states {
			emit(is(s.State == state), string(state))
		}
		if !slices.Contains(states, s.State) {
			emit(1, string(s.State))
		}
	}, "state")
	moment("last_sync_timestamp_seconds", "When the last batch was committed.", func(s memdbwriter.Stats) time.Time { return s.LastSync })

	counter("synced_bytes_total", "Encoded size of the committed rows.", func(s memdbwriter.Stats) int64 { return s.SyncedBytes })
	add(prometheus.CounterValue, "batches_total", "Transactions committed, by the way that their rows took.", func(s memdbwriter.Stats, emit func(float64, ...string)) {
		emit(float64(s.DirectBatches), string(memdbwriter.WayDirect))
		emit(float64(s.PassBatches), string(memdbwriter.WayPass))
		emit(float64(s.Batches-s.DirectBatches-s.PassBatches), string(memdbwriter.WayUpsert))
	}, "way")
	counter("round_trips_total", "Requests to the destination that were waited for.", func(s memdbwriter.Stats) int64 { return s.RoundTrips })
	counter("standby_waits_total", "Insert-only transactions found committed that a synchronous standby did not have yet.", func(s memdbwriter.Stats) int64 { return s.StandbyWaits })
	counter("retries_total", "Attempts that failed and were repeated.", func(s memdbwriter.Stats) int64 { return s.Retries })
	add(prometheus.CounterValue, "refusals_total", "Requests that failed, by the class of their SQLSTATE.", func(s memdbwriter.Stats, emit func(float64, ...string)) {
		for class, n := range s.Refusals {
			emit(float64(n), class)
		}
	}, "class")
	add(prometheus.CounterValue, "batch_phase_seconds_total", "What writing batches was spent with.", func(s memdbwriter.Stats, emit func(float64, ...string)) {
		emit(s.Times.Connecting.Seconds(), "connecting")
		emit(s.Times.Sending.Seconds(), "sending")
		emit(s.Times.Server.Seconds(), "server")
		emit(s.Times.Acknowledging.Seconds(), "acknowledging")
	}, "phase")
	add(prometheus.CounterValue, "runs_total", "Sync runs by what started them.", func(s memdbwriter.Stats, emit func(float64, ...string)) {
		for reason, n := range s.Runs {
			emit(float64(n), string(reason))
		}
	}, "reason")
	seconds(prometheus.CounterValue, "run_seconds_total", "Time spent in sync runs.", func(s memdbwriter.Stats) time.Duration { return s.SyncTime })

	counter("checkpoints_total", "Checkpoints made.", func(s memdbwriter.Stats) int64 { return s.Checkpoints })
	gauge("checkpoint_bytes", "Size of the last checkpoint.", func(s memdbwriter.Stats) int64 { return s.CheckpointBytes })
	moment("last_checkpoint_timestamp_seconds", "When the last checkpoint was made.", func(s memdbwriter.Stats) time.Time { return s.LastCheckpoint })
	gauge("journal_files", "Segments of the journal on disk.", func(s memdbwriter.Stats) int64 { return s.JournalFiles })
	gauge("journal_bytes", "Size of the journal on disk.", func(s memdbwriter.Stats) int64 { return s.JournalBytes })
	counter("journal_fsyncs_total", "Times that the journal was made durable, or that it failed.", func(s memdbwriter.Stats) int64 { return s.JournalFsyncs })
	add(prometheus.GaugeValue, "disk_failing", "1 if rows that should be on disk are in memory only.",
		func(s memdbwriter.Stats, emit func(float64, ...string)) { emit(is(s.DiskError != nil)) })

	counter("add_waits_total", "Times that an Add found the buffer full and waited.", func(s memdbwriter.Stats) int64 { return s.Waits })
	counter("panics_total", "Panics of hooks, the log handler or the destination that were survived.", func(s memdbwriter.Stats) int64 { return s.Panics })
	seconds(prometheus.GaugeValue, "uptime_seconds", "Time since the writer was made, until it stopped.", func(s memdbwriter.Stats) time.Duration { return s.Uptime })
	return all
}

func is(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
