package walk

import "sync"

// linkSet knows the files with several names that were met.
type linkSet struct {
	mu  sync.Mutex
	met map[[2]uint64]bool // device and inode
}

// again reports whether the file was met before, by another name.
func (l *linkSet) again(st *Stat) bool {
	if st.Links < 2 || st.Inode == 0 {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	key := [2]uint64{st.Device, st.Inode}
	if l.met[key] {
		return true
	}
	if l.met == nil {
		l.met = make(map[[2]uint64]bool)
	}
	l.met[key] = true
	return false
}
