package pgtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// The superuser "postgres" needs no password on a private server. This role,
// a superuser too, must give Password, by SCRAM-SHA-256.
const (
	PasswordRole = "with_password"
	Password     = "correct horse"
)

// baseSettings are those of every private server; the rest, fsync first of
// all, is as PostgreSQL comes.
var baseSettings = []string{
	"listen_addresses=127.0.0.1",
	"unix_socket_directories=",
	"max_wal_size=4GB",
	"password_encryption=scram-sha-256",
}

// reapers are the goroutines that wait for the end of a server process.
var reapers sync.WaitGroup

// Server is a PostgreSQL server. The methods that stop and start it fail the
// test of the server when they do not succeed, and are for the goroutine of
// that test.
type Server struct {
	URL     string // of the superuser, no password needed
	Version int    // server_version_num: 150012 is 15.12

	tb       testing.TB // nil: the server of the test binary
	inst     *installation
	dir      string // holds the data directory and the log
	port     int
	settings []string
	cmd      *exec.Cmd
	exited   chan struct{} // closed once the server process is gone and reaped
}

// Start starts a server for this test alone, which ends with the test.
// Settings are those of postgresql.conf: "shared_buffers=512MB".
func Start(tb testing.TB, settings ...string) *Server {
	tb.Helper()
	s, err := newServer(tb, settings...)
	if err != nil {
		tb.Fatalf("pgtest: %v", err)
	}
	tb.Cleanup(func() {
		s.Kill()
		if err := os.RemoveAll(s.dir); err != nil {
			tb.Errorf("pgtest: %v", err)
		}
	})
	return s
}

// Open gives a test a fresh schema on this server.
func (s *Server) Open(tb testing.TB) *DB {
	tb.Helper()
	return newDB(tb, s.URL, s.Version)
}

// PasswordURL is the URL of PasswordRole with any password, right or wrong.
func (s *Server) PasswordURL(password string) string {
	u, err := url.Parse(s.URL)
	if err != nil {
		s.tb.Fatalf("pgtest: %v", err)
	}
	u.User = url.UserPassword(PasswordRole, password)
	return u.String()
}

// Mode is how Stop treats the sessions of a server.
type Mode string

const (
	Fast      Mode = "fast"      // roll back, disconnect, write a checkpoint
	Immediate Mode = "immediate" // as in a crash, but with a word to the clients
)

// Stop shuts the server down and returns when it is gone.
func (s *Server) Stop(mode Mode) {
	s.tb.Helper()
	if err := s.inst.run("pg_ctl", "stop", "-w", "-m", string(mode), "-D", s.data()); err != nil {
		s.tb.Fatalf("pgtest: %v", err)
	}
	<-s.exited
}

// Kill ends all processes of the server as a kill -9 does. The clients'
// connections are closed by the operating system. A server that does not run
// is left as it is.
func (s *Server) Kill() {
	s.tb.Helper()
	if err := killServer(s.data()); err != nil {
		s.tb.Fatalf("pgtest: %v", err)
	}
	<-s.exited
}

// Freeze stops all processes of the server where they are: connections stay
// open, new ones are accepted by the operating system, and nothing answers.
func (s *Server) Freeze() {
	s.tb.Helper()
	frozen, err := freeze(s.cmd.Process.Pid)
	if err != nil {
		s.tb.Fatalf("pgtest: %v", err)
	}
	if len(frozen) == 0 {
		s.tb.Fatal("pgtest: Freeze of a server that does not run")
	}
}

// Thaw lets a frozen server go on.
func (s *Server) Thaw() {
	s.tb.Helper()
	if err := thaw(s.cmd.Process.Pid); err != nil {
		s.tb.Fatalf("pgtest: %v", err)
	}
}

// Restart starts a server that was stopped or killed, and stops it before
// (Fast) if it runs. It keeps data, port and settings.
func (s *Server) Restart() {
	s.tb.Helper()
	select {
	case <-s.exited:
	default:
		s.Stop(Fast)
	}
	if err := s.launch(); err != nil {
		s.tb.Fatalf("pgtest: restarting the server: %v", err)
	}
}

func newServer(tb testing.TB, settings ...string) (*Server, error) {
	inst, err := install()
	if err != nil {
		return nil, err
	}
	s := &Server{tb: tb, inst: inst, settings: settings}
	if s.dir, err = inst.newData(); err != nil {
		return nil, err
	}
	if err := s.launchOnFreePort(); err != nil {
		return nil, err
	}
	s.URL = fmt.Sprintf("postgres://postgres@127.0.0.1:%d/postgres?sslmode=disable", s.port)
	if s.Version, err = serverVersion(s.URL); err != nil {
		return nil, err
	}
	return s, connect(s.URL, func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, fmt.Sprintf("CREATE ROLE %s SUPERUSER LOGIN PASSWORD '%s'", PasswordRole, Password))
		return err
	})
}

// errPortTaken is what launch returns when another process has the port.
var errPortTaken = errors.New("the port is taken")

// launchOnFreePort tries ports until the server has one: between the look for
// a free port and its use another process may take it.
func (s *Server) launchOnFreePort() (err error) {
	for range 10 {
		if s.port, err = freePort(); err != nil {
			return err
		}
		if err = s.launch(); !errors.Is(err, errPortTaken) {
			return err
		}
	}
	return err
}

// freePort finds a port on which nobody listens. It lies below those that
// operating systems give to outgoing connections: nobody gets it by chance
// while the server is down for a restart, and a client that dials the stopped
// server cannot end up connected to itself.
func freePort() (int, error) {
	var err error
	for range 100 {
		port := 15000 + rand.IntN(17000)
		var l net.Listener
		if l, err = net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port))); err == nil {
			return port, l.Close()
		}
	}
	return 0, fmt.Errorf("no free port for a server: %w", err)
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

// launch starts the server process and waits until it takes connections.
func (s *Server) launch() error {
	log, err := os.Create(filepath.Join(s.dir, "log"))
	if err != nil {
		return err
	}
	defer log.Close()
	args := []string{"-D", s.data(), "-p", strconv.Itoa(s.port)}
	for _, setting := range slices.Concat(baseSettings, memorySettings, s.settings) {
		args = append(args, "-c", setting)
	}
	s.cmd = s.inst.command("postgres", args...)
	s.cmd.Stdout, s.cmd.Stderr = log, log
	detach(s.cmd)
	if err := s.cmd.Start(); err != nil {
		return err
	}
	s.exited = make(chan struct{})
	cmd, exited := s.cmd, s.exited
	reapers.Go(func() {
		// How it ended is in the log; here only that it ended matters.
		_ = cmd.Wait()
		close(exited)
	})
	return s.awaitReady()
}

// awaitReady waits for the word "ready" in the lock file of the server. To
// connect would not do: what answers on the port may be another server.
func (s *Server) awaitReady() error {
	deadline := time.After(patience)
	poll := time.NewTicker(10 * time.Millisecond)
	defer poll.Stop()
	for {
		select {
		case <-poll.C:
			lock, err := readLock(s.data())
			if err == nil && lock.pid == s.cmd.Process.Pid && lock.ready {
				return nil
			}
		case <-s.exited:
			text := s.logText()
			if strings.Contains(text, "could not create any TCP/IP sockets") {
				return errPortTaken
			}
			return fmt.Errorf("PostgreSQL did not start; its log:\n%s", text)
		case <-deadline:
			err := fmt.Errorf("PostgreSQL is not ready after %v; its log:\n%s", patience, s.logText())
			return errors.Join(err, killServer(s.data()))
		}
	}
}

// logText returns the end of the server's log.
func (s *Server) logText() string {
	text, err := os.ReadFile(filepath.Join(s.dir, "log"))
	if err != nil {
		return err.Error()
	}
	return string(bytes.TrimSpace(text[max(0, len(text)-4096):]))
}
