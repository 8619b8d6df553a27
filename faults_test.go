package memdbwriter

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/memdbwriter/memdbwriter/internal/faultproxy"
	"github.com/memdbwriter/memdbwriter/internal/pgtest"
)

// These tests break the connection to a real server at every phase of a batch,
// through a proxy, and look at the table afterwards. None of them waits for
// time to pass: the proxy tells when a fault struck, the log when the writer
// noticed.

// behindProxy is an empty table of items that writers reach through a proxy,
// and the test directly.
func behindProxy(t *testing.T, db *pgtest.DB) (*place, *faultproxy.Proxy) {
	t.Helper()
	proxy := faultproxy.Start(t, db.URL)
	d, err := OpenDestination(context.Background(), proxy.URL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	p := itemsOn(db)
	p.Destination = d
	p.createItems(t)
	return p, proxy
}

// failures is a log handler that passes on the failed attempts of a writer.
type failures struct {
	slog.Handler
	seen chan slog.Record // the first one that nobody has taken yet
}

func newFailures() *failures {
	return &failures{slog.DiscardHandler, make(chan slog.Record, 1)}
}

func (f *failures) Enabled(context.Context, slog.Level) bool { return true }

func (f *failures) Handle(_ context.Context, r slog.Record) error {
	if r.Message == "sync failed, rows stay buffered" {
		select {
		case f.seen <- r:
		default:
		}
	}
	return nil
}

// openImpatient opens a buffered writer of items that hardly pauses between
// attempts.
func openImpatient(t *testing.T, p *place, cfg Config) Writer[item] {
	t.Helper()
	w := openWriter(t, itemTable(t), p.Destination, cfg)
	w.(*MemoryDBWriter[item]).engine.core.cfg.RetryMaxDelay = 5 * time.Millisecond
	return w
}

func newModel() model { return model{rows: map[int64]item{}, failed: map[int64]int{}} }

// addRows adds rows of the keys below n, each once, to the writer and to the
// model.
func (m *model) addRows(t *testing.T, w Writer[item], n int64, name string) {
	t.Helper()
	for id := range n {
		row := newItem(id, fmt.Sprint(name, id))
		mustAdd(t, w, row)
		m.add(row)
	}
}

// closing and silent are the faults of which a client hears at once, and those
// that it must find out by itself.
var (
	closing = []faultproxy.Action{faultproxy.Reset, faultproxy.Close}
	silent  = []faultproxy.Action{faultproxy.Hang, faultproxy.HangUp, faultproxy.HangDown}
)

func everyFault() []faultproxy.Fault {
	var all []faultproxy.Fault
	for at := faultproxy.Connect; at <= faultproxy.Answer; at++ {
		for _, do := range closing {
			all = append(all, faultproxy.Fault{At: at, Do: do, After: 1000})
		}
	}
	for _, c := range []struct {
		at      faultproxy.Phase
		actions []faultproxy.Action
	}{
		{faultproxy.Connect, silent[:1]}, // one is as the other: there is no server yet
		{faultproxy.Startup, silent[:1]},
		{faultproxy.Query, silent[:1]},
		{faultproxy.Batch, silent},
		{faultproxy.CopyData, silent},
		{faultproxy.Running, silent[:1]},
		{faultproxy.Answer, silent[:1]},
	} {
		for _, do := range c.actions {
			all = append(all, faultproxy.Fault{At: c.at, Do: do, After: 1000})
		}
	}
	return all
}

// While the connection breaks at the same phase again and again rows wait and
// the status says why. Once it holds, the table is as if nothing had happened.
func TestEveryFaultAtEveryPhase(t *testing.T) {
	for _, rescan := range []bool{false, true} {
		for i, fault := range everyFault() {
			way := "direct"
			if rescan {
				way = "upsert"
			}
			t.Run(fmt.Sprintf("%s/%v/%v", way, fault.At, fault.Do), func(t *testing.T) {
				t.Parallel()
				ride(t, fault, rescan, 1+i%2)
			})
		}
	}
}

func ride(t *testing.T, fault faultproxy.Fault, rescan bool, workers int) {
	p, proxy := behindProxy(t, pgtest.Open(t))
	log := newFailures()
	w := openImpatient(t, p, Config{
		SyncBatchSize: 50, SyncInterval: time.Hour, SyncTimeout: time.Second, SyncWorkers: workers, Logger: slog.New(log),
	})
	m := newModel()
	if rescan {
		m.addRows(t, w, 200, "scan")
	}
	m.addRows(t, w, 30, "before")
	mustSync(t, w)

	hit := proxy.Break(fault)
	if fault.At <= faultproxy.Query {
		proxy.Drop() // these phases are those of a new connection
	}
	m.addRows(t, w, 200, "on the way")
	forced := make(chan error, 1)
	go func() { forced <- w.ForceSync(patient(t)) }()
	<-hit
	<-log.seen
	if s := w.SyncStatus(); s.State != StateDegraded || s.LastError == nil || s.Pending == 0 {
		t.Errorf("while the connection breaks: %+v", s)
	}
	m.addRows(t, w, 60, "during")
	wantBalance(t, w.SyncStatus())

	if err := proxy.Mend(); err != nil {
		t.Fatal(err)
	}
	proxy.Drop() // of what hung each side is told at last
	m.addRows(t, w, 40, "after")
	if err := <-forced; err != nil {
		t.Fatalf("ForceSync over the fault: %v", err)
	}
	mustSync(t, w)
	if s := w.SyncStatus(); s.State == StateDegraded || s.LastError != nil || s.LastErrorAt.IsZero() {
		t.Errorf("after the fault: %+v", s)
	}
	m.check(t, p, w)
}

// The compatibility writer waits for the end of the fault in ForceSync.
func TestTheBatchWriterUnderFaults(t *testing.T) {
	for _, fault := range []faultproxy.Fault{
		{At: faultproxy.Connect, Do: faultproxy.Reset},
		{At: faultproxy.CopyData, After: 100, Do: faultproxy.Close},
		{At: faultproxy.Answer, Do: faultproxy.Reset},
		{At: faultproxy.Running, Do: faultproxy.HangDown},
	} {
		t.Run(fmt.Sprintf("%v/%v", fault.At, fault.Do), func(t *testing.T) {
			t.Parallel()
			p, proxy := behindProxy(t, pgtest.Open(t))
			log := newFailures()
			w := openWriter(t, itemTable(t), p.Destination, Config{DisableMemoryDB: true, SyncTimeout: time.Second, Logger: slog.New(log)})
			w.(*BatchDBWriter[item]).cfg.RetryMaxDelay = 5 * time.Millisecond
			m := newModel()
			m.addRows(t, w, 30, "before")
			mustSync(t, w)
			m.addRows(t, w, 60, "on the way")
			hit := proxy.Break(fault)
			if fault.At == faultproxy.Connect {
				proxy.Drop()
			}
			forced := make(chan error, 1)
			go func() { forced <- w.ForceSync(patient(t)) }()
			<-hit
			<-log.seen
			if s := w.SyncStatus(); s.State != StateDegraded || s.LastError == nil || s.Pending != 60 {
				t.Errorf("while the connection breaks: %+v", s)
			}
			if err := proxy.Mend(); err != nil {
				t.Fatal(err)
			}
			proxy.Drop()
			if err := <-forced; err != nil {
				t.Fatal(err)
			}
			m.check(t, p, w)
		})
	}
}

// A server that refuses connections is retried; a ForceSync that cannot wait
// says how many rows are not in the table, and why.
func TestRefusedConnections(t *testing.T) {
	p, proxy := behindProxy(t, pgtest.Open(t))
	log := newFailures()
	w := openImpatient(t, p, Config{SyncBatchSize: 10, Logger: slog.New(log)})
	m := newModel()
	m.addRows(t, w, 5, "before")
	mustSync(t, w)
	proxy.Refuse()
	proxy.Drop()
	m.addRows(t, w, 20, "during")
	<-log.seen
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	err := w.ForceSync(ctx)
	wantError(t, err, ErrUnsynced, "20 waiting", "of 25 added", "items")
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the error does not wrap the context's: %v", err)
	}
	if err := proxy.Mend(); err != nil {
		t.Fatal(err)
	}
	mustSync(t, w)
	m.check(t, p, w)
}

// What is slow is not broken.
func TestASlowNetwork(t *testing.T) {
	p, proxy := behindProxy(t, pgtest.Open(t))
	log := newFailures()
	w := openImpatient(t, p, Config{SyncBatchSize: 50, SyncWorkers: 4, Logger: slog.New(log)})
	proxy.Shape(faultproxy.Shape{ToServer: 10 * time.Millisecond, ToClient: 10 * time.Millisecond, BytesPerSecond: 200_000})
	m := newModel()
	for _, name := range []string{"a", "b", "c"} {
		m.addRows(t, w, 300, name)
	}
	mustSync(t, w)
	select {
	case r := <-log.seen:
		t.Errorf("an attempt failed: %+v", r)
	default:
	}
	m.check(t, p, w)
}

// lockRow holds the lock of a row, so that an upsert of it does not end. blocked
// returns once a session waits for it.
func lockRow(t *testing.T, db *pgtest.DB, id int64) (blocked, release func()) {
	t.Helper()
	tx, err := db.Pool(t).Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), "SELECT 1 FROM items WHERE id = $1 FOR UPDATE", id); err != nil {
		t.Fatal(err)
	}
	pid := tx.Conn().PgConn().PID()
	blocked = func() {
		t.Helper()
		for ctx := patient(t); pgtest.Value[int](t, db, "SELECT count(*) FROM pg_stat_activity WHERE $1 = ANY (pg_blocking_pids(pid))", pid) == 0; {
			if ctx.Err() != nil {
				t.Fatal("nobody waits for the row")
			}
		}
	}
	return blocked, func() {
		t.Helper()
		if err := tx.Rollback(patient(t)); err != nil {
			t.Error(err)
		}
	}
}

// The connection breaks while the server is in the middle of the upsert, which
// goes on without its client.
func TestTheConnectionBreaksWhileTheUpsertRuns(t *testing.T) {
	for _, c := range []struct {
		do   faultproxy.Action
		drop bool // a reset while it runs
	}{{faultproxy.Close, false}, {faultproxy.Hang, false}, {faultproxy.HangDown, true}} {
		t.Run(c.do.String(), func(t *testing.T) {
			t.Parallel()
			db := pgtest.Open(t)
			p, proxy := behindProxy(t, db)
			log := newFailures()
			w := openImpatient(t, p, Config{SyncBatchSize: 50, SyncTimeout: time.Second, Logger: slog.New(log)})
			m := newModel()
			for _, name := range []string{"before", "known"} { // so that batches go by upsert
				m.addRows(t, w, 50, name)
				mustSync(t, w)
			}
			blocked, release := lockRow(t, db, 25)
			hit := proxy.Break(faultproxy.Fault{At: faultproxy.Running, Do: c.do})
			m.addRows(t, w, 50, "broken")
			<-hit
			blocked()
			if c.drop {
				proxy.Drop()
			}
			<-log.seen
			m.addRows(t, w, 50, "newer")
			if err := proxy.Mend(); err != nil {
				t.Fatal(err)
			}
			release()
			proxy.Drop()
			m.check(t, p, w)
		})
	}
}

// The answer to the COMMIT of RetrySyncErrors is lost, and other rows fail before
// it is called again: those that got in are not stored a second time.
func TestALostAnswerToARetryOfFailedRows(t *testing.T) {
	for kind, batch := range writers {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			p, proxy := behindProxy(t, pgtest.Open(t))
			p.exec(t, "ALTER TABLE items DROP CONSTRAINT items_pkey")
			w := openWriter(t, itemTable(t, OnConflict(ConflictInsertOnly)), p.Destination, Config{DisableMemoryDB: batch})
			refused := func(ids ...int64) {
				t.Helper()
				for _, id := range ids {
					mustAdd(t, w, newItem(id, badName))
				}
				if err := w.ForceSync(patient(t)); !errors.As(err, new(*RowError)) {
					t.Fatal(err)
				}
				p.exec(t, "ALTER TABLE items DROP CONSTRAINT no_bad")
			}
			refused(1, 2, 3)

			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			hit := proxy.Break(faultproxy.Fault{At: faultproxy.Answer, Do: faultproxy.Hang})
			lost := make(chan error, 1)
			go func() {
				_, err := w.RetrySyncErrors(ctx)
				lost <- err
			}()
			<-hit
			cancel()
			if err := <-lost; err == nil {
				t.Error("a lost answer is not an error")
			}
			if err := proxy.Mend(); err != nil {
				t.Fatal(err)
			}
			wantRows(t, p, "SELECT count(*) FROM items", "3")

			p.exec(t, "ALTER TABLE items ADD CONSTRAINT no_bad CHECK (name <> '"+badName+"') NOT VALID")
			refused(4)
			if n, err := w.RetrySyncErrors(patient(t)); n != 4 || err != nil {
				t.Errorf("%d rows stored, %v", n, err)
			}
			wantRows(t, p, "SELECT string_agg(id::text, ' ' ORDER BY id) FROM items", "1 2 3 4")
			mustStop(t, w)
		})
	}
}
