package dump

import (
	"fmt"
	"io"

	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

// maxRowText is what a row can take in a file: twice the bytes of the longest
// tuple, with every byte a doubled quote or two digits, and something around
// it in each column. Failed rows have a message, too.
const maxRowText = 2*tuple.MaxLen + maxColumns*64 + 4<<20

// window is a part of the file, which moves on and grows as it is wanted.
type window struct {
	src    io.Reader
	buf    []byte
	pos    int   // buf[pos:] is not used yet
	offset int64 // of buf[0] in the file
}

// take uses up what f takes of the text ahead, and reads more of it as long as
// f says errShort. The window only moves between calls of f.
func (w *window) take(f func(src []byte) (n int, err error)) error {
	for {
		n, err := f(w.buf[w.pos:])
		if err == errShort {
			if err = w.more(); err == nil {
				continue
			}
		}
		if err == errShort || err == errSyntax {
			return fmt.Errorf("%w: at offset %d: %w", ErrDamaged, w.offset+int64(w.pos), err)
		}
		w.pos += n
		return err
	}
}

// more makes the window larger at its end. At the end of the file it returns
// errShort.
func (w *window) more() error {
	w.offset += int64(w.pos)
	kept := copy(w.buf, w.buf[w.pos:])
	w.buf, w.pos = w.buf[:kept], 0
	if kept > maxRowText {
		return errSyntax
	}
	if cap(w.buf)-kept < readSize/2 {
		w.buf = append(make([]byte, 0, max(readSize, 2*cap(w.buf))), w.buf...)
	}
	n, err := io.ReadAtLeast(w.src, w.buf[kept:cap(w.buf)], 1)
	w.buf = w.buf[:kept+n]
	if err == io.EOF {
		return errShort
	}
	return err
}
