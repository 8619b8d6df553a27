package stage

import (
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"math"
	"slices"

	"modernc.org/sqlite/vtab"

	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

// Append stages the rows of b, all or none, and copies them. Their arrival
// numbers must ascend, and be above every number that the store has had.
func (s *Store) Append(b *tuple.Batch) error {
	if b.Len() == 0 {
		return nil
	}
	if err := s.lock(); err != nil {
		return err
	}
	defer s.mu.Unlock()
	last := s.last
	for i := range b.Rows {
		if seq := b.Rows[i].Seq; seq <= last {
			return fmt.Errorf("stage row %d of %d: its arrival number %d is not above %d", i, b.Len(), seq, last)
		}
		last = b.Rows[i].Seq
	}
	s.source.Rows = stagedRows{b}
	defer func() { s.source.Rows = nil }()
	if _, err := s.insert.Exec(); err != nil {
		i := s.source.Row()
		return fmt.Errorf("stage row %d of %d (arrival number %d, %d bytes): %w", i, b.Len(), b.Rows[i].Seq, b.Rows[i].Len, err)
	}
	s.last = last
	s.count(int64(b.Len()), b.Bytes(), 0, 0)
	return nil
}

// stagedRows are rows of the table staging.
type stagedRows struct{ b *tuple.Batch }

func (r stagedRows) Len() int { return r.b.Len() }

func (r stagedRows) Value(row, col int) (driver.Value, error) {
	if col == 0 {
		return r.b.Rows[row].Seq, nil
	}
	return r.b.Tuple(row), nil
}

// maxRead keeps the offsets within a batch in their 32 bits.
const maxRead = math.MaxInt32

// errFull ends a read.
var errFull = errors.New("enough bytes")

// Read replaces the contents of into by the staged rows whose arrival numbers
// follow after, in ascending order: at most maxRows rows and, unless a single
// row has more, at most maxBytes bytes. Zero means no limit (of rows), and the
// most that a batch can hold (of bytes). No rows means that there are none.
func (s *Store) Read(after int64, maxRows, maxBytes int, into *tuple.Batch) error {
	if err := s.lock(); err != nil {
		return err
	}
	defer s.mu.Unlock()
	if err := s.readInto(after, maxRows, maxBytes, into); err != nil {
		return err
	}
	s.remember(into)
	return nil
}

// Page returns up to limit staged rows after the given arrival number, in
// ascending order, as a batch of the caller's. Zero means no limit.
func (s *Store) Page(after int64, limit int) (*tuple.Batch, error) {
	if err := s.lock(); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	b := new(tuple.Batch)
	return b, s.readInto(after, limit, 0, b)
}

func (s *Store) readInto(after int64, maxRows, maxBytes int, into *tuple.Batch) error {
	into.Reset()
	if maxRows <= 0 {
		maxRows = -1
	}
	if maxBytes <= 0 || maxBytes > maxRead {
		maxBytes = maxRead
	}
	full := false
	s.sink.Row = func(seq int64, row []vtab.Value) error {
		t := row[0].([]byte)
		if full = len(into.Rows) > 0 && len(into.Data)+len(t) > maxBytes; full {
			return errFull
		}
		into.Append(seq, t)
		return nil
	}
	defer func() { s.sink.Row = nil }()
	if _, err := s.read.Exec(after, maxRows); err != nil && !full {
		return fmt.Errorf("read staged rows after %d: %w", after, err)
	}
	return nil
}

// extent is the rows from one arrival number to another. As numbers only
// grow, it changes only when some of them are settled.
type extent struct{ lo, hi, bytes int64 }

// maxExtents is how many reads are remembered: more than are in flight.
const maxExtents = 16

// remember spares Settle from adding up the sizes of what was just read.
func (s *Store) remember(b *tuple.Batch) {
	if b.Len() == 0 {
		return
	}
	if len(s.extents) == maxExtents {
		s.extents = append(s.extents[:0], s.extents[1:]...)
	}
	s.extents = append(s.extents, extent{b.Rows[0].Seq, b.Rows[b.Len()-1].Seq, b.Bytes()})
}

// sizeOf returns the bytes of the rows from lo to hi.
func (s *Store) sizeOf(lo, hi int64) (bytes int64, err error) {
	for _, e := range s.extents {
		if e.lo == lo && e.hi == hi {
			return e.bytes, nil
		}
	}
	return bytes, s.size.QueryRow(lo, hi).Scan(&bytes)
}

// Settle ends the stay of the rows with arrival numbers from lo to hi: the
// failures are kept as failed rows, all others are gone. It happens as a whole
// or not at all. With lo above hi it only adds failures.
//
// A row that had failed before (see Requeue) keeps the time of its first
// failure, and its attempts are added up.
func (s *Store) settleRange(lo, hi int64, failed []Failure) error {
	if err := s.lock(); err != nil {
		return err
	}
	defer s.mu.Unlock()
	if err := s.settle(lo, hi, failed); err != nil {
		return fmt.Errorf("settle rows %d to %d with %d failures: %w", lo, hi, len(failed), err)
	}
	return nil
}

func (s *Store) settle(lo, hi int64, failed []Failure) error {
	bytes, err := s.sizeOf(lo, hi)
	if err != nil {
		return err
	}
	var removed, forgotten int64
	if len(failed) == 0 && s.retried == 0 {
		removed, err = affected(s.remove.Exec(lo, hi)) // a transaction of its own
	} else {
		err = s.transaction(func() (err error) {
			if removed, err = affected(s.remove.Exec(lo, hi)); err != nil {
				return err
			}
			if err = s.addFailures(failed); err != nil {
				return err
			}
			forgotten, err = affected(s.forget.Exec(lo, hi))
			return err
		})
	}
	if err != nil {
		return err
	}
	s.extents = slices.DeleteFunc(s.extents, func(e extent) bool { return e.lo <= hi && lo <= e.hi })
	s.retried -= forgotten
	s.count(-removed, -bytes, int64(len(failed)), failureBytes(failed))
	return nil
}

func affected(r sql.Result, err error) (int64, error) {
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
}
