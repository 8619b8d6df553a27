// Package memtable is a table in memory that keeps the conflict rules of a
// dest.Table. It is the model that databases are compared with in tests, and the
// tables of package memdbtest.
package memtable

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"github.com/memdbwriter/memdbwriter/internal/dest"
	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

// Table holds rows as tuples. Fields that a new row leaves out stay absent, since
// the table knows no defaults. It is not safe for concurrent use.
type Table struct {
	shape *dest.Table
	cols  []tuple.Column
	guard int // column, -1: none of the rows has it
	rows  []*row
	byKey map[string]*row // without a key it is empty
	undo  []change
}

// change is what a Put did: it added the last row, or changed one.
type change struct {
	row *row
	was []byte // nil: the row is new
}

type row struct {
	tuple   []byte
	guarded bool // the guard column, if the rows do not have it
}

// New makes an empty table. A table with key columns has a unique index on them,
// whatever its policy is.
func New(shape *dest.Table) *Table {
	t := &Table{shape: shape, guard: -1, byKey: map[string]*row{}}
	for i, c := range shape.Columns {
		t.cols = append(t.cols, c.Column)
		if shape.Guard != "" && c.Name == shape.Guard {
			t.guard = i
		}
	}
	return t
}

// Begin begins a transaction: Rollback undoes every Put since then.
func (t *Table) Begin() { t.undo = t.undo[:0] }

// Rollback undoes every Put since Begin.
func (t *Table) Rollback() {
	for _, c := range slices.Backward(t.undo) {
		if c.was == nil {
			last := len(t.rows) - 1
			delete(t.byKey, t.key(t.rows[last].tuple))
			t.rows = t.rows[:last]
			continue
		}
		c.row.tuple = c.was
	}
	t.undo = t.undo[:0]
}

func (t *Table) add(tup []byte) {
	r := &row{tuple: tup}
	t.rows = append(t.rows, r)
	t.undo = append(t.undo, change{row: r})
	if t.shape.Keys > 0 {
		t.byKey[t.key(tup)] = r
	}
}

// Put writes a row as the table's policy says, or returns why the table refuses
// it. It keeps no part of tup.
func (t *Table) Put(tup []byte) error {
	var old *row
	if t.shape.Keys > 0 {
		old = t.byKey[t.key(tup)]
	}
	switch {
	case old == nil:
		t.add(bytes.Clone(tup))
	case t.shape.Policy == dest.InsertOnly:
		return &dest.Error{
			Class: dest.ClassRow, Row: -1, SQLState: "23505", Answered: true,
			Err: fmt.Errorf("the table has a row with the key %s", tuple.KeyString(t.cols, t.shape.Keys, tup)),
		}
	case t.shape.Policy == dest.Update && !t.protected(old):
		t.update(old, tup)
	}
	return nil
}

// protected tells whether the guard is set.
func (t *Table) protected(r *row) bool {
	if t.guard < 0 {
		return r.guarded
	}
	value, null := tuple.Field(r.tuple, t.guard)
	return !null && value[0] != 0
}

// update writes over a row what a newer one has, if that is a reason to write.
func (t *Table) update(old *row, tup []byte) {
	out := bytes.Clone(old.tuple[:2])
	reason := false
	was, is := tuple.Fields(old.tuple), tuple.Fields(tup)
	for i, c := range t.shape.Columns {
		var wasField, isField []byte
		absent := tuple.Absent(is)
		wasField, was = cut(was)
		isField, is = cut(is)
		if i < t.shape.Keys || c.InsertOnly || absent {
			out = append(out, wasField...)
			continue
		}
		reason = reason || !c.Passive && !bytes.Equal(compared(c.Type, wasField), compared(c.Type, isField))
		out = append(out, isField...)
	}
	if !reason {
		return
	}
	tuple.Mark(out, t.cols)
	t.undo = append(t.undo, change{row: old, was: old.tuple})
	old.tuple = out
}

// cut splits the first field off, its length included.
func cut(fields []byte) (field, rest []byte) {
	_, _, rest = tuple.Next(fields)
	return fields[:len(fields)-len(rest)], rest
}

// compared returns what decides whether two values of a type are equal to a
// database: of times that keep their offset the moment, of floats not the sign
// of zero or the bits of a NaN.
func compared(t tuple.Type, field []byte) []byte {
	value := field[4:]
	switch {
	case len(value) == 0:
		return field
	case t == tuple.Local:
		return value[:8]
	case t == tuple.Float4:
		return comparedFloat(float64(math.Float32frombits(binary.BigEndian.Uint32(value))))
	case t == tuple.Float8:
		return comparedFloat(math.Float64frombits(binary.BigEndian.Uint64(value)))
	}
	return field
}

func comparedFloat(f float64) []byte {
	switch {
	case f == 0:
		f = 0 // not -0
	case math.IsNaN(f):
		f = math.NaN()
	}
	return binary.BigEndian.AppendUint64(nil, math.Float64bits(f))
}

// key returns what equal keys share.
func (t *Table) key(tup []byte) string {
	var key []byte
	fields := tuple.Fields(tup)
	for _, c := range t.cols[:t.shape.Keys] {
		var field []byte
		field, fields = cut(fields)
		value := compared(c.Type, field)
		key = append(binary.AppendUvarint(key, uint64(len(value))), value...)
	}
	return string(key)
}

// Protect sets the guard of the row with the key of tup, and reports whether
// there is one.
func (t *Table) Protect(tup []byte) bool {
	r := t.byKey[t.key(tup)]
	if r == nil || t.shape.Guard == "" {
		return false
	}
	if t.guard < 0 {
		r.guarded = true
		return true
	}
	out := bytes.Clone(r.tuple[:2])
	fields := tuple.Fields(r.tuple)
	for i := range t.cols {
		var field []byte
		if field, fields = cut(fields); i == t.guard {
			field = []byte{0, 0, 0, 1, 1}
		}
		out = append(out, field...)
	}
	tuple.Mark(out, t.cols)
	r.tuple = out
	return true
}

// Rows returns the rows in the order in which they came. The tuples must not be
// changed.
func (t *Table) Rows() [][]byte {
	rows := make([][]byte, len(t.rows))
	for i, r := range t.rows {
		rows[i] = slices.Clip(r.tuple)
	}
	return rows
}
