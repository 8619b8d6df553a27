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

// Where a password ends is not guessed.
func TestAmbiguousURLsAreRefused(t *testing.T) {
	for _, bad := range []string{
		"hunter@2@db/catalog", "scanner:hunter@2@db/catalog", "scanner:12/hunter@db/catalog", "scanner:hunter@2/x@db/catalog",
		"scanner:12?hunter@db/catalog", "scanner:12?hunter@db/catalog?sslmode=disable", "scanner:12#hunter@db/catalog",
		"scanner:h@unter?2@db/catalog", "scanner:12?a=1&hunter@db/catalog?sslmode=disable", "scanner@db/hunter#x",
	} {
		for _, scheme := range []string{"opengauss://", "postgres://", "PostgreSQL://"} {
			_, err := ParseConfig(scheme + bad)
			_, poolErr := ParsePoolConfig(scheme + bad)
			if err == nil || poolErr == nil {
				t.Errorf("%s%s: %v, %v", scheme, bad, err, poolErr)
				continue
			}
			if text := err.Error() + poolErr.Error(); strings.Contains(text, "hunter") || strings.Contains(text, "scanner") {
				t.Errorf("%s%s: %s", scheme, bad, text)
			}
		}
	}
	for good, want := range map[string]string{
		"scanner:hunter%402%2F%3F%23@db/catalog?application_name=me@home": "hunter@2/?#",
		"scanner:hun:ter@db/catalog":                                      "hun:ter",
		"db/catalog?user=scanner&password=h@/unter":                       "h@/unter",
		"scanner:hunter@db,db2:5433/cat%40alog":                           "hunter",
	} {
		if cfg := parse(t, "opengauss://"+good); cfg.Password != want || cfg.Host != "db" {
			t.Errorf("%s: password %q, host %s", good, cfg.Password, cfg.Host)
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

func pgxURL(t *testing.T, connString string) string {
	t.Helper()
	u, err := splitURL(connString)
	if err != nil {
		t.Fatal(err)
	}
	return u.forPGX
}

func TestConfigureWithoutPgx(t *testing.T) {
	ctx := testContext(t)
	s := &server{method: sha256Method}
	cfg, err := pgconn.ParseConfig(pgxURL(t, loginURL(vectorPassword, s.listen(t))))
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
	cfg, err := pgx.ParseConfig(pgxURL(t, loginURL(vectorPassword, s.listen(t))))
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
		{"require_auth", "sha256", false},
		{"require_auth", "scram-sha-256,sha256", false},
		{"require_auth", "!md5,!none", false},
		{"require_auth", "!password", false},
		{"require_auth", "scram-sha-256", true},
		{"require_auth", "password", true},
		{"require_auth", "!sha256", true},
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

func TestURLsInOtherLetterCase(t *testing.T) {
	for _, scheme := range []string{"POSTGRES", "PostgreSQL", "OpenGauss"} {
		if cfg := parse(t, scheme+"://scanner:Pw@DB/Catalog"); cfg.Host != "DB" || cfg.Password != "Pw" || cfg.Database != "Catalog" {
			t.Errorf("%s: %s, %s", scheme, cfg.Host, cfg.Database)
		}
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
