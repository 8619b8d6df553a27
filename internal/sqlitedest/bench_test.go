package sqlitedest

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/memdbwriter/memdbwriter/internal/dest"
	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

// file is the catalogue row of a backup scanner.
type file struct {
	Set         int64      `db:"backup_set_id,key"`
	Path        string     `db:"file_path,key"`
	Name        string     `db:"file_name"`
	Directory   *string    `db:"directory_path"`
	Display     *string    `db:"display_name"`
	Type        string     `db:"file_type"`
	Size        int64      `db:"file_size"`
	Compressed  *int64     `db:"compressed_size,insertonly"`
	Permissions *string    `db:"file_permissions"`
	Owner       *string    `db:"file_owner"`
	Group       *string    `db:"file_group"`
	Created     *time.Time `db:"created_time"`
	Modified    *time.Time `db:"modified_time"`
	Accessed    *time.Time `db:"accessed_time"`
	BlockStart  *int64     `db:"tape_block_start,insertonly"`
	BlockCount  *int32     `db:"tape_block_count,insertonly"`
	IsPacked    bool       `db:"compressed,insertonly"`
	Encrypted   bool       `db:"encrypted,insertonly"`
	Checksum    *string    `db:"checksum,insertonly"`
	Copied      bool       `db:"is_copy_success,insertonly"`
	CopiedAt    *time.Time `db:"copy_status_at,insertonly"`
	BackupTime  time.Time  `db:"backup_time,passive"`
	Chunk       *int32     `db:"chunk_number,insertonly"`
	Version     int32      `db:"version"`
	Metadata    *string    `db:"file_metadata,insertonly"`
	Tags        *string    `db:"tags,insertonly"`
}

func catalogue(b *testing.B) (*dest.Table, *tuple.Codec[file]) {
	codec, err := tuple.NewCodec[file]()
	if err != nil {
		b.Fatal(err)
	}
	t := &dest.Table{Name: "backup_files", Keys: codec.Keys(), Guard: "is_copy_success"}
	for _, f := range codec.Fields() {
		t.Columns = append(t.Columns, dest.Column{Column: f.Column, InsertOnly: f.InsertOnly, Passive: f.Passive})
	}
	return t, codec
}

const batchRows = 5000

// fileBatch makes the n-th batch of a scan in directory order.
func fileBatch(b *testing.B, codec *tuple.Codec[file], n int, seen time.Time) *tuple.Batch {
	batch := &tuple.Batch{}
	var data []byte
	for i := n * batchRows; i < (n+1)*batchRows; i++ {
		dir := fmt.Sprintf("/srv/data/projects/archive/department-%03d/year-%04d/share-%06d", i/20000, i/2000, i/200)
		name := fmt.Sprintf("document-%08d-final-version.pdf", i)
		at, mode := time.UnixMicro(1.7e15+int64(i)*1e6).UTC(), "644"
		f := file{
			Set: 42, Path: dir + "/" + name, Name: name, Directory: &dir, Display: &name, Type: "file", Size: int64(i) * 517,
			Permissions: &mode, Created: &at, Modified: &at, Accessed: &at, BackupTime: seen, Version: 1,
		}
		var err error
		if data, err = codec.Append(data[:0], &f); err != nil {
			b.Fatal(err)
		}
		batch.Append(int64(i), data)
	}
	return batch
}

// BenchmarkWrite stores catalogue rows: new ones, and the same ones again,
// which change nothing.
func BenchmarkWrite(b *testing.B) {
	const batches = 40
	tab, codec := catalogue(b)
	seen := time.Now()
	var data []*tuple.Batch
	for n := range batches {
		data = append(data, fileBatch(b, codec, n, seen))
	}
	write := func(b *testing.B, s dest.Sink) {
		for _, batch := range data {
			if _, err := s.Write(ctx, batch); err != nil {
				b.Fatal(err)
			}
		}
	}
	report := func(b *testing.B) {
		rows := float64(b.N * batches * batchRows)
		b.ReportMetric(rows/b.Elapsed().Seconds(), "rows/s")
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/rows, "ns/row")
		b.ReportAllocs()
	}
	b.Run("new", func(b *testing.B) {
		for i := range b.N {
			b.StopTimer()
			s := bind(b, newDB(b, filepath.Join(b.TempDir(), fmt.Sprintf("%d.db", i))), tab)
			if err := s.Check(ctx); err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
			write(b, s)
		}
		report(b)
	})
	b.Run("rescan", func(b *testing.B) {
		s := bind(b, newDB(b, filepath.Join(b.TempDir(), "x.db")), tab)
		write(b, s)
		b.ResetTimer()
		for range b.N {
			write(b, s)
		}
		report(b)
	})
}
