package walk

import "golang.org/x/sys/unix"

// mountTable knows what is mounted.
type mountTable struct{}

func newMountTable() *mountTable { return new(mountTable) }

// of returns the file system of a directory. There is no UUID, so that a
// replaced disk of the same name is not noticed.
func (t *mountTable) of(path string, st *Stat) *FileSystem {
	fs := &FileSystem{device: st.Device}
	var s unix.Statfs_t
	if unix.Statfs(path, &s) == nil {
		fs.Type = unix.ByteSliceToString(s.Fstypename[:])
		fs.Source = unix.ByteSliceToString(s.Mntfromname[:])
	}
	fs.classify()
	return fs
}

// elsewhere knows of no bind mounts: there are none.
func (t *mountTable) elsewhere(string, *FileSystem, []string) string { return "" }
