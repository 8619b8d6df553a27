package memdbwriter

import (
	"context"
	"errors"
	"testing"

	"github.com/memdbwriter/memdbwriter/internal/dest"
	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

// waitingSink is one whose first call finds a transaction that no standby has.
type waitingSink struct {
	nullSink
	calls int
}

func (s *waitingSink) Write(context.Context, *tuple.Batch) (dest.Result, error) {
	if s.calls++; s.calls == 1 {
		return dest.Result{RoundTrips: 2, StandbyWaits: 1}, &dest.Error{Class: dest.ClassTransient, Row: -1, Err: errors.New("waits for a standby")}
	}
	return dest.Result{Way: dest.Direct, RoundTrips: 1, StandbyWaits: 2}, nil
}

// Transactions that wait for a standby are counted, whether or not the call
// stored its rows.
func TestStandbyWaitsAreCounted(t *testing.T) {
	sink := &waitingSink{}
	w := openWriter(t, itemTable(t), &Destination{scripted{sink}}, Config{})
	mustAdd(t, w, newItem(1, "a"))
	_ = w.ForceSync(patient(t)) // the first call fails
	if err := w.ForceSync(patient(t)); err != nil {
		t.Fatal(err)
	}
	if s := w.Stats(); s.StandbyWaits != 3 || s.Pending != 0 {
		t.Errorf("%d waits: %+v", s.StandbyWaits, s)
	}
	mustStop(t, w)
}
