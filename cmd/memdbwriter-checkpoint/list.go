package main

import (
	"context"
	"fmt"
	"path/filepath"
	"text/tabwriter"

	"github.com/dustin/go-humanize"

	"github.com/memdbwriter/memdbwriter/internal/dump"
	"github.com/memdbwriter/memdbwriter/internal/journal"
	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

// list prints a line for every checkpoint and journal. It reads heads and
// trailers of checkpoints, and the whole of journals.
func list(_ context.Context, c *console, args []string) error {
	f := c.flags("list [flags] FILE...", "Lists checkpoints, newest first, and journals. Only verify looks into checkpoints.")
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
	out := tabwriter.NewWriter(c.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(out, "FILE\tTABLE\tWAITING\tREFUSED\tSIZE\tMADE\tSTATE")
	good := true
	for _, w := range files.writers {
		for i := range w.infos {
			if w.isNamed(w.infos[i].Path) {
				good = listCheckpoint(out, &w.infos[i]) && good
			}
		}
		if w.journal != nil {
			good = listJournal(out, w) && good
		}
	}
	for _, s := range files.strange {
		good = false
		fmt.Fprintf(out, "%s\t\t\t\t\t\t%v\n", s.path, s.err)
	}
	for _, l := range files.leftover {
		fmt.Fprintf(out, "%s\t\t\t\t\t\t%v\n", l.path, l.err)
	}
	if err := out.Flush(); err != nil {
		return err
	}
	if !good {
		return errReported
	}
	if err := files.nothing(); err != nil {
		c.note("%v", err)
	}
	return nil
}

func listCheckpoint(out *tabwriter.Writer, i *dump.Info) bool {
	if i.Err != nil {
		fmt.Fprintf(out, "%s\t\t\t\t\t\t%v\n", i.Path, i.Err)
		return false
	}
	fmt.Fprintf(out, "%s\t%s\t%d\t%d\t%s\t%s\tcomplete\n", i.Path, tableName(&i.Table),
		i.Rows, i.Failed, humanize.IBytes(uint64(i.Size)), i.Created.Format("2006-01-02 15:04:05Z"))
	return true
}

func listJournal(out *tabwriter.Writer, w *writerFiles) bool {
	rec, err := countJournal(w)
	if err != nil {
		fmt.Fprintf(out, "%s\t%s\t\t\t\t\t%v\n", journalName(w.journal), w.journal.config.Table, err)
		return false
	}
	state := "complete"
	if rec.Cut > 0 {
		state = fmt.Sprintf("complete but for the last %d bytes, which are not a whole record", rec.Cut)
	}
	if n := len(rec.Problems); n > 0 {
		state = fmt.Sprintf("%d damaged, see verify", n)
	}
	fmt.Fprintf(out, "%s\t%s\t%d\t%d\t%s\t\t%s\n", journalName(w.journal), w.journal.config.Table,
		rec.Rows, rec.FailedRows, humanize.IBytes(uint64(rec.Bytes)), state)
	return len(rec.Problems) == 0
}

// countJournal reads a journal as a recovery would.
func countJournal(w *writerFiles) (*journal.Recovery, error) {
	rec, err := w.journal.scan()
	if err != nil {
		return nil, err
	}
	return rec, rec.Replay(journal.Visitor{
		Rows:   func(*tuple.Batch) error { return nil },
		Failed: func(*journal.Failure) error { return nil },
	})
}

// journalName is the pattern of the names of the segments.
func journalName(j *journalFiles) string {
	const digits = "0123456789abcdef.seg"
	name := filepath.Base(j.segments[0])
	return filepath.Join(j.config.Dir, name[:max(0, len(name)-len(digits))]+"*.seg")
}

func tableName(t *dump.Table) string {
	if t.Schema == "" {
		return t.Name
	}
	return t.Schema + "." + t.Name
}
