// Package tuple is the one representation of a row inside the library.
//
// A row is encoded once, when it is added, and is bytes from there on: the
// front buffer holds tuples, the staging table stores tuples and a flush sends
// tuples. A tuple is exactly what the binary COPY format of PostgreSQL puts
// between its header and its trailer for one row (manual, section "COPY",
// "Binary Format", "Tuples"):
//
//	struct tuple {
//		int16 fields              // number of fields, big endian
//		struct {
//			int32 length          // bytes that follow, -1 for NULL
//			byte  value[length]   // binary form of the column's Type
//		} field[fields]
//	}
//
// Local fields, times that keep their offset from UTC, and absent fields are not
// for COPY. A tuple with such a field has the bit marked in its field count, and
// must be converted before it is sent (see Plain).
//
// A field that is absent is neither NULL nor a value: a new row gets the default
// of its column, and a stored one keeps what it has. A destination leaves out the
// columns that the rows of a batch leave out, which are the same for all of them
// (see Uniform).
//
// The key columns come first and are never absent, so that the bytes of a row's key are one
// contiguous prefix of the tuple (see Key).
package tuple

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// Type is the canonical type of a column: it decides the bytes of a field in
// a tuple. A destination whose column has another type transcodes the field.
type Type uint8

// The canonical types and the bytes of their values, all big endian. Each is
// the binary form that PostgreSQL's receive function of the type named in the
// comment reads, so that a tuple can be sent as it is to a table made of those.
const (
	Bool        Type = iota + 1 // boolean: one byte, 0 or 1
	Int2                        // smallint
	Int4                        // integer
	Int8                        // bigint
	Float4                      // real
	Float8                      // double precision
	Text                        // text: UTF-8 without NUL bytes
	Bytea                       // bytea
	Timestamptz                 // timestamptz: int64 microseconds since 2000-01-01 00:00 UTC
	JSON                        // jsonb: the version byte 1, then JSON text
	UUID                        // uuid: 16 bytes
	Date                        // date: int32 days since 2000-01-01
	Timestamp                   // timestamp: int64 microseconds since 2000-01-01 00:00 by the clock on the wall
	Local                       // timestamptz, and behind it, unless zero, int32 seconds by which its clock is ahead of UTC
	Duration                    // bigint: nanoseconds
)

var typeNames = [...]string{
	Bool: "boolean", Int2: "smallint", Int4: "integer", Int8: "bigint",
	Float4: "real", Float8: "double precision", Text: "text", Bytea: "bytea",
	Timestamptz: "timestamptz", JSON: "jsonb", UUID: "uuid", Date: "date", Timestamp: "timestamp",
	Local: "timestamptz with offset", Duration: "duration",
}

// Types is the number of types: they count from 1.
const Types = Type(len(typeNames) - 1)

// SQL returns PostgreSQL's type for a column that is made for the values.
func (t Type) SQL() string {
	switch t {
	case Local:
		return typeNames[Timestamptz]
	case Duration:
		return "interval"
	}
	return t.String()
}

// String returns the name of the type: that of PostgreSQL where it has one.
func (t Type) String() string {
	if int(t) < len(typeNames) && typeNames[t] != "" {
		return typeNames[t]
	}
	return fmt.Sprintf("tuple.Type(%d)", uint8(t))
}

// Column is one column of a table as the tuples of that table hold it.
type Column struct {
	Name     string
	Type     Type
	Nullable bool // the Go side can produce NULL for it
}

// MaxLen is the largest tuple that the library takes, in bytes.
const MaxLen = 256 << 20

// MaxSeq is the highest sequence number that a row can have, as the first one has
// 1: a million rows a second reach it in 36,000 years. What reads numbers from
// files refuses higher ones, so that none can overflow. It is the limit of the
// numbers of files, too.
const MaxSeq = 1 << 60

// Span locates one tuple inside a Batch.
type Span struct {
	Off, Len uint32
	Seq      int64 // arrival number, unique and ascending within a writer
}

// Batch is a set of tuples in one piece of memory without pointers between
// them. Rows may stand in any order and need not cover Data. The zero value is
// an empty batch, ready for Append; Reset keeps the memory for the next use.
type Batch struct {
	Data []byte
	Rows []Span
}

// Append adds a copy of the tuple under the given arrival number.
func (b *Batch) Append(seq int64, t []byte) {
	b.Rows = append(b.Rows, Span{Off: uint32(len(b.Data)), Len: uint32(len(t)), Seq: seq})
	b.Data = append(b.Data, t...)
}

// Tuple returns the i-th row. The bytes belong to the batch.
func (b *Batch) Tuple(i int) []byte {
	s := b.Rows[i]
	return b.Data[s.Off : s.Off+s.Len : s.Off+s.Len]
}

// Slice returns the rows [i, j) as a batch that shares b's memory.
func (b *Batch) Slice(i, j int) *Batch { return &Batch{Data: b.Data, Rows: b.Rows[i:j:j]} }

// Runs cuts b where its arrival numbers have gaps. The parts share b's memory.
func (b *Batch) Runs() (runs []*Batch) {
	from := 0
	for i := 1; i <= b.Len(); i++ {
		if i == b.Len() || b.Rows[i].Seq != b.Rows[i-1].Seq+1 {
			runs = append(runs, b.Slice(from, i))
			from = i
		}
	}
	return runs
}

// Len is the number of rows.
func (b *Batch) Len() int { return len(b.Rows) }

// Bytes is the sum of the lengths of the rows' tuples.
func (b *Batch) Bytes() int64 {
	var n int64
	for i := range b.Rows {
		n += int64(b.Rows[i].Len)
	}
	return n
}

// Reset empties the batch and keeps its memory.
func (b *Batch) Reset() { b.Data, b.Rows = b.Data[:0], b.Rows[:0] }

// absent is the length of a field that is neither NULL nor a value.
const absent = -2

// Absent tells whether the first field of fields is absent. For Next such a
// field is NULL.
func Absent(fields []byte) bool { return binary.BigEndian.Uint32(fields) == 1<<32+absent }

// Absences returns which fields of a tuple are absent, a bit for each; nil if
// none is.
func Absences(t []byte) []byte {
	if t[0]&absentBit == 0 {
		return nil
	}
	bits := make([]byte, (count(t)+7)/8)
	for i, rest := 0, Fields(t); len(rest) > 0; i++ {
		if Absent(rest) {
			bits[i/8] |= 1 << (i % 8)
		}
		_, _, rest = Next(rest)
	}
	return bits
}

// Uniform cuts b into batches whose rows leave out the same fields, in the order
// of their first rows. The rows of each keep their order; the parts share the
// memory of b's tuples. It is b itself if no row leaves out any.
func (b *Batch) Uniform() []*Batch {
	i := 0
	for i < b.Len() && b.Data[b.Rows[i].Off]&absentBit == 0 {
		i++
	}
	if i == b.Len() {
		return []*Batch{b}
	}
	var parts []*Batch
	index := map[string]int{}
	for i := range b.Rows {
		bits := string(Absences(b.Tuple(i)))
		at, ok := index[bits]
		if !ok {
			at = len(parts)
			index[bits] = at
			parts = append(parts, &Batch{Data: b.Data})
		}
		parts[at].Rows = append(parts[at].Rows, b.Rows[i])
	}
	return parts
}

// UniformRuns cuts b where the rows begin to leave out other fields than the one
// before, so that all of them stay in their order. The parts share b's memory.
func (b *Batch) UniformRuns() (runs []*Batch) {
	from := 0
	for i := 1; i <= b.Len(); i++ {
		if i == b.Len() || !bytes.Equal(Absences(b.Tuple(i)), Absences(b.Tuple(from))) {
			runs = append(runs, b.Slice(from, i))
			from = i
		}
	}
	return runs
}

// Next splits the first field off fields, the part of a tuple after its field
// count or what an earlier call returned as rest. null tells NULL from empty.
// It must only be given well-formed tuples (see Check).
func Next(fields []byte) (value []byte, null bool, rest []byte) {
	n := int32(binary.BigEndian.Uint32(fields))
	if n < 0 {
		return nil, true, fields[4:]
	}
	return fields[4 : 4+n : 4+n], false, fields[4+n:]
}

// Fields returns the part of a tuple that Next takes apart.
func Fields(t []byte) []byte { return t[2:] }

// Field returns the i-th field of a well-formed tuple.
func Field(t []byte, i int) (value []byte, null bool) {
	rest := Fields(t)
	for ; i > 0; i-- {
		_, _, rest = Next(rest)
	}
	value, null, _ = Next(rest)
	return value, null
}

// Key returns the encoded first n fields: two rows have the same key exactly
// when these bytes are equal.
func Key(t []byte, n int) []byte {
	end := 2
	for ; n > 0; n-- {
		if l := int32(binary.BigEndian.Uint32(t[end:])); l > 0 {
			end += int(l)
		}
		end += 4
	}
	return t[2:end]
}

// Marks in the first byte of a tuple that is not Plain.
const (
	localBit  = 0x40 // it has Local fields with an offset
	absentBit = 0x20 // it has absent fields
	marks     = localBit | absentBit
)

// Plain reports whether the bytes of a tuple can be sent as they are.
func Plain(t []byte) bool { return t[0]&marks == 0 }

// count is the number of fields.
func count(t []byte) int { return int(int16(binary.BigEndian.Uint16(t) &^ (marks << 8))) }

// Mark makes a whole tuple of one that was put together of a header and of
// fields of the columns, and takes off the marks that it need not have.
func Mark(t []byte, cols []Column) {
	t[0] &^= marks
	rest := Fields(t)
	for _, c := range cols {
		if Absent(rest) {
			t[0] |= absentBit
		}
		var value []byte
		if value, _, rest = Next(rest); c.Type == Local && len(value) == localSize {
			t[0] |= localBit
		}
	}
}

// ErrMalformed is what Check wraps.
var ErrMalformed = errors.New("malformed tuple")

// Check reports whether t is one well-formed tuple of the given number of
// fields and nothing more. It does not look into the values.
func Check(t []byte, fields int) error {
	if len(t) < 2 {
		return fmt.Errorf("%w: %d bytes, shorter than a field count", ErrMalformed, len(t))
	}
	if n := count(t); n != fields {
		return fmt.Errorf("%w: %d fields, want %d", ErrMalformed, n, fields)
	}
	rest, sparse := t[2:], false
	for i := range fields {
		if len(rest) < 4 {
			return fmt.Errorf("%w: ends inside the length of field %d", ErrMalformed, i)
		}
		n := int64(int32(binary.BigEndian.Uint32(rest)))
		rest = rest[4:]
		switch {
		case n == -1:
			continue
		case n == absent:
			sparse = true
			continue
		case n < 0 || n > int64(len(rest)):
			return fmt.Errorf("%w: field %d claims %d bytes, %d are left", ErrMalformed, i, n, len(rest))
		}
		rest = rest[n:]
	}
	if len(rest) != 0 {
		return fmt.Errorf("%w: %d bytes after the last field", ErrMalformed, len(rest))
	}
	if sparse != (t[0]&absentBit != 0) {
		return fmt.Errorf("%w: the mark of absent fields is wrong", ErrMalformed)
	}
	return nil
}
