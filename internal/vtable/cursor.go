package vtable

import (
	"database/sql/driver"

	"modernc.org/sqlite/vtab"
)

// Rows is what a Source serves.
type Rows interface {
	Len() int
	// Value returns a column of a row: nil, int64, float64, bool, string or
	// []byte. SQLite copies it before it asks for the next one. It is asked
	// only for the columns that the statement names; an error ends the
	// statement and becomes part of its message.
	Value(row, col int) (driver.Value, error)
}

// cursor walks through rows, from the first to the last.
type cursor struct {
	rows   Rows
	row, n int
}

func (c *cursor) reset(rows Rows) {
	c.rows, c.row, c.n = rows, 0, 0
	if rows != nil {
		c.n = rows.Len()
	}
}

func (c *cursor) Next() error {
	c.row++
	return nil
}

func (c *cursor) Eof() bool { return c.row >= c.n }

func (c *cursor) Column(col int) (vtab.Value, error) { return c.rows.Value(c.row, col) }

func (c *cursor) Rowid() (int64, error) { return int64(c.row), nil }

func (c *cursor) Close() error {
	c.rows = nil
	return nil
}
