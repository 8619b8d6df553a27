package memdbwriter

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/memdbwriter/memdbwriter/internal/dest"
)

// leaveLarge leaves rows 1 to 5 in the journal, so large that each is recovered
// by itself, as a process that has died.
func leaveLarge(t *testing.T, level Durability) Config {
	t.Helper()
	cfg := Config{CheckpointDir: t.TempDir(), Durability: level, SyncInterval: time.Hour}
	sink, _ := gated() // so much starts a run
	w := scriptedWriter(t, sink, cfg)
	large := strings.Repeat("x", 1<<20)
	for id := range int64(5) {
		row := newItem(id+1, "old")
		row.Note = &large
		mustAdd[item](t, w, row)
	}
	if _, err := w.Checkpoint(patient(t)); err != nil {
		t.Fatal(err)
	}
	crash(t, w, &cfg)
	cfg.MaxBytes, cfg.SyncBatchSize = 5<<19, 1 // room for two of them, and for small ones
	return cfg
}

// gated is a script that stores nothing until the gate is opened.
func gated() (s *script, open func()) {
	gate := make(chan struct{})
	s = &script{write: func(ctx context.Context, _ []string) error {
		select {
		case <-gate:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}}
	return s, func() { close(gate) }
}

// names are those of the stored rows, in the order in which they were written.
func (s *script) names() []string { return slices.Concat(s.stored()...) }

// A writer that is stopped while rows of an earlier one wait on disk for room
// must not send newer rows before them, and must not lose the newer ones.
func TestStopDuringRecovery(t *testing.T) {
	for _, level := range levels {
		t.Run(string(level), func(t *testing.T) {
			cfg := leaveLarge(t, level)
			sink, open := gated()
			w := scriptedWriter(t, sink, cfg)
			mustAdd[item](t, w, newItem(5, "new"))
			ended, cancel := context.WithCancel(context.Background())
			cancel()
			wantError(t, w.Stop(ended), ErrUnsynced)
			open()
			if names := sink.names(); len(names) > 0 {
				t.Errorf("rows %q were sent", names)
			}

			sink = &script{}
			w = scriptedWriter(t, sink, cfg)
			mustSync[item](t, w)
			if names := sink.names(); !slices.Equal(names, []string{"old", "old", "old", "old", "old", "new"}) {
				t.Errorf("the next writer sent %q", names)
			}
			if s := w.SyncStatus(); s.Recovered != 6 || s.Synced != 6 {
				t.Errorf("its status: %+v", s)
			}
			mustStop[item](t, w)
		})
	}
}

// One that has the time brings everything home.
func TestAPatientStopDuringRecovery(t *testing.T) {
	for _, level := range levels {
		t.Run(string(level), func(t *testing.T) {
			cfg := leaveLarge(t, level)
			sink, open := gated()
			w := scriptedWriter(t, sink, cfg)
			mustAdd[item](t, w, newItem(5, "new"))
			stopped := make(chan error)
			go func() { stopped <- w.Stop(patient(t)) }()
			open()
			if err := <-stopped; err != nil {
				t.Fatal(err)
			}
			if names := sink.names(); !slices.Equal(names, []string{"old", "old", "old", "old", "old", "new"}) {
				t.Errorf("sent: %q", names)
			}
			if s := w.SyncStatus(); s.Recovered != 5 || s.Synced != 6 || s.Total != 1 {
				t.Errorf("status: %+v", s)
			}
		})
	}
}

// What was sent of a backlog is noted at once: a process that dies before the
// end of its recovery leaves only the rest.
func TestADeathDuringRecovery(t *testing.T) {
	for _, level := range levels {
		t.Run(string(level), func(t *testing.T) {
			cfg := leaveLarge(t, level)
			var writes atomic.Int64
			sink := &script{write: func(ctx context.Context, _ []string) error {
				if writes.Add(1) == 1 {
					return nil
				}
				<-ctx.Done()
				return ctx.Err()
			}}
			settled := make(chan SyncEvent, 100)
			cfg.SyncTimeout = time.Second
			cfg.OnSync = func(_ context.Context, ev SyncEvent) { settled <- ev }
			w := scriptedWriter(t, sink, cfg)
			<-settled // the second row could not be written in time
			if s := w.SyncStatus(); s.Synced != 1 {
				t.Fatalf("status: %+v", s)
			}
			cfg.OnSync = nil
			crash(t, w, &cfg)

			sink = &script{}
			w = scriptedWriter(t, sink, cfg)
			mustSync[item](t, w)
			if s := w.SyncStatus(); s.Recovered != 4 || s.Synced != 4 {
				t.Errorf("after the second recovery: %+v", s)
			}
			mustStop[item](t, w)
		})
	}
}

// When the rest of a backlog cannot be read, newer rows are not sent before it:
// they wait, whoever asks is told, and a stop saves them.
func TestARecoveryThatFails(t *testing.T) {
	for _, level := range levels {
		t.Run(string(level), func(t *testing.T) {
			cfg := leaveLarge(t, level)
			sink, open := gated()
			w := scriptedWriter(t, sink, cfg)
			files, err := filepath.Glob(filepath.Join(cfg.CheckpointDir, "journal_*.seg"))
			if err != nil || len(files) == 0 {
				t.Fatal(files, err)
			}
			whole, err := os.ReadFile(files[0])
			if err != nil {
				t.Fatal(err)
			}
			if err := os.Truncate(files[0], int64(len(whole)/2)); err != nil {
				t.Fatal(err)
			}
			mustAdd[item](t, w, newItem(5, "new"))
			open()
			wantError(t, w.ForceSync(patient(t)), ErrRecovery, files[0])
			wantError(t, w.Persist(patient(t)), ErrRecovery)
			if s := w.SyncStatus(); !errors.Is(s.DiskError, ErrRecovery) || s.State != StateDegraded || s.Pending == 0 {
				t.Errorf("status: %+v", s)
			}
			wantError(t, w.Stop(patient(t)), ErrRecovery)
			if names := sink.names(); slices.Contains(names, "new") {
				t.Errorf("sent: %q", names)
			}

			if err := os.WriteFile(files[0], whole, 0o600); err != nil { // the disk is mended
				t.Fatal(err)
			}
			sink = &script{}
			w = scriptedWriter(t, sink, cfg)
			mustSync[item](t, w)
			if names := sink.names(); len(names) < 2 || names[len(names)-1] != "new" || names[len(names)-2] != "old" {
				t.Errorf("the next writer sent %q", names)
			}
			mustStop[item](t, w)
		})
	}
}

// refusing is a script that refuses rows of some names.
func refusing(names ...string) *script {
	return &script{write: func(_ context.Context, batch []string) error {
		for i, name := range batch {
			if slices.Contains(names, name) {
				return dest.RowErrorf(i, "name", "23514", "the name %q is refused", name)
			}
		}
		return nil
	}}
}

// What became of failed rows of an earlier writer is remembered over the next
// death, too, though the journal has no rows of them.
func TestARetryOfRecoveredFailedRows(t *testing.T) {
	for _, level := range levels {
		t.Run(string(level), func(t *testing.T) {
			cfg := Config{CheckpointDir: t.TempDir(), Durability: level, SyncInterval: time.Hour}
			w := scriptedWriter(t, refusing("bad 5", "bad 7"), cfg)
			mustAdd[item](t, w, newItem(5, "bad 5"), newItem(7, "bad 7"))
			wantError(t, w.ForceSync(patient(t)), ErrRowsFailed)
			mustAdd[item](t, w, newItem(100, "waits"))
			abandon[item](w) // leaves a checkpoint

			w = scriptedWriter(t, refusing("bad 7"), cfg)
			stored, err := w.RetrySyncErrors(patient(t))
			if wantError(t, err, ErrRowsFailed); stored != 1 {
				t.Errorf("%d rows are stored by the retry", stored)
			}
			if s := w.SyncStatus(); s.DiskError != nil {
				t.Errorf("status: %+v", s)
			}
			mustAdd[item](t, w, newItem(5, "newer"))
			wantError(t, w.ForceSync(patient(t)), ErrRowsFailed)
			crash(t, w, &cfg)

			sink := &script{}
			w = scriptedWriter(t, sink, cfg)
			if stored, err := w.RetrySyncErrors(patient(t)); err != nil || stored != 1 {
				t.Errorf("the last retry stored %d rows, %q: %v", stored, sink.names(), err)
			}
			abandon[item](w)
		})
	}
}

// Behind a clean stop no older checkpoint comes to life again, whatever happens
// to the last one.
func TestAnOlderCheckpointStaysDead(t *testing.T) {
	for name, harm := range map[string]func(t *testing.T, path string){
		"damaged": func(t *testing.T, path string) {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			text[strings.Index(string(text), "COMMIT;")-3] ^= 1
			if err := os.WriteFile(path, text, 0o600); err != nil {
				t.Fatal(err)
			}
		},
		"deleted": func(t *testing.T, path string) {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		},
	} {
		for _, level := range levels {
			t.Run(name+"/"+string(level), func(t *testing.T) {
				cfg := Config{CheckpointDir: t.TempDir(), Durability: level, SyncInterval: time.Hour}
				w := scriptedWriter(t, &script{}, cfg)
				mustAdd[item](t, w, newItem(1, "old"))
				if _, err := w.Checkpoint(patient(t)); err != nil {
					t.Fatal(err)
				}
				mustAdd[item](t, w, newItem(1, "new"))
				mustStop[item](t, w)
				files, err := filepath.Glob(filepath.Join(cfg.CheckpointDir, "checkpoint_*.sql"))
				if err != nil || len(files) != 2 {
					t.Fatal(files, err)
				}
				harm(t, slices.Max(files))
				sink := &script{}
				w = scriptedWriter(t, sink, cfg)
				mustAdd[item](t, w, newItem(2, "later"))
				if err := w.Persist(patient(t)); err != nil {
					t.Error(err)
				}
				mustStop[item](t, w)
				if names := sink.names(); !slices.Equal(names, []string{"later"}) {
					t.Errorf("sent: %q", names)
				}
			})
		}
	}
}

// A recovery that ends while the writer is being stopped leaves nothing in
// between: neither its own rows nor the new ones behind them.
func TestARecoveryThatEndsDuringStop(t *testing.T) {
	for _, level := range levels {
		t.Run(string(level), func(t *testing.T) {
			cfg := leaveLarge(t, level)
			sink, open := gated()
			ended, stop := context.WithCancel(context.Background())
			w := scriptedWriter(t, sink, cfg)
			mustAdd[item](t, w, newItem(5, "new"))
			for s := w.engine.front; !s.isClosed(); s.close() { // the first thing that Stop does
				open()
			}
			stop()
			err := w.Stop(ended)
			if s := w.SyncStatus(); (err == nil) != (s.Pending == 0) {
				t.Errorf("Stop says %v: %+v", err, s)
			}
			before := sink.names()

			next := &script{}
			w = scriptedWriter(t, next, cfg)
			mustSync[item](t, w)
			all := append(before, next.names()...)
			if n := len(all); n < 6 || all[n-1] != "new" || slices.Contains(all[:n-1], "new") {
				t.Errorf("sent before the stop: %q, and by the next writer: %q", before, next.names())
			}
			mustStop[item](t, w)
		})
	}
}
