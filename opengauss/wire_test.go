package opengauss

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"
)

// wire is a connection to a server that has said all it will ever say.
type wire struct {
	from bytes.Reader
	to   bytes.Buffer
}

func (w *wire) Read(p []byte) (int, error)  { return w.from.Read(p) }
func (w *wire) Write(p []byte) (int, error) { return w.to.Write(p) }

// passwordMessages returns what follows the startup message.
func passwordMessages(t *testing.T, sent []byte) []byte {
	if len(sent) < 4 {
		t.Fatalf("the client sent %q", sent)
	}
	return sent[binary.BigEndian.Uint32(sent):]
}

// challenged returns a login whose server has sent a challenge.
func challenged(t *testing.T, w *wire, body string) (*login, *pgproto3.Frontend) {
	t.Helper()
	w.from.Reset(append(message('R', body), message('R', "\x00\x00\x00\x00")...))
	l := &login{r: w, w: w, iterations: usualIterations, policy: policy{named: []string{methodSHA256, methodSM3, methodMD5SHA256}}}
	frontend := pgproto3.NewFrontend(l, l)
	frontend.Send(&pgproto3.StartupMessage{ProtocolVersion: pgproto3.ProtocolVersion30})
	if err := frontend.Flush(); err != nil {
		t.Fatal(err)
	}
	if msg, err := frontend.Receive(); err != nil {
		t.Fatalf("%T, %v", msg, err)
	}
	return l, frontend
}

// The server takes a password message of exactly this form.
func TestTheProofOnTheWire(t *testing.T) {
	for _, m := range methods[:4] {
		var w wire
		_, frontend := challenged(t, &w, m.body)
		frontend.Send(&pgproto3.PasswordMessage{Password: vectorPassword})
		if err := frontend.Flush(); err != nil {
			t.Fatal(err)
		}
		if got, want := passwordMessages(t, w.to.Bytes()), message('p', m.answer+"\x00"); !bytes.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", m.name, got, want)
		}
	}
}

func TestAFailedLoginStaysFailed(t *testing.T) {
	var w wire
	l, frontend := challenged(t, &w, signedBody(10, strings.Repeat("00", 32)))
	for range 2 {
		frontend.Send(&pgproto3.PasswordMessage{Password: vectorPassword})
		if err := frontend.Flush(); !errors.Is(err, ErrServerSignature) {
			t.Errorf("writing: got %v, want ErrServerSignature", err)
		}
		if _, err := l.Read(make([]byte, 1)); !errors.Is(err, ErrServerSignature) {
			t.Errorf("reading: got %v, want ErrServerSignature", err)
		}
	}
	if sent := passwordMessages(t, w.to.Bytes()); len(sent) > 0 {
		t.Errorf("the client sent %q", sent)
	}
}

// Nothing but the password gets past a challenge, in either direction, and
// the failure is for good.
func TestAChallengeHasToBeAnswered(t *testing.T) {
	for name, step := range map[string]func(*login) error{
		"another message": func(l *login) error { _, err := l.Write([]byte("Q\x00\x00\x00\x05\x00")); return err },
		"more than the password": func(l *login) error {
			_, err := l.Write([]byte("p\x00\x00\x00\x0fSecret@123\x00X"))
			return err
		},
		"no password": func(l *login) error { _, err := l.Write([]byte("p\x00\x00\x00\x04")); return err },
		"no length":   func(l *login) error { _, err := l.Write([]byte("p\x00\x00\x00\x00")); return err },
		"reading on":  func(l *login) error { _, err := l.Read(make([]byte, 1)); return err },
	} {
		t.Run(name, func(t *testing.T) {
			var w wire
			l, _ := challenged(t, &w, sha256Method.body)
			if err := step(l); err == nil {
				t.Error("no error")
			}
			if _, err := l.Write([]byte("p\x00\x00\x00\x0fSecret@123\x00")); err == nil {
				t.Error("the login goes on")
			}
			if sent := passwordMessages(t, w.to.Bytes()); len(sent) > 0 {
				t.Errorf("the client sent %q", sent)
			}
		})
	}
}
