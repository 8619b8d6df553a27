package memdbwriter

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
)

// model is what a destination must hold: the rows applied one after another,
// those that break a rule left out.
type model struct {
	rows   map[int64]item
	failed map[int64]int // refused rows by key, those since the last good one
	added  int64
}

func (m *model) add(row item) {
	m.added++
	if row.Name == badName {
		m.failed[row.ID]++
		return
	}
	if old, ok := m.rows[row.ID]; ok {
		row.Stage = old.Stage // insert-only
		if row.Name == old.Name {
			row.Seen = old.Seen // passive: no change by itself
		}
	}
	m.rows[row.ID] = row
	delete(m.failed, row.ID)
}

func (m *model) text() []string {
	var out []string
	for _, id := range slices.Sorted(maps.Keys(m.rows)) {
		r := m.rows[id]
		out = append(out, fmt.Sprintf("%d|%s|%s", r.ID, r.Name, r.Stage))
	}
	return out
}

// check drains the writer and compares everything.
func (m *model) check(t *testing.T, p *place, w Writer[item]) {
	t.Helper()
	if err := w.ForceSync(patient(t)); (err != nil) != (len(m.failed) > 0) || err != nil && !errors.Is(err, ErrRowsFailed) {
		t.Fatalf("%d keys have refused rows, ForceSync returned %v", len(m.failed), err)
	}
	failed := map[int64]int{}
	for f, err := range w.SyncErrors() {
		if err != nil {
			t.Fatal(err)
		}
		failed[f.Row.ID]++
	}
	if !maps.Equal(failed, m.failed) {
		t.Errorf("refused rows by key %v, want %v", failed, m.failed)
	}
	wantRows(t, p, "SELECT id, name, stage FROM items ORDER BY id", m.text()...)
	s := w.SyncStatus()
	wantBalance(t, s)
	if s.Total != m.added || s.Pending != 0 {
		t.Errorf("%d rows added, status %+v", m.added, s)
	}
	abandon(w)
}
