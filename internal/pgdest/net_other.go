//go:build !linux

package pgdest

import "syscall"

// limitUnacked does nothing here: the operating system decides how long it
// sends data that nobody acknowledges.
func limitUnacked(string, string, syscall.RawConn) error { return nil }
