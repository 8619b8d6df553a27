//go:build unix

package stage

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

// BenchmarkCycle is the life of rows of 450 bytes, staged in batches of a
// front buffer's chunk (582 rows) or of fewer, read and settled 5000 at a time,
// with few and with a million rows waiting before them. The figures are CPU time
// of the process per row, its garbage collector included; wall time would suffer
// from whatever else the machine does.
func BenchmarkCycle(b *testing.B) {
	const batch = 5000
	for _, rows := range []int{50, 582, 5000} {
		for _, waiting := range []int{10_000, 1_000_000} {
			b.Run(fmt.Sprintf("append=%d/waiting=%d", rows, waiting), func(b *testing.B) {
				s := open(b, benchConfig)
				next, after, staged := fill(b, s, 0, waiting), int64(-1), 0
				var add, read, settle time.Duration
				var into tuple.Batch
				cycle := func() {
					add += cpu(b, func() (err error) {
						for staged = 0; staged < batch && err == nil; staged += rows {
							err = s.Append(benchBatch(next, rows))
							next += rows
						}
						return err
					})
					read += cpu(b, func() error { return s.Read(after, staged, 0, &into) })
					after = into.Rows[into.Len()-1].Seq
					settle += cpu(b, func() error { return s.Settle(after, nil) })
				}
				for range 4 { // the first pages that are used again
					cycle()
				}
				add, read, settle = 0, 0, 0
				b.ReportAllocs()
				for b.Loop() {
					cycle()
				}
				n := float64(b.N * staged)
				b.ReportMetric(float64(add)/n, "append-ns/row")
				b.ReportMetric(float64(read)/n, "read-ns/row")
				b.ReportMetric(float64(settle)/n, "settle-ns/row")
			})
		}
	}
}

// BenchmarkFill stages rows in memory that the process did not have before, and
// says how much they take.
func BenchmarkFill(b *testing.B) {
	const rows = 600_000
	var spent time.Duration
	for b.Loop() {
		s := open(b, benchConfig)
		heap := heapBytes()
		spent += cpu(b, func() error { fill(b, s, 0, rows); return nil })
		c := s.Counts()
		b.ReportMetric(float64(s.Memory())/float64(c.Bytes), "sqlite-bytes/tuple-byte")
		b.ReportMetric((heapBytes()-heap)/float64(c.Rows), "heap-bytes/row")
		s.Close()
	}
	b.ReportMetric(float64(spent)/float64(b.N)/rows, "append-ns/row")
}

// BenchmarkQuery reads the view of 100,000 rows.
func BenchmarkQuery(b *testing.B) {
	s := open(b, benchConfig)
	fill(b, s, 0, 100_000)
	for _, q := range []string{
		"SELECT count(*) FROM t",
		"SELECT count(*) FROM t WHERE size > 7",
		"SELECT count(*) FROM t WHERE path = 'x'",
		"SELECT count(*) FROM t WHERE size > 7 AND size < 9 AND path = 'x'",
	} {
		b.Run(q, func(b *testing.B) {
			for b.Loop() {
				if _, _, err := s.Query(context.Background(), q); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed())/float64(b.N)/float64(s.Counts().Rows), "ns/row")
		})
	}
}

// BenchmarkAppendUnderQuery stages batches while queries go over 100,000 rows all
// the time, and says how long the slowest one took.
func BenchmarkAppendUnderQuery(b *testing.B) {
	s := open(b, benchConfig)
	fill(b, s, 0, 100_000)
	ctx, cancel := context.WithCancel(context.Background())
	var queries sync.WaitGroup
	queries.Go(func() {
		for ctx.Err() == nil {
			s.Query(ctx, "SELECT count(*) FROM t a, t b WHERE a.path || b.path = ''")
		}
	})
	var slowest time.Duration
	for b.Loop() {
		batch := benchBatch(int(s.last)+1, 100)
		start := time.Now()
		if err := s.Append(batch); err != nil {
			b.Fatal(err)
		}
		slowest = max(slowest, time.Since(start))
	}
	cancel()
	queries.Wait()
	b.ReportMetric(float64(slowest)/1e6, "slowest-ms")
}

var benchConfig = Config{View: "t", Columns: []tuple.Column{{Name: "path", Type: tuple.Text}, {Name: "size", Type: tuple.Int8}}}

var benchSlabs = map[int]*tuple.Batch{}

// benchBatch returns rows with consecutive arrival numbers, always in the
// same memory.
func benchBatch(first, n int) *tuple.Batch {
	b := benchSlabs[n]
	if b == nil {
		b = new(tuple.Batch)
		for range n {
			b.Append(0, row(strings.Repeat("x", 450-18), 7))
		}
		benchSlabs[n] = b
	}
	for i := range b.Rows {
		b.Rows[i].Seq = int64(first + i)
	}
	return b
}

// fill stages n rows or a few more, and returns the next arrival number.
func fill(b *testing.B, s *Store, first, n int) (next int) {
	const rows = 582
	for next = first; next < first+n; next += rows {
		if err := s.Append(benchBatch(next, rows)); err != nil {
			b.Fatal(err)
		}
	}
	return next
}

// cpu returns the CPU time that fn took.
func cpu(b *testing.B, fn func() error) time.Duration {
	before := cpuTime(b)
	if err := fn(); err != nil {
		b.Fatal(err)
	}
	return cpuTime(b) - before
}

func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func heapBytes() float64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}
