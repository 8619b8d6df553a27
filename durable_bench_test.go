package memdbwriter

import (
	"context"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/memdbwriter/memdbwriter/internal/journal/faultfs"
)

// What durability costs: the throughput at each level on the rows of the
// throughput benchmark, also with a slow disk, Add while a checkpoint is made, and
// how fast rows come back.
//
//	go test -run '^$' -bench 'Durability|SlowFsync|DuringCheckpoint|Recovery' -benchtime 1x -count 5 .
//
// Levels are compared within one round, in which each has its turn.

var allLevels = []Durability{DurabilityNone, DurabilityJournal, DurabilityFsync}

// BenchmarkDurability writes the catalogue, all of its keys new.
func BenchmarkDurability(b *testing.B) {
	rows := workloads[0].rows()
	for _, level := range allLevels {
		b.Run(string(level), func(b *testing.B) {
			var wall, cpu time.Duration
			for range b.N {
				db, pool := benchTable(b, false)
				cfg := Config{Durability: level, CheckpointDir: b.TempDir()}
				w, err := New(context.Background(), BackupFiles(benchSet), Postgres(pool), cfg)
				if err != nil {
					b.Fatal(err)
				}
				runtime.GC()
				cpu0, start := processCPU(b), time.Now()
				addAll(b, w, rows)
				wall += time.Since(start)
				cpu += processCPU(b) - cpu0
				mustStop[FileInfo](b, w)
				db.Exec(b, "DROP TABLE "+benchTableName)
			}
			n := float64(b.N * len(rows))
			b.ReportMetric(n/wall.Seconds(), "rows/s")
			b.ReportMetric(float64(cpu.Nanoseconds())/n, "cpu-ns/row")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// BenchmarkSlowFsync writes the catalogue while every fsync takes so much longer. In
// each round every level has its turn, and is compared with none in that round.
func BenchmarkSlowFsync(b *testing.B) {
	rows := workloads[0].rows()
	for _, delay := range []time.Duration{0, 20 * time.Millisecond, 100 * time.Millisecond} {
		b.Run(delay.String(), func(b *testing.B) {
			wall, fsyncs := map[Durability]time.Duration{}, map[Durability]int64{}
			for range b.N {
				for _, level := range allLevels {
					db, pool := benchTable(b, false)
					cfg := Config{Durability: level, CheckpointDir: b.TempDir(), fs: hookFS{before: func(op faultfs.Op, _ string) error {
						if op == faultfs.Sync {
							time.Sleep(delay)
						}
						return nil
					}}}
					w, err := New(context.Background(), BackupFiles(benchSet), Postgres(pool), cfg)
					if err != nil {
						b.Fatal(err)
					}
					runtime.GC()
					start := time.Now()
					addAll(b, w, rows)
					wall[level] += time.Since(start)
					fsyncs[level] += w.Stats().JournalFsyncs
					mustStop[FileInfo](b, w)
					db.Exec(b, "DROP TABLE "+benchTableName)
				}
			}
			for _, level := range levels {
				b.ReportMetric(wall[DurabilityNone].Seconds()/wall[level].Seconds(), string(level)+"/none")
				b.ReportMetric(float64(fsyncs[level])/float64(b.N), string(level)+"-fsyncs")
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}

// hoard makes a writer that keeps all its rows, and gives it n.
func hoard(b *testing.B, cfg Config, n int) *MemoryDBWriter[FileInfo] {
	b.Helper()
	cfg.SyncBatchSize, cfg.SyncInterval, cfg.MaxRows, cfg.CheckpointInterval = 1_000_000, time.Hour, 1<<30, -1
	cfg.RetryMaxDelay = time.Hour
	w := newTestWriter(b, awaySink{}, cfg) // 4 MiB of rows start a run
	for i := range n {
		if err := w.Add(context.Background(), benchFile(i, 0)); err != nil {
			b.Fatal(err)
		}
	}
	if _, err := w.engine.stager.flush(context.Background()); err != nil {
		b.Fatal(err)
	}
	return w
}

const hoarded = 400_000

// BenchmarkAddDuringCheckpoint adds 20,000 rows a second to a buffer that holds
// many: first by itself, then while one checkpoint after another is made.
func BenchmarkAddDuringCheckpoint(b *testing.B) {
	for _, level := range levels {
		b.Run(string(level), func(b *testing.B) {
			for range b.N {
				w := hoard(b, Config{Durability: level, CheckpointDir: b.TempDir()}, hoarded)
				next := hoarded
				report(b, "alone", addFor(b, w, &next, 3*time.Second))
				ctx, cancel := context.WithCancel(context.Background())
				var dumping sync.WaitGroup
				dumping.Go(func() {
					for ctx.Err() == nil {
						if _, err := w.Checkpoint(ctx); err != nil && ctx.Err() == nil {
							b.Error(err)
						}
					}
				})
				report(b, "dump", addFor(b, w, &next, 5*time.Second))
				cancel()
				dumping.Wait()
				b.ReportMetric(float64(w.Stats().Checkpoints), "checkpoints")
				abandon[FileInfo](w)
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}

// BenchmarkRecovery leaves rows in the journal and brings them back.
func BenchmarkRecovery(b *testing.B) {
	for _, level := range levels {
		b.Run(string(level), func(b *testing.B) {
			var restored time.Duration
			for range b.N {
				cfg := Config{Durability: level, CheckpointDir: b.TempDir()}
				w := hoard(b, cfg, hoarded)
				if err := w.Persist(context.Background()); err != nil {
					b.Fatal(err)
				}
				cfg.CheckpointDir = copyDir(b, cfg.CheckpointDir)
				abandon[FileInfo](w)
				runtime.GC()
				start := time.Now()
				w = hoard(b, cfg, 0)
				restored += time.Since(start)
				if s := w.SyncStatus(); s.Recovered != hoarded {
					b.Fatalf("%+v", s)
				}
				abandon[FileInfo](w)
			}
			n := float64(b.N) * hoarded
			b.ReportMetric(n/restored.Seconds(), "restored-rows/s")
			b.ReportMetric(0, "ns/op")
		})
	}
}
