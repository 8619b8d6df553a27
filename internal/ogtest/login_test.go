package ogtest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/memdbwriter/memdbwriter/opengauss"
)

// dial opens a raw connection.
func dial(t *testing.T, s *Server) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", s.listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func sendStartup(t *testing.T, conn net.Conn, version uint32, params ...string) {
	t.Helper()
	body := binary.BigEndian.AppendUint32(nil, version)
	for _, p := range params {
		body = append(append(body, p...), 0)
	}
	body = append(body, 0)
	if _, err := conn.Write(append(binary.BigEndian.AppendUint32(nil, uint32(4+len(body))), body...)); err != nil {
		t.Fatal(err)
	}
}

func readMessage(t *testing.T, conn net.Conn) (kind byte, body []byte) {
	t.Helper()
	var head [5]byte
	if _, err := io.ReadFull(conn, head[:]); err != nil {
		t.Fatal(err)
	}
	body = make([]byte, binary.BigEndian.Uint32(head[1:])-4)
	if _, err := io.ReadFull(conn, body); err != nil {
		t.Fatal(err)
	}
	return head[0], body
}

func TestWhatTheServerAsks(t *testing.T) {
	type ask struct{ code, size int }
	md5 := ask{5, 8}
	for _, c := range []struct {
		hba, stored Method
		want        [3]ask // of protocol 3.0, 3.50, 3.51
	}{
		{SHA256, SHA256, [3]ask{{10, 144}, {10, 80}, {10, 84}}},
		{SHA256, SHA256AndMD5, [3]ask{md5, {10, 80}, {10, 84}}},
		{SHA256, MD5, [3]ask{md5, md5, md5}},
		{MD5, SHA256, [3]ask{{11, 72}, {11, 72}, {11, 72}}},
		{MD5, SHA256AndMD5, [3]ask{md5, md5, md5}},
		{MD5, MD5, [3]ask{md5, md5, md5}},
		{SM3, SM3, [3]ask{{13, 144}, {13, 80}, {13, 84}}},
		{SHA256, SM3, [3]ask{{13, 144}, {13, 80}, {13, 84}}},
		{MD5, SM3, [3]ask{{13, 144}, {13, 80}, {13, 84}}},
		{SM3, SHA256, [3]ask{{13, 144}, {13, 80}, {13, 84}}},
	} {
		s := Start(t, Options{HBA: c.hba, Method: c.stored})
		for i, version := range []uint32{protocol30, protocol350, protocol351} {
			conn := dial(t, s)
			sendStartup(t, conn, version, "user", DefaultUser)
			kind, body := readMessage(t, conn)
			if got := (ask{int(binary.BigEndian.Uint32(body)), len(body)}); kind != 'R' || got != c.want[i] {
				t.Errorf("hba %d, stored %d, version %#x: %v, want %v", c.hba, c.stored, version, got, c.want[i])
			}
		}
	}
}

func TestIterationsAreToldTo351(t *testing.T) {
	s := Start(t, Options{Iterations: 12345})
	conn := dial(t, s)
	sendStartup(t, conn, protocol351, "user", DefaultUser)
	_, body := readMessage(t, conn)
	if n := binary.BigEndian.Uint32(body[80:]); n != 12345 {
		t.Errorf("%d iterations", n)
	}
}

func TestUnknownUser(t *testing.T) {
	s := Start(t, Options{})
	for version, code := range map[uint32]uint32{protocol30: 5, protocol350: 10, protocol351: 10} {
		conn := dial(t, s)
		sendStartup(t, conn, version, "user", "nobody")
		_, body := readMessage(t, conn)
		if got := binary.BigEndian.Uint32(body); got != code {
			t.Errorf("version %#x: code %d, want %d", version, got, code)
		}
		if _, err := conn.Write([]byte("p\x00\x00\x00\x08abc\x00")); err != nil {
			t.Fatal(err)
		}
		kind, body := readMessage(t, conn)
		var e pgproto3.ErrorResponse
		if err := e.Decode(body); err != nil || kind != 'E' || e.Code != "28P01" || e.Severity != "FATAL" {
			t.Errorf("%c %v %v", kind, e, err)
		}
	}
}

func TestOtherProtocolsAreRefused(t *testing.T) {
	s := Start(t, Options{})
	for _, version := range []uint32{3<<16 | 2, 4 << 16, 80877104} {
		conn := dial(t, s)
		sendStartup(t, conn, version, "user", DefaultUser)
		kind, body := readMessage(t, conn)
		var e pgproto3.ErrorResponse
		if err := e.Decode(body); err != nil || kind != 'E' || e.Code != "0A000" {
			t.Errorf("version %#x: %c %v %v", version, kind, e, err)
		}
	}
}

func TestClientsLogIn(t *testing.T) {
	for _, o := range []Options{
		{},
		{Iterations: 2048},
		{Method: SM3, HBA: SM3},
		{Method: MD5},
		{Method: SHA256AndMD5},
		{HBA: MD5},
		{TLS: true},
		{Version: "6.0.2"},
	} {
		t.Run(fmt.Sprintf("%+v", o), func(t *testing.T) {
			_, conn := at(t, o)
			if !opengauss.IsOpenGauss(conn.PgConn()) {
				t.Error("not recognised as openGauss")
			}
			if n := value[int](t, conn, "SELECT 1"); n != 1 {
				t.Error(n)
			}
		})
	}
}

func TestPlainPgxLogsInWithMD5Only(t *testing.T) {
	for method, ok := range map[Method]bool{MD5: true, SHA256AndMD5: true, SHA256: false} {
		s := Start(t, Options{Method: method})
		conn, err := pgx.Connect(t.Context(), s.URL)
		if (err == nil) != ok {
			t.Errorf("method %d: %v", method, err)
		}
		if err == nil {
			run(t, conn, "SELECT 1")
			conn.Close(t.Context())
		}
	}
}

func refused(t *testing.T, rawURL, code string) {
	t.Helper()
	cfg, err := opengauss.ParseConfig(rawURL)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.ConnectConfig(t.Context(), cfg)
	if err == nil {
		conn.Close(t.Context())
	}
	pe := new(pgconn.PgError)
	if !errors.As(err, &pe) || pe.Code != code {
		t.Errorf("%v, want SQLSTATE %s", err, code)
	}
}

func TestTenWrongPasswordsLockTheAccount(t *testing.T) {
	s := Start(t, Options{Users: []User{{Name: "u", Password: "Right@123", Stored: MD5}}})
	for range maxFailures - 1 {
		refused(t, s.UserURL("u", "wrong"), "28P01")
	}
	client(t, s.UserURL("u", "Right@123")) // which begins the count anew
	for range maxFailures {
		refused(t, s.UserURL("u", "wrong"), "28P01")
	}
	refused(t, s.UserURL("u", "Right@123"), "28000")
	client(t, s.URL) // another account
}

func TestStartupParameters(t *testing.T) {
	s := Start(t, Options{Method: MD5})
	with := func(name, value string) string {
		return s.URL + "&" + url.Values{name: {value}}.Encode()
	}
	refused(t, with("lock_timeout", "1s"), "42704")
	refused(t, with("nonsense", "1s"), UnknownStatement)
	refused(t, with("session_timeout", "soon"), "22023")
	refused(t, strings.Replace(s.URL, "/postgres?", "/other?", 1), "3D000")
	if got := value[string](t, client(t, with("session_timeout", "90")), "SHOW session_timeout"); got != "90s" {
		t.Error(got)
	}
}

func TestParametersReportedAtLogin(t *testing.T) {
	s, conn := at(t, Options{Users: []User{{Name: "boss", Password: "Boss@1234", Admin: true}}})
	for name, want := range map[string]string{
		"server_version": "9.2.4", "behavior_compat_options": "", "is_sysadmin": "off", "client_encoding": "UTF8",
		"standard_conforming_strings": "on", "session_authorization": DefaultUser,
		"is_superuser": "", "in_hot_standby": "", "default_transaction_read_only": "", "scram_iterations": "",
	} {
		if got := conn.PgConn().ParameterStatus(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if got := client(t, s.UserURL("boss", "Boss@1234")).PgConn().ParameterStatus("is_sysadmin"); got != "on" {
		t.Errorf("is_sysadmin of an administrator is %q", got)
	}
}
