package memdbwriter

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"path"
	"strings"
	"time"

	"github.com/memdbwriter/memdbwriter/internal/dest"
)

// FileType is the kind of a file in the catalogue.
type FileType string

// The kinds that the catalogue knows.
const (
	TypeFile      FileType = "file"
	TypeDirectory FileType = "directory"
	TypeSymlink   FileType = "symlink"
)

// FileInfo is a row of backup_files, the catalogue of a backup scanner. The
// scanner sets Path and what it knows of the file; what it leaves zero is
// filled in as the comments say, or is NULL. Columns that later stages own
// (compression, tape, copy) are written for new rows only and never
// overwritten by a later scan.
type FileInfo struct {
	// BackupSetID is filled in by the table; leave it zero.
	BackupSetID int32 `db:"backup_set_id,key"`
	// Path is the full path, slashes as separators, as the system has it: a
	// path that is not valid UTF-8 is stored in the form of EscapePath and
	// flagged by "path_escaped": true in FileMetadata.
	Path string `db:"file_path,key"`
	// Name defaults to the last element of Path.
	Name string `db:"file_name"`
	// Directory defaults to the parent of Path; NULL for a root.
	Directory string `db:"directory_path,nullzero"`
	// DisplayName defaults to Name.
	DisplayName string `db:"display_name,nullzero"`
	// Type defaults to TypeFile.
	Type           FileType `db:"file_type"`
	Size           int64    `db:"file_size"` // bytes
	CompressedSize *int64   `db:"compressed_size,insertonly"`
	Permissions    string   `db:"file_permissions,nullzero"`
	// Owner and Group are names that may be any bytes, too. They are stored in
	// the form of EscapePath and flagged by "owner_escaped": true and
	// "group_escaped": true.
	Owner string `db:"file_owner,nullzero"`
	Group string `db:"file_group,nullzero"`
	// The times are instants, stored with microseconds; a zero time is NULL.
	// Columns without a time zone get them in UTC.
	CreatedTime    time.Time  `db:"created_time,nullzero,type=timestamptz"`
	ModifiedTime   time.Time  `db:"modified_time,nullzero,type=timestamptz"`
	AccessedTime   time.Time  `db:"accessed_time,nullzero,passive,type=timestamptz"` // reading a file is no change of it
	TapeBlockStart *int64     `db:"tape_block_start,insertonly"`
	TapeBlockCount *int32     `db:"tape_block_count,insertonly"`
	Compressed     bool       `db:"compressed,insertonly"`
	Encrypted      bool       `db:"encrypted,insertonly"`
	Checksum       string     `db:"checksum,insertonly,nullzero"`
	IsCopySuccess  bool       `db:"is_copy_success,insertonly"`
	CopyStatusAt   *time.Time `db:"copy_status_at,insertonly,type=timestamptz"`
	// BackupTime defaults to the time of Add. It alone is no reason to update
	// a row.
	BackupTime  time.Time `db:"backup_time,passive,type=timestamptz"`
	ChunkNumber *int32    `db:"chunk_number,insertonly"`
	// Version defaults to 1.
	Version      int32           `db:"version"`
	FileMetadata json.RawMessage `db:"file_metadata"` // a JSON object, or nil
	Tags         json.RawMessage `db:"tags"`          // JSON, or nil
}

// BackupFiles is the catalogue table of one backup set. Rows are keyed by
// (backup_set_id, file_path), for which the table needs a unique index. Rows
// whose is_copy_success is true are on tape already and are left alone; one that
// is changed gets the time as its updated_at, if the table has that column. The
// name defaults to "backup_files"; TableName selects another one, CreateTable
// creates the table on PostgreSQL too.
//
// A set id outside 1 to 2,147,483,647 or a bad option is reported by New.
func BackupFiles(setID int64, opts ...TableOption) Table[FileInfo] {
	opts = append([]TableOption{Guard("is_copy_success")}, opts...)
	t := newTable[FileInfo]("backup_files", opts)
	if t.err == nil && (setID < 1 || setID > math.MaxInt32) {
		t.err = fmt.Errorf("%w: backup set id %d: it must be from 1 to %d", ErrTable, setID, math.MaxInt32)
	}
	shape := &t.shape
	shape.Touched = "updated_at"
	if shape.DDL == nil {
		shape.DDL = func(dialect string) []string { return backupFilesDDL(shape.Schema, shape.Name, dialect) }
	}
	id := int32(setID)
	t.prepare = func(f *FileInfo) error { return f.complete(id) }
	return t
}

// complete fills in what the scanner left out.
func (f *FileInfo) complete(setID int32) error {
	if f.BackupSetID != 0 && f.BackupSetID != setID {
		return fmt.Errorf("the row says backup set %d and the table is for set %d: leave BackupSetID zero", f.BackupSetID, setID)
	}
	f.BackupSetID = setID
	if f.Path == "" {
		return errors.New("the row has no Path")
	}
	if f.Name == "" {
		f.Name = path.Base(f.Path)
	}
	if f.Directory == "" {
		f.Directory = parent(f.Path)
	}
	if f.Type == "" {
		f.Type = TypeFile
	}
	if f.Type != TypeFile && f.Type != TypeDirectory && f.Type != TypeSymlink {
		return fmt.Errorf("file type %q of %q: it must be file, directory or symlink", f.Type, f.Path)
	}
	if f.BackupTime.IsZero() {
		f.BackupTime = time.Now()
	}
	if f.Version == 0 {
		f.Version = 1
	}
	return f.escape()
}

// parent returns the directory of a path, "" for a root.
func parent(p string) string {
	p = strings.TrimRight(p, "/")
	i := strings.LastIndexByte(p, '/')
	switch {
	case i < 0:
		return ""
	case i == 0:
		return "/"
	}
	return p[:i]
}

// escape makes the names valid text, and says so in the metadata.
func (f *FileInfo) escape() error {
	var path, name, owner, group bool
	f.Path, path = EscapePath(f.Path)
	f.Name, name = EscapePath(f.Name)
	f.Directory, _ = EscapePath(f.Directory)
	if f.DisplayName == "" {
		f.DisplayName = f.Name
	} else {
		f.DisplayName, _ = EscapePath(f.DisplayName)
	}
	f.Owner, owner = EscapePath(f.Owner)
	f.Group, group = EscapePath(f.Group)
	if !path && !name && !owner && !group {
		return nil
	}
	metadata := map[string]json.RawMessage{}
	if f.FileMetadata != nil {
		if err := json.Unmarshal(f.FileMetadata, &metadata); err != nil {
			return fmt.Errorf("FileMetadata of %q must be a JSON object to be flagged: %w", f.Path, err)
		}
	}
	if metadata == nil { // it was the JSON null
		metadata = map[string]json.RawMessage{}
	}
	for flag, set := range map[string]bool{"path_escaped": path || name, "owner_escaped": owner, "group_escaped": group} {
		if set {
			metadata[flag] = json.RawMessage("true")
		}
	}
	flagged, err := json.Marshal(metadata)
	f.FileMetadata = flagged
	return err
}

// backupFilesDDL creates the catalogue as its users know it: the mapped
// columns, a serial id for readers that page in arrival order, the times of
// the row itself, and the unique index that the upsert needs.
func backupFilesDDL(schema, name, dialect string) []string {
	id, pathType, stamp, js, now := "bigserial PRIMARY KEY", "text", "timestamptz", "jsonb", "now()"
	switch dialect {
	case "sqlite":
		id, stamp, js, now = "INTEGER PRIMARY KEY AUTOINCREMENT", "TIMESTAMP", "TEXT", "CURRENT_TIMESTAMP"
	case "opengauss": // its upsert is at its best with one unique index only, and in mode B a schema can have a collation that ignores case
		id, pathType = "bigserial NOT NULL", `text COLLATE "C"`
	}
	table := dest.QuoteName(schema, name)
	columns := []string{
		"id " + id,
		"backup_set_id integer NOT NULL",
		"file_path " + pathType + " NOT NULL",
		"file_name text NOT NULL",
		"directory_path text",
		"display_name text",
		"file_type text NOT NULL DEFAULT 'file' CHECK (file_type IN ('file', 'directory', 'symlink'))",
		"file_size bigint NOT NULL",
		"compressed_size bigint",
		"file_permissions text",
		"file_owner text",
		"file_group text",
		"created_time " + stamp,
		"modified_time " + stamp,
		"accessed_time " + stamp,
		"tape_block_start bigint",
		"tape_block_count integer",
		"compressed boolean DEFAULT FALSE",
		"encrypted boolean DEFAULT FALSE",
		"checksum text",
		"is_copy_success boolean DEFAULT FALSE",
		"copy_status_at " + stamp,
		"backup_time " + stamp + " NOT NULL",
		"chunk_number integer",
		"version integer DEFAULT 1",
		"file_metadata " + js,
		"tags " + js,
		"created_at " + stamp + " DEFAULT " + now,
		"updated_at " + stamp + " DEFAULT " + now,
		"UNIQUE (backup_set_id, file_path)",
	}
	ddl := []string{"CREATE TABLE IF NOT EXISTS " + table + " (\n\t" + strings.Join(columns, ",\n\t") + "\n)"}
	if dialect == "opengauss" {
		ddl = append(ddl, "CREATE INDEX ON "+table+" (id)")
	}
	return ddl
}
