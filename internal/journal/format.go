package journal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"slices"
	"time"

	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

const (
	version     = 1
	magic       = "MDBWJRNL"
	recordMagic = "\xf5JR\n"

	prologueSize = 8 + 4 + 4 // of a header: up to its length
	headSize     = 40        // of a record: up to its body
	maxHeader    = 16 << 20
	maxBody      = 1 << 30 // so that offsets into a body fit a tuple.Span
)

// kind is what a record is about.
type kind uint16

const (
	rowsKind kind = iota + 1
	settleKind
	amendKind
	receiptsKind
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

// header is the beginning of a segment.
type header struct {
	number        uint64
	next          int64
	created       time.Time
	table, writer string
	columns       []tuple.Column
	size          int64  // on disk
	crc           uint32 // where the chain of records begins
}

func (h *header) encode() []byte {
	be := binary.BigEndian
	b := append([]byte(magic), 0, 0, 0, version, 0, 0, 0, 0)
	b = be.AppendUint64(b, h.number)
	b = be.AppendUint64(b, uint64(h.next))
	b = be.AppendUint64(b, uint64(h.created.UnixMicro()))
	b = appendString(b, h.table)
	b = appendString(b, h.writer)
	b = be.AppendUint32(b, uint32(len(h.columns)))
	for _, c := range h.columns {
		nullable := byte(0)
		if c.Nullable {
			nullable = 1
		}
		b = append(appendString(b, c.Name), byte(c.Type), nullable)
	}
	h.size = int64(len(b)) + 4
	be.PutUint32(b[12:], uint32(h.size))
	h.crc = checksum(b)
	return be.AppendUint32(b, h.crc)
}

// errHeader is what is wrong with a header that is not one.
var errHeader = errors.New("not the header of a journal")

// decodePrologue returns the length of the header that begins with b. It wraps
// ErrFormat if that is a newer one.
func decodePrologue(b []byte) (length int64, err error) {
	if len(b) < prologueSize || string(b[:8]) != magic {
		return 0, errHeader
	}
	if v := binary.BigEndian.Uint32(b[8:]); v != version {
		return 0, fmt.Errorf("%w: version %d, this program knows version %d", ErrFormat, v, version)
	}
	length = int64(binary.BigEndian.Uint32(b[12:]))
	if length < prologueSize+4 || length > maxHeader {
		return 0, errHeader
	}
	return length, nil
}

// decodeHeader reads a whole header. The columns' types are only known to be
// those that were written.
func decodeHeader(b []byte) (*header, error) {
	body := b[:len(b)-4]
	h := &header{size: int64(len(b)), crc: binary.BigEndian.Uint32(b[len(body):])}
	if checksum(body) != h.crc {
		return nil, errHeader
	}
	r := reader{b: body[prologueSize:]}
	h.number, h.next, h.created = r.uint64(), r.int64(), r.time()
	h.table, h.writer = string(r.string()), string(r.string())
	for n := r.count(4 + 2); n > 0; n-- {
		c := tuple.Column{Name: string(r.string())}
		c.Type, c.Nullable = tuple.Type(r.byte()), r.byte() != 0
		h.columns = append(h.columns, c)
	}
	if !r.done() || h.next < 0 || h.next > tuple.MaxSeq || h.number > tuple.MaxSeq {
		return nil, errHeader
	}
	return h, nil
}

// head is a record without its body.
type head struct {
	kind             kind
	table            uint16 // of the segment's tables, of which there is one
	length           uint32
	seq              int64
	firm             int64
	prev, crc, check uint32
}

// encode writes the head into b, which is as long as one, and fills in check.
func (h *head) encode(b []byte, seed uint32) {
	be := binary.BigEndian
	copy(b, recordMagic)
	be.PutUint16(b[4:], uint16(h.kind))
	be.PutUint16(b[6:], h.table)
	be.PutUint32(b[8:], h.length)
	be.PutUint64(b[12:], uint64(h.seq))
	be.PutUint64(b[20:], uint64(h.firm))
	be.PutUint32(b[28:], h.prev)
	be.PutUint32(b[32:], h.crc)
	h.check = crc32.Update(seed, castagnoli, b[:36])
	be.PutUint32(b[36:], h.check)
}

// decodeHead reads a head of the segment whose header has the CRC seed.
func decodeHead(b []byte, seed uint32) (h head, ok bool) {
	be := binary.BigEndian
	h = head{
		kind: kind(be.Uint16(b[4:])), table: be.Uint16(b[6:]), length: be.Uint32(b[8:]),
		seq: int64(be.Uint64(b[12:])), firm: int64(be.Uint64(b[20:])),
		prev: be.Uint32(b[28:]), crc: be.Uint32(b[32:]), check: be.Uint32(b[36:]),
	}
	return h, string(b[:4]) == recordMagic && crc32.Update(seed, castagnoli, b[:36]) == h.check
}

// appendRows appends the body of a rows record.
func appendRows(b []byte, rows *tuple.Batch) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(rows.Len()))
	for i := range rows.Rows {
		b = binary.BigEndian.AppendUint32(b, rows.Rows[i].Len)
	}
	for i := range rows.Rows {
		b = append(b, rows.Tuple(i)...)
	}
	return b
}

var errBody = errors.New("the body of a record is malformed")

// decodeRows makes b the rows of a body, whose memory it shares. Every row is
// a well-formed tuple of that many fields.
func decodeRows(b *tuple.Batch, body []byte, seq int64, fields int) error {
	r := reader{b: body}
	n := r.count(4)
	b.Data, b.Rows = body, slices.Grow(b.Rows[:0], n)
	off := uint32(4 + 4*n)
	for i := range n {
		b.Rows = append(b.Rows, tuple.Span{Off: off, Len: r.uint32(), Seq: seq + int64(i)})
		if s := &b.Rows[i]; uint64(s.Off)+uint64(s.Len) > uint64(len(body)) {
			return errBody
		}
		off += b.Rows[i].Len
	}
	if r.failed || n == 0 || seq <= 0 || seq > tuple.MaxSeq-int64(n) || int(off) != len(body) {
		return errBody
	}
	for i := range b.Rows {
		if err := tuple.Check(b.Tuple(i), fields); err != nil {
			return fmt.Errorf("row %d: %w", b.Rows[i].Seq, err)
		}
	}
	return nil
}

// control is what a settle, amend or receipts record says.
type control struct {
	settled  int64
	gone     []int64
	failed   []Failure
	receipts receipts // only when read
}

func (c *control) kind() kind {
	if len(c.gone) > 0 {
		return amendKind
	}
	return settleKind
}

// append appends the body of the record.
func (c *control) append(b []byte) []byte {
	be := binary.BigEndian
	if c.kind() == amendKind {
		b = be.AppendUint32(b, uint32(len(c.gone)))
		for _, seq := range c.gone {
			b = be.AppendUint64(b, uint64(seq))
		}
	}
	b = be.AppendUint32(b, uint32(len(c.failed)))
	for i := range c.failed {
		f := &c.failed[i]
		b = be.AppendUint64(b, uint64(f.Seq))
		b = append(be.AppendUint32(b, uint32(len(f.Tuple))), f.Tuple...)
		b = appendString(b, f.SQLState)
		b = appendString(b, f.Column)
		b = appendString(b, f.Constraint)
		b = appendString(b, f.Message)
		b = be.AppendUint32(b, uint32(f.Attempts))
		b = be.AppendUint64(b, uint64(f.First.UnixMicro()))
		b = be.AppendUint64(b, uint64(f.Last.UnixMicro()))
	}
	return b
}

// minFailure is the least that a failure takes on disk.
const minFailure = 8 + 5*4 + 4 + 8 + 8

// size is what a failure takes on disk.
func (f *Failure) size() int64 {
	return int64(minFailure + len(f.Tuple) + len(f.SQLState) + len(f.Column) + len(f.Constraint) + len(f.Message))
}

// decodeControl reads the body of a settle or amend record. The tuples share
// its memory.
func decodeControl(h head, body []byte, fields int) (*control, error) {
	c := &control{settled: h.seq}
	r := reader{b: body}
	if h.kind == amendKind {
		for n := r.count(8); n > 0; n-- {
			seq := r.int64()
			if seq <= 0 || seq > tuple.MaxSeq {
				return nil, errBody
			}
			c.gone = append(c.gone, seq)
		}
	}
	for n := r.count(minFailure); n > 0; n-- {
		f := Failure{Seq: r.int64(), Tuple: r.string()}
		f.SQLState, f.Column = string(r.string()), string(r.string())
		f.Constraint, f.Message = string(r.string()), string(r.string())
		attempts := r.uint32()
		f.Attempts = int(attempts)
		f.First, f.Last = r.time(), r.time()
		if r.failed || attempts > math.MaxInt32 || f.Seq <= 0 || f.Seq > c.settled {
			return nil, errBody
		}
		if err := tuple.Check(f.Tuple, fields); err != nil {
			return nil, fmt.Errorf("failed row %d: %w", f.Seq, err)
		}
		c.failed = append(c.failed, f)
	}
	if !r.done() || c.settled < 0 || c.settled > tuple.MaxSeq {
		return nil, errBody
	}
	return c, nil
}

func appendString(b []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint32(b, uint32(len(s))), s...)
}

// reader takes bytes apart. After the first read beyond their end everything
// it returns is zero, and failed is set.
type reader struct {
	b      []byte
	failed bool
}

var zeros [8]byte

// take reads n bytes, which must be there if n is above 8.
func (r *reader) take(n int) []byte {
	if r.failed || n > len(r.b) {
		r.failed = true
		return zeros[:n]
	}
	taken := r.b[:n:n]
	r.b = r.b[n:]
	return taken
}

func (r *reader) byte() byte      { return r.take(1)[0] }
func (r *reader) uint32() uint32  { return binary.BigEndian.Uint32(r.take(4)) }
func (r *reader) uint64() uint64  { return binary.BigEndian.Uint64(r.take(8)) }
func (r *reader) int64() int64    { return int64(r.uint64()) }
func (r *reader) time() time.Time { return time.UnixMicro(r.int64()).UTC() }

func (r *reader) string() []byte {
	n := r.uint32()
	if uint64(n) > uint64(len(r.b)) {
		r.failed = true
		return nil
	}
	return r.take(int(n))
}

// count reads the number of items that follow, each of at least size bytes.
// One that cannot be true is 0.
func (r *reader) count(size int) int {
	n := r.uint32()
	if uint64(n)*uint64(size) > uint64(len(r.b)) {
		r.failed = true
		return 0
	}
	return int(n)
}

// done reports whether everything was read, and nothing beyond.
func (r *reader) done() bool { return !r.failed && len(r.b) == 0 }

// allZero reports whether b holds nothing: what a file system shows where
// data never arrived.
func allZero(b []byte) bool { return len(bytes.TrimLeft(b, "\x00")) == 0 }
