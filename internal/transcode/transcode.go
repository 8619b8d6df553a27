// Package transcode turns the fields of tuples, which have the canonical types
// of package tuple, into the binary form of other PostgreSQL types.
//
// It exists because a destination table was often made by somebody else: its
// columns are varchar(255), integer or numeric where the Go side has string
// and int64. Text takes the way that the server's own cast from text takes,
// within the notations given at each type; the other pairs are those that
// lose nothing unseen. A value that does not fit is an *Error with the
// SQLSTATE that the server would have given.
package transcode

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/jackc/pgx/v5/pgtype"

	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

// Type is the type of a destination column as the catalogue describes it. A
// domain is given as the type under it.
type Type struct {
	OID  uint32
	Mod  int32  // type modifier, -1 for none
	Name string // as a person writes it, with the modifier
	Text bool   // the binary form is the text: string types and enums

	// Parts: values are made of those of other types, as those of arrays, rows
	// and ranges are.
	Parts bool

	// Uncut: of a varchar(n) not even blanks beyond n are taken, which the server
	// cuts off: the value would be equal to another one.
	Uncut bool

	// What openGauss has differently in some databases.
	Bytes  bool // the length of varchar(n) and char(n) counts bytes, not characters
	Signed bool // a tinyint may have a sign: its upper half means two things, and is refused
}

// Step is what has to be done to a field that is not NULL. Both functions are
// nil where the bytes fit as they are and every value is welcome. The
// functions keep nothing and are safe for concurrent use.
type Step struct {
	// Convert appends the destination's form of field to dst. Nil: the bytes
	// are sent unchanged.
	Convert func(dst, field []byte) ([]byte, error)
	// Check tells whether the value fits. Nil with Convert, which checks too.
	Check func(field []byte) error
	// Marked: Convert is needed only for the fields of tuples that are not
	// tuple.Plain.
	Marked bool
	// Text appends what the input function of the destination's type reads as
	// the value. Never nil.
	Text func(dst, field []byte) ([]byte, error)
	// TextOnly: there is no binary form of the value for the destination. The
	// fields of all columns have to be sent as text.
	TextOnly bool
}

// Error says why a value does not fit into the destination's type.
type Error struct {
	SQLState string
	msg      string
}

func (e *Error) Error() string { return e.msg }

// The SQLSTATEs of errors.
const (
	tooLong      = "22001" // string_data_right_truncation
	outOfRange   = "22003" // numeric_value_out_of_range
	badTime      = "22007" // invalid_datetime_format
	timeRange    = "22008" // datetime_field_overflow
	zoneRange    = "22009" // invalid_time_zone_displacement_value
	badBytes     = "22021" // character_not_in_repertoire
	badText      = "22P02" // invalid_text_representation
	badBinary    = "22P03" // invalid_binary_representation
	nameOID      = 19
	nameMaxBytes = 63
)

// Types of openGauss alone.
const (
	tinyintOID   = 5545
	nvarchar2OID = 3969
)

func errorf(state, format string, args ...any) error {
	return &Error{SQLState: state, msg: fmt.Sprintf(format, args...)}
}

// Shorten returns text as it can stand in a message: quoted, and cut after
// some forty characters.
func Shorten(text []byte) string {
	const most = 40
	n := 0
	for i := range string(text) {
		if n++; n > most {
			return fmt.Sprintf("%q...", text[:i])
		}
	}
	return fmt.Sprintf("%q", text)
}

// New returns the step from a canonical type to a destination's type. The
// error, for a pair that makes no sense, names both.
func New(from tuple.Type, to Type) (Step, error) {
	if from == 0 || from > tuple.Types {
		return Step{}, fmt.Errorf("there is no type of number %d", from)
	}
	step := binaryStep(from, to)
	if step.TextOnly && !textOnly(from, to) {
		return Step{}, fmt.Errorf("a column of type %s cannot take %s values", to.Name, from)
	}
	step.Text = sized(from, textInput(from, to))
	return step, nil
}

// binaryStep returns the step as far as it is one into the binary form.
func binaryStep(from tuple.Type, to Type) Step {
	if to.Text {
		return toText(from, to)
	}
	if same(from, to.OID) {
		return Step{}
	}
	convert := conversion(from, to)
	if convert == nil {
		return Step{TextOnly: true}
	}
	return Step{Convert: sized(from, convert), Marked: from == tuple.Local && to.OID == pgtype.TimestamptzOID}
}

// canonical are the types whose binary form the canonical types have, and
// those that read the same bytes with the same meaning.
var canonical = map[tuple.Type][]uint32{
	tuple.Bool:        {pgtype.BoolOID},
	tuple.Int2:        {pgtype.Int2OID},
	tuple.Int4:        {pgtype.Int4OID},
	tuple.Int8:        {pgtype.Int8OID},
	tuple.Float4:      {pgtype.Float4OID},
	tuple.Float8:      {pgtype.Float8OID},
	tuple.Text:        {pgtype.TextOID, pgtype.JSONOID, pgtype.XMLOID},
	tuple.Bytea:       {pgtype.ByteaOID},
	tuple.Timestamptz: {pgtype.TimestamptzOID, pgtype.TimestampOID}, // a timestamp gets the UTC clock
	tuple.JSON:        {pgtype.JSONBOID},
	tuple.UUID:        {pgtype.UUIDOID, pgtype.ByteaOID},
	tuple.Date:        {pgtype.DateOID},
	tuple.Timestamp:   {pgtype.TimestampOID},
	tuple.Duration:    {pgtype.Int8OID},
}

func same(from tuple.Type, oid uint32) bool {
	for _, o := range canonical[from] {
		if o == oid {
			return true
		}
	}
	return false
}

type convertFunc = func(dst, field []byte) ([]byte, error)

// conversion returns nil for a pair that makes no sense.
func conversion(from tuple.Type, to Type) convertFunc {
	switch from {
	case tuple.Bool:
		return fromInt(func(f []byte) int64 { return int64(f[0]) }, to, pgtype.Int2OID, pgtype.Int4OID, pgtype.Int8OID, tinyintOID)
	case tuple.Int2:
		return fromInt(func(f []byte) int64 { return int64(int16(binary.BigEndian.Uint16(f))) }, to, numbers...)
	case tuple.Int4:
		return fromInt(func(f []byte) int64 { return int64(int32(binary.BigEndian.Uint32(f))) }, to, numbers...)
	case tuple.Int8:
		return fromInt(func(f []byte) int64 { return int64(binary.BigEndian.Uint64(f)) }, to, numbers...)
	case tuple.Float4:
		return fromFloat(func(f []byte) float64 { return float64(math.Float32frombits(binary.BigEndian.Uint32(f))) }, 32, to)
	case tuple.Float8:
		return fromFloat(func(f []byte) float64 { return math.Float64frombits(binary.BigEndian.Uint64(f)) }, 64, to)
	case tuple.Text:
		return fromText(to)
	case tuple.Timestamptz:
		return fromClock(to, pgtype.DateOID)
	case tuple.Timestamp:
		return fromClock(to, pgtype.TimeOID)
	case tuple.Local:
		return fromLocal(to)
	case tuple.Date:
		return fromDate(to)
	case tuple.Duration:
		return fromDuration(to)
	case tuple.Bytea:
		return fromBytes(to)
	case tuple.JSON:
		if to.OID == pgtype.JSONOID {
			return func(dst, f []byte) ([]byte, error) { return append(dst, f[1:]...), nil }
		}
	}
	return nil
}

// sizes are the lengths of fields, at least; types with any length are missing.
var sizes = map[tuple.Type]int{
	tuple.Bool: 1, tuple.Int2: 2, tuple.Int4: 4, tuple.Int8: 8, tuple.Float4: 4,
	tuple.Float8: 8, tuple.Timestamptz: 8, tuple.JSON: 1, tuple.UUID: 16,
	tuple.Date: 4, tuple.Timestamp: 8, tuple.Local: 8, tuple.Duration: 8,
}

// sized protects convert from fields whose length is not that of their type,
// which only a damaged tuple has.
func sized(from tuple.Type, convert convertFunc) convertFunc {
	size, fixed := sizes[from], from != tuple.JSON && from != tuple.Local
	if size == 0 {
		return convert
	}
	return func(dst, field []byte) ([]byte, error) {
		if len(field) < size || fixed && len(field) != size {
			return nil, errorf(badBinary, "a field of %d bytes is no %s", len(field), from)
		}
		return convert(dst, field)
	}
}
