package main

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/memdbwriter/memdbwriter/examples/backupscan/internal/catalog"
)

// summary writes what the scan did, a line for each figure. Those about rare
// things are left out when there is none.
func (s *scan) summary(out io.Writer, took time.Duration) error {
	c := &s.walker.Counts
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	line := func(name string, n int64, note string) { fmt.Fprintf(t, "%s\t%s\t%s\n", name, humanize.Comma(n), note) }
	rare := func(name string, n int64, note string) {
		if n > 0 {
			line(name, n, note)
		}
	}
	fmt.Fprintf(t, "set %d\t%s\t%s\n", s.set, s.status, s.meaning())
	line("scanned", c.Entries(), fmt.Sprintf("%s files, %s directories, %s links",
		humanize.Comma(c.Files.Load()), humanize.Comma(c.Directories.Load()), humanize.Comma(c.Symlinks.Load())))
	line("stored", s.stored, "durable in the catalogue")
	rare("unchanged", s.unchanged.Load(), "of them, were there already")
	line("failed", s.failed, "rejected by the catalogue")
	rare("unsent", s.unsent, s.whereUnsent())
	rare("recovered", s.recovered, "left on disk by an earlier scan, stored now")
	rare("older", s.older, "rows that the catalogue rejected in earlier scans")
	line("excluded", c.Excluded.Load(), "left out by a pattern, a directory with all below counts once")
	line("unreadable", c.Unreadable.Load(), "recorded with the error")
	line("vanished", c.Vanished.Load(), "deleted while the scan ran")
	line("gone", s.pruned.gone, "not there any more, removed from the set")
	rare("left out", s.pruned.left, "excluded now, removed from the set")
	rare("too many", s.pruned.many, fmt.Sprintf("not there any more or excluded now, of %s; NOT removed: scan with -remove-many if that is right", humanize.Comma(s.known.count())))
	rare("mounts", c.Mounts.Load(), "mounted file systems that were not entered")
	rare("special", c.Special.Load(), "sockets, pipes and devices, not recorded")
	rare("kept", s.pruned.copied, "not there any more, but on tape")
	rare("kept", s.pruned.doubtful(), "not seen, but nobody knows whether they are gone")
	rare("kept", s.pruned.outside, "outside the directories scanned this time")
	rare("linked", c.Linked.Load(), "further names of files that have several (hard links)")
	line("bytes", c.Bytes.Load(), humanize.IBytes(uint64(c.Bytes.Load())))
	if s.totals != nil {
		fmt.Fprintf(t, "in the set\t%s\t%s files, %s\n", humanize.Comma(s.totals.Rows), humanize.Comma(s.totals.Files), humanize.IBytes(uint64(s.totals.Bytes)))
	}
	fmt.Fprintf(t, "seconds\t%.1f\t%s entries/s\n", took.Seconds(), humanize.Comma(int64(float64(c.Entries())/max(took.Seconds(), 1e-3))))
	return t.Flush()
}

// meaning says what the status of the set promises.
func (s *scan) meaning() string {
	switch s.status {
	case catalog.Completed:
		return "everything found is in the catalogue"
	case catalog.Errors:
		return "complete but for what is named below"
	case catalog.Cancelled:
		return "interrupted; scan again to complete the set"
	}
	return "not complete; scan again when the cause is repaired"
}

func (s *scan) whereUnsent() string {
	if s.checkpoints == "" {
		return "found, and lost with this process as MEMORY_DB_CHECKPOINT_DIR is not set; scan again"
	}
	return "found, and left in " + printable(s.checkpoints) + "; the next scan of the set stores them"
}
