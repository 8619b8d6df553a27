package memdbwriter

import (
	"context"
	"log/slog"
	"testing"

	"github.com/memdbwriter/memdbwriter/internal/dest"
	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

// scripted is a destination whose sink does what a test says. It stands where
// a test is about the moment at which something happens, which no real
// database lets one choose; what databases do is tested with real ones.
type scripted struct{ sink dest.Sink }

func (s scripted) Bind(*dest.Table, *slog.Logger) (dest.Sink, error) { return s.sink, nil }
func (s scripted) String() string                                    { return "scripted" }
func (s scripted) Close() error                                      { return nil }

// nullSink takes everything at once.
type nullSink struct{}

func (nullSink) Check(context.Context) error { return nil }
func (nullSink) Write(context.Context, *tuple.Batch) (dest.Result, error) {
	return dest.Result{Way: dest.Direct, RoundTrips: 1}, nil
}
func (nullSink) Close() error { return nil }

// newTestWriter makes a writer of catalogue rows onto a scripted sink. The test
// need not stop it.
func newTestWriter(tb testing.TB, sink dest.Sink, cfg Config) *MemoryDBWriter[FileInfo] {
	tb.Helper()
	w, err := New(context.Background(), BackupFiles(7), &Destination{scripted{sink}}, cfg)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		w.Stop(ctx)
	})
	return w
}
