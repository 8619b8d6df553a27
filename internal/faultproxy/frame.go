package faultproxy

import (
	"encoding/binary"
	"fmt"
	"io"
	"strings"
)

// The first message of a client has no type, but a code behind its length.
const (
	cancelCode = 80877102
	sslCode    = 80877103
	gssCode    = 80877104
)

// maxMessage is more than any message of a sound client or server.
const maxMessage = 1 << 30

// message reads one whole message: a type byte unless it is a client's first
// one, the length of itself and what follows, and that.
func message(r io.Reader, first bool) ([]byte, error) {
	head := make([]byte, 5)
	if first {
		head = head[:4]
	}
	if _, err := io.ReadFull(r, head); err != nil {
		return nil, err
	}
	size := binary.BigEndian.Uint32(head[len(head)-4:])
	if size < 4 || size > maxMessage {
		return nil, fmt.Errorf("faultproxy: a message of %d bytes", size)
	}
	m := append(head, make([]byte, size-4)...)
	_, err := io.ReadFull(r, m[len(head):])
	return m, err
}

// upward reads what a client says.
type upward struct {
	started bool
	copied  int // bytes of data of the batch so far
}

func (u *upward) next(p *pipe) ([]piece, error) {
	m, err := message(p.from, !u.started)
	if err != nil {
		return nil, err
	}
	if !u.started {
		return u.first(p, m)
	}
	switch m[0] {
	case 'Q':
		pieces := p.before(Query)
		if strings.Contains(string(m), "FROM STDIN") {
			u.copied = 0
			p.batch.Store(true)
			p.complete.Store(false)
			pieces = append(pieces, p.before(Batch)...)
			return append(pieces, u.data(p, m, 0)...), nil
		}
		return append(pieces, piece{data: m}), nil
	case 'd':
		return u.data(p, m, len(m)-5), nil
	case 'c':
		p.complete.Store(true)
		pieces := append(p.before(CopyDone), piece{data: m})
		return append(pieces, p.before(Running)...), nil
	}
	return []piece{{data: m}}, nil
}

// first is a client's first message, of which requests for encryption are
// none yet.
func (u *upward) first(p *pipe, m []byte) ([]piece, error) {
	var code uint32
	if len(m) >= 8 {
		code = binary.BigEndian.Uint32(m[4:])
	}
	switch code {
	case sslCode, gssCode:
		_, err := p.from.Write([]byte("N"))
		return nil, err
	case cancelCode:
		return []piece{{data: m}}, nil
	}
	u.started = true
	return append(p.before(Startup), piece{data: m}), nil
}

// data is a message that ends with n more bytes of the batch's data, cut in
// two if the fault is due within them. With n = 0 it is the query string, which
// is behind the fault for no bytes at all.
func (u *upward) data(p *pipe, m []byte, n int) []piece {
	u.copied += n
	f, ok := p.proxy.due(CopyData)
	if !ok || u.copied < f.After {
		return []piece{{data: m}}
	}
	cut := max(0, len(m)-(u.copied-f.After))
	return []piece{{data: m[:cut], fault: f}, {data: m[cut:]}}
}

// before is the fault of a phase, if there is one.
func (p *pipe) before(at Phase) []piece {
	if f, ok := p.proxy.due(at); ok {
		return []piece{{fault: f}}
	}
	return nil
}

// downward reads what a server says. The answer to a batch is kept until it is
// complete, so that the client gets all of it or nothing.
type downward struct {
	kept    []byte
	refused bool // the server reported an error
}

func (d *downward) next(p *pipe) ([]piece, error) {
	m, err := message(p.from, false)
	if err != nil {
		kept := d.kept
		d.kept = nil
		if len(kept) > 0 {
			return []piece{{data: kept}}, nil
		}
		return nil, err
	}
	d.refused = d.refused || m[0] == 'E'
	if m[0] != 'Z' && !(p.batch.Load() && p.complete.Load()) {
		return []piece{{data: m}}, nil
	}
	d.kept = append(d.kept, m...)
	if m[0] != 'Z' {
		return nil, nil
	}
	var pieces []piece
	if p.batch.Load() && p.complete.Load() && !d.refused {
		pieces = p.before(Answer)
	}
	if p.batch.Load() {
		p.batch.Store(false)
	}
	pieces = append(pieces, piece{data: d.kept})
	d.kept, d.refused = nil, false
	return pieces, nil
}
