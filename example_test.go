package memdbwriter_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	"github.com/memdbwriter/memdbwriter"
)

// tempDatabase is a fresh SQLite destination, so that the examples run
// anywhere. With PostgreSQL only the URL differs.
func tempDatabase() (*memdbwriter.Destination, func()) {
	dir, err := os.MkdirTemp("", "memdbwriter")
	if err != nil {
		log.Fatal(err)
	}
	d, err := memdbwriter.OpenDestination(context.Background(), "sqlite:"+filepath.ToSlash(filepath.Join(dir, "example.db")))
	if err != nil {
		log.Fatal(err)
	}
	return d, func() { d.Close(); os.RemoveAll(dir) }
}

// Order is a row of any table: the tags say which column a field is.
type Order struct {
	ID      int64     `db:"id,key"`
	Item    string    `db:"item"`
	Created time.Time `db:"created,insertonly"`
}

func Example() {
	ctx := context.Background()
	dest, closeAll := tempDatabase()
	defer closeAll()

	orders, err := memdbwriter.TableOf[Order]("orders", memdbwriter.CreateTable())
	if err != nil {
		log.Fatal(err)
	}
	w, err := memdbwriter.New(ctx, orders, dest, memdbwriter.Config{})
	if err != nil {
		log.Fatal(err)
	}
	for id := range int64(1000) {
		if err := w.Add(ctx, Order{ID: id, Item: "book", Created: time.Now()}); err != nil {
			log.Fatal(err)
		}
	}
	if err := w.Stop(ctx); err != nil { // everything is stored, or why not
		log.Fatal(err)
	}
	fmt.Println(w.SyncStatus().Synced, "orders stored")
	// Output: 1000 orders stored
}

func ExampleNew() {
	ctx := context.Background()
	dest, closeAll := tempDatabase()
	defer closeAll()

	w, err := memdbwriter.New(ctx, memdbwriter.BackupFiles(7), dest, memdbwriter.Standard())
	if err != nil {
		log.Fatal(err)
	}
	defer w.Stop(ctx)
	if err := w.Add(ctx, memdbwriter.FileInfo{Path: "/data/a.txt", Size: 42}); err != nil {
		log.Fatal(err)
	}
	if err := w.ForceSync(ctx); err != nil {
		log.Fatal(err)
	}
	s := w.SyncStatus()
	fmt.Printf("total %d, synced %d, pending %d, failed %d, progress %.0f %%\n", s.Total, s.Synced, s.Pending, s.Failed, s.Progress)
	// Output: total 1, synced 1, pending 0, failed 0, progress 100 %
}

func ExampleOpen() {
	ctx := context.Background()
	dest, closeAll := tempDatabase()
	defer closeAll()

	// USE_MEMORY_DB=False, which LoadConfig reads, is the way back to writing
	// in the caller's goroutine. The code stays as it is.
	cfg, err := memdbwriter.LoadConfig(map[string]string{"USE_MEMORY_DB": "False"})
	if err != nil {
		log.Fatal(err)
	}
	w, err := memdbwriter.Open(ctx, memdbwriter.BackupFiles(7), dest, cfg)
	if err != nil {
		log.Fatal(err)
	}
	if _, err := w.AddBatch(ctx, []memdbwriter.FileInfo{{Path: "/a"}, {Path: "/b"}}); err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%T\n", w)
	fmt.Println(w.Stop(ctx), w.SyncStatus().Synced)
	// Output:
	// *memdbwriter.BatchDBWriter[github.com/memdbwriter/memdbwriter.FileInfo]
	// <nil> 2
}

func ExampleNewBatch() {
	ctx := context.Background()
	dest, closeAll := tempDatabase()
	defer closeAll()

	w, err := memdbwriter.NewBatch(ctx, memdbwriter.BackupFiles(7), dest, memdbwriter.Config{SyncBatchSize: 500})
	if err != nil {
		log.Fatal(err)
	}
	for i := range 1200 { // the 501st and the 1001st Add wait for the database
		if err := w.Add(ctx, memdbwriter.FileInfo{Path: fmt.Sprint("/data/", i)}); err != nil {
			log.Fatal(err)
		}
	}
	fmt.Println(w.SyncStatus().Synced, "stored,", w.SyncStatus().Pending, "waiting")
	fmt.Println(w.Stop(ctx))
	// Output:
	// 1000 stored, 200 waiting
	// <nil>
}

func ExampleLoadConfig() {
	// Usually: values, err := godotenv.Read(".env")
	values := map[string]string{"MEMORY_DB_SYNC_BATCH_SIZE": "10000", "MEMORY_DB_SYNC_INTERVAL": "60", "MEMORY_DB_MAX_FILES": "-1"}
	_, err := memdbwriter.LoadConfig(values)
	fmt.Println(err)
	delete(values, "MEMORY_DB_MAX_FILES")
	cfg, err := memdbwriter.LoadConfig(values)
	fmt.Println(cfg.SyncBatchSize, cfg.SyncInterval, err)
	// Output:
	// memdbwriter: bad configuration:
	// MEMORY_DB_MAX_FILES="-1": it must be from 1 to 2147483647
	// 10000 1m0s <nil>
}

func ExampleTableOf() {
	type reading struct {
		Sensor string    `db:"sensor,key"`
		At     time.Time `db:"at,key"`
		Value  float64   `db:"value"`
		Raw    []byte    `db:"raw"`       // nil is NULL
		Extra  any       `db:"meta,json"` // any Go value
	}
	table, err := memdbwriter.TableOf[reading]("metrics.readings", memdbwriter.OnConflict(memdbwriter.ConflictIgnore))
	fmt.Println(table, err)

	_, err = memdbwriter.TableOf[struct {
		C chan int `db:"c"`
	}]("t")
	fmt.Println(errors.Is(err, memdbwriter.ErrTable))
	// Output:
	// metrics.readings <nil>
	// true
}

func ExampleOpenDestination() {
	_, err := memdbwriter.OpenDestination(context.Background(), "")
	fmt.Println(err)
	d, err := memdbwriter.OpenDestination(context.Background(), "postgres://backup:secret@db.example:5432/catalog?sslmode=require")
	fmt.Println(d, err)
	if err == nil {
		d.Close()
	}
	// Output:
	// memdbwriter: bad configuration: no destination: set MEMORY_DB_DATABASE_URL (or DATABASE_URL) to postgres://user:password@host/database or sqlite:file.db
	// postgres://backup@db.example:5432/catalog <nil>
}

func ExampleMemoryDBWriter_SyncErrors() {
	ctx := context.Background()
	dest, closeAll := tempDatabase()
	defer closeAll()
	table, err := memdbwriter.TableOf[Order]("orders", memdbwriter.OnConflict(memdbwriter.ConflictInsertOnly))
	if err != nil {
		log.Fatal(err)
	}
	w, err := memdbwriter.New(ctx, table, dest, memdbwriter.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer w.Stop(ctx)
	for _, id := range []int64{1, 2, 1} {
		if err := w.Add(ctx, Order{ID: id, Item: "book"}); err != nil {
			log.Fatal(err)
		}
	}
	fmt.Println(errors.Is(w.ForceSync(ctx), memdbwriter.ErrRowsFailed))
	for failed, err := range w.SyncErrors() {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(failed.Err.Key, failed.Err.SQLState, failed.Row.Item)
	}
	// Output:
	// true
	// (id)=(1) 23505 book
}

func ExampleMemoryDBWriter_Query() {
	ctx := context.Background()
	dest, closeAll := tempDatabase()
	defer closeAll()
	w, err := memdbwriter.New(ctx, memdbwriter.BackupFiles(7), dest, memdbwriter.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer w.Stop(ctx)
	for i := range 10 {
		if err := w.Add(ctx, memdbwriter.FileInfo{Path: fmt.Sprint("/data/", i), Size: int64(i)}); err != nil {
			log.Fatal(err)
		}
	}
	res, err := w.Query(ctx, "SELECT count(*), sum(file_size) FROM backup_files WHERE file_size > ?", 5)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(res.Rows[0]...)
	// Output: 4 30
}

func ExampleMemoryDBWriter_Pending() {
	ctx := context.Background()
	dest, closeAll := tempDatabase()
	defer closeAll()
	w, err := memdbwriter.New(ctx, memdbwriter.BackupFiles(7), dest, memdbwriter.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer w.Stop(ctx)
	if _, err := w.AddBatch(ctx, []memdbwriter.FileInfo{{Path: "/a"}, {Path: "/b"}}); err != nil {
		log.Fatal(err)
	}
	for row, err := range w.Pending(ctx) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(row.Path)
	}
	// Output:
	// /a
	// /b
}

func ExampleEscapePath() {
	text, escaped := memdbwriter.EscapePath("/music/caf\xe9.mp3") // Latin-1, not UTF-8
	fmt.Println(text, escaped)
	fmt.Printf("%q\n", memdbwriter.UnescapePath(text))
	// Output:
	// /music/caf\xE9.mp3 true
	// "/music/caf\xe9.mp3"
}
