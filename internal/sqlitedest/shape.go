package sqlitedest

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"

	"github.com/memdbwriter/memdbwriter/internal/dest"
)

// shape is a table as it stands in the file.
type shape struct {
	kind    string // "table", "view", "virtual"
	strict  bool
	columns map[string]shapeColumn // by folded name
	order   []string               // the folded names in the order of the table
	unique  []string               // column sets of unique indexes, see columnSet
	partial map[string]string      // names of the unique ones with a predicate, by column set
	cancels bool                   // a trigger may cancel rows
}

type shapeColumn struct {
	name, decl string
	notNull    bool
	hasDefault bool
	generated  bool
	primary    bool
	rowid      bool // INTEGER PRIMARY KEY: SQLite fills it in
}

// traits are what statements rest on beside the columns.
type traits struct {
	touched bool // the table has the column that an update touches
	cancels bool // it has a trigger that may cancel rows
}

func (s *shape) traits(t *dest.Table) traits { return traits{s.touched(t), s.cancels} }

// touched tells whether an update sets Table.Touched.
func (s *shape) touched(t *dest.Table) bool {
	c, ok := s.columns[fold(t.Touched)]
	return ok && c.hasDefault && !c.generated
}

// columnSet names a set of columns, whatever their order.
func columnSet(folded []string) string {
	return fmt.Sprintf("%q", slices.Sorted(slices.Values(folded)))
}

// readShape returns nil for a table that does not exist.
func readShape(ctx context.Context, c *sql.Conn, table string) (*shape, error) {
	s := &shape{columns: map[string]shapeColumn{}, partial: map[string]string{}}
	err := c.QueryRowContext(ctx, `SELECT type, strict FROM pragma_table_list
		WHERE schema = 'main' AND name = ? COLLATE NOCASE`, table).Scan(&s.kind, &s.strict)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err == nil {
		err = s.readColumns(ctx, c, table)
	}
	if err == nil {
		err = s.readIndexes(ctx, c, table)
	}
	if err == nil { // RAISE(IGNORE) is what cancels a row, and only in a trigger of this table
		err = c.QueryRowContext(ctx, `SELECT count(*) > 0 FROM main.sqlite_schema
			WHERE type = 'trigger' AND tbl_name = ? COLLATE NOCASE AND sql LIKE '%ignore%'`, table).Scan(&s.cancels)
	}
	return s, err
}

func (s *shape) readColumns(ctx context.Context, c *sql.Conn, table string) error {
	rows, err := c.QueryContext(ctx, `SELECT name, type, "notnull", dflt_value IS NOT NULL, pk > 0, hidden > 0
		FROM pragma_table_xinfo(?, 'main')`, table)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var c shapeColumn
		if err := rows.Scan(&c.name, &c.decl, &c.notNull, &c.hasDefault, &c.primary, &c.generated); err != nil {
			return err
		}
		s.columns[fold(c.name)] = c
		s.order = append(s.order, fold(c.name))
	}
	return rows.Err()
}

// readIndexes finds the column sets for which the table can promise that no
// two rows have the same bytes in them.
func (s *shape) readIndexes(ctx context.Context, c *sql.Conn, table string) error {
	rows, err := c.QueryContext(ctx, `SELECT i.name, i.origin, coalesce(x.name, ''), x.cid >= 0 AND x.coll = 'BINARY', i.partial
		FROM pragma_index_list(?, 'main') i, pragma_index_xinfo(i.name, 'main') x
		WHERE i."unique" AND x.key`, table)
	if err != nil {
		return err
	}
	defer rows.Close()
	indexes := map[string][]string{}
	unusable, partial := map[string]bool{}, map[string]bool{}
	primary := false // the primary key has an index, so it is not the rowid
	for rows.Next() {
		var index, origin, column string
		var usable, onSome bool
		if err := rows.Scan(&index, &origin, &column, &usable, &onSome); err != nil {
			return err
		}
		partial[index] = onSome
		indexes[index] = append(indexes[index], fold(column))
		unusable[index] = unusable[index] || !usable
		primary = primary || origin == "pk"
	}
	for index, columns := range indexes {
		switch {
		case unusable[index]:
		case partial[index]:
			s.partial[columnSet(columns)] = index
		default:
			s.unique = append(s.unique, columnSet(columns))
		}
	}
	for _, name := range s.order {
		if c := s.columns[name]; c.primary && !primary {
			c.rowid = true
			s.columns[name] = c
			s.unique = append(s.unique, columnSet([]string{name}))
		}
	}
	return rows.Err()
}

// compare returns an error with everything that keeps the table from taking
// the rows of t, and with the statements that mend it.
func (s *shape) compare(db *DB, t *dest.Table) error {
	d := &differences{table: t, shape: s}
	switch {
	case s == nil:
		d.add("it does not exist, or not any more", createSQL(t)...)
		return d.error(db)
	case s.kind != "table":
		d.add(fmt.Sprintf("it is a %s, not a table: take another name", s.kind))
		return d.error(db)
	}
	ours := map[string]bool{}
	for i, c := range t.Columns {
		ours[fold(c.Name)] = true
		d.column(c, i < t.Keys)
	}
	if _, ok := s.columns[fold(t.Guard)]; t.Guard != "" && !ok {
		d.add(fmt.Sprintf("the guard column %q is missing", t.Guard), d.alter("ADD COLUMN %s"+guardType, dest.Quote(t.Guard)))
	}
	for _, name := range s.order {
		if c := s.columns[name]; !ours[name] && c.notNull && !c.hasDefault && !c.rowid && !c.generated {
			d.add(fmt.Sprintf("column %q is NOT NULL without a default, and is not written: give the row type a field for it", c.name))
		}
	}
	d.key()
	return d.error(db)
}
