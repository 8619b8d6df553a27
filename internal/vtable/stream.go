package vtable

import (
	"database/sql/driver"

	"modernc.org/sqlite/vtab"
)

// Stream is a read-only virtual table whose rows Go produces while SQLite reads
// them: columns c0, c1, ... without types, rowid the number of the row in the
// scan, from 0. It belongs to one DB, and whoever uses that DB's connection
// owns it.
type Stream struct {
	Name    string // of the table in the temp schema, an SQL identifier that needs no quotes
	Columns int

	Scan func() Scan  // called for each scan that a statement begins
	Rows func() int64 // about how many rows a scan has, for the query planner
}

// Scan is the rows of one scan, in their order.
type Scan interface {
	// Next goes to the first or the next row, and reports whether there is one.
	// It must not use the connection. An error ends the statement, whose own
	// error need not say why.
	Next() (bool, error)

	// Value returns a column of the row, as that of Rows does.
	Value(col int) (driver.Value, error)
}

func (s *Stream) module() string { return streamModule }
func (s *Stream) name() string   { return s.Name }

// BestIndex leaves every constraint to SQLite.
func (s *Stream) BestIndex(info *vtab.IndexInfo) error {
	info.EstimatedRows = s.Rows()
	info.EstimatedCost = float64(info.EstimatedRows)
	return nil
}

// Open is part of vtab.Table.
func (s *Stream) Open() (vtab.Cursor, error) { return &streamCursor{stream: s}, nil }

// Disconnect is part of vtab.Table.
func (s *Stream) Disconnect() error { return nil }

// Destroy is part of vtab.Table.
func (s *Stream) Destroy() error { return nil }

type streamCursor struct {
	stream *Stream
	scan   Scan
	row    int64
	more   bool
}

func (c *streamCursor) Filter(int, string, []vtab.Value) error {
	c.scan, c.row = c.stream.Scan(), -1
	return c.Next()
}

func (c *streamCursor) Next() (err error) {
	c.row++
	c.more, err = c.scan.Next()
	return err
}

func (c *streamCursor) Eof() bool { return !c.more }

func (c *streamCursor) Column(col int) (vtab.Value, error) { return c.scan.Value(col) }

func (c *streamCursor) Rowid() (int64, error) { return c.row, nil }

func (c *streamCursor) Close() error {
	c.scan = nil
	return nil
}
