package memdbwriter

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
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

// awaySink takes nothing.
type awaySink struct{ nullSink }

func (awaySink) Write(context.Context, *tuple.Batch) (dest.Result, error) {
	return dest.Result{}, &dest.Error{Class: dest.ClassTransient, Row: -1, Err: errors.New("away")}
}

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

// script is a sink whose answers a test gives. Every attempt is handed to
// write together with the names of the batch's rows, in the order written.
type script struct {
	write func(ctx context.Context, names []string) error
	check func() error // the answer of Check; nil: the table will do

	mu      sync.Mutex
	batches [][]string // the stored ones
}

func (s *script) Close() error { return nil }

func (s *script) Check(context.Context) error {
	if s.check == nil {
		return nil
	}
	return s.check()
}

func (s *script) Write(ctx context.Context, b *tuple.Batch) (dest.Result, error) {
	var names []string
	for i := range b.Rows {
		name, _ := tuple.Field(b.Tuple(i), 1)
		names = append(names, string(name))
	}
	if s.write != nil {
		if err := s.write(ctx, names); err != nil {
			return dest.Result{}, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.batches = append(s.batches, names)
	return dest.Result{Way: dest.Direct, RoundTrips: 1}, nil
}

func (s *script) stored() [][]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.batches)
}

// scriptedWriter makes a writer of items onto the script. The caller stops it.
func scriptedWriter(tb testing.TB, s *script, cfg Config) *MemoryDBWriter[item] {
	tb.Helper()
	w, err := New(context.Background(), itemTable(tb), &Destination{scripted{s}}, cfg)
	if err != nil {
		tb.Fatal(err)
	}
	return w
}
