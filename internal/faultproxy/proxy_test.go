package faultproxy

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/url"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/memdbwriter/memdbwriter/internal/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// rows is the data of a batch of n rows of ten bytes.
func rows(n int) io.Reader { return strings.NewReader(strings.Repeat("123456789\n", n)) }

const copyIn = "COPY numbers FROM STDIN; SELECT 1"

// start gives a proxy to a database with an empty table, and a connection
// through it.
func start(t *testing.T) (*Proxy, *pgtest.DB, *pgconn.PgConn) {
	t.Helper()
	db := pgtest.Open(t)
	db.Exec(t, "CREATE TABLE numbers (n bigint)")
	p := Start(t, db.URL)
	conn := connect(t, p)
	return p, db, conn
}

func connect(t *testing.T, p *Proxy) *pgconn.PgConn {
	t.Helper()
	conn, err := pgconn.Connect(brief(t, time.Minute), p.URL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(brief(t, time.Second)) })
	return conn
}

func brief(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

func TestWithoutAFaultEverythingPasses(t *testing.T) {
	p, db, conn := start(t)
	for range 2 {
		if _, err := conn.CopyFrom(t.Context(), rows(100_000), copyIn); err != nil {
			t.Fatal(err)
		}
	}
	if n := db.Count(t, "numbers"); n != 200_000 {
		t.Errorf("%d rows, want 200000", n)
	}
	u, err := url.Parse(p.URL)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	q.Set("sslmode", "prefer")
	u.RawQuery = q.Encode()
	other, err := pgx.Connect(t.Context(), u.String())
	if err != nil {
		t.Fatalf("a client that prefers encryption: %v", err)
	}
	other.Close(t.Context())
	if _, err := conn.Exec(t.Context(), "SELECT no_such_thing").ReadAll(); err == nil || conn.IsClosed() {
		t.Errorf("an error of the server did not pass as such: %v", err)
	}
}

// A batch that is broken before the server has all of it is not stored, later
// it is. The client learns of neither.
func TestABatchBreaksAtItsPhase(t *testing.T) {
	for _, c := range []struct {
		fault  Fault
		stored bool
	}{
		{Fault{At: Query}, false},
		{Fault{At: Batch}, false},
		{Fault{At: CopyData}, false},
		{Fault{At: CopyData, After: 5_005}, false},
		{Fault{At: CopyDone}, false},
		{Fault{At: Answer}, true},
	} {
		for _, do := range []Action{Reset, Close} {
			f := c.fault
			f.Do = do
			t.Run(f.At.String()+"/"+do.String(), func(t *testing.T) {
				t.Parallel()
				p, db, conn := start(t)
				hit := p.Break(f)
				if _, err := conn.CopyFrom(brief(t, time.Minute), rows(1000), copyIn); err == nil {
					t.Fatal("the batch was acknowledged")
				}
				<-hit
				if err := p.Mend(); err != nil {
					t.Fatal(err)
				}
				connect(t, p)
				want := 0
				if c.stored {
					want = 1000
				}
				// Whoever gets the lock knows that the broken session is over.
				db.Exec(t, "LOCK TABLE numbers; ALTER TABLE numbers ADD COLUMN m int")
				if n := db.Count(t, "numbers"); n != want {
					t.Errorf("%d rows are stored, want %d", n, want)
				}
			})
		}
	}
}

func TestConnectionsBreakBeforeTheyAreUsable(t *testing.T) {
	for _, at := range []Phase{Connect, Startup} {
		for _, do := range []Action{Reset, Close, Hang} {
			t.Run(at.String()+"/"+do.String(), func(t *testing.T) {
				t.Parallel()
				p, _, _ := start(t)
				hit := p.Break(Fault{At: at, Do: do})
				ctx, cancel := context.WithCancel(t.Context())
				failed := make(chan error, 1)
				go func() {
					_, err := pgconn.Connect(ctx, p.URL)
					failed <- err
				}()
				<-hit
				if do == Hang {
					cancel()
				}
				err := <-failed
				cancel()
				if err == nil || errors.Is(err, context.Canceled) != (do == Hang) {
					t.Errorf("connecting ended with %v", err)
				}
				if err := p.Mend(); err != nil {
					t.Fatal(err)
				}
				connect(t, p)
			})
		}
	}
}

// A side that hears nothing can still speak, and is heard or not as the fault
// says.
func TestHanging(t *testing.T) {
	for do, want := range map[Action]int{Hang: 0, HangUp: 0, HangDown: 1000} {
		t.Run(do.String(), func(t *testing.T) {
			t.Parallel()
			p, db, conn := start(t)
			hit := p.Break(Fault{At: CopyDone, Do: do})
			ctx, cancel := context.WithCancel(t.Context())
			failed := make(chan error, 1)
			go func() {
				_, err := conn.CopyFrom(ctx, rows(1000), copyIn)
				failed <- err
			}()
			<-hit
			if err := p.Mend(); err != nil {
				t.Fatal(err)
			}
			if do == HangDown {
				for db.Count(t, "numbers") == 0 { // the server stores them unasked
				}
			}
			cancel()
			if err := <-failed; !errors.Is(err, context.Canceled) {
				t.Errorf("CopyFrom ended with %v", err)
			}
			p.Drop()
			<-conn.CleanupDone()
			db.Exec(t, "ALTER TABLE numbers ADD COLUMN m int")
			if n := db.Count(t, "numbers"); n != want {
				t.Errorf("%d rows are stored, want %d", n, want)
			}
		})
	}
}

func TestAStalledBatchGoesOn(t *testing.T) {
	p, db, conn := start(t)
	hit := p.Break(Fault{At: CopyDone, Do: Stall})
	done := make(chan error, 1)
	go func() {
		_, err := conn.CopyFrom(t.Context(), rows(10), copyIn)
		done <- err
	}()
	<-hit
	if n := db.Count(t, "numbers"); n != 0 {
		t.Errorf("%d rows are stored behind a stall", n)
	}
	p.Resume()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if n := db.Count(t, "numbers"); n != 10 {
		t.Errorf("%d rows are stored after it, want 10", n)
	}
}

func TestRefusedConnections(t *testing.T) {
	p, _, conn := start(t)
	p.Refuse()
	if _, err := pgconn.Connect(t.Context(), p.URL); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("got %v, want a refused connection", err)
	}
	if _, err := conn.Exec(t.Context(), "SELECT 1").ReadAll(); err != nil {
		t.Errorf("the connection that stood: %v", err)
	}
	if err := p.Mend(); err != nil {
		t.Fatal(err)
	}
	connect(t, p)
}

// Latency and bandwidth are lower bounds of how long a thing takes.
func TestASlowNetwork(t *testing.T) {
	p, _, conn := start(t)
	took := func(do func() error) time.Duration {
		begin := time.Now()
		if err := do(); err != nil {
			t.Fatal(err)
		}
		return time.Since(begin)
	}
	question := func() error {
		_, err := conn.Exec(t.Context(), "SELECT 1").ReadAll()
		return err
	}
	p.Shape(Shape{ToServer: 30 * time.Millisecond, ToClient: 20 * time.Millisecond})
	if d := took(question); d < 50*time.Millisecond {
		t.Errorf("a round trip over 30 + 20 ms took %v", d)
	}
	p.Shape(Shape{BytesPerSecond: 1_000_000})
	if d := took(func() error {
		_, err := conn.CopyFrom(t.Context(), rows(20_000), copyIn)
		return err
	}); d < 200*time.Millisecond {
		t.Errorf("200 kB at 1 MB/s took %v", d)
	}
}

func TestCloseLeavesNothingBehind(t *testing.T) {
	p, _, conn := start(t)
	hit := p.Break(Fault{At: Connect, Do: Hang})
	silent, err := net.Dial("tcp", p.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	<-hit
	p.Close()
	p.Close()
	if _, err := silent.Read(make([]byte, 1)); err == nil {
		t.Error("a connection that hung is still open")
	}
	if _, err := conn.Exec(t.Context(), "SELECT 1").ReadAll(); err == nil {
		t.Error("a connection still works")
	}
	if links := p.present(); len(links) > 0 {
		t.Errorf("%d connections are still there", len(links))
	}
}

func TestANonsensicalMessageEndsTheReading(t *testing.T) {
	for name, m := range map[string][]byte{"too short": {0, 0, 0, 3}, "too long": {0xff, 0, 0, 0}, "cut": {0, 0, 0, 9, 1}} {
		if _, err := message(bytes.NewReader(m), true); err == nil {
			t.Errorf("a message that is %s was read", name)
		}
	}
}
