package sqlitedest

import (
	"strings"
	"testing"

	"github.com/memdbwriter/memdbwriter/internal/dest"
)

func TestCheckCreatesTheTable(t *testing.T) {
	tab := table("t", "set bigint", "path text", "size bigint null", "ok boolean", "at timestamptz null", "meta jsonb null", "raw bytea", "w real", "id uuid")
	tab.Keys, tab.Guard = 2, "copied"
	f := newFixture(t, tab)
	for range 2 {
		if err := f.Check(ctx); err != nil {
			t.Fatal(err)
		}
	}
	f.want("SELECT sql FROM sqlite_master WHERE name = 't'", `CREATE TABLE "t" (
  "set" INTEGER NOT NULL,
  "path" TEXT NOT NULL,
  "size" INTEGER,
  "ok" BOOLEAN NOT NULL,
  "at" TIMESTAMP,
  "meta" TEXT,
  "raw" BLOB NOT NULL,
  "w" REAL NOT NULL,
  "id" TEXT NOT NULL,
  "copied" BOOLEAN NOT NULL DEFAULT 0,
  PRIMARY KEY ("set", "path")
)`)
	f.want("PRAGMA journal_mode", "wal")
}

func TestCheckCreatesTheTableAsAsked(t *testing.T) {
	tab := table("t", "k bigint", "v text")
	tab.Schema = "main"
	tab.DDL = func(dialect string) []string {
		if dialect != "sqlite" {
			t.Errorf("dialect %q", dialect)
		}
		return []string{"CREATE TABLE t(id INTEGER PRIMARY KEY, k INTEGER NOT NULL UNIQUE, v TEXT NOT NULL, extra DEFAULT 5)", "CREATE INDEX i ON t(v)"}
	}
	f := newFixture(t, tab)
	f.mustWrite(row{7, "x"})
	f.want("SELECT * FROM t", "1|7|x|5")
	f.want("SELECT count(*) FROM sqlite_master WHERE name = 'i'", "1")

	for ddl, says := range map[string]string{
		"CREATE TABLE t(k INTEGER PRIMARY KEY)": `column "v" is missing`,
		"CREATE TABLE other(k)":                 "does not exist",
		"CREATE NONSENSE":                       "syntax error",
	} {
		tab.DDL = func(string) []string { return []string{ddl} }
		f := newFixture(t, tab)
		asError(t, f.Check(ctx), dest.ClassTable, says)
		f.want("SELECT count(*) FROM sqlite_master", "0")
	}
}

func TestBindRefusesWhatNoFileCanTake(t *testing.T) {
	two := table("t", "k bigint", "Name text", "nAME text")
	for says, change := range map[string]func(*dest.Table){
		`"Name" and "nAME"`:    func(tab *dest.Table) { tab.Columns = two.Columns },
		`not "public"`:         func(tab *dest.Table) { tab.Schema = "public" },
		"no name":              func(tab *dest.Table) { tab.Name = "" },
		"sqlite_":              func(tab *dest.Table) { tab.Name = "SQLite_x" },
		"no columns":           func(tab *dest.Table) { tab.Columns = nil },
		"NUL":                  func(tab *dest.Table) { tab.Columns[0].Name = "a\x00b" },
		"no key":               func(tab *dest.Table) { tab.Keys = 0 },
		"at most 2000":         func(tab *dest.Table) { tab.Columns = make([]dest.Column, 2001) },
		"a column has no name": func(tab *dest.Table) { tab.Columns[0].Name = "" },
	} {
		tab := table("t", "k bigint")
		change(tab)
		_, err := newDB(t, t.TempDir()+"/x.db").Bind(tab, nil)
		asError(t, err, dest.ClassTable, says)
	}
}

func TestAWrongTableIsToldInOneErrorWithWhatMendsIt(t *testing.T) {
	columns := []string{"k bigint", "path text", "size bigint", "note text null", "at timestamptz"}
	for _, c := range []struct {
		name  string
		ddl   string // its rows, if any, are (1, 'a', 5, ...)
		says  []string
		keeps string // what is stored of (1, 'a') after mending and writing ('b'); empty: no statement mends it
	}{
		{
			"columns are missing", "CREATE TABLE t(k INTEGER, path TEXT, size INTEGER, PRIMARY KEY(k, path)); INSERT INTO t VALUES(1, 'a', 5)",
			[]string{`column "note" is missing`, `column "at" is missing`, `guard column "done" is missing`},
			"5|<nil>",
		},
		{
			"types would change values",
			"CREATE TABLE t(k INTEGER, path TEXT, size TEXT, note INTEGER, at INTEGER, done, PRIMARY KEY(k, path)); INSERT INTO t VALUES(1, 'a', '5', 6, 7, 0)",
			[]string{`column "size" is declared "TEXT", which would not keep bigint values as they are: make the field a string`, `"note" is declared "INTEGER", which would not keep text values as they are: make the field an int64`, `"at"`},
			"",
		},
		{
			"no unique index", "CREATE TABLE t(k INTEGER, path TEXT, size INTEGER, note TEXT, at TIMESTAMP, done, PRIMARY KEY(k, path, size)); INSERT INTO t VALUES(1, 'a', 5, 'n', '', 0)",
			[]string{`no unique index over exactly ("k", "path")`},
			"5|n",
		},
		{
			"partial unique index", "CREATE TABLE t(k INTEGER, path TEXT, size INTEGER, note TEXT, at TIMESTAMP, done); CREATE UNIQUE INDEX u ON t(k, path) WHERE size > 0; INSERT INTO t VALUES(1, 'a', 5, 'n', '', 0)",
			[]string{`no unique index over exactly ("k", "path") and on every row: "u" has a predicate`},
			"",
		},
		{
			"unique index over an expression", "CREATE TABLE t(k INTEGER, path TEXT, size INTEGER, note TEXT, at TIMESTAMP, done); CREATE UNIQUE INDEX u ON t(k, lower(path)); INSERT INTO t VALUES(1, 'a', 5, 'n', '', 0)",
			[]string{"no unique index"},
			"5|n",
		},
		{
			"unique index that ignores case", "CREATE TABLE t(k INTEGER, path TEXT COLLATE NOCASE, size INTEGER, note TEXT, at TIMESTAMP, done, UNIQUE(k, path)); INSERT INTO t VALUES(1, 'a', 5, 'n', '', 0)",
			[]string{"compares bytes (COLLATE BINARY)"},
			"5|n",
		},
		{
			"NOT NULL", "CREATE TABLE t(k INTEGER, path TEXT, size INTEGER, note TEXT NOT NULL, at TIMESTAMP, done, more VARCHAR(5) NOT NULL, plain NOT NULL, PRIMARY KEY(k, path)); INSERT INTO t VALUES(1, 'a', 5, 'n', '', 0, 'm', 'p')",
			[]string{`column "note" is NOT NULL`, `column "more" is NOT NULL without a default, and is not written: give the row type a field`, `"plain"`},
			"",
		},
		{
			"generated", "CREATE TABLE t(k INTEGER, path TEXT, size INTEGER AS (k + 4) STORED, note TEXT AS (path) VIRTUAL, at TIMESTAMP, done, PRIMARY KEY(k, path)); INSERT INTO t VALUES(1, 'a', '', 0)",
			[]string{`column "size" is generated: take the db tag off the field`, `column "note" is generated`},
			"",
		},
		{
			"types of the key", "CREATE TABLE t(k TEXT, path TEXT, size INTEGER, note TEXT, at TIMESTAMP, done, PRIMARY KEY(k, path)); INSERT INTO t VALUES('1', 'a', 5, 'n', '', 0)",
			[]string{`column "k" is declared "TEXT"`},
			"",
		},
		{
			"strict", "CREATE TABLE t(k INTEGER, path TEXT, size REAL, note BLOB, at ANY, done ANY, PRIMARY KEY(k, path)) STRICT; INSERT INTO t VALUES(1, 'a', 5, NULL, '', 0)",
			[]string{`column "size" is declared "REAL"`, `column "note" is declared "BLOB"`},
			"",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			tab := table("t", columns...)
			tab.Keys, tab.Guard = 2, "done"
			f := newFixture(t, tab, c.ddl)
			e := asError(t, f.Check(ctx), dest.ClassTable, append(c.says, `table "t"`, f.db.path)...)
			if strings.Count(e.Err.Error(), ";")+1 != len(c.says) {
				t.Errorf("want %d things wrong: %v", len(c.says), e.Err)
			}
			write := []row{{1, "b", 6, nil, "2026-11-23 06:59:32.000000+00:00"}}
			asError(t, f.write(write...), dest.ClassTable, c.says...)

			if c.keeps == "" {
				if e.Hint != "" {
					t.Errorf("statements that do more than add: %s", e.Hint)
				}
				return
			}
			mend, ok := strings.CutPrefix(e.Hint, mendWith)
			if !ok {
				t.Fatalf("no statements in %q", e.Hint)
			}
			f.exec(mend)
			if err := f.Check(ctx); err != nil {
				t.Fatal(err)
			}
			f.mustWrite(write...)
			f.want("SELECT k, path, CAST(size AS INTEGER), note FROM t ORDER BY path", "1|a|"+c.keeps+"\n1|b|6|<nil>")
		})
	}
}

func TestWhatIsNotATableIsRefused(t *testing.T) {
	for kind, ddl := range map[string]string{
		"view":    "CREATE VIEW t AS SELECT 1 AS k",
		"virtual": "CREATE VIRTUAL TABLE t USING fts5(k)",
	} {
		f := newFixture(t, table("t", "k bigint"), ddl)
		asError(t, f.Check(ctx), dest.ClassTable, "it is a "+kind+", not a table")
	}
}

func TestATableOfOtherCaseIsTheSame(t *testing.T) {
	f := newFixture(t, table("Files", "Path text", "SIZE bigint"), "CREATE TABLE fILES(pATH TEXT PRIMARY KEY, size INTEGER)")
	f.mustWrite(row{"a", 1})
	f.exec("CREATE UNIQUE INDEX u ON files(size)")
	if e := asError(t, f.write(row{"b", 1}), dest.ClassRow, "UNIQUE"); e.Column != "SIZE" {
		t.Errorf("column %q", e.Column)
	}
}

func TestATableChangedUnderTheWriterIsNoticedAndSurvived(t *testing.T) {
	for name, c := range map[string]struct{ change, says, mend, want string }{
		"dropped":             {"DROP TABLE t", "does not exist", "", "2|b\n3|c"},
		"renamed":             {"ALTER TABLE t RENAME TO t2", "does not exist", "ALTER TABLE t2 RENAME TO t", "1|a\n2|b\n3|c"},
		"column dropped":      {"ALTER TABLE t DROP COLUMN v", `column "v" is missing`, "ALTER TABLE t ADD COLUMN v TEXT", "1|<nil>\n2|b\n3|c"},
		"column renamed":      {"ALTER TABLE t RENAME COLUMN v TO w", `column "v" is missing`, "ALTER TABLE t RENAME COLUMN w TO v", "1|a\n2|b\n3|c"},
		"index dropped":       {"DROP INDEX u", "no unique index", "CREATE UNIQUE INDEX u ON t(k)", "1|a\n2|b\n3|c"},
		"NOT NULL added":      {"DROP TABLE t; CREATE TABLE t(k INTEGER, v TEXT, x NOT NULL); CREATE UNIQUE INDEX u ON t(k)", `column "x" is NOT NULL`, "DROP TABLE t", "2|b\n3|c"},
		"made anew as it was": {"DROP TABLE t; CREATE TABLE t(k INTEGER, v TEXT); CREATE UNIQUE INDEX u ON t(k)", "", "", "2|b\n3|c"},
		"column added":        {"ALTER TABLE t ADD COLUMN x DEFAULT 1", "", "ALTER TABLE t DROP COLUMN x", "1|a\n2|b\n3|c"},
		"VACUUM":              {"VACUUM", "", "", "1|a\n2|b\n3|c"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, table("t", "k bigint", "v text"), "CREATE TABLE t(k INTEGER, v TEXT)", "CREATE UNIQUE INDEX u ON t(k)")
			f.mustWrite(row{1, "a"})
			f.exec(c.change)
			err := f.write(row{2, "b"})
			if c.says == "" && err != nil {
				t.Fatal(err)
			}
			if c.says != "" {
				asError(t, err, dest.ClassTable, c.says)
			}
			f.exec(c.mend)
			f.mustWrite(row{2, "b"}, row{3, "c"})
			f.want("SELECT * FROM t", c.want)
		})
	}
}
