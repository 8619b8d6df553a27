package pgdest

import (
	"encoding/binary"
	"fmt"
	"io"
)

// Limits of what a server may send. pgx keeps every parameter by its name, and
// every message as a whole.
const (
	maxMessage    = 16 << 20 // bytes; ours are answered by some thousand
	maxParameters = 1000     // messages about parameters, between two requests
)

// bounded reads what a server sends, and ends a connection that would drown the
// program. It keeps count of messages, whose bytes it hands on as they come.
type bounded struct {
	r          io.Reader
	head       [5]byte // of the next message: its type and its length
	got        int     // bytes of it
	body       uint32  // bytes to come of the message's rest
	parameters int     // since the last request was answered
	err        error
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	n, err := b.r.Read(p)
	if b.err = b.look(p[:n]); b.err != nil {
		return 0, b.err
	}
	return n, err
}

// look follows the messages through the bytes.
func (b *bounded) look(p []byte) error {
	for len(p) > 0 {
		if b.body > 0 {
			n := min(len(p), int(b.body))
			p, b.body = p[n:], b.body-uint32(n)
			continue
		}
		n := copy(b.head[b.got:], p)
		p, b.got = p[n:], b.got+n
		if b.got < len(b.head) {
			return nil
		}
		b.got = 0
		size := binary.BigEndian.Uint32(b.head[1:])
		if size < 4 || size > maxMessage {
			return fmt.Errorf("the server sends a message %q of %d bytes, where at most %d are expected: is it a PostgreSQL or openGauss server?",
				b.head[0], size, maxMessage)
		}
		b.body = size - 4
		switch b.head[0] {
		case 'S':
			b.parameters++
		case 'Z':
			b.parameters = 0
		}
		if b.parameters > maxParameters {
			return fmt.Errorf("the server floods its client with parameters: more than %d in one answer", maxParameters)
		}
	}
	return nil
}
