package memdbtest_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/memdbwriter/memdbwriter"
	"github.com/memdbwriter/memdbwriter/memdbtest"
)

type item struct {
	ID    int64  `db:"id,key"`
	Name  string `db:"name"`
	Owner string `db:"owner,insertonly"`
	Seen  int64  `db:"seen,passive"`
}

type event struct {
	Text string `db:"text"`
}

func tableOf[T any](tb testing.TB, name string, opts ...memdbwriter.TableOption) memdbwriter.Table[T] {
	tb.Helper()
	table, err := memdbwriter.TableOf[T](name, opts...)
	if err != nil {
		tb.Fatal(err)
	}
	return table
}

func newWriter[T any](tb testing.TB, db *memdbtest.DB, table memdbwriter.Table[T], cfg memdbwriter.Config) *memdbwriter.MemoryDBWriter[T] {
	tb.Helper()
	w, err := memdbwriter.New(context.Background(), table, db.Destination(), cfg)
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

func add[T any](tb testing.TB, w memdbwriter.Writer[T], rows ...T) {
	tb.Helper()
	if _, err := w.AddBatch(context.Background(), rows); err != nil {
		tb.Fatal(err)
	}
}

func force[T any](tb testing.TB, w memdbwriter.Writer[T]) {
	tb.Helper()
	if err := w.ForceSync(context.Background()); err != nil {
		tb.Fatal(err)
	}
}

// Each answer has the effect that the real thing has, in fake time.
func TestAnswers(t *testing.T) {
	tests := map[string]struct {
		answers []memdbtest.Answer
		retries int64
		took    time.Duration // at least
	}{
		"ok":          {},
		"slow":        {answers: []memdbtest.Answer{memdbtest.Slow(6 * time.Second)}, took: 6 * time.Second},
		"too slow":    {answers: []memdbtest.Answer{memdbtest.Slow(8 * time.Second)}, retries: 1, took: 7 * time.Second},
		"unreachable": {answers: []memdbtest.Answer{memdbtest.Unreachable(), memdbtest.Unreachable()}, retries: 2, took: 20 * time.Millisecond},
		"serialize":   {answers: []memdbtest.Answer{memdbtest.Refused("40001", "could not serialize")}, retries: 1},
		"no right":    {answers: []memdbtest.Answer{memdbtest.Refused("42501", "permission denied")}, retries: 1, took: time.Second},
		"hangs":       {answers: []memdbtest.Answer{memdbtest.HangUntil(nil)}, retries: 1, took: 7 * time.Second},
		"commit lost": {answers: []memdbtest.Answer{memdbtest.CommitLost()}, retries: 1},
		"lost twice":  {answers: []memdbtest.Answer{memdbtest.CommitLost(), memdbtest.Unreachable(), memdbtest.CommitLost()}, retries: 3},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				db := memdbtest.New()
				cfg := memdbwriter.Config{SyncTimeout: 7 * time.Second, RetryMaxDelay: time.Second}
				answered(t, db, cfg, test.answers, test.retries, test.took, tableOf[item](t, "items"), item{ID: 1, Name: "a"}, item{ID: 2, Name: "b"})
				answered(t, db, cfg, test.answers, test.retries, test.took, tableOf[event](t, "events"), event{"x"}, event{"x"}, event{"y"})
			})
		})
	}
}

func answered[T any](t *testing.T, db *memdbtest.DB, cfg memdbwriter.Config, answers []memdbtest.Answer, retries int64, took time.Duration, table memdbwriter.Table[T], rows ...T) {
	t.Helper()
	w, start := newWriter(t, db, table, cfg), time.Now()
	db.Next(answers...)
	add(t, w, rows...)
	for {
		err := w.ForceSync(context.Background())
		if err == nil {
			break
		}
		if !errors.Is(err, memdbwriter.ErrDestination) {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
	}
	if n := w.Stats().Retries; n != retries {
		t.Errorf("%d retries, want %d", n, retries)
	}
	if since := time.Since(start); since < took {
		t.Errorf("the answers took %v, want at least %v", since, took)
	}
	memdbtest.RequireStored(t, db, table, rows...)
}

// A new writer meets an answer that is always given.
func TestAlwaysHoldsForTheFirstLook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := memdbtest.New()
		db.Always(memdbtest.Refused("42P01", "no such table"))
		_, err := memdbwriter.New(context.Background(), tableOf[item](t, "items"), db.Destination(), memdbwriter.Config{})
		if !errors.Is(err, memdbwriter.ErrDestination) {
			t.Fatalf("New returned %v", err)
		}
		db.Always(memdbtest.Unreachable())
		w := newWriter(t, db, tableOf[item](t, "items"), memdbwriter.Config{})
		add(t, w, item{ID: 1})
		db.Always(memdbtest.OK)
		force(t, w)
		memdbtest.RequireStored(t, db, tableOf[item](t, "items"), item{ID: 1})
		if n := db.Transactions(); n != 1 {
			t.Errorf("%d transactions", n)
		}
	})
}

// A rule rejects the rows that break it and no others, until it is dropped.
func TestRejectedRowsFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db, table := memdbtest.New(), tableOf[item](t, "items")
		w := newWriter(t, db, table, memdbwriter.Config{})
		drop := memdbtest.Reject(db, table, "23514", func(row item) bool { return row.Name == "bad" })
		add(t, w, item{ID: 1, Name: "good"}, item{ID: 2, Name: "bad"}, item{ID: 3, Name: "good"})
		if err := w.ForceSync(context.Background()); !errors.Is(err, memdbwriter.ErrRowsFailed) {
			t.Fatalf("ForceSync returned %v", err)
		}
		memdbtest.RequireStored(t, db, table, item{ID: 1, Name: "good"}, item{ID: 3, Name: "good"})
		memdbtest.RequireFailed(t, w, "23514", item{ID: 2, Name: "bad"})
		drop()
		if n, err := w.RetrySyncErrors(context.Background()); n != 1 || err != nil {
			t.Fatalf("the retry returned %d, %v", n, err)
		}
		memdbtest.RequireFailed(t, w, "")
		memdbtest.RequireStored(t, db, table, item{ID: 3, Name: "good"}, item{ID: 1, Name: "good"}, item{ID: 2, Name: "bad"})
	})
}

// The catalogue's rows are wanted as a scanner adds them, and what a later stage
// owns stays.
func TestCatalogueRows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db, table := memdbtest.New(), memdbwriter.BackupFiles(7)
		w := newWriter(t, db, table, memdbwriter.Config{})
		a, b := memdbwriter.FileInfo{Path: "/data/a", Size: 1}, memdbwriter.FileInfo{Path: "/data/b", Size: 2}
		add(t, w, a, b)
		force(t, w)
		memdbtest.RequireStored(t, db, table, b, a)
		if err := memdbtest.Protect(db, table, a); err != nil {
			t.Fatal(err)
		}
		protected := a
		protected.IsCopySuccess = true
		a.Size, b.Size = 10, 20
		add(t, w, a, b)
		force(t, w)
		memdbtest.RequireStored(t, db, table, protected, b)
		if err := memdbtest.Protect(db, table, memdbwriter.FileInfo{Path: "/other"}); err == nil {
			t.Error("a row that is not there was protected")
		}
	})
}

// What is stored outlives the writer, and the directory of a writer that was
// left behind is taken over as with a real database.
func TestWritersComeAndGo(t *testing.T) {
	db, table := memdbtest.New(), tableOf[event](t, "events")
	cfg := memdbwriter.Config{CheckpointDir: t.TempDir(), Durability: memdbwriter.DurabilityJournal}
	w := newWriter(t, db, table, cfg)
	db.Always(memdbtest.Unreachable())
	add(t, w, event{"left"}, event{"left"})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := w.Stop(ctx); !errors.Is(err, memdbwriter.ErrUnsynced) {
		t.Fatalf("Stop returned %v", err)
	}
	db.Always(memdbtest.OK)
	again := newWriter(t, db, table, cfg)
	add(t, again, event{"new"})
	if err := again.Stop(context.Background()); err != nil {
		t.Fatal(err)
	}
	memdbtest.RequireStored(t, db, table, event{"left"}, event{"left"}, event{"new"})
}

// recorder is a test that fails without ending the one that looks.
type recorder struct {
	testing.TB
	text string
}

func (r *recorder) Helper() {}

func (r *recorder) Fatal(args ...any) { r.stop(fmt.Sprint(args...)) }

func (r *recorder) Fatalf(format string, args ...any) { r.stop(fmt.Sprintf(format, args...)) }

func (r *recorder) stop(text string) {
	r.text = text
	panic(r)
}

func failure(t *testing.T, check func(tb testing.TB)) (text string) {
	t.Helper()
	r := &recorder{TB: t}
	defer func() {
		if p := recover(); p != nil && p != any(r) {
			panic(p)
		}
		text = r.text
	}()
	check(r)
	return ""
}

// The checks fail when they must, and name the rows.
func TestChecksFail(t *testing.T) {
	db, table := memdbtest.New(), tableOf[item](t, "items")
	unused := failure(t, func(tb testing.TB) { memdbtest.RequireStored(tb, db, table) })
	if !strings.Contains(unused, "no writer") {
		t.Errorf("a table without a writer: %q", unused)
	}
	w := newWriter(t, db, table, memdbwriter.Config{})
	memdbtest.Reject(db, table, "23514", func(row item) bool { return row.Name == "bad" })
	add(t, w, item{ID: 1, Name: "one"}, item{ID: 2, Name: "bad"})
	_ = w.ForceSync(context.Background()) // rejected rows are an error
	for want, check := range map[string]func(testing.TB){
		"not wanted: {ID:1 Name:one}": func(tb testing.TB) { memdbtest.RequireStored(tb, db, table) },
		"missing: {ID:3":              func(tb testing.TB) { memdbtest.RequireStored(tb, db, table, item{ID: 1, Name: "one"}, item{ID: 3}) },
		"missing: {ID:1 Name:one}": func(tb testing.TB) {
			memdbtest.RequireStored(tb, db, table, item{ID: 1, Name: "one"}, item{ID: 1, Name: "one"})
		},
		"Name:two}":                   func(tb testing.TB) { memdbtest.RequireStored(tb, db, table, item{ID: 1, Name: "two"}) },
		"not wanted: {ID:2 Name:bad}": func(tb testing.TB) { memdbtest.RequireFailed(tb, w, "23514") },
		`instead of "23505"`:          func(tb testing.TB) { memdbtest.RequireFailed(tb, w, "23505", item{ID: 2, Name: "bad"}) },
	} {
		if text := failure(t, check); !strings.Contains(text, want) {
			t.Errorf("got %q, want %q in it", text, want)
		}
	}
}

// A transaction that is refused leaves nothing: rows of it that are tried again
// do not meet themselves.
func TestRefusedTransactionsLeaveNothing(t *testing.T) {
	db, table := memdbtest.New(), tableOf[item](t, "items", memdbwriter.OnConflict(memdbwriter.ConflictInsertOnly))
	w := newWriter(t, db, table, memdbwriter.Config{})
	add(t, w, item{ID: 1, Name: "first"}, item{ID: 2}, item{ID: 1, Name: "second"})
	if err := w.ForceSync(context.Background()); !errors.Is(err, memdbwriter.ErrRowsFailed) {
		t.Fatalf("ForceSync returned %v", err)
	}
	memdbtest.RequireStored(t, db, table, item{ID: 1, Name: "first"}, item{ID: 2})
	memdbtest.RequireFailed(t, w, "23505", item{ID: 1, Name: "second"})
}
