package ogtest

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/memdbwriter/memdbwriter/internal/pgtest"
)

// patience bounds the statements that the server runs for itself.
const patience = time.Minute

// Server stands in for an openGauss. Its methods are safe for concurrent use.
type Server struct {
	// URL is that of the default user, with the schema of Backend as
	// search_path. It needs a client that knows the login of openGauss, unless
	// Options.Method is one that any client knows.
	URL string
	// Backend is the schema as PostgreSQL has it, to look at what was stored.
	Backend *pgtest.DB
	// RootCert is the file of the server's certificate, empty without TLS.
	RootCert string

	opts       Options
	tb         testing.TB
	listener   net.Listener
	tls        *tls.Config
	accounts   map[string]*account
	fakeSecret *secret
	helpers    string // the schema of what the stand-in needs in PostgreSQL
	running    sync.WaitGroup

	mu       sync.Mutex
	closed   bool
	conns    map[net.Conn]struct{}
	sessions map[uint32]*session // by the process number that the client knows
	lastPID  uint32
	refused  []string
	made     map[string]bool // upsert views, by name
}

// DB is a schema behind the server.
type DB struct {
	URL     string // of the default user
	Schema  string
	Backend *pgtest.DB
}

// Start starts a server for the time of the test.
func Start(tb testing.TB, opts Options) *Server {
	tb.Helper()
	s := &Server{
		tb: tb, opts: opts, conns: map[net.Conn]struct{}{}, sessions: map[uint32]*session{}, made: map[string]bool{},
	}
	s.Backend = s.openBackend(tb)
	if err := s.start(); err != nil {
		tb.Fatalf("ogtest: %v", err)
	}
	tb.Cleanup(func() {
		s.Close()
		if s.opts.Postgres == nil {
			s.Backend.Exec(tb, "SET client_min_messages = warning; DROP SCHEMA "+s.helpers+" CASCADE")
		}
	})
	return s
}

func (s *Server) openBackend(tb testing.TB) *pgtest.DB {
	if s.opts.Postgres != nil {
		return s.opts.Postgres.Open(tb)
	}
	return pgtest.Open(tb)
}

// Open gives a test a fresh schema. The connections to it must be closed
// before the end of the test.
func (s *Server) Open(tb testing.TB) *DB {
	tb.Helper()
	backend := s.openBackend(tb)
	return &DB{URL: s.userURL(DefaultUser, DefaultPassword, backend.Schema), Schema: backend.Schema, Backend: backend}
}

// UserURL is the URL of a user with any password, right or wrong.
func (s *Server) UserURL(user, password string) string {
	return s.userURL(user, password, s.Backend.Schema)
}

func (s *Server) userURL(user, password, schema string) string {
	q := url.Values{"search_path": {schema}, "sslmode": {"disable"}}
	if s.tls != nil {
		q.Set("sslmode", "verify-full")
		q.Set("sslrootcert", s.RootCert)
	}
	u := url.URL{
		Scheme: "postgres", User: url.UserPassword(user, password), Host: s.listener.Addr().String(),
		Path: "/postgres", RawQuery: q.Encode(),
	}
	return u.String()
}

// Refused returns what the stand-in did not know, and answered with
// UnknownStatement: a test can make sure that there was nothing.
func (s *Server) Refused() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.refused)
}

func (s *Server) start() (err error) {
	if err := s.opts.withDefaults(); err != nil {
		return err
	}
	users := append([]User{{Name: DefaultUser, Password: DefaultPassword, Stored: s.opts.Method}}, s.opts.Users...)
	if s.accounts, err = newAccounts(users, s.opts.Iterations); err != nil {
		return err
	}
	if s.fakeSecret, err = newSecret("", "nobody", SM3, random[[32]byte](), s.opts.Iterations); err != nil {
		return err
	}
	if s.opts.TLS {
		if s.tls, s.RootCert, err = certify(s.tb.TempDir()); err != nil {
			return err
		}
	}
	s.helpers = s.Backend.Schema + "_og"
	if err := s.onBackend(helperSQL(s.helpers, &s.opts)); err != nil {
		return err
	}
	if s.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return err
	}
	s.URL = s.UserURL(DefaultUser, DefaultPassword)
	s.running.Go(s.accept)
	return nil
}

// onBackend runs SQL in a connection and transaction of its own.
func (s *Server) onBackend(sql string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := pgconn.Connect(ctx, s.Backend.URL)
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, sql).ReadAll()
	return errors.Join(err, conn.Close(ctx))
}

// Close ends all sessions and waits for them. The end of the test does it.
func (s *Server) Close() {
	s.mu.Lock()
	s.closed = true
	for conn := range s.conns {
		conn.Close()
	}
	for _, sess := range s.sessions {
		sess.backend.interrupt()
	}
	s.mu.Unlock()
	s.listener.Close()
	s.running.Wait()
}

func (s *Server) accept() {
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			return // closed
		}
		if !s.track(conn) {
			return
		}
		s.running.Go(func() {
			defer s.forget(conn)
			s.serve(conn)
		})
	}
}

// track makes Close close the connection, and the connection at once when
// that is over.
func (s *Server) track(conn net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		conn.Close()
		return false
	}
	s.conns[conn] = struct{}{}
	return true
}

func (s *Server) forget(conn net.Conn) {
	conn.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, conn)
}

// serve handles one client. A client that hangs up, in whatever state, is no
// error of the server's; what went wrong else was told to the client.
func (s *Server) serve(raw net.Conn) {
	conn, st, err := s.greet(raw)
	if err != nil {
		s.farewell(conn, err)
		return
	}
	user, err := s.login(conn, st)
	if err != nil {
		s.farewell(conn, err)
		return
	}
	sess, err := s.newSession(conn, st, user)
	if err != nil {
		s.farewell(conn, err)
		return
	}
	defer s.endSession(sess)
	sess.run()
}

// farewell tells the client the error, if it is one for it.
func (s *Server) farewell(conn net.Conn, err error) {
	var f *fault
	if !errors.As(err, &f) {
		return
	}
	s.note(f)
	out, err := f.response().Encode(nil)
	if err == nil {
		_, _ = conn.Write(out) // the connection ends either way
	}
}

// note remembers a refusal of the stand-in's own.
func (s *Server) note(f *fault) {
	if f.code != UnknownStatement {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refused = append(s.refused, f.message)
}

// register gives the session the key with which the client can cancel. Its
// body of 8 bytes is that of PostgreSQL (opengauss.md 3.6).
func (s *Server) register(sess *session) *pgproto3.BackendKeyData {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lastPID++
	sess.pid, sess.key = s.lastPID, random[[4]byte]()
	s.sessions[sess.pid] = sess
	return &pgproto3.BackendKeyData{ProcessID: sess.pid, SecretKey: sess.key[:]}
}

func (s *Server) endSession(sess *session) {
	s.mu.Lock()
	delete(s.sessions, sess.pid)
	s.mu.Unlock()
	sess.backend.close()
}

// cancel passes a client's cancel request on.
func (s *Server) cancel(pid, key uint32) {
	s.mu.Lock()
	sess := s.sessions[pid]
	s.mu.Unlock()
	if sess != nil && binary.BigEndian.Uint32(sess.key[:]) == key {
		sess.backend.cancel()
	}
}

// version is what version() returns; opengauss.md 9.
func (o *Options) version() string {
	return fmt.Sprintf("(openGauss %s build 48a25b11) compiled at 2024-05-14 10:26:01 commit 0 last mr   "+
		"on x86_64-unknown-linux-gnu, compiled by g++ (GCC) 7.3.0, 64-bit", o.Version)
}
