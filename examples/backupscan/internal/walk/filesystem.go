package walk

import (
	"fmt"
	"hash/fnv"
	"strings"
)

// FileSystem is what a directory's content is in. Two scans, before and after a
// restart of the machine, find the same one by what Same compares.
type FileSystem struct {
	Type   string `json:"type"`             // ext4, nfs; empty where the system does not tell
	Source string `json:"source,omitempty"` // a device, a share; may change if UUID is there
	UUID   string `json:"uuid,omitempty"`
	Root   string `json:"root,omitempty"` // the directory of it that is mounted

	// Pseudo is set where there are no files, only the state of the system.
	Pseudo bool `json:"-"`
	// Proven is set if another disk or share in its place would be another
	// FileSystem: what is mounted locally. An exported directory looks the same
	// when the server has lost the disk that it is on.
	Proven bool `json:"-"`

	device uint64
}

// Same reports whether both are one file system, with the same part of it
// mounted.
func (f FileSystem) Same(o FileSystem) bool {
	if f.Type != o.Type || f.Root != o.Root {
		return false
	}
	if f.UUID != "" && o.UUID != "" {
		return f.UUID == o.UUID
	}
	return f.Source == o.Source
}

// String names it for a person.
func (f FileSystem) String() string {
	if f.Type == "" {
		return "unknown file system"
	}
	text := f.Type + " " + f.Source
	if f.UUID != "" {
		text += " UUID " + f.UUID
	}
	if f.Root != "" && f.Root != "/" {
		text += ", of it " + f.Root
	}
	return text
}

var pseudoTypes = set("autofs binder binfmt_misc bpf cgroup cgroup2 configfs debugfs devpts devtmpfs efivarfs fusectl " +
	"hugetlbfs mqueue nsfs proc pstore resctrl rpc_pipefs securityfs selinuxfs smackfs sysfs tracefs")

var localTypes = set("apfs bcachefs btrfs erofs exfat ext2 ext3 ext4 f2fs hfs hfsplus iso9660 jfs msdos nilfs2 ntfs ntfs3 " +
	"overlay reiserfs squashfs tmpfs udf ufs vfat xfs zfs")

func set(words string) map[string]bool {
	m := make(map[string]bool)
	for _, w := range strings.Fields(words) {
		m[w] = true
	}
	return m
}

func (f *FileSystem) classify() {
	f.Pseudo, f.Proven = pseudoTypes[f.Type], localTypes[f.Type]
}

// Tag is a short name that tells file systems apart.
func (f *FileSystem) Tag() string {
	h := fnv.New32a()
	id := f.UUID
	if id == "" {
		id = f.Type + "\x00" + f.Source
	}
	_, _ = h.Write([]byte(id)) // a hash takes everything
	return fmt.Sprintf("%08x", h.Sum32())
}
