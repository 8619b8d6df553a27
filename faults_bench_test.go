package memdbwriter

import (
	"flag"
	"slices"
	"testing"
	"time"

	"github.com/memdbwriter/memdbwriter/internal/pgtest"
)

var frozenFor = flag.Duration("frozen.for", 5*time.Second, "how long BenchmarkAddWhileFrozen freezes the server")

// BenchmarkAddWhileFrozen measures Add while the server takes rows, and while
// it stands still in the middle of them. As long as the buffer has room the two
// must not differ, and nobody waits.
//
//	go test -run '^$' -bench AddWhileFrozen -benchtime 1x -frozen.for 60s .
func BenchmarkAddWhileFrozen(b *testing.B) {
	for b.Loop() {
		server := pgtest.Start(b)
		db := server.Open(b)
		d, err := OpenDestination(b.Context(), db.URL)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { d.Close() })
		w := openWriter(b, BackupFiles(benchSet, CreateTable()), d, Config{MaxRows: 5_000_000})
		b.Cleanup(server.Thaw)
		next := 0
		report(b, "running", addFor(b, w, &next, *frozenFor))
		server.Freeze()
		report(b, "frozen", addFor(b, w, &next, *frozenFor))
		s := w.Stats()
		b.ReportMetric(float64(s.Waits), "waits")
		if s.Waits > 0 {
			b.Errorf("%d Adds waited before the buffer was full", s.Waits)
		}
		server.Thaw()
	}
}

// addFor adds 20,000 rows a second, in bursts of 20, and returns how long each
// Add took.
func addFor(b *testing.B, w Writer[FileInfo], next *int, d time.Duration) []time.Duration {
	b.Helper()
	took := make([]time.Duration, 0, 20_000*int(d/time.Second+1))
	burst := time.NewTicker(time.Millisecond)
	defer burst.Stop()
	for begin := time.Now(); time.Since(begin) < d; <-burst.C {
		for range 20 {
			row := benchFile(*next, 0)
			*next++
			start := time.Now()
			err := w.Add(b.Context(), row)
			took = append(took, time.Since(start))
			if err != nil {
				b.Fatal(err)
			}
		}
	}
	slices.Sort(took)
	return took
}

// report reports the quantiles of sorted durations.
func report(b *testing.B, what string, took []time.Duration) {
	b.Helper()
	for name, q := range map[string]float64{"p50": 0.5, "p99": 0.99, "p99.9": 0.999, "max": 1} {
		i := min(int(q*float64(len(took))), len(took)-1)
		b.ReportMetric(float64(took[i].Nanoseconds()), what+"-"+name+"-ns")
	}
	b.ReportMetric(float64(len(took)), what+"-rows")
}
