package memdbwriter

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/memdbwriter/memdbwriter/internal/journal/faultfs"
	"github.com/memdbwriter/memdbwriter/internal/journal/fsys"
	"github.com/memdbwriter/memdbwriter/internal/pgtest"
)

// killEnv makes the test binary a process that is to be killed. It holds a life.
const killEnv = "MEMDB_TEST_KILLED"

// startLife starts a process that writes its promises to the first result, and
// what went wrong to the second.
func startLife(t *testing.T, l life) (*exec.Cmd, io.Reader, *bytes.Buffer) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	task, err := json.Marshal(l)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), lifetime)
	t.Cleanup(cancel)
	c := exec.CommandContext(ctx, self, "-test.run=^TestLifeOfAKilledProcess$")
	c.Env = append(os.Environ(), killEnv+"="+string(task))
	messages := new(bytes.Buffer)
	c.Stderr = messages
	if _, err := c.StdinPipe(); err != nil { // its end is ours
		t.Fatal(err)
	}
	output, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	return c, output, messages
}

// TestLifeOfAKilledProcess is the main of such a process.
func TestLifeOfAKilledProcess(t *testing.T) {
	task := os.Getenv(killEnv)
	if task == "" {
		return
	}
	var l life
	if err := json.Unmarshal([]byte(task), &l); err != nil {
		t.Fatal(err)
	}
	go func() { // so that it does not outlive its parent
		io.Copy(io.Discard, os.Stdin)
		os.Exit(1)
	}()
	l.armStep()
	w, _ := openNumbered(t, l)
	fmt.Println("open")
	l.live(w)
}

// complain ends the process in a way that the parent notices.
func complain(args ...any) {
	fmt.Fprintln(os.Stderr, args...)
	os.Exit(1)
}

// armStep has the process kill itself when it comes to its step.
func (l *life) armStep() {
	if l.Step == "" {
		return
	}
	begin := time.Now()
	var once atomic.Bool
	atStep = func(step string) {
		if step != l.Step || time.Since(begin) < l.After || once.Swap(true) {
			return
		}
		fmt.Println("at", step)
		self, err := os.FindProcess(os.Getpid())
		if err == nil {
			err = self.Kill()
		}
		if err != nil {
			complain(err)
		}
		select {} // the signal is on its way
	}
}

// openNumbered opens the writer of a life.
func openNumbered(t *testing.T, l life) (w *MemoryDBWriter[numberedRow], closeAll func()) {
	d, err := OpenDestination(context.Background(), l.URL)
	if err != nil {
		t.Fatal(err)
	}
	var opts []TableOption
	if l.Keyless {
		opts = append(opts, OnConflict(ConflictInsertOnly))
	}
	table, err := TableOf[numberedRow]("numbered", opts...)
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{
		CheckpointDir: l.Dir, Durability: l.Level, CheckpointInterval: -1, SyncWorkers: l.Workers, SyncBatchSize: l.Batch,
		SyncInterval: 10 * time.Millisecond, MaxRows: 6000, fs: steppingFS(), segmentBytes: 128 << 10,
	}
	if l.Hoard > 0 {
		cfg.SyncInterval, cfg.SyncBatchSize, cfg.MaxRows = time.Hour, 1_000_000, 10_000_000
	}
	if w, err = New(context.Background(), table, d, cfg); err != nil {
		complain(err)
	}
	return w, func() { d.Close() }
}

// live adds rows without an end, and has them persisted and synced meanwhile.
func (l *life) live(w *MemoryDBWriter[numberedRow]) {
	ctx := context.Background()
	var added atomic.Int64
	added.Store(l.First - 1)
	every := func(d time.Duration, what string, do func(context.Context) error) {
		go func() {
			for range time.Tick(d) {
				n := added.Load()
				if err := do(ctx); err != nil && !errors.Is(err, ErrRowsFailed) {
					complain(what, err)
				}
				if what != "" && n >= l.First {
					fmt.Println(what, n)
				}
			}
		}()
	}
	if l.Level != DurabilityNone {
		every(5*time.Millisecond, "persisted", w.Persist)
	}
	if l.Hoard == 0 {
		every(30*time.Millisecond, "synced", w.ForceSync)
		every(35*time.Millisecond, "", func(ctx context.Context) error { _, err := w.RetrySyncErrors(ctx); return err })
		if l.Level != DurabilityNone {
			every(20*time.Millisecond, "", func(ctx context.Context) error { _, err := w.Checkpoint(ctx); return err })
		}
	}
	l.add(ctx, w, &added)
}

func (l *life) add(ctx context.Context, w *MemoryDBWriter[numberedRow], added *atomic.Int64) {
	rows := make([]numberedRow, 0, 100)
	for n := l.First; l.Hoard == 0 || n < l.First+l.Hoard; n++ {
		rows = append(rows, numbered(n))
		if len(rows) < 1+rand.IntN(100) && n != l.First+l.Hoard-1 {
			continue
		}
		if _, err := w.AddBatch(ctx, rows); err != nil {
			complain("AddBatch", err)
		}
		added.Store(n)
		rows = rows[:0]
	}
	select {}
}

// steppingFS is the operating system's file system whose operations are steps.
func steppingFS() fsys.FS {
	name := func(op faultfs.Op, path string) string {
		switch base := filepath.Base(path); {
		case strings.HasPrefix(base, "checkpoint_"):
			return string(op) + " checkpoint"
		case strings.HasPrefix(base, "journal_"):
			return string(op) + " journal"
		}
		return string(op) + " directory"
	}
	return hookFS{
		before: func(op faultfs.Op, path string) error { step(name(op, path)); return nil },
		after:  func(op faultfs.Op, path string) { step(name(op, path) + " done") },
	}
}

// A writer waits for one of another process that has the files, as long as its
// context lasts, and takes over what that has left.
func TestAWriterWaitsForAnotherProcess(t *testing.T) {
	db := pgtest.Open(t)
	db.Exec(t, createNumbered)
	db.Exec(t, keyNumbered)
	l := life{URL: db.URL, Dir: t.TempDir(), Level: DurabilityJournal, First: perLife, Workers: 1, Batch: 100, Hoard: 100}
	child, output, _ := startLife(t, l)
	for lines := bufio.NewScanner(output); lines.Scan() && lines.Text() != fmt.Sprint("persisted ", perLife+99); {
		continue
	}
	d, err := OpenDestination(t.Context(), l.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	warned := make(chan struct{}, 10)
	cfg := Config{CheckpointDir: l.Dir, Logger: slog.New(listener{slog.DiscardHandler, "the files are another process's, waiting for it to end", warned})}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = New(ended, mustTable[numberedRow](t, "numbered"), d, cfg)
	if !errors.Is(err, context.Canceled) { // before it looks at the files
		t.Errorf("with an ended context: %v", err)
	}
	waiting, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() { <-warned; cancel() }()
	_, err = New(waiting, mustTable[numberedRow](t, "numbered"), d, cfg)
	wantError(t, err, ErrLocked, fmt.Sprintf("process %d", child.Process.Pid))
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	go func() {
		<-warned
		child.Process.Kill() // an error means that it is dead
	}()
	w, err := New(patient(t), mustTable[numberedRow](t, "numbered"), d, cfg)
	if err != nil {
		t.Fatal(err)
	}
	_ = child.Wait() // killed
	if s := w.SyncStatus(); s.Recovered != 100 {
		t.Errorf("%+v", s)
	}
	abandon[numberedRow](w)
}
