package memdbwriter

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

// A row for which there is room does not pass a large one that waits for more.
func TestASmallRowDoesNotPassALargeOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFront(Config{MaxRows: 10, MaxBytes: 100})
		row := func(kind byte, size int) []byte { return bytes.Repeat([]byte{kind}, size) }
		if err := f.tryAdd(row('a', 60)); err != nil {
			t.Fatal(err)
		}
		added := make(chan error, 2)
		go func() { added <- f.addOne(t.Context(), row('b', 50)) }()
		synctest.Wait()
		if err := f.tryAdd(row('c', 1)); !errors.Is(err, ErrBufferFull) {
			t.Errorf("TryAdd passed an Add that waits: %v", err)
		}
		go func() { added <- f.addOne(t.Context(), row('d', 1)) }()
		synctest.Wait()
		if n := f.waiting(); n != 1 {
			t.Errorf("an Add passed one that waits: %d rows are in", n)
		}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		if err := f.addOne(ended, row('e', 1)); !errors.Is(err, context.Canceled) {
			t.Errorf("an Add whose context has ended passed one that waits: %v", err)
		}
		f.settle(settlement{synced: 1, bytes: 60})
		for range 2 {
			if err := <-added; err != nil {
				t.Error(err)
			}
		}
		var order []byte
		for _, c := range f.take(nil) {
			for i := range c.Rows {
				order = append(order, c.Tuple(i)[0])
			}
		}
		if string(order) != "abd" {
			t.Errorf("the rows are in as %q", order)
		}
	})
}

// The limit that was reached starts no run once rows have left the memory, unless
// somebody still waits.
func TestALimitThatWasReachedAndIsNot(t *testing.T) {
	f := newFront(Config{MaxRows: 2})
	for range 2 {
		if err := f.tryAdd([]byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	f.settle(settlement{synced: 1, bytes: 1})
	if f.pressed() {
		t.Error("there is room, and a sync is asked for")
	}
	if n, err := f.enter(&entrant{rows: &tuple.Batch{Data: []byte("xyz"), Rows: []tuple.Span{{Len: 1}, {Off: 1, Len: 1}, {Off: 2, Len: 1}}}, done: make(chan struct{})}); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	f.settle(settlement{synced: 1, bytes: 1})
	if !f.pressed() {
		t.Error("a row still waits, and no sync is asked for")
	}
}
