package pgtest

import (
	"bytes"
	"fmt"
	"os/exec"
	"strings"
)

// memorySettings keep what a killed server cannot remove itself inside of its
// data directory.
var memorySettings = []string{"dynamic_shared_memory_type=mmap"}

// processes reads the process table.
func processes() ([]process, error) {
	out, err := exec.Command("ps", "-A", "-o", "pid=,ppid=,stat=").Output()
	if err != nil {
		return nil, fmt.Errorf("ps: %w", err)
	}
	var table []process
	for line := range bytes.Lines(out) {
		var p process
		var state string
		if _, err := fmt.Sscan(string(line), &p.pid, &p.parent, &state); err != nil {
			return nil, fmt.Errorf("ps: %q: %w", line, err)
		}
		if strings.HasPrefix(state, "Z") {
			continue
		}
		p.stopped = strings.HasPrefix(state, "T")
		table = append(table, p)
	}
	return table, nil
}
