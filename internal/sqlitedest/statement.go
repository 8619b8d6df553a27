package sqlitedest

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/memdbwriter/memdbwriter/internal/dest"
	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

// statement stores the rows of the source.
type statement struct {
	insert *sql.Stmt
	// due counts the rows that insert has to write: fewer are written only if a
	// trigger cancels some. Nil: none does, or all are due.
	due     *sql.Stmt
	cancels bool
}

func prepare(ctx context.Context, c *sql.Conn, t *dest.Table, absences []byte, has traits) (*statement, error) {
	s := &statement{cancels: has.cancels}
	var err error
	if s.insert, err = c.PrepareContext(ctx, insertSQL(t, absences, has.touched)); err != nil {
		return nil, fmt.Errorf("prepare a statement for table %q: %w", t.Name, err)
	}
	if has.cancels && t.Policy != dest.InsertOnly {
		if s.due, err = c.PrepareContext(ctx, dueSQL(t, absences)); err != nil {
			return nil, errors.Join(fmt.Errorf("prepare a statement that counts for table %q: %w", t.Name, err), s.close())
		}
	}
	return s, nil
}

func (s *statement) close() error {
	err := s.insert.Close()
	if s.due != nil {
		err = errors.Join(err, s.due.Close())
	}
	return err
}

// run stores the rows of the source, of which there are so many, and returns how
// many a trigger cancelled.
func (s *statement) run(ctx context.Context, rows int64) (skipped int, err error) {
	if s.due != nil {
		if err := s.due.QueryRowContext(ctx).Scan(&rows); err != nil {
			return 0, err
		}
	}
	res, err := s.insert.ExecContext(ctx)
	if err != nil || !s.cancels {
		return 0, err
	}
	written, err := res.RowsAffected()
	return int(max(0, rows-written)), err // a trigger may also make others due
}

// dueSQL counts the rows that insertSQL has to write: there is no stored row of
// their key, or it is to be updated.
func dueSQL(t *dest.Table, absences []byte) string {
	var same []string
	for i, c := range t.Columns[:t.Keys] {
		binary := ""
		if textual(c.Type) {
			binary = " COLLATE BINARY"
		}
		same = append(same, fmt.Sprintf("stored.%s%s = given.c%d", dest.Quote(c.Name), binary, i))
	}
	kept := ""
	if due := updateDue(t, absences, func(i int) string { return fmt.Sprintf("given.c%d", i) }); due != "" {
		kept = fmt.Sprintf(" AND (%s) IS NOT TRUE", due)
	}
	return fmt.Sprintf("SELECT count(*) FROM temp.source AS given WHERE NOT EXISTS (SELECT 1 FROM %s AS stored WHERE %s%s)",
		dest.QuoteName("main", t.Name), strings.Join(same, " AND "), kept)
}

// leftOut tells whether rows have no column i.
func leftOut(absences []byte, i int) bool { return absences != nil && absences[i/8]&(1<<(i%8)) != 0 }

// updateDue is the condition that a stored row is to be updated with values;
// empty if none ever is.
func updateDue(t *dest.Table, absences []byte, value func(i int) string) string {
	var stored, given []string
	for i, c := range t.Columns {
		if i < t.Keys || c.InsertOnly || c.Passive || leftOut(absences, i) {
			continue
		}
		binary := ""
		if textual(c.Type) {
			binary = " COLLATE BINARY"
		}
		stored = append(stored, "stored."+dest.Quote(c.Name))
		given = append(given, value(i)+binary)
	}
	if t.Policy == dest.Ignore || len(stored) == 0 {
		return ""
	}
	guard := ""
	if t.Guard != "" {
		// Whatever is not clearly false protects the row: 1, but also 'true'.
		g := "stored." + dest.Quote(t.Guard)
		guard = fmt.Sprintf("(%s IS NULL OR %s = 0) AND ", g, g)
	}
	return fmt.Sprintf("%s(%s) IS NOT (%s)", guard, strings.Join(stored, ", "), strings.Join(given, ", "))
}

// insertSQL is the statement that stores a batch whose rows leave out the columns
// of absences (see tuple.Absences).
//
// The table goes by an alias, because it may be called "excluded". Texts are
// compared by their bytes, whatever the collation of the column: one that
// differs in case only has changed all the same. touched tells whether the table
// has the column that an update touches.
func insertSQL(t *dest.Table, absences []byte, touched bool) string {
	var names, sources []string
	for i, c := range t.Columns {
		if leftOut(absences, i) {
			continue
		}
		names = append(names, dest.Quote(c.Name))
		sources = append(sources, fmt.Sprintf("c%d", i))
	}
	sql := fmt.Sprintf("INSERT INTO %s AS stored (%s) SELECT %s FROM temp.source WHERE true",
		dest.QuoteName("main", t.Name), strings.Join(names, ", "), strings.Join(sources, ", "))
	if t.Policy == dest.InsertOnly {
		return sql
	}

	var keys, set []string
	for i, c := range t.Columns {
		name := dest.Quote(c.Name)
		switch {
		case i < t.Keys && textual(c.Type):
			keys = append(keys, name+" COLLATE BINARY")
		case i < t.Keys:
			keys = append(keys, name)
		case !c.InsertOnly && !leftOut(absences, i):
			set = append(set, name+" = excluded."+name)
		}
	}
	sql += fmt.Sprintf(" ON CONFLICT (%s) DO ", strings.Join(keys, ", "))
	due := updateDue(t, absences, func(i int) string { return "excluded." + dest.Quote(t.Columns[i].Name) })
	if due == "" {
		return sql + "NOTHING"
	}
	if touched { // DEFAULT is not for an UPDATE here
		set = append(set, dest.Quote(t.Touched)+" = CURRENT_TIMESTAMP")
	}
	return sql + "UPDATE SET " + strings.Join(set, ", ") + " WHERE " + due
}

// createSQL is the table as the destination makes it when nothing else is
// asked for.
func createSQL(t *dest.Table) []string {
	if t.DDL != nil {
		return t.DDL("sqlite")
	}
	var parts, keys []string
	guard := t.Guard
	for i, c := range t.Columns {
		part := dest.Quote(c.Name) + " " + declared[c.Type]
		if i < t.Keys || !c.Nullable && !c.Absent {
			part += " NOT NULL"
		}
		if i < t.Keys {
			keys = append(keys, dest.Quote(c.Name))
		}
		if fold(c.Name) == fold(guard) {
			guard = ""
		}
		parts = append(parts, part)
	}
	if guard != "" {
		parts = append(parts, dest.Quote(guard)+guardType)
	}
	if len(keys) > 0 {
		parts = append(parts, fmt.Sprintf("PRIMARY KEY (%s)", strings.Join(keys, ", ")))
	}
	return []string{fmt.Sprintf("CREATE TABLE %s (\n  %s\n)", dest.Quote(t.Name), strings.Join(parts, ",\n  "))}
}

const guardType = " BOOLEAN NOT NULL DEFAULT 0"

// declared are the types of columns that the destination makes: those that
// readers know what to make of.
var declared = map[tuple.Type]string{
	tuple.Bool:        "BOOLEAN",
	tuple.Int2:        "INTEGER",
	tuple.Int4:        "INTEGER",
	tuple.Int8:        "INTEGER",
	tuple.Float4:      "REAL",
	tuple.Float8:      "REAL",
	tuple.Text:        "TEXT",
	tuple.Bytea:       "BLOB",
	tuple.Timestamptz: "TIMESTAMP",
	tuple.JSON:        "TEXT",
	tuple.UUID:        "TEXT",
	tuple.Date:        "DATE",
	tuple.Timestamp:   "TIMESTAMP",
	tuple.Local:       "TIMESTAMP",
	tuple.Duration:    "INTEGER",
}

// textual tells the types that are stored as text.
func textual(t tuple.Type) bool {
	switch t {
	case tuple.Text, tuple.JSON, tuple.UUID, tuple.Timestamptz, tuple.Local, tuple.Timestamp, tuple.Date:
		return true
	}
	return false
}

// isDate tells a column of days, by its declared type.
func isDate(decl string) bool { return strings.EqualFold(decl, "DATE") }

// affinity is what SQLite does to values that go into a column.
type affinity byte

const (
	integer  affinity = 'i' // texts that look like numbers become numbers
	numeric  affinity = 'n' // the same; the affinity of all unknown types
	float    affinity = 'r' // integers become floating point too
	text     affinity = 't' // numbers become text
	anything affinity = 'a' // nothing
	blobs    affinity = 'b' // takes blobs only, which STRICT tables do
)

// holds are the affinities that keep values of a type as they are.
var holds = map[tuple.Type]string{
	tuple.Bool:        "ian",
	tuple.Int2:        "ianr",
	tuple.Int4:        "ianr",
	tuple.Int8:        "ian",
	tuple.Float4:      "ran",
	tuple.Float8:      "ran",
	tuple.Text:        "ta",
	tuple.Bytea:       "ban",
	tuple.Timestamptz: "tan", // never looks like a number
	tuple.JSON:        "tan", // columns declared JSON are numeric
	tuple.UUID:        "tan",
	tuple.Date:        "tan",
	tuple.Timestamp:   "tan",
	tuple.Local:       "tan",
	tuple.Duration:    "ian",
}

// affinityOf applies SQLite's rules, which look for parts of the type's name.
func affinityOf(decl string, strict bool) affinity {
	decl = strings.ToUpper(decl)
	has := func(parts ...string) bool {
		for _, p := range parts {
			if strings.Contains(decl, p) {
				return true
			}
		}
		return false
	}
	switch {
	case strict && decl == "ANY":
		return anything
	case strict && decl == "BLOB":
		return blobs
	case has("INT"):
		return integer
	case has("CHAR", "CLOB", "TEXT"):
		return text
	case has("BLOB") || decl == "":
		return anything
	case has("REAL", "FLOA", "DOUB"):
		return float
	}
	return numeric
}

// fold maps names to what SQLite takes for the same name: case does not
// matter for ASCII letters.
func fold(name string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			r += 'a' - 'A'
		}
		return r
	}, name)
}
