package opengauss

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

var (
	plainMethod = method{name: "password", body: "\x00\x00\x00\x03", answer: vectorPassword}
	md5Method   = methods[4]
)

// farConn is a connection that seems to lead to another machine.
type farConn struct{ net.Conn }

func (farConn) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 5432} }

func dialFar(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	return farConn{conn}, nil
}

// A server, or whoever is in between, chooses the method. The client gives it no
// more than the connection is good for, and its user has allowed.
func TestLoginsCannotBeTalkedDown(t *testing.T) {
	cert := newCertificate(t)
	for _, c := range []struct {
		method      method
		scheme      string
		mode        string // sslmode
		tls         bool   // of the server
		near        bool
		requireAuth string
		want        string // in the error; empty: the login succeeds
	}{
		{plainMethod, "opengauss", "prefer", false, false, "", "sslmode=verify-full"},
		{plainMethod, "opengauss", "disable", false, true, "", "sslmode=verify-full"},
		{plainMethod, "opengauss", "require", true, false, "", "sslmode=verify-full"},
		{plainMethod, "opengauss", "disable", false, false, "password", "sslmode=verify-full"},
		{plainMethod, "opengauss", "verify-full", true, false, "", ""},
		{plainMethod, "opengauss", "verify-full", true, false, "sha256", "by password, which require_auth excludes"},
		{plainMethod, "opengauss", "verify-full", true, false, "!password", "by password, which require_auth excludes"},

		{md5Method, "opengauss", "disable", false, false, "", "require_auth=md5"},
		{md5Method, "opengauss", "require", true, false, "", "require_auth=md5"},
		{md5Method, "opengauss", "disable", false, true, "", ""},
		{md5Method, "opengauss", "verify-full", true, false, "", ""},
		{md5Method, "opengauss", "disable", false, false, "md5,sha256", ""},
		{md5Method, "opengauss", "disable", false, true, "sha256,sm3", "by md5, which require_auth excludes"},
		{md5SHA256Method, "opengauss", "disable", false, false, "", "require_auth=md5_sha256"},
		{md5SHA256Method, "opengauss", "disable", false, false, "md5", "by md5_sha256, which require_auth excludes"},
		{md5SHA256Method, "opengauss", "disable", false, false, "md5_sha256", ""},
		{md5SHA256Method, "opengauss", "disable", false, true, "", ""},
		{md5SHA256Method, "opengauss", "verify-full", true, false, "", ""},

		{sha256Method, "opengauss", "disable", false, false, "", ""},
		{sm3Method, "opengauss", "disable", false, false, "", ""},
		{sha256Method, "opengauss", "disable", false, false, "!md5,!md5_sha256,!password", ""},
		{sm3Method, "opengauss", "disable", false, false, "sha256", "by sm3, which require_auth excludes"},

		// A postgres URL names a PostgreSQL.
		{md5Method, "postgres", "disable", false, false, "", ""},
		{md5Method, "postgres", "disable", false, false, "scram-sha-256", "by md5, which require_auth excludes"},
		{plainMethod, "postgres", "prefer", false, false, "", "require_auth=password"},
		{plainMethod, "postgres", "disable", false, false, "password", ""},
		{plainMethod, "postgres", "disable", false, true, "", ""},
		{plainMethod, "postgres", "require", true, false, "", ""},
		{md5SHA256Method, "postgres", "disable", false, false, "", "require_auth=md5_sha256"},
		{sha256Method, "postgres", "disable", false, false, "", ""},
	} {
		s := &server{method: c.method}
		params := []string{"sslmode", c.mode}
		if c.tls {
			s.tls = cert.server
			if c.mode == "verify-full" {
				params = append(params, "sslrootcert", cert.rootsFile)
			}
		}
		if c.requireAuth != "" {
			params = append(params, "require_auth", c.requireAuth)
		}
		t.Run(strings.Join(append(params, c.scheme, c.method.name), " "), func(t *testing.T) {
			cfg := parse(t, strings.Replace(loginURL(vectorPassword, s.listen(t), params...), "opengauss:", c.scheme+":", 1))
			if !c.near {
				cfg.DialFunc = dialFar
			}
			if c.want == "" {
				logIn(t, cfg)
				wantHeard(t, s, c.method.answer)
				return
			}
			if err := refused(t, s, cfg); !errors.Is(err, ErrMethod) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %s", err, c.want)
			}
			wantHeard(t, s)
		})
	}
}

// Whoever lets the real server and the client prove the password to each other,
// and asks for it then, gets nothing.
func TestNoSecondRequestAfterSCRAM(t *testing.T) {
	var w wire
	w.from.Reset(append(message('R', "\x00\x00\x00\x0aSCRAM-SHA-256\x00\x00"), message('R', plainMethod.body)...))
	if in, err := converse(&w); in || !errors.Is(err, ErrChallenge) {
		t.Errorf("in: %v, %v", in, err)
	}
}

func TestMethodsByField(t *testing.T) {
	s := &server{method: md5SHA256Method}
	cfg, err := pgx.ParseConfig(pgxURL(t, loginURL(vectorPassword, s.listen(t))))
	if err != nil {
		t.Fatal(err)
	}
	cfg.DialFunc, cfg.RequireAuth = dialFar, "md5_sha256"
	Configure(&cfg.Config)
	logIn(t, cfg)
	wantHeard(t, s, md5SHA256Method.answer)
}

func TestUnknownMethodsAreRefused(t *testing.T) {
	for _, bad := range []string{"sha256,rot13", "rot13", "!rot13", "sha256,!md5", "sha256,,md5"} {
		if _, err := ParseConfig("opengauss://scanner:hunter2@db/catalog?require_auth=" + bad); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", bad, err)
		}
		if _, err := ParsePoolConfig("opengauss://scanner:hunter2@db/catalog?require_auth=" + bad); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", bad, err)
		}
		cfg := &pgconn.Config{RequireAuth: bad}
		if Configure(cfg); cfg.RequireAuth != bad {
			t.Errorf("%s: pgx is left with %q", bad, cfg.RequireAuth)
		}
	}
}
