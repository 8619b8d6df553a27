package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/memdbwriter/memdbwriter/internal/dump"
)

// verify reads files from end to end and prints a line for each.
func verify(ctx context.Context, c *console, args []string) error {
	f := c.flags("verify [flags] FILE...", "Reads checkpoints and journals from end to end: checksums and every row.")
	force := forceRead(f)
	args, err := parse(f, args)
	if err != nil {
		return err
	}
	files, err := find(args)
	if err != nil {
		return err
	}
	if err := files.readable(*force); err != nil {
		return err
	}
	v := verifier{console: c, good: true}
	for _, w := range files.writers {
		for i := range w.infos {
			if w.isNamed(w.infos[i].Path) {
				v.checkpoint(ctx, w, &w.infos[i])
			}
		}
		if w.journal != nil {
			v.journal(w)
		}
		if err := context.Cause(ctx); err != nil {
			return err
		}
	}
	for _, s := range files.strange {
		v.bad("%s: %v", s.path, s.err)
	}
	for _, l := range files.leftover {
		fmt.Fprintf(c.stdout, "%s: passed over: %v\n", l.path, l.err)
	}
	if !v.good {
		return errReported
	}
	return files.nothing()
}

type verifier struct {
	*console
	good bool
}

func (v *verifier) bad(format string, args ...any) {
	v.good = false
	fmt.Fprintf(v.stdout, "BAD "+format+"\n", args...)
}

func (v *verifier) checkpoint(ctx context.Context, w *writerFiles, i *dump.Info) {
	if i.Err != nil {
		v.bad("%v", i.Err) // it names the file
		return
	}
	s := source{files: w, table: i.Table, checkpoint: i}
	switch err := s.survey(ctx); {
	case errors.Is(err, context.Canceled): // nothing is known of the file
	case err != nil:
		v.bad("%v", err)
	default:
		fmt.Fprintf(v.stdout, "ok  %s: %d rows of %s, %d refused ones\n", i.Path, i.Rows, tableName(&i.Table), i.Failed)
	}
}

func (v *verifier) journal(w *writerFiles) {
	name := journalName(w.journal)
	rec, err := countJournal(w)
	if err != nil {
		v.bad("%s: %v", name, err)
		return
	}
	for _, p := range rec.Problems {
		v.bad("%s: %v; what comes before the damage is good", p.File, p.Err)
	}
	if len(rec.Problems) > 0 {
		return
	}
	fmt.Fprintf(v.stdout, "ok  %s: %d rows of %s that wait, %d refused ones, %d segments", name, rec.Rows, w.journal.config.Table, rec.FailedRows, rec.Segments)
	if rec.Cut > 0 {
		fmt.Fprintf(v.stdout, "; its last %d bytes are not a whole record, as a crash leaves it", rec.Cut)
	}
	fmt.Fprintln(v.stdout)
}
