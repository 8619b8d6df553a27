package memdbui

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/memdbwriter/memdbwriter"
)

// status is the answer of status.json.
type status struct {
	Title    string    `json:"title"`
	Now      time.Time `json:"now"`
	Actions  bool      `json:"actions"`
	Status   figures   `json:"status"`
	Settings []setting `json:"settings"`
	Runs     []run     `json:"runs"` // the newest first
	Samples  []sample  `json:"samples"`
}

// figures are memdbwriter.Stats as JSON: sizes in bytes, durations in seconds,
// errors as text.
type figures struct {
	State         memdbwriter.State `json:"state"`
	Since         time.Time         `json:"since,omitzero"`
	Syncing       bool              `json:"syncing"`
	Total         int64             `json:"total"`
	Recovered     int64             `json:"recovered"`
	Pending       int64             `json:"pending"`
	Synced        int64             `json:"synced"`
	Superseded    int64             `json:"superseded"`
	Failed        int64             `json:"failed"`
	Skipped       int64             `json:"skipped"`
	Discarded     int64             `json:"discarded"`
	Lost          int64             `json:"lost"`
	Deleted       int64             `json:"deleted"`
	Progress      float64           `json:"progress"`
	OldestSeconds float64           `json:"oldest_seconds"` // the age of the oldest pending row
	Usage         float64           `json:"usage"`          // of the limit on memory, from 0 to 1
	NearFull      bool              `json:"near_full"`
	FullSeconds   float64           `json:"full_seconds"`  // until Add waits, estimated; negative: the buffer does not fill
	DrainSeconds  float64           `json:"drain_seconds"` // until nothing is pending, estimated; negative: not known
	LastSync      time.Time         `json:"last_sync,omitzero"`
	LastError     string            `json:"last_error,omitempty"`
	LastErrorAt   time.Time         `json:"last_error_at,omitzero"`
	DiskError     string            `json:"disk_error,omitempty"`
	PendingBytes  int64             `json:"pending_bytes"`
	SyncedBytes   int64             `json:"synced_bytes"`
	MemoryBytes   int64             `json:"memory_bytes"`
	Batches       int64             `json:"batches"`
	DirectBatches int64             `json:"direct_batches"`
	PassBatches   int64             `json:"pass_batches"`
	RoundTrips    int64             `json:"round_trips"`
	Retries       int64             `json:"retries"`
	StandbyWaits  int64             `json:"standby_waits"` // insert-only transactions that a synchronous standby did not have yet
	Rejected      int64             `json:"rejected"`
	Refusals      map[string]int64  `json:"refusals"` // by the class of their SQLSTATE
	Times         times             `json:"times"`
	MaxRows       int64             `json:"max_rows"`

	Runs          map[memdbwriter.Reason]int64 `json:"runs"`
	SyncSeconds   float64                      `json:"sync_seconds"`
	UptimeSeconds float64                      `json:"uptime_seconds"`

	LastCheckpoint    time.Time `json:"last_checkpoint,omitzero"`
	Checkpoints       int64     `json:"checkpoints"`
	CheckpointBytes   int64     `json:"checkpoint_bytes"`
	CheckpointSeconds float64   `json:"checkpoint_seconds"`
	JournalFiles      int64     `json:"journal_files"`
	JournalBytes      int64     `json:"journal_bytes"`
	JournalFsyncs     int64     `json:"journal_fsyncs"`

	Panics      int64   `json:"panics"`
	Waits       int64   `json:"waits"`
	WaitSeconds float64 `json:"wait_seconds"`
}

func figuresOf(s memdbwriter.Stats) figures {
	return figures{
		State: s.State, Since: s.Since, Syncing: s.Syncing, Total: s.Total, Recovered: s.Recovered, Pending: s.Pending, Synced: s.Synced,
		Superseded: s.Superseded, Failed: s.Failed, Skipped: s.Skipped, Discarded: s.Discarded, Lost: s.Lost, Deleted: s.Deleted,
		Progress: s.Progress, LastSync: s.LastSync, LastError: errorText(s.LastError), LastErrorAt: s.LastErrorAt, DiskError: errorText(s.DiskError),
		PendingBytes: s.PendingBytes, SyncedBytes: s.SyncedBytes, MemoryBytes: s.MemoryBytes,
		Batches: s.Batches, DirectBatches: s.DirectBatches, PassBatches: s.PassBatches, RoundTrips: s.RoundTrips, Retries: s.Retries, StandbyWaits: s.StandbyWaits,
		Rejected: s.Rejected, Refusals: s.Refusals, Times: timesOf(s.Times), MaxRows: s.Limits.MaxRows,
		OldestSeconds: s.OldestPending.Seconds(), Usage: s.Usage, NearFull: s.NearFull, FullSeconds: s.TimeToFull.Seconds(), DrainSeconds: s.TimeToDrain.Seconds(),
		Runs: s.Runs, SyncSeconds: s.SyncTime.Seconds(), UptimeSeconds: s.Uptime.Seconds(),
		LastCheckpoint: s.LastCheckpoint, Checkpoints: s.Checkpoints, CheckpointBytes: s.CheckpointBytes, CheckpointSeconds: s.CheckpointTime.Seconds(),
		JournalFiles: s.JournalFiles, JournalBytes: s.JournalBytes, JournalFsyncs: s.JournalFsyncs,
		Panics: s.Panics, Waits: s.Waits, WaitSeconds: s.WaitTime.Seconds(),
	}
}

// times are memdbwriter.BatchTimes in seconds.
type times struct {
	Connecting    float64 `json:"connecting"`
	Sending       float64 `json:"sending"`
	Server        float64 `json:"server"`
	Acknowledging float64 `json:"acknowledging"`
}

func timesOf(t memdbwriter.BatchTimes) times {
	return times{t.Connecting.Seconds(), t.Sending.Seconds(), t.Server.Seconds(), t.Acknowledging.Seconds()}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// run is a sync run that has ended.
type run struct {
	Ended      time.Time `json:"ended"`
	Reason     string    `json:"reason"`
	Synced     int64     `json:"synced"`
	Superseded int64     `json:"superseded"`
	Skipped    int64     `json:"skipped"`
	Failed     int64     `json:"failed"`
	Batches    int64     `json:"batches"`
	Seconds    float64   `json:"seconds"`
	Error      string    `json:"error,omitempty"`
	Merged     int64     `json:"merged,omitempty"` // how many other runs are in this one
}

// setting is one of a Config.
type setting struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// limits are those in force.
func limits(l memdbwriter.Limits) []setting {
	return []setting{
		{"MaxRows", fmt.Sprint(l.MaxRows)},
		{"MaxBytes", orDefault(l.MaxBytes, "no limit")},
		{"MaxFailedRows", fmt.Sprint(l.MaxFailedRows)},
		{"SyncBatchSize", fmt.Sprint(l.BatchRows)},
		{"Bytes of a batch", fmt.Sprint(l.BatchBytes)},
		{"SyncWorkers", fmt.Sprint(l.Workers)},
	}
}

// settingsOf are those of a Config that are not among the limits, and no secrets.
func settingsOf(c memdbwriter.Config) []setting {
	const std = "default"
	return []setting{
		{"SyncInterval", orDefault(c.SyncInterval, std)},
		{"SyncTimeout", orDefault(c.SyncTimeout, std)},
		{"RetryMaxDelay", orDefault(c.RetryMaxDelay, std)},
		{"FailedRetryDelay", orDefault(c.FailedRetryDelay, std)},
		{"Durability", orDefault(c.Durability, std)},
		{"CheckpointDir", orDefault(c.CheckpointDir, "none")},
		{"CheckpointInterval", orDefault(c.CheckpointInterval, std)},
		{"CheckpointRetention", orDefault(c.CheckpointRetention, std)},
	}
}

func orDefault[V comparable](value V, def string) string {
	var zero V
	switch {
	case value == zero:
		return def
	case any(value) == any(time.Duration(-1)):
		return "off"
	}
	return fmt.Sprint(value)
}

// sample is what the charts show of a moment: counts that only grow, but for
// Pending and Age.
type sample struct {
	T       float64 `json:"t"` // seconds since 1970
	Added   int64   `json:"added"`
	Done    int64   `json:"done"` // rows that need nothing more
	Pending int64   `json:"pending"`
	Batches int64   `json:"batches"`
	Busy    float64 `json:"busy"` // seconds in sync runs
	Age     float64 `json:"age"`  // seconds that the oldest pending row has waited
}

const (
	sampleEvery = time.Second
	maxSamples  = 301 // five minutes
)

// samples are those of the last minutes.
type samples struct {
	mu  sync.Mutex // a leaf
	all []sample
}

// since returns the samples behind a moment.
func (s *samples) since(t float64) []sample {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.all, func(one sample) bool { return one.T > t })
	if i < 0 {
		return []sample{}
	}
	return slices.Clone(s.all[i:])
}

func (s *samples) add(one sample) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.all) == maxSamples {
		s.all = slices.Delete(s.all, 0, 1)
	}
	s.all = append(s.all, one)
}

// sample looks at the writer until ctx ends or the writer is stopped.
func (w *watched) sample(ctx context.Context) {
	tick := time.NewTicker(sampleEvery)
	defer tick.Stop()
	for {
		s := w.stats()
		w.samples.add(sample{
			T: float64(time.Now().UnixMilli()) / 1e3, Added: s.Total + s.Recovered, Done: s.Total + s.Recovered - s.Pending - s.Failed,
			Pending: s.Pending, Batches: s.Batches, Busy: s.SyncTime.Seconds(), Age: s.OldestPending.Seconds(),
		})
		if s.State == memdbwriter.StateStopped {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// failed is the answer of failed.json.
type failed struct {
	Rows  []failedRow `json:"rows"`
	Error string      `json:"error,omitempty"` // why there are not more
}

// failedRow is a row that the database rejected. What rows hold is in the last
// three.
type failedRow struct {
	SQLState   string    `json:"sqlstate"`
	Column     string    `json:"column,omitempty"`
	Constraint string    `json:"constraint,omitempty"`
	Attempts   int       `json:"attempts"`
	First      time.Time `json:"first"`
	Last       time.Time `json:"last"`
	Key        string    `json:"key,omitempty"`
	Reason     string    `json:"error,omitempty"`
	Row        string    `json:"row,omitempty"` // JSON
}

// maxFailed is how many failed rows are listed.
const maxFailed = 100

func failedRows[T any](w memdbwriter.Writer[T]) iter.Seq2[failedRow, error] {
	return func(yield func(failedRow, error) bool) {
		for f, err := range w.SyncErrors() {
			if err != nil {
				yield(failedRow{}, err)
				return
			}
			one := failedRow{
				SQLState: f.Err.SQLState, Column: f.Err.Column, Constraint: f.Err.Constraint, Attempts: f.Attempts, First: f.First, Last: f.Last,
				Key: f.Err.Key, Reason: f.Err.Err.Error(), Row: rowText(f.Row),
			}
			if !yield(one, nil) {
				return
			}
		}
	}
}

// rowText is a row as JSON, or what fmt makes of one that has none.
func rowText(row any) string {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false) // it becomes text in JSON
	if err := enc.Encode(row); err != nil {
		return fmt.Sprintf("%+v", row)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// list returns the first failed rows, without what they hold unless values is
// set.
func (w *watched) list(values bool) failed {
	list := failed{Rows: []failedRow{}}
	for row, err := range w.failed() {
		if err != nil {
			list.Error = err.Error()
			break
		}
		if !values {
			row.Key, row.Reason, row.Row = "", "", ""
		}
		if list.Rows = append(list.Rows, row); len(list.Rows) == maxFailed {
			break
		}
	}
	return list
}
