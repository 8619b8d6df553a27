package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/memdbwriter/memdbwriter/examples/backupscan/internal/walk"
)

// readExcludes adds the patterns of files to those of the command line.
func (o *options) readExcludes() error {
	for _, name := range o.excludeFrom {
		f, err := os.Open(name)
		if err != nil {
			return fmt.Errorf("-exclude-from: %w", err)
		}
		lines := bufio.NewScanner(f)
		for lines.Scan() {
			if line := strings.TrimSpace(lines.Text()); line != "" && !strings.HasPrefix(line, "#") {
				o.exclude = append(o.exclude, line)
			}
		}
		if err := errors.Join(lines.Err(), f.Close()); err != nil {
			return fmt.Errorf("-exclude-from %s: %w", name, err)
		}
	}
	return nil
}

// checkExcludes reports bad patterns, and those that leave out all of a
// directory that was asked for: a slip of the pen, as nobody scans nothing.
func checkExcludes(patterns, roots []string) error {
	if _, err := walk.NewExclude(patterns); err != nil {
		return err
	}
	for _, p := range patterns {
		x, err := walk.NewExclude([]string{p})
		if err != nil {
			return err
		}
		for _, root := range roots {
			if x.Covers(root) {
				return fmt.Errorf("exclude pattern %q leaves out all of %s, which is to be scanned: drop one of them", p, root)
			}
		}
	}
	return nil
}
