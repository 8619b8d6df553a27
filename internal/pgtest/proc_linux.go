package pgtest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// memorySettings keep what a killed server cannot remove itself inside of its
// data directory.
var memorySettings = []string{"dynamic_shared_memory_type=mmap"}

// processes reads the process table.
func processes() ([]process, error) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, err
	}
	table := make([]process, 0, len(stats))
	for _, stat := range stats {
		text, err := os.ReadFile(stat)
		if err != nil {
			continue // ended since
		}
		// pid (name) state parent ...: the name may contain anything.
		end := strings.LastIndexByte(string(text), ')')
		var p process
		var state string
		if _, err := fmt.Sscan(string(text), &p.pid); err != nil {
			return nil, fmt.Errorf("%s: %w", stat, err)
		}
		if _, err := fmt.Sscan(string(text[end+1:]), &state, &p.parent); err != nil {
			return nil, fmt.Errorf("%s: %w", stat, err)
		}
		if state == "Z" || state == "X" {
			continue
		}
		p.stopped = state == "T"
		table = append(table, p)
	}
	return table, nil
}
