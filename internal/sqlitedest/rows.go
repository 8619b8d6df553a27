package sqlitedest

import (
	"database/sql/driver"

	"github.com/memdbwriter/memdbwriter/internal/dest"
	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

// rows shows the tuples of a batch to SQLite as rows. SQLite asks for the
// columns of a row one after the other, so the place in the tuple is kept
// between the calls.
type rows struct {
	columns []dest.Column
	batch   *tuple.Batch

	row, col int    // that rest begins with
	rest     []byte // nil: no place yet
	err      error  // of the row where the statement ended
}

// show begins a new statement over b.
func (r *rows) show(b *tuple.Batch) { *r = rows{columns: r.columns, batch: b} }

// Len implements vtable.Rows.
func (r *rows) Len() int { return r.batch.Len() }

// Value implements vtable.Rows.
func (r *rows) Value(row, col int) (driver.Value, error) {
	if r.rest == nil || row != r.row || col < r.col {
		r.row, r.col, r.rest = row, 0, tuple.Fields(r.batch.Tuple(row))
	}
	for ; r.col < col; r.col++ {
		_, _, r.rest = tuple.Next(r.rest)
	}
	field, null, rest := tuple.Next(r.rest)
	r.col, r.rest = col+1, rest
	if null {
		return nil, nil
	}
	v, err := tuple.Value(r.columns[col].Type, field)
	if err != nil {
		r.err = dest.RowErrorf(row, r.columns[col].Name, "22000", "column %q: %w", r.columns[col].Name, err)
	}
	return v, err
}
