package vtable

import (
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"
	"testing"

	"modernc.org/sqlite/vtab"
)

// letters has a row for each byte of its second argument, with the first one
// as a prefix.
type letters struct {
	prefix, text string
}

func (l *letters) Start(args []vtab.Value) error {
	text, ok := args[1].(string)
	if !ok {
		return fmt.Errorf("%T has no letters", args[1])
	}
	l.prefix, l.text = fmt.Sprint(args[0]), strings.Clone(text)
	return nil
}

func (l *letters) Len() int { return len(l.text) }

func (l *letters) Value(row, col int) (driver.Value, error) {
	if l.text[row] == '!' {
		return nil, errors.New("no such letter")
	}
	if col == 1 {
		return int64(row), nil
	}
	return l.prefix + l.text[row:row+1], nil
}

func openLetters(t *testing.T) *DB {
	t.Helper()
	db := open(t, ":memory:", &Function{Name: "letters", Args: 2, Columns: 2, New: func() Call { return new(letters) }})
	mustExec(t, db, "INSERT INTO t VALUES (1, 'ab'), (2, ''), (3, 'cd')")
	return db
}

func TestFunctionMakesRowsOfEachRow(t *testing.T) {
	db := openLetters(t)
	for q, want := range map[string]string{
		"SELECT group_concat(c0) FROM t CROSS JOIN temp.letters(a, b)":                                                        "1a,1b,3c,3d",
		"SELECT group_concat(c0 || c1 || l.rowid) FROM temp.letters(b, b) AS l, t":                                            "aba00,abb11,cdc00,cdd11",
		"SELECT group_concat(c0) FROM t, temp.letters WHERE a1 = b AND a0 = a AND c1 = 1":                                     "1b,3d",
		"SELECT group_concat(x.c0 || y.c0) FROM temp.letters(1, 'ab') AS x, temp.letters(2, 'cd') AS y":                       "1a2c,1a2d,1b2c,1b2d",
		"SELECT group_concat(ifnull(c0, '-')) FROM t LEFT JOIN temp.letters(a, b)":                                            "1a,1b,-,3c,3d",
		"SELECT count(*) || ifnull(max(a0), '-') FROM t CROSS JOIN temp.letters(a, b)":                                        "4-",
		"SELECT count(*) FROM temp.letters(1, 'ab') WHERE a1 = 'cd'":                                                          "0",
		"SELECT group_concat((SELECT max(c0) FROM temp.letters(t.a, t.b))) FROM t":                                            "1b,3d",
		"SELECT group_concat(x.c0 || y.c0) FROM t CROSS JOIN temp.letters(a, b) AS x CROSS JOIN temp.letters(x.c0, '+') AS y": "1a1a+,1b1b+,3c3c+,3d3d+",
	} {
		var got string
		if err := db.QueryRow(q).Scan(&got); err != nil || got != want {
			t.Errorf("%s: %q, error %v, want %q", q, got, err, want)
		}
	}
}

func TestFunctionErrors(t *testing.T) {
	db := openLetters(t)
	for q, want := range map[string]string{
		"SELECT count(*) FROM temp.letters":                                errNoArguments.Error(),
		"SELECT count(*) FROM temp.letters('a')":                           errNoArguments.Error(),
		"SELECT count(*) FROM temp.letters('a', 'b', 'c')":                 "too many arguments",
		"SELECT count(*) FROM temp.letters('a', 7)":                        "letters: int64 has no letters",
		"SELECT max(c0) FROM temp.letters('a', 'b!')":                      "no such letter",
		"INSERT INTO temp.letters VALUES ('a', 1)":                         "readonly",
		"SELECT count(*) FROM t AS x, t AS y, temp.letters(x.b, y.b, x.b)": "too many arguments",
		"SELECT count(*) FROM t JOIN temp.letters ON a0 > a AND a1 = t.b":  errNoArguments.Error(),
	} {
		var got any
		if err := db.QueryRow(q).Scan(&got); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, error %v, want %q", q, got, err, want)
		}
	}
}
