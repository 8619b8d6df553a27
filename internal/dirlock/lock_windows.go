package dirlock

import (
	"os"

	"golang.org/x/sys/windows"
)

// tryLock takes the lock, alone or together with others who do not want it alone.
// It is on a byte far beyond the contents: others may not even read what is
// locked, and are to read who has the lock.
func tryLock(f *os.File, alone bool) error {
	at := windows.Overlapped{Offset: 1 << 30}
	how := uint32(windows.LOCKFILE_FAIL_IMMEDIATELY)
	if alone {
		how |= windows.LOCKFILE_EXCLUSIVE_LOCK
	}
	err := windows.LockFileEx(windows.Handle(f.Fd()), how, 0, 1, 0, &at)
	if err == windows.ERROR_LOCK_VIOLATION {
		return errHeld
	}
	return os.NewSyscallError("LockFileEx", err)
}
