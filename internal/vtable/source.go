package vtable

import "modernc.org/sqlite/vtab"

// Source is a read-only virtual table over the rows of Go: columns c0, c1, ...
// without types, rowid the index of the row, always read from the first row
// to the last. It belongs to one DB, and whoever uses that DB's connection
// owns it.
type Source struct {
	Name    string // of the table in the temp schema, an SQL identifier that needs no quotes
	Columns int

	rows Rows
	row  int
}

// Serve sets the rows of the next statement; nil is no rows. It may be called
// whenever no statement that reads the source is under way.
func (s *Source) Serve(rows Rows) {
	if s.rows = rows; rows != nil {
		s.row = -1
	}
}

// Row returns the index of the row that SQLite took last, -1 if it took none
// of those that were served last. After INSERT ... SELECT failed on a row it is
// that row, provided that SQLite did not sort or collect the rows before (no
// ORDER BY, and the target is not read).
func (s *Source) Row() int { return s.row }

func (s *Source) module() string { return sourceModule }
func (s *Source) name() string   { return s.Name }

// BestIndex leaves every constraint to SQLite.
func (s *Source) BestIndex(info *vtab.IndexInfo) error {
	if s.rows != nil {
		info.EstimatedRows = int64(s.rows.Len())
	}
	return nil
}

// Open is part of vtab.Table.
func (s *Source) Open() (vtab.Cursor, error) { return &sourceCursor{source: s}, nil }

// Disconnect is part of vtab.Table.
func (s *Source) Disconnect() error { return nil }

// Destroy is part of vtab.Table.
func (s *Source) Destroy() error { return nil }

// sourceCursor is one scan of a source.
type sourceCursor struct {
	cursor
	source *Source
}

func (c *sourceCursor) Filter(int, string, []vtab.Value) error {
	c.reset(c.source.rows)
	c.source.row = -1
	return nil
}

func (c *sourceCursor) Column(col int) (vtab.Value, error) {
	c.source.row = c.row
	return c.cursor.Column(col)
}
