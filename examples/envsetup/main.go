// Command envsetup sets settings of the write buffer in a .env file and leaves
// every other byte of the file as it is: comments, order, quotes, line breaks,
// "export", and the values of other programs, which it does not print either.
//
//	go run ./examples/envsetup -profile fast                      # ./.env, made if it is missing
//	go run ./examples/envsetup -n MEMORY_DB_SYNC_INTERVAL=1m30s   # shows what would change
//	go run ./examples/envsetup -file /etc/app.env -sample app.env.sample USE_MEMORY_DB=true
//
// The library checks the settings before anything is written. A second run with
// the same settings changes nothing. DATABASE_URL on a command line shows in the
// list of processes: write it into the file with an editor.
//
// Exit codes: 0 done, or nothing to do; 1 the file could not be read, changed or
// written; 2 wrong usage or a wrong setting.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
)

func main() {
	for _, name := range settings { // the library checks the file's values, not those of this environment
		os.Unsetenv(name)
	}
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

func run(args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("envsetup", flag.ContinueOnError)
	flags.SetOutput(stderr)
	var (
		path    = flags.String("file", ".env", "the `file` to change")
		sample  = flags.String("sample", "", "a `file` to begin with if -file is missing")
		profile = flags.String("profile", "", "a `tuning`: standard, fast or small")
		dry     = flags.Bool("n", false, "only show what would change")
	)
	flags.Usage = func() {
		fmt.Fprintln(flags.Output(), "usage: envsetup [flags] [NAME=VALUE...]")
		flags.PrintDefaults()
	}
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	}
	keys, values, err := collect(*profile, flags.Args())
	if err != nil {
		fmt.Fprintf(stderr, "envsetup: %v\n", err)
		return 2
	}
	if err := setUp(stdout, *path, *sample, keys, values, *dry); err != nil {
		fmt.Fprintf(stderr, "envsetup: %v\n", err)
		if errors.As(err, new(*settingError)) {
			return 2
		}
		return 1
	}
	return 0
}

// settingError is a value that the library refuses.
type settingError struct{ error }

func (e *settingError) Unwrap() error { return e.error }

func setUp(w io.Writer, path, sample string, keys []string, values map[string]string, dry bool) error {
	before, missing, err := load(path)
	if err != nil {
		return err
	}
	if missing && sample != "" {
		if before, missing, err = load(sample); err != nil {
			return err
		}
		if missing {
			return fmt.Errorf("the sample %s is missing", sample)
		}
		missing = true
	}
	after, changes, err := edit(before, keys, values)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	whole, err := read(after)
	if err != nil {
		return fmt.Errorf("%s: %w", path, errUnsafe)
	}
	if err := check(whole); err != nil {
		return &settingError{err}
	}
	if len(changes) == 0 && !missing {
		fmt.Fprintf(w, "%s: nothing to change\n", path)
		return nil
	}
	show(w, path, changes)
	if dry {
		return nil
	}
	return save(path, after)
}
