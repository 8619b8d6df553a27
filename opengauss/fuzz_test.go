package opengauss

import (
	"bytes"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"
)

// converse is pgx's part of a login, reduced to the plain password, until the
// server lets the client in or something fails.
func converse(w *wire) (in bool, err error) {
	l := &login{r: w, w: w, iterations: []int{1}}
	frontend := pgproto3.NewFrontend(l, l)
	frontend.Send(&pgproto3.StartupMessage{ProtocolVersion: pgproto3.ProtocolVersion30, Parameters: map[string]string{"user": testUser}})
	for {
		if err := frontend.Flush(); err != nil {
			return false, err
		}
		msg, err := frontend.Receive()
		if err != nil {
			return false, err
		}
		switch msg.(type) {
		case *pgproto3.AuthenticationOk:
			return true, nil
		case *pgproto3.AuthenticationCleartextPassword:
			frontend.Send(&pgproto3.PasswordMessage{Password: vectorPassword})
		}
	}
}

// Whatever a server sends, the client does not panic, ends, and does not give
// the plain password away.
func FuzzHostileServer(f *testing.F) {
	ok := message('R', "\x00\x00\x00\x00")
	for _, m := range methods {
		f.Add(message('R', m.body))
		f.Add(append(message('R', m.body), ok...))
		f.Add(append(message('R', m.body), message('R', m.body)...))
		f.Add(message('R', m.body[:len(m.body)-1]))
	}
	f.Add(append(message('R', "\x00\x00\x00\x0aSCRAM-SHA-256\x00\x00"), message('R', "\x00\x00\x00\x0br=1,s=2,i=3")...))
	f.Add(message('R', "\x00\x00\x00\x03"))
	f.Add(message('E', "SFATAL\x00C28000\x00\x00"))
	f.Add([]byte("N\x7f\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, script []byte) {
		var w wire
		w.from.Reset(script)
		in, err := converse(&w)
		sent := passwordMessages(t, w.to.Bytes())
		if bytes.Contains(sent, []byte(vectorPassword)) {
			t.Errorf("the plain password was sent: %q", sent)
		}
		if in && !bytes.Contains(script, ok) {
			t.Error("in without having been let in")
		}
		if err != nil && bytes.Contains([]byte(err.Error()), []byte(vectorPassword)) {
			t.Errorf("the password is in the error: %v", err)
		}
	})
}
