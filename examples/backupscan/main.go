// Command backupscan records every file, directory and symbolic link below the
// given directories as a row of the backup catalogue.
//
//	go run ./examples/backupscan -set 7 -exclude '*/node_modules' /home /srv
//
// It shows what the write buffer is for: the walk never waits for the database,
// and yet a set is only called completed when its last row is durable. A scan
// of a set that is there already updates what changed and, at its end, removes
// what is gone; at no moment is the set empty or anything in it twice.
//
// After a complete walk the number of rows is that of
//
//	find DIR... \( -type f -o -type d -o -type l \) | wc -l
//
// as sockets, pipes and devices are counted only. Names that are not valid
// UTF-8 are stored in the form of memdbwriter.EscapePath.
//
// Exit codes: 0 everything is in the catalogue; 1 something is not, or could
// not be read; 2 wrong usage; 130 interrupted, what was found until then is
// in the catalogue.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/joho/godotenv"
	"golang.org/x/term"

	"github.com/memdbwriter/memdbwriter"
	"github.com/memdbwriter/memdbwriter/examples/backupscan/internal/catalog"
	"github.com/memdbwriter/memdbwriter/examples/backupscan/internal/progress"
	"github.com/memdbwriter/memdbwriter/examples/backupscan/internal/walk"
)

const (
	exitOK          = 0
	exitIncomplete  = 1
	exitUsage       = 2
	exitInterrupted = 130
)

const defaultURL = "sqlite:catalog.db"

func main() {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() { // for the life of the process
		<-signals
		cancel()
		<-signals
		fmt.Fprintln(os.Stderr, "backupscan: given up; what was waiting is not in the catalogue")
		os.Exit(exitInterrupted)
	}()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run is the program. The end of ctx is an interrupt by the user.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	o, err := parse(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return exitOK
	case err != nil:
		fmt.Fprintln(stderr, "backupscan:", err)
		return exitUsage
	}
	code, err := o.scan(ctx, stdout, stderr)
	if err != nil {
		fmt.Fprintln(stderr, "backupscan:", err)
	}
	return code
}

// options are the command line.
type options struct {
	dirs    []string
	url     string // empty: from the environment
	set     int64
	exclude []string
	stats   int
	quiet   bool
	verbose bool

	entry func(path string) // test seam, called before an entry is stored; nil in production
}

func parse(args []string, stderr io.Writer) (*options, error) {
	var o options
	f := flag.NewFlagSet("backupscan", flag.ContinueOnError)
	f.SetOutput(io.Discard) // run reports the error, once
	f.StringVar(&o.url, "db", "", "destination `URL`: postgres://user:password@host/database or sqlite:file.db\n"+
		"(default: MEMORY_DB_DATABASE_URL, else DATABASE_URL, else "+defaultURL+")")
	f.Int64Var(&o.set, "set", 1, "backup set `number`")
	f.Func("exclude", "leave out what this `pattern` matches; may be repeated. It is compared with the full path,\n"+
		"* matches slashes too, and below a directory that matches everything is left out:\n"+
		"'*/node_modules', '*.tmp', '/srv/cache/*'", func(p string) error {
		o.exclude = append(o.exclude, p)
		return nil
	})
	f.IntVar(&o.stats, "stats", walk.DefaultStats, "`number` of files looked at concurrently; more help on slow network file systems")
	f.BoolVar(&o.quiet, "quiet", false, "show no progress")
	f.BoolVar(&o.verbose, "v", false, "log what the writer does")
	f.Usage = func() {}
	switch err := f.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		usage(f, stderr)
		return nil, err
	case err != nil:
		return nil, fmt.Errorf("%w (see backupscan -h)", err)
	}
	o.dirs = f.Args()
	return &o, o.check()
}

func usage(f *flag.FlagSet, out io.Writer) {
	fmt.Fprint(out, "usage: backupscan [flags] DIR...\n\n"+
		"Records every file, directory and symbolic link below the directories in the backup catalogue.\n\n")
	f.SetOutput(out)
	f.PrintDefaults()
	fmt.Fprint(out, "\nThe MEMORY_DB_... settings of the write buffer are read from the environment and from .env.\n")
}

func (o *options) check() error {
	switch {
	case len(o.dirs) == 0:
		return errors.New("no directory to scan: usage: backupscan [flags] DIR... (see backupscan -h)")
	case o.set < 1 || o.set > math.MaxInt32:
		return fmt.Errorf("-set %d: must be from 1 to %d", o.set, math.MaxInt32)
	case o.stats < 1 || o.stats > 4096:
		return fmt.Errorf("-stats %d: must be from 1 to 4096", o.stats)
	}
	for _, dir := range o.dirs {
		if strings.HasPrefix(dir, "-") {
			return fmt.Errorf("%s: flags come before the directories; write ./%s for a directory of that name", dir, dir)
		}
	}
	return nil
}

// settings reads the environment and the .env file, if there is one.
func settings() (memdbwriter.Config, error) {
	values, err := godotenv.Read(".env")
	switch {
	case err == nil || errors.Is(err, fs.ErrNotExist):
		return memdbwriter.LoadConfig(values)
	case errors.As(err, new(*fs.PathError)):
		return memdbwriter.Config{}, err
	default: // it quotes the file, in which there may be a password
		return memdbwriter.Config{}, errors.New("the file .env has a line that is not NAME=value: mend it")
	}
}

// scan checks everything that can be wrong before a scan touches a database,
// and runs it.
func (o *options) scan(ctx context.Context, stdout, stderr io.Writer) (code int, err error) {
	cfg, err := settings()
	if err != nil {
		return exitUsage, err
	}
	if o.url != "" {
		cfg.DatabaseURL = o.url
	}
	if cfg.DatabaseURL == "" {
		cfg.DatabaseURL = defaultURL
	}
	roots, err := walk.Roots(o.dirs)
	if err != nil {
		return exitUsage, err
	}
	if _, err := walk.NewExclude(o.exclude); err != nil {
		return exitUsage, err
	}

	s := &scan{options: o, roots: roots, started: time.Now()}
	level := slog.LevelWarn
	if o.verbose {
		level = slog.LevelInfo
	}
	log, hide := stderr, func() {}
	if !o.quiet {
		display := progress.Start(stderr, columns(stderr), s.state)
		log, hide = display, display.Stop
	}
	s.log = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: level}))
	cfg.Logger = s.log
	err = s.run(ctx, cfg)
	hide()

	for _, f := range s.failures {
		fmt.Fprintf(stderr, "not stored: %s: %v\n", f.path, f.reason)
	}
	if s.status != "" {
		err = errors.Join(err, s.summary(stdout, time.Since(s.started)))
	}
	return s.exitCode(err), err
}

func (s *scan) exitCode(err error) int {
	switch {
	case s.status == catalog.Cancelled:
		return exitInterrupted
	case err != nil || s.walker.Counts.Unreadable.Load() > 0:
		return exitIncomplete
	}
	return exitOK
}

// columns is the width of the terminal that w is, 0 if it is none.
func columns(w io.Writer) int {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return 0
	}
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil || width <= 0 {
		return 80
	}
	return width
}
