package memdbwriter

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
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

// A driver that heeds no cancellation holds Stop up no longer than its context and
// a second. What returns later changes the state no more, and a further Stop has
// the result.
func TestStopOfTheCompatibilityWriterDoesNotWaitForADestinationThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		s := &script{write: func(context.Context, []string) error { <-release; return nil }}
		w := openWriter(t, itemTable(t), &Destination{scripted{s}}, Config{DisableMemoryDB: true})
		mustAdd(t, w, newItem(1, "a"))
		err := wantWithin(t, time.Second+stopGrace, w.Stop)
		if !errors.Is(err, ErrUnsynced) || !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, errHangs) {
			t.Errorf("Stop: %v", err)
		}
		err = wantWithin(t, time.Second, w.Stop)
		if !errors.Is(err, ErrUnsynced) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Stop again: %v", err)
		}
		wantError(t, w.Add(t.Context(), newItem(2, "b")), ErrStopped)
		close(release)
		mustStop(t, w)
		if s := w.SyncStatus(); s.State != StateStopped || s.Synced != 1 {
			t.Errorf("when it has returned: %+v", s)
		}
	})
}

// Stop may find a call under way that moves no row.
func TestStopOfTheCompatibilityWriterBehindACallWithoutRows(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	w := openWriter(t, itemTable(t), &Destination{scripted{&script{}}}, Config{DisableMemoryDB: true}).(*BatchDBWriter[item])
	<-w.turn
	if err := w.Stop(ctx); !errors.Is(err, context.Canceled) || errors.Is(err, ErrUnsynced) {
		t.Errorf("Stop: %v", err)
	}
	w.done()
	if err := w.Stop(ctx); err != nil {
		t.Errorf("Stop again: %v", err)
	}
}

// A destination that was away when the writer was made is asked again by a call
// that has no row to show that it is back, but for Stop.
func TestTheCompatibilityWriterAndADestinationThatIsBack(t *testing.T) {
	away, looks := true, 0
	s := &script{check: func() error {
		looks++
		if away {
			return fmt.Errorf("away, look %d", looks)
		}
		return nil
	}}
	log := &logbook{}
	w := openWriter(t, itemTable(t), &Destination{scripted{s}}, Config{DisableMemoryDB: true, Logger: slog.New(log)})
	for range 2 {
		if s := w.SyncStatus(); s.State != StateDegraded || s.LastError == nil || !strings.Contains(s.LastError.Error(), fmt.Sprint("look ", looks)) {
			t.Errorf("while it is away: %+v", s)
		}
		mustSync(t, w) // no row is missing there
	}
	away = false
	mustSync(t, w)
	if s := w.SyncStatus(); s.State != StateOK || s.LastError != nil || log.count("INFO destination is back") != 1 {
		t.Errorf("when it is back: %+v", s)
	}
	n := looks
	mustSync(t, w)
	mustStop(t, w)
	if looks != n {
		t.Error("it goes on asking")
	}

	away = true
	w = openWriter(t, itemTable(t), &Destination{scripted{s}}, Config{DisableMemoryDB: true})
	n = looks
	mustStop(t, w)
	if looks != n {
		t.Error("Stop asks")
	}
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

// What a batch costs does not depend on how many rows have failed before.
func TestTheCompatibilityWriterHasManyFailedRows(t *testing.T) {
	each := func(rows int) uint64 {
		sink := &sizes{}
		w := openWriter(t, itemTable(t), &Destination{scripted{sink}}, Config{DisableMemoryDB: true, SyncBatchSize: 10, MaxFailedRows: rows})
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for id := range int64(rows) {
			mustAdd(t, w, newItem(id, "a"))
		}
		wantError(t, w.ForceSync(patient(t)), ErrRowsFailed)
		sink.accept = true // nothing is on its way
		if stored, err := w.RetrySyncErrors(patient(t)); stored != int64(rows) || err != nil {
			t.Fatal(stored, err)
		}
		runtime.ReadMemStats(&after)
		mustStop(t, w)
		return (after.TotalAlloc - before.TotalAlloc) / uint64(rows)
	}
	if few, many := each(500), each(20_000); many > 2*few {
		t.Errorf("a row costs %d bytes with 20,000 of them, and %d with 500", many, few)
	}
}

// A batch ends by its bytes, and who waits while another writes it finds room
// behind it: no batch of a single row is written for that.
func TestTheCompatibilityWriterFillsItsBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answer := make(chan error)
		s := &script{write: func(context.Context, []string) error { return <-answer }}
		w := openWriter(t, itemTable(t), &Destination{scripted{s}}, Config{DisableMemoryDB: true, SyncBatchSize: 3})
		large := strings.Repeat("x", maxBatchBytes)
		mustAdd(t, w, newItem(1, large))
		if err := w.TryAdd(newItem(2, "b")); !errors.Is(err, ErrBufferFull) {
			t.Errorf("TryAdd behind %d bytes: %v", len(large), err)
		}
		added := make(chan error, 2)
		for i := range int64(2) {
			go func() { added <- w.Add(t.Context(), newItem(3+i, "c")) }()
		}
		synctest.Wait()
		answer <- nil
		if err := errors.Join(<-added, <-added); err != nil {
			t.Error(err)
		}
		if n := len(s.stored()); n != 1 {
			t.Errorf("%d batches were written", n)
		}
		go func() { answer <- nil }()
		mustStop(t, w)
	})
}

// A retry that stores a row shows that the destination is back.
func TestARetryShowsThatTheDestinationIsBack(t *testing.T) {
	sink := &sizes{}
	w := openWriter(t, itemTable(t), &Destination{scripted{sink}}, Config{DisableMemoryDB: true}).(*BatchDBWriter[item])
	mustAdd[item](t, w, newItem(1, "a"))
	wantError(t, w.ForceSync(patient(t)), ErrRowsFailed)
	sink.accept = true // nothing is on its way
	w.attempts = 1
	w.tally.failed(errFlaky, StateDegraded)
	if stored, err := w.RetrySyncErrors(patient(t)); stored != 1 || err != nil {
		t.Fatal(stored, err)
	}
	if s := w.SyncStatus(); s.State != StateOK || s.LastError != nil {
		t.Errorf("%+v", s)
	}
	mustStop[item](t, w)
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

// Callers who go on adding rows do not have the account locked: only who asks for
// it has the login tried again before the pause is over.
func TestABatchWriterDoesNotTryARefusedLoginOften(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		attempts, well := 0, false
		s := &script{write: func(context.Context, []string) error {
			attempts++
			if well {
				return nil
			}
			return &dest.Error{Class: dest.ClassTable, Row: -1, SQLState: "28P01", Locks: true, Err: errors.New("wrong password")}
		}}
		w := openWriter(t, itemTable(t), &Destination{scripted{s}}, Config{DisableMemoryDB: true, SyncBatchSize: 1})
		mustAdd(t, w, newItem(1, "x"))
		want := func(n int, err error) {
			t.Helper()
			if attempts != n || !errors.Is(err, ErrDestination) || !errors.Is(err, ErrUnsynced) || !strings.Contains(err.Error(), "wrong password") {
				t.Errorf("%d logins, want %d: %v", attempts, n, err)
			}
		}
		want(1, w.Add(t.Context(), newItem(2, "x")))
		mustAdd(t, w, newItem(2, "x"))
		for range 3 {
			want(1, w.Add(t.Context(), newItem(3, "x")))
			time.Sleep(loginRetryDelay / 4)
		}
		want(2, w.ForceSync(t.Context()))
		time.Sleep(loginRetryDelay - time.Second)
		want(2, w.Add(t.Context(), newItem(3, "x")))
		time.Sleep(time.Second)
		want(3, w.Add(t.Context(), newItem(3, "x")))
		well = true
		mustSync(t, w)
		mustAdd(t, w, newItem(3, "x"), newItem(4, "x"))
		mustStop(t, w)
		if s := w.SyncStatus(); s.Synced != s.Total {
			t.Errorf("%+v", s)
		}
	})
}
