package tuple

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// FieldError says why a value cannot be stored. Its texts are printable and
// short, whatever the value was.
type FieldError struct {
	Column string
	Field  string // the Go field, "Owner.ID" when embedded
	Key    string // the row's key as KeyString writes it; empty when the fault is in the key itself
	Value  string // shortened; its Go type where only that is known; may be empty
	Reason string
	Err    error // what a method of the value returned, else nil
}

func (e *FieldError) Error() string {
	var b strings.Builder
	if e.Key != "" {
		fmt.Fprintf(&b, "row %s: ", e.Key)
	}
	fmt.Fprintf(&b, "column %q (field %s)", e.Column, e.Field)
	if e.Value != "" {
		fmt.Fprintf(&b, ", value %s", e.Value)
	}
	fmt.Fprintf(&b, ": %s", e.Reason)
	return b.String()
}

func (e *FieldError) Unwrap() error { return e.Err }

// About how many bytes of a value, and of the error of a foreign method, a
// FieldError shows.
const (
	maxShown  = 72
	maxReason = 300
)

// show puts what shorten makes of s in quotes, which are for the eye: a quote
// in s is not escaped.
func show(s string, limit int) string { return "'" + shorten(s, limit) + "'" }

// shorten makes s printable, with Go's escapes, and cuts the middle out of it
// where the result would be more than a few bytes longer than limit. The end of
// a path says more than its middle.
func shorten(s string, limit int) string {
	head := make([]byte, 0, limit)
	i := 0
	for i < len(s) && len(head) < limit*2/3 {
		_, size := utf8.DecodeRuneInString(s[i:])
		head = append(head, escape(s[i:i+size])...)
		i += size
	}
	tail := ""
	j := len(s)
	for j > i && len(tail) < limit/3 {
		_, size := utf8.DecodeLastRuneInString(s[i:j])
		tail = escape(s[j-size:j]) + tail
		j -= size
	}
	if j > i {
		tail = "…" + tail
	}
	return string(head) + tail
}

// escape makes one character, or one byte that is not UTF-8, printable.
func escape(char string) string {
	r, size := utf8.DecodeRuneInString(char)
	if r == utf8.RuneError && size == 1 || !strconv.IsPrint(r) {
		q := strconv.Quote(char)
		return q[1 : len(q)-1]
	}
	return char
}
