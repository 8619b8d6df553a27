package journal

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/memdbwriter/memdbwriter/internal/journal/fsys"
	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

// errNothing is why a file has no header: it ends before that would be
// complete, or no byte of it ever reached the disk.
var errNothing = errors.New("nothing was written yet")

// segmentReader reads the records of one segment in order. It holds one record
// at a time, and takes no more memory than a few times the length of that.
type segmentReader struct {
	file   fsys.File
	size   int64
	header *header
	remap  *tuple.Remap // makes rows those of other columns; nil: they are

	off  int64  // where the valid records end, as far as they were read
	prev uint32 // check of the last of them

	at   int64 // where the current record is
	head head
	body []byte
	rows tuple.Batch
	raw  tuple.Batch // the same with the columns of the segment, if these are others

	broken error // why the record at off is not valid; nil at the end of the file
}

// newSegmentReader reads the header. The error is errNothing, errHeader,
// ErrFormat, or one of reading. least is the size of the header that is
// expected.
func newSegmentReader(f fsys.File, least int64) (*segmentReader, error) {
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	r := &segmentReader{file: f, size: size}
	if err := r.readHeader(); !errors.Is(err, errHeader) {
		return r, err
	}
	if size < least {
		return nil, errNothing
	}
	return nil, r.emptyOr(errHeader)
}

func (r *segmentReader) readHeader() error {
	b, err := r.read(0, min(prologueSize, r.size))
	if err != nil {
		return err
	}
	length, err := decodePrologue(b)
	if err != nil {
		return err
	}
	if length > r.size {
		return errHeader
	}
	if b, err = r.read(0, length); err != nil {
		return err
	}
	if r.header, err = decodeHeader(b); err != nil {
		return err
	}
	r.off, r.prev = length, r.header.crc
	return nil
}

// emptyOr returns errNothing if the file is all zeros, else err.
func (r *segmentReader) emptyOr(err error) error {
	for off := int64(0); off < r.size; off += scanSize {
		b, readErr := r.read(off, min(scanSize, r.size-off))
		if readErr != nil {
			return readErr
		}
		if !allZero(b) {
			return err
		}
	}
	return errNothing
}

// read returns n bytes of the file, valid until the next call.
func (r *segmentReader) read(off, n int64) ([]byte, error) {
	if int64(cap(r.body)) < n {
		r.body = make([]byte, n)
	}
	b := r.body[:n]
	if got, err := r.file.ReadAt(b, off); got < len(b) {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return nil, fmt.Errorf("read at %d: %w", off, err)
	}
	return b, nil
}

// errRecord is what is wrong with bytes that are not a record.
var errRecord = errors.New("not a record")

// next goes to the next record and reports whether there is a valid one. Its
// body is known to be what was written. The error is one of reading.
func (r *segmentReader) next() (bool, error) {
	r.at, r.broken = r.off, nil
	if r.size-r.off < headSize {
		if r.size > r.off {
			r.broken = errRecord
		}
		return false, nil
	}
	b, err := r.read(r.off, headSize)
	if err != nil {
		return false, err
	}
	h, ok := decodeHead(b, r.header.crc)
	if !ok || h.prev != r.prev || int64(h.length) > min(maxBody, r.size-r.off-headSize) {
		r.broken = errRecord
		return false, nil
	}
	if r.body, err = r.read(r.off+headSize, int64(h.length)); err != nil {
		return false, err
	}
	if checksum(r.body) != h.crc {
		r.broken = errRecord
		return false, nil
	}
	r.head = h
	r.off, r.prev = r.off+headSize+int64(h.length), h.check
	return true, nil
}

// follow has the rows handed out with the columns of the configuration.
func (r *segmentReader) follow(cfg *Config) (err error) {
	if slices.Equal(r.header.columns, cfg.Columns) {
		return nil
	}
	if r.remap, err = tuple.NewRemap(r.header.columns, cfg.Columns, cfg.Keys); err != nil {
		return fmt.Errorf("%w: %w", ErrColumns, err)
	}
	return nil
}

// decode takes the current record apart: into r.rows, or into a control. What
// they hold is valid until the next call of next. An error means that the
// record, and what follows, cannot be used.
func (r *segmentReader) decode() (c *control, err error) {
	switch k := r.head.kind; {
	case r.head.table != 0:
		err = fmt.Errorf("%w: a record of table %d at %d", ErrFormat, r.head.table, r.at)
	case k == rowsKind:
		into := &r.rows
		if r.remap != nil {
			into = &r.raw
		}
		err = decodeRows(into, r.body, r.head.seq, len(r.header.columns))
	case k == receiptsKind:
		c = &control{settled: r.head.seq}
		if c.receipts, err = decodeReceipts(r.body); err == nil && (c.settled < 0 || c.settled > tuple.MaxSeq) {
			err = errBody
		}
	case k == settleKind || k == amendKind:
		c, err = decodeControl(r.head, r.body, len(r.header.columns))
	default:
		err = fmt.Errorf("%w: a record of kind %d at %d", ErrFormat, r.head.kind, r.at)
	}
	if err == nil && r.remap != nil {
		err = r.remake(c)
	}
	if err != nil {
		r.off, r.broken = r.at, err
		return nil, err
	}
	return c, nil
}

// remake makes rows, or those in a control, ones of the other columns.
func (r *segmentReader) remake(c *control) (err error) {
	defer func() {
		if errors.Is(err, tuple.ErrRemap) {
			err = fmt.Errorf("%w: %w", ErrColumns, err)
		}
	}()
	r.rows.Reset()
	if c == nil {
		for i, row := range r.raw.Rows {
			if err := r.remakeRow(row.Seq, r.raw.Tuple(i)); err != nil {
				return err
			}
		}
		return nil
	}
	for i, f := range c.failed {
		if err := r.remakeRow(f.Seq, f.Tuple); err != nil {
			return err
		}
		c.failed[i].Tuple = bytes.Clone(r.rows.Tuple(i))
	}
	return nil
}

// remakeRow appends a row to r.rows.
func (r *segmentReader) remakeRow(seq int64, t []byte) error {
	from := len(r.rows.Data)
	data, err := r.remap.Append(r.rows.Data, t)
	if err != nil {
		return fmt.Errorf("row %d: %w", seq, err)
	}
	r.rows.Data = data
	r.rows.Rows = append(r.rows.Rows, tuple.Span{Off: uint32(from), Len: uint32(len(data) - from), Seq: seq})
	return nil
}

const scanSize = 64 << 10

// wasFirm reports whether what is at r.off, where the valid records end, was
// known to be durable once: a record behind it says so.
func (r *segmentReader) wasFirm() (bool, error) {
	for off := r.off; r.size-off >= headSize; off += scanSize - headSize + 1 {
		b, err := r.read(off, min(scanSize, r.size-off))
		if err != nil {
			return false, err
		}
		for i := 0; len(b)-i >= headSize; i++ {
			skip := bytes.Index(b[i:len(b)-headSize+len(recordMagic)], []byte(recordMagic))
			if skip < 0 {
				break
			}
			i += skip
			if h, ok := decodeHead(b[i:], r.header.crc); ok && h.firm > r.off {
				return true, nil
			}
		}
	}
	return false, nil
}
