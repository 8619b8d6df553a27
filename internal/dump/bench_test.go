package dump

import (
	"fmt"
	"testing"
	"time"

	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

// catalogueRow has the columns of the backup scanner's catalogue.
type catalogueRow struct {
	BackupSetID     int32      `db:"backup_set_id,key"`
	FilePath        string     `db:"file_path,key"`
	FileName        string     `db:"file_name"`
	DirectoryPath   string     `db:"directory_path,nullzero"`
	DisplayName     string     `db:"display_name,nullzero"`
	FileType        string     `db:"file_type"`
	FileSize        int64      `db:"file_size"`
	CompressedSize  *int64     `db:"compressed_size,insertonly"`
	FilePermissions string     `db:"file_permissions,nullzero"`
	FileOwner       string     `db:"file_owner,nullzero"`
	FileGroup       string     `db:"file_group,nullzero"`
	CreatedTime     time.Time  `db:"created_time,nullzero"`
	ModifiedTime    time.Time  `db:"modified_time,nullzero"`
	AccessedTime    time.Time  `db:"accessed_time,nullzero"`
	TapeBlockStart  *int64     `db:"tape_block_start,insertonly"`
	TapeBlockCount  *int32     `db:"tape_block_count,insertonly"`
	Compressed      bool       `db:"compressed,insertonly"`
	Encrypted       bool       `db:"encrypted,insertonly"`
	Checksum        *string    `db:"checksum,insertonly"`
	IsCopySuccess   bool       `db:"is_copy_success,insertonly"`
	CopyStatusAt    *time.Time `db:"copy_status_at,insertonly"`
	BackupTime      time.Time  `db:"backup_time,passive"`
	ChunkNumber     *int32     `db:"chunk_number,insertonly"`
	Version         int32      `db:"version"`
	FileMetadata    *string    `db:"file_metadata"`
	Tags            *string    `db:"tags"`
}

func catalogueRows(n int) []catalogueRow {
	at := time.Date(2025, 3, 14, 15, 9, 26, 535897932, time.UTC)
	metadata := `{"scanned_at": "2025-03-14T15:09:26Z", "source": "/data/projects", "is_file": true}`
	tags := `{"status": "scanned"}`
	rows := make([]catalogueRow, n)
	for i := range rows {
		name := fmt.Sprintf("summary-%06d.xlsx", i)
		rows[i] = catalogueRow{
			BackupSetID: 7, FilePath: "/data/projects/alpha/reports/2025/quarter-1/" + name,
			FileName: name, DirectoryPath: "/data/projects/alpha/reports/2025/quarter-1",
			DisplayName: name, FileType: "file", FileSize: 123456, FilePermissions: "644",
			CreatedTime: at, ModifiedTime: at, AccessedTime: at, BackupTime: at, Version: 1,
			FileMetadata: &metadata, Tags: &tags,
		}
	}
	return rows
}

const benchRows = 20000

func BenchmarkDump(b *testing.B) {
	d := dirOf(b)
	t, batch := tableOf(b, "backup_files", catalogueRows(benchRows)...)
	var info Info
	b.ReportAllocs()
	for b.Loop() {
		w, err := d.Create(meta(t))
		if err != nil {
			b.Fatal(err)
		}
		for i := 0; i < batch.Len(); i += 4096 {
			if err := w.WriteRows(batch.Slice(i, min(i+4096, batch.Len()))); err != nil {
				b.Fatal(err)
			}
		}
		if info, err = w.Commit(); err != nil {
			b.Fatal(err)
		}
		if err := d.fs().Remove(info.Path); err != nil {
			b.Fatal(err)
		}
	}
	report(b, batch, info)
}

func BenchmarkLoad(b *testing.B) {
	d := dirOf(b)
	t, batch := tableOf(b, "backup_files", catalogueRows(benchRows)...)
	info := dumped(b, d, meta(t), batch)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := d.Read(info.Path, t, func(*tuple.Batch) error { return nil }, func(Failed) error { return nil }); err != nil {
			b.Fatal(err)
		}
	}
	report(b, batch, info)
}

func report(b *testing.B, batch *tuple.Batch, info Info) {
	b.ReportMetric(float64(b.N)*benchRows/b.Elapsed().Seconds(), "rows/s")
	b.ReportMetric(float64(batch.Bytes())/benchRows, "tuple-B/row")
	b.ReportMetric(float64(info.Size)/benchRows, "file-B/row")
}
