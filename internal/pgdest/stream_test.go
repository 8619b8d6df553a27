package pgdest

import (
	"bytes"
	"context"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/memdbwriter/memdbwriter/internal/pgtest"
	"github.com/memdbwriter/memdbwriter/internal/sqltext"
)

// stuck is a connection whose first message of COPY data is on its way until
// the test releases it, and then counts as sent whatever became of the
// connection.
type stuck struct {
	net.Conn
	begun, release chan struct{}

	mu   sync.Mutex
	data [][]byte // the later ones
	once bool
}

func (c *stuck) Write(p []byte) (int, error) {
	if p[0] != 'd' {
		return c.Conn.Write(p)
	}
	c.mu.Lock()
	first := !c.once
	c.once = true
	if !first {
		c.data = append(c.data, bytes.Clone(p))
	}
	c.mu.Unlock()
	if first {
		close(c.begun)
		<-c.release
	}
	return len(p), nil
}

// When a write has returned, its batch is taken for the next rows. What still
// sends the old ones then must not read it, or rows end up in the place of
// others.
func TestNothingReadsABatchAfterItsWriteHasReturned(t *testing.T) {
	db := pgtest.Open(t)
	db.Exec(t, "CREATE TABLE big (t text)")
	cfg, err := pgconn.ParseConfig(db.URL)
	if err != nil {
		t.Fatal(err)
	}
	conn := &stuck{begun: make(chan struct{}), release: make(chan struct{})}
	dial := cfg.DialFunc
	cfg.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := dial(ctx, network, addr)
		conn.Conn = c
		return conn, err
	}
	pg, err := pgconn.ConnectConfig(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	b := batch()
	for range 100 {
		b.Append(1, encode(row{strings.Repeat("a", 10_000)}))
	}
	returned := make(chan error)
	go func() {
		_, err := copyFrom(context.Background(), pg, sqltext.Const("COPY big (t) FROM STDIN (FORMAT binary)"), b, nil)
		returned <- err
	}()
	<-conn.begun
	conn.Conn.Close() // the server has gone
	if err := <-returned; err == nil {
		t.Fatal("a COPY without a server succeeded")
	}
	close(conn.release)
	for deadline := time.Now().Add(time.Minute); copying(); runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatal("the goroutine that sends goes on")
		}
	}
	conn.mu.Lock()
	defer conn.mu.Unlock()
	if len(conn.data) > 0 {
		t.Errorf("%d messages were made of the batch after its write had returned", len(conn.data))
	}
}

// copying reports whether a goroutine sends the data of a COPY.
func copying() bool {
	stacks := make([]byte, 1<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	return bytes.Contains(stacks, []byte("pgconn.(*PgConn).CopyFrom.func"))
}
