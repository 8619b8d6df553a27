// Command memdbwriter-checkpoint is for people who stand before the files that a writer
// left on disk: it lists and verifies checkpoints and journals, shows the rows
// in them, and replays them into a database without the program that wrote
// them.
//
//	go run ./cmd/memdbwriter-checkpoint list DIR
//	go run ./cmd/memdbwriter-checkpoint verify FILE...
//	go run ./cmd/memdbwriter-checkpoint show -limit 20 FILE...
//	go run ./cmd/memdbwriter-checkpoint replay -db sqlite:catalog.db -n FILE...
//
// A FILE is a checkpoint (checkpoint_*.sql), a segment of a journal
// (journal_*.seg), which stands for its whole journal, or a directory, which
// stands for all of them. The files are never changed, renamed or deleted.
//
// # What is shown and replayed
//
// What a recovery would bring back, if a journal is named. Else the rows of the
// newest of the checkpoints that are named; it cannot know what was stored after
// it was made: replaying it writes the values of its time over newer ones.
// The tool says so; -policy ignore then adds only the rows that are missing.
//
// # What a checkpoint does not say
//
// The key of its table and the rules for a conflict. The key is that of -key, or
// that of the only unique index of the destination's table over the first
// columns of the file, where a writer puts the key. Which columns and rows an
// update must leave alone is told by -insertonly and -guard. Files with exactly
// the columns of memdbwriter.BackupFiles are replayed by the rules of that table.
//
// Exit codes: 0 all is well; 1 a file is damaged, a row was refused, or
// something else failed; 2 wrong usage; 130 interrupted. "go run" turns all but
// 0 into 1.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"unicode"
)

const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitInterrupted = 130
)

const usage = `usage: memdbwriter-checkpoint COMMAND [flags] FILE...

  list    what is in a directory: rows, refused rows, sizes, damage
  verify  read files from end to end
  show    print the rows that a replay would write
  replay  write the rows into a database

A FILE is a checkpoint, a segment of a journal, or a directory with such.
"memdbwriter-checkpoint COMMAND -h" shows the flags of a command.
`

// command is one of them. It parses what follows its name.
type command func(ctx context.Context, c *console, args []string) error

var commands = map[string]command{"list": list, "verify": verify, "show": show, "replay": replay}

// console is where a command writes.
type console struct {
	stdout, stderr io.Writer // clean
}

// clean keeps what a terminal would act upon from it, wherever in a file, its
// name or an error it comes from. It takes whole characters only, so nothing
// that cuts texts into pieces may be in front of it.
type clean struct {
	io.Writer
	err error // the first of writing, after which nothing more is written
}

func (c *clean) Write(p []byte) (int, error) {
	if c.err != nil {
		return 0, c.err
	}
	text := strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) || r == '\n' || r == '\t' {
			return r
		}
		return '?'
	}, string(p))
	if _, c.err = io.WriteString(c.Writer, text); c.err != nil {
		return 0, c.err
	}
	return len(p), nil
}

// note tells the user something that is not the answer itself.
func (c *console) note(format string, args ...any) {
	fmt.Fprintf(c.stderr, "memdbwriter-checkpoint: "+format+"\n", args...)
}

// usageError is a mistake on the command line.
type usageError struct{ error }

// errReported ends a command that has said what is wrong already.
var errReported = errors.New("something is wrong with the files")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is the program. The end of ctx is an interrupt by the user.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	out := &clean{Writer: stdout}
	c := &console{stdout: out, stderr: &clean{Writer: stderr}}
	if len(args) == 0 {
		fmt.Fprint(stderr, usage)
		return exitUsage
	}
	do, ok := commands[args[0]]
	if !ok {
		if args[0] == "-h" || args[0] == "-help" || args[0] == "--help" || args[0] == "help" {
			fmt.Fprint(stdout, usage)
			return exitOK
		}
		fmt.Fprintf(c.stderr, "memdbwriter-checkpoint: there is no command %q\n\n%s", args[0], usage)
		return exitUsage
	}
	err := do(ctx, c, args[1:])
	if err == nil {
		err = out.err
	}
	switch {
	case err == nil || errors.Is(err, flag.ErrHelp):
		return exitOK
	case errors.Is(err, errReported):
		return exitFailed
	}
	switch {
	case errors.As(err, new(usageError)):
		c.note("%v", err)
		return exitUsage
	case ctx.Err() != nil:
		c.note("interrupted: %v", err)
		return exitInterrupted
	}
	c.note("%v", err)
	return exitFailed
}

// flags begins the flag set of a command.
func (c *console) flags(line, about string) *flag.FlagSet {
	f := flag.NewFlagSet("checkpoint", flag.ContinueOnError)
	f.SetOutput(io.Discard) // run reports the error, once
	f.Usage = func() {
		fmt.Fprintf(c.stdout, "usage: memdbwriter-checkpoint %s\n\n%s\n\n", line, about)
		f.SetOutput(c.stdout)
		f.PrintDefaults()
		f.SetOutput(io.Discard)
	}
	return f
}

// parse returns the arguments that follow the flags, of which there must be one.
func parse(f *flag.FlagSet, args []string) ([]string, error) {
	if err := f.Parse(args); errors.Is(err, flag.ErrHelp) {
		return nil, err
	} else if err != nil {
		return nil, usageError{err}
	}
	if f.NArg() == 0 {
		return nil, usageError{errors.New("no file or directory is named; see -h")}
	}
	for _, arg := range f.Args() {
		if strings.HasPrefix(arg, "-") {
			return nil, usageError{fmt.Errorf("%s: flags come before the first file; a file of that name is ./%s", arg, arg)}
		}
	}
	return f.Args(), nil
}

func forceRead(f *flag.FlagSet) *bool {
	return f.Bool("force-read", false, "read files that a living writer uses; they may change meanwhile")
}
