package journal_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/memdbwriter/memdbwriter/internal/journal"
	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

const (
	benchRow   = 450
	benchBlock = 256 << 10
)

// benchBlockOf is 256 KiB of rows of 450 bytes.
func benchBlockOf(from int64) *tuple.Batch {
	t := binary.BigEndian.AppendUint16(nil, 2)
	t = append(binary.BigEndian.AppendUint32(t, 8), make([]byte, 8)...)
	t = binary.BigEndian.AppendUint32(t, benchRow-18)
	t = append(t, bytes.Repeat([]byte{'x'}, benchRow-18)...)
	b := &tuple.Batch{}
	for n := range int64(benchBlock / benchRow) {
		b.Append(from+n, t)
	}
	return b
}

func renumber(b *tuple.Batch, from int64) {
	for i := range b.Rows {
		b.Rows[i].Seq = from + int64(i)
	}
}

func report(b *testing.B, rows int64) {
	b.ReportMetric(float64(rows)/b.Elapsed().Seconds(), "rows/s")
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(rows), "ns/row")
}

// The levels side by side: a block appended; appended and made durable each
// time; appended, with one wait for durability every 16 blocks.
func BenchmarkAppend(b *testing.B) {
	for _, level := range []struct {
		name  string
		every int // 0: never
	}{{"append", 0}, {"fsync", 1}, {"fsync every 16", 16}} {
		b.Run(level.name, func(b *testing.B) {
			cfg := config(nil)
			cfg.Dir = b.TempDir()
			w := open(b, cfg)
			block := benchBlockOf(1)
			next := int64(1)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				renumber(block, next)
				must(b, w.Append(block))
				if level.every > 0 && i%level.every == 0 {
					must(b, w.Sync(ctx))
				}
				next += int64(block.Len())
				if i%256 == 255 { // as a destination that keeps up would
					must(b, w.Settle(next-1, nil))
				}
			}
			report(b, next-1)
			must(b, w.Settle(next-1, nil))
			must(b, w.Close())
		})
	}
}

func BenchmarkRecover(b *testing.B) {
	cfg := config(nil)
	cfg.Dir = b.TempDir()
	w := open(b, cfg)
	block := benchBlockOf(1)
	next := int64(1)
	for range 400 {
		renumber(block, next)
		must(b, w.Append(block))
		next += int64(block.Len())
	}
	must(b, w.Close())
	b.ReportAllocs()
	var n int64
	for b.Loop() {
		rec, err := journal.Scan(cfg)
		must(b, err)
		must(b, rec.Replay(journal.Visitor{Rows: func(*tuple.Batch) error { return nil }}))
		n += rec.Rows
	}
	report(b, n)
	if n == 0 {
		b.Fatal(fmt.Errorf("nothing was recovered"))
	}
}
