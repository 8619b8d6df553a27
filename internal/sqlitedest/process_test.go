package sqlitedest

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/memdbwriter/memdbwriter/internal/dest"
	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

// childEnv tells the test binary to be another process: what to do, and with
// which file.
const childEnv = "SQLITEDEST_TEST_CHILD"

var children = map[string]func(path string) error{"write": childWrites, "lock": childLocks}

// runChild reports whether this process is a child, after doing its work.
func runChild() bool {
	job, path, ok := strings.Cut(os.Getenv(childEnv), ":")
	if !ok {
		return false
	}
	if err := children[job](path); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return true
}

// child is another process, and the lines it writes.
type child struct {
	cmd   *exec.Cmd
	lines *bufio.Scanner
}

func startChild(t *testing.T, job, path string) *child {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+job+":"+path)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		// The child reads it to its end, which comes with ours at the latest.
		_, err = cmd.StdinPipe()
	}
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	c := &child{cmd, bufio.NewScanner(out)}
	t.Cleanup(c.kill)
	return c
}

func (c *child) line(t *testing.T) string {
	t.Helper()
	if !c.lines.Scan() {
		t.Fatalf("the other process ended: %v", c.lines.Err())
	}
	return c.lines.Text()
}

// kill is kill -9. What the process has said before is still read.
func (c *child) kill() {
	if c.cmd.ProcessState == nil {
		_ = c.cmd.Process.Kill()
		for c.lines.Scan() {
		}
		_ = c.cmd.Wait()
	}
}

const childRows = 700

func childTable() *dest.Table { return table("t", "k bigint", "v text") }

// childWrites stores batch after batch, and says so after each.
func childWrites(path string) error {
	go func() { // do not outlive the test
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(1)
	}()
	db, err := Open(path)
	if err != nil {
		return err
	}
	s, err := db.Bind(childTable(), nil)
	if err != nil {
		return err
	}
	for n := 0; ; n++ {
		b := &tuple.Batch{}
		for i := range childRows {
			data := []byte{0, 2}
			if data, err = tuple.AppendValue(data, tuple.Int8, int64(n*childRows+i)); err != nil {
				return err
			}
			if data, err = tuple.AppendValue(data, tuple.Text, strings.Repeat("x", 400)); err != nil {
				return err
			}
			b.Append(int64(i), data)
		}
		if _, err := s.Write(ctx, b); err != nil {
			return err
		}
		fmt.Println(n + 1)
	}
}

// childLocks holds the write lock of the file until its input ends.
func childLocks(path string) error {
	db, err := Open(path)
	if err != nil {
		return err
	}
	conn, err := db.pool.Conn(ctx)
	if err != nil {
		return err
	}
	if _, err := conn.ExecContext(ctx, "BEGIN EXCLUSIVE"); err != nil {
		return err
	}
	fmt.Println("locked")
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

func TestAKilledProcessLeavesWholeBatches(t *testing.T) {
	path := filepath.Join(t.TempDir(), "catalog.db")
	stored := 0
	for round := range 3 {
		c := startChild(t, "write", path)
		for range 3 + 7*round {
			c.line(t)
		}
		_ = c.cmd.Process.Kill()
		said := 3 + 7*round
		for c.lines.Scan() {
			n, err := strconv.Atoi(c.lines.Text())
			if err != nil {
				t.Fatal(err)
			}
			said = n
		}
		c.kill()
		stored = max(stored, said*childRows)

		db := newDB(t, path)
		s := bind(t, db, childTable())
		if err := s.Check(ctx); err != nil {
			t.Fatal(err)
		}
		r := newReader(t, path)
		r.want("PRAGMA integrity_check", "ok")
		n, err := strconv.Atoi(r.query("SELECT count(*) FROM t"))
		if err != nil {
			t.Fatal(err)
		}
		if n < stored || n%childRows != 0 {
			t.Errorf("%d rows are there after %d were stored in batches of %d", n, stored, childRows)
		}
		stored = n
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestALockOfAnotherProcessIsWaitedForAndPasses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "catalog.db")
	tab := table("t", "k bigint", "v text")
	rows := batch(t, tab, row{1, "a"})
	patient, err := open(path, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	defer patient.Close()
	hasty, err := open(path, time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	defer hasty.Close()
	waits, fails := bind(t, patient, tab), bind(t, hasty, tab)
	for _, s := range []dest.Sink{waits, fails} {
		if err := s.Check(ctx); err != nil {
			t.Fatal(err)
		}
	}

	other := startChild(t, "lock", path)
	other.line(t)
	_, err = fails.Write(ctx, rows)
	asError(t, err, dest.ClassTransient, "database is locked", "BEGIN in an sqlite3 shell")

	// A context ends the wait, and waiting for one's turn behind it.
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	results := make(chan error)
	for range 3 {
		go func() {
			_, err := waits.Write(short, rows)
			results <- err
		}()
	}
	for range 3 {
		asError(t, <-results, dest.ClassTransient, "deadline exceeded")
	}

	// The end of the lock ends the wait, too.
	go func() {
		_, err := waits.Write(ctx, rows)
		results <- err
	}()
	other.kill()
	if err := <-results; err != nil {
		t.Error(err)
	}
	if _, err := fails.Write(ctx, rows); err != nil {
		t.Error(err)
	}
}

func TestALockWhileOpeningPasses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "catalog.db")
	r := newReader(t, path)
	r.db.SetMaxOpenConns(1)
	r.exec("CREATE TABLE other(x); BEGIN EXCLUSIVE") // of a file without a write-ahead log
	db, err := open(path, time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	tab := table("t", "k bigint")
	s := bind(t, db, tab)
	_, err = s.Write(ctx, batch(t, tab, row{1}))
	asError(t, err, dest.ClassTransient, "database is locked")
	r.exec("COMMIT")
	if _, err := s.Write(ctx, batch(t, tab, row{1})); err != nil {
		t.Fatal(err)
	}
	r.want("SELECT k FROM t", "1")
}
