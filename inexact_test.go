package memdbwriter

import (
	"context"
	"fmt"
	"testing"

	"github.com/memdbwriter/memdbwriter/internal/pgtest"
)

// A table whose key ignores case: of the rows that are one to the database the
// last is stored, over many batches and with several connections, the counts
// are exact, and a failed row that is tried again replaces nothing newer.
func TestKeyThatIgnoresCaseKeepsTheNewestRow(t *testing.T) {
	type note struct {
		Name string `db:"name,key"`
		Text string `db:"text"`
		N    int64  `db:"n"`
	}
	ctx := context.Background()
	for _, workers := range []int{1, 4} {
		db := pgtest.Open(t)
		db.Exec(t, `CREATE COLLATION ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
			CREATE TABLE notes (name text COLLATE ci PRIMARY KEY, text text NOT NULL, n bigint CHECK (n <> -1))`)
		table, err := TableOf[note]("notes")
		if err != nil {
			t.Fatal(err)
		}
		w, err := New(ctx, table, Postgres(db.Pool(t)), Config{SyncBatchSize: 100, SyncWorkers: workers})
		if err != nil {
			t.Fatal(err)
		}
		const rows = 2000
		names := []string{"abc", "ABC", "aBc", "abC"}
		for i := range rows {
			if err := w.Add(ctx, note{names[i*7%4], fmt.Sprint(i), int64(i)}); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.ForceSync(ctx); err != nil {
			t.Fatal(err)
		}
		if got := db.Rows(t, "SELECT n FROM notes"); len(got) != 1 || got[0] != fmt.Sprint(rows-1) {
			t.Errorf("%d workers: stored %v", workers, got)
		}
		s := w.SyncStatus()
		if s.Total != rows || s.Synced+s.Superseded != rows || s.Superseded < rows-2*rows/100 || s.Pending != 0 {
			t.Errorf("%d workers: %+v", workers, s)
		}

		for _, n := range []note{{"abc", "refused", -1}, {"ABC", "newer", 1}} {
			if err := w.Add(ctx, n); err != nil {
				t.Fatal(err)
			}
			_ = w.ForceSync(ctx) // the refused row
		}
		db.Exec(t, "ALTER TABLE notes DROP CONSTRAINT notes_n_check")
		if stored, err := w.RetrySyncErrors(ctx); stored != 0 {
			t.Errorf("%d workers: an older row was stored: %d, %v", workers, stored, err)
		}
		if got := db.Rows(t, "SELECT text FROM notes"); got[0] != "newer" {
			t.Errorf("%d workers: stored %v", workers, got)
		}
		if s := w.SyncStatus(); s.Failed != 1 || s.Total != s.Synced+s.Superseded+s.Failed {
			t.Errorf("%d workers: %+v", workers, s)
		}
		if _, err := w.DiscardSyncErrors(ctx); err != nil {
			t.Fatal(err)
		}
		if err := w.Stop(ctx); err != nil {
			t.Fatal(err)
		}
	}
}
