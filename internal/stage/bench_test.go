//go:build unix

package stage

import (
	"fmt"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

// Chunks of 512 and 5000 rows of 450 bytes, with few and with a million rows
// waiting. Wall time suffers from whatever else the machine does: cpu-ns/row
// is the process's own time, its garbage collector included.
var benchChunks = []int{512, 5000}

func BenchmarkAppend(b *testing.B) {
	for _, chunk := range benchChunks {
		for _, waiting := range []int{10_000, 1_000_000} {
			b.Run(fmt.Sprintf("chunk=%d/waiting=%d", chunk, waiting), func(b *testing.B) {
				b.ReportAllocs()
				var cost cost
				var sqlite, heap float64
				rows := 0
				for b.Loop() {
					s := open(b, benchConfig)
					before := heapBytes()
					for first := 0; first < waiting; first += chunk {
						batch := benchBatch(first, chunk)
						if waiting-first <= 10_000 { // the last ones, on top of all others
							cost.start()
						}
						if err := s.Append(batch); err != nil {
							b.Fatal(err)
						}
						if cost.stop() {
							rows += chunk
						}
					}
					c := s.Counts()
					heap = (float64(heapBytes()) - float64(before)) / float64(c.Rows)
					memory, err := s.Memory()
					if err != nil {
						b.Fatal(err)
					}
					sqlite = float64(memory) / float64(c.Bytes)
					s.Close()
				}
				cost.report(b, rows)
				b.ReportMetric(sqlite, "sqlite-bytes/tuple-byte")
				b.ReportMetric(heap, "heap-bytes/row")
			})
		}
	}
}

func BenchmarkRead(b *testing.B) {
	benchDrain(b, func(b *testing.B, cost *cost, s *Store, after int64, chunk int, into *tuple.Batch) {
		cost.start()
		err := s.Read(after, chunk, 0, into)
		cost.stop()
		if err != nil {
			b.Fatal(err)
		}
	})
}

func BenchmarkSettle(b *testing.B) {
	benchDrain(b, func(b *testing.B, cost *cost, s *Store, after int64, chunk int, into *tuple.Batch) {
		if err := s.Read(after, chunk, 0, into); err != nil {
			b.Fatal(err)
		}
		cost.start()
		err := s.Settle(into.Rows[0].Seq, into.Rows[len(into.Rows)-1].Seq, nil)
		cost.stop()
		if err != nil {
			b.Fatal(err)
		}
	})
}

func benchDrain(b *testing.B, step func(b *testing.B, cost *cost, s *Store, after int64, chunk int, into *tuple.Batch)) {
	for _, chunk := range benchChunks {
		for _, waiting := range []int{10_000, 1_000_000} {
			b.Run(fmt.Sprintf("chunk=%d/waiting=%d", chunk, waiting), func(b *testing.B) {
				b.ReportAllocs()
				var cost cost
				var into tuple.Batch
				for range chunk { // as big as a reader's recycled batch
					into.Append(0, benchRow)
				}
				rows := 0
				for b.Loop() {
					s := open(b, benchConfig)
					for first := 0; first < waiting; first += chunk {
						if err := s.Append(benchBatch(first, chunk)); err != nil {
							b.Fatal(err)
						}
					}
					for after, n := int64(-1), 0; n < 10_000; n += chunk {
						step(b, &cost, s, after, chunk, &into)
						rows += chunk
						after += int64(chunk)
					}
					s.Close()
				}
				cost.report(b, rows)
			})
		}
	}
}

var benchConfig = Config{View: "t", Columns: []tuple.Column{{Name: "a", Type: tuple.Text}}}

var (
	benchRow   = make([]byte, 450)
	benchSlabs = map[int]*tuple.Batch{}
)

// benchBatch returns rows with consecutive arrival numbers, always in the
// same memory.
func benchBatch(first, n int) *tuple.Batch {
	b := benchSlabs[n]
	if b == nil {
		b = new(tuple.Batch)
		for range n {
			b.Append(0, benchRow)
		}
		benchSlabs[n] = b
	}
	for i := range b.Rows {
		b.Rows[i].Seq = int64(first + i)
	}
	return b
}

// cost sums up time between start and stop.
type cost struct {
	running         bool
	wall, cpu       time.Duration
	started         time.Time
	startedCPU      time.Duration
	mallocs, malloc uint64
}

func (c *cost) start() {
	c.running = true
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	c.malloc = m.Mallocs
	c.started, c.startedCPU = time.Now(), cpuTime()
}

func (c *cost) stop() bool {
	if !c.running {
		return false
	}
	c.running = false
	c.wall += time.Since(c.started)
	c.cpu += cpuTime() - c.startedCPU
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	c.mallocs += m.Mallocs - c.malloc
	return true
}

func (c *cost) report(b *testing.B, rows int) {
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(0, "B/op")
	b.ReportMetric(0, "allocs/op")
	b.ReportMetric(float64(c.wall)/float64(rows), "ns/row")
	b.ReportMetric(float64(c.cpu)/float64(rows), "cpu-ns/row")
	b.ReportMetric(float64(c.mallocs)/float64(rows), "mallocs/row")
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func heapBytes() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
