//go:build !linux

package catalog

import (
	"os"
	"time"
)

// thisProcess is the Owner that this process is. Without a Space others wait for
// the end of its lease.
func thisProcess() Owner {
	host, _ := os.Hostname() // only informs
	return Owner{Host: host, PID: os.Getpid(), Since: time.Now().UTC().Truncate(time.Second)}
}

func processOf(int) string { return "" }
