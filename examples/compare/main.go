// Command compare measures ways to write the catalogue of a scan, on the same
// rows, one after another:
//
//	go run ./examples/compare                             # SQLite in a temporary directory
//	go run ./examples/compare -db postgres://u@host/d -rows 1000,10000,200000 -out chart
//
// Each way writes new rows, then the same ones again (re-scan), then all of them
// with another size (changed). The time that the program is held up in adding and
// the time until the last row is durable are measured apart. It prints a table
// and writes chart.json, chart.csv, chart.svg and chart.png. In a server it works
// in a schema of its own, which it drops.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/memdbwriter/memdbwriter"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "compare:", err)
		os.Exit(1)
	}
}

// result is one way with one number of rows.
type result struct {
	Way     string        `json:"way"`
	Variant string        `json:"variant"`
	Rows    int           `json:"rows"`
	Add     time.Duration `json:"add_ns"`   // the program was held up
	Drain   time.Duration `json:"drain_ns"` // from then until the last row was durable
}

func (r result) rate() float64 { return float64(r.Rows) / (r.Add + r.Drain).Seconds() }

// variants are what is written, in this order.
var variants = []string{"new", "rescan", "changed"}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	f := flag.NewFlagSet("compare", flag.ContinueOnError)
	f.SetOutput(stderr)
	url := f.String("db", "", "`URL` of a database: postgres://, opengauss:// or sqlite:file.db (default: SQLite in a temporary directory)")
	sizes := f.String("rows", "1000,10000", "`numbers` of rows, each from 1,000 to 200,000")
	single := f.Int("single", 2000, "single rows are written up to this `number` only, as they take long")
	names := f.String("ways", "", "`names` of the ways to measure (default: all)")
	out := f.String("out", "", "write `NAME`.json, NAME.csv, NAME.svg and NAME.png")
	quiet := f.Bool("quiet", false, "show no progress")
	if err := f.Parse(args); err != nil {
		return err
	}
	counts, err := parseSizes(*sizes)
	if err != nil {
		return err
	}
	place, err := open(ctx, *url)
	if err != nil {
		return err
	}
	results, err := measureAll(ctx, place, counts, *single, *names, func(format string, args ...any) {
		if !*quiet {
			fmt.Fprintf(stderr, format+"\n", args...)
		}
	})
	if err = errors.Join(err, place.close(context.WithoutCancel(ctx))); err != nil {
		return err
	}
	table(stdout, place.name, results)
	if *out == "" {
		return nil
	}
	return write(*out, place.name, results)
}

func parseSizes(text string) (sizes []int, err error) {
	for part := range strings.SplitSeq(text, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(part))
		if err != nil || n < 1000 || n > 200_000 {
			return nil, fmt.Errorf("-rows %s: must be numbers from 1000 to 200000", part)
		}
		sizes = append(sizes, n)
	}
	return sizes, nil
}

func measureAll(ctx context.Context, p *place, counts []int, single int, names string, tell func(string, ...any)) (results []result, err error) {
	for _, n := range counts {
		for i, w := range p.ways {
			if names != "" && !slices.Contains(strings.Split(names, ","), w.name) || w.name == singleRows && n > single {
				continue
			}
			name := fmt.Sprintf("compare_%d_%d", n, i)
			for _, variant := range variants {
				r := result{Way: w.name, Variant: variant, Rows: n}
				if r.Add, r.Drain, err = w.write(ctx, p, name, files(n, variant)); err != nil {
					return results, fmt.Errorf("%s, %s, %d rows: %w", w.name, variant, n, err)
				}
				if err := p.check(ctx, name, n, variant); err != nil {
					return results, fmt.Errorf("%s, %s: %w", w.name, variant, err)
				}
				results = append(results, r)
				tell("%-22s %-8s %7d rows: %10.0f rows/s", r.Way, r.Variant, r.Rows, r.rate())
			}
		}
	}
	return results, nil
}

var scanned = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// files are the rows of a scan, 200 files in a directory.
func files(n int, variant string) []memdbwriter.FileInfo {
	rows := make([]memdbwriter.FileInfo, n)
	for i := range rows {
		dir := fmt.Sprintf("/srv/archive/2026/project-%04d", i/200)
		name := fmt.Sprintf("measurement-%06d.dat", i)
		rows[i] = memdbwriter.FileInfo{
			Path: dir + "/" + name, Name: name, Directory: dir, Size: sizeOf(i, variant), Permissions: "644", Owner: "backup", Group: "backup",
			ModifiedTime: scanned, BackupTime: scanned,
		}
	}
	return rows
}

func sizeOf(i int, variant string) int64 {
	size := int64(1024 + i%1000)
	if variant == "changed" {
		size += 5000
	}
	return size
}

// table prints the results, each beside the first of its variant and size.
func table(out io.Writer, place string, results []result) {
	fmt.Fprintf(out, "%s\n\n%-22s %-8s %8s %10s %10s %12s %8s\n", place, "way", "variant", "rows", "add", "drain", "rows/s", "times")
	first := map[string]float64{}
	for _, r := range results {
		key := fmt.Sprint(r.Variant, r.Rows)
		first[key] = cmp.Or(first[key], r.rate())
		fmt.Fprintf(out, "%-22s %-8s %8d %10s %10s %12.0f %8.1f\n", r.Way, r.Variant, r.Rows,
			r.Add.Round(100*time.Microsecond), r.Drain.Round(100*time.Microsecond), r.rate(), r.rate()/first[key])
	}
}
