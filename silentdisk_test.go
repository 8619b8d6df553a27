package memdbwriter

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/memdbwriter/memdbwriter/internal/dest"
	"github.com/memdbwriter/memdbwriter/internal/journal/faultfs"
)

// A disk that does not answer stops no rows, but at the level at which they must
// be durable before they are sent. That shows, and ends when it answers.
func TestADiskThatDoesNotAnswer(t *testing.T) {
	for _, level := range levels {
		t.Run(string(level), func(t *testing.T) {
			t.Parallel()
			var silent atomic.Bool
			answer := make(chan struct{})
			cfg := Config{CheckpointDir: t.TempDir(), Durability: level, SyncInterval: time.Hour, CheckpointInterval: -1}
			cfg.fs = hookFS{before: func(op faultfs.Op, path string) error {
				if silent.Load() && op == faultfs.Sync && strings.Contains(path, "journal") {
					<-answer
				}
				return nil
			}}
			noticed := make(chan struct{}, 10)
			cfg.Logger = slog.New(listener{slog.DiscardHandler, "disk does not answer", noticed})
			sink := &script{write: func(_ context.Context, names []string) error {
				if names[0] == badName {
					return dest.RowErrorf(0, "name", "23514", "bad")
				}
				return nil
			}}
			w := scriptedWriter(t, sink, cfg)
			mustAdd[item](t, w, newItem(1, badName))
			wantError(t, w.ForceSync(patient(t)), ErrRowsFailed)
			w.engine.disk.patience = time.Millisecond
			silent.Store(true)
			mustAdd[item](t, w, newItem(2, "two"))
			forced := make(chan error, 1)
			go func() { forced <- w.ForceSync(patient(t)) }()
			<-noticed
			if level != DurabilityFsync {
				wantError(t, <-forced, ErrRowsFailed) // of the first row; the second is stored
				if s := w.SyncStatus(); s.Synced != 1 {
					t.Errorf("while the disk does not answer: %+v", s)
				}
			}
			if s := w.SyncStatus(); !errors.Is(s.DiskError, errNoAnswer) || s.State != StateDegraded {
				t.Errorf("while the disk does not answer: %+v", s)
			}
			if s := w.SyncStatus(); level == DurabilityFsync && s.Synced != 0 {
				t.Errorf("a row was sent before it was durable: %+v", s)
			}
			silent.Store(false)
			close(answer)
			if level == DurabilityFsync {
				wantError(t, <-forced, ErrRowsFailed)
			}
			if _, err := w.Checkpoint(patient(t)); err != nil {
				t.Fatal(err)
			}
			if s := w.SyncStatus(); s.DiskError != nil || s.Synced != 1 {
				t.Errorf("when it answers: %+v", s)
			}
			wantError(t, w.Stop(patient(t)), ErrRowsFailed)
		})
	}
}
