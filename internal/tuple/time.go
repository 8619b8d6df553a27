package tuple

import (
	"encoding/binary"
	"strconv"
	"time"
)

// Times are counted in microseconds from 2000-01-01, dates in days. A Local
// field has the microseconds of the instant and, unless its clock is that of
// UTC, the seconds by which its clock is ahead of it.
const (
	minMicros = -211813488000000000 // 4714-11-24 BC, the first that PostgreSQL has
	endMicros = 9223371331200000000 // 294277-01-01, the first timestamp that it has not
	minDay    = minMicros / microsPerDay
	endDay    = 2145031949 // 5874898-01-01, the first date that it has not
	pgEpoch   = 946684800  // 2000-01-01 in seconds from 1970

	microsPerDay = 24 * 60 * 60 * 1_000_000

	// endOffset is the first number of seconds east of UTC that a Local cannot
	// have: its text has two digits for the hours.
	endOffset = 100 * 60 * 60
	// localSize is the length of a Local field with an offset.
	localSize = 12
)

// clock is what a time shows: microseconds from 2000-01-01 by the clock of its
// zone, and how many seconds that is ahead of UTC.
type clock struct {
	micros int64
	offset int
}

// instant is the microseconds from 2000-01-01 UTC.
func (c clock) instant() int64 { return c.micros - int64(c.offset)*1e6 }

// microseconds cuts t to what timestamptz holds of it: towards the past, as
// pgx does.
func microseconds(t time.Time) (us int64, ok bool) { return microsOfClock(t, 0) }

// microsOfClock is microseconds by a clock that is ahead of UTC.
func microsOfClock(t time.Time, offset int) (us int64, ok bool) {
	sec := t.Unix() + int64(offset)
	if sec < minMicros/1e6+pgEpoch || sec >= endMicros/1e6+pgEpoch {
		return 0, false
	}
	return (sec-pgEpoch)*1e6 + int64(t.Nanosecond()/1000), true
}

// timeOf is the inverse of microseconds, in UTC.
func timeOf(us int64) (t time.Time, ok bool) {
	if us < minMicros || us >= endMicros {
		return time.Time{}, false
	}
	sec, rest := us/1e6, us%1e6
	return time.Unix(sec+pgEpoch, rest*1000).UTC(), true
}

// Instant returns the part of a Timestamptz or Local field that timestamptz
// columns take.
func Instant(field []byte) []byte { return field[:min(8, len(field))] }

// Clock returns what the clock of a Local field shows, in microseconds from
// 2000-01-01, and how many seconds it is ahead of UTC. ok is false for a field
// that Append does not make, and for a clock outside the range of timestamp.
func Clock(field []byte) (micros int64, offset int, ok bool) {
	c, ok := clockOf(field)
	return c.micros, c.offset, ok && c.micros >= minMicros && c.micros < endMicros
}

func clockOf(field []byte) (c clock, ok bool) {
	switch len(field) {
	case 8:
		c.micros = integer(field)
	case localSize:
		c.offset = int(int32(binary.BigEndian.Uint32(field[8:])))
		if c.offset == 0 || c.offset <= -endOffset || c.offset >= endOffset {
			return c, false
		}
		c.micros = integer(field[:8])
	default:
		return c, false
	}
	if c.micros < minMicros || c.micros >= endMicros {
		return c, false
	}
	c.micros += int64(c.offset) * 1e6
	return c, true
}

// localTime is the time of a Local field, in a zone of its offset.
func localTime(field []byte) (time.Time, error) {
	c, ok := clockOf(field)
	if !ok {
		return time.Time{}, malformed("no time with an offset: %x", field)
	}
	t, _ := timeOf(c.instant())
	if c.offset != 0 {
		t = t.In(time.FixedZone("", c.offset))
	}
	return t, nil
}

// isTime tells the types whose Go value is a time.
func (t Type) isTime() bool { return t == Timestamptz || t == Local || t == Timestamp || t == Date }

func appendTime(dst []byte, typ Type, t time.Time) ([]byte, *FieldError) {
	offset := 0
	if typ != Timestamptz {
		_, offset = t.Zone()
	}
	switch typ {
	case Date:
		day := floorDiv(t.Unix()+int64(offset)-pgEpoch, 24*60*60)
		if day < minDay || day >= endDay {
			return timeFault(dst, t, "date, 4714-11-24 BC to 5874897 AD")
		}
		return appendInt4(dst, int32(day)), nil
	case Timestamp:
		us, ok := microsOfClock(t, offset)
		if !ok {
			return timeFault(dst, t, "timestamp, 4714-11-24 BC to 294276 AD")
		}
		return appendInt8(dst, us), nil
	}
	us, ok := microseconds(t)
	switch {
	case !ok:
		return timeFault(dst, t, "timestamptz, 4714-11-24 BC to 294276 AD")
	case offset <= -endOffset || offset >= endOffset:
		return timeFault(dst, t, "zones, 100 hours from UTC")
	case offset == 0:
		return appendInt8(dst, us), nil
	}
	dst = binary.BigEndian.AppendUint64(appendLen(dst, localSize), uint64(us))
	return binary.BigEndian.AppendUint32(dst, uint32(int32(offset))), nil
}

func timeFault(dst []byte, t time.Time, limits string) ([]byte, *FieldError) {
	return dst, &FieldError{
		Value:  strconv.FormatInt(t.Unix(), 10) + " seconds from 1970",
		Reason: "outside the range of " + limits,
	}
}

// timeValue is the inverse of appendTime: the time of a field that has a
// length of its type, in UTC where that keeps no offset.
func timeValue(typ Type, field []byte) (time.Time, error) {
	switch typ {
	case Local:
		if len(field) != 8 {
			return localTime(field)
		}
	case Date:
		day := integer(field)
		if day < minDay || day >= endDay {
			return time.Time{}, malformed("%d is outside the range of date", day)
		}
		return time.Unix(day*24*60*60+pgEpoch, 0).UTC(), nil
	}
	t, ok := timeOf(integer(field))
	if !ok {
		return t, malformed("%d is outside the range of %v", integer(field), typ)
	}
	return t, nil
}

// AppendTimeText appends the text of a field of a time type:
//
//	timestamptz               2006-01-02 15:04:05.000000+00:00
//	timestamptz with offset   2006-01-02 15:04:05.000000+07:00
//	timestamp                 2006-01-02 15:04:05.000000
//	date                      2006-01-02
//
// The texts of a type sort as their times do from year 0 to 9999, where the
// offset is the same; other years have a sign or more digits.
func AppendTimeText(dst []byte, typ Type, field []byte) ([]byte, error) {
	if size := fixedSize[typ]; size != 0 && len(field) != size {
		return dst, malformed("%d bytes of %v, want %d", len(field), typ, size)
	}
	if _, err := timeValue(typ, field); err != nil {
		return dst, err
	}
	switch typ {
	case Date:
		return appendDay(dst, integer(field)), nil
	case Timestamp:
		return appendClock(dst, integer(field)), nil
	}
	c := clock{micros: integer(Instant(field))}
	if typ == Local {
		c, _ = clockOf(field)
	}
	return appendOffset(appendClock(dst, c.micros), c.offset), nil
}

// appendDay appends the date of a day.
func appendDay(dst []byte, day int64) []byte {
	year, month, dom := civil(day)
	if year < 0 {
		dst = append(dst, '-')
		year = -year
	}
	if year <= 9999 {
		dst = appendPair(appendPair(dst, year/100), year%100)
	} else {
		dst = strconv.AppendInt(dst, year, 10)
	}
	dst = appendPair(append(dst, '-'), month)
	return appendPair(append(dst, '-'), dom)
}

// appendClock appends date and time.
func appendClock(dst []byte, micros int64) []byte {
	day := floorDiv(micros, microsPerDay)
	us := micros - day*microsPerDay
	dst = appendDay(dst, day)
	sec := us / 1_000_000
	us -= sec * 1_000_000
	dst = appendPair(append(dst, ' '), sec/3600)
	dst = appendPair(append(dst, ':'), sec/60%60)
	dst = appendPair(append(dst, ':'), sec%60)
	dst = appendPair(append(dst, '.'), us/10000)
	dst = appendPair(dst, us/100%100)
	return appendPair(dst, us%100)
}

// appendOffset appends +07:00, and seconds where there are some, as in zones
// of the time before railways.
func appendOffset(dst []byte, offset int) []byte {
	sign := byte('+')
	if offset < 0 {
		sign, offset = '-', -offset
	}
	dst = appendPair(append(dst, sign), int64(offset/3600))
	dst = appendPair(append(dst, ':'), int64(offset/60%60))
	if s := offset % 60; s != 0 {
		dst = appendPair(append(dst, ':'), int64(s))
	}
	return dst
}

func appendPair(dst []byte, n int64) []byte { return append(dst, byte('0'+n/10), byte('0'+n%10)) }

// civil returns the date of a day counted from 2000-01-01, in the Gregorian
// calendar. It counts in eras of 400 years, which all have the same number of
// days, from a 1st of March, so that the leap day is the last of a year.
func civil(day int64) (year, month, dom int64) {
	const daysPerEra, eraStart = 146097, 730425 // eraStart: days from 0000-03-01 to 2000-01-01
	day += eraStart
	era := floorDiv(day, daysPerEra)
	day -= era * daysPerEra
	inEra := (day - day/1460 + day/36524 - day/146096) / 365
	day -= 365*inEra + inEra/4 - inEra/100
	m := (5*day + 2) / 153 // months from March
	dom = day - (153*m+2)/5 + 1
	year, month = inEra+era*400, m+3
	if month > 12 {
		year, month = year+1, month-12
	}
	return year, month, dom
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

// ParseTimeText is the inverse of AppendTimeText and takes nothing else.
func ParseTimeText(typ Type, s string) (t time.Time, ok bool) {
	day, rest := s, ""
	if typ != Date {
		const dayEnd = len("-01-02")
		i := dayEnd + 4
		for i < len(s) && s[i] != ' ' {
			i++
		}
		day, rest = s[:min(i, len(s))], s[min(i, len(s)):]
	}
	n := len(day) - len("-01-02")
	if n < 4 || n > 7 {
		return t, false
	}
	year, err := strconv.Atoi(day[:n])
	pair := func(s string, i int) int { return int(s[i]-'0')*10 + int(s[i+1]-'0') }
	if err != nil {
		return t, false
	}
	zone, hour, minute, sec, us := time.UTC, 0, 0, 0, 0
	if typ != Date {
		const clockEnd = len(" 15:04:05.000000")
		if len(rest) < clockEnd {
			return t, false
		}
		hour, minute, sec = pair(rest, 1), pair(rest, 4), pair(rest, 7)
		us = pair(rest, 10)*10000 + pair(rest, 12)*100 + pair(rest, 14)
		if rest = rest[clockEnd:]; typ == Local && len(rest) >= len("+07:00") {
			offset := pair(rest, 1)*3600 + pair(rest, 4)*60
			if len(rest) == len("+07:00:00") {
				offset += pair(rest, 7)
			}
			if rest[0] == '-' {
				offset = -offset
			}
			if offset != 0 {
				zone = time.FixedZone("", offset)
			}
		}
	}
	t = time.Date(year, time.Month(pair(day, n+1)), pair(day, n+4), hour, minute, sec, us*1000, zone)
	var buf [64]byte
	field, fault := appendTime(buf[:0], typ, t)
	if fault != nil {
		return t, false
	}
	again, err := AppendTimeText(nil, typ, field[4:])
	return t, err == nil && string(again) == s
}
