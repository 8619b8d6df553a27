package dump

import (
	"strconv"
	"time"
)

// Times are texts in the form 2006-01-02 15:04:05.000000+00:00, as tuple.Value
// makes them, here from the microseconds since 2000-01-01 that a tuple has.
const (
	minMicros = -211813488000000000 // 4714-11-24 BC, the first that timestamptz has
	endMicros = 9223371331200000000 // 294277-01-01, the first that it has not
	epoch     = 946684800           // 2000-01-01 in seconds from 1970

	microsPerDay = 24 * 60 * 60 * 1_000_000

	// Length of a text after its year, of which some have a sign or more
	// digits than four.
	afterYear = len("-01-02 15:04:05.000000+00:00")
)

func appendTime(dst []byte, micros int64) []byte {
	day := floorDiv(micros, microsPerDay)
	us := micros - day*microsPerDay
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
	dst = appendPair(append(dst, '-'), dom)
	sec := us / 1_000_000
	us -= sec * 1_000_000
	dst = appendPair(append(dst, ' '), sec/3600)
	dst = appendPair(append(dst, ':'), sec/60%60)
	dst = appendPair(append(dst, ':'), sec%60)
	dst = appendPair(append(dst, '.'), us/10000)
	dst = appendPair(dst, us/100%100)
	dst = appendPair(dst, us%100)
	return append(dst, "+00:00"...)
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

// microsOf cuts t to what a tuple has of it. Far outside its range, the result
// is of no use.
func microsOf(t time.Time) int64 { return (t.Unix()-epoch)*1e6 + int64(t.Nanosecond()/1000) }

// parseTime is the inverse of appendTime: whatever is not written in exactly
// that way, is no time.
func parseTime(s string) (time.Time, bool) {
	n := len(s) - afterYear
	if n < 4 || n > 7 {
		return time.Time{}, false
	}
	year, err := strconv.Atoi(s[:n])
	if err != nil {
		return time.Time{}, false
	}
	pair := func(i int) int { return int(s[n+i]-'0')*10 + int(s[n+i+1]-'0') }
	us := pair(16)*10000 + pair(18)*100 + pair(20)
	t := time.Date(year, time.Month(pair(1)), pair(4), pair(7), pair(10), pair(13), us*1000, time.UTC)
	micros := microsOf(t)
	var b [40]byte
	return t, micros >= minMicros && micros < endMicros && string(appendTime(b[:0], micros)) == s
}
