package walk

import (
	"os"
	"syscall"
	"time"
)

// lstat leaves out owner and group: they are access lists of their own here,
// and asking for them costs more than all the rest.
func lstat(path string) (Stat, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return Stat{}, err
	}
	st := Stat{
		Mode: info.Mode().Type(), Perm: uint32(info.Mode().Perm()), Size: info.Size(), Allocated: -1,
		Modified: info.ModTime().UTC(),
	}
	if d, ok := info.Sys().(*syscall.Win32FileAttributeData); ok {
		at := func(t syscall.Filetime) time.Time { return time.Unix(0, t.Nanoseconds()).UTC() }
		st.Accessed, st.Created, st.Birth = at(d.LastAccessTime), at(d.CreationTime), true
	}
	return st, nil
}
