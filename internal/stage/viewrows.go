package stage

import (
	"database/sql/driver"
	"time"

	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

// A scan of a view reads the store in pages, so that nobody waits for it longer
// than a page takes. It has the rows up to the highest number of when its query
// began, in ascending order, without those that have left by the time that it
// gets to them.
const (
	scanBytes = 256 << 10
	scanRows  = 200 // of failed rows, whose statement costs more
)

// stagedScan is the rows that wait: the fields, then the sequence number.
type stagedScan struct {
	window *window
	store  *Store

	page  tuple.Batch
	at    int   // the row in the page
	after int64 // which numbers the next page has
	row   rowValues
}

func (s *stagedScan) Next() (bool, error) {
	if s.at++; s.at >= s.page.Len() {
		err := s.window.page(func() error { return s.store.Read(s.after, 0, scanBytes, &s.page) })
		if err != nil || s.page.Len() == 0 {
			return false, err
		}
		s.at, s.after = 0, s.page.Rows[s.page.Len()-1].Seq
	}
	seq := s.page.Rows[s.at].Seq
	s.row.set(s.window.columns, s.page.Tuple(s.at), seq)
	return seq <= s.window.staged, nil
}

func (s *stagedScan) Value(col int) (driver.Value, error) { return s.row.value(col) }

// failureNames are the columns of a failed row after its sequence number.
var failureNames = []string{"_sqlstate", "_column", "_constraint", "_error", "_attempts", "_first", "_last"}

// failedScan is the failed rows: the fields, the sequence number, and what is
// known of the failure.
type failedScan struct {
	window *window
	store  *Store

	page  []Failure
	at    int
	after int64
	row   rowValues
}

func (s *failedScan) Next() (bool, error) {
	if s.at++; s.at >= len(s.page) {
		err := s.window.page(func() (err error) {
			s.page, err = s.store.failuresWithin(s.after, scanRows, scanBytes)
			return err
		})
		if err != nil || len(s.page) == 0 {
			return false, err
		}
		s.at, s.after = 0, s.page[len(s.page)-1].Seq
	}
	f := &s.page[s.at]
	s.row.set(s.window.columns, f.Tuple, f.Seq)
	return f.Seq <= s.window.failed, nil
}

func (s *failedScan) Value(col int) (driver.Value, error) {
	f := &s.page[s.at]
	switch col - len(s.window.columns) - 1 {
	case 0:
		return f.SQLState, nil
	case 1:
		return f.Column, nil
	case 2:
		return f.Constraint, nil
	case 3:
		return f.Message, nil
	case 4:
		return int64(f.Attempts), nil
	case 5:
		return timestamp(f.First)
	case 6:
		return timestamp(f.Last)
	}
	return s.row.value(col)
}

// rowValues decodes a row, when it is asked for the first of its values.
type rowValues struct {
	columns []tuple.Column
	tuple   []byte
	seq     int64
	checked bool
	err     error
}

func (r *rowValues) set(columns []tuple.Column, t []byte, seq int64) {
	*r = rowValues{columns: columns, tuple: t, seq: seq}
}

func (r *rowValues) value(col int) (driver.Value, error) {
	if col == len(r.columns) {
		return r.seq, nil
	}
	if !r.checked {
		r.checked, r.err = true, tuple.Check(r.tuple, len(r.columns))
	}
	if r.err != nil {
		return nil, r.err
	}
	field, _ := tuple.Field(r.tuple, col)
	return tuple.Value(r.columns[col].Type, field)
}

// timestamp returns t as the views show it.
func timestamp(t time.Time) (driver.Value, error) {
	f, err := tuple.AppendValue(nil, tuple.Timestamptz, t)
	if err != nil {
		return nil, err
	}
	return tuple.Value(tuple.Timestamptz, f[4:])
}
