package opengauss

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// maxLogin bounds, in bytes, all that a server may send before it has let the
// client in. Logins take some hundred bytes, Kerberos tickets some ten thousand.
const maxLogin = 256 << 10

// Types of messages.
const (
	messageAuth     = 'R'
	messagePassword = 'p'
)

// Codes of an authentication message, as openGauss has them. PostgreSQL uses
// 10 to 12 for the steps of SASL.
const (
	codeOK        = 0
	codePassword  = 3
	codeMD5       = 5
	codeSHA256    = 10
	codeMD5SHA256 = 11
	codeSHA256RFC = 12
	codeSM3       = 13
	codeIAM       = 14
)

// PostgreSQL's own codes for exchanges that pgx has.
const (
	codeGSS          = 7
	codeGSSContinue  = 8
	codeSSPI         = 9
	codeSASLContinue = 11
	codeSASLFinal    = 12
)

// plainRequest is the authentication message that pgx sees in place of a
// challenge of openGauss: code 3, a request for the plain password.
var plainRequest = []byte{messageAuth, 0, 0, 0, 8, 0, 0, 0, 3}

// state of a login. It only moves on:
//
//	idle ----> listening ----> asked ----> listening ----> passing
//	  |                                                       ^
//	  +-------------------------------------------------------+
type state uint8

const (
	// idle until the first write. A startup message begins a login. Any other
	// means that pgconn.Construct took over a session that is past its login.
	idle state = iota
	// listening reads message by message until the server asks, or lets the
	// client in.
	listening
	// asked has a challenge, and waits for pgx to write the plain password.
	// Nothing that pgx writes in this state gets to the server.
	asked
	// passing hands all bytes on, for the rest of the connection.
	passing
)

// login stands between the messages of pgx and one connection, as the reader
// and the writer of a pgproto3.Frontend. While it lasts, and so while fields
// change, pgx reads and writes in one goroutine.
type login struct {
	r          io.Reader
	w          io.Writer
	iterations []int // to try, in this order; not empty
	policy     policy

	state     state
	err       error     // of the login, for good
	received  int       // bytes of the server's messages so far
	unread    []byte    // of the message that pgx reads
	request   uint32    // the code by which the server has asked; 0: not yet
	sasl      bool      // that was PostgreSQL's code 10
	challenge challenge // the server's, if it is one of openGauss
	written   []byte    // by pgx, of the password message, while asked
}

// Read is the server's side as pgx sees it.
func (l *login) Read(p []byte) (int, error) {
	if len(l.unread) == 0 {
		switch {
		case l.err != nil:
			return 0, l.err
		case l.state == idle || l.state == passing:
			return l.r.Read(p)
		case l.state == asked:
			return 0, l.fail(errors.New("opengauss: the client reads on and has not given the password"))
		}
		if err := l.receive(); err != nil {
			return 0, l.fail(err)
		}
	}
	n := copy(p, l.unread)
	l.unread = l.unread[n:]
	return n, nil
}

// Write takes what pgx has for the server.
func (l *login) Write(p []byte) (int, error) {
	if l.err != nil {
		return 0, l.err
	}
	switch l.state {
	case idle:
		l.state = passing
		if len(p) > 0 && p[0] == 0 { // only a startup message has no type, but a length below 16 MB
			l.state = listening
		}
	case asked:
		if err := l.takePassword(p); err != nil {
			return 0, l.fail(err)
		}
		return len(p), nil
	}
	return l.w.Write(p)
}

func (l *login) fail(err error) error {
	l.err = err
	clear(l.written)
	return err
}

// receive reads one message, exactly, and makes it the unread one.
func (l *login) receive() error {
	head := make([]byte, 5)
	if _, err := io.ReadFull(l.r, head); err != nil {
		return err
	}
	size := int64(int32(binary.BigEndian.Uint32(head[1:]))) - 4
	if left := maxLogin - l.received - len(head); size < 0 || size > int64(left) {
		return fmt.Errorf("opengauss: the server sends a message %q of %d bytes during the login, where at most %d may follow; is it a PostgreSQL or openGauss server?",
			head[0], size, left)
	}
	message := append(head, make([]byte, size)...)
	if _, err := io.ReadFull(l.r, message[len(head):]); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return err
	}
	l.received += len(message)
	l.unread = message
	if head[0] == messageAuth {
		return l.authentication(message[len(head):])
	}
	return nil
}

// authentication looks at the body of an authentication message, and puts
// plainRequest in the place of a challenge of openGauss.
func (l *login) authentication(body []byte) error {
	if len(body) < 4 {
		return nil // pgx says so
	}
	code := binary.BigEndian.Uint32(body)
	switch {
	case code == codeOK:
		l.state = passing
		return nil
	case l.request != 0 && l.continues(code):
		return nil
	case l.request != 0:
		return fmt.Errorf("%w: a second time, after the answer", ErrChallenge)
	}
	l.request = code
	// The name of a SASL mechanism begins where a challenge has a small number.
	if l.sasl = code == codeSHA256 && len(body) > 4 && body[4] != 0; l.sasl {
		return nil
	}
	_, within := l.w.(*login) // configured twice: the other one has decided
	if method := methodOf[code]; method != "" && !within {
		if err := l.policy.check(method, linkOf(l.w)); err != nil {
			return err
		}
	}
	c, err := parseChallenge(code, body)
	if c == nil || err != nil {
		return err
	}
	l.challenge, l.state, l.unread = c, asked, plainRequest
	return nil
}

// continues tells whether a message goes on with PostgreSQL's exchange that the
// server has begun, which is for pgx.
func (l *login) continues(code uint32) bool {
	switch l.request {
	case codeSHA256:
		return l.sasl && (code == codeSASLContinue || code == codeSASLFinal)
	case codeGSS, codeSSPI:
		return code == codeGSSContinue
	}
	return false
}

// methodOf names the methods that are allowed or not.
var methodOf = map[uint32]string{
	codePassword: methodPassword, codeMD5: methodMD5, codeSHA256: methodSHA256, codeMD5SHA256: methodMD5SHA256, codeSM3: methodSM3,
}

// takePassword collects pgx's password message and, once it is whole, answers
// the challenge.
func (l *login) takePassword(p []byte) error {
	l.written = append(l.written, p...)
	if l.written[0] != messagePassword {
		return fmt.Errorf("opengauss: the client sends a message %q instead of the password", l.written[0])
	}
	if len(l.written) < 5 {
		return nil
	}
	end := 1 + uint64(binary.BigEndian.Uint32(l.written[1:]))
	if uint64(len(l.written)) < end {
		return nil
	}
	if uint64(len(l.written)) != end || end < 6 || l.written[end-1] != 0 {
		return errors.New("opengauss: the client sends a malformed password message")
	}
	password := string(l.written[5 : end-1])
	if password == "" {
		return errors.New("opengauss: the server asks for a password, and none is configured")
	}
	proof, err := l.challenge.answer(password, l.iterations)
	if err != nil {
		return err
	}
	clear(l.written)
	l.written = nil
	l.state = listening
	_, err = l.w.Write(passwordMessage(proof))
	return err
}

func passwordMessage(text string) []byte {
	m := []byte{messagePassword}
	m = binary.BigEndian.AppendUint32(m, uint32(4+len(text)+1))
	m = append(m, text...)
	return append(m, 0)
}
