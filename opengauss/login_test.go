package opengauss

import (
	"context"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// testContext only keeps a broken login from hanging the test run.
func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// loginURL is a URL for the hosts. Params are those of its query, in pairs.
func loginURL(password, hosts string, params ...string) string {
	q := url.Values{"sslmode": {"disable"}}
	for pair := range slices.Chunk(params, 2) {
		q.Set(pair[0], pair[1])
	}
	u := url.URL{Scheme: "opengauss", User: url.UserPassword(testUser, password), Host: hosts, Path: "/catalog", RawQuery: q.Encode()}
	return u.String()
}

func parse(t testing.TB, connString string, iterations ...int) *pgx.ConnConfig {
	t.Helper()
	cfg, err := ParseConfig(connString, iterations...)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// logIn connects, makes one round trip and keeps the connection for the test.
func logIn(t testing.TB, cfg *pgx.ConnConfig) *pgx.Conn {
	t.Helper()
	ctx := testContext(t)
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(ctx) })
	if err := conn.Ping(ctx); err != nil {
		t.Fatal(err)
	}
	return conn
}

// refused wants the login to fail, and the error to keep the password to
// itself. When it returns the server has heard all of it.
func refused(t testing.TB, s *server, cfg *pgx.ConnConfig) error {
	t.Helper()
	ctx := testContext(t)
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err == nil {
		conn.Close(ctx)
		t.Fatal("the login succeeded")
	}
	s.waitUntilLeft()
	if cfg.Password != "" && strings.Contains(err.Error(), cfg.Password) {
		t.Errorf("the password is in the error: %v", err)
	}
	return err
}

func wantHeard(t testing.TB, s *server, want ...string) {
	t.Helper()
	if got := s.heard(); !slices.Equal(got, want) {
		t.Errorf("the server heard %q, want %q", got, want)
	}
}

// slowConn gives out one byte per read.
type slowConn struct {
	net.Conn
	r io.Reader
}

func (c slowConn) Read(p []byte) (int, error) { return c.r.Read(p) }

func dialSlowly(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	return slowConn{conn, iotest.OneByteReader(conn)}, nil
}

func TestLogin(t *testing.T) {
	cert := newCertificate(t)
	for _, m := range methods {
		for _, way := range []struct {
			name string
			tls  *tls.Config
			mode string
			dial pgconn.DialFunc
		}{
			{name: "plain", mode: "disable"},
			{name: "TLS", mode: "require", tls: cert.server},
			{name: "byte by byte", mode: "disable", dial: dialSlowly},
			{name: "TLS, byte by byte", mode: "require", tls: cert.server, dial: dialSlowly},
		} {
			t.Run(m.name+", "+way.name, func(t *testing.T) {
				s := &server{method: m, tls: way.tls}
				cfg := parse(t, loginURL(vectorPassword, s.listen(t), "sslmode", way.mode))
				if way.dial != nil {
					cfg.DialFunc = way.dial
				}
				conn := logIn(t, cfg)
				wantHeard(t, s, m.answer)
				if !IsOpenGauss(conn.PgConn()) {
					t.Error("the server is not seen to be openGauss")
				}
				if _, ok := conn.PgConn().Conn().(*tls.Conn); ok != (way.tls != nil) {
					t.Errorf("pgx holds a %T", conn.PgConn().Conn())
				}
			})
		}
	}
}

// A server may put several messages into one packet, and notices before
// the challenge.
func TestLoginAmongOtherMessages(t *testing.T) {
	notice := message('N', "SNOTICE\x00C00000\x00Mhello\x00\x00")
	s := &server{method: sha256Method, script: slices.Concat(notice, notice, message('R', sha256Method.body), notice)}
	cfg := parse(t, loginURL(vectorPassword, s.listen(t)))
	notices := 0
	cfg.OnNotice = func(*pgconn.PgConn, *pgconn.Notice) { notices++ }
	logIn(t, cfg)
	wantHeard(t, s, sha256Method.answer)
	if notices != 3 {
		t.Errorf("%d notices arrived, 3 were sent", notices)
	}
}

func TestUnusualIterationsHaveToBeConfigured(t *testing.T) {
	k, err := sha256Scheme.derive(vectorPassword, unhex(t, vectorSalt), 4096)
	if err != nil {
		t.Fatal(err)
	}
	token := unhex(t, vectorToken)
	unusual := method{body: signedBody(10, hex.EncodeToString(k.signature(token))), answer: hex.EncodeToString(k.proof(token))}
	s := &server{method: unusual}
	addr := s.listen(t)

	if err := refused(t, s, parse(t, loginURL(vectorPassword, addr))); !errors.Is(err, ErrServerSignature) {
		t.Errorf("got %v, want ErrServerSignature", err)
	}
	wantHeard(t, s)
	logIn(t, parse(t, loginURL(vectorPassword, addr), 4096))
	wantHeard(t, s, unusual.answer)
}

// Without a signature to try counts against, a second one would cost a failed
// login: the first is taken.
func TestMD5SHA256TakesTheFirstCount(t *testing.T) {
	k, err := sha256Scheme.derive(vectorPassword, unhex(t, vectorSalt), 2048)
	if err != nil {
		t.Fatal(err)
	}
	m := md5SHA256Method
	m.answer = k.md5Proof(vectorSalt, 2048, []byte(vectorMD5Salt))
	s := &server{method: m}
	logIn(t, parse(t, loginURL(vectorPassword, s.listen(t)), 2048))
	wantHeard(t, s, m.answer)
}

func TestAnImpossibleCountIsAnError(t *testing.T) {
	s := &server{method: sha256Method}
	err := refused(t, s, parse(t, loginURL(vectorPassword, s.listen(t)), -1))
	if !strings.Contains(err.Error(), "iteration count of -1") {
		t.Errorf("got %v", err)
	}
}

// The server signs with the password: neither a wrong one of the client's nor
// a server that does not know it gets an answer out of the client.
func TestNothingIsSentWithoutTheServersSignature(t *testing.T) {
	forged := strings.Repeat("00", 32)
	for _, c := range []struct {
		name, password string
		method         method
	}{
		{"sha256, wrong password", "wrong-Secret", sha256Method},
		{"sm3, wrong password", "wrong-Secret", sm3Method},
		{"sha256, forged", vectorPassword, method{body: signedBody(10, forged)}},
		{"sm3, forged", vectorPassword, method{body: signedBody(13, forged)}},
		{"sm3 with the signature of sha256", vectorPassword, method{body: "\x00\x00\x00\x0d" + sha256Method.body[4:]}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &server{method: c.method}
			err := refused(t, s, parse(t, loginURL(c.password, s.listen(t))))
			if !errors.Is(err, ErrServerSignature) {
				t.Errorf("got %v, want ErrServerSignature", err)
			}
			wantHeard(t, s)
		})
	}
}

// A server that is in a hurry to let the client in still has to sign.
func TestAnAcceptanceBehindAForgedChallengeIsNotRead(t *testing.T) {
	forged := message('R', signedBody(10, strings.Repeat("00", 32)))
	s := &server{script: append(forged, message('R', "\x00\x00\x00\x00")...)}
	if err := refused(t, s, parse(t, loginURL(vectorPassword, s.listen(t)))); !errors.Is(err, ErrServerSignature) {
		t.Errorf("got %v, want ErrServerSignature", err)
	}
	wantHeard(t, s)
}

// Once the password is proved, no other request is a part of the protocol: a
// request for the plain password least of all.
func TestASecondRequestIsRefused(t *testing.T) {
	for _, second := range []string{sha256Method.body, md5SHA256Method.body, "\x00\x00\x00\x03", "\x00\x00\x00\x05salt"} {
		s := &server{method: sha256Method, second: message('R', second)}
		err := refused(t, s, parse(t, loginURL(vectorPassword, s.listen(t))))
		if !errors.Is(err, ErrChallenge) {
			t.Errorf("%q: got %v, want ErrChallenge", second, err)
		}
		wantHeard(t, s, sha256Method.answer)
	}
}

func TestRefusalsOfTheServerAreItsOwnErrors(t *testing.T) {
	for _, sqlstate := range []string{"28P01", "28000"} {
		s := &server{method: md5SHA256Method, refusal: sqlstate}
		err := refused(t, s, parse(t, loginURL("wrong-Secret", s.listen(t))))
		var pgErr *pgconn.PgError
		if !errors.As(err, &pgErr) || pgErr.Code != sqlstate {
			t.Errorf("got %v, want a PgError %s", err, sqlstate)
		}
	}
}

func TestALockedAccountBeforeAnyRequest(t *testing.T) {
	s := &server{script: message('E', "SFATAL\x00C28000\x00MThe account has been locked.\x00\x00")}
	err := refused(t, s, parse(t, loginURL(vectorPassword, s.listen(t))))
	var pgErr *pgconn.PgError
	if !errors.As(err, &pgErr) || pgErr.Message != "The account has been locked." {
		t.Errorf("got %v", err)
	}
}

func TestAMissingPasswordIsSaid(t *testing.T) {
	s := &server{method: sha256Method}
	cfg := parse(t, loginURL(vectorPassword, s.listen(t)))
	cfg.Password = ""
	if err := refused(t, s, cfg); !strings.Contains(err.Error(), "none is configured") {
		t.Errorf("got %v", err)
	}
	wantHeard(t, s)
}

// A malformed or unknown challenge is a clear error, and gets no answer.
func TestHostileChallenges(t *testing.T) {
	good := sha256Method.body
	for name, body := range map[string]string{
		"no body behind the code":       good[:4],
		"empty list of SASL mechanisms": "\x00\x00\x00\x0a\x00",
		"one byte short":                good[:143],
		"one byte long":                 good + "0",
		"protocol 3.50":                 good[:80],
		"protocol 3.51":                 good[:80] + "\x00\x00\x27\x10",
		"salt not hexadecimal":          good[:8] + "zz" + good[10:],
		"NUL in the salt":               good[:8] + "\x00\x00" + good[10:],
		"NUL in the signature":          good[:142] + "\x00\x00",
		"sm3, short":                    "\x00\x00\x00\x0d\x00\x00\x00\x03",
		"md5_sha256, short":             md5SHA256Method.body[:71],
		"md5_sha256, long":              md5SHA256Method.body + "0",
		"md5_sha256, not hexadecimal":   "\x00\x00\x00\x0b" + strings.Repeat("g", 64) + vectorMD5Salt,
		"SHA256_RFC":                    "\x00\x00\x00\x0c" + good[4:],
		"IAM":                           "\x00\x00\x00\x0e",
	} {
		t.Run(name, func(t *testing.T) {
			s := &server{script: message('R', body)}
			if err := refused(t, s, parse(t, loginURL(vectorPassword, s.listen(t)))); !errors.Is(err, ErrChallenge) {
				t.Errorf("got %v, want ErrChallenge", err)
			}
			wantHeard(t, s)
		})
	}
}

// No length that a server claims makes the client read or hold more than a
// login can need.
func TestLengthsAreBoundedDuringTheLogin(t *testing.T) {
	notice := message('N', "SNOTICE\x00M"+strings.Repeat("x", 10000)+"\x00\x00")
	for name, script := range map[string][]byte{
		"negative":          []byte("R\xff\xff\xff\xff"),
		"less than itself":  []byte("R\x00\x00\x00\x03"),
		"2 GB":              []byte("R\x7f\xff\xff\xff"),
		"an error of 1 GB":  []byte("E\x40\x00\x00\x00"),
		"an HTTP server":    []byte("HTTP/1.1 400 Bad Request\r\n\r\n"),
		"notices for ever":  slices.Concat(slices.Repeat(notice, 30), message('R', sha256Method.body)),
		"more than allowed": []byte("N\x00\x04\x00\x04"),
	} {
		t.Run(name, func(t *testing.T) {
			s := &server{script: script}
			err := refused(t, s, parse(t, loginURL(vectorPassword, s.listen(t))))
			if !strings.Contains(err.Error(), "during the login") {
				t.Errorf("got %v", err)
			}
			wantHeard(t, s)
		})
	}
}

func TestACancelledContextEndsTheLogin(t *testing.T) {
	ctx, cancel := context.WithCancel(testContext(t))
	s := &server{method: sha256Method, script: []byte("R\x00\x00"), started: cancel}
	conn, err := pgx.ConnectConfig(ctx, parse(t, loginURL(vectorPassword, s.listen(t))))
	if err == nil {
		conn.Close(ctx)
	}
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the context's error", err)
	}
}
