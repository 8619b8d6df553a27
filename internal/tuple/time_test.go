package tuple

import (
	"bytes"
	"database/sql"
	"encoding/binary"
	"math"
	"strconv"
	"testing"
	"time"
)

// zoned has a time in each of the ways in which a tag can ask for it.
type zoned struct {
	Key     time.Time    `db:"k,key"`
	Plain   time.Time    `db:"plain"`
	Instant *time.Time   `db:"instant,type=timestamp(3) with time zone"`
	Wall    sql.NullTime `db:"wall,type=timestamp(0)"`
	Day     time.Time    `db:"day,type=date,nullzero"`
	Clock   time.Time    `db:"clock,type=time"`
}

func TestTimeKeepsWhatItShows(t *testing.T) {
	c := codecOf[zoned](t)
	fields := c.Fields()
	berlin := time.FixedZone("", 3600)
	at := time.Date(2024, 3, 1, 0, 30, 0, 123456000, berlin)
	row := zoned{at, at, &at, sql.NullTime{Time: at, Valid: true}, at, at}
	tup := appended(t, c, row)
	for i, want := range []struct {
		typ  Type
		sql  string
		text string
	}{
		{Local, "timestamptz", "2024-02-29 23:30:00.123456+00:00"},
		{Local, "timestamptz", "2024-03-01 00:30:00.123456+01:00"},
		{Timestamptz, "timestamp(3) with time zone", "2024-02-29 23:30:00.123456+00:00"},
		{Timestamp, "timestamp(0)", "2024-03-01 00:30:00.123456"},
		{Date, "date", "2024-03-01"},
		{Timestamp, "time", "2024-03-01 00:30:00.123456"},
	} {
		value, _ := Field(tup, i)
		text, err := Value(want.typ, value)
		if fields[i].Type != want.typ || fields[i].SQL != want.sql || err != nil || text != want.text {
			t.Errorf("%v %q %v %v, want %v", fields[i].Type, fields[i].SQL, text, err, want)
		}
	}
	var got zoned
	if err := c.Decode(tup, &got); err != nil {
		t.Fatal(err)
	}
	if !got.Plain.Equal(at) || got.Plain.Format(time.DateTime) != at.Format(time.DateTime) {
		t.Errorf("%v came back as %v", at, got.Plain)
	}
	if again := appended(t, c, zoned{got.Key, got.Plain, got.Instant, got.Wall, got.Day, got.Clock}); !bytes.Equal(again, tup) {
		t.Errorf("%x\nbecame %x", tup, again)
	}
}

// Equal instants of two zones are one key.
func TestKeyIsTheInstant(t *testing.T) {
	type row struct {
		At time.Time `db:"at,key"`
	}
	c := codecOf[row](t)
	at := time.Date(2024, 3, 1, 0, 30, 0, 0, time.FixedZone("", 3600))
	if a, b := appended(t, c, row{at}), appended(t, c, row{at.UTC()}); !bytes.Equal(a, b) || !Plain(a) {
		t.Errorf("%x and %x", a, b)
	}
}

func TestMarkTellsOffsets(t *testing.T) {
	type row struct {
		A, B time.Time `db:"-"`
		C    time.Time `db:"c"`
		D    time.Time `db:"d,nullzero"`
	}
	c := codecOf[row](t)
	utc, east := time.Unix(0, 0).UTC(), time.Unix(0, 0).In(time.FixedZone("", 53*60+28))
	for _, tc := range []struct {
		row   row
		plain bool
	}{{row{C: utc}, true}, {row{C: utc, D: utc}, true}, {row{C: east}, false}, {row{C: utc, D: east}, false}} {
		tup := appended(t, c, tc.row)
		if Plain(tup) != tc.plain || len(Fields(tup)) != len(tup)-2 {
			t.Errorf("%x is plain: %v", tup, Plain(tup))
		}
		wrong := bytes.Clone(tup)
		wrong[0] ^= localBit
		if err := c.Decode(wrong, new(row)); err == nil {
			t.Errorf("%x is decoded", wrong)
		}
		Mark(wrong, c.Columns())
		if !bytes.Equal(wrong, tup) {
			t.Errorf("%x is marked as %x", tup, wrong)
		}
	}
}

func TestOffsetsOutOfRange(t *testing.T) {
	type row struct {
		At time.Time `db:"at"`
	}
	c := codecOf[row](t)
	for _, offset := range []int{endOffset, -endOffset, math.MaxInt32} {
		if _, err := c.Append(nil, &row{time.Unix(0, 0).In(time.FixedZone("", offset))}); err == nil {
			t.Errorf("an offset of %d seconds is taken", offset)
		}
	}
	for _, field := range [][]byte{
		binary.BigEndian.AppendUint32(make([]byte, 8), 0),
		binary.BigEndian.AppendUint32(make([]byte, 8), endOffset),
		make([]byte, 7), make([]byte, 13),
	} {
		if _, err := Value(Local, field); err == nil {
			t.Errorf("%x is a time", field)
		}
	}
}

// The texts are those of time.Format, as far as that goes, and read back as
// the same bytes.
func FuzzTimeText(f *testing.F) {
	for _, us := range []int64{0, -1, minMicros, endMicros - 1, minMicros - 1, endMicros, math.MinInt64, math.MaxInt64, -63082281600000000} {
		f.Add(us, int32(0))
		f.Add(us, int32(-3600))
		f.Add(us, int32(53*60+28))
		f.Add(us, int32(endOffset))
	}
	layouts := map[Type]string{
		Timestamptz: "-01-02 15:04:05.000000-07:00", Timestamp: "-01-02 15:04:05.000000", Date: "-01-02",
	}
	f.Fuzz(func(t *testing.T, us int64, offset int32) {
		field := binary.BigEndian.AppendUint64(nil, uint64(us))
		roundTripField(t, Timestamptz, field)
		roundTripField(t, Timestamp, field)
		roundTripField(t, Local, field)
		roundTripField(t, Date, field[:4])
		roundTripField(t, Local, binary.BigEndian.AppendUint32(field, uint32(offset)))
		at, ok := timeOf(us)
		if !ok {
			return
		}
		year := strconv.Itoa(at.Year())
		if at.Year() >= 0 && at.Year() < 1000 {
			year = "0000"[len(year):] + year
		} else if at.Year() < 0 && at.Year() > -1000 {
			year = "-" + "0000"[len(year)-1:] + year[1:]
		}
		for typ, layout := range layouts {
			value, fault := appendTime(nil, typ, at)
			if fault != nil {
				t.Fatalf("%v: %v", typ, fault)
			}
			text, err := Value(typ, value[4:])
			if want := year + at.Format(layout); err != nil || text != want {
				t.Errorf("%v %d: %v, %v, want %s", typ, us, text, err, want)
			}
		}
	})
}
