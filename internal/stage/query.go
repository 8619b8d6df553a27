package stage

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"math"
	"time"
)

// Query runs one SELECT statement over the views and returns the whole result.
// Values are nil, int64, float64, string or []byte. Arguments are what
// database/sql takes; a time.Time compares with the timestamps of the views.
//
// The statement runs on a connection of its own (see window), one at a time, and
// reads the store page by page. It sees no row that was staged after it began,
// and none twice in a scan of a view; a row that leaves the store meanwhile may
// be missing from the rest of a scan, or from the next one. When ctx ends, Query
// returns the error of ctx, and the statement ends as soon as SQLite lets it.
func (s *Store) Query(ctx context.Context, query string, args ...any) (columns []string, rows [][]any, err error) {
	q := question{text: query}
	if q.args, err = bind(args); err == nil {
		err = single(query)
	}
	var a *answer
	if err == nil {
		a, err = s.window.run(ctx, s, q)
	}
	switch {
	case errors.Is(err, ErrClosed):
		return nil, nil, ErrClosed
	case err != nil:
		return nil, nil, fmt.Errorf("query staged rows: %w", err)
	}
	return a.columns, a.rows, nil
}

// horizon returns the highest sequence numbers that a query which begins now
// sees in the two views.
func (s *Store) horizon() (staged, failed int64, err error) {
	if err := s.lock(); err != nil {
		return 0, 0, err
	}
	defer s.mu.Unlock()
	err = s.lastFailed.QueryRow().Scan(&failed)
	return s.last, failed, err
}

// bind makes the arguments of a query the driver's.
func bind(args []any) ([]driver.NamedValue, error) {
	named := make([]driver.NamedValue, len(args))
	for i, arg := range args {
		n := driver.NamedValue{Ordinal: i + 1}
		if a, ok := arg.(sql.NamedArg); ok {
			n.Name, arg = a.Name, a.Value
		}
		v, err := driver.DefaultParameterConverter.ConvertValue(arg)
		if t, ok := v.(time.Time); ok && err == nil {
			v, err = timestamp(t)
		}
		if err != nil {
			return nil, fmt.Errorf("argument %d: %w", i+1, err)
		}
		n.Value = v
		named[i] = n
	}
	return named, nil
}

var (
	errReadOnly = errors.New("only a SELECT over the views, with the functions of the list, can be queried")
	errSeveral  = errors.New("several statements: a query is one")
	errNUL      = errors.New("the query contains a NUL character")
)

// single reports an error unless the text is one statement that begins as a
// SELECT does. SQLite's authorizer has a say in what that reads and calls, but
// not in everything else that there is: VACUUM INTO writes a file.
func single(query string) error {
	begun, ended := false, false
	for i := 0; i < len(query); {
		n := space(query[i:])
		switch c := query[i]; {
		case c == 0:
			return errNUL
		case n > 0:
		case c == ';':
			n, ended = 1, true
		case ended:
			return errSeveral
		case !begun:
			if n = word(query[i:]); !selects[fold(query[i:i+n])] {
				return errReadOnly
			}
			begun = true
		default:
			n = token(query[i:])
		}
		i += n
	}
	if !begun {
		return errReadOnly
	}
	return nil
}

var selects = map[string]bool{"select": true, "with": true, "values": true}

// word returns the length of the letters that s begins with.
func word(s string) int {
	n := 0
	for n < len(s) && ('a' <= s[n]|0x20 && s[n]|0x20 <= 'z') {
		n++
	}
	return n
}

// space returns the length of the white space or the comment that s begins with.
func space(s string) int {
	until := func(from int, end string) int {
		for i := from; i < len(s); i++ {
			if s[i] == 0 { // which is for the caller to find
				return i
			}
			if len(s)-i >= len(end) && s[i:i+len(end)] == end {
				return i + len(end)
			}
		}
		return len(s)
	}
	switch {
	case s[0] == ' ' || '\t' <= s[0] && s[0] <= '\r':
		return 1
	case len(s) > 1 && s[:2] == "--":
		return until(2, "\n")
	case len(s) > 1 && s[:2] == "/*":
		return until(2, "*/")
	}
	return 0
}

// token returns the length of the quoted text that s begins with, or else 1. A
// quote that is doubled begins another one, which comes to the same.
func token(s string) int {
	end := s[0]
	switch end {
	case '\'', '"', '`':
	case '[':
		end = ']'
	default:
		return 1
	}
	for i := 1; i < len(s); i++ {
		if s[i] == end {
			return i + 1
		}
		if s[i] == 0 {
			return i
		}
	}
	return len(s)
}

// beforeAll is below every sequence number.
const beforeAll = math.MinInt64
