package memdbwriter_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"strings"
	"time"

	"github.com/memdbwriter/memdbwriter"
)

// A program says that it has a row only when that would survive it. The next
// one takes over what is left.
func ExampleMemoryDBWriter_Persist() {
	ctx := context.Background()
	dest, closeAll := tempDatabase()
	defer closeAll()
	dir, err := os.MkdirTemp("", "memdbwriter")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	cfg := memdbwriter.Config{CheckpointDir: dir, Durability: memdbwriter.DurabilityFsync, SyncInterval: time.Hour}

	w, err := memdbwriter.New(ctx, memdbwriter.BackupFiles(7), dest, cfg)
	if err != nil {
		log.Fatal(err)
	}
	if err := w.Add(ctx, memdbwriter.FileInfo{Path: "/a"}); err != nil {
		log.Fatal(err)
	}
	if err := w.Persist(ctx); err != nil { // one fsync for all who wait
		log.Fatal(err)
	}
	fmt.Println("safe, waiting:", w.SyncStatus().Pending)

	hurry, cancel := context.WithCancel(ctx)
	cancel() // no time to store anything
	err = w.Stop(hurry)
	fmt.Println("left behind:", errors.Is(err, memdbwriter.ErrUnsynced))

	if w, err = memdbwriter.New(ctx, memdbwriter.BackupFiles(7), dest, cfg); err != nil {
		log.Fatal(err)
	}
	if err := w.Stop(ctx); err != nil {
		log.Fatal(err)
	}
	s := w.SyncStatus()
	fmt.Println("recovered:", s.Recovered, "stored:", s.Synced)
	// Output:
	// safe, waiting: 1
	// left behind: true
	// recovered: 1 stored: 1
}

// A checkpoint is SQL text that people and the sqlite3 shell read.
func ExampleMemoryDBWriter_Checkpoint() {
	ctx := context.Background()
	dest, closeAll := tempDatabase()
	defer closeAll()
	dir, err := os.MkdirTemp("", "memdbwriter")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	orders, err := memdbwriter.TableOf[Order]("orders", memdbwriter.CreateTable())
	if err != nil {
		log.Fatal(err)
	}
	w, err := memdbwriter.New(ctx, orders, dest, memdbwriter.Config{CheckpointDir: dir, SyncInterval: time.Hour})
	if err != nil {
		log.Fatal(err)
	}
	defer w.Stop(ctx)
	if err := w.Add(ctx, Order{ID: 1, Item: "Fisherman's Friend", Created: time.Unix(0, 0)}); err != nil {
		log.Fatal(err)
	}
	path, err := w.Checkpoint(ctx)
	if err != nil {
		log.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		log.Fatal(err)
	}
	_, rows, _ := strings.Cut(string(text), "INSERT INTO")
	rows, _, _ = strings.Cut(rows, "COMMIT;")
	fmt.Printf("INSERT INTO%s", rows)
	// Output:
	// INSERT INTO "orders" VALUES
	// (1,1,'Fisherman''s Friend','1970-01-01 00:00:00.000000+00:00');
}
