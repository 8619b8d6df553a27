package tuple

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
	"unsafe"
)

// maxColumns is what a PostgreSQL table can have at most.
const maxColumns = 1600

// plan is a struct type compiled for encoding: its fields in tuple order.
type plan struct {
	columns []Column // of fields, for KeyString
	fields  []field
	keys    int
	foreign bool // some field is encoded by methods of its own
}

// field is a column and where its value is in the struct.
type field struct {
	TaggedColumn
	form
	goName   string       // as a selector from the struct, "Owner.ID"
	goType   reflect.Type // of the struct field
	off      uintptr      // in the struct
	nullzero bool         // the zero value is NULL, and the form cannot say so
	always   bool         // the value is in the struct itself and never NULL

	omitNil   bool    // what would be NULL is left out
	optional  bool    // it is an Optional
	setOff    uintptr // of its Set, in it
	innerNull bool    // what is in it can be NULL
}

func newPlan(t reflect.Type) (*plan, error) {
	if t.Kind() != reflect.Struct {
		return nil, fmt.Errorf("row type %v is not a struct", t)
	}
	p := &plan{}
	if err := p.addStruct(t, t, 0, ""); err != nil {
		return nil, err
	}
	switch n := len(p.fields); {
	case n == 0:
		return nil, fmt.Errorf("row type %v has no columns; tag its fields like `db:\"name\"`", t)
	case n > maxColumns:
		return nil, fmt.Errorf("row type %v has %d columns, PostgreSQL takes %d at most", t, n, maxColumns)
	}
	slices.SortStableFunc(p.fields, keyFirst)
	for i := range p.fields {
		f := &p.fields[i]
		p.columns = append(p.columns, f.Column)
		p.foreign = p.foreign || f.op.foreign()
		if f.Key {
			p.keys++
		}
	}
	return p, nil
}

func keyFirst(a, b field) int {
	switch {
	case a.Key == b.Key:
		return 0
	case a.Key:
		return -1
	}
	return 1
}

// addStruct adds the columns of t, which is root or embedded in it at off.
func (p *plan) addStruct(root, t reflect.Type, off uintptr, prefix string) error {
	for i := range t.NumField() {
		sf := t.Field(i)
		name := prefix + sf.Name
		tag, tagged := sf.Tag.Lookup("db")
		switch {
		case tag == "-":
		case tagged:
			f, err := newField(sf, tag)
			if err == nil {
				err = p.duplicate(f.Name)
			}
			if err != nil {
				return fmt.Errorf("field %v.%s: %w", root, name, err)
			}
			f.goName, f.off = name, off+sf.Offset
			p.fields = append(p.fields, f)
		case !sf.Anonymous:
		case sf.Type.Kind() == reflect.Struct:
			if err := p.addStruct(root, sf.Type, off+sf.Offset, name+"."); err != nil {
				return err
			}
		case sf.Type.Kind() == reflect.Pointer:
			return fmt.Errorf("field %v.%s: an embedded pointer cannot be flattened; embed the struct itself, or tag it `db:\"-\"`",
				root, name)
		}
	}
	return nil
}

// duplicate compares without case: SQLite knows only one of "id" and "ID".
func (p *plan) duplicate(column string) error {
	for i := range p.fields {
		if strings.EqualFold(p.fields[i].Name, column) {
			return fmt.Errorf("column %q is taken by field %s", column, p.fields[i].goName)
		}
	}
	return nil
}

// newField compiles the struct field sf with the tag `db:"text"`.
func newField(sf reflect.StructField, text string) (field, error) {
	if !sf.IsExported() {
		return field{}, fmt.Errorf("has a db tag, but is not exported")
	}
	column, options, _ := strings.Cut(text, ",")
	if err := checkName(column); err != nil {
		return field{}, err
	}
	f := field{goType: sf.Type}
	f.Name = column
	tag, err := parseTag(options)
	if err == nil {
		f.form, err = formOf(sf.Type, &tag)
	}
	if err != nil {
		return field{}, fmt.Errorf("column %q: %w", column, err)
	}
	f.Type, f.Key, f.InsertOnly, f.Passive = f.typ, tag.key, tag.insertOnly, tag.passive
	switch {
	case f.Key && (f.InsertOnly || f.Passive):
		return field{}, fmt.Errorf("column %q: a key column is never overwritten; drop insertonly and passive", column)
	case f.Key && f.Type == JSON:
		return field{}, fmt.Errorf("column %q: jsonb cannot be part of the key, since two texts may be one value", column)
	}
	if f.Key && f.Type == Local {
		f.op = opInstant // the bytes of a key tell which rows are of one, whatever the column proves to be
	}
	f.SQL = cmp.Or(tag.sql, f.sql, f.typ.SQL())
	f.nullzero = tag.nullZero && len(f.path) == 0
	f.always = !f.nullzero && len(f.path) == 0
	f.Nullable = !f.Key && (f.nullzero || len(f.path) > 0 || f.op == opValuer || f.op == opPG)
	if err := f.setOptional(sf.Type, tag.omitNil); err != nil {
		return field{}, fmt.Errorf("column %q: %w", column, err)
	}
	return f, nil
}

func checkName(column string) error {
	if column == "" {
		return fmt.Errorf("the db tag has no column name")
	}
	for _, r := range column {
		if r == utf8.RuneError || !strconv.IsPrint(r) {
			return fmt.Errorf("column name %q is not printable", column)
		}
	}
	return nil
}

// locate returns where the value of the field is in the row, nil for NULL.
// Only what a foreign type says may still make it NULL later.
func (f *field) locate(row unsafe.Pointer) unsafe.Pointer {
	p := unsafe.Add(row, f.off)
	if f.always {
		return p
	}
	return f.follow(p)
}

// follow is locate for a field that may be NULL: p is in the struct. It is on
// its own so that the compiler can inline locate.
func (f *field) follow(p unsafe.Pointer) unsafe.Pointer {
	if f.nullzero && f.isZero(p) {
		return nil
	}
	for i := range f.path {
		s := &f.path[i]
		switch s.kind {
		case stepPointer:
			if p = *(*unsafe.Pointer)(p); p == nil {
				return nil
			}
		case stepValid:
			if !*(*bool)(unsafe.Add(p, s.off)) {
				return nil
			}
		case stepSlice:
			if *(*[]byte)(p) == nil {
				return nil
			}
		}
	}
	return p
}
