package stage

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

// model is what a store should hold.
type model struct {
	staged map[int64][]byte
	failed map[int64]Failure
	last   int64 // arrival number
}

func TestRandomHistoryAgainstModel(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 1))
			s := open(t, testConfig)
			m := &model{staged: map[int64][]byte{}, failed: map[int64]Failure{}}
			for step := range 300 {
				m.step(t, s, r, step)
				if t.Failed() || step%25 == 0 {
					m.compare(t, s, step)
				}
			}
			m.compare(t, s, 300)
		})
	}
}

func (m *model) step(t *testing.T, s *Store, r *rand.Rand, step int) {
	switch op := r.IntN(12); op {
	case 0, 1, 2, 3:
		m.append(t, s, r)
	case 4:
		after := r.Int64N(m.last + 10)
		m.read(t, s, after, r.IntN(500), r.IntN(200_000))
	case 5, 6: // settle what a read gives, as the syncer does
		b := m.read(t, s, -1<<63, r.IntN(600), 0)
		if b.Len() > 0 {
			m.settle(t, s, r, step, b.Rows[b.Len()-1].Seq)
		}
	case 7:
		upTo := r.Int64N(m.last + 10)
		if r.IntN(2) == 0 && len(m.staged) > 0 {
			upTo = slices.Min(slices.Collect(maps.Keys(m.staged))) + r.Int64N(50)
		}
		m.settle(t, s, r, step, upTo)
	case 8, 9:
		m.amend(t, s, r, step)
	case 10:
		must(t, s.Trim())
	case 11:
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if _, _, err := s.Query(ctx, "SELECT * FROM files"); !errors.Is(err, context.Canceled) {
			t.Fatalf("step %d: error %v", step, err)
		}
	}
}

func (m *model) append(t *testing.T, s *Store, r *rand.Rand) {
	var b tuple.Batch
	m.last += r.Int64N(3)
	for range r.IntN(1 << r.IntN(10)) {
		m.last++
		size := r.IntN(300)
		if r.IntN(500) == 0 {
			size = r.IntN(100_000)
		}
		tup := row(strings.Repeat("x", size), r.Int64N(9)-1)
		b.Append(m.last, tup)
		m.staged[m.last] = tup
	}
	must(t, s.Append(&b))
}

// read compares what Read gives with what it should.
func (m *model) read(t *testing.T, s *Store, after int64, maxRows, maxBytes int) *tuple.Batch {
	var want, got tuple.Batch
	for _, seq := range slices.Sorted(maps.Keys(m.staged)) {
		full := maxRows > 0 && want.Len() == maxRows || maxBytes > 0 && want.Len() > 0 && len(want.Data)+len(m.staged[seq]) > maxBytes
		if full {
			break
		}
		if seq > after {
			want.Append(seq, m.staged[seq])
		}
	}
	must(t, s.Read(after, maxRows, maxBytes, &got))
	if !slices.Equal(got.Rows, want.Rows) || string(got.Data) != string(want.Data) {
		t.Fatalf("read %d rows and %d bytes after %d: %d rows, want %d", maxRows, maxBytes, after, got.Len(), want.Len())
	}
	return &got
}

func (m *model) settle(t *testing.T, s *Store, r *rand.Rand, step int, upTo int64) {
	var failed []Failure
	for seq, tup := range m.staged {
		if seq > upTo {
			continue
		}
		if r.IntN(20) == 0 {
			failed = append(failed, m.fail(seq, tup, step))
		}
		delete(m.staged, seq)
	}
	must(t, s.Settle(upTo, failed))
}

func (m *model) fail(seq int64, tup []byte, step int) Failure {
	at := time.UnixMicro(int64(step)).UTC()
	f := Failure{Seq: seq, Tuple: tup, SQLState: "22000", Column: "c", Constraint: "rule", Message: "m", Attempts: 1, First: at, Last: at}
	m.failed[seq] = f
	return f
}

func (m *model) amend(t *testing.T, s *Store, r *rand.Rand, step int) {
	var gone []int64
	var again []Failure
	unknown := r.IntN(4) == 0
	before := maps.Clone(m.failed)
	for seq, f := range m.failed {
		switch r.IntN(4) {
		case 0:
			gone = append(gone, seq)
			delete(m.failed, seq)
		case 1:
			f.Attempts++
			if r.IntN(2) == 0 {
				f.Tuple = append(slices.Clone(f.Tuple), f.Tuple...)[:r.IntN(2*len(f.Tuple)+1)]
			}
			f.Message, f.Last = fmt.Sprintf("step %d", step), time.UnixMicro(int64(step)).UTC()
			again = append(again, f)
			m.failed[seq] = f
		}
	}
	if unknown {
		again = append(again, Failure{Seq: m.last + 1})
		m.failed = before
	}
	if err := s.Amend(gone, again); (err != nil) != unknown {
		t.Fatalf("step %d: error %v", step, err)
	}
}

func (m *model) compare(t *testing.T, s *Store, step int) {
	t.Helper()
	var want Counts
	var staged, failed []string
	var sum int64
	for _, seq := range slices.Sorted(maps.Keys(m.staged)) {
		staged = append(staged, fmt.Sprintf("%d %x", seq, m.staged[seq]))
		want.Rows++
		want.Bytes += int64(len(m.staged[seq]))
		sum += seq
	}
	for _, seq := range slices.Sorted(maps.Keys(m.failed)) {
		failed = append(failed, describe(m.failed[seq]))
		want.FailedRows++
		want.FailedBytes += int64(len(m.failed[seq].Tuple))
	}
	gotStaged, gotFailed := contents(t, s)
	if !slices.Equal(gotStaged, staged) || !slices.Equal(gotFailed, failed) {
		t.Fatalf("step %d: the store has other rows than the model: %d staged of %d, %d failed of %d",
			step, len(gotStaged), len(staged), len(gotFailed), len(failed))
	}
	if s.Counts() != want {
		t.Fatalf("step %d: counts %+v, want %+v", step, s.Counts(), want)
	}
	consistent(t, s)
	_, rows := query(t, s, "SELECT count(*), ifnull(sum(_seq), 0), (SELECT count(*) FROM files_failed) FROM files")
	if got := fmt.Sprint(want.Rows, sum, want.FailedRows); rows[0] != got {
		t.Fatalf("step %d: the views have %s, want %s", step, rows[0], got)
	}
}
