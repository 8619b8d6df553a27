package ogtest

import (
	"slices"
	"strings"
	"testing"

	"github.com/memdbwriter/memdbwriter/internal/pgtest"
)

func TestSplit(t *testing.T) {
	for sql, want := range map[string][]string{
		"":                                {},
		" ; -- nothing\n;/* ; /* ; */ */": {},
		"a;b ; c":                         {"a", "b ", " c"},
		"SELECT ';', E'\\';', \";\"; x":   {"SELECT ';', E'\\';', \";\"", " x"},
		"SELECT 'it''s;'; x":              {"SELECT 'it''s;'", " x"},
		"SELECT $$;$$, $q$;$$;$q$; x":     {"SELECT $$;$$, $q$;$$;$q$", " x"},
		"SELECT $1;SELECT a$b;":           {"SELECT $1", "SELECT a$b"},
		"a --;\n b; c /* ; */ d":          {"a --;\n b", " c /* ; */ d"},
		"a <--;\n b":                      {"a <--;\n b"},
	} {
		stmts, err := split(sql)
		got := []string{}
		for _, s := range stmts {
			got = append(got, source(s))
		}
		for i := range want { // space in front of a semicolon belongs to no statement
			want[i] = strings.TrimRight(want[i], " ")
		}
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: %q, %v, want %q", sql, got, err, want)
		}
	}
	for _, sql := range []string{"'", `"`, `""`, "/*", "/* /* */", "$$", "$q$ $r$", "E'\\'", "$", "\\", "u&'x'"} {
		if stmts, err := split(sql); err == nil {
			t.Errorf("%q: %v, want an error", sql, stmts)
		}
	}
}

func FuzzSplit(f *testing.F) {
	for _, sql := range []string{
		"SET LOCAL x = 1;\nCREATE TEMP TABLE a (b int);COPY a FROM STDIN", "'a''b' E'\\'' $$;$$ $t$ $$ $t$", "/* /* */ ; */ -- x",
		"a.b::c <= 1.5e-3, $1 \"x\"\"y\"", "INSERT INTO t VALUES ('') ON DUPLICATE KEY UPDATE a = VALUES(a)",
	} {
		f.Add(sql)
	}
	f.Fuzz(func(t *testing.T, sql string) {
		stmts, err := split(sql)
		if err != nil {
			return
		}
		var parts []string
		for _, s := range stmts {
			if len(s) == 0 {
				t.Fatal("an empty statement")
			}
			parts = append(parts, source(s))
		}
		again, err := split(strings.Join(parts, "\n;"))
		if err != nil || len(again) != len(stmts) {
			t.Fatalf("%q: %d statements, then %d, %v", sql, len(stmts), len(again), err)
		}
		for i := range again {
			if source(again[i]) != parts[i] && source(again[i]) != strings.TrimRight(parts[i], "\n") {
				t.Fatalf("%q became %q", parts[i], source(again[i]))
			}
		}
	})
}

// FuzzTranslate: whatever the client sends, the recogniser answers and does
// not panic. It needs no PostgreSQL for statements that look nothing up.
func FuzzTranslate(f *testing.F) {
	for _, sql := range []string{
		"SELECT count(*), ''::date FROM pg_class c (a, b) WHERE CAST(x AS date) = 1 / (a)::int",
		"CREATE TEMP TABLE IF NOT EXISTS t (a int NOT NULL DEFAULT '', b varchar(5)) WITH (fillfactor=70) ON COMMIT DROP",
		"CREATE UNIQUE INDEX IF NOT EXISTS i ON t (a)", "SET LOCAL session_timeout TO 5", "ALTER TABLE t ADD COLUMN IF NOT EXISTS a int, ALTER a TYPE date",
		"COPY t (a) FROM STDIN (FORMAT csv, DELIMITER ',')", "MERGE INTO t USING s ON (t.a = s.a) WHEN MATCHED THEN UPDATE SET b = 1",
		"INSERT INTO t AS x (a) VALUES ($1), (2) ON DUPLICATE KEY UPDATE a = VALUES(a) WHERE a > 1 RETURNING a", "SELECT d.adgencol, datcompatibility",
		"COPY (SELECT 1) TO STDOUT CSV", "SHOW x", "WITH a (b) AS (SELECT 1) SELECT unnest(a, b)", "REPLACE INTO t VALUES (1)",
	} {
		f.Add(sql, byte(0))
	}
	var sessions []*session
	for _, o := range []Options{{}, {Mode: "B", Dolphin: true}, {Mode: "PG", Version: "6.0.2"}} {
		if err := o.withDefaults(); err != nil {
			f.Fatal(err)
		}
		sessions = append(sessions, offline(&o))
	}
	f.Fuzz(func(t *testing.T, sql string, which byte) {
		s := sessions[int(which)%len(sessions)]
		stmts, err := split(sql)
		if err != nil {
			return
		}
		for _, toks := range stmts {
			p, err := s.translate(toks)
			if err == nil && p == nil {
				t.Fatalf("%q: neither a plan nor an error", sql)
			}
		}
	})
}

// offline is a session without PostgreSQL, in a database without tables.
func offline(o *Options) *session {
	return &session{
		server: &Server{helpers: "og", Backend: &pgtest.DB{Version: 150000}}, opts: o, user: &account{},
		answer: func(string, string) (string, error) { return "", nil },
	}
}
