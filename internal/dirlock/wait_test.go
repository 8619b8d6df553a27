package dirlock

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Another process is waited for, and named after a second; the end of the context
// ends the wait.
func TestWaitForAnotherProcess(t *testing.T) {
	dir := t.TempDir()
	release, err := Lock(dir, "a.lock")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Wait(t.Context(), dir, "a.lock", nil); !errors.Is(err, ErrLocked) {
		t.Errorf("a lock of this process: %v", err)
	}
	other := []byte(`{"pid": 1, "host": "another", "program": "other"}`)
	if err := os.WriteFile(filepath.Join(dir, "a.lock"), other, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	begin := time.Now()
	_, err = Wait(ctx, dir, "a.lock", func(h Holder) {
		if h.PID != 1 || h.Host != "another" || time.Since(begin) < patience {
			t.Errorf("%+v after %v", h, time.Since(begin))
		}
		cancel()
	})
	if !errors.Is(err, ErrLocked) {
		t.Errorf("when the context has ended: %v", err)
	}
	again, err := Wait(t.Context(), dir, "a.lock", func(Holder) {
		if err := release(); err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := again(); err != nil {
		t.Error(err)
	}
}
