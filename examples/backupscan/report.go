package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/dustin/go-humanize"

	"github.com/memdbwriter/memdbwriter"
	"github.com/memdbwriter/memdbwriter/examples/backupscan/internal/catalog"
	"github.com/memdbwriter/memdbwriter/examples/backupscan/internal/walk"
)

// command is one that writes nothing. It returns an exit code.
type command func(ctx context.Context, q *query, stdout io.Writer) (int, error)

var reports = map[string]command{"verify": verify, "list": listFiles, "du": diskUsage}

// query is what a report is about.
type query struct {
	options
	format  string
	depth   int
	catalog *catalog.Catalog
}

// report runs a command that reads the catalogue only.
func report(ctx context.Context, run command, args []string, stdout, stderr io.Writer) int {
	q, err := parseQuery(args, stdout)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return exitOK
	case err != nil:
		say(stderr, err)
		return exitUsage
	}
	code, err := q.run(ctx, run, stdout, stderr)
	if err != nil {
		say(stderr, err)
		return max(code, exitFailed)
	}
	return code
}

func parseQuery(args []string, stdout io.Writer) (*query, error) {
	q := &query{}
	f := flag.NewFlagSet("backupscan "+args[0], flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.StringVar(&q.url, "db", "", "the catalogue's `URL`, which others see in the list of processes (default: MEMORY_DB_DATABASE_URL, as for a scan)")
	f.Int64Var(&q.set, "set", 1, "backup set `number`")
	f.StringVar(&q.format, "format", "text", "`text`, json (an object a line) or csv")
	f.IntVar(&q.depth, "depth", 1, "du: `levels` below the roots of the set")
	f.Func("exclude", "verify: the `pattern` of the scan; may be repeated", list(&q.exclude))
	f.BoolVar(&q.oneFS, "x", false, "verify: stay on the file systems of the given directories")
	f.BoolVar(&q.pseudo, "pseudo", false, "verify: enter file systems that hold no files")
	f.Usage = func() {}
	switch err := f.Parse(args[1:]); {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprintf(stdout, "usage: backupscan %s [flags] [DIR...]\n\nReads the catalogue and changes nothing. verify ends with 3 if catalogue and tree differ.\n\n", args[0])
		f.SetOutput(stdout)
		f.PrintDefaults()
		return nil, err
	case err != nil:
		return nil, fmt.Errorf("%w (see backupscan %s -h)", err, args[0])
	case q.set < 1 || q.set > math.MaxInt32:
		return nil, fmt.Errorf("-set %d: must be from 1 to %d", q.set, math.MaxInt32)
	case !slices.Contains([]string{"text", "json", "csv"}, q.format):
		return nil, fmt.Errorf("-format %s: must be text, json or csv", q.format)
	case args[0] == "verify" && f.NArg() == 0:
		return nil, errors.New("no directory to compare with: name them behind the flags of backupscan verify")
	}
	q.dirs = f.Args()
	return q, nil
}

func (q *query) run(ctx context.Context, run command, stdout, stderr io.Writer) (code int, err error) {
	cfg, err := q.readSettings()
	if err != nil {
		return exitUsage, err
	}
	dest, err := memdbwriter.OpenDestination(ctx, cfg.url)
	if err != nil {
		return exitUsage, err
	}
	file, isFile := strings.CutPrefix(dest.String(), "sqlite:")
	if !isFile {
		file = ""
	}
	if err := dest.Close(); err != nil {
		return exitFailed, err
	}
	q.catalog, err = catalog.OpenToRead(ctx, catalog.Options{URL: cfg.url, File: file, Log: slog.New(newLogHandler(stderr, false))})
	if err != nil {
		return exitFailed, err
	}
	defer func() { err = errors.Join(err, q.catalog.Close()) }()
	out := bufio.NewWriter(stdout)
	code, err = run(ctx, q, out)
	return code, errors.Join(err, out.Flush())
}

// rows calls each for every row of the set below the directories of the query.
func (q *query) rows(ctx context.Context, each func(*catalog.Row) error) error {
	var failed error
	dirs := pathSet(q.dirs)
	started := false
	err := q.catalog.Rows(ctx, q.set, func() {
		if started {
			failed = errors.New("the catalogue went away while it was read")
		}
		started = true
	}, func(r *catalog.Row) {
		if failed == nil && (len(dirs) == 0 || below(r.Path, dirs)) {
			failed = each(r)
		}
	})
	return errors.Join(err, failed)
}

// listed is a row as list prints it.
type listed struct {
	Path     string `json:"path"`
	Type     string `json:"type"`
	Size     int64  `json:"size"`
	Mode     string `json:"mode,omitempty"`
	Owner    string `json:"owner,omitempty"`
	Group    string `json:"group,omitempty"`
	Modified string `json:"modified,omitempty"`
	Metadata string `json:"metadata,omitempty"`
	OnTape   bool   `json:"on_tape"`
}

func listFiles(ctx context.Context, q *query, out io.Writer) (int, error) {
	write, flush := q.writer(out, "path", "type", "size", "mode", "owner", "group", "modified", "metadata", "on_tape")
	err := q.rows(ctx, func(r *catalog.Row) error {
		l := listed{r.Path, r.Type, r.Size, r.Permissions, r.Owner, r.Group, r.Modified, r.Metadata, r.Copied}
		return write(l, []string{l.Path, l.Type, strconv.FormatInt(l.Size, 10), l.Mode, l.Owner, l.Group, l.Modified, l.Metadata, strconv.FormatBool(l.OnTape)},
			func() string {
				return fmt.Sprintf("%-9s %s %-8s %-8s %12d %-19.19s %s", l.Type, l.Mode, l.Owner, l.Group, l.Size, l.Modified, printable(l.Path))
			})
	})
	return exitOK, errors.Join(err, flush())
}

// writer returns how to write an item in the format of the query.
func (q *query) writer(out io.Writer, header ...string) (write func(item any, fields []string, text func() string) error, flush func() error) {
	switch q.format {
	case "json":
		enc := json.NewEncoder(out)
		enc.SetEscapeHTML(false)
		return func(item any, _ []string, _ func() string) error { return enc.Encode(item) }, func() error { return nil }
	case "csv":
		w := csv.NewWriter(out)
		headed := w.Write(header)
		return func(_ any, fields []string, _ func() string) error { return errors.Join(headed, w.Write(fields)) },
			func() error { w.Flush(); return w.Error() }
	}
	return func(_ any, _ []string, text func() string) error {
		_, err := fmt.Fprintln(out, text())
		return err
	}, func() error { return nil }
}

// usageOf is a directory as du prints it.
type usageOf struct {
	Path  string `json:"path"`
	Files int64  `json:"files"`
	Bytes int64  `json:"bytes"`
}

// diskUsage sums up the files below directories, those with several names once.
func diskUsage(ctx context.Context, q *query, out io.Writer) (int, error) {
	totals := make(map[string]*usageOf)
	links := make(map[string]bool)
	err := q.rows(ctx, func(r *catalog.Row) error {
		if r.Type != "file" {
			return nil
		}
		size := r.Size
		var m metadata
		if r.Metadata != "" && json.Unmarshal([]byte(r.Metadata), &m) == nil && m.Hardlink != "" {
			if links[m.Hardlink] {
				size = 0
			}
			links[m.Hardlink] = true
		}
		for dir := range above(r.Path) {
			if dir == r.Path || strings.Count(strings.TrimSuffix(dir, "/"), "/") > q.depth {
				continue
			}
			u := totals[dir]
			if u == nil {
				u = &usageOf{Path: dir}
				totals[dir] = u
			}
			u.Files++
			u.Bytes += size
		}
		return nil
	})
	write, flush := q.writer(out, "path", "files", "bytes")
	var all []*usageOf
	for _, u := range totals {
		all = append(all, u)
	}
	slices.SortFunc(all, func(a, b *usageOf) int { return cmp.Compare(a.Path, b.Path) })
	for _, u := range all {
		err = errors.Join(err, write(u, []string{u.Path, strconv.FormatInt(u.Files, 10), strconv.FormatInt(u.Bytes, 10)}, func() string {
			return fmt.Sprintf("%10s %12s  %s", humanize.IBytes(uint64(u.Bytes)), humanize.Comma(u.Files), printable(u.Path))
		}))
	}
	return exitOK, errors.Join(err, flush())
}

// difference is one between catalogue and tree.
type difference struct {
	Kind string `json:"difference"` // missing: not in the catalogue; changed; gone: not in the tree; unreadable
	Path string `json:"path"`
}

// verify compares the catalogue with the tree.
func verify(ctx context.Context, q *query, out io.Writer) (int, error) {
	roots, err := walk.Roots(q.dirs)
	if err != nil {
		return exitUsage, err
	}
	var k known
	if err := q.catalog.Rows(ctx, q.set, k.reset, k.add); err != nil {
		return exitFailed, err
	}
	k.sort()
	w := walk.Walker{OneFileSystem: q.oneFS, Pseudo: q.pseudo}
	if w.Exclude, err = walk.NewExclude(q.exclude); err != nil {
		return exitUsage, err
	}
	found := make(chan difference, 100)
	ended := make(chan error, 1)
	go func() {
		defer close(found)
		_, err := w.Walk(ctx, roots, func(ctx context.Context, e *walk.Entry) error { return compare(ctx, &k, e, found) })
		ended <- err
	}()
	write, flush := q.writer(out, "difference", "path")
	n := 0
	put := func(d difference) {
		n++
		err = errors.Join(err, write(d, []string{d.Kind, d.Path}, func() string { return fmt.Sprintf("%-10s %s", d.Kind, printable(d.Path)) }))
	}
	for d := range found {
		put(d)
	}
	if walkErr := <-ended; walkErr != nil {
		return exitFailed, errors.Join(err, walkErr, flush())
	}
	within := pathSet(roots)
	err = errors.Join(err, q.catalog.Rows(ctx, q.set, func() {}, func(r *catalog.Row) {
		if !r.Copied && k.unmet(r.Path) && below(r.Path, within) {
			put(difference{"gone", r.Path})
		}
	}), flush())
	if n > 0 {
		return exitErrors, err
	}
	return exitOK, err
}

func compare(ctx context.Context, k *known, e *walk.Entry, found chan<- difference) error {
	path := stored(e.Path)
	value, there := k.meet(path)
	f := row(e)
	d := difference{Path: path}
	switch {
	case e.Err != nil:
		d.Kind = "unreadable"
	case !there:
		d.Kind = "missing"
	case value != copied && value != valueOf(facts(&f)):
		d.Kind = "changed"
	default:
		return nil
	}
	select {
	case found <- d:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
