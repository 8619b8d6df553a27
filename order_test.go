package memdbwriter

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/memdbwriter/memdbwriter/internal/dest"
	"github.com/memdbwriter/memdbwriter/internal/journal/faultfs"
)

// diary is what happened to the journal, the checkpoints and the destination, in
// order.
type diary struct {
	mu     sync.Mutex
	events []string
}

func (d *diary) add(event string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.events = append(d.events, event)
}

// before is the last thing that happened to the journal before an event.
func (d *diary) before(t *testing.T, event string) string {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	i := slices.Index(d.events, event)
	if i < 0 {
		t.Fatalf("no %q in %q", event, d.events)
	}
	for i--; i >= 0; i-- {
		if strings.HasPrefix(d.events[i], "journal") {
			return d.events[i]
		}
	}
	return ""
}

// What a batch or a checkpoint depends on is durable before it is sent, or gets
// its name.
func TestWhatIsDependedOnIsDurableBefore(t *testing.T) {
	for _, level := range levels {
		t.Run(string(level), func(t *testing.T) {
			t.Parallel()
			d := &diary{}
			cfg := Config{CheckpointDir: t.TempDir(), Durability: level, SyncInterval: time.Hour, CheckpointInterval: -1}
			cfg.fs = hookFS{before: func(op faultfs.Op, path string) error {
				switch {
				case strings.Contains(path, "journal_") && (op == faultfs.Write || op == faultfs.Sync):
					d.add("journal " + string(op))
				case op == faultfs.Rename:
					d.add("checkpoint")
				}
				return nil
			}}
			w := scriptedWriter(t, &script{write: func(_ context.Context, names []string) error {
				d.add(names[0])
				if names[0] == badName {
					return dest.RowErrorf(0, "name", "23514", "bad")
				}
				return nil
			}}, cfg)
			durable := func(event string) {
				t.Helper()
				if last := d.before(t, event); last != "journal sync" {
					t.Errorf("before %q: %q", event, last)
				}
			}
			send := func(id int64, name string) {
				t.Helper()
				mustAdd[item](t, w, newItem(id, name))
				_ = w.ForceSync(patient(t)) // refused rows are an error
			}
			send(1, badName)
			send(2, "behind a failed row")
			durable("behind a failed row")
			send(1, "of its key")
			durable("of its key")
			send(3, "behind one that is gone")
			durable("behind one that is gone")
			send(4, "settled")
			mustAdd[item](t, w, newItem(5, "waiting"))
			if _, err := w.Checkpoint(patient(t)); err != nil {
				t.Fatal(err)
			}
			durable("checkpoint")
			mustStop[item](t, w)
		})
	}
}
