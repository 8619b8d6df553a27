package transcode

import (
	"encoding/binary"
	"encoding/hex"
	"math"
	"slices"

	"github.com/jackc/pgx/v5/pgtype"

	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

// This file has the text form of values, which every type of the server has:
// what its input function reads.

// Types that pgtype has no name for.
const (
	moneyOID         = 790
	moneyArrayOID    = 791
	rawOID           = 86 // openGauss
	blobOID          = 88 // openGauss
	smalldatetimeOID = 9003
)

// textOnly are the types beyond Text that go to a column in text form only.
func textOnly(from tuple.Type, to Type) bool {
	switch from {
	case tuple.Text:
		return true
	case tuple.Int2, tuple.Int4, tuple.Int8:
		return slices.Contains(numbered, to.OID)
	case tuple.Timestamptz, tuple.Local, tuple.Timestamp:
		return to.OID == smalldatetimeOID
	case tuple.Bytea:
		return to.OID == rawOID || to.OID == blobOID
	}
	return false
}

// numbered are the types whose text may be a whole number, beside the numbers:
// money, transaction numbers, and names of things in the catalogue.
var numbered = []uint32{
	moneyOID, pgtype.XIDOID, pgtype.CIDOID, pgtype.XID8OID,
	24, 2202, 2203, 2204, 2205, 2206, 3734, 3769, 4089, 4096, 4191, // regproc to regcollation
}

// textInput returns what appends the text that the column's type reads as the
// value, in any session unless the type is BySession.
func textInput(from tuple.Type, to Type) convertFunc {
	if from == tuple.Text {
		return textOfText(to)
	}
	var text func(dst, f []byte) []byte
	switch {
	case to.Text && from == tuple.Bytea, from == tuple.Bytea && slices.Contains([]uint32{pgtype.JSONOID, pgtype.JSONBOID, pgtype.XMLOID}, to.OID):
		return func(dst, f []byte) ([]byte, error) {
			if err := textOfBytes(f); err != nil {
				return nil, err
			}
			return append(dst, f...), nil
		}
	case to.Text:
		text = textForm(from)
	case from == tuple.Bytea && to.OID != pgtype.ByteaOID:
		text = hex.AppendEncode
	case from == tuple.Bytea, to.OID == pgtype.ByteaOID:
		text = func(dst, f []byte) []byte { return hex.AppendEncode(append(dst, `\x`...), f) }
	case from == tuple.Bool && to.OID != pgtype.BoolOID:
		text = func(dst, f []byte) []byte { return append(dst, '0'+f[0]) }
	case from == tuple.Float4 && to.OID == pgtype.Float8OID:
		text = func(dst, f []byte) []byte {
			return floatText(dst, float64(math.Float32frombits(binary.BigEndian.Uint32(f))), 64)
		}
	case from == tuple.Duration && to.OID != pgtype.IntervalOID && to.OID != pgtype.TimeOID:
		text = textForm(tuple.Int8)
	case from == tuple.Local:
		return localText(to)
	case temporal(to.OID):
		return printed(from, to)
	default:
		text = textForm(from)
	}
	return func(dst, f []byte) ([]byte, error) { return text(dst, f), nil }
}

// localText is the text of times that keep their offset: a type with a time zone
// reads all of it, one without it what the clock shows.
func localText(to Type) convertFunc {
	if temporal(to.OID) {
		return printed(tuple.Local, to)
	}
	return func(dst, f []byte) ([]byte, error) {
		micros, offset, ok := tuple.Clock(f)
		if !ok {
			return nil, errorf(timeRange, "a time is out of range for type %s", to.Name)
		}
		return appendOffset(appendStamp(dst, micros, "-01-02 15:04:05.999999"), offset), nil
	}
}

// textOfText is the text of a text, which is itself. Times and intervals can
// be written in ways that sessions read as different values: they are read
// here, and written in a way that all read alike.
func textOfText(to Type) convertFunc {
	switch {
	case to.Text:
	case temporal(to.OID):
		return printed(tuple.Text, to)
	case to.OID == pgtype.QCharOID: // the server would take the first byte and drop the others
		return func(dst, f []byte) ([]byte, error) {
			if len(f) > 1 {
				return nil, errorf(tooLong, "%s has %d bytes, too long for type %s", Shorten(f), len(f), to.Name)
			}
			return append(dst, f...), nil
		}
	}
	return func(dst, f []byte) ([]byte, error) { return append(dst, f...), nil }
}

// temporal are the types whose texts the server reads by the settings of the
// session, and that have a binary form here.
func temporal(oid uint32) bool {
	switch oid {
	case pgtype.DateOID, pgtype.TimestampOID, pgtype.TimestamptzOID, pgtype.TimeOID, pgtype.TimetzOID, pgtype.IntervalOID:
		return true
	}
	return false
}

// printed makes the text of the binary form, which the pair has.
func printed(from tuple.Type, to Type) convertFunc {
	convert := func(dst, f []byte) ([]byte, error) { return append(dst, f...), nil }
	if !same(from, to.OID) {
		convert = conversion(from, to)
	}
	return func(dst, f []byte) ([]byte, error) {
		var space [16]byte
		b, err := convert(space[:0], f)
		if err != nil {
			return nil, err
		}
		be := binary.BigEndian
		switch to.OID {
		case pgtype.DateOID:
			return dateText(dst, int64(int32(be.Uint32(b)))), nil
		case pgtype.TimestampOID:
			return clockText(dst, int64(be.Uint64(b))), nil
		case pgtype.TimestamptzOID:
			return stampText(dst, int64(be.Uint64(b))), nil
		case pgtype.IntervalOID:
			return intervalText(dst, int32(be.Uint32(b[12:])), int32(be.Uint32(b[8:])), int64(be.Uint64(b))), nil
		}
		dst = intervalText(dst, 0, 0, int64(be.Uint64(b)))
		if to.OID == pgtype.TimetzOID {
			dst = appendOffset(dst, -int(int32(be.Uint32(b[8:]))))
		}
		return dst, nil
	}
}

// appendOffset appends how many seconds a clock is ahead of UTC.
func appendOffset(dst []byte, offset int) []byte {
	if offset >= 0 {
		dst = append(dst, '+')
	}
	return intervalText(dst, 0, 0, int64(offset)*1_000_000)
}

// BySession tells the types whose texts the server reads by the settings of
// the session even after textInput: elements and bounds of arrays, ranges and
// rows that are times or amounts of money, and documents of XML.
func (t Type) BySession() bool {
	switch t.OID {
	case moneyOID, moneyArrayOID, pgtype.XMLOID, pgtype.XMLArrayOID,
		pgtype.DateArrayOID, pgtype.TimestampArrayOID, pgtype.TimestamptzArrayOID, pgtype.TimeArrayOID, pgtype.TimetzArrayOID, pgtype.IntervalArrayOID,
		pgtype.DaterangeOID, pgtype.TsrangeOID, pgtype.TstzrangeOID, pgtype.DaterangeArrayOID, pgtype.TsrangeArrayOID, pgtype.TstzrangeArrayOID,
		pgtype.DatemultirangeOID, pgtype.TsmultirangeOID, pgtype.TstzmultirangeOID,
		pgtype.DatemultirangeArrayOID, pgtype.TsmultirangeArrayOID, pgtype.TstzmultirangeArrayOID:
		return true
	}
	const firstOfUsers = 16384
	return t.OID >= firstOfUsers && t.Parts
}
