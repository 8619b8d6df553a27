package main

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"time"

	"github.com/memdbwriter/memdbwriter"
	"github.com/memdbwriter/memdbwriter/examples/backupscan/internal/catalog"
	"github.com/memdbwriter/memdbwriter/examples/backupscan/internal/walk"
)

// stored is the form in which the catalogue has a path of this system.
func stored(path string) string {
	text, _ := memdbwriter.EscapePath(filepath.ToSlash(path))
	return text
}

// metadata says what the columns cannot.
type metadata struct {
	Error     string            `json:"error,omitempty"`     // why the entry could not be read; the columns are of an earlier scan
	Created   string            `json:"created,omitempty"`   // "ctime": the time of the last change of the inode, for want of a time of birth
	Times     map[string]string `json:"times,omitempty"`     // those that no column can have
	Hardlink  string            `json:"hardlink,omitempty"`  // the same for all names of a file that has several
	Allocated *int64            `json:"allocated,omitempty"` // bytes on the disk of a sparse file

	// What FileInfo adds.
	PathEscaped  bool `json:"path_escaped,omitempty"`
	OwnerEscaped bool `json:"owner_escaped,omitempty"`
	GroupEscaped bool `json:"group_escaped,omitempty"`
}

// text is empty when there is nothing to say.
func (m *metadata) text() string {
	text, err := json.Marshal(m)
	if err != nil || string(text) == "{}" { // strings and numbers cannot fail
		return ""
	}
	return string(text)
}

// row is the catalogue's row of an entry. A directory has no size: its own is
// that of a list of names, and sizes of a set should add up.
func row(e *walk.Entry) memdbwriter.FileInfo {
	var m metadata
	f := memdbwriter.FileInfo{
		Path: filepath.ToSlash(e.Path), Type: memdbwriter.FileType(e.Type), Size: e.Stat.Size,
		Owner: e.Owner, Group: e.Group,
		CreatedTime:  m.time("created_time", e.Stat.Created),
		ModifiedTime: m.time("modified_time", e.Stat.Modified),
		AccessedTime: m.time("", e.Stat.Accessed),
	}
	if e.Type == walk.Directory {
		f.Size = 0
	}
	if looked(e) {
		f.Permissions = fmt.Sprintf("%04o", e.Stat.Perm)
	}
	m.of(e)
	f.FileMetadata = []byte(m.text())
	if len(f.FileMetadata) == 0 {
		f.FileMetadata = nil
	}
	return f
}

// looked reports whether the entry's metadata could be read.
func looked(e *walk.Entry) bool { return e.Stat.Owned || !e.Stat.Modified.IsZero() }

// sparse is the least that a file saves to be called sparse. Less is the
// rounding of the file system, which may change by itself.
const sparse = 1 << 20

func (m *metadata) of(e *walk.Entry) {
	if e.Err != nil {
		m.Error = text(walk.Reason(e.Err))
	}
	if !e.Stat.Created.IsZero() && !e.Stat.Birth {
		m.Created = "ctime"
	}
	if e.Type == walk.File && e.Stat.Links > 1 && e.Stat.Inode != 0 {
		m.Hardlink = fmt.Sprint(e.Stat.Inode)
		if e.FS != nil {
			m.Hardlink = e.FS.Tag() + ":" + m.Hardlink
		}
	}
	if a := e.Stat.Allocated; e.Type == walk.File && a >= 0 && e.Stat.Size-a >= sparse {
		m.Allocated = &a
	}
	_, m.PathEscaped = memdbwriter.EscapePath(filepath.ToSlash(e.Path))
	_, m.OwnerEscaped = memdbwriter.EscapePath(e.Owner)
	_, m.GroupEscaped = memdbwriter.EscapePath(e.Group)
}

// The years that every destination can have.
const firstYear, lastYear = 1, 9999

// time returns a time that can be stored, and notes one that cannot: file
// systems keep any number of seconds. A time that is no column's is left out.
func (m *metadata) time(column string, t time.Time) time.Time {
	if y := t.Year(); t.IsZero() || y >= firstYear && y <= lastYear {
		return t
	}
	if column != "" {
		if m.Times == nil {
			m.Times = make(map[string]string)
		}
		m.Times[column] = fmt.Sprintf("%d seconds since 1970", t.Unix())
	}
	return time.Time{}
}

// text is a name of the system, which may be any bytes, in the form of paths.
func text(name string) string {
	escaped, _ := memdbwriter.EscapePath(name)
	return escaped
}

// facts are what a scan compares of a row.
func facts(f *memdbwriter.FileInfo) *catalog.Row {
	return &catalog.Row{
		Type: string(f.Type), Size: f.Size, Permissions: f.Permissions, Owner: text(f.Owner), Group: text(f.Group),
		Created: catalog.Time(f.CreatedTime), Modified: catalog.Time(f.ModifiedTime), Metadata: string(f.FileMetadata),
	}
}

// remember fills a row that could not be looked at with what an earlier scan
// found: what is not known now keeps its value, with the error beside it.
func remember(f *memdbwriter.FileInfo, old *catalog.Row) {
	f.Type, f.Size = memdbwriter.FileType(old.Type), old.Size
	f.Permissions = old.Permissions
	f.Owner, f.Group = memdbwriter.UnescapePath(old.Owner), memdbwriter.UnescapePath(old.Group)
	f.CreatedTime, f.ModifiedTime = catalog.ParseTime(old.Created), catalog.ParseTime(old.Modified)
	var before, now metadata
	if json.Unmarshal([]byte(old.Metadata), &before) != nil || json.Unmarshal(f.FileMetadata, &now) != nil {
		return // the new error is all there is to say
	}
	before.Error = now.Error
	f.FileMetadata = []byte(before.text())
}
