package stage

import (
	"errors"
	"fmt"
	"strings"

	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

// views returns the statements that make the two views, and the name of the
// one of the staged rows.
func views(cfg Config) (ddl []string, name string, err error) {
	if cfg.View == "" {
		return nil, "", errors.New("the view has no name")
	}
	name = cfg.View
	for reserved(name) {
		name = "_" + name
	}
	names := taken(cfg.Columns)
	columns := make([]string, len(cfg.Columns))
	for i, c := range cfg.Columns {
		as := c.Name
		if names[fold(as)] != i {
			as = names.distinct(c.Name, func(n int) string { return fmt.Sprintf("%s_%d", c.Name, n+1) })
		}
		columns[i] = quote(as)
	}
	extra := func(as string) {
		columns = append(columns, quote(names.distinct(as, func(n int) string { return strings.Repeat("_", n) + as })))
	}
	view := func(name, table string) {
		ddl = append(ddl, fmt.Sprintf("CREATE TEMP VIEW %s(%s) AS SELECT * FROM temp.%s", quote(name), strings.Join(columns, ", "), table))
	}
	extra("_seq")
	view(name, stagedName)
	for _, as := range failureNames {
		extra(as)
	}
	view(failedView(name), failedName)
	for _, s := range ddl {
		if strings.ContainsRune(s, 0) {
			return nil, "", errors.New("a name contains a NUL character")
		}
	}
	return ddl, name, nil
}

// failedView returns the name of the view of the failed rows, by that of the
// staged ones.
func failedView(name string) string { return name + "_failed" }

// reserved tells the names that the temp schema, where the views are, has no
// room for.
func reserved(name string) bool {
	switch n := fold(name); n {
	case sourceName, sinkName, watchedName, stagedName, failedName:
		return true
	default:
		return strings.HasPrefix(n, "sqlite_")
	}
}

// columnNames has the columns of a view by folded name: to SQLite, "a" and
// "A" are one name, to PostgreSQL they are two.
type columnNames map[string]int

// taken gives every name to the first column that has it.
func taken(columns []tuple.Column) columnNames {
	names := columnNames{}
	for i := len(columns) - 1; i >= 0; i-- {
		names[fold(columns[i].Name)] = i
	}
	return names
}

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

func quote(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }
