package sqlitedest

import (
	"database/sql/driver"
	"strings"

	"github.com/memdbwriter/memdbwriter/internal/dest"
	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

// rows shows the tuples of a batch to SQLite as rows. SQLite asks for the
// columns of a row one after the other, so the place in the tuple is kept
// between the calls.
type rows struct {
	columns []dest.Column
	days    []bool // by column: a time is the day that its clock shows
	batch   *tuple.Batch

	row, col int    // that rest begins with
	rest     []byte // nil: no place yet
	err      error  // of the row where the statement ended
}

// show begins a new statement over b.
func (r *rows) show(b *tuple.Batch) { *r = rows{columns: r.columns, days: r.days, batch: b} }

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
	v, err := r.value(col, field)
	if err != nil {
		r.err = dest.RowErrorf(row, r.columns[col].Name, "22000", "column %q: %w", r.columns[col].Name, err)
	}
	return v, err
}

// value returns what SQLite stores of a field. A time whose offset was kept is
// the instant, in UTC so that texts sort as times do, but in a column of days.
func (r *rows) value(col int, field []byte) (driver.Value, error) {
	typ := r.columns[col].Type
	switch {
	case typ != tuple.Local:
		return tuple.Value(typ, field)
	case !r.days[col]:
		return tuple.Value(tuple.Timestamptz, tuple.Instant(field))
	}
	text, err := tuple.Value(tuple.Local, field)
	if err != nil {
		return nil, err
	}
	day, _, _ := strings.Cut(text.(string), " ")
	return day, nil
}
