package dirlock

import (
	"os"

	"golang.org/x/sys/windows"
)

// tryLock locks a byte far beyond the contents. Others may not even read what
// is locked, and are to read who has the lock.
func tryLock(f *os.File) error {
	at := windows.Overlapped{Offset: 1 << 30}
	err := windows.LockFileEx(windows.Handle(f.Fd()), windows.LOCKFILE_EXCLUSIVE_LOCK|windows.LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0, &at)
	if err == windows.ERROR_LOCK_VIOLATION {
		return errHeld
	}
	return os.NewSyscallError("LockFileEx", err)
}
