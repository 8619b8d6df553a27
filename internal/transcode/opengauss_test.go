package transcode

import (
	"encoding/binary"
	"errors"
	"testing"

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
		for _, from := range []tuple.Type{tuple.Text, tuple.Bytea, tuple.Timestamptz, tuple.Int8} {
			if _, err := New(from, to); err == nil {
				t.Errorf("%s to %s: no error", from, name)
			}
		}
	}
}
