package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"path/filepath"
	"strings"
	"time"

	"github.com/memdbwriter/memdbwriter/examples/backupscan/internal/walk"
)

// options are the command line.
type options struct {
	dirs        []string
	url         string // empty: from the environment
	set         int64
	exclude     []string
	excludeFrom []string
	accept      []string
	oneFS       bool
	pseudo      bool
	create      bool
	removeMany  bool
	wait        time.Duration
	stats       int
	http        string // address of the page; empty: none
	httpActions bool
	quiet       bool
	verbose     bool

	hurry context.Context             // ends with the second interrupt
	entry func(path string)           // test seam, called before an entry is stored; nil in production
	fault func(op, path string) error // test seam, see walk.Walker
}

func list(to *[]string) func(string) error {
	return func(value string) error {
		*to = append(*to, value)
		return nil
	}
}

func parse(args []string, stdout io.Writer) (*options, error) {
	o := &options{hurry: context.Background(), fault: faultOfProcess}
	f := flag.NewFlagSet("backupscan", flag.ContinueOnError)
	f.SetOutput(io.Discard) // run reports the error, once
	f.StringVar(&o.url, "db", "", "destination `URL`: postgres://user@host/database or sqlite:file.db. Others see it in the list of\n"+
		"processes: give a password by MEMORY_DB_DATABASE_URL, which is the default; without that it is "+defaultURL)
	f.BoolVar(&o.create, "create", false, "make the tables in a database that has none of them; always done for "+defaultURL)
	f.Int64Var(&o.set, "set", 1, "backup set `number`")
	f.Func("exclude", "leave out what this `pattern` matches; may be repeated. It is compared with the full path,\n"+
		"* matches slashes too, one without a slash in front counts at any depth, one with a slash at\n"+
		"its end for directories only, and below a directory that matches everything is left out:\n"+
		"node_modules/, '*.tmp', '/srv/cache/*'", list(&o.exclude))
	f.Func("exclude-from", "leave out what the patterns in this `file` match, one a line; # begins a comment; may be repeated", list(&o.excludeFrom))
	f.BoolVar(&o.oneFS, "x", false, "stay on the file systems of the given directories")
	f.BoolVar(&o.pseudo, "pseudo", false, "enter file systems that hold no files, as /proc and /sys")
	f.Func("accept", "believe what is at this `directory` now: a replaced disk, an emptied share; may be repeated", list(&o.accept))
	f.BoolVar(&o.removeMany, "remove-many", false, "remove what is gone, even if it is more than a tenth of the set and more than 1,000 rows")
	f.DurationVar(&o.wait, "wait", 0, "how `long` to wait for another scan of the set to end")
	f.IntVar(&o.stats, "stats", walk.DefaultStats, "`number` of files looked at concurrently; more help on slow network file systems")
	f.StringVar(&o.http, "http", "", "serve a page that shows the write buffer at this `address` as long as the scan takes:\n"+
		"localhost:8080. Who reaches the address sees the names of files")
	f.BoolVar(&o.httpActions, "http-actions", false, "let that page have rejected rows tried again or discarded")
	f.BoolVar(&o.quiet, "quiet", false, "show no progress")
	f.BoolVar(&o.verbose, "v", false, "log what the writer does")
	f.Usage = func() {}
	switch err := f.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		usage(f, stdout)
		return nil, err
	case err != nil:
		return nil, fmt.Errorf("%w (see backupscan -h)", err)
	}
	o.dirs = f.Args()
	return o, o.check()
}

func usage(f *flag.FlagSet, out io.Writer) {
	fmt.Fprint(out, `usage: backupscan [flags] DIR...       scan directories into the catalogue
       backupscan verify [flags] DIR...  compare the catalogue with directories, write nothing
       backupscan list [flags]           print the files of a set
       backupscan du [flags] [DIR...]    print what directories of a set hold

Records every file, directory and symbolic link below the directories in the backup catalogue.

examples:
  backupscan /home /srv
  backupscan -set 7 -x -exclude '*/node_modules' -exclude '*.tmp' /srv
  MEMORY_DB_DATABASE_URL=postgres://backup@db/catalog backupscan -create /srv

flags:
`)
	f.SetOutput(out)
	f.PrintDefaults()
	fmt.Fprint(out, `
The MEMORY_DB_... settings of the write buffer are read from the environment and from a file .env.

exit codes: 0 the catalogue has what the tree has; 1 the scan failed; 2 wrong usage; 3 completed, but
something could not be read or stored, or was kept because it only may be gone; 4 nothing was removed,
as it would be too much without -remove-many; 5 another scan has the set; 128 and the number of a signal.
`)
}

func (o *options) check() error {
	switch {
	case len(o.dirs) == 0:
		return errors.New("no directory to scan: usage: backupscan [flags] DIR... (see backupscan -h)")
	case o.set < 1 || o.set > math.MaxInt32:
		return fmt.Errorf("-set %d: must be from 1 to %d", o.set, math.MaxInt32)
	case o.stats < 1 || o.stats > 4096:
		return fmt.Errorf("-stats %d: must be from 1 to 4096", o.stats)
	case o.httpActions && o.http == "":
		return errors.New("-http-actions: needs -http")
	case o.wait < 0:
		return fmt.Errorf("-wait %v: must not be negative", o.wait)
	}
	for _, dir := range o.dirs {
		if strings.HasPrefix(dir, "-") {
			return fmt.Errorf("%s: flags come before the directories; write ./%s for a directory of that name", dir, dir)
		}
	}
	return o.resolve()
}

// resolve makes absolute paths of those that the flags name.
func (o *options) resolve() error {
	for i, dir := range o.accept {
		abs, err := filepath.Abs(dir)
		if err != nil {
			return fmt.Errorf("-accept %s: %w", dir, err)
		}
		if real, err := filepath.EvalSymlinks(abs); err == nil { // it may be gone
			abs = real
		}
		o.accept[i] = abs
	}
	return nil
}

// faultOfProcess is set by tests that run the program as a process.
var faultOfProcess func(op, path string) error
