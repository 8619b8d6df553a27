package vtable

import (
	"database/sql/driver"
	"errors"
	"strings"
	"testing"
)

// letters has a row for each byte of a text.
type letters struct {
	text string
	at   int
}

func (l *letters) Next() (bool, error) {
	if l.at++; l.at < len(l.text) && l.text[l.at] == '!' {
		return false, errors.New("no such letter")
	}
	return l.at < len(l.text), nil
}

func (l *letters) Value(col int) (driver.Value, error) {
	switch {
	case col == 1:
		return int64(l.at), nil
	case l.text[l.at] == '?':
		return nil, errors.New("a letter without a value")
	}
	return l.text[l.at : l.at+1], nil
}

func TestStreamIsReadAnewByEachScan(t *testing.T) {
	text := "abc"
	scans := 0
	db := open(t, ":memory:", &Stream{
		Name: "letters", Columns: 2,
		Scan: func() Scan { scans++; return &letters{text, -1} },
		Rows: func() int64 { return 3 },
	})
	mustExec(t, db, "INSERT INTO t VALUES (1, 'ab'), (2, ''), (3, 'cd')")
	for q, want := range map[string]string{
		"SELECT group_concat(c0 || c1 || rowid) FROM temp.letters":                                       "a00,b11,c22",
		"SELECT group_concat(x.c0 || y.c0) FROM temp.letters AS x, temp.letters AS y WHERE y.c1 < 1":     "aa,ba,ca",
		"SELECT group_concat(ifnull(c0, '-')) FROM t LEFT JOIN temp.letters ON c1 = a":                   "b,c,-",
		"SELECT group_concat((SELECT max(c0) FROM temp.letters WHERE c1 < a)) FROM t":                    "a,b,c",
		"SELECT count(*) FROM (SELECT 1 FROM temp.letters LIMIT 2)":                                      "2",
		"SELECT (SELECT count(*) FROM temp.letters) || (SELECT c0 FROM temp.letters ORDER BY 1 LIMIT 1)": "3a",
	} {
		var got string
		if err := db.QueryRow(q).Scan(&got); err != nil || got != want {
			t.Errorf("%s: %q, error %v, want %q", q, got, err, want)
		}
	}
	if scans < 10 {
		t.Errorf("%d scans", scans)
	}
	for _, c := range []struct{ text, q, want string }{
		{"ab!", "SELECT count(*) FROM temp.letters", ""},
		{"!", "SELECT count(*) FROM temp.letters", "no such letter"},
		{"a?", "SELECT max(c0) FROM temp.letters", "a letter without a value"},
		{"a", "INSERT INTO temp.letters VALUES ('a', 1)", "readonly"},
	} {
		text = c.text
		var got any
		if err := db.QueryRow(c.q).Scan(&got); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, error %v, want %q", c.q, got, err, c.want)
		}
	}
	text = ""
	var n int
	if err := db.QueryRow("SELECT count(*) FROM temp.letters").Scan(&n); err != nil || n != 0 {
		t.Errorf("%d rows, error %v", n, err)
	}
}
