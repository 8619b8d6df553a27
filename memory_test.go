package memdbwriter

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/memdbwriter/memdbwriter/internal/dest"
	"github.com/memdbwriter/memdbwriter/internal/stage"
	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

// liveHeap is what the garbage collector cannot free.
func liveHeap() int64 {
	for range 3 { // what is in a sync.Pool survives two
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// mappings is the number of memory mappings of this process, 0 where the system
// does not tell.
func mappings() int {
	text, _ := os.ReadFile("/proc/self/maps")
	return strings.Count(string(text), "\n")
}

// A writer that has had much to do and has nothing to do any more costs next to
// nothing: it would be at the expense of all others in the process.
func TestADrainedWriterCostsNextToNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTestWriter(t, nullSink{}, Config{SyncInterval: time.Hour})
		mustSync(t, w)
		large := strings.Repeat("x", 20<<20)
		empty, heap := w.engine.store.Memory(), liveHeap()
		for i := range 30_000 {
			row := benchFile(i, 0)
			if i%15_000 == 0 {
				row.Path = large
			}
			if err := w.Add(t.Context(), row); err != nil {
				t.Fatal(err)
			}
		}
		mustSync(t, w)
		if held := liveHeap() - heap; held > 2*maxBatchBytes+spareChunks*chunkBytes+2<<20 {
			t.Errorf("%d KiB of heap are held right after the last row", held>>10)
		}
		time.Sleep(3 * shrinkAfter)
		synctest.Wait()
		if held := liveHeap() - heap; held > 100<<10 {
			t.Errorf("%d KiB of heap are held by a writer without rows", held>>10)
		}
		if s := w.Stats(); s.MemoryBytes > empty+64<<10 {
			t.Errorf("SQLite holds %d bytes for no row, %d in a new writer", s.MemoryBytes, empty)
		}
		if w.engine.syncer.shrinking {
			t.Error("an idle writer still wakes up for its memory")
		}
		runtime.KeepAlive(large)
		mustStop(t, w)
	})
}

// A writer that never had a row costs little too, so that a program may have
// hundreds of them.
func TestIdleWritersCostNextToNothing(t *testing.T) {
	const writers = 100
	open := func() { newTestWriter(t, nullSink{}, Config{}) }
	open() // what all of them share
	heap, maps, goroutines := liveHeap(), mappings(), runtime.NumGoroutine()
	for range writers {
		open()
	}
	if each := (liveHeap() - heap) / writers; each > 96<<10 {
		t.Errorf("%d KiB of heap for each", each>>10)
	}
	if n := mappings() - maps; n > 3*writers {
		t.Errorf("%d mappings for %d writers", n, writers)
	}
	if n := runtime.NumGoroutine() - goroutines; n > 4*writers {
		t.Errorf("%d goroutines for %d writers", n, writers)
	}
}

// A batch of large rows ends by its bytes, and a run starts by them: 5,000 rows
// of 100 KiB would be half a gigabyte.
func TestBatchesAreBoundedInBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r reasons
		sink := &script{}
		w := scriptedWriter(t, sink, Config{SyncInterval: time.Hour, OnSync: r.add})
		const size, rows = 100 << 10, 130
		name := strings.Repeat("x", size)
		most := maxBatchBytes / size
		for i := range rows {
			if err := w.Add(t.Context(), newItem(int64(i), name)); err != nil {
				t.Fatal(err)
			}
			if i == most/2 {
				time.Sleep(time.Minute)
				r.want(t) // half a batch waits for more
			}
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if s := w.SyncStatus(); s.Pending >= int64(most) {
			t.Errorf("%d rows wait, more than a batch of %d", s.Pending, most)
		}
		mustStop(t, w)
		for _, b := range sink.stored() {
			if len(b) > most {
				t.Errorf("a batch of %d rows, more than %d bytes", len(b), maxBatchBytes)
			}
		}
	})
}

// heapSink takes a batch and notes how much memory is in use.
type heapSink struct {
	nullSink
	most atomic.Int64
}

func (s *heapSink) Write(ctx context.Context, b *tuple.Batch) (dest.Result, error) {
	s.most.Store(max(s.most.Load(), liveHeap()))
	return s.nullSink.Write(ctx, b)
}

// What AddBatch is given counts against the limit; its encoded rows would
// otherwise be outside of it.
func TestAddBatchHoldsAPortionOnly(t *testing.T) {
	sink := &heapSink{}
	w := newTestWriter(t, sink, Config{MaxBytes: 2 * maxBatchBytes})
	row := benchFile(0, 0)
	row.Path += strings.Repeat("x", 200<<10)
	rows := make([]FileInfo, 500) // 100 MiB, once they are encoded
	for i := range rows {
		rows[i] = row
	}
	heap := liveHeap()
	if n, err := w.AddBatch(patient(t), rows); n != len(rows) || err != nil {
		t.Fatal(n, err)
	}
	mustSync(t, w)
	if held := sink.most.Load() - heap; held > 8*maxBatchBytes {
		t.Errorf("%d MiB of heap were in use with a limit of %d", held>>20, 2*maxBatchBytes>>20)
	}
	if s := w.SyncStatus(); s.Total != int64(len(rows)) || s.Synced+s.Superseded != s.Total {
		t.Errorf("%+v", s)
	}
	rows[len(rows)-1].Tags = []byte("{")
	if n, err := w.AddBatch(patient(t), rows); n != 0 || !errors.As(err, new(*RowError)) {
		t.Errorf("the last row is at fault, and %d were taken: %v", n, err)
	}
}

// Rows that find no memory mapping wait in the buffer until others have left,
// and the process goes on.
func TestRowsWaitForMappings(t *testing.T) {
	t.Cleanup(stage.LimitMemory(2 << 20))
	block := make(chan struct{})
	w := scriptedWriter(t, &script{write: func(ctx context.Context, _ []string) error {
		select {
		case <-block:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}}, Config{SyncBatchSize: 1000})
	name := strings.Repeat("x", 1000)
	for i := range 10_000 {
		mustAdd[item](t, w, newItem(int64(i), fmt.Sprint(i, name)))
	}
	for w.SyncStatus().LastError == nil {
		time.Sleep(time.Millisecond)
	}
	if s := w.Stats(); !errors.Is(s.LastError, stage.ErrMappings) || s.State != StateDegraded || s.Pending != 10_000 || s.MemoryBytes > 4<<20 {
		t.Errorf("%+v", s)
	}
	close(block)
	mustSync(t, w)
	if s := w.SyncStatus(); s.Synced != 10_000 || s.State != StateOK || s.LastError != nil {
		t.Errorf("%+v", s)
	}
	mustStop(t, w)
}
