package memdbwriter

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/memdbwriter/memdbwriter/internal/dest"
)

// Failed rows are retried and discarded one by one by their handles: what fails
// after somebody has listed them is not touched.
func TestFailedRowsByHandle(t *testing.T) {
	eachWriter(t, func(t *testing.T, open func(*script, Config) Writer[item]) {
		refuse := map[string]bool{"a": true, "b": true, "c": true, "d": true}
		w := open(&script{write: func(_ context.Context, names []string) error {
			if i := slices.IndexFunc(names, func(name string) bool { return refuse[name] }); i >= 0 {
				return &dest.Error{Class: dest.ClassRow, Row: i, SQLState: "23514", Err: errors.New("refused")}
			}
			return nil
		}}, Config{FailedRetryDelay: -1, SyncInterval: time.Hour})
		mustAdd(t, w, newItem(1, "a"), newItem(2, "b"), newItem(3, "good"), newItem(4, "c"))
		if err := w.ForceSync(t.Context()); !errors.Is(err, ErrRowsFailed) {
			t.Fatal(err)
		}
		listed := handles(t, w)
		mustAdd(t, w, newItem(5, "d")) // fails after the list was made
		if err := w.ForceSync(t.Context()); !errors.Is(err, ErrRowsFailed) {
			t.Fatal(err)
		}
		if !slices.Equal(listed, []int64{1, 2, 4}) {
			t.Fatalf("handles %v", listed)
		}

		delete(refuse, "b")
		delete(refuse, "c")
		if stored, err := w.RetryFailed(t.Context(), []int64{2, 99}); stored != 1 || err != nil {
			t.Errorf("RetryFailed of one that gets in: %d, %v", stored, err)
		}
		var row *RowError
		if stored, err := w.RetryFailed(t.Context(), []int64{1}); stored != 0 || !errors.Is(err, ErrRowsFailed) || !errors.As(err, &row) || row.Key != "(id)=(1)" {
			t.Errorf("RetryFailed of one that does not: %d, %v", stored, err)
		}
		if got := handles(t, w); !slices.Equal(got, []int64{1, 4, 5}) {
			t.Errorf("left: %v", got)
		}
		for _, none := range [][]int64{nil, {}} {
			n, err := w.DiscardFailed(t.Context(), none)
			stored, retryErr := w.RetryFailed(t.Context(), none)
			if n != 0 || err != nil || stored != 0 || retryErr != nil {
				t.Errorf("none: %d, %v, %d, %v", n, err, stored, retryErr)
			}
		}
		if n, err := w.DiscardFailed(t.Context(), append(listed, listed...)); n != 2 || err != nil {
			t.Errorf("DiscardFailed: %d, %v", n, err)
		}
		if got := handles(t, w); !slices.Equal(got, []int64{5}) {
			t.Errorf("left: %v", got)
		}
		if s := w.SyncStatus(); s.Failed != 1 || s.Discarded != 2 || s.Synced != 2 {
			t.Errorf("%+v", s)
		}
		if err := w.Stop(t.Context()); !errors.Is(err, ErrRowsFailed) {
			t.Errorf("Stop: %v", err)
		}
		for f, err := range w.SyncErrors() { // still there
			if err != nil || f.Seq != 5 || f.Row.ID != 5 || f.Row.Name != "d" || f.Err.SQLState != "23514" {
				t.Errorf("after Stop: %+v, %v", f, err)
			}
		}
		if got := handles(t, w); len(got) != 1 {
			t.Errorf("after Stop: %v", got)
		}
	})
}

func handles(t *testing.T, w Writer[item]) (seqs []int64) {
	t.Helper()
	for f, err := range w.SyncErrors() {
		if err != nil {
			t.Fatal(err)
		}
		seqs = append(seqs, f.Seq)
	}
	return seqs
}

// More failed rows than a page has, of which every third is chosen.
func TestManyFailedRowsByHandle(t *testing.T) {
	eachWriter(t, func(t *testing.T, open func(*script, Config) Writer[item]) {
		w := open(&script{write: refuseBad}, Config{FailedRetryDelay: -1, SyncBatchSize: 100})
		const n = 3 * pageRows
		for i := range int64(n) {
			mustAdd(t, w, newItem(i, badName))
		}
		if err := w.ForceSync(t.Context()); !errors.Is(err, ErrRowsFailed) {
			t.Fatal(err)
		}
		var chosen []int64
		for i, seq := range handles(t, w) {
			if i%3 == 0 {
				chosen = append(chosen, seq)
			}
		}
		stored, err := w.RetryFailed(t.Context(), chosen)
		var failed *failedRowsError
		if stored != 0 || !errors.As(err, &failed) || failed.states["23514"] != n/3 || len(failed.first) != maxListed {
			t.Errorf("%d, %v", stored, err)
		}
		for f := range w.SyncErrors() {
			want := 1
			if (f.Seq-1)%3 == 0 {
				want = 2
			}
			if f.Attempts != want {
				t.Fatalf("row %d was tried %d times, want %d", f.Seq, f.Attempts, want)
			}
		}
		if got, err := w.DiscardFailed(t.Context(), chosen); got != n/3 || err != nil {
			t.Errorf("discarded %d, %v", got, err)
		}
		if err := w.Stop(t.Context()); !errors.Is(err, ErrRowsFailed) {
			t.Errorf("Stop: %v", err)
		}
		if got := handles(t, w); len(got) != n-n/3 {
			t.Errorf("%d after Stop", len(got))
		}
	})
}
