package stage

import (
	"bytes"
	"context"
	"database/sql/driver"
	"errors"
	"strconv"
	"strings"
	"unicode/utf8"

	"modernc.org/sqlite"
)

// authorize is asked by SQLite, while a statement is prepared, for everything
// that it does: a query selects from the two views by functions of the list.
func (w *window) authorize(action sqlite.AuthorizerActionCode, first, second, _, within string) sqlite.AuthorizerReturnCode {
	if !w.asked || w.allow(action, first, second, within) {
		return sqlite.AuthorizerOK
	}
	w.denied = true
	return sqlite.AuthorizerDeny
}

func (w *window) allow(action sqlite.AuthorizerActionCode, first, second, within string) bool {
	switch action {
	case sqlite.AuthSelect:
		w.selects = true
		return true
	case sqlite.AuthRecursive:
		return true
	case sqlite.AuthRead:
		return w.readable(fold(first), second, fold(within))
	case sqlite.AuthFunction:
		return allowed[fold(second)]
	}
	return false
}

// readable tells the views, and what they are made of while they are expanded.
// When a statement needs no column of a table, as count(*) does, SQLite does not
// say any more for which view it is, and names common table expressions, too.
func (w *window) readable(table, column, within string) bool {
	staged, failed := fold(w.name), fold(failedView(w.name))
	switch {
	case table == staged || table == failed:
		return true
	case table == stagedName && within == staged || table == failedName && within == failed:
		return true
	}
	return column == "" && !w.modules[table] && !strings.HasPrefix(table, "sqlite_") && !strings.HasPrefix(table, "pragma_")
}

// moduleNames returns the names of the virtual tables that SQLite has without
// anybody making them.
func (w *window) moduleNames() (map[string]bool, error) {
	rows, err := w.conn.QueryContext(context.Background(), "SELECT name FROM pragma_module_list")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	names := map[string]bool{watchedName: true, "json_each": true, "json_tree": true} // which it makes when they are named
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return nil, err
		}
		names[fold(name)] = true
	}
	return names, rows.Err()
}

// allowed are the functions that a query may call, operators that SQLite takes
// for functions included. None of them reaches beyond its arguments, and none
// takes long for values within the limits.
var allowed = func() map[string]bool {
	m := map[string]bool{}
	for _, name := range strings.Fields(`
		abs char coalesce concat concat_ws format glob hex if ifnull iif instr length like likelihood likely lower ltrim
		max min nullif octet_length printf quote random replace round rtrim sign substr substring trim typeof unicode
		unistr unlikely upper

		avg count group_concat string_agg sum total
		cume_dist dense_rank first_value lag last_value lead nth_value ntile percent_rank rank row_number

		date datetime julianday strftime time timediff unixepoch current_date current_time current_timestamp

		acos acosh asin asinh atan atan2 atanh ceil ceiling cos cosh degrees exp floor ln log log10 log2 mod pi pow
		power radians sin sinh sqrt tan tanh trunc

		-> ->> json json_array json_array_length json_error_position json_extract json_group_array json_group_object
		json_object json_quote json_type json_valid
	`) {
		m[name] = true
	}
	return m
}()

// windowFunctions replace those of SQLite's that take the product of the lengths
// of their arguments, which no context ends.
var windowFunctions = map[string]*sqlite.FunctionImpl{
	"instr":   {NArgs: 2, Deterministic: true, Scalar: strict(instr)},
	"replace": {NArgs: 3, Deterministic: true, Scalar: strict(replace)},
	"trim":    {NArgs: 2, Deterministic: true, Scalar: strict(trim(strings.TrimFunc))},
	"ltrim":   {NArgs: 2, Deterministic: true, Scalar: strict(trim(strings.TrimLeftFunc))},
	"rtrim":   {NArgs: 2, Deterministic: true, Scalar: strict(trim(strings.TrimRightFunc))},
}

var errTooBig = errors.New("string or blob too big")

// strict is a function that is NULL if one of its arguments is.
func strict(f func(args []driver.Value) (driver.Value, error)) func(*sqlite.FunctionContext, []driver.Value) (driver.Value, error) {
	return func(_ *sqlite.FunctionContext, args []driver.Value) (driver.Value, error) {
		for _, arg := range args {
			if arg == nil {
				return nil, nil
			}
		}
		return f(args)
	}
}

func instr(args []driver.Value) (driver.Value, error) {
	in, isBlob := args[0].([]byte)
	what, both := args[1].([]byte)
	if isBlob && both {
		return int64(bytes.Index(in, what)) + 1, nil
	}
	s := asText(args[0])
	i := strings.Index(s, asText(args[1]))
	if i < 0 {
		return int64(0), nil
	}
	return int64(utf8.RuneCountInString(s[:i])) + 1, nil
}

func replace(args []driver.Value) (driver.Value, error) {
	s, from, to := asText(args[0]), asText(args[1]), asText(args[2])
	if from == "" {
		return s, nil
	}
	if n := strings.Count(s, from); len(s)+n*(len(to)-len(from)) > maxValue {
		return nil, errTooBig
	}
	return strings.ReplaceAll(s, from, to), nil
}

func trim(by func(string, func(rune) bool) string) func([]driver.Value) (driver.Value, error) {
	return func(args []driver.Value) (driver.Value, error) {
		set := map[rune]bool{}
		for _, r := range asText(args[1]) {
			set[r] = true
		}
		return by(asText(args[0]), func(r rune) bool { return set[r] }), nil
	}
}

// asText is what CAST(v AS TEXT) is for the values that a text function is
// usually given.
func asText(v driver.Value) string {
	switch v := v.(type) {
	case string:
		return v
	case []byte:
		return string(v)
	case int64:
		return strconv.FormatInt(v, 10)
	case float64:
		s := strconv.FormatFloat(v, 'g', 15, 64)
		if !strings.ContainsAny(s, ".eIN") {
			s += ".0"
		}
		return s
	}
	return ""
}
