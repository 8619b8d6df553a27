package opengauss

import (
	"context"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/jackc/pgx/v5/pgxpool"
)

func TestURLs(t *testing.T) {
	t.Setenv("PGPORT", "")
	for _, scheme := range []string{"opengauss", "postgres", "postgresql"} {
		cfg := parse(t, scheme+"://scanner:p%40ss@db1,db2:6000/catalog?sslmode=disable&application_name=scan")
		got := []any{cfg.User, cfg.Password, cfg.Host, cfg.Port, cfg.Fallbacks[0].Host, cfg.Fallbacks[0].Port, cfg.Database, cfg.RuntimeParams["application_name"]}
		want := []any{"scanner", "p@ss", "db1", uint16(5432), "db2", uint16(6000), "catalog", "scan"}
		if !slices.Equal(got, want) {
			t.Errorf("%s: got %v, want %v", scheme, got, want)
		}
	}
	pool, err := ParsePoolConfig("opengauss://db?pool_max_conns=7")
	if err != nil {
		t.Fatal(err)
	}
	if pool.MaxConns != 7 {
		t.Errorf("a pool of %d connections", pool.MaxConns)
	}
}

func TestErrorsOfURLsKeepThePassword(t *testing.T) {
	for _, bad := range []string{
		"opengauss://scanner:hunter2@db:99999/catalog",
		"opengauss://scanner:hunter2@db/catalog?sslmode=loud",
		"opengauss://scanner:hunter2@[db/catalog",
	} {
		_, err := ParseConfig(bad)
		_, poolErr := ParsePoolConfig(bad)
		if err == nil || poolErr == nil {
			t.Fatalf("%s was accepted", bad)
		}
		if text := err.Error() + poolErr.Error(); strings.Contains(text, "hunter2") {
			t.Errorf("the password is in %q", text)
		}
	}
}

func TestSSLModes(t *testing.T) {
	cert := newCertificate(t)
	for _, c := range []struct {
		mode      string
		tls       bool // of the server
		encrypted bool
	}{
		{"disable", false, false},
		{"allow", false, false},
		{"prefer", false, false},
		{"disable", true, false},
		{"allow", true, false},
		{"prefer", true, true},
		{"require", true, true},
		{"verify-ca", true, true},
		{"verify-full", true, true},
	} {
		t.Run(c.mode, func(t *testing.T) {
			s := &server{method: sha256Method}
			params := []string{"sslmode", c.mode}
			if c.tls {
				s.tls = cert.server
				params = append(params, "sslrootcert", cert.rootsFile)
			}
			logIn(t, parse(t, loginURL(vectorPassword, s.listen(t), params...)))
			wantHeard(t, s, sha256Method.answer)
			s.mu.Lock()
			defer s.mu.Unlock()
			if (s.encrypted == 1) != c.encrypted {
				t.Errorf("%d encrypted sessions", s.encrypted)
			}
		})
	}
}

func TestSeveralHosts(t *testing.T) {
	standby := &server{method: sm3Method, readOnly: true}
	primary := &server{method: sha256Method}
	nobody := "127.0.0.1:1"
	hosts := strings.Join([]string{nobody, standby.listen(t), primary.listen(t)}, ",")
	logIn(t, parse(t, loginURL(vectorPassword, hosts, "target_session_attrs", "read-write")))
	wantHeard(t, standby, sm3Method.answer)
	wantHeard(t, primary, sha256Method.answer)
}

func TestPool(t *testing.T) {
	ctx := testContext(t)
	s := &server{method: sha256Method}
	cfg, err := ParsePoolConfig(loginURL("expired", s.listen(t), "pool_max_conns", "4"))
	if err != nil {
		t.Fatal(err)
	}
	cfg.BeforeConnect = func(_ context.Context, cfg *pgx.ConnConfig) error {
		cfg.Password = vectorPassword // as a rotating secret gets in
		return nil
	}
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()

	var all sync.WaitGroup
	held := make([]*pgxpool.Conn, 4)
	for i := range held {
		all.Go(func() {
			var err error
			if held[i], err = pool.Acquire(ctx); err != nil {
				t.Error(err)
				return
			}
			if err := held[i].Ping(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	for _, conn := range held {
		if conn != nil {
			conn.Release()
		}
	}
	wantHeard(t, s, slices.Repeat([]string{sha256Method.answer}, 4)...)
}

func TestConfigureWithoutPgx(t *testing.T) {
	ctx := testContext(t)
	s := &server{method: sha256Method}
	cfg, err := pgconn.ParseConfig(postgresURL(loginURL(vectorPassword, s.listen(t))))
	if err != nil {
		t.Fatal(err)
	}
	Configure(cfg)
	conn, err := pgconn.ConnectConfig(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	wantHeard(t, s, sha256Method.answer)
}

func TestConfigureTwice(t *testing.T) {
	s := &server{method: sha256Method}
	cfg := parse(t, loginURL(vectorPassword, s.listen(t)))
	Configure(&cfg.Config)
	logIn(t, cfg)
	wantHeard(t, s, sha256Method.answer)
}

// byteWriter hands on one byte per write.
type byteWriter struct{ w io.Writer }

func (b byteWriter) Write(p []byte) (int, error) {
	for i := range p {
		if _, err := b.w.Write(p[i : i+1]); err != nil {
			return i, err
		}
	}
	return len(p), nil
}

func TestHooksOfTheCallerStay(t *testing.T) {
	s := &server{method: sha256Method}
	cfg, err := pgx.ParseConfig(postgresURL(loginURL(vectorPassword, s.listen(t))))
	if err != nil {
		t.Fatal(err)
	}
	var called []string
	cfg.AfterNetConnect = func(_ context.Context, _ *pgconn.Config, conn net.Conn) (net.Conn, error) {
		called = append(called, "AfterNetConnect")
		return conn, nil
	}
	cfg.BuildFrontend = func(r io.Reader, w io.Writer) *pgproto3.Frontend {
		called = append(called, "BuildFrontend")
		return pgproto3.NewFrontend(r, byteWriter{w})
	}
	Configure(&cfg.Config)
	logIn(t, cfg)
	wantHeard(t, s, sha256Method.answer)
	if want := []string{"AfterNetConnect", "BuildFrontend"}; !slices.Equal(called, want) {
		t.Errorf("called: %q, want %q", called, want)
	}
}

// For pgx the methods are requests for a password, without channel binding.
func TestPoliciesOfPgx(t *testing.T) {
	for _, c := range []struct {
		key, value string
		refused    bool
	}{
		{"require_auth", "password", false},
		{"require_auth", "!md5,!none", false},
		{"require_auth", "scram-sha-256", true},
		{"require_auth", "!password", true},
		{"channel_binding", "prefer", false},
		{"channel_binding", "require", true},
	} {
		t.Run(c.key+"="+c.value, func(t *testing.T) {
			s := &server{method: sha256Method}
			cfg := parse(t, loginURL(vectorPassword, s.listen(t), c.key, c.value))
			if c.refused {
				refused(t, s, cfg)
				wantHeard(t, s)
				return
			}
			logIn(t, cfg)
			wantHeard(t, s, sha256Method.answer)
		})
	}
}

func TestCancelRequest(t *testing.T) {
	cert := newCertificate(t)
	for _, mode := range []string{"disable", "require"} {
		t.Run("sslmode="+mode, func(t *testing.T) {
			s := &server{method: sha256Method, tls: cert.server}
			conn := logIn(t, parse(t, loginURL(vectorPassword, s.listen(t), "sslmode", mode)))
			if err := conn.PgConn().CancelRequest(testContext(t)); err != nil {
				t.Fatal(err)
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			if len(s.cancels) != 1 || s.cancels[0].ProcessID != 4711 || string(s.cancels[0].SecretKey) != "key!" {
				t.Errorf("the server got %v", s.cancels)
			}
		})
	}
}
