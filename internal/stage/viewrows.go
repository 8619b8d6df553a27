package stage

import (
	"database/sql/driver"
	"encoding/binary"
	"fmt"

	"modernc.org/sqlite/vtab"

	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

// The views join their tables with table-valued functions of the arrival number
// and the blob, which give the rows: the fields and, last, the arrival number.

// stagedRows are the rows of a chunk that are not settled.
type stagedRows struct {
	viewRows
	store *Store
}

// Start takes a row of the table chunk.
func (r *stagedRows) Start(args []vtab.Value) error {
	first, _ := args[0].(int64)
	data, _ := args[1].([]byte)
	if err := r.start(first, append(r.data[:0], data...)); err != nil {
		return err
	}
	r.skip = extent{first: first, last: first + int64(r.data.rows()) - 1}.rowsTo(r.store.settled)
	return nil
}

// failedRow is the row of a tuple.
type failedRow struct{ viewRows }

// Start takes a row of the table failed.
func (r *failedRow) Start(args []vtab.Value) error {
	seq, _ := args[0].(int64)
	t, _ := args[1].([]byte)
	return r.start(seq, append(binary.BigEndian.AppendUint32(r.data[:0], offsetSize), t...))
}

// viewRows decodes the rows of a chunk, save the first ones that it skips.
type viewRows struct {
	columns []tuple.Column

	data  chunk // a copy
	first int64
	skip  int

	pos     int    // the row asked for last,
	current []byte // its tuple
	err     error  // and what is wrong with it
}

func (r *viewRows) start(first int64, data chunk) error {
	r.first, r.data, r.skip, r.pos = first, data, 0, -1
	if err := data.check(); err != nil {
		return fmt.Errorf("%w of %d bytes, from row %d", err, len(data), first)
	}
	return nil
}

func (r *viewRows) Len() int { return r.data.rows() - r.skip }

func (r *viewRows) Value(row, col int) (driver.Value, error) {
	row += r.skip
	if col == len(r.columns) {
		return r.first + int64(row), nil
	}
	if row != r.pos {
		r.pos, r.current = row, r.data.tuple(row)
		r.err = tuple.Check(r.current, len(r.columns))
	}
	if r.err != nil {
		return nil, r.err
	}
	field, _ := tuple.Field(r.current, col)
	return tuple.Value(r.columns[col].Type, field)
}
