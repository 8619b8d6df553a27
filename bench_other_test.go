//go:build !unix

package memdbwriter

import (
	"testing"
	"time"
)

// processCPU is not known here; cpu-ns/row reads 0.
func processCPU(*testing.B) time.Duration { return 0 }

// processFaults is not known here; faults/row reads 0.
func processFaults(*testing.B) int64 { return 0 }
