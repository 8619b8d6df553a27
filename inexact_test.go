package memdbwriter

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/memdbwriter/memdbwriter/internal/dest"
	"github.com/memdbwriter/memdbwriter/internal/pgtest"
	"github.com/memdbwriter/memdbwriter/internal/tuple"
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

// The rows of such a key stay in their order, whatever columns they leave out and
// whichever of them the database refuses at first.
func TestKeyThatIgnoresCaseKeepsTheOrder(t *testing.T) {
	type note struct {
		Name string  `db:"name,key"`
		Text *string `db:"text,omitnil"`
		N    *int64  `db:"n,omitnil"`
	}
	ctx := context.Background()
	db := pgtest.Open(t)
	db.Exec(t, `CREATE COLLATION ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
		CREATE TABLE notes (name text COLLATE ci PRIMARY KEY, text text, n bigint CHECK (n <> -1));
		CREATE FUNCTION gate() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
			IF NEW.text = 'odd' AND NOT EXISTS (SELECT 1 FROM notes) THEN RAISE 'closed' USING ERRCODE = '42501'; END IF; RETURN NEW; END $$;
		CREATE TRIGGER gate BEFORE INSERT OR UPDATE ON notes FOR EACH ROW EXECUTE FUNCTION gate()`)
	table, err := TableOf[note]("notes")
	if err != nil {
		t.Fatal(err)
	}
	add := func(w *MemoryDBWriter[note], name, text string, n int64) {
		row := note{Name: name}
		if text != "" {
			row.Text = &text
		}
		if n != 0 {
			row.N = &n
		}
		if err := w.Add(ctx, row); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		what   string
		rows   func(w *MemoryDBWriter[note])
		want   string
		failed int64
	}{
		{"columns left out", func(w *MemoryDBWriter[note]) {
			add(w, "abc", "", 1)
			add(w, "ABC", "second", 2)
			add(w, "aBc", "", 3)
		}, "abc|second|3", 0},
		{"a row refused in the middle", func(w *MemoryDBWriter[note]) {
			add(w, "abc", "first", 1)
			add(w, "ABC", "second", -1)
			add(w, "aBc", "third", 3)
			add(w, "abC", "fourth", -1)
		}, "abc|third|3", 2},
		{"a row that would pass later", func(w *MemoryDBWriter[note]) {
			add(w, "abc", "odd", 1)
			add(w, "ABC", "newer", 2)
			add(w, "other", "refused", -1)
		}, "ABC|newer|2", 2},
	} {
		db.Exec(t, "TRUNCATE notes")
		w, err := New(ctx, table, Postgres(db.Pool(t)), Config{})
		if err != nil {
			t.Fatal(err)
		}
		c.rows(w)
		for range 2 { // an error that is not about values is believed once
			_ = w.ForceSync(ctx)
		}
		if got := db.Rows(t, "TABLE notes"); len(got) != 1 || got[0] != c.want {
			t.Errorf("%s: stored %v", c.what, got)
		}
		if s := w.SyncStatus(); s.Failed != c.failed || s.Total != s.Synced+s.Superseded+s.Failed {
			t.Errorf("%s: %+v", c.what, s)
		}
		if _, err := w.DiscardSyncErrors(ctx); err != nil {
			t.Fatal(err)
		}
		if err := w.Stop(ctx); err != nil {
			t.Fatal(err)
		}
	}
}

// turningSink has its keys turn out inexact when two batches are on their way.
// Both are refused.
type turningSink struct {
	nullSink
	mu           sync.Mutex
	inexact      bool
	active, most int     // calls at a time, since then
	firsts       []int64 // the first rows of what was stored
}

func (s *turningSink) InexactKeys() (names []string, known bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.inexact {
		names = []string{"id"}
	}
	return names, true
}

func (s *turningSink) Insert(ctx context.Context, b *tuple.Batch) (dest.Result, error) {
	return s.Write(ctx, b)
}

func (s *turningSink) Write(_ context.Context, b *tuple.Batch) (dest.Result, error) {
	s.mu.Lock()
	s.active++
	s.most = max(s.most, s.active)
	before := !s.inexact
	s.mu.Unlock()
	time.Sleep(time.Second)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.active--
	if before {
		if s.inexact = true; s.active == 0 {
			s.most = 0
		}
		return dest.Result{}, &dest.Error{Class: dest.ClassTransient, Row: -1, Err: errors.New("the table was changed")}
	}
	s.firsts = append(s.firsts, b.Rows[0].Seq)
	return dest.Result{Way: dest.Upsert, RoundTrips: 1}, nil
}

// Batches that were given up side by side go one at a time, in their order, once
// their keys are not exact any more.
func TestBatchesInFlightGoInOrderOnceKeysAreInexact(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sink := &turningSink{}
		w, err := New(t.Context(), itemTable(t), &Destination{scripted{sink}}, Config{SyncBatchSize: 10, SyncWorkers: 3, SyncInterval: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		addNames(t, w, 0, 50)
		time.Sleep(10 * time.Minute)
		mustStop[item](t, w)
		if s := w.Stats(); s.Retries == 0 || sink.most != 1 || len(sink.firsts) != 5 || !slices.IsSorted(sink.firsts) {
			t.Errorf("%d calls at a time, batches from %v: %+v", sink.most, sink.firsts, s)
		}
	})
}

// A row of such a key that sets the guard protects what it wrote from the batches
// behind it, and from its own batch if it is the first of its key there.
func TestGuardOfAKeyThatIgnoresCase(t *testing.T) {
	type guarded struct {
		Name string `db:"name,key"`
		N    int64  `db:"n"`
		Done bool   `db:"done"`
	}
	db := pgtest.Open(t)
	db.Exec(t, `CREATE COLLATION ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
		CREATE TABLE guarded (name text COLLATE ci PRIMARY KEY, n bigint, done boolean)`)
	w := openWriter(t, mustTable[guarded](t, "guarded", Guard("done")), Postgres(db.Pool(t)), Config{})
	mustAdd(t, w, guarded{"abc", 1, true}, guarded{"ABC", 2, false}, guarded{"x", 1, false}, guarded{"X", 2, true})
	mustSync(t, w)
	mustAdd(t, w, guarded{"aBc", 3, false}, guarded{"x", 3, false})
	mustStop(t, w)
	if got := fmt.Sprint(db.Rows(t, "SELECT n FROM guarded ORDER BY n")); got != "[1 2]" {
		t.Errorf("stored %v", got)
	}
	wantBalance(t, w.SyncStatus())
}
