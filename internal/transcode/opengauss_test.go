package transcode

import (
	"encoding/binary"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgtype"

	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

// What PostgreSQL has not, and so cannot be asked about.
func TestTypesOfOpenGauss(t *testing.T) {
	be := binary.BigEndian
	tinyint, signed := Type{OID: tinyintOID, Mod: -1, Name: "tinyint"}, Type{OID: tinyintOID, Mod: -1, Name: "tinyint", Signed: true}
	inBytes := Type{OID: pgtype.VarcharOID, Mod: 9, Name: "varchar(5)", Text: true, Bytes: true}
	inCharacters := Type{OID: nvarchar2OID, Mod: 9, Name: "nvarchar2(5)", Text: true, Bytes: true}
	for _, c := range []struct {
		from  tuple.Type
		field []byte
		to    Type
		want  string
		state string
	}{
		{tuple.Int4, be.AppendUint32(nil, 255), tinyint, "\xff", ""},
		{tuple.Int2, be.AppendUint16(nil, 0), tinyint, "\x00", ""},
		{tuple.Bool, []byte{1}, tinyint, "\x01", ""},
		{tuple.Text, []byte("200"), tinyint, "\xc8", ""},
		{tuple.Int8, be.AppendUint64(nil, 256), tinyint, "", outOfRange},
		{tuple.Int2, be.AppendUint16(nil, 0xffff), tinyint, "", outOfRange}, // -1
		{tuple.Int2, be.AppendUint16(nil, 127), signed, "\x7f", ""},
		{tuple.Int2, be.AppendUint16(nil, 128), signed, "", outOfRange},
		{tuple.Text, []byte("größ"), inBytes, "", tooLong},
		{tuple.Text, []byte("abcde  "), inBytes, "abcde  ", ""},
		{tuple.JSON, []byte("\x01\"ß\""), inBytes, `"ß"`, ""},
		{tuple.JSON, []byte("\x01\"ßß\""), inBytes, "", tooLong},
		{tuple.Text, []byte("größe"), inCharacters, "größe", ""},
		{tuple.Text, []byte("größer"), inCharacters, "", tooLong},
	} {
		step, err := New(c.from, c.to)
		if err != nil {
			t.Fatal(err)
		}
		got, err := apply(step, c.field)
		if te := new(Error); c.state != "" && (!errors.As(err, &te) || te.SQLState != c.state) || c.state == "" && (err != nil || string(got) != c.want) {
			t.Errorf("%s % x to %s: % x, %v", c.from, c.field, c.to.Name, got, err)
		}
	}
	for _, name := range []string{"raw", "blob", "smalldatetime"} {
		to := Type{OID: map[string]uint32{"raw": 86, "blob": 88, "smalldatetime": 9003}[name], Mod: -1, Name: name}
		for from, want := range map[tuple.Type]string{
			tuple.Text: "raw blob smalldatetime", tuple.Bytea: "raw blob", tuple.Timestamptz: "smalldatetime", tuple.Local: "smalldatetime", tuple.Int8: "",
		} {
			step, err := New(from, to)
			if taken := strings.Contains(want, name); taken != (err == nil) || err == nil && !step.TextOnly {
				t.Errorf("%s to %s: %+v, %v", from, name, step, err)
			}
		}
	}
}

// The digits of raw and blob are those of the bytes, which a cast through text
// would take for the bytes themselves.
func TestBytesInOpenGauss(t *testing.T) {
	for _, oid := range []uint32{86, 88} {
		step, err := New(tuple.Bytea, Type{OID: oid, Mod: -1, Name: "raw"})
		if err != nil {
			t.Fatal(err)
		}
		if text, err := step.Text(nil, []byte("AB\xff")); err != nil || string(text) != "4142ff" {
			t.Errorf("%q, %v", text, err)
		}
	}
	step, err := New(tuple.Local, Type{OID: 9003, Mod: -1, Name: "smalldatetime"})
	if err != nil {
		t.Fatal(err)
	}
	field, err := tuple.AppendValue(nil, tuple.Local, time.Date(2024, 3, 1, 0, 30, 0, 0, time.FixedZone("", -5400)))
	if err != nil {
		t.Fatal(err)
	}
	if text, err := step.Text(nil, field[4:]); err != nil || string(text) != "2024-03-01 00:30:00-01:30:00" {
		t.Errorf("%q, %v", text, err)
	}
}
