package ogtest

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// backend is the PostgreSQL session of a client.
type backend struct {
	*pgproto3.Frontend
	conn net.Conn
	pid  uint32
	key  []byte
}

// connectBackend opens a session with run-time parameters, and returns it with
// the parameters that it reported.
func connectBackend(url string, params map[string]string) (*backend, map[string]string, error) {
	cfg, err := pgconn.ParseConfig(url)
	if err != nil {
		return nil, nil, err
	}
	cfg.RuntimeParams = params
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := pgconn.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, nil, err
	}
	h, err := conn.Hijack()
	if err != nil {
		return nil, nil, errors.Join(err, conn.Close(ctx))
	}
	return &backend{Frontend: h.Frontend, conn: h.Conn, pid: h.PID, key: h.SecretKey}, h.ParameterStatuses, nil
}

// close ends the session, and returns when PostgreSQL has let go of its locks.
func (b *backend) close() {
	_ = b.conn.SetDeadline(time.Now().Add(farewellPatience)) // fails if it is closed already
	b.Send(&pgproto3.Terminate{})
	if b.Flush() == nil {
		_, _ = io.Copy(io.Discard, b.conn) // until the server closes
	}
	b.conn.Close()
}

// interrupt makes everything that waits for PostgreSQL fail. PostgreSQL itself
// is asked to end what it does. It is safe for concurrent use.
func (b *backend) interrupt() {
	b.cancel()
	_ = b.conn.SetDeadline(time.Now().Add(farewellPatience)) // fails if it is closed already
}

// farewellPatience is how long a PostgreSQL that does not answer is waited for.
const farewellPatience = 5 * time.Second

// cancel asks PostgreSQL to end the statement that runs, and returns when it
// got the request. It is safe for concurrent use.
func (b *backend) cancel() {
	conn, err := net.Dial("tcp", b.conn.RemoteAddr().String())
	if err != nil {
		return // the server is gone, and the statement with it
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(farewellPatience)); err != nil {
		return
	}
	msg := binary.BigEndian.AppendUint32(nil, uint32(12+len(b.key)))
	msg = binary.BigEndian.AppendUint32(msg, cancelRequest)
	msg = append(binary.BigEndian.AppendUint32(msg, b.pid), b.key...)
	if _, err := conn.Write(msg); err == nil {
		_, _ = io.Copy(io.Discard, conn) // until the server closes
	}
}
