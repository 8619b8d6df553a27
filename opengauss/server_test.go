package opengauss

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/md5"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
)

const testUser = "scanner"

// method is one way to ask for vectorPassword, and the only right answer.
type method struct {
	name   string
	body   string // of the authentication message
	answer string // text of the password message
}

// signedBody is the body of codes 10 and 13.
func signedBody(code byte, signature string) string {
	return "\x00\x00\x00" + string(code) + "\x00\x00\x00\x02" + vectorSalt + vectorToken + signature
}

var (
	sha256Method = method{
		name:   "sha256",
		body:   signedBody(10, "105c76dd4e76af5c061fda1f64bae0e4bd82e8df52471589fdf3ec7821ec0a52"),
		answer: "1ddbce8405093ac408b26c283d552c1dfbeca4c7d5256aa404090b6de887939e",
	}
	sm3Method = method{
		name:   "sm3",
		body:   signedBody(13, "0a741b55f35ec75f3309bad83b97ae2cd9a170976f762777df8f181cdc2f664b"),
		answer: "66b52d2c5de696e70af1b2e826269bff6eb4809ce2bbaa5ac3f50f03eb851535",
	}
	md5SHA256Method = method{
		name:   "md5_sha256",
		body:   "\x00\x00\x00\x0b" + vectorSalt + vectorMD5Salt,
		answer: "md5fb7d068c2a30c86d62a28c61afdba39d",
	}
	methods = []method{
		sha256Method,
		{
			name:   "sha256 with 2048 iterations",
			body:   signedBody(10, "296927769f8d9d9e1dd9bbd84236b5d824fe8aa8cfc099c201bb8e81c004ab7e"),
			answer: "40b8c8a64a222d248c6b0409e5a69c50421251aa712940cb4784ec1fe23c5ecb",
		},
		sm3Method,
		md5SHA256Method,
		{
			name:   "md5, which is pgx's own",
			body:   "\x00\x00\x00\x05" + vectorMD5Salt,
			answer: "md5" + hexMD5(hexMD5(vectorPassword+testUser)+vectorMD5Salt),
		},
	}
)

func hexMD5(s string) string {
	sum := md5.Sum([]byte(s))
	return hex.EncodeToString(sum[:])
}

// message is a message of the server.
func message(kind byte, body string) []byte {
	m := binary.BigEndian.AppendUint32([]byte{kind}, uint32(4+len(body)))
	return append(m, body...)
}

// server plays openGauss on a loopback port: one method of login, then
// sessions that know one statement. The fields above mu are set before listen.
type server struct {
	method   method
	tls      *tls.Config // nil: without TLS
	script   []byte      // sent instead of the method's message, when not nil
	second   []byte      // sent instead of the acceptance of a right answer, when not nil
	refusal  string      // SQLSTATE for a wrong answer
	readOnly bool
	started  func() // called when a startup message came, may be nil

	mu        sync.Mutex
	ended     *sync.Cond // a session did
	open      int        // sessions
	answers   []string   // texts of the password messages
	encrypted int        // sessions with TLS
	cancels   []pgproto3.CancelRequest
	conns     []net.Conn
}

// listen starts the server for the time of the test, and returns its address.
func (s *server) listen(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.ended = sync.NewCond(&s.mu)
	var sessions sync.WaitGroup
	sessions.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return // closed
			}
			s.mu.Lock()
			s.conns = append(s.conns, conn)
			s.open++
			s.mu.Unlock()
			sessions.Go(func() {
				// A client that hangs up is no error here; its test looks at what it did.
				_ = s.serve(conn)
				conn.Close()
				s.mu.Lock()
				s.open--
				s.mu.Unlock()
				s.ended.Broadcast()
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		s.mu.Lock()
		for _, conn := range s.conns {
			conn.Close()
		}
		s.mu.Unlock()
		sessions.Wait()
	})
	return l.Addr().String()
}

func (s *server) serve(conn net.Conn) error {
	backend := pgproto3.NewBackend(conn, conn)
	encrypted := false
	for greeted := false; !greeted; {
		msg, err := backend.ReceiveStartupMessage()
		if err != nil {
			return err
		}
		switch msg := msg.(type) {
		case *pgproto3.SSLRequest:
			if s.tls == nil {
				if _, err := conn.Write([]byte("N")); err != nil {
					return err
				}
				continue
			}
			if _, err := conn.Write([]byte("S")); err != nil {
				return err
			}
			conn, encrypted = tls.Server(conn, s.tls), true
			backend = pgproto3.NewBackend(conn, conn)
		case *pgproto3.CancelRequest:
			s.mu.Lock()
			s.cancels = append(s.cancels, *msg)
			s.mu.Unlock()
			return nil
		case *pgproto3.StartupMessage:
			greeted = true
		}
	}
	if encrypted {
		s.mu.Lock()
		s.encrypted++
		s.mu.Unlock()
	}
	if s.started != nil {
		s.started()
	}
	return s.session(conn, backend)
}

func (s *server) session(conn net.Conn, backend *pgproto3.Backend) error {
	ask := s.script
	if ask == nil {
		ask = message('R', s.method.body)
	}
	if _, err := conn.Write(ask); err != nil {
		return err
	}
	if err := backend.SetAuthType(pgproto3.AuthTypeCleartextPassword); err != nil {
		return err
	}
	msg, err := backend.Receive()
	if err != nil {
		return err
	}
	password, ok := msg.(*pgproto3.PasswordMessage)
	if !ok {
		return fmt.Errorf("%T instead of a password", msg)
	}
	s.mu.Lock()
	s.answers = append(s.answers, password.Password)
	s.mu.Unlock()
	if password.Password != s.method.answer {
		backend.Send(&pgproto3.ErrorResponse{Severity: "FATAL", Code: s.refusal, Message: "Invalid username/password,login denied."})
		return backend.Flush()
	}
	if s.second != nil {
		if _, err := conn.Write(s.second); err != nil {
			return err
		}
		_, err := backend.Receive()
		return err
	}
	backend.Send(&pgproto3.AuthenticationOk{})
	for name, value := range map[string]string{
		"is_sysadmin": "off", "server_version": "9.2.4", "client_encoding": "UTF8", "standard_conforming_strings": "on",
	} {
		backend.Send(&pgproto3.ParameterStatus{Name: name, Value: value})
	}
	backend.Send(&pgproto3.BackendKeyData{ProcessID: 4711, SecretKey: []byte("key!")})
	for {
		backend.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
		if err := backend.Flush(); err != nil {
			return err
		}
		msg, err := backend.Receive()
		if err != nil {
			return err
		}
		query, ok := msg.(*pgproto3.Query)
		if !ok {
			return fmt.Errorf("the session ends with %T", msg)
		}
		switch query.String {
		case "show transaction_read_only":
			value := map[bool]string{true: "on", false: "off"}[s.readOnly]
			backend.Send(&pgproto3.RowDescription{Fields: []pgproto3.FieldDescription{{Name: []byte("transaction_read_only"), DataTypeOID: 25}}})
			backend.Send(&pgproto3.DataRow{Values: [][]byte{[]byte(value)}})
			backend.Send(&pgproto3.CommandComplete{CommandTag: []byte("SHOW")})
		default:
			backend.Send(&pgproto3.EmptyQueryResponse{})
		}
	}
}

// heard returns the password messages of all clients.
func (s *server) heard() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.answers)
}

// waitUntilLeft returns when no client is connected any more.
func (s *server) waitUntilLeft() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.open > 0 {
		s.ended.Wait()
	}
}

// certificate is a self-signed one for the loopback address.
type certificate struct {
	server    *tls.Config
	certPEM   []byte
	keyPEM    []byte
	rootsFile string
}

func newCertificate(t testing.TB) certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "opengauss test"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	c := certificate{
		server:    &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}},
		certPEM:   pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		keyPEM:    pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}),
		rootsFile: filepath.Join(t.TempDir(), "root.crt"),
	}
	if err := os.WriteFile(c.rootsFile, c.certPEM, 0o600); err != nil {
		t.Fatal(err)
	}
	return c
}
