package transcode

import (
	"encoding/binary"
	"math"
	"strconv"
	"strings"
)

// interval is months, days and microseconds, which the server keeps apart.
type interval struct{ months, days, micros int64 }

const (
	microsPerHour = microsPerDay / 24
	daysPerMonth  = 30 // of a fraction of a month
)

// units are what the server's notations call the parts of an interval.
var units = map[string]interval{
	"microsecond": {micros: 1}, "us": {micros: 1}, "usec": {micros: 1},
	"millisecond": {micros: 1000}, "ms": {micros: 1000}, "msec": {micros: 1000},
	"second": {micros: 1e6}, "s": {micros: 1e6}, "sec": {micros: 1e6},
	"minute": {micros: 60e6}, "m": {micros: 60e6}, "min": {micros: 60e6},
	"hour": {micros: microsPerHour}, "h": {micros: microsPerHour}, "hr": {micros: microsPerHour},
	"day": {days: 1}, "d": {days: 1},
	"week": {days: 7}, "w": {days: 7},
	"month": {months: 1}, "mon": {months: 1},
	"year": {months: 12}, "y": {months: 12}, "yr": {months: 12},
	"decade": {months: 120}, "dec": {months: 120},
	"century": {months: 1200}, "c": {months: 1200}, "cent": {months: 1200},
	"millennium": {months: 12000}, "mil": {months: 12000},
}

// plurals are those that are more than an s.
var plurals = map[string]string{"centurie": "century", "millennia": "millennium"}

// add adds n of a unit, which has one part. As on the server, a fraction of a
// month counts in days and a fraction of a day in microseconds. ok is false if
// the sum is too large.
func (v *interval) add(n number, of interval) (ok bool) {
	switch {
	case of.months == 1:
		days := n.fraction * daysPerMonth
		return sum(&v.months, n.whole, 1) && v.addDays(days)
	case of.months != 0:
		return sum(&v.months, n.whole, of.months) && sum(&v.months, int64(math.RoundToEven(n.fraction*float64(of.months))), 1)
	case of.days != 0:
		return sum(&v.days, n.whole, of.days) && v.addDays(n.fraction*float64(of.days))
	}
	return sum(&v.micros, n.whole, of.micros) && sum(&v.micros, int64(math.RoundToEven(n.fraction*float64(of.micros))), 1)
}

func (v *interval) addDays(days float64) bool {
	whole := math.Trunc(days)
	return sum(&v.days, int64(whole), 1) && sum(&v.micros, int64(math.RoundToEven((days-whole)*microsPerDay)), 1)
}

// sum adds n times of to total, unless that is more than it can hold.
func sum(total *int64, n, of int64) bool {
	product := n * of
	if of != 0 && product/of != n || (product > 0 && *total > math.MaxInt64-product) || (product < 0 && *total < math.MinInt64-product) {
		return false
	}
	*total += product
	return true
}

// append appends the binary form.
func (v *interval) append(dst []byte) ([]byte, bool) {
	if v.months != int64(int32(v.months)) || v.days != int64(int32(v.days)) {
		return nil, false
	}
	dst = binary.BigEndian.AppendUint64(dst, uint64(v.micros))
	dst = binary.BigEndian.AppendUint32(dst, uint32(int32(v.days)))
	return binary.BigEndian.AppendUint32(dst, uint32(int32(v.months))), true
}

// appendInterval takes what the server prints in any of its styles but that of
// the SQL standard, with each sign for the one number behind it:
//
//	1 year 2 mons -3 days 04:05:06.7
//	@ 1 year 2 mons -3 days 4 hours 5 mins 6.7 secs ago
//	P1Y2M-3DT4H5M6.7S
func appendInterval(dst []byte, s string) ([]byte, bool) {
	var v interval
	var ok bool
	if rest, iso := strings.CutPrefix(s, "P"); iso {
		ok = v.parseISO(rest)
	} else {
		ok = v.parseWords(strings.ToLower(s))
	}
	if !ok {
		return nil, false
	}
	return v.append(dst)
}

// parseISO takes numbers, each with the letter of its unit.
func (v *interval) parseISO(s string) bool {
	date, clock, hasClock := strings.Cut(s, "T")
	if s == "" || hasClock && clock == "" {
		return false
	}
	return v.parseLetters(date, map[byte]string{'Y': "year", 'M': "month", 'W': "week", 'D': "day"}) &&
		v.parseLetters(clock, map[byte]string{'H': "hour", 'M': "minute", 'S': "second"})
}

func (v *interval) parseLetters(s string, letters map[byte]string) bool {
	for s != "" {
		n, rest, ok := cutNumber(s)
		if !ok || rest == "" {
			return false
		}
		unit, known := letters[rest[0]]
		if !known || !v.add(n, units[unit]) {
			return false
		}
		s = rest[1:]
	}
	return true
}

// parseWords takes numbers, each with the word of its unit, and at the end
// a time of any length.
func (v *interval) parseWords(s string) bool {
	s = strings.TrimSpace(strings.TrimPrefix(s, "@"))
	s, ago := strings.CutSuffix(s, " ago")
	if s == "" {
		return false
	}
	for s != "" {
		if v.parseClock(s) {
			break
		}
		n, rest, ok := cutNumber(s)
		rest = strings.TrimLeft(rest, " ")
		end := 0
		for end < len(rest) && 'a' <= rest[end] && rest[end] <= 'z' {
			end++
		}
		unit, known := unitOf(rest[:end])
		if !ok || !known && !(rest == "" && n == number{}) || !v.add(n, unit) {
			return false
		}
		s = strings.TrimLeft(rest[end:], " ")
	}
	if ago {
		v.months, v.days, v.micros = -v.months, -v.days, -v.micros
	}
	return true
}

func unitOf(word string) (interval, bool) {
	if u, ok := units[word]; ok {
		return u, true
	}
	if singular, ok := plurals[word]; ok {
		word = singular
	} else if word = strings.TrimSuffix(word, "s"); plurals[word] != "" {
		word = plurals[word]
	}
	u, ok := units[word]
	return u, ok
}

// parseClock takes HH:MM or HH:MM:SS.fraction with any number of hours, and
// its sign for all of it. It changes nothing where s is something else.
func (v *interval) parseClock(s string) bool {
	digits := strings.TrimLeft(s, "+-")
	if len(s)-len(digits) > 1 {
		return false
	}
	parts := strings.Split(digits, ":")
	if len(parts) < 2 || len(parts) > 3 {
		return false
	}
	var c interval
	for i, part := range parts {
		n, rest, ok := cutNumber(part)
		switch {
		case !ok, rest != "", !isDigit(part[0]), i < 2 && n.fraction != 0, i > 0 && n.whole > 60, i == 1 && n.whole == 60:
			return false
		}
		if !c.add(n, interval{micros: []int64{microsPerHour, 60e6, 1e6}[i]}) {
			return false
		}
	}
	if strings.HasPrefix(s, "-") {
		c.micros = -c.micros
	}
	return sum(&v.micros, c.micros, 1)
}

// number is a decimal number; both parts have its sign.
type number struct {
	whole    int64
	fraction float64
}

// cutNumber splits a decimal number off s.
func cutNumber(s string) (n number, rest string, ok bool) {
	end := 0
	for end < len(s) && (isDigit(s[end]) || s[end] == '.' || end == 0 && (s[0] == '-' || s[0] == '+')) {
		end++
	}
	whole, fraction, _ := strings.Cut(s[:end], ".")
	sign := strings.TrimRight(whole, "0123456789")
	var err, ferr error
	if whole != sign || fraction == "" {
		n.whole, err = strconv.ParseInt(whole, 10, 64)
	}
	if fraction != "" {
		n.fraction, ferr = strconv.ParseFloat(sign+"0."+fraction, 64)
	}
	return n, s[end:], err == nil && ferr == nil
}

// intervalText appends an interval as the server prints it in its own style,
// which every style reads alike: after a negative part each has a sign.
func intervalText(dst []byte, months, days int32, micros int64) []byte {
	start := len(dst)
	negative := false
	part := func(n int64, unit string) {
		if n == 0 {
			return
		}
		if len(dst) > start {
			dst = append(dst, ' ')
		}
		if negative && n > 0 {
			dst = append(dst, '+')
		}
		negative = n < 0
		dst = strconv.AppendInt(dst, n, 10)
		dst = append(append(dst, ' '), unit...)
		if n != 1 {
			dst = append(dst, 's')
		}
	}
	part(int64(months/12), "year")
	part(int64(months%12), "mon")
	part(int64(days), "day")
	if micros == 0 && len(dst) > start {
		return dst
	}
	if len(dst) > start {
		dst = append(dst, ' ')
	}
	abs := uint64(micros)
	switch {
	case micros < 0:
		dst, abs = append(dst, '-'), -abs
	case negative:
		dst = append(dst, '+')
	}
	seconds := abs / 1_000_000
	if seconds/3600 < 10 {
		dst = append(dst, '0')
	}
	dst = strconv.AppendUint(dst, seconds/3600, 10)
	for _, n := range []uint64{seconds / 60 % 60, seconds % 60} {
		dst = append(dst, ':', byte('0'+n/10), byte('0'+n%10))
	}
	if rest := abs % 1_000_000; rest != 0 {
		digits := strconv.FormatUint(1_000_000+rest, 10)[1:]
		dst = append(append(dst, '.'), strings.TrimRight(digits, "0")...)
	}
	return dst
}
