package memdbwriter

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/memdbwriter/memdbwriter/internal/dest"
)

// logbook collects log records as "LEVEL message key=value ...".
type logbook struct {
	mu    sync.Mutex
	lines []string
}

func (j *logbook) Enabled(context.Context, slog.Level) bool { return true }
func (j *logbook) WithAttrs([]slog.Attr) slog.Handler       { return j }
func (j *logbook) WithGroup(string) slog.Handler            { return j }

func (j *logbook) Handle(_ context.Context, r slog.Record) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s", r.Level, r.Message)
	r.Attrs(func(a slog.Attr) bool { fmt.Fprintf(&b, " %s", a); return true })
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, b.String())
	return nil
}

// count is the number of lines that start with a text.
func (j *logbook) count(prefix string) (n int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, l := range j.lines {
		if strings.HasPrefix(l, prefix) {
			n++
		}
	}
	return n
}

func (j *logbook) want(t *testing.T, n int, prefix string, parts ...string) {
	t.Helper()
	if got := j.count(prefix); got != n {
		t.Errorf("%d lines %q, want %d:\n%s", got, prefix, n, strings.Join(j.lines, "\n"))
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, p := range parts {
		for _, l := range j.lines {
			if strings.HasPrefix(l, prefix) && !strings.Contains(l, p) {
				t.Errorf("the line does not say %q: %s", p, l)
			}
		}
	}
}

func TestALifeInTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j logbook
		w := scriptedWriter(t, &script{}, Config{Logger: slog.New(&j), SyncBatchSize: 10, SyncInterval: 20 * time.Second})
		j.want(t, 1, "INFO writer started", "table=items", "destination=scripted", "batch=10", "interval=20s", "max_rows=100000")
		addNames(t, w, 0, 3)
		time.Sleep(30 * time.Second)
		synctest.Wait()
		j.want(t, 1, "DEBUG sync started", "reason=interval_reached", "waiting=3")
		j.want(t, 1, "INFO sync done", "reason=interval_reached", "synced=3", "failed=0", "batches=1", "waiting=0", "synced_total=3")
		// Full batches come often: at most one line every ten seconds.
		for i := range 100 {
			addNames(t, w, 1000+10*i, 10)
			time.Sleep(100 * time.Millisecond)
		}
		synctest.Wait()
		if n := j.count("INFO sync done"); n > 4 {
			t.Errorf("%d lines in ten seconds of full batches", n)
		}
		mustStop[item](t, w)
		j.want(t, 1, "INFO writer stopped", "total=1003", "synced=1003", "unsynced=0")
		if n := strings.Count(strings.Join(j.lines, "\n"), "error="); n > 0 {
			t.Errorf("%d lines have an error", n)
		}
	})
}

func TestAnOutageInTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j logbook
		var down atomic.Bool
		down.Store(true)
		w := scriptedWriter(t, &script{write: func(context.Context, []string) error {
			if down.Load() {
				return &dest.Error{Class: dest.ClassTransient, Row: -1, SQLState: "57P03", Err: errors.New("starting up")}
			}
			return nil
		}}, Config{Logger: slog.New(&j), SyncBatchSize: 10, MaxRows: 20, RetryMaxDelay: time.Second})
		addNames(t, w, 0, 20)
		time.Sleep(time.Hour)
		if n := j.count("WARN sync failed, rows stay buffered"); n < 300 || n > 364 {
			t.Errorf("%d lines about an outage of an hour, want the first three and one every ten seconds", n)
		}
		j.want(t, j.count("WARN sync failed"), "WARN sync failed", "class=transient", "sqlstate=57P03", "attempt=", "retry_in=", "waiting=20", "starting up")
		j.want(t, 1, "WARN buffer full, Add waits", "waiting=20", "max_rows=20")
		down.Store(false)
		time.Sleep(time.Minute)
		synctest.Wait()
		j.want(t, 1, "INFO destination is back", "attempts=")
		j.want(t, 1, "INFO buffer has room again", "waiting=")
		mustStop[item](t, w)
	})
}

func TestFailedRowsInTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j logbook
		w := scriptedWriter(t, &script{write: func(_ context.Context, names []string) error {
			return &dest.Error{Class: dest.ClassRow, Row: 0, SQLState: "23514", Column: "name", Err: errors.New("no such names")}
		}}, Config{Logger: slog.New(&j)})
		addNames(t, w, 0, 8)
		if err := w.ForceSync(t.Context()); !errors.Is(err, ErrRowsFailed) {
			t.Error(err)
		}
		j.want(t, 3, "ERROR row failed", "table=items", "sqlstate=23514", "(id)=(", "column name", "no such names")
		j.want(t, 1, "ERROR more rows failed", "rows=5")
		abandon[item](w)
	})
}
