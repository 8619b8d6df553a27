package tuple

import (
	"fmt"
	"regexp"
	"strings"
)

// tag is what stands behind the name of a column in a db tag.
type tag struct {
	key, insertOnly, passive, nullZero, omitNil, json bool

	sql  string // the option type
	base string // the same as PostgreSQL's short name, without length and precision
}

func parseTag(options string) (t tag, err error) {
	for options != "" {
		var option string
		option, options = cutOption(options)
		switch name, value, given := strings.Cut(option, "="); {
		case given && name == "type":
			if !sqlType.MatchString(value) {
				return t, fmt.Errorf("option %q: that is no name of a type", option)
			}
			t.sql, t.base = value, baseType(value)
		case option == "key":
			t.key = true
		case option == "insertonly":
			t.insertOnly = true
		case option == "passive":
			t.passive = true
		case option == "nullzero":
			t.nullZero = true
		case option == "omitnil":
			t.omitNil = true
		case option == "json":
			t.json = true
		default:
			return t, fmt.Errorf("unknown option %q; there are key, insertonly, passive, nullzero, omitnil, json and type", option)
		}
	}
	return t, nil
}

// cutOption splits options at the first comma that is not inside parentheses.
func cutOption(options string) (first, rest string) {
	depth := 0
	for i := range len(options) {
		switch options[i] {
		case '(':
			depth++
		case ')':
			depth--
		case ',':
			if depth <= 0 {
				return options[:i], options[i+1:]
			}
		}
	}
	return options, ""
}

// sqlType is what can stand for a type in CREATE TABLE: words, a length, array
// bounds, and names in quotes.
var sqlType = regexp.MustCompile(`^(?:[\pL_][\pL\pN_$]*|"(?:[^"\x00]|"")+")(?:[ .](?:[\pL_][\pL\pN_$]*|"(?:[^"\x00]|"")+"))*` +
	`(?: ?\( ?[\pL\pN_]+(?: ?, ?-?[\pL\pN_]+)* ?\))?(?: [a-z ]+)?(?: ?\[\d*\])*$`)

var (
	parenthesis = regexp.MustCompile(` ?\([^)]*\)`)
	longNames   = map[string]string{
		"timestamp with time zone": "timestamptz", "timestamp without time zone": "timestamp",
		"time without time zone": "time", "time with time zone": "timetz",
		"bigint": "int8", "decimal": "numeric", "number": "numeric",
	}
)

// baseType is the short name of a type, without its length.
func baseType(sql string) string {
	base := strings.ToLower(parenthesis.ReplaceAllString(sql, ""))
	if short, ok := longNames[base]; ok {
		return short
	}
	return base
}

// timeType is the type of a time.Time.
func (t *tag) timeType() Type {
	switch t.base {
	case "date":
		return Date
	case "timestamp", "time":
		return Timestamp
	case "timestamptz":
		return Timestamptz
	}
	return Local
}
