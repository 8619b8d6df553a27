package memdbwriter

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
)

// BenchmarkMemory moves bursts of 40 MiB in rows of several sizes through a warm
// writer whose destination takes everything at once. What it reports does not
// depend on what else the machine does: minor faults, which are pages of new memory
// that the kernel had to find and clear, a row, and that memory per byte of row.
//
//	go test -run '^$' -bench '^BenchmarkMemory$' -benchtime 5x .
func BenchmarkMemory(b *testing.B) {
	const burst = 40 << 20
	for _, size := range []int{450, 1 << 10, 10 << 10, 100 << 10} {
		b.Run(fmt.Sprintf("bytes=%d", size), func(b *testing.B) {
			ctx := context.Background()
			w := newTestWriter(b, nullSink{}, Config{MaxRows: 1 << 30})
			row := benchFile(0, 0)
			row.Path += strings.Repeat("x", size-450)
			rows := burst / size
			write := func() {
				for range rows {
					if err := w.Add(ctx, row); err != nil {
						b.Fatal(err)
					}
				}
				if err := w.ForceSync(ctx); err != nil {
					b.Fatal(err)
				}
			}
			write() // the memory of a burst is kept for the next one
			b.ReportAllocs()
			before := processFaults(b)
			for b.Loop() {
				write()
			}
			faults := float64(processFaults(b)-before) / float64(b.N*rows)
			b.ReportMetric(faults, "faults/row")
			b.ReportMetric(faults*float64(os.Getpagesize())/float64(size), "new-B/B")
			b.ReportMetric(0, "ns/op")
		})
	}
}
