package memdbwriter

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"

	"github.com/memdbwriter/memdbwriter/internal/dest"
	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

// cloud is a destination that outlives the writer's machine. A row is its key
// and, in its name, its version. Rows that are called bad are refused until that
// is forgiven.
type cloud struct {
	before     func() error // each transaction; an error is that the machine is dead
	alive      func() error
	insertOnly bool

	mu      sync.Mutex
	forgive bool
	rows    map[int64]int64 // versions by key
	times   map[int64]int   // without a key: how often a version was stored
	tokens  map[string]bool // of transactions
}

// cloudSink is one writer's way into it.
type cloudSink struct {
	*cloud
	earlier []dest.Receipt
	keep    func(context.Context, []dest.Receipt) error
}

func (s *cloudSink) Check(context.Context) error { return nil }
func (s *cloudSink) Close() error                { return nil }

func (s *cloudSink) Record(earlier []dest.Receipt, keep func(context.Context, []dest.Receipt) error) {
	s.earlier, s.keep = earlier, keep
}

func (s *cloudSink) Write(ctx context.Context, whole *tuple.Batch) (dest.Result, error) {
	b, token := whole, ""
	if s.insertOnly {
		s.mu.Lock()
		for _, r := range s.earlier {
			if s.tokens[string(r.Token)] {
				b = dest.Without(b, []dest.Receipt{r})
			}
		}
		s.mu.Unlock()
		if b.Len() > 0 {
			token = fmt.Sprint(rand.Uint64())
			if err := s.keep(ctx, dest.Receipts(b, nil, []byte(token))); err != nil {
				return dest.Result{}, dest.AsError(err)
			}
		}
	}
	if err := s.before(); err != nil {
		return dest.Result{}, &dest.Error{Class: dest.ClassTransient, Row: -1, Err: err}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.alive(); err != nil { // it died while this waited for the lock
		return dest.Result{}, &dest.Error{Class: dest.ClassTransient, Row: -1, Err: err}
	}
	for i := range b.Rows {
		if _, _, bad := versionOf(b.Tuple(i)); bad && !s.forgive {
			return dest.Result{}, dest.InWhole(dest.RowErrorf(i, "name", "23514", "bad"), b, whole)
		}
	}
	for i := range b.Rows {
		key, version, _ := versionOf(b.Tuple(i))
		s.rows[key] = version
		s.times[version]++
	}
	s.tokens[token] = true
	return dest.Result{Way: dest.Direct, RoundTrips: 1}, nil
}

func versionOf(t []byte) (key, version int64, bad bool) {
	id, _ := tuple.Field(t, 0)
	name, _ := tuple.Field(t, 1)
	kind, number, _ := strings.Cut(string(name), " ")
	version, _ = strconv.ParseInt(number, 10, 64)
	return int64(binary.BigEndian.Uint64(id)), version, kind == badName
}
