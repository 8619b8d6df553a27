package stage

import (
	"database/sql/driver"
	"errors"
	"fmt"
	"math"

	"modernc.org/sqlite/vtab"

	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

// maxBuf is more than a store keeps for the next Append.
const maxBuf = 1 << 20

// Append stages the rows of b, all or none, and copies them. Their arrival
// numbers must be contiguous and ascend, and be above every number that the
// store has had.
func (s *Store) Append(b *tuple.Batch) error {
	if b.Len() == 0 {
		return nil
	}
	if err := s.lock(); err != nil {
		return err
	}
	defer s.mu.Unlock()
	if err := s.checkRows(b); err != nil {
		return err
	}
	extents, room := cut(b, s.room)
	if err := s.mayGrow(extents); err != nil {
		return fmt.Errorf("stage %d rows: %w", b.Len(), err)
	}
	added := chunks{b: b, extents: extents, buf: s.buf[:0]}
	s.source.Serve(&added)
	defer func() { s.source.Serve(nil) }()
	if _, err := s.insert.Exec(); err != nil {
		at := s.source.Row()
		if at < 0 {
			return fmt.Errorf("stage the rows %d to %d: %w", b.Rows[0].Seq, b.Rows[b.Len()-1].Seq, err)
		}
		e := extents[at]
		return fmt.Errorf("stage the rows %d to %d, %d bytes, out of %d rows: %w", e.first, e.last, e.bytes, b.Len(), err)
	}
	if s.buf = added.buf; cap(s.buf) > maxBuf {
		s.buf = nil
	}
	s.last = b.Rows[b.Len()-1].Seq
	s.room = room
	s.extents = append(s.extents, extents...)
	s.count(int64(b.Len()), b.Bytes(), 0, 0)
	return nil
}

func (s *Store) checkRows(b *tuple.Batch) error {
	first := b.Rows[0].Seq
	if first <= s.last {
		return fmt.Errorf("stage %d rows: the first arrival number %d is not above %d", b.Len(), first, s.last)
	}
	for i := range b.Rows {
		switch r := &b.Rows[i]; {
		case r.Seq != first+int64(i):
			return fmt.Errorf("stage row %d of %d: its arrival number %d does not follow %d", i, b.Len(), r.Seq, b.Rows[i-1].Seq)
		case r.Len > tuple.MaxLen:
			return fmt.Errorf("stage row %d of %d (arrival number %d): %d bytes, more than a row can have", i, b.Len(), r.Seq, r.Len)
		}
	}
	return nil
}

// chunks are new rows of the table chunk.
type chunks struct {
	b       *tuple.Batch
	extents extents
	buf     []byte // the chunk that SQLite is about to copy
}

func (c *chunks) Len() int { return len(c.extents) }

func (c *chunks) Value(row, col int) (driver.Value, error) {
	e := &c.extents[row]
	if col == 0 {
		return e.first, nil
	}
	from := c.b.Rows[0].Seq
	c.buf = appendChunk(c.buf[:0], c.b, int(e.first-from), int(e.last-from)+1)
	return c.buf, nil
}

// maxRead keeps the offsets within a batch in their 32 bits.
const maxRead = math.MaxInt32

// Read replaces the contents of into by the staged rows whose arrival numbers
// follow after, in ascending order: at most maxRows rows and, unless a single
// row has more, at most maxBytes bytes. Zero means no limit (of rows), and the
// most that a batch can hold (of bytes). No rows means that there are none.
func (s *Store) Read(after int64, maxRows, maxBytes int, into *tuple.Batch) error {
	if err := s.lock(); err != nil {
		return err
	}
	defer s.mu.Unlock()
	into.Reset()
	if maxRows <= 0 {
		maxRows = math.MaxInt
	}
	if maxBytes <= 0 || maxBytes > maxRead {
		maxBytes = maxRead
	}
	after = max(after, s.settled)
	s.size(after, maxRows, maxBytes, into)
	err := s.eachChunk(after, func(e extent, c chunk) bool {
		return c.read(e.rowsTo(after), e.first, maxRows, maxBytes, into) && into.Len() < maxRows
	})
	if err != nil {
		return fmt.Errorf("read staged rows after %d: %w", after, err)
	}
	return nil
}

// size makes room in the empty batch for the rows that Read puts there: a batch
// that grows while it is filled takes several times the memory, all of it new.
func (s *Store) size(after int64, maxRows, maxBytes int, into *tuple.Batch) {
	var rows, bytes, first int64
	for _, e := range s.extents[s.extents.endedBy(after):] {
		if large := e.first == e.last && rows > 0 && bytes+e.bytes > int64(maxBytes); large || rows >= int64(maxRows) || bytes >= int64(maxBytes) {
			break
		}
		if rows == 0 {
			first = e.bytes
		}
		rows += e.last - max(e.first, after+1) + 1
		bytes += e.bytes
	}
	bytes = min(bytes, max(int64(maxBytes), first))
	if rows = min(rows, int64(maxRows)); rows > int64(cap(into.Rows)) {
		into.Rows = make([]tuple.Span, 0, rows)
	}
	if bytes > int64(cap(into.Data)) {
		into.Data = make([]byte, 0, bytes)
	}
}

// pageBytes bounds the memory of a page of large rows.
const pageBytes = 16 << 20

// Page returns up to limit staged rows after the given arrival number, in
// ascending order, as a batch of the caller's. It is empty only if there is no
// such row; it may be short of the limit, which is none if it is zero, to keep
// its memory small.
func (s *Store) Page(after int64, limit int) (*tuple.Batch, error) {
	b := new(tuple.Batch)
	return b, s.Read(after, limit, pageBytes, b)
}

// errEnough ends a statement.
var errEnough = errors.New("enough chunks")

// eachChunk calls fn for the chunks that have rows after the given arrival
// number, in ascending order, as long as fn wants more. The chunk is SQLite's
// memory and valid only until fn returns.
func (s *Store) eachChunk(after int64, fn func(e extent, c chunk) (more bool)) error {
	next := s.extents[s.extents.endedBy(after):]
	if len(next) == 0 {
		return nil
	}
	enough := false
	s.sink.Row = func(_ int64, row []vtab.Value) error {
		if enough = !fn(next[0], row[0].([]byte)); enough {
			return errEnough
		}
		next = next[1:]
		return nil
	}
	defer func() { s.sink.Row = nil }()
	if _, err := s.read.Exec(next[0].first); err != nil && !enough {
		return err
	}
	return nil
}
