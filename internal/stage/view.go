package stage

import (
	"database/sql/driver"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"

	"modernc.org/sqlite"

	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

// The SQL functions behind the columns of the views.
const (
	fieldName = "memdbwriter_field" // of tuple, index of the field, its tuple.Type
	timeName  = "memdbwriter_time"  // of microseconds since 1970
)

var functions = map[string]*sqlite.FunctionImpl{
	fieldName: {NArgs: 3, Deterministic: true, VolatileArgs: true, Scalar: field},
	timeName: {NArgs: 1, Deterministic: true, Scalar: func(_ *sqlite.FunctionContext, args []driver.Value) (driver.Value, error) {
		micros, _ := args[0].(int64)
		return timestamp(time.UnixMicro(micros))
	}},
}

func field(_ *sqlite.FunctionContext, args []driver.Value) (driver.Value, error) {
	t, _ := args[0].([]byte)
	i, _ := args[1].(int64)
	typ, _ := args[2].(int64)
	if len(t) < 2 {
		return nil, tuple.ErrMalformed
	}
	n := int(binary.BigEndian.Uint16(t))
	if err := tuple.Check(t, n); err != nil {
		return nil, err
	}
	if i < 0 || i >= int64(n) {
		return nil, fmt.Errorf("%w: %d fields, and not a field %d", tuple.ErrMalformed, n, i)
	}
	b, _ := tuple.Field(t, int(i))
	return tuple.Value(tuple.Type(typ), b)
}

// timestamp returns t as the views show it.
func timestamp(t time.Time) (driver.Value, error) {
	f, err := tuple.AppendValue(nil, tuple.Timestamptz, t)
	if err != nil {
		return nil, err
	}
	return tuple.Value(tuple.Timestamptz, f[4:])
}

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
	fields := make([]string, len(cfg.Columns))
	for i, c := range cfg.Columns {
		as := c.Name
		if names[fold(as)] != i {
			as = names.distinct(c.Name, func(n int) string { return fmt.Sprintf("%s_%d", c.Name, n+1) })
		}
		fields[i] = fmt.Sprintf("%s(tuple, %d, %d) AS %s", fieldName, i, c.Type, quote(as))
	}
	extra := func(column, as string) string {
		as = names.distinct(as, func(n int) string { return strings.Repeat("_", n) + as })
		return column + " AS " + quote(as)
	}
	seq := extra("seq", "_seq")
	ddl = []string{
		fmt.Sprintf("CREATE TEMP VIEW %s AS SELECT %s FROM main.staging", quote(name), list(fields, seq)),
		fmt.Sprintf("CREATE TEMP VIEW %s AS SELECT %s FROM main.failed", quote(name+"_failed"), list(fields, seq,
			extra("sqlstate", "_sqlstate"), extra(`"column"`, "_column"), extra("message", "_error"), extra("attempts", "_attempts"),
			extra(timeName+"(first)", "_first"), extra(timeName+"(last)", "_last"))),
	}
	for _, s := range ddl {
		if strings.ContainsRune(s, 0) {
			return nil, "", errors.New("a name contains a NUL character")
		}
	}
	return ddl, name, nil
}

func list(fields []string, extra ...string) string {
	return strings.Join(append(fields[:len(fields):len(fields)], extra...), ", ")
}

// reserved tells the names that the temp schema, where the views are, has no
// room for.
func reserved(name string) bool {
	switch n := fold(name); n {
	case sourceName, sinkName, watchedName:
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
