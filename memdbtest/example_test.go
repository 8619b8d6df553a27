package memdbtest_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/memdbwriter/memdbwriter"
	"github.com/memdbwriter/memdbwriter/memdbtest"
)

// The database refuses a row, and loses the answer to a COMMIT: the program's
// rows are stored once all the same.
func Example() {
	ctx, db, table := context.Background(), memdbtest.New(), memdbwriter.BackupFiles(7)
	w, err := memdbwriter.New(ctx, table, db.Destination(), memdbwriter.Config{})
	if err != nil {
		log.Fatal(err)
	}
	db.Next(memdbtest.CommitLost())
	memdbtest.Reject(db, table, "23514", func(f memdbwriter.FileInfo) bool { return f.Size < 0 })
	w.Add(ctx, memdbwriter.FileInfo{Path: "/data/a.txt", Size: 42})
	w.ForceSync(ctx)
	w.Add(ctx, memdbwriter.FileInfo{Path: "/data/bad", Size: -1})
	fmt.Println(errors.Is(w.Stop(ctx), memdbwriter.ErrRowsFailed))
	rows, err := memdbtest.Rows(db, table)
	fmt.Println(len(rows), rows[0].Path, err)
	// Output:
	// true
	// 1 /data/a.txt <nil>
}

func ExampleDB_Always() {
	ctx, db := context.Background(), memdbtest.New()
	db.Always(memdbtest.Refused("42501", "permission denied for table backup_files"))
	_, err := memdbwriter.New(ctx, memdbwriter.BackupFiles(7), db.Destination(), memdbwriter.Config{})
	fmt.Println(err)
	// Output: memdbwriter: the destination cannot take the rows: backup_files at memdbtest: permission denied for table backup_files (SQLSTATE 42501)
}

func ExampleProtect() {
	ctx, db, table := context.Background(), memdbtest.New(), memdbwriter.BackupFiles(7)
	w, err := memdbwriter.New(ctx, table, db.Destination(), memdbwriter.Config{})
	if err != nil {
		log.Fatal(err)
	}
	file := memdbwriter.FileInfo{Path: "/data/a.txt", Size: 1}
	w.Add(ctx, file)
	w.ForceSync(ctx)
	memdbtest.Protect(db, table, file) // it is on tape now
	file.Size = 2
	w.Add(ctx, file)
	w.Stop(ctx)
	rows, err := memdbtest.Rows(db, table)
	fmt.Println(rows[0].Size, rows[0].IsCopySuccess, err)
	// Output: 1 true <nil>
}
