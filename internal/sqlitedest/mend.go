package sqlitedest

import (
	"fmt"
	"strings"

	"github.com/memdbwriter/memdbwriter/internal/dest"
	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

// differences collects what is wrong with a table and what to do about it. The
// statements only add: a table, a column, an index. SQLite cannot alter a
// column, so one that does not fit is answered with the Go field that does.
type differences struct {
	table *dest.Table
	shape *shape
	wrong []string
	mend  []string
}

func (d *differences) add(wrong string, mend ...string) {
	d.wrong = append(d.wrong, wrong)
	d.mend = append(d.mend, mend...)
}

func (d *differences) alter(format string, args ...any) string {
	return "ALTER TABLE " + dest.Quote(d.table.Name) + " " + fmt.Sprintf(format, args...)
}

// column compares one column of the writer.
func (d *differences) column(c dest.Column, key bool) {
	have, ok := d.shape.columns[fold(c.Name)]
	aff := affinityOf(have.decl, d.shape.strict)
	switch {
	case !ok:
		d.add(fmt.Sprintf("column %q is missing", c.Name), d.alter("ADD COLUMN %s %s", dest.Quote(c.Name), declared[c.Type]))
	case have.generated:
		d.add(fmt.Sprintf("column %q is generated: take the db tag off the field", c.Name))
	case !strings.ContainsRune(holds[c.Type], rune(aff)):
		d.add(fmt.Sprintf("column %q is declared %q, which would not keep %v values as they are: make the field %s", c.Name, have.decl, c.Type, fields[aff]))
	}
	if ok && c.Nullable && have.notNull && !key {
		d.add(fmt.Sprintf("column %q is NOT NULL, but the writer has NULL for it: take a field that has no NULL", c.Name))
	}
	if ok && key && c.Type == tuple.Local && isDate(have.decl) {
		d.add(fmt.Sprintf("key column %q is declared %s, and without an option in its tag a key of the type time.Time is the instant: give the tag the option type=date",
			c.Name, have.decl))
	}
}

// fields are the Go fields whose values a column keeps, by its affinity. The
// other affinities keep those of every field.
var fields = map[affinity]string{'i': "an int64", 'n': "an int64 or a float64", 'r': "a float64", 't': "a string", 'b': "a []byte"}

// key asks for a unique index that ON CONFLICT can use.
func (d *differences) key() {
	if d.table.ReplaceKeys() == 0 {
		return
	}
	var names, folded, terms []string
	for _, c := range d.table.Columns[:d.table.Keys] {
		names = append(names, dest.Quote(c.Name))
		folded = append(folded, fold(c.Name))
		term := dest.Quote(c.Name)
		if textual(c.Type) {
			term += " COLLATE BINARY"
		}
		terms = append(terms, term)
	}
	want := columnSet(folded)
	for _, have := range d.shape.unique {
		if have == want {
			return
		}
	}
	if index, ok := d.shape.partial[want]; ok {
		d.add(fmt.Sprintf("it has no unique index over exactly (%s) and on every row: %q has a predicate, and rows that it leaves out may share a key", strings.Join(names, ", "), index))
		return
	}
	d.add(fmt.Sprintf("it has no unique index over exactly (%s) that compares bytes (COLLATE BINARY)", strings.Join(names, ", ")),
		fmt.Sprintf("CREATE UNIQUE INDEX %s ON %s (%s)",
			dest.Quote(d.table.Name+"_"+strings.Join(folded, "_")+"_key"), dest.Quote(d.table.Name), strings.Join(terms, ", ")))
}

// error returns nil when nothing is wrong.
func (d *differences) error(db *DB) error {
	if len(d.wrong) == 0 {
		return nil
	}
	e := &dest.Error{
		Class: dest.ClassTable,
		Row:   -1,
		Err:   fmt.Errorf("table %q in %s cannot take the rows: %s", d.table.Name, db, strings.Join(d.wrong, "; ")),
	}
	if len(d.mend) > 0 {
		e.Hint = mendWith + strings.Join(d.mend, ";\n") + ";"
	}
	return e
}

const mendWith = "fix it with:\n"
