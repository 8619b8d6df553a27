package memdbwriter

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestRowsReachTheDestination(t *testing.T) {
	everywhere(t, func(t *testing.T, p *place, open func(Config) Writer[item]) {
		w := open(Config{})
		note := "a note, ünïcode and 'quotes'"
		mustAdd(t, w, item{ID: 2, Name: "two", Note: &note, Stage: "s", Seen: testTime}, newItem(1, ""))
		mustSync(t, w)
		wantRows(t, p, "SELECT id, name, note, stage FROM items ORDER BY id", "1||NULL|new", "2|two|"+note+"|s")
		if s := w.SyncStatus(); s.Total != 2 || s.Synced != 2 || s.Progress != 100 || s.LastSync.IsZero() {
			t.Errorf("status after a sync: %+v", s)
		}
		mustStop(t, w)
	})
}

func TestNewestRowOfAKeyWins(t *testing.T) {
	everywhere(t, func(t *testing.T, p *place, open func(Config) Writer[item]) {
		w := open(Config{})
		mustAdd(t, w, newItem(1, "first"), newItem(2, "other"), newItem(1, "second"), newItem(1, "third"))
		mustSync(t, w)
		wantRows(t, p, "SELECT id, name FROM items ORDER BY id", "1|third", "2|other")
		mustAdd(t, w, newItem(1, "fourth"))
		mustSync(t, w)
		wantRows(t, p, "SELECT id, name FROM items ORDER BY id", "1|fourth", "2|other")
		// The oldest counts too: it brings the insert-only columns.
		if s := w.SyncStatus(); s.Total != 5 || s.Superseded != 1 || s.Synced != 4 {
			t.Errorf("of five rows one was replaced before it was sent: %+v", s)
		}
		wantBalance(t, w.SyncStatus())
	})
}

func TestInsertOnlyColumnsKeepTheirFirstValue(t *testing.T) {
	everywhere(t, func(t *testing.T, p *place, open func(Config) Writer[item]) {
		w := open(Config{})
		// In one batch and over two batches the outcome is the same.
		mustAdd(t, w, item{ID: 1, Name: "a", Stage: "first", Seen: testTime}, item{ID: 1, Name: "b", Stage: "second", Seen: testTime})
		mustAdd(t, w, item{ID: 2, Name: "a", Stage: "first", Seen: testTime})
		mustSync(t, w)
		mustAdd(t, w, item{ID: 2, Name: "b", Stage: "second", Seen: testTime})
		mustSync(t, w)
		wantRows(t, p, "SELECT id, name, stage FROM items ORDER BY id", "1|b|first", "2|b|first")
	})
}

func TestARefusedRowIsSetAsideAndTheOthersAreStored(t *testing.T) {
	everywhere(t, func(t *testing.T, p *place, open func(Config) Writer[item]) {
		w := open(Config{})
		for i := range int64(100) {
			mustAdd(t, w, newItem(i, fmt.Sprint("row ", i)))
		}
		mustAdd(t, w, newItem(40, badName), newItem(200, badName), newItem(201, "last"))
		err := w.ForceSync(patient(t))
		var re *RowError
		if !errors.Is(err, ErrRowsFailed) || !errors.As(err, &re) || errors.Is(err, ErrUnsynced) {
			t.Fatalf("ForceSync returned %v", err)
		}
		if re.Table != "items" || re.SQLState != "23514" || !strings.Contains(re.Key, "40") {
			t.Errorf("the error does not name row 40 and its check: %+v", re)
		}
		// The row that the refused one had replaced is not lost with it.
		wantRows(t, p, "SELECT count(*) FROM items", "101")
		wantRows(t, p, "SELECT name FROM items WHERE id IN (40, 201) ORDER BY id", "row 40", "last")

		var keys []int64
		for f, err := range w.SyncErrors() {
			if err != nil {
				t.Fatal(err)
			}
			if f.Row.Name != badName || f.Attempts != 1 || f.First.IsZero() {
				t.Errorf("failed row %+v", f)
			}
			keys = append(keys, f.Row.ID)
		}
		if len(keys) != 2 || keys[0]+keys[1] != 240 {
			t.Errorf("failed rows have the keys %v, want 40 and 200", keys)
		}
		s := w.SyncStatus()
		if s.Failed != 2 || s.Synced != 101 || s.Pending != 0 || s.Progress >= 100 {
			t.Errorf("status: %+v", s)
		}
		wantBalance(t, s)
		if err := w.Stop(patient(t)); !errors.Is(err, ErrRowsFailed) {
			t.Errorf("Stop leaves refused rows behind and returned %v", err)
		}
	})
}

func TestConflictPolicies(t *testing.T) {
	for where, place := range places {
		for kind, batch := range writers {
			t.Run(where+"/"+kind, func(t *testing.T) {
				t.Parallel()
				p := place(t)
				p.createItems(t)
				p.exec(t, "INSERT INTO items VALUES (1, 'stored', NULL, 's', '2020-01-01')")

				w := openWriter(t, itemTable(t, OnConflict(ConflictIgnore)), p.Destination, Config{DisableMemoryDB: batch})
				mustAdd(t, w, newItem(1, "ignored"), newItem(2, "first"), newItem(2, "second"))
				mustSync(t, w)
				wantRows(t, p, "SELECT id, name FROM items ORDER BY id", "1|stored", "2|first")

				w = openWriter(t, itemTable(t, OnConflict(ConflictInsertOnly)), p.Destination, Config{DisableMemoryDB: batch})
				mustAdd(t, w, newItem(3, "new"), newItem(1, "duplicate"), newItem(4, "new"))
				var re *RowError
				if err := w.ForceSync(patient(t)); !errors.As(err, &re) || re.SQLState != "23505" {
					t.Errorf("a duplicate key in an insert-only table: %v", err)
				}
				wantRows(t, p, "SELECT id, name FROM items ORDER BY id", "1|stored", "2|first", "3|new", "4|new")
			})
		}
	}
}

func TestGuardedRowsAreLeftAlone(t *testing.T) {
	for where, place := range places {
		t.Run(where, func(t *testing.T) {
			t.Parallel()
			p := place(t)
			p.createItems(t)
			p.exec(t, "ALTER TABLE items ADD COLUMN done boolean")
			p.exec(t, "INSERT INTO items VALUES (1, 'done', NULL, 's', '2020-01-01', true), (2, 'open', NULL, 's', '2020-01-01', false), (3, 'null', NULL, 's', '2020-01-01', NULL)")
			w := openWriter(t, itemTable(t, Guard("done")), p.Destination, Config{})
			mustAdd(t, w, newItem(1, "new"), newItem(2, "new"), newItem(3, "new"))
			mustSync(t, w)
			wantRows(t, p, "SELECT id, name FROM items ORDER BY id", "1|done", "2|new", "3|new")
		})
	}
}

func TestRowsAtFaultAreRefusedByAdd(t *testing.T) {
	everywhere(t, func(t *testing.T, p *place, open func(Config) Writer[item]) {
		w := open(Config{})
		bad := "not UTF-8: \xff"
		for _, row := range []item{
			{ID: 1, Name: "nul \x00 byte", Seen: testTime},
			{ID: 1, Name: "x", Note: &bad, Seen: testTime},
			{ID: 1, Name: "x", Seen: time.Date(300_000, 1, 1, 0, 0, 0, 0, time.UTC)},
		} {
			var re *RowError
			if err := w.Add(context.Background(), row); !errors.As(err, &re) || re.Column == "" || re.Table != "items" {
				t.Errorf("Add(%q) returned %v", row.Name, err)
			}
			if err := w.TryAdd(row); !errors.As(err, &re) {
				t.Errorf("TryAdd(%q) returned %v", row.Name, err)
			}
		}
		n, err := w.AddBatch(context.Background(), []item{newItem(1, "good"), newItem(2, "\x00")})
		if n != 0 || err == nil {
			t.Errorf("a batch with a row at fault: %d rows taken, %v", n, err)
		}
		if s := w.SyncStatus(); s.Total != 0 {
			t.Errorf("refused rows were counted: %+v", s)
		}
		mustStop(t, w)
	})
}

func TestAddBatchTakesAllRowsInOrder(t *testing.T) {
	everywhere(t, func(t *testing.T, p *place, open func(Config) Writer[item]) {
		w := open(Config{SyncBatchSize: 300})
		rows := make([]item, 2000)
		for i := range rows {
			rows[i] = newItem(int64(i%1000), fmt.Sprint(i))
		}
		if n, err := w.AddBatch(patient(t), rows); n != len(rows) || err != nil {
			t.Fatal(n, err)
		}
		mustSync(t, w)
		wantRows(t, p, "SELECT count(*), min(id), max(id) FROM items", "1000|0|999")
		wantRows(t, p, "SELECT count(*) FROM items WHERE CAST(name AS integer) = id + 1000", "1000")
		if n, err := w.AddBatch(patient(t), nil); n != 0 || err != nil {
			t.Errorf("an empty batch: %d, %v", n, err)
		}
	})
}

func TestStoppedWriter(t *testing.T) {
	everywhere(t, func(t *testing.T, p *place, open func(Config) Writer[item]) {
		w := open(Config{})
		mustAdd(t, w, newItem(1, "one"))
		mustStop(t, w)
		wantRows(t, p, "SELECT count(*) FROM items", "1")

		ctx := context.Background()
		if err := w.Stop(ctx); err != nil {
			t.Errorf("a second Stop: %v", err)
		}
		if err := w.Add(ctx, newItem(2, "two")); !errors.Is(err, ErrStopped) {
			t.Errorf("Add: %v", err)
		}
		if err := w.TryAdd(newItem(2, "two")); !errors.Is(err, ErrStopped) {
			t.Errorf("TryAdd: %v", err)
		}
		if n, err := w.AddBatch(ctx, []item{newItem(2, "two")}); n != 0 || !errors.Is(err, ErrStopped) {
			t.Errorf("AddBatch: %d, %v", n, err)
		}
		if err := w.ForceSync(ctx); !errors.Is(err, ErrStopped) {
			t.Errorf("ForceSync: %v", err)
		}
		for _, err := range w.SyncErrors() {
			if !errors.Is(err, ErrStopped) {
				t.Errorf("SyncErrors: %v", err)
			}
		}
		if s := w.SyncStatus(); s.State != StateStopped || s.Total != 1 || s.Synced != 1 {
			t.Errorf("SyncStatus: %+v", s)
		}
		if s := w.Stats(); s.Batches != 1 || s.Uptime <= 0 || s.SyncedBytes == 0 {
			t.Errorf("Stats: %+v", s)
		}
	})
}

func TestEmptyWriter(t *testing.T) {
	everywhere(t, func(t *testing.T, p *place, open func(Config) Writer[item]) {
		w := open(Config{})
		if s := w.SyncStatus(); s.Progress != 100 || s.State != StateOK || s.Syncing || s.LastError != nil || !s.LastSync.IsZero() {
			t.Errorf("status of an empty writer: %+v", s)
		}
		mustSync(t, w)
		mustStop(t, w)
	})
}

// A row that the caller changes after Add must not change in the buffer.
func TestTheCallerKeepsItsRow(t *testing.T) {
	everywhere(t, func(t *testing.T, p *place, open func(Config) Writer[item]) {
		w := open(Config{})
		note := "before"
		row := item{ID: 1, Name: "x", Note: &note, Seen: testTime}
		mustAdd(t, w, row)
		note = "after"
		mustSync(t, w)
		wantRows(t, p, "SELECT note FROM items", "before")
	})
}

func TestPassiveColumnsAloneDoNotUpdateARow(t *testing.T) {
	everywhere(t, func(t *testing.T, p *place, open func(Config) Writer[item]) {
		w := open(Config{})
		mustAdd(t, w, newItem(1, "one"))
		mustSync(t, w)
		first := p.query(t, "SELECT seen FROM items")
		mustAdd(t, w, item{ID: 1, Name: "one", Stage: "new", Seen: testTime.Add(time.Hour)})
		mustSync(t, w)
		wantRows(t, p, "SELECT seen FROM items", first...)
		mustAdd(t, w, item{ID: 1, Name: "changed", Stage: "new", Seen: testTime.Add(time.Hour)})
		mustSync(t, w)
		if second := p.query(t, "SELECT seen FROM items"); second[0] == first[0] {
			t.Error("a passive column was not written along with a change")
		}
	})
}

func failedIDs(t *testing.T, w Writer[item]) (ids []int64) {
	t.Helper()
	for f, err := range w.SyncErrors() {
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, f.Row.ID)
	}
	return ids
}

func TestFailedRowsAreStoredOnceTheCauseIsMended(t *testing.T) {
	everywhere(t, func(t *testing.T, p *place, open func(Config) Writer[item]) {
		p.exec(t, "CREATE UNIQUE INDEX one_note ON items (note)")
		note := func(s string) *string { return &s }
		row := func(id int64, n string) item {
			return item{ID: id, Name: fmt.Sprint("n", id), Note: note(n), Seen: testTime}
		}
		w := open(Config{})
		mustAdd(t, w, row(1, "a"), row(2, "b"), row(3, "c"))
		mustSync(t, w)
		mustAdd(t, w, row(10, "a"), row(11, "b"), row(12, "c")) // each note is taken
		if err := w.ForceSync(patient(t)); !errors.Is(err, ErrRowsFailed) {
			t.Fatal(err)
		}
		// A newer row of a failed key supersedes it.
		mustAdd(t, w, row(11, "new"))
		if err := w.ForceSync(patient(t)); !errors.Is(err, ErrRowsFailed) {
			t.Fatal(err)
		}
		if ids := failedIDs(t, w); fmt.Sprint(ids) != "[10 12]" {
			t.Errorf("failed rows %v, want 10 and 12", ids)
		}
		p.exec(t, "DELETE FROM items WHERE id = 1")
		stored, err := w.RetrySyncErrors(patient(t))
		if stored != 1 || !errors.Is(err, ErrRowsFailed) {
			t.Errorf("retry stored %d rows, %v", stored, err)
		}
		for f, err := range w.SyncErrors() {
			if err != nil || f.Row.ID != 12 || f.Attempts != 2 || f.Last.Before(f.First) {
				t.Errorf("after a retry: %+v, %v", f, err)
			}
		}
		wantRows(t, p, "SELECT id, note FROM items ORDER BY id", "2|b", "3|c", "10|a", "11|new")
		s := w.SyncStatus()
		wantBalance(t, s)
		if s.Failed != 1 || s.Synced != 5 || s.Superseded != 1 {
			t.Errorf("status: %+v", s)
		}
		p.exec(t, "DROP INDEX one_note")
		if stored, err := w.RetrySyncErrors(patient(t)); stored != 1 || err != nil {
			t.Errorf("retry stored %d rows, %v", stored, err)
		}
		if stored, err := w.RetrySyncErrors(patient(t)); stored != 0 || err != nil {
			t.Errorf("retry of nothing stored %d rows, %v", stored, err)
		}
		mustStop(t, w)
		wantRows(t, p, "SELECT count(*) FROM items", "5")
	})
}

func TestTheNumberOfFailedRowsIsLimited(t *testing.T) {
	everywhere(t, func(t *testing.T, p *place, open func(Config) Writer[item]) {
		w := open(Config{MaxFailedRows: 2, SyncBatchSize: 2})
		mustAdd(t, w, newItem(1, badName), newItem(2, badName))
		if err := w.ForceSync(patient(t)); !errors.Is(err, ErrRowsFailed) {
			t.Fatal(err)
		}
		mustAdd(t, w, newItem(3, "good"))
		err := w.ForceSync(patient(t))
		if !errors.Is(err, ErrUnsynced) || !errors.Is(err, ErrTooManyFailed) {
			t.Errorf("ForceSync with too many failed rows: %v", err)
		}
		if s := w.SyncStatus(); s.State != StateBlocked || s.Pending != 1 {
			t.Errorf("status: %+v", s)
		}
		if n, err := w.DiscardSyncErrors(patient(t)); n != 2 || err != nil {
			t.Errorf("discarded %d rows, %v", n, err)
		}
		mustStop(t, w)
		wantRows(t, p, "SELECT id FROM items", "3")
		s := w.SyncStatus()
		wantBalance(t, s)
		if s.Failed != 0 || s.Discarded != 2 || s.Synced != 1 {
			t.Errorf("two rows were given up and one stored: %+v", s)
		}
	})
}

// Where every row is a new one, none replaces a refused one, whatever columns they
// have in common.
func TestNoRowReplacesAnotherWithoutAKey(t *testing.T) {
	for kind, batch := range writers {
		t.Run(kind, func(t *testing.T) {
			p := postgresPlace(t)
			p.createItems(t)
			p.exec(t, "ALTER TABLE items DROP CONSTRAINT items_pkey")
			w := openWriter(t, itemTable(t, OnConflict(ConflictInsertOnly)), p.Destination, Config{DisableMemoryDB: batch})
			mustAdd(t, w, newItem(1, badName))
			wantError(t, w.ForceSync(patient(t)), ErrRowsFailed)
			mustAdd(t, w, newItem(1, "good"))
			wantError(t, w.ForceSync(patient(t)), ErrRowsFailed)
			if s := w.SyncStatus(); s.Failed != 1 || s.Synced != 1 || s.Superseded != 0 {
				t.Errorf("status: %+v", s)
			}
			p.exec(t, "ALTER TABLE items DROP CONSTRAINT no_bad")
			if stored, err := w.RetrySyncErrors(patient(t)); stored != 1 || err != nil {
				t.Errorf("the retry stored %d rows: %v", stored, err)
			}
			wantRows(t, p, "SELECT name FROM items ORDER BY name", "bad", "good")
			mustStop(t, w)
		})
	}
}
