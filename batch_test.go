package memdbwriter

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/memdbwriter/memdbwriter/internal/dest"
	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

// A database that does not answer holds up those who write, and nobody else.
func TestNobodyWaitsForTheCompatibilityWriterWhoNeedNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answer, asked := make(chan error), make(chan struct{}, 10)
		s := &script{write: func(context.Context, []string) error {
			asked <- struct{}{}
			return <-answer
		}}
		w := openWriter(t, itemTable(t), &Destination{scripted{s}}, Config{DisableMemoryDB: true, SyncBatchSize: 2})
		mustAdd(t, w, newItem(1, badName), newItem(2, "b"))
		forced, added := make(chan error, 1), make(chan error, 1)
		go func() { forced <- w.ForceSync(t.Context()) }()
		<-asked

		if err := w.TryAdd(newItem(3, "c")); err != nil {
			t.Errorf("TryAdd while another call writes: %v", err)
		}
		mustAdd(t, w, newItem(4, "d"))
		if err := w.TryAdd(newItem(5, "e")); !errors.Is(err, ErrBufferFull) {
			t.Errorf("TryAdd with the next batch full, too: %v", err)
		}
		if s := w.SyncStatus(); s.Total != 4 || s.Pending != 4 || w.Stats().PendingBytes == 0 {
			t.Errorf("status: %+v", s)
		}
		for f, err := range w.SyncErrors() {
			t.Errorf("nothing was rejected: %+v, %v", f, err)
		}
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := w.Add(short, newItem(5, "e")); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Add that may wait for a second: %v", err)
		}
		go func() { added <- w.Add(t.Context(), newItem(5, "e")) }()
		synctest.Wait()
		answer <- nil // rows 1 and 2
		<-asked       // 3 and 4, for the Add
		answer <- nil
		if err := errors.Join(<-forced, <-added); err != nil {
			t.Error(err)
		}
		go func() { answer <- nil }()
		mustStop(t, w)
		wantBalance(t, w.SyncStatus())
		if got := fmt.Sprint(s.stored()); got != "[[1bad b] [c d] [e]]" && got != "[[bad b] [c d] [e]]" {
			t.Errorf("stored %v", got)
		}
	})
}

// Stop ends the pauses of those who wait for a destination that is away.
func TestStopOfTheCompatibilityWriterDoesNotWaitForOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{write: func(context.Context, []string) error { return errFlaky }}
		w := openWriter(t, itemTable(t), &Destination{scripted{s}}, Config{DisableMemoryDB: true, SyncBatchSize: 1})
		mustAdd(t, w, newItem(1, "a"))
		added := make(chan error, 1)
		go func() { added <- w.Add(context.Background(), newItem(2, "b")) }()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		wantError(t, w.Stop(ctx), ErrUnsynced)
		wantError(t, w.Stop(t.Context()), ErrUnsynced)
		if took := time.Since(start); took > time.Second {
			t.Errorf("Stop took %v", took)
		}
		wantError(t, <-added, ErrStopped)
		wantBalance(t, w.SyncStatus())
	})
}

// Rows that arrive while ForceSync writes do not prolong it.
func TestForceSyncOfTheCompatibilityWriterEnds(t *testing.T) {
	var w Writer[item]
	id := int64(10)
	s := &script{write: func(context.Context, []string) error {
		id++
		return w.TryAdd(newItem(id, "more"))
	}}
	w = openWriter(t, itemTable(t), &Destination{scripted{s}}, Config{DisableMemoryDB: true})
	mustAdd(t, w, newItem(1, "a"))
	mustSync(t, w)
	if s := w.SyncStatus(); s.Synced != 1 || s.Pending != 1 {
		t.Errorf("status: %+v", s)
	}
	s.write = nil
	mustStop(t, w)
}

// sizes is a sink that rejects every row until accept, and notes how many rows
// a call had.
type sizes struct {
	nullSink
	accept bool
	most   int
}

func (s *sizes) Write(_ context.Context, b *tuple.Batch) (dest.Result, error) {
	if !s.accept {
		return dest.Result{}, dest.RowErrorf(0, "", "23514", "%s", badName)
	}
	s.most = max(s.most, b.Len())
	return dest.Result{Way: dest.Upsert, RoundTrips: 1}, nil
}

// Failed rows are retried in pages. As one batch, more than 4 GiB of them would
// be sent as garbage, since its offsets have 32 bits.
func TestFailedRowsAreRetriedInPages(t *testing.T) {
	for kind, batch := range writers {
		t.Run(kind, func(t *testing.T) {
			sink := &sizes{}
			w := openWriter(t, itemTable(t), &Destination{scripted{sink}}, Config{DisableMemoryDB: batch, SyncBatchSize: 10})
			for id := range int64(95) {
				mustAdd(t, w, newItem(id, "a"))
			}
			wantError(t, w.ForceSync(patient(t)), ErrRowsFailed)
			sink.accept = true // nothing is on its way
			if stored, err := w.RetrySyncErrors(patient(t)); stored != 95 || err != nil || sink.most != 10 {
				t.Errorf("stored %d rows, at most %d at once: %v", stored, sink.most, err)
			}
			wantBalance(t, w.SyncStatus())
			mustStop(t, w)
		})
	}
}

// A page of failed rows has an end in bytes, too.
func TestFailuresPage(t *testing.T) {
	large := failedItems(5, maxBatchBytes/2)
	for _, c := range []struct{ rows, want int }{{1, 1}, {2, 2}, {5, 3}, {9, 3}} {
		if page := failuresPage(large, c.rows); len(page) != c.want {
			t.Errorf("a page of %d rows of half a batch each has %d", c.rows, len(page))
		}
	}
	if page := failuresPage(large[:2], 9); len(page) != 2 {
		t.Errorf("the last page has %d rows, want 2", len(page))
	}
}
