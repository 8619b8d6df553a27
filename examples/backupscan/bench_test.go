package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/memdbwriter/memdbwriter/examples/backupscan/internal/walk"
	"github.com/memdbwriter/memdbwriter/internal/pgtest"
)

// BenchmarkScan compares, round after round in one run, a scan with a bare
// concurrent walk of the same tree by the same calls, with find, and with gdu
// where it is installed:
//
//	go test -run '^$' -bench Scan -benchtime 5x ./examples/backupscan
//
// BACKUPSCAN_BENCH_TREE names a tree, else one of 30,000 entries is made. The
// figures are entries per second, and shares of the bare walk.
func BenchmarkScan(b *testing.B) {
	settle(b)
	dir := os.Getenv("BACKUPSCAN_BENCH_TREE")
	if dir == "" {
		dir = benchTree(b)
	}
	db := pgtest.Open(b)
	file := filepath.Join(realDir(b), "catalog.db")
	sqlite := place{url: "sqlite://" + file, sqlite: file}
	postgres := place{url: db.URL, db: db}
	entries := bare(b, dir) // which warms the cache
	took := make(map[string]time.Duration)
	measure := func(name string, f func()) {
		began := time.Now()
		f()
		took[name] += time.Since(began)
	}
	for b.Loop() {
		measure("bare", func() { bare(b, dir) })
		for name, p := range map[string]place{"sqlite": sqlite, "postgres": postgres} {
			measure(name+"-new", func() { scanned(b, p, dir).want(b, exitOK) })
			measure(name+"-unchanged", func() { scanned(b, p, dir).want(b, exitOK) })
			p.exec(b, "DELETE FROM backup_files")
		}
		for _, command := range [][]string{
			{"find", dir, "-printf", `%p %s %m %U %G %T@ %A@ %C@\n`},
			{"gdu", "--non-interactive", "--no-progress", "--db", filepath.Join(b.TempDir(), "gdu.sqlite"), dir},
		} {
			if path, err := exec.LookPath(command[0]); err == nil {
				measure(command[0], func() { check(b, exec.Command(path, command[1:]...).Run()) })
			}
		}
	}
	b.ReportMetric(0, "ns/op")
	for name, t := range took {
		b.ReportMetric(float64(entries)*float64(b.N)/t.Seconds(), name+"-entries/s")
		if name != "bare" {
			b.ReportMetric(took["bare"].Seconds()/t.Seconds(), name+"/bare")
		}
	}
}

// BenchmarkSlowStat adds 5 ms to each look at a file, as a distant file system
// does: the rate grows with the workers until the processor is the limit.
func BenchmarkSlowStat(b *testing.B) {
	dir := benchTree(b)
	for _, workers := range []int{8, 32, 128, 512} {
		b.Run(fmt.Sprint(workers), func(b *testing.B) {
			var entries int64
			for b.Loop() {
				w := walk.Walker{Stats: workers, Fault: func(op, _ string) error {
					if op == "lstat" {
						time.Sleep(5 * time.Millisecond)
					}
					return nil
				}}
				_, err := w.Walk(b.Context(), []string{dir}, func(context.Context, *walk.Entry) error { return nil })
				check(b, err)
				entries += w.Counts.Entries()
			}
			b.ReportMetric(float64(entries)/b.Elapsed().Seconds(), "entries/s")
		})
	}
}

// bare is a walk of which nothing is kept. It returns the number of entries.
func bare(b *testing.B, dir string) int64 {
	b.Helper()
	var w walk.Walker
	_, err := w.Walk(b.Context(), []string{dir}, func(context.Context, *walk.Entry) error { return nil })
	check(b, err)
	return w.Counts.Entries()
}

// benchTree is a tree of 30,000 entries, ten files in a directory.
func benchTree(b *testing.B) string {
	b.Helper()
	dir := realDir(b)
	for i := range 30 {
		for j := range 91 {
			sub := filepath.Join(dir, fmt.Sprint("directory-", i), fmt.Sprint("sub-", j))
			check(b, os.MkdirAll(sub, 0o755))
			for k := range 10 {
				check(b, os.WriteFile(filepath.Join(sub, fmt.Sprintf("file-number-%d.txt", k)), nil, 0o644))
			}
		}
	}
	return dir
}
