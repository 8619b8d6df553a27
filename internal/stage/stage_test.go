package stage

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

func TestClosedStoreSaysSo(t *testing.T) {
	s := open(t, testConfig)
	stage(t, s, 1, 1)
	for range 2 {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	var b tuple.Batch
	b.Append(2, row("/x", 1))
	for name, call := range map[string]func() error{
		"Append":   func() error { return s.Append(&b) },
		"Read":     func() error { return s.Read(0, 0, 0, &b) },
		"Page":     func() error { _, err := s.Page(0, 1); return err },
		"Settle":   func() error { return s.Settle(1, nil) },
		"Failures": func() error { _, err := s.Failures(0, 1); return err },
		"Amend":    func() error { return s.Amend(nil, nil) },
		"Query":    func() error { _, _, err := s.Query(context.Background(), "SELECT 1"); return err },
		"Shrink":   func() error { _, err := s.Shrink(); return err },
		"Trim":     s.Trim,
	} {
		if err := call(); !errors.Is(err, ErrClosed) {
			t.Errorf("%s: error %v, want ErrClosed", name, err)
		}
	}
	if s.Counts().Rows != 1 {
		t.Errorf("counts %+v", s.Counts())
	}
}

// Many writers live in one process, next to the host program's own SQLite.
func TestStoresSideBySide(t *testing.T) {
	host, err := sql.Open("sqlite", ":memory:")
	if err != nil {
		t.Fatal(err)
	}
	defer host.Close()
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for round := range 5 {
				s, err := Open(testConfig)
				if err != nil {
					t.Error(err)
					return
				}
				stage(t, s, 0, 99)
				if err := s.Settle(int64(g), nil); err != nil {
					t.Error(err)
				}
				_, rows, err := s.Query(context.Background(), "SELECT min(size) FROM files")
				if err != nil || rows[0][0] != int64(g+1) {
					t.Errorf("store %d.%d: %v, error %v", g, round, rows, err)
				}
				if _, err := host.Exec("SELECT 1"); err != nil {
					t.Error(err)
				}
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if _, err := host.Exec("SELECT * FROM temp." + sourceName); err == nil {
		t.Error("the host's driver knows our table")
	}
}

// The stager appends, the syncer reads and settles, and others look on, with
// contexts that end at any moment. Every row is seen exactly once.
func TestConcurrentUse(t *testing.T) {
	s := open(t, testConfig)
	const rows = 20_000
	var writers, watchers sync.WaitGroup
	writers.Go(func() {
		var b tuple.Batch
		for lo := int64(1); lo <= rows; lo += 100 {
			b.Reset()
			for seq := lo; seq < lo+100; seq++ {
				b.Append(seq, row("/f", seq))
			}
			if err := s.Append(&b); err != nil {
				t.Error(err)
				return
			}
		}
	})
	writers.Go(func() {
		var b tuple.Batch
		for after := int64(0); after < rows; {
			if err := s.Read(after, 250, 0, &b); err != nil {
				t.Error(err)
				return
			}
			for i := range b.Rows {
				if after++; b.Rows[i].Seq != after {
					t.Errorf("read row %d, want %d", b.Rows[i].Seq, after)
					return
				}
			}
			if b.Len() > 0 {
				if err := s.Settle(after, nil); err != nil {
					t.Error(err)
					return
				}
			}
		}
	})
	done := make(chan struct{})
	watch := func(look func(r *rand.Rand) error) {
		watchers.Go(func() {
			r := rand.New(rand.NewPCG(1, 2))
			for {
				select {
				case <-done:
					return
				default:
				}
				if err := look(r); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	watch(func(r *rand.Rand) error {
		ctx, cancel := context.WithTimeout(context.Background(), time.Duration(r.IntN(2000))*time.Microsecond)
		defer cancel()
		_, rows, err := s.Query(ctx, "SELECT count(*), max(_seq) - min(_seq) + 1, max(path) FROM files")
		if errors.Is(err, context.DeadlineExceeded) {
			return nil
		}
		if err == nil && rows[0][0] != int64(0) && rows[0][0] != rows[0][1] {
			return fmt.Errorf("%d rows in a range of %d", rows[0][0], rows[0][1])
		}
		return err
	})
	watch(func(*rand.Rand) error {
		if c := s.Counts(); c.Rows < 0 || c.Rows > rows || c.Bytes != c.Rows*int64(len(row("/f", 1))) {
			return fmt.Errorf("counts %+v", c)
		}
		return s.Trim()
	})
	writers.Wait()
	close(done)
	watchers.Wait()
	if c := s.Counts(); c != (Counts{}) {
		t.Errorf("counts %+v", c)
	}
}
