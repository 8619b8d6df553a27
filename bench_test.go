package memdbwriter

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/memdbwriter/memdbwriter/internal/dest"
	"github.com/memdbwriter/memdbwriter/internal/pgtest"
)

// The throughput benchmark: every way to get the rows of the catalogue into
// PostgreSQL, on the same rows, against the same private server, in one run.
//
//	go test -run '^$' -bench Throughput -benchtime 1x .
//
// Only ratios between ways of the same run mean something.

const (
	benchRows      = 200_000
	benchSingle    = 4_000 // rows of single_insert, which is slow
	rowsPerDir     = 200
	chunkRows      = 5_000
	benchSet       = 7
	benchTableName = "backup_files"
)

// benchFile is the i-th row of the workload. A change of generation changes
// the row but not its key.
func benchFile(i, generation int) FileInfo {
	dir := fmt.Sprintf("/srv/archive/projects/department-%02d/client-%04d/deliverables/2026", i/rowsPerDir%17, i/rowsPerDir)
	name := fmt.Sprintf("measurement-series-%06d.parquet", i)
	t := benchTime.Add(time.Duration(i) * time.Second)
	return FileInfo{
		Path: dir + "/" + name, Name: name, Directory: dir,
		Size: int64(i)*977 + int64(generation), Permissions: "0644", Owner: "backup", Group: "users",
		CreatedTime: t, ModifiedTime: t.Add(time.Duration(generation) * time.Hour), AccessedTime: t, BackupTime: benchTime,
		Tags: []byte(`{"status": "scanned"}`),
	}
}

var benchTime = time.Date(2026, 1, 2, 3, 4, 5, 678_000, time.UTC)

// workload is what the table holds before, and the rows that are written.
type workload struct {
	name   string
	filled bool // the table holds generation 0 of all rows that are not new
	row    func(i int) FileInfo
}

var workloads = []workload{
	{"new", false, func(i int) FileInfo { return benchFile(i, 0) }},
	{"rescan", true, func(i int) FileInfo { return benchFile(i, 0) }},
	{"changed", true, func(i int) FileInfo { return benchFile(i, 1) }},
	{"mixed", true, func(i int) FileInfo {
		switch {
		case i%20 == 0:
			return benchFile(i+benchRows, 0) // 5 % new
		case i%10 == 1:
			return benchFile(i, 1) // 10 % changed
		}
		return benchFile(i, 0)
	}},
}

func (w *workload) rows() []FileInfo {
	rows := make([]FileInfo, benchRows)
	for i := range rows {
		rows[i] = w.row(i)
	}
	return rows
}

// way is one way to write rows. prepare does what is not measured and returns
// what is: a function that writes all rows and returns how many.
type way struct {
	name    string
	prepare func(b *testing.B, pool *pgxpool.Pool, rows []FileInfo) func() int
	newOnly bool // it cannot write rows whose key exists
}

var ways = []way{
	{"raw_copy", rawCopy, true},
	{"pgx_copyfrom", pgxCopyFrom, true},
	{"pgx_temp_upsert", pgxTempUpsert, false},
	{"pgx_batch", pgxBatch, false},
	{"single_insert", singleInsert, false},
	{"memory_db", memoryDB, false},
	{"batch_db", batchDB, false},
}

func BenchmarkThroughput(b *testing.B) {
	for _, load := range workloads {
		rows := load.rows()
		for _, w := range ways {
			if w.newOnly && load.filled {
				continue
			}
			b.Run(load.name+"/"+w.name, func(b *testing.B) {
				var n int
				var wall, cpu time.Duration
				for range b.N {
					db, pool := benchTable(b, load.filled)
					write := w.prepare(b, pool, rows)
					runtime.GC()
					cpu0, start := processCPU(b), time.Now()
					n += write()
					wall += time.Since(start)
					cpu += processCPU(b) - cpu0
					db.Exec(b, "DROP TABLE "+benchTableName)
				}
				b.ReportMetric(float64(n)/wall.Seconds(), "rows/s")
				b.ReportMetric(float64(cpu.Nanoseconds())/float64(n), "cpu-ns/row")
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}

// benchTable makes the catalogue, empty or filled, in a state that does not
// depend on what ran before.
func benchTable(b *testing.B, filled bool) (*pgtest.DB, *pgxpool.Pool) {
	b.Helper()
	db := pgtest.Open(b)
	pool := db.Pool(b)
	for _, ddl := range backupFilesDDL("", benchTableName, "postgres") {
		db.Exec(b, ddl)
	}
	if filled {
		rawCopy(b, pool, workloads[0].rows())()
	}
	db.Exec(b, "VACUUM ANALYZE "+benchTableName)
	db.Exec(b, "CHECKPOINT")
	return db, pool
}

// rawCopy is the limit: binary COPY of chunks that were encoded before.
func rawCopy(b *testing.B, pool *pgxpool.Pool, rows []FileInfo) func() int {
	table := BackupFiles(benchSet)
	var chunks [][]byte
	for part := range slices.Chunk(rows, chunkRows) {
		chunk := []byte("PGCOPY\n\xff\r\n\x00\x00\x00\x00\x00\x00\x00\x00\x00")
		for _, f := range part {
			var err error
			if chunk, err = table.encode(chunk, &f); err != nil {
				b.Fatal(err)
			}
		}
		chunks = append(chunks, append(chunk, 0xff, 0xff))
	}
	sql := "COPY " + benchTableName + " (" + strings.Join(columnNames(&table.shape), ", ") + ") FROM STDIN (FORMAT binary)"
	conn := acquire(b, pool)
	return func() int {
		for _, chunk := range chunks {
			// Without the WriterTo of bytes.Reader, as any other COPY.
			if _, err := conn.PgConn().CopyFrom(context.Background(), struct{ io.Reader }{bytes.NewReader(chunk)}, sql); err != nil {
				b.Fatal(err)
			}
		}
		return len(rows)
	}
}

// pgxCopyFrom is what a user writes by hand for new rows.
func pgxCopyFrom(b *testing.B, pool *pgxpool.Pool, rows []FileInfo) func() int {
	conn, columns := acquire(b, pool), benchColumns()
	return func() int {
		for part := range slices.Chunk(rows, chunkRows) {
			copyInto(b, conn, benchTableName, columns, part)
		}
		return len(rows)
	}
}

// pgxTempUpsert is what a user writes by hand for upserts.
func pgxTempUpsert(b *testing.B, pool *pgxpool.Pool, rows []FileInfo) func() int {
	conn, columns := acquire(b, pool), benchColumns()
	list := strings.Join(columns, ", ")
	execute(b, conn, "CREATE TEMP TABLE incoming ON COMMIT DELETE ROWS AS SELECT "+list+" FROM "+benchTableName+" WITH NO DATA")
	upsert := "INSERT INTO " + benchTableName + " (" + list + ") SELECT " + list + " FROM incoming " + onConflict(columns)
	return func() int {
		for part := range slices.Chunk(rows, chunkRows) {
			execute(b, conn, "BEGIN")
			copyInto(b, conn, "incoming", columns, part)
			execute(b, conn, upsert)
			execute(b, conn, "COMMIT")
		}
		return len(rows)
	}
}

// pgxBatch is single upserts, 1,000 a round trip.
func pgxBatch(b *testing.B, pool *pgxpool.Pool, rows []FileInfo) func() int {
	conn, sql := acquire(b, pool), singleUpsert()
	return func() int {
		for part := range slices.Chunk(rows, 1_000) {
			batch := &pgx.Batch{}
			for i := range part {
				batch.Queue(sql, benchValues(&part[i])...)
			}
			if err := conn.SendBatch(context.Background(), batch).Close(); err != nil {
				b.Fatal(err)
			}
		}
		return len(rows)
	}
}

// singleInsert is one upsert per round trip.
func singleInsert(b *testing.B, pool *pgxpool.Pool, rows []FileInfo) func() int {
	conn, sql := acquire(b, pool), singleUpsert()
	return func() int {
		for i := range rows[:benchSingle] {
			execute(b, conn, sql, benchValues(&rows[i])...)
		}
		return benchSingle
	}
}

// memoryDB is ours with default settings, from the first Add to the return of
// ForceSync.
func memoryDB(b *testing.B, pool *pgxpool.Pool, rows []FileInfo) func() int {
	w, err := New(context.Background(), BackupFiles(benchSet), Postgres(pool), Config{})
	if err != nil {
		b.Fatal(err)
	}
	return func() int { return addAll(b, w, rows) }
}

// batchDB is our compatibility mode.
func batchDB(b *testing.B, pool *pgxpool.Pool, rows []FileInfo) func() int {
	w, err := NewBatch(context.Background(), BackupFiles(benchSet), Postgres(pool), Config{})
	if err != nil {
		b.Fatal(err)
	}
	return func() int { return addAll(b, w, rows) }
}

func addAll(b *testing.B, w Writer[FileInfo], rows []FileInfo) int {
	ctx := context.Background()
	for i := range rows {
		if err := w.Add(ctx, rows[i]); err != nil {
			b.Fatal(err)
		}
	}
	if err := w.ForceSync(ctx); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := w.Stop(ctx); err != nil {
			b.Error(err)
		}
	})
	return len(rows)
}

func columnNames(t *dest.Table) (names []string) {
	for _, c := range t.Columns {
		names = append(names, c.Name)
	}
	return names
}

func benchColumns() []string {
	t := BackupFiles(benchSet)
	return columnNames(&t.shape)
}

// benchValues are the values of a row as a user of pgx passes them, in the
// order of benchColumns.
func benchValues(f *FileInfo) []any {
	return []any{
		int32(benchSet), f.Path, f.Name, f.Directory, f.Name, "file", f.Size, f.CompressedSize, f.Permissions, f.Owner, f.Group,
		f.CreatedTime, f.ModifiedTime, f.AccessedTime, f.TapeBlockStart, f.TapeBlockCount, f.Compressed, f.Encrypted, nil,
		f.IsCopySuccess, f.CopyStatusAt, f.BackupTime, f.ChunkNumber, int32(1), f.FileMetadata, f.Tags,
	}
}

func copyInto(b *testing.B, conn *pgx.Conn, table string, columns []string, rows []FileInfo) {
	source := pgx.CopyFromSlice(len(rows), func(i int) ([]any, error) { return benchValues(&rows[i]), nil })
	if _, err := conn.CopyFrom(context.Background(), pgx.Identifier{table}, columns, source); err != nil {
		b.Fatal(err)
	}
}

// onConflict overwrites every column that is not part of the key.
func onConflict(columns []string) string {
	var set []string
	for _, c := range columns[2:] {
		set = append(set, c+" = EXCLUDED."+c)
	}
	return "ON CONFLICT (backup_set_id, file_path) DO UPDATE SET " + strings.Join(set, ", ")
}

func singleUpsert() string {
	columns := benchColumns()
	marks := make([]string, len(columns))
	for i := range marks {
		marks[i] = fmt.Sprintf("$%d", i+1)
	}
	return "INSERT INTO " + benchTableName + " (" + strings.Join(columns, ", ") + ") VALUES (" + strings.Join(marks, ", ") + ") " + onConflict(columns)
}

func execute(b *testing.B, conn *pgx.Conn, sql string, args ...any) {
	b.Helper()
	if _, err := conn.Exec(context.Background(), sql, args...); err != nil {
		b.Fatal(err)
	}
}

func acquire(b *testing.B, pool *pgxpool.Pool) *pgx.Conn {
	b.Helper()
	conn, err := pool.Acquire(context.Background())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(conn.Release)
	return conn.Conn()
}

// BenchmarkAdd is one caller of Add with nobody else around, and with every
// core adding: the destination takes everything at once.
func BenchmarkAdd(b *testing.B) {
	rows := make([]FileInfo, 10_000)
	for i := range rows {
		rows[i] = benchFile(i, 0)
	}
	for _, name := range []string{"alone", "parallel"} {
		b.Run(name, func(b *testing.B) {
			w := newTestWriter(b, nullSink{}, Config{MaxRows: 1 << 30})
			b.ReportAllocs()
			add := func(next func() bool) {
				for i := 0; next(); i++ {
					if err := w.Add(context.Background(), rows[i%len(rows)]); err != nil {
						b.Fatal(err)
					}
				}
			}
			if name == "alone" {
				add(b.Loop)
				return
			}
			b.RunParallel(func(pb *testing.PB) { add(pb.Next) })
		})
	}
}
