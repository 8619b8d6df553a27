package transcode

import (
	"encoding/binary"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgtype"

	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

// Times count microseconds, and dates days, from 2000-01-01. The smallest and
// largest values are the infinities.
const (
	microsPerDay = 24 * 60 * 60 * 1_000_000
	minStamp     = -211_813_488_000_000_000  // 4714-11-24 BC
	endStamp     = 9_223_371_331_200_000_000 // 294277-01-01, exclusive
)

var epoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).Unix()

// appendDate appends the UTC date of a timestamptz.
func appendDate(dst []byte, micros int64) ([]byte, error) {
	days := floorDiv(micros, microsPerDay)
	switch micros {
	case math.MaxInt64:
		days = math.MaxInt32
	case math.MinInt64:
		days = math.MinInt32
	}
	return binary.BigEndian.AppendUint32(dst, uint32(int32(days))), nil
}

// fromClock converts a number of microseconds, by the clock that it was made
// for, to the day or the time of day that this clock shows.
func fromClock(to Type, allowed uint32) convertFunc {
	if to.OID != allowed {
		return nil
	}
	if to.OID == pgtype.DateOID {
		return func(dst, f []byte) ([]byte, error) { return appendDate(dst, int64(binary.BigEndian.Uint64(f))) }
	}
	return func(dst, f []byte) ([]byte, error) {
		return appendTimeOfDay(dst, int64(binary.BigEndian.Uint64(f))), nil
	}
}

func appendTimeOfDay(dst []byte, micros int64) []byte {
	return binary.BigEndian.AppendUint64(dst, uint64(micros-floorDiv(micros, microsPerDay)*microsPerDay))
}

// fromLocal converts times that keep their offset: a column with a time zone
// gets the instant, one without it what the clock shows.
func fromLocal(to Type) convertFunc {
	switch to.OID {
	case pgtype.TimestamptzOID:
		return func(dst, f []byte) ([]byte, error) { return append(dst, tuple.Instant(f)...), nil }
	case pgtype.TimestampOID, pgtype.DateOID, pgtype.TimeOID, pgtype.TimetzOID:
	default:
		return nil
	}
	return func(dst, f []byte) ([]byte, error) {
		micros, offset, ok := tuple.Clock(f)
		switch {
		case !ok:
			return nil, errorf(timeRange, "a time is out of range for type %s", to.Name)
		case to.OID == pgtype.DateOID:
			return appendDate(dst, micros)
		case to.OID == pgtype.TimeOID:
			return appendTimeOfDay(dst, micros), nil
		case to.OID == pgtype.TimetzOID:
			if offset <= -16*3600 || offset >= 16*3600 {
				return nil, errorf(zoneRange, "a zone %d seconds from UTC is out of range for type %s", offset, to.Name)
			}
			return binary.BigEndian.AppendUint32(appendTimeOfDay(dst, micros), uint32(int32(-offset))), nil
		}
		return binary.BigEndian.AppendUint64(dst, uint64(micros)), nil
	}
}

// fromDate converts a date to the timestamp of its first moment.
func fromDate(to Type) convertFunc {
	if to.OID != pgtype.TimestampOID {
		return nil
	}
	return func(dst, f []byte) ([]byte, error) {
		days := int64(int32(binary.BigEndian.Uint32(f)))
		if days < minStamp/microsPerDay || days >= endStamp/microsPerDay {
			return nil, errorf(timeRange, "a date is out of range for type %s", to.Name)
		}
		return binary.BigEndian.AppendUint64(dst, uint64(days*microsPerDay)), nil
	}
}

// fromDuration converts nanoseconds to an interval, cut to microseconds, or to
// the time of day so long after midnight. Numbers are nanoseconds.
func fromDuration(to Type) convertFunc {
	read := func(f []byte) int64 { return int64(binary.BigEndian.Uint64(f)) }
	switch to.OID {
	case pgtype.IntervalOID:
		return func(dst, f []byte) ([]byte, error) {
			return append(binary.BigEndian.AppendUint64(dst, uint64(read(f)/1000)), make([]byte, 8)...), nil
		}
	case pgtype.TimeOID:
		return func(dst, f []byte) ([]byte, error) {
			if micros := read(f) / 1000; micros >= 0 && micros <= microsPerDay && read(f) >= 0 {
				return binary.BigEndian.AppendUint64(dst, uint64(micros)), nil
			}
			return nil, errorf(timeRange, "%v is out of range for type %s", time.Duration(read(f)), to.Name)
		}
	}
	return fromInt(read, to, numbers...)
}

// stampText appends a timestamptz as the server prints it in the UTC zone.
func stampText(dst []byte, micros int64) []byte {
	if micros == math.MaxInt64 || micros == math.MinInt64 {
		return clockText(dst, micros)
	}
	return appendStamp(dst, micros, "-01-02 15:04:05.999999+00")
}

// clockText appends a timestamp as the server prints it.
func clockText(dst []byte, micros int64) []byte {
	switch micros {
	case math.MaxInt64:
		return append(dst, "infinity"...)
	case math.MinInt64:
		return append(dst, "-infinity"...)
	}
	return appendStamp(dst, micros, "-01-02 15:04:05.999999")
}

// dateText appends a date as the server prints it.
func dateText(dst []byte, days int64) []byte {
	switch days {
	case math.MaxInt32:
		return append(dst, "infinity"...)
	case math.MinInt32:
		return append(dst, "-infinity"...)
	}
	return appendYear(dst, time.Unix(epoch+days*24*60*60, 0).UTC(), "-01-02")
}

func appendStamp(dst []byte, micros int64, layout string) []byte {
	seconds := floorDiv(micros, 1_000_000)
	return appendYear(dst, time.Unix(epoch+seconds, (micros-seconds*1_000_000)*1000).UTC(), layout)
}

// appendYear appends the year of t and, by the layout, what follows it.
func appendYear(dst []byte, t time.Time, layout string) []byte {
	year, suffix := t.Year(), ""
	if year <= 0 {
		year, suffix = 1-year, " BC"
	}
	if year < 1000 {
		dst = append(dst, "0000"[:4-len(strconv.Itoa(year))]...)
	}
	dst = strconv.AppendInt(dst, int64(year), 10)
	return append(t.AppendFormat(dst, layout), suffix...)
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

// appendTimeText parses dates and times in ISO 8601 notation:
//
//	2024-02-29  2024-02-29 12:30  2024-02-29T12:30:00.123456+02:00  infinity
//
// with Z or an offset in hours, minutes and seconds, and " BC" at the end. As
// on the server, a type without time or without zone drops that part. A
// timestamptz or timetz without offset is UTC. A time is 12:30 or
// 12:30:00.123456.
func appendTimeText(dst []byte, to Type, f []byte) ([]byte, error) {
	s := strings.TrimSpace(string(f))
	invalid := func() ([]byte, error) {
		return nil, errorf(badTime, "%s is no value of type %s", Shorten(f), to.Name)
	}
	overflow := func() ([]byte, error) {
		return nil, errorf(timeRange, "%s is out of range for type %s", Shorten(f), to.Name)
	}
	if to.OID == pgtype.TimeOID || to.OID == pgtype.TimetzOID {
		micros, rest, ok := cutClock(s)
		offset, zoned := parseOffset(strings.TrimLeft(rest, " "))
		switch {
		case !ok, !zoned, to.OID == pgtype.TimeOID && rest != "":
			return invalid()
		case micros < 0:
			return overflow()
		}
		dst = binary.BigEndian.AppendUint64(dst, uint64(micros))
		if to.OID == pgtype.TimetzOID {
			dst = binary.BigEndian.AppendUint32(dst, uint32(int32(-offset/1_000_000)))
		}
		return dst, nil
	}
	var stamp int64
	switch strings.ToLower(s) {
	case "infinity":
		stamp = math.MaxInt64
	case "-infinity":
		stamp = math.MinInt64
	default:
		p, ok := parseStamp(s)
		if !ok {
			return invalid()
		}
		stamp = p.micros
		if to.OID == pgtype.TimestamptzOID {
			stamp -= p.offset
		}
		if p.overflow || stamp < minStamp || stamp >= endStamp {
			return overflow()
		}
	}
	if to.OID == pgtype.DateOID {
		return appendDate(dst, stamp)
	}
	return binary.BigEndian.AppendUint64(dst, uint64(stamp)), nil
}

type stamp struct {
	micros   int64 // of the clock as written, from 2000-01-01
	offset   int64 // microseconds east of UTC
	overflow bool  // well-formed, but no such date or time
}

func parseStamp(s string) (stamp, bool) {
	s, bc := strings.CutSuffix(s, " BC")
	n := 0
	for n < len(s) && isDigit(s[n]) {
		n++
	}
	if n < 4 || n > 6 || len(s) < n+6 || s[n] != '-' || s[n+3] != '-' {
		return stamp{}, false
	}
	year, err := strconv.Atoi(s[:n])
	month, ok1 := twoDigits(s[n+1:])
	day, ok2 := twoDigits(s[n+4:])
	if err != nil || !ok1 || !ok2 {
		return stamp{}, false
	}
	s = s[n+6:]
	p := stamp{overflow: year == 0 || year > 294276}
	if bc {
		year = 1 - year
	}
	date := time.Date(year, time.Month(month), day, 0, 0, 0, 0, time.UTC)
	p.overflow = p.overflow || date.Month() != time.Month(month) || date.Day() != day
	if s == "" {
		return p.at(date, 0), true
	}
	if s[0] != ' ' && s[0] != 'T' && s[0] != 't' {
		return stamp{}, false
	}
	clock, s, ok := cutClock(strings.TrimLeft(s[1:], " "))
	if !ok {
		return stamp{}, false
	}
	if p.offset, ok = parseOffset(strings.TrimLeft(s, " ")); !ok {
		return stamp{}, false
	}
	p.overflow = p.overflow || clock < 0
	return p.at(date, clock), true
}

// at sets the clock of p, where it is one.
func (p stamp) at(date time.Time, clock int64) stamp {
	if !p.overflow {
		p.micros = (date.Unix()-epoch)*1_000_000 + clock
	}
	return p
}

// cutClock splits HH:MM[:SS[.fraction]] off s. The microseconds are -1 for a
// clock that cannot be.
func cutClock(s string) (micros int64, rest string, ok bool) {
	hour, ok1 := twoDigits(s)
	if !ok1 || len(s) < 5 || s[2] != ':' {
		return 0, "", false
	}
	minute, ok := twoDigits(s[3:])
	if !ok {
		return 0, "", false
	}
	s = s[5:]
	second := 0
	if strings.HasPrefix(s, ":") {
		if second, ok = twoDigits(s[1:]); !ok {
			return 0, "", false
		}
		s = s[3:]
		if strings.HasPrefix(s, ".") {
			n := 1
			for n < len(s) && isDigit(s[n]) {
				n++
			}
			frac, err := strconv.ParseFloat("0"+s[:n], 64)
			if err != nil {
				return 0, "", false
			}
			micros, s = int64(math.RoundToEven(frac*1e6)), s[n:]
		}
	}
	micros += int64(hour*3600+minute*60+second) * 1_000_000
	if minute > 59 || second > 60 || micros > microsPerDay {
		micros = -1
	}
	return micros, s, true
}

// parseOffset reads what may follow the clock: nothing, Z, +HH, +HHMM, +HH:MM
// or +HH:MM:SS. The result is in microseconds.
func parseOffset(s string) (int64, bool) {
	if s == "" || s == "Z" || s == "z" {
		return 0, true
	}
	sign := int64(1)
	switch s[0] {
	case '-':
		sign = -1
	case '+':
	default:
		return 0, false
	}
	if s = s[1:]; s == "" {
		return 0, false
	}
	var seconds int64
	for unit := int64(3600); s != ""; unit /= 60 {
		n, ok := twoDigits(s)
		if !ok || unit == 0 || unit < 3600 && n > 59 || n > 15 && unit == 3600 {
			return 0, false
		}
		seconds += int64(n) * unit
		if s = s[2:]; strings.HasPrefix(s, ":") {
			if s = s[1:]; s == "" {
				return 0, false
			}
		}
	}
	return sign * seconds * 1_000_000, true
}

func twoDigits(s string) (int, bool) {
	if len(s) < 2 || !isDigit(s[0]) || !isDigit(s[1]) {
		return 0, false
	}
	return int(s[0]-'0')*10 + int(s[1]-'0'), true
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
