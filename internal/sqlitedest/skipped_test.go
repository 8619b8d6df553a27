package sqlitedest

import (
	"testing"

	"github.com/memdbwriter/memdbwriter/internal/dest"
)

// Rows that a trigger cancels are counted, and those that are as they were, or
// guarded, are not: for every policy, and where rows are told apart.
func TestRowsThatATriggerCancels(t *testing.T) {
	const ddl = `CREATE TABLE t (id TEXT PRIMARY KEY, name TEXT, kept BOOLEAN DEFAULT 0, n INTEGER CHECK (n <> 13))`
	no := func(when, at string) string {
		return `CREATE TRIGGER no_` + at + ` BEFORE ` + at + ` ON t WHEN ` + when + ` BEGIN SELECT raise(IGNORE); END`
	}
	const reset = `DELETE FROM t WHERE id NOT IN ('a', 'k', 'u'); UPDATE t SET name = id`
	const cancelled = "NEW.name = 'no'"
	for name, c := range map[string]struct {
		policy  dest.Policy
		trigger []string
		skipped int
		stored  string
	}{
		"update":              {dest.Update, []string{no(cancelled, "INSERT")}, 2, "a:a k:k q:new u:u"},
		"update, on updates":  {dest.Update, []string{no(cancelled, "UPDATE")}, 1, "a:a k:k n:no q:new u:u"},
		"update, every row":   {dest.Update, []string{no("1", "INSERT")}, 3, "a:a k:k u:u"},
		"ignore":              {dest.Ignore, []string{no(cancelled, "INSERT")}, 1, "a:a k:k q:new u:u"},
		"insert-only":         {dest.InsertOnly, []string{no(cancelled, "INSERT")}, 1, "a:a k:k q:new u:u"},
		"cancels nothing":     {dest.Update, []string{no("NEW.name = 'nobody'", "INSERT")}, 0, "a:no k:k n:no q:new u:u"},
		"another table's":     {dest.Update, []string{`CREATE TABLE o (i)`, `CREATE TRIGGER o BEFORE INSERT ON o BEGIN SELECT raise(IGNORE); END`}, 0, "a:no k:k n:no q:new u:u"},
		"trigger comes later": {dest.Update, nil, 2, "a:a k:k q:new u:u"},
	} {
		t.Run(name, func(t *testing.T) {
			tab := table("t", "id text", "name text null", "n bigint null")
			tab.Policy, tab.Guard = c.policy, "kept"
			rows := []row{{"a", "no", 1}, {"k", "other", 1}, {"n", "no", 1}, {"q", "new", 1}, {"u", "u", 1}}
			if c.policy == dest.InsertOnly {
				tab.Keys, tab.Guard, rows = 0, "", rows[2:4]
			}
			f := newFixture(t, tab, ddl, `INSERT INTO t VALUES ('a', 'a', 0, 1), ('k', 'k', 1, 1), ('u', 'u', 0, 1)`)
			if c.trigger == nil {
				if err := f.Check(ctx); err != nil {
					t.Fatal(err)
				}
				f.exec(no(cancelled, "INSERT"))
				_ = f.write(rows...) // the table is looked at again
			}
			for _, ddl := range c.trigger {
				f.exec(ddl)
			}
			for _, isolate := range []bool{true, false} {
				f.exec(reset)
				b := batch(t, tab, rows...)
				res, err := f.Write(ctx, b)
				if isolate {
					f.exec(reset)
					res, _, err = f.Sink.(dest.Isolator).Isolate(ctx, b)
				}
				if err != nil || res.Skipped != c.skipped {
					t.Errorf("isolated %v: %+v, %v; want %d skipped", isolate, res, err, c.skipped)
				}
				f.want("SELECT group_concat(id || ':' || name, ' ') FROM (SELECT * FROM t ORDER BY id)", c.stored)
			}
		})
	}
}

// A block that is refused and told apart counts a cancelled row once.
func TestCancelledRowsAmongRefusedOnes(t *testing.T) {
	tab := table("t", "id bigint", "name text null")
	f := newFixture(t, tab, `CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT CHECK (name <> 'bad'))`,
		`CREATE TRIGGER no BEFORE INSERT ON t WHEN NEW.name = 'no' BEGIN SELECT RAISE(IGNORE); END`)
	b := batch(t, tab, row{1, "no"}, row{2, "ok"}, row{3, "bad"}, row{4, "no"})
	res, refused, err := f.Sink.(dest.Isolator).Isolate(ctx, b)
	if err != nil || res.Skipped != 2 || len(refused) != 1 || refused[0].Row != 2 {
		t.Errorf("%+v %v %v", res, refused, err)
	}
	f.want("SELECT group_concat(id) FROM t", "2")
}
