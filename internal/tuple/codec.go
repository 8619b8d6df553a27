package tuple

import (
	"reflect"
	"slices"
	"unsafe"
)

// TaggedColumn is a column of a Codec with what its struct tag says about it.
type TaggedColumn struct {
	Column
	Key        bool   // part of the conflict key
	InsertOnly bool   // never overwritten on conflict
	Passive    bool   // written with an update, but no reason for one
	SQL        string // PostgreSQL's type for a column that is made for the field
	Absent     bool   // a row can leave it out
}

// Codec turns values of the struct type T into tuples and back. It is made
// once per type, holds no state of its own after that, and is safe for
// concurrent use.
//
// A struct field becomes a column through its tag, `db:"column,option,..."`:
//
//	key         part of the conflict key; NULL is refused
//	insertonly  written by an insert, never overwritten
//	passive     written with an update, but no reason for one
//	nullzero    the zero value is NULL
//	json        any Go value, stored as JSON
//	type=T      T is PostgreSQL's type of the column
//
// Fields without the tag, or with `db:"-"`, are no columns. Structs embedded
// by value are flattened.
//
// Columns by Go type, the first line that fits decides. A pointer to any of
// them is NULL when nil.
//
//	json option                jsonb, by encoding/json. Only a nil pointer is
//	                           NULL: a nil map or slice is the JSON null
//	                           unless the field is nullzero as well
//	time.Time                  cut to the microsecond. With type=timestamptz
//	                           the instant; with type=timestamp, type=time and
//	                           type=date what the clock of the value's zone
//	                           shows; else Local, in the key without offset
//	json.RawMessage            jsonb; nil is NULL
//	time.Duration              Duration; bigint with type=bigint
//	sql.Null[T], sql.NullX     the column of T
//	[16]byte                   uuid
//	driver.Valuer              text, PostgreSQL's input form of the value;
//	                           needs sql.Scanner too
//	encoding.TextMarshaler     text; needs encoding.TextUnmarshaler too
//	slices, pgtype.Array,      text, PostgreSQL's input form of the array, the
//	Range, Multirange,         range or the address; nil is NULL
//	net.HardwareAddr, IPNet
//	bool                       boolean
//	int8, uint8, int16         smallint
//	uint16, int32              integer
//	uint32, int64, int, uint   bigint; values above its range are refused
//	uint64                     the same
//	uint, uint64               text, their digits, with type=numeric
//	float32, float64           real, double precision
//	string                     text
//	[]byte                     bytea; nil is NULL
//
// Named types count as their underlying type unless they have the methods.
type Codec[T any] struct{ plan *plan }

// NewCodec reads the struct tags of T. An error names the type and the field
// that cannot be a column, and what would make it one.
func NewCodec[T any]() (*Codec[T], error) {
	p, err := newPlan(reflect.TypeFor[T]())
	if err != nil {
		return nil, err
	}
	return &Codec[T]{plan: p}, nil
}

// Fields returns the columns in tuple order: those of the key first, then the
// others, each in the order of the struct.
func (c *Codec[T]) Fields() []TaggedColumn {
	fields := make([]TaggedColumn, len(c.plan.fields))
	for i := range fields {
		fields[i] = c.plan.fields[i].TaggedColumn
	}
	return fields
}

// Columns returns the columns in tuple order without what their tags say.
func (c *Codec[T]) Columns() []Column { return slices.Clone(c.plan.columns) }

// Keys returns how many leading columns make the key.
func (c *Codec[T]) Keys() int { return c.plan.keys }

// Append appends the tuple of v to dst. What it accepts, the type of the
// column takes: texts are UTF-8 without NUL, JSON is valid for jsonb, times are
// in range, no key column is NULL. An error is a *FieldError, and dst comes
// back with the length it had. Nothing of v is kept or changed: methods of its
// fields (Value, MarshalText, MarshalJSON) run on a shallow copy.
func (c *Codec[T]) Append(dst []byte, v *T) ([]byte, error) {
	// Only the copy may reach foreign code. So the compiler sees that v does
	// not escape, and a caller's row stays on its stack.
	var shared unsafe.Pointer
	if c.plan.foreign {
		cp := new(T)
		*cp = *v
		shared = unsafe.Pointer(cp)
	}
	return c.plan.append(dst, unsafe.Pointer(v), shared)
}

// Decode fills the columns of v from a tuple that Append made and leaves its
// other fields alone. It copies what it takes. Times come back in UTC, or in a
// zone of their offset where they kept it, NULL as
// the field's zero value, numbers inside an interface of a json field as
// json.Number, which keeps all their digits. Bytes that Append would not have
// made are an error that wraps ErrMalformed and names the column; v is then
// filled in part.
func (c *Codec[T]) Decode(t []byte, v *T) error {
	return c.plan.decode(t, unsafe.Pointer(v))
}
