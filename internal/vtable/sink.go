package vtable

import (
	"errors"

	"modernc.org/sqlite/vtab"
)

// Sink is a write-only virtual table that hands the rows inserted into it to
// a Go function. It belongs to one DB, and whoever uses that DB's connection
// owns it.
type Sink struct {
	Name    string // of the table in the temp schema, an SQL identifier that needs no quotes
	Columns int    // c0, c1, ...

	// Row takes one row: the rowid that the statement gave (0 if none) and
	// the columns: nil, int64, float64, string or []byte. Strings and byte
	// slices are SQLite's memory and valid only until Row returns. Row must
	// not use the connection. An error ends the statement and becomes part
	// of its message; rows taken before are not undone.
	Row func(rowid int64, row []vtab.Value) error
}

var errWriteOnly = errors.New("the table takes INSERT only")

func (s *Sink) module() string { return sinkModule }
func (s *Sink) name() string   { return s.Name }

// Insert is called for each row.
func (s *Sink) Insert(row []vtab.Value, rowid *int64) error { return s.Row(*rowid, row) }

// Update refuses.
func (s *Sink) Update(int64, []vtab.Value, *int64) error { return errWriteOnly }

// Delete refuses.
func (s *Sink) Delete(int64) error { return errWriteOnly }

// BestIndex is called to plan a scan, which a sink cannot do.
func (s *Sink) BestIndex(*vtab.IndexInfo) error { return errWriteOnly }

// Open refuses, as BestIndex does.
func (s *Sink) Open() (vtab.Cursor, error) { return nil, errWriteOnly }

// Disconnect is part of vtab.Table.
func (s *Sink) Disconnect() error { return nil }

// Destroy is part of vtab.Table.
func (s *Sink) Destroy() error { return nil }
