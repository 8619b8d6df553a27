package transcode

import (
	"errors"
	"testing"

	"github.com/jackc/pgx/v5/pgtype"

	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

// targets are destination types of every kind of conversion.
var targets = []Type{
	{OID: pgtype.TextOID, Mod: -1, Text: true},
	{OID: pgtype.VarcharOID, Mod: 4 + 3, Text: true},
	{OID: pgtype.NameOID, Mod: -1, Text: true},
	{OID: pgtype.BoolOID, Mod: -1},
	{OID: pgtype.Int2OID, Mod: -1},
	{OID: pgtype.Int4OID, Mod: -1},
	{OID: pgtype.Int8OID, Mod: -1},
	{OID: pgtype.OIDOID, Mod: -1},
	{OID: pgtype.Float4OID, Mod: -1},
	{OID: pgtype.Float8OID, Mod: -1},
	{OID: pgtype.NumericOID, Mod: -1},
	{OID: pgtype.NumericOID, Mod: 5<<16 + 2 + 4},
	{OID: pgtype.ByteaOID, Mod: -1},
	{OID: pgtype.UUIDOID, Mod: -1},
	{OID: pgtype.JSONOID, Mod: -1},
	{OID: pgtype.JSONBOID, Mod: -1},
	{OID: pgtype.DateOID, Mod: -1},
	{OID: pgtype.TimestampOID, Mod: -1},
	{OID: pgtype.TimestamptzOID, Mod: -1},
	{OID: pgtype.TimeOID, Mod: -1},
	{OID: pgtype.IntervalOID, Mod: -1},
	{OID: pgtype.InetOID, Mod: -1},
	{OID: pgtype.CIDROID, Mod: -1},
	{OID: pgtype.MacaddrOID, Mod: -1},
}

// No field, however damaged, makes a conversion panic, lose what stood in dst
// before, or fail with anything but an *Error.
func FuzzConvert(f *testing.F) {
	for _, seed := range []string{
		"", "1", "-1.50e3", "true", "2024-02-29T12:30:15.5+02:00", "0044-03-15 BC", "infinity", "12:30", "1 day 02:03:04",
		"10.0.0.1/8", "::1", "08:00:2b:01:02:03", `\xdead`, `a\\b\001`, "{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}",
		"\x00\x00\x00\x00\x00\x00\x00\x01", "\x01{}", "NaN", "1e99999999999999999999", "9999999999-01-01", "24:00:00",
	} {
		for from := tuple.Bool; from <= tuple.Types; from++ {
			f.Add(uint8(from), []byte(seed))
		}
	}
	f.Add(uint8(0), []byte("1"))             // no type
	f.Add(uint8(tuple.Types)+1, []byte("1")) // the same
	f.Fuzz(func(t *testing.T, from uint8, field []byte) {
		for _, to := range targets {
			step, err := New(tuple.Type(from), to)
			if err != nil {
				continue
			}
			if step.Check != nil {
				if err := step.Check(field); err != nil && !isError(err) {
					t.Errorf("%v to %d: %T", tuple.Type(from), to.OID, err)
				}
			}
			if step.Convert == nil {
				continue
			}
			out, err := step.Convert([]byte("before"), field)
			if err != nil && !isError(err) {
				t.Errorf("%v to %d: %T", tuple.Type(from), to.OID, err)
			}
			if err == nil && (len(out) < 6 || string(out[:6]) != "before") {
				t.Errorf("%v to %d: %q", tuple.Type(from), to.OID, out)
			}
		}
	})
}

func isError(err error) bool {
	var e *Error
	return errors.As(err, &e)
}
