// Command backupscan records every file, directory and symbolic link below the
// given directories as a row of the backup catalogue.
//
//	go run ./examples/backupscan -set 7 -exclude '*/node_modules' /home /srv
//
// It shows what the write buffer is for: the walk never waits for the database,
// and yet a set is only called completed when its last row is durable. A scan
// of a set that is there already updates what changed and, at its end, removes
// what is gone; at no moment is the set empty or anything in it twice. What only
// may be gone, because a share is not mounted or a disk does not answer, is kept
// and reported.
//
// After a complete walk the number of rows is that of
//
//	find DIR... \( -type f -o -type d -o -type l \) | wc -l
//
// as sockets, pipes and devices are counted only. Names that are not valid
// UTF-8 are stored in the form of memdbwriter.EscapePath.
//
// README.md beside this file has the flags, the exit codes and the risks.
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
	"time"
)

// Exit codes. A signal ends the program with 128 and its number.
const (
	exitOK       = 0   // the catalogue has what the tree has
	exitFailed   = 1   // the scan did not get to its end
	exitUsage    = 2   // wrong usage; nothing was touched
	exitErrors   = 3   // something could not be read, stored, or told to be gone; all else is exact
	exitTooMany  = 4   // more rows would be removed than may be without -remove-many; none was
	exitBusy     = 5   // another scan has the set in hand
	exitSignal   = 128 // plus the number of the signal
	interrupted  = exitSignal + int(syscall.SIGINT)
	patience     = 6 * time.Second                  // after a signal, for storing what was found
	lastPatience = patience + 2500*time.Millisecond // for leaving the rest on disk
)

// signalError is the cause of a context that a signal ended.
type signalError struct{ syscall.Signal }

func (e signalError) Error() string { return "interrupted: " + e.Signal.String() }

func main() {
	signal.Ignore(syscall.SIGPIPE) // nobody listening is no reason to end a scan
	ctx, cancel := context.WithCancelCause(context.Background())
	hurry, again := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 3)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	go func() { // for the life of the process
		first := signalError{(<-signals).(syscall.Signal)}
		cancel(first)
		end := time.AfterFunc(lastPatience+500*time.Millisecond, func() { giveUp(first) })
		<-signals
		again()
		end.Reset(2 * time.Second)
	}()
	os.Exit(run(ctx, hurry, os.Args[1:], os.Stdout, os.Stderr))
}

// giveUp ends a program in which something does not answer, as a file system or
// a disk.
func giveUp(s signalError) {
	fmt.Fprintln(os.Stderr, "backupscan: "+s.Error()+": something does not answer, ended without it; what was journalled (MEMORY_DB_CHECKPOINT_DIR) is taken over by the next scan")
	os.Exit(exitSignal + int(s.Signal))
}

// run is the program. The end of ctx is an interrupt by the user, that of hurry
// a second one.
func run(ctx, hurry context.Context, args []string, stdout, stderr io.Writer) int {
	if len(args) > 0 {
		if command, ok := reports[args[0]]; ok {
			return report(ctx, command, args, stdout, stderr)
		}
	}
	o, err := parse(args, stdout)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return exitOK
	case err != nil:
		say(stderr, err)
		return exitUsage
	}
	o.hurry = hurry
	code, err := o.scan(ctx, stdout, stderr)
	if err != nil {
		say(stderr, err)
	}
	return code
}

func say(stderr io.Writer, err error) {
	for line := range strings.Lines(err.Error()) {
		fmt.Fprintln(stderr, "backupscan:", printable(strings.TrimSuffix(line, "\n")))
	}
}

// codeOf is the exit code of a context that has ended.
func codeOf(ctx context.Context) int {
	if s, ok := errors.AsType[signalError](context.Cause(ctx)); ok {
		return exitSignal + int(s.Signal)
	}
	return interrupted
}
