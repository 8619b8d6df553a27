package vtable

import (
	"errors"
	"fmt"

	"modernc.org/sqlite/vtab"
)

// Function is a table-valued function: its rows are what Go makes of its
// arguments, for example those of another table:
//
//	SELECT f.c0 FROM t CROSS JOIN temp.function(t.a, t.b) AS f
//
// It has the columns c0, c1, ... without types, and rowid is the index of the
// row. It belongs to one DB, and whoever uses that DB's connection owns it.
type Function struct {
	Name    string // of the table in the temp schema, an SQL identifier that needs no quotes
	Args    int
	Columns int

	New func() Call // called for each scan that a statement has open
}

// Call is the rows of a call. One scan makes many calls, one after the other:
// each Start begins anew.
type Call interface {
	Rows
	// Start takes the arguments: nil, int64, float64, string or []byte.
	// Strings and byte slices are SQLite's memory and valid only until Start
	// returns. Start must not use the connection. An error ends the statement
	// and becomes part of its message.
	Start(args []vtab.Value) error
}

func (f *Function) module() string { return functionModule }
func (f *Function) name() string   { return f.Name }

// BestIndex asks for the arguments, which SQLite presents as constraints of the
// hidden columns. A plan that does not have them all is made out to be hopeless.
func (f *Function) BestIndex(info *vtab.IndexInfo) error {
	found := make([]bool, f.Args)
	missing := f.Args
	for i := range info.Constraints {
		c := &info.Constraints[i]
		arg := c.Column - f.Columns
		if arg < 0 || found[arg] || c.Op != vtab.OpEQ || !c.Usable {
			continue
		}
		c.ArgIndex, c.Omit = arg, true
		found[arg] = true
		missing--
	}
	info.EstimatedCost, info.EstimatedRows = 100, 100
	if missing > 0 {
		for i := range info.Constraints {
			info.Constraints[i].ArgIndex, info.Constraints[i].Omit = -1, false
		}
		info.EstimatedCost = 1e90
	}
	return nil
}

// Open is part of vtab.Table.
func (f *Function) Open() (vtab.Cursor, error) { return &callCursor{function: f, call: f.New()}, nil }

// Disconnect is part of vtab.Table.
func (f *Function) Disconnect() error { return nil }

// Destroy is part of vtab.Table.
func (f *Function) Destroy() error { return nil }

var errNoArguments = errors.New("a table-valued function needs its arguments")

// callCursor is one scan of a function.
type callCursor struct {
	cursor
	function *Function
	call     Call
}

func (c *callCursor) Filter(_ int, _ string, args []vtab.Value) error {
	if len(args) != c.function.Args {
		return fmt.Errorf("%s: %w", c.function.Name, errNoArguments)
	}
	if err := c.call.Start(args); err != nil {
		return fmt.Errorf("%s: %w", c.function.Name, err)
	}
	c.reset(c.call)
	return nil
}

// Column makes the arguments NULL for those who read them.
func (c *callCursor) Column(col int) (vtab.Value, error) {
	if col >= c.function.Columns {
		return nil, nil
	}
	return c.cursor.Column(col)
}
