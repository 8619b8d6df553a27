package walk

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// mountTable knows what is mounted.
type mountTable struct {
	mu     sync.Mutex
	mounts []*mountinfo.Info
	uuids  map[uint64]string // by device
}

func newMountTable() *mountTable { return new(mountTable) }

// of returns the file system of a directory.
func (t *mountTable) of(path string, st *Stat) *FileSystem {
	t.mu.Lock()
	defer t.mu.Unlock()
	m := t.find(path, st)
	if m == nil { // mounted since the table was read
		t.read()
		m = t.find(path, st)
	}
	if m == nil {
		return &FileSystem{device: st.Device}
	}
	fs := &FileSystem{Type: m.FSType, Source: m.Source, Root: m.Root, UUID: t.uuid(m), device: mountDevice(m)}
	fs.classify()
	return fs
}

// find looks for a mount by its number, where the system tells, else by device
// and path.
func (t *mountTable) find(path string, st *Stat) *mountinfo.Info {
	var best *mountinfo.Info
	for _, m := range t.mounts {
		switch {
		case st.Mount != 0 && uint64(m.ID) == st.Mount:
			return m
		case st.Mount == 0 && mountDevice(m) == st.Device && Inside(path, m.Mountpoint) &&
			(best == nil || len(m.Mountpoint) >= len(best.Mountpoint)):
			best = m
		}
	}
	return best
}

func (t *mountTable) read() {
	t.mounts, _ = mountinfo.GetMounts(nil) // without /proc the file systems are unknown
	t.uuids = make(map[uint64]string)
	const dir = "/dev/disk/by-uuid"
	names, _ := os.ReadDir(dir) // not there in a container
	for _, n := range names {
		var st unix.Stat_t
		if unix.Stat(filepath.Join(dir, n.Name()), &st) == nil {
			t.uuids[st.Rdev] = n.Name()
		}
	}
}

// uuid is found by the device of the mount or, as for btrfs, by the source's.
func (t *mountTable) uuid(m *mountinfo.Info) string {
	if id := t.uuids[mountDevice(m)]; id != "" {
		return id
	}
	var st unix.Stat_t
	if strings.HasPrefix(m.Source, "/dev/") && unix.Stat(m.Source, &st) == nil {
		return t.uuids[st.Rdev]
	}
	return ""
}

func mountDevice(m *mountinfo.Info) uint64 { return unix.Mkdev(uint32(m.Major), uint32(m.Minor)) }

// elsewhere returns where below the roots the same files are, if they are: a
// bind mount shows what is in another place too. Of several places the first
// in the order of paths has them.
func (t *mountTable) elsewhere(path string, fs *FileSystem, roots []string) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, m := range t.mounts {
		if fs.Type == "" || mountDevice(m) != fs.device || !Inside(fs.Root, m.Root) {
			continue
		}
		rel := strings.TrimPrefix(strings.TrimPrefix(fs.Root, m.Root), "/")
		other := filepath.Join(m.Mountpoint, rel)
		first := rel != "" || other < path || slices.Contains(roots, other) // of an exact copy one is left out
		if other != path && first && !Inside(other, path) && within(other, roots) && t.shows(m, other) {
			return other
		}
	}
	return ""
}

func within(path string, roots []string) bool {
	for _, root := range roots {
		if Inside(path, root) {
			return true
		}
	}
	return false
}

// shows reports whether a path is seen through the mount, not through one on top.
func (t *mountTable) shows(m *mountinfo.Info, path string) bool {
	top := m
	for _, o := range t.mounts {
		if Inside(path, o.Mountpoint) && (len(o.Mountpoint) > len(top.Mountpoint) ||
			len(o.Mountpoint) == len(top.Mountpoint) && o.ID > top.ID) {
			top = o
		}
	}
	return top == m
}
