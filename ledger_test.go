package memdbwriter

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/memdbwriter/memdbwriter/internal/dest"
	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

// cancelling is a sink whose table has a trigger that cancels some rows.
type cancelling struct {
	nullSink
	cancel func(b *tuple.Batch) int
}

func (c cancelling) Write(_ context.Context, b *tuple.Batch) (dest.Result, error) {
	return dest.Result{Way: dest.Upsert, RoundTrips: 1, Skipped: c.cancel(b)}, nil
}

// A row that a trigger cancelled is not in the table: it must not count as
// synced, in the status or in an event.
func TestRowsThatATriggerCancelsAreSkipped(t *testing.T) {
	for kind, batch := range writers {
		t.Run(kind, func(t *testing.T) {
			var mu sync.Mutex
			var skipped, synced int64
			sink := cancelling{cancel: func(b *tuple.Batch) int { return b.Len() / 2 }}
			w := openWriter(t, itemTable(t), &Destination{scripted{sink}}, Config{
				DisableMemoryDB: batch,
				OnSync: func(_ context.Context, ev SyncEvent) {
					mu.Lock()
					defer mu.Unlock()
					skipped, synced = skipped+ev.Skipped, synced+ev.Synced
				},
			})
			for i := range int64(10) {
				mustAdd(t, w, newItem(i, "a"))
			}
			mustSync(t, w)
			mustStop(t, w)
			s := w.SyncStatus()
			wantBalance(t, s)
			if s.Skipped != 5 || s.Synced != 5 || s.Progress != 100 {
				t.Errorf("5 of 10 rows were cancelled: %+v", s)
			}
			mu.Lock()
			defer mu.Unlock()
			if skipped != 5 || synced != 5 {
				t.Errorf("the events add up to %d skipped and %d synced rows", skipped, synced)
			}
		})
	}
}

// What is skipped in a retry of failed rows is no longer failed, and not synced.
func TestFailedRowsThatATriggerCancelsInARetry(t *testing.T) {
	for kind, batch := range writers {
		t.Run(kind, func(t *testing.T) {
			refuse := true
			sink := &rejecting{cancelling{cancel: func(b *tuple.Batch) int { return 1 }}, &refuse}
			w := openWriter(t, itemTable(t), &Destination{scripted{sink}}, Config{DisableMemoryDB: batch})
			mustAdd(t, w, newItem(1, "a"), newItem(2, "b"))
			wantError(t, w.ForceSync(patient(t)), ErrRowsFailed)
			refuse = false // nothing is on its way
			if stored, err := w.RetrySyncErrors(patient(t)); stored != 1 || err != nil {
				t.Errorf("the retry stored %d rows: %v", stored, err)
			}
			s := w.SyncStatus()
			wantBalance(t, s)
			if s.Skipped != 1 || s.Synced != 1 || s.Failed != 0 {
				t.Errorf("one was stored and one cancelled: %+v", s)
			}
			mustStop(t, w)
		})
	}
}

// rejecting is a sink that rejects every row as long as refuse says so.
type rejecting struct {
	cancelling
	refuse *bool
}

func (r *rejecting) Write(ctx context.Context, b *tuple.Batch) (dest.Result, error) {
	if *r.refuse {
		return dest.Result{}, dest.RowErrorf(0, "", "23514", "%w", errors.New("rejected"))
	}
	return r.cancelling.Write(ctx, b)
}

// Rows that a trigger of an SQLite table cancels are skipped, and not synced.
func TestRowsThatATriggerOfSQLiteCancels(t *testing.T) {
	path := t.TempDir() + "/items.db"
	d, err := SQLite(path)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	type item struct {
		ID   int64  `db:"id,key"`
		Name string `db:"name"`
	}
	table, err := TableOf[item]("items", CreateTable(
		`CREATE TABLE items (id INTEGER PRIMARY KEY, name TEXT)`,
		`CREATE TRIGGER even BEFORE INSERT ON items WHEN NEW.id % 2 = 0 BEGIN SELECT RAISE(IGNORE); END`))
	if err != nil {
		t.Fatal(err)
	}
	w, err := New(t.Context(), table, d, Config{SyncWorkers: 2, SyncBatchSize: 100})
	if err != nil {
		t.Fatal(err)
	}
	for i := range int64(1000) {
		if err := w.Add(t.Context(), item{i, "name"}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	s := w.SyncStatus()
	wantBalance(t, s)
	if s.Skipped != 500 || s.Synced != 500 {
		t.Errorf("%d skipped, %d synced of 1000, of which half are cancelled", s.Skipped, s.Synced)
	}
}
