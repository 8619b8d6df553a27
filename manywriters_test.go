package memdbwriter

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/memdbwriter/memdbwriter/internal/pgtest"
)

// Several writers, in one process and in several, on one table with the same
// keys. What a key holds in the end is the last row that one of them wrote.

const (
	sharedKeys    = 300
	rowsPerWriter = 3000
)

// lasts are the last names that a writer gave to the keys.
type lasts map[int64]string

// writeShared writes random keys in a random order, in names that no other
// writer has, and stops.
func writeShared(ctx context.Context, databaseURL, name string, workers int) (lasts, error) {
	d, err := OpenDestination(ctx, databaseURL)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	table, err := TableOf[item]("items")
	if err != nil {
		return nil, err
	}
	w, err := New(ctx, table, d, Config{SyncBatchSize: 40, SyncWorkers: workers})
	if err != nil {
		return nil, err
	}
	last := lasts{}
	for i := range rowsPerWriter {
		row := newItem(rand.Int64N(sharedKeys), fmt.Sprintf("%s-%d", name, i))
		if err = w.Add(ctx, row); err != nil {
			break
		}
		last[row.ID] = row.Name
	}
	if stopErr := w.Stop(ctx); stopErr != nil {
		return nil, stopErr
	}
	if s := w.SyncStatus(); s.Synced+s.Superseded != rowsPerWriter || s.Pending != 0 || s.Failed != 0 {
		return nil, fmt.Errorf("the ledger of %s: %+v", name, s)
	}
	return last, err
}

// wantOneOfTheLast checks that each key holds the last row that one of the
// writers wrote for it.
func wantOneOfTheLast(t *testing.T, db *pgtest.DB, all []lasts) {
	t.Helper()
	found := map[int64]string{}
	for _, row := range db.Rows(t, "SELECT id, name FROM items") {
		id, name, _ := strings.Cut(row, "|")
		n, err := strconv.ParseInt(id, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		found[n] = name
	}
	for id := range int64(sharedKeys) {
		var candidates []string
		for _, last := range all {
			if name, ok := last[id]; ok {
				candidates = append(candidates, name)
			}
		}
		ok := len(candidates) == 0 && found[id] == ""
		for _, c := range candidates {
			ok = ok || c == found[id]
		}
		if !ok {
			t.Errorf("key %d holds %q, and the last rows of the writers were %q", id, found[id], candidates)
		}
	}
}

func TestManyWritersInOneProcess(t *testing.T) {
	for _, workers := range []int{1, 4} {
		t.Run(fmt.Sprintf("%d workers", workers), func(t *testing.T) {
			db := pgtest.Open(t)
			itemsOn(db).createItems(t)
			all := make([]lasts, 4)
			var writers sync.WaitGroup
			for i := range all {
				writers.Go(func() {
					var err error
					if all[i], err = writeShared(patient(t), db.URL, fmt.Sprint("writer", i), workers); err != nil {
						t.Error(err)
					}
				})
			}
			writers.Wait()
			wantOneOfTheLast(t, db, all)
		})
	}
}

// manyEnv makes the test binary one of the processes: the name of its writer
// and the number of workers.
const manyEnv = "MEMDB_TEST_MANY_WRITERS"

// TestOneOfManyWriters is the main of a child process. It waits for the end of
// its input, so that all begin together, and prints its last rows.
func TestOneOfManyWriters(t *testing.T) {
	task := strings.Fields(os.Getenv(manyEnv))
	if len(task) != 3 {
		return
	}
	workers, err := strconv.Atoi(task[2])
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		t.Fatal(err)
	}
	last, err := writeShared(patient(t), task[0], task[1], workers)
	if err != nil {
		t.Fatal(err)
	}
	for id, name := range last {
		fmt.Printf("last %d %s\n", id, name)
	}
}

func TestManyProcesses(t *testing.T) {
	for _, workers := range []int{1, 4} {
		t.Run(fmt.Sprintf("%d workers", workers), func(t *testing.T) {
			db := pgtest.Open(t)
			itemsOn(db).createItems(t)
			self, err := os.Executable()
			if err != nil {
				t.Fatal(err)
			}
			children := make([]*exec.Cmd, 3)
			outputs := make([]bytes.Buffer, len(children))
			var inputs []io.Closer
			for i := range children {
				c := exec.CommandContext(patient(t), self, "-test.run=^TestOneOfManyWriters$")
				c.Env = append(os.Environ(), fmt.Sprintf("%s=%s process%d %d", manyEnv, db.URL, i, workers))
				c.Stdout, c.Stderr = &outputs[i], &outputs[i]
				in, err := c.StdinPipe()
				if err != nil {
					t.Fatal(err)
				}
				if err := c.Start(); err != nil {
					t.Fatal(err)
				}
				children[i], inputs = c, append(inputs, in)
			}
			for _, in := range inputs {
				in.Close()
			}
			all := make([]lasts, len(children))
			for i, c := range children {
				if err := c.Wait(); err != nil {
					t.Errorf("process %d: %v\n%s", i, err, &outputs[i])
				}
				all[i] = parseLasts(t, outputs[i].String())
			}
			wantOneOfTheLast(t, db, all)
		})
	}
}

func parseLasts(t *testing.T, output string) lasts {
	t.Helper()
	last := lasts{}
	for line := range strings.Lines(output) {
		var id int64
		var name string
		if n, _ := fmt.Sscanf(line, "last %d %s", &id, &name); n == 2 {
			last[id] = name
		}
	}
	if len(last) == 0 {
		t.Errorf("a process wrote nothing:\n%s", output)
	}
	return last
}

// itemsOn looks into a database without a destination.
func itemsOn(db *pgtest.DB) *place {
	return &place{
		query: func(tb testing.TB, sql string) []string { tb.Helper(); return db.Rows(tb, sql) },
		exec:  func(tb testing.TB, sql string) { tb.Helper(); db.Exec(tb, sql) },
	}
}
