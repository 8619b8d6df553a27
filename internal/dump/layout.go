package dump

import (
	"fmt"
	"strings"

	"github.com/memdbwriter/memdbwriter/internal/dest"
	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

// layout is the names that the two tables and their columns have in SQLite,
// and the statements made of them.
type layout struct {
	create       string // the statements that create the tables
	insertRow    string // what an INSERT of waiting rows starts with
	insertFailed string // and one of failed rows
}

// sqlTypes are declared types that give a column the affinity of its values.
var sqlTypes = [...]string{
	tuple.Bool: "BOOLEAN", tuple.Int2: "SMALLINT", tuple.Int4: "INTEGER", tuple.Int8: "BIGINT",
	tuple.Float4: "REAL", tuple.Float8: "DOUBLE PRECISION", tuple.Text: "TEXT", tuple.Bytea: "BLOB",
	tuple.Timestamptz: "TEXT", tuple.JSON: "TEXT", tuple.UUID: "TEXT",
	tuple.Date: "TEXT", tuple.Timestamp: "TEXT", tuple.Local: "TEXT", tuple.Duration: "BIGINT",
}

func newLayout(t *Table) layout {
	name := t.Name
	if strings.HasPrefix(fold(name), "sqlite_") {
		name = "_" + name // SQLite keeps those names for itself
	}
	columns, seq, why := columnDefs(t.Columns)
	rows, failed := dest.Quote(name), dest.Quote(name+"_failed")
	var b strings.Builder
	table := func(name string, defs ...string) {
		fmt.Fprintf(&b, "CREATE TABLE %s (\n  %s\n);\n", name, strings.Join(defs, ",\n  "))
	}
	table(rows, append([]string{seq}, columns...)...)
	table(failed, append(append([]string{seq}, columns...), why...)...)
	return layout{
		create:       b.String(),
		insertRow:    "INSERT INTO " + rows + " VALUES\n(",
		insertFailed: "INSERT INTO " + failed + " VALUES\n(",
	}
}

// columnDefs returns the definitions of the rows' own columns, of the arrival
// number, and of what failed rows have in addition. The names are those of the
// staging views.
func columnDefs(of []tuple.Column) (columns []string, seq string, why []string) {
	names := columnNames{}
	for i := len(of) - 1; i >= 0; i-- {
		names[fold(of[i].Name)] = i
	}
	for i, c := range of {
		as := c.Name
		if names[fold(as)] != i {
			as = names.distinct(c.Name, func(n int) string { return fmt.Sprintf("%s_%d", c.Name, n+1) })
		}
		def := dest.Quote(as) + " " + sqlTypes[c.Type]
		if !c.Nullable {
			def += " NOT NULL"
		}
		columns = append(columns, def)
	}
	own := func(name, typ string) string {
		name = names.distinct(name, func(n int) string { return strings.Repeat("_", n) + name })
		return dest.Quote(name) + " " + typ
	}
	seq = own("_seq", "INTEGER PRIMARY KEY")
	return columns, seq, []string{
		own("_sqlstate", "TEXT NOT NULL"), own("_column", "TEXT NOT NULL"), own("_constraint", "TEXT NOT NULL"), own("_error", "TEXT NOT NULL"),
		own("_attempts", "INTEGER NOT NULL"), own("_first", "TEXT NOT NULL"), own("_last", "TEXT NOT NULL"),
	}
}

// columnNames has the columns by folded name: to SQLite, "a" and "A" are one
// name, to PostgreSQL they are two.
type columnNames map[string]int

// distinct takes the name, or else the first variant of it that is free.
func (c columnNames) distinct(name string, variant func(n int) string) string {
	for n := 1; ; n++ {
		if _, used := c[fold(name)]; !used {
			c[fold(name)] = -1
			return name
		}
		name = variant(n)
	}
}

// fold maps the names that are equal to SQLite, which ignores the case of
// ASCII letters only, to one.
func fold(name string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			r += 'a' - 'A'
		}
		return r
	}, name)
}
