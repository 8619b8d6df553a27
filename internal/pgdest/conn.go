package pgdest

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/memdbwriter/memdbwriter/internal/dest"
	"github.com/memdbwriter/memdbwriter/internal/sqltext"
)

// This file lends connections of the pool to the Sinks, set up for them.

// withConn runs f with a connection, and once more with another one if that
// turns out to be dead: while it rested in the pool the server may have closed
// it or been restarted. So f must be safe to repeat.
func (s *Sink) withConn(ctx context.Context, f func(*pgconn.PgConn) error) error {
	for again := true; ; again = false {
		dest.Enter(ctx, dest.PhaseConnecting)
		conn, err := s.db.acquire(ctx)
		dest.Enter(ctx, dest.PhaseServer)
		if err != nil {
			return err
		}
		pg := conn.Conn().PgConn()
		s.warnPlain(ctx, pg.Conn())
		err = s.lend(ctx, conn, f)
		demoted := stateOf(err) == readOnlyTransaction
		if demoted {
			// The pool finds a server that takes rows, if there is one; this
			// session has nothing that could live on.
			_ = pg.Close(ctx)
		}
		dead := pg.IsClosed()
		conn.Release()
		if dead { // the next connection may lead to another server
			if !demoted {
				s.orphans.add(pg, err)
			}
			s.plan.Store(nil)
			s.db.dropIdle()
		}
		if err == nil || !dead || !again || ctx.Err() != nil {
			return answered(err, !dead)
		}
	}
}

// lend is use for a connection that the pool gets back even if f panics, since
// it calls what the pool's owner wants to be called (OnNotice). Then it is in
// the middle of something, and so closed.
func (s *Sink) lend(ctx context.Context, conn *pgxpool.Conn, f func(*pgconn.PgConn) error) error {
	pg := conn.Conn().PgConn()
	returned := false
	defer func() {
		if !returned {
			_ = pg.Conn().Close()
			conn.Release()
		}
	}()
	err := s.use(ctx, pg, f)
	returned = true
	return err
}

// answered notes whether an error is the server's word in a session that goes on.
func answered(err error, alive bool) error {
	if err == nil {
		return nil
	}
	e := *dest.AsError(err)
	e.Answered = alive && e.SQLState != ""
	return &e
}

// warnPlain says once that a connection can be read, and changed, on its way.
func (s *Sink) warnPlain(ctx context.Context, conn net.Conn) {
	if _, encrypted := conn.(*tls.Conn); encrypted {
		return
	}
	if addr, ok := conn.RemoteAddr().(*net.TCPAddr); ok && !addr.IP.IsLoopback() {
		s.db.plain.Do(func() {
			s.log.WarnContext(ctx, "the connection has no TLS: whoever is on its way can read and change the rows; use sslmode=verify-full",
				"destination", s.db.String())
		})
	}
}

// use runs f in the session, as f wants it, and leaves the session as it was.
func (s *Sink) use(ctx context.Context, pg *pgconn.PgConn, f func(*pgconn.PgConn) error) error {
	if err := setUp(ctx, pg); err != nil {
		return err
	}
	encoding, err := speakUTF8(ctx, pg)
	if err != nil {
		return err
	}
	if err = s.orphans.terminate(ctx, pg); err == nil {
		err = f(pg)
	}
	if encoding != "" && !s.db.own && !pg.IsClosed() {
		if rerr := setEncoding(ctx, pg, encoding); rerr != nil {
			_ = pg.Close(ctx) // rather than give it back changed
		}
	}
	return err
}

// setUpKey is the place, in the data of a connection, of the number by which
// the server's functions know its session: an int64. It is there once the session
// is set up.
const setUpKey = "github.com/memdbwriter/memdbwriter"

// setUp sets up the session of a connection that was not used before.
func setUp(ctx context.Context, pg *pgconn.PgConn) error {
	if pg.CustomData()[setUpKey] != nil {
		return nil
	}
	d := dialectOf(pg)
	if err := d.supported(pg); err != nil {
		return err
	}
	for _, sql := range d.setUp {
		err := execute(ctx, pg, sql)
		if err != nil && stateOf(err) != undefinedObject {
			return classify(err)
		}
	}
	pid := int64(pg.PID())
	if !d.tellsPID {
		f, err := queryRow(ctx, pg, sqltext.Const("SELECT pg_catalog.pg_backend_pid()"), "i")
		if err != nil {
			return classify(err)
		}
		pid = f.int(0)
	}
	pg.CustomData()[setUpKey] = pid
	return nil
}

// backendPID is the number of a session that is set up, else 0.
func backendPID(pg *pgconn.PgConn) int64 {
	pid, _ := pg.CustomData()[setUpKey].(int64)
	return pid
}

const utf8 = "UTF8"

// speakUTF8 makes the server take our bytes for what they are. It returns the
// encoding that the session had, if that was another one. A statement of its own
// does it: the server converts a string of statements as a whole, before the
// first of them runs.
func speakUTF8(ctx context.Context, pg *pgconn.PgConn) (was string, err error) {
	was = pg.ParameterStatus("client_encoding")
	if was == "" || was == utf8 {
		return "", nil
	}
	return was, setEncoding(ctx, pg, utf8)
}

func setEncoding(ctx context.Context, pg *pgconn.PgConn, encoding string) error {
	err := execute(ctx, pg, sqltext.Format("SET client_encoding = {}", sqltext.Literal(encoding)))
	if err != nil {
		return classify(err)
	}
	return nil
}

// oldest is the first version of PostgreSQL that has what we use.
const oldest = 12

// supported tells whether the server is new enough.
func (d *dialect) supported(pg *pgconn.PgConn) error {
	version := pg.ParameterStatus("server_version")
	major, _, _ := strings.Cut(version, ".")
	if n, err := strconv.Atoi(major); err != nil || n >= oldest || !d.computes {
		return nil // what it says of itself is beyond us, or good
	}
	return &dest.Error{Class: dest.ClassTable, Row: -1, Err: fmt.Errorf("the server is PostgreSQL %s, and rows can be written to %d or newer", version, oldest)}
}

// stateOf is the SQLSTATE of an error of the server, else empty.
func stateOf(err error) string {
	if pe := new(pgconn.PgError); errors.As(err, &pe) {
		return pe.Code
	}
	return ""
}
