//go:build !linux

package memdbwriter

import "testing"

func smallDisk(t *testing.T) (cfg Config, fill, free func()) { return pretendedDisk(t.TempDir()) }

func readOnly(t *testing.T) string { return readOnlyByMode(t, t.TempDir()) }
