package dump

import (
	"bytes"
	"database/sql/driver"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"strconv"
	"unsafe"

	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

var errLiteral = errors.New("is not a literal of the column's type")

// decoder turns literals into fields.
type decoder struct{ scratch []byte }

// appendField appends the field of a column of type to, of a literal that was
// written for a column of type from.
func (d *decoder) appendField(dst []byte, from, to tuple.Type, t token) ([]byte, error) {
	v, err := d.value(from, t)
	if err != nil {
		return dst, err
	}
	return tuple.AppendValue(dst, to, v)
}

// value returns what tuple.AppendValue takes. It may share memory with the
// token or the scratch buffer.
func (d *decoder) value(typ tuple.Type, t token) (driver.Value, error) {
	switch {
	case t.kind == nullToken:
		return nil, nil
	case typ == tuple.Bytea:
		if t.kind != blobToken {
			return nil, errLiteral
		}
		return d.hex(t.text)
	case typ == tuple.Float4:
		return floatValue(t, 32)
	case typ == tuple.Float8:
		return floatValue(t, 64)
	case typ == tuple.Timestamptz, typ == tuple.Local, typ == tuple.Timestamp, typ == tuple.Date:
		at, ok := tuple.ParseTimeText(typ, viewString(t.text))
		if !ok || t.kind != textToken {
			return nil, errLiteral
		}
		return at, nil
	case typ == tuple.Text, typ == tuple.JSON, typ == tuple.UUID:
		s, err := d.text(t)
		return viewString(s), err
	default: // boolean, integers
		if t.kind != numberToken {
			return nil, errLiteral
		}
		return strconv.ParseInt(viewString(t.text), 10, 64)
	}
}

func floatValue(t token, bits int) (driver.Value, error) {
	switch s := viewString(t.text); {
	case t.kind == textToken && s == "NaN":
		return math.NaN(), nil
	case t.kind != numberToken:
		return nil, errLiteral
	case s == infinity:
		return math.Inf(1), nil
	case s[0] == '-' && s[1:] == infinity:
		return math.Inf(-1), nil
	default:
		return strconv.ParseFloat(s, bits)
	}
}

// text returns the text of a literal, which may be in the scratch buffer.
func (d *decoder) text(t token) ([]byte, error) {
	switch {
	case t.kind == castToken:
		return d.hex(t.text)
	case t.kind != textToken:
		return nil, errLiteral
	case !t.doubled:
		return t.text, nil
	}
	d.scratch = d.scratch[:0]
	for rest := t.text; ; {
		quote := bytes.IndexByte(rest, '\'')
		if quote < 0 {
			d.scratch = append(d.scratch, rest...)
			return d.scratch, nil
		}
		d.scratch = append(d.scratch, rest[:quote+1]...)
		rest = rest[quote+2:]
	}
}

func (d *decoder) hex(digits []byte) ([]byte, error) {
	var err error
	d.scratch, err = hex.AppendDecode(d.scratch[:0], digits)
	return d.scratch, err
}

// viewString is b as a string, without a copy: for as long as b stays as it is.
func viewString(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// mapping says which literal of a row each column of the table is made of.
type mapping []source

type source struct {
	index int        // of the column in the file; -1: not there, absent
	typ   tuple.Type // there
}

// newMapping finds the table's columns, by name, in those of the file. What
// would lose or invent something is an error that wraps ErrMismatch.
func newMapping(file, table *Table) (mapping, error) {
	if file.Schema != table.Schema || file.Name != table.Name {
		return nil, fmt.Errorf("%w: it holds rows of table %q %q, not of %q %q",
			ErrMismatch, file.Schema, file.Name, table.Schema, table.Name)
	}
	index := map[string]int{}
	for i, c := range file.Columns {
		index[c.Name] = i
	}
	m := make(mapping, len(table.Columns))
	for i, c := range table.Columns {
		at, ok := index[c.Name]
		delete(index, c.Name)
		switch {
		case ok && file.Columns[at].Nullable && !c.Nullable:
			return nil, fmt.Errorf("%w: column %q can be NULL in it, and cannot in the row type now; %s", ErrMismatch, c.Name, mismatchHint)
		case ok && widens(file.Columns[at].Type, c.Type):
			m[i] = source{at, file.Columns[at].Type}
		case ok:
			return nil, fmt.Errorf("%w: column %q is %v in it, and %v in the row type now; %s",
				ErrMismatch, c.Name, file.Columns[at].Type, c.Type, mismatchHint)
		case !c.Nullable:
			return nil, fmt.Errorf("%w: it has no column %q, which in the row type cannot be NULL; %s", ErrMismatch, c.Name, mismatchHint)
		default:
			m[i] = source{-1, c.Type}
		}
	}
	for _, c := range file.Columns {
		if _, left := index[c.Name]; left {
			return nil, fmt.Errorf("%w: the row type has no column %q any more; %s", ErrMismatch, c.Name, mismatchHint)
		}
	}
	return m, nil
}

const mismatchHint = "run the program once with the former row type to get its rows into the destination, or move the file away to do without them"

// widens reports whether every value of one type is a value of the other.
func widens(from, to tuple.Type) bool {
	switch from {
	case tuple.Int2:
		return to == tuple.Int2 || to == tuple.Int4 || to == tuple.Int8
	case tuple.Int4:
		return to == tuple.Int4 || to == tuple.Int8
	case tuple.Float4:
		return to == tuple.Float4 || to == tuple.Float8
	case tuple.Timestamptz:
		return to == tuple.Timestamptz || to == tuple.Local
	case tuple.Local: // has the instant, the clock and the day
		return to == tuple.Local || to == tuple.Timestamptz || to == tuple.Timestamp || to == tuple.Date
	}
	return from == to
}
