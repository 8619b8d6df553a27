package pgdest

import (
	"errors"
	"io"
	"sync"

	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

// What stands around the tuples in the binary COPY format: the signature, no
// flags and no header extension; a field count of -1.
const (
	copyHeader  = "PGCOPY\n\xff\r\n\x00" + "\x00\x00\x00\x00" + "\x00\x00\x00\x00"
	copyTrailer = "\xff\xff"
)

var errStopped = errors.New("the batch was taken back")

// stream is a batch as COPY reads it. It fills what it is given to
// fill, so that each read becomes one full message to the server.
//
// pgconn reads in a goroutine of its own, which may still be at it when
// CopyFrom has returned with an error. stop ends that: after it nothing
// touches the memory of the batch.
type stream struct {
	mu      sync.Mutex
	chunk   []byte       // what is left of the current piece
	encoded []byte       // the only piece, if there is one
	rows    *tuple.Batch // the pieces that follow
	next    int          // index of the first of them
	trailer []byte       // the last piece
	read    func()       // called when everything was read; may be nil
	stopped bool
}

// newStream streams the rows of b or, if encoded holds anything, that instead,
// which is all that the server gets.
func newStream(b *tuple.Batch, encoded []byte) *stream {
	if len(encoded) > 0 {
		return &stream{encoded: encoded, rows: &tuple.Batch{}}
	}
	return &stream{chunk: []byte(copyHeader), rows: b, trailer: []byte(copyTrailer)}
}

// Read fills p, except at the end.
func (s *stream) Read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return 0, errStopped
	}
	n := 0
	for {
		m := copy(p[n:], s.chunk)
		n, s.chunk = n+m, s.chunk[m:]
		switch {
		case n == len(p):
			return n, nil
		case s.encoded != nil:
			s.chunk, s.encoded = s.encoded, nil
		case s.next < s.rows.Len():
			s.chunk = s.rows.Tuple(s.next)
			s.next++
		case s.trailer != nil:
			s.chunk, s.trailer = s.trailer, nil
		default:
			if s.read != nil {
				s.read()
			}
			return n, io.EOF
		}
	}
}

// stop waits for a Read under way and makes later ones fail.
func (s *stream) stop() {
	s.mu.Lock()
	s.stopped = true
	s.mu.Unlock()
}
