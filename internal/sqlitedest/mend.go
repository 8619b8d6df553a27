package sqlitedest

import (
	"fmt"
	"strings"

	"github.com/memdbwriter/memdbwriter/internal/dest"
)

// differences collects what is wrong with a table and what to do about it.
// SQLite cannot alter a column, so a wrong one is replaced, and a wrong one of
// a key takes a new table. No statement drops values.
type differences struct {
	table  *dest.Table
	shape  *shape
	wrong  []string
	mend   []string
	afresh bool // nothing less than a new table will do
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
	var wrong []string
	switch {
	case !ok:
		d.add(fmt.Sprintf("column %q is missing", c.Name), d.alter("ADD COLUMN %s %s", dest.Quote(c.Name), declared[c.Type]))
		return
	case have.generated:
		wrong = append(wrong, "is generated")
	case !strings.ContainsRune(holds[c.Type], rune(aff)):
		wrong = append(wrong, fmt.Sprintf("is declared %q, which would not keep %v values as they are", have.decl, c.Type))
	}
	if c.Nullable && have.notNull && !key {
		wrong = append(wrong, "is NOT NULL, but the writer has NULL for it")
	}
	if len(wrong) > 0 {
		have.primary = have.primary || key
		d.replace(fmt.Sprintf("column %q %s", c.Name, strings.Join(wrong, " and ")), have, declared[c.Type])
	}
}

// replace puts a column without constraints in the place of have.
func (d *differences) replace(wrong string, have shapeColumn, decl string) {
	d.afresh = d.afresh || have.primary
	name, old := dest.Quote(have.name), dest.Quote(have.name+"_old")
	d.add(wrong,
		d.alter("RENAME COLUMN %s TO %s", name, old),
		strings.TrimSpace(d.alter("ADD COLUMN %s %s", name, decl)),
		fmt.Sprintf("UPDATE %s SET %s = %s", dest.Quote(d.table.Name), name, old),
		d.alter("DROP COLUMN %s", old))
}

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
	d.add(fmt.Sprintf("it has no unique index over exactly (%s) that compares bytes (COLLATE BINARY)", strings.Join(names, ", ")),
		fmt.Sprintf("CREATE UNIQUE INDEX %s ON %s (%s)",
			dest.Quote(d.table.Name+"_"+strings.Join(folded, "_")+"_key"), dest.Quote(d.table.Name), strings.Join(terms, ", ")))
}

// error returns nil when nothing is wrong.
func (d *differences) error(db *DB) error {
	if len(d.wrong) == 0 {
		return nil
	}
	if d.afresh {
		d.mend = d.newTable()
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

const mendWith = "mend it with:\n"

// newTable moves the table out of the way and its rows to a new one.
func (d *differences) newTable() []string {
	var both []string
	for _, c := range d.table.Columns {
		if _, ok := d.shape.columns[fold(c.Name)]; ok {
			both = append(both, dest.Quote(c.Name))
		}
	}
	columns := strings.Join(both, ", ")
	old := dest.Quote(d.table.Name + "_old")
	mend := append([]string{d.alter("RENAME TO %s", old)}, createSQL(d.table)...)
	return append(mend, fmt.Sprintf("INSERT INTO %s (%s) SELECT %s FROM %s", dest.Quote(d.table.Name), columns, columns, old))
}
