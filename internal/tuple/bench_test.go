package tuple

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
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

func aCatalogueRow() catalogueRow {
	at := time.Date(2025, 3, 14, 15, 9, 26, 535897932, time.UTC)
	metadata := `{"scanned_at": "2025-03-14T15:09:26Z", "source": "/data/projects", "is_file": true}`
	tags := `{"status": "scanned"}`
	return catalogueRow{
		BackupSetID: 7, FilePath: "/data/projects/alpha/reports/2025/quarter-1/summary-000123.xlsx",
		FileName: "summary-000123.xlsx", DirectoryPath: "/data/projects/alpha/reports/2025/quarter-1",
		DisplayName: "summary-000123.xlsx", FileType: "file", FileSize: 123456, FilePermissions: "644",
		CreatedTime: at, ModifiedTime: at, AccessedTime: at, BackupTime: at, Version: 1,
		FileMetadata: &metadata, Tags: &tags,
	}
}

func BenchmarkAppend(b *testing.B) {
	c, err := NewCodec[catalogueRow]()
	if err != nil {
		b.Fatal(err)
	}
	row := aCatalogueRow()
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		if buf, err = c.Append(buf[:0], &row); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(len(buf)), "bytes/row")
}

func BenchmarkDecode(b *testing.B) {
	c, err := NewCodec[catalogueRow]()
	if err != nil {
		b.Fatal(err)
	}
	row := aCatalogueRow()
	t, err := c.Append(nil, &row)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := c.Decode(t, &row); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkSortUnique sorts 5,000 rows as they come from a directory walk,
// from 16 walks at the same time, and in no order at all.
func BenchmarkSortUnique(b *testing.B) {
	const rows, walks = 5000, 16
	path := func(i int) string {
		return fmt.Sprintf("/data/projects/share-%02d/reports/2025/month-%02d/summary-%06d.xlsx", i/(rows/walks), i%(rows/walks)/26, i)
	}
	ordered := make([]int, rows)
	for i := range ordered {
		ordered[i] = i
	}
	interleaved := make([]int, 0, rows)
	for i := range rows / walks {
		for w := range walks {
			interleaved = append(interleaved, w*(rows/walks)+i)
		}
	}
	for _, arrival := range []struct {
		name string
		rows []int
	}{{"ordered", ordered}, {"interleaved", interleaved}, {"random", rand.New(rand.NewPCG(1, 2)).Perm(rows)}} {
		b.Run(arrival.name, func(b *testing.B) {
			c, err := NewCodec[catalogueRow]()
			if err != nil {
				b.Fatal(err)
			}
			var source, batch Batch
			row := aCatalogueRow()
			for seq, i := range arrival.rows {
				row.FilePath = path(i)
				t, err := c.Append(nil, &row)
				if err != nil {
					b.Fatal(err)
				}
				source.Append(int64(seq), t)
			}
			order := NewKeyOrder(c.Columns()[:c.Keys()])
			b.ReportAllocs()
			for b.Loop() {
				batch.Data, batch.Rows = source.Data, append(batch.Rows[:0], source.Rows...)
				order.SortUnique(&batch)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(arrival.rows)), "ns/row")
		})
	}
}
