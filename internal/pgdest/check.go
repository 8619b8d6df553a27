package pgdest

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgtype"

	"github.com/memdbwriter/memdbwriter/internal/dest"
	"github.com/memdbwriter/memdbwriter/internal/sqltext"
	"github.com/memdbwriter/memdbwriter/internal/transcode"
	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

// mismatches collects what keeps a table from taking the rows, each with the
// advice in words, and the statements that fix some of them.
type mismatches struct {
	problems []string
	mend     []string
}

// advise adds a mismatch that no statement fixes. Its text says what does.
func (m *mismatches) advise(format string, args ...any) {
	m.problems = append(m.problems, fmt.Sprintf(format, args...))
}

// add adds a mismatch that a statement fixes.
func (m *mismatches) add(mend, format string, args ...any) {
	m.advise(format, args...)
	m.mend = append(m.mend, mend)
}

// err is the one error of all mismatches, nil without any.
func (m *mismatches) err() error {
	if len(m.problems) == 0 {
		return nil
	}
	e := &dest.Error{Class: dest.ClassTable, Row: -1, Err: errors.New(strings.Join(m.problems, "; "))}
	if len(m.mend) > 0 {
		e.Hint = mendHint + strings.Join(m.mend, ";\n") + ";"
	}
	return e
}

// mendHint stands in front of statements that somebody has to run, each by
// itself: CREATE INDEX CONCURRENTLY refuses to be part of a transaction.
const mendHint = "to fix it: "

// compare tells what keeps the table of shape s from taking the rows of t, as
// a *dest.Error of ClassTable, or returns nil.
func compare(t *dest.Table, s *shape) error {
	m := &mismatches{}
	switch {
	case !s.exists && s.lookalike != "":
		m.advise("the table does not exist, but %q does, which differs in the case of its letters: PostgreSQL folds names to lower case "+
			"unless they are quoted, so give the table's name as it is there", s.lookalike)
		return m.err()
	case !s.exists:
		for _, ddl := range tableDDL(t, s) {
			m.mend = append(m.mend, strings.TrimRight(ddl.String(), "; \n"))
		}
		m.advise("the table does not exist")
		return m.err()
	case !compareKind(m, t, s):
		return m.err()
	}
	for i, c := range t.Columns {
		compareColumn(m, t, s, c)
		if i < t.Keys {
			compareKeyTime(m, s, c)
		}
	}
	compareGuard(m, t, s)
	compareRest(m, t, s)
	compareKey(m, t, s)
	compareIdentity(m, t, s)
	comparePrivileges(m, t, s)
	return m.err()
}

// tableDDL are the statements that make the missing table, and its schema.
func tableDDL(t *dest.Table, s *shape) []sqltext.SQL {
	var ddl []sqltext.SQL
	if t.Schema != "" && !s.hasSchema {
		ddl = append(ddl, sqltext.Format("CREATE SCHEMA {}", sqltext.Ident(t.Schema)))
	}
	if t.DDL == nil {
		return append(ddl, createSQL(t, s.dialect)...)
	}
	for _, statement := range t.DDL(s.dialect.name) {
		ddl = append(ddl, sqltext.Program(statement))
	}
	return ddl
}

func compareColumn(m *mismatches, t *dest.Table, s *shape, c dest.Column) {
	got, ok := s.columns[c.Name]
	if !ok {
		m.add("ALTER TABLE "+s.relation().String()+" ADD COLUMN "+dest.Quote(c.Name)+" "+c.SQLType(),
			"column %s does not exist", c.Name)
		return
	}
	if got.identity == always && updated(t, c) {
		m.advise("column %s is GENERATED ALWAYS AS IDENTITY, which no update changes: give the field the option insertonly", c.Name)
	}
	if got.generated {
		m.advise("column %s is computed by the server (GENERATED ALWAYS): take the db tag off the field", c.Name)
	}
	if _, err := transcode.New(c.Type, got.typ); err != nil {
		m.advise("column %s: %v: %s", c.Name, err, fieldFor(got.typ))
	}
}

// compareKeyTime refuses a key of local dates whose rows are told from each
// other by the instant: two days of it may be one key, and two keys one day.
func compareKeyTime(m *mismatches, s *shape, c dest.Column) {
	var typ string
	switch s.columns[c.Name].typ.OID {
	case pgtype.DateOID:
		typ = "date"
	case pgtype.TimestampOID, pgtype.TimeOID, pgtype.TimetzOID:
		typ = "timestamp"
	}
	if typ != "" && c.Type == tuple.Local {
		m.advise("key column %s is %s, which takes what the clock of a time.Time shows, and without an option in its tag a key is the instant: "+
			"give the tag the option type=%s", c.Name, s.columns[c.Name].declared, typ)
	}
}

func compareGuard(m *mismatches, t *dest.Table, s *shape) {
	if t.Guard == "" || t.Policy != dest.Update {
		return
	}
	got, ok := s.columns[t.Guard]
	switch {
	case !ok && !hasColumn(t, t.Guard):
		m.add("ALTER TABLE "+s.relation().String()+" ADD COLUMN "+dest.Quote(t.Guard)+" boolean NOT NULL DEFAULT false",
			"the guard column %s does not exist", t.Guard)
	case ok && got.typ.OID != pgtype.BoolOID:
		m.advise("the guard column %s is %s and not boolean: give Guard the name of a boolean column", t.Guard, got.declared)
	}
}

// compareRest looks at the columns that are not written: they must get a
// value without us.
func compareRest(m *mismatches, t *dest.Table, s *shape) {
	for _, name := range s.order {
		got := s.columns[name]
		if hasColumn(t, name) || !got.notNull || got.defaulted || got.generated {
			continue
		}
		const what = "column %s is NOT NULL without a default, and is not written"
		integer := slices.Contains([]uint32{pgtype.Int2OID, pgtype.Int4OID, pgtype.Int8OID}, got.typ.OID)
		if s.dialect.computes && integer && s.inPrimaryKey(name) {
			m.add(identityDDL(s, name).String(), what, name)
		} else {
			m.advise(what+": give the row type a field for it, or the column a default", name)
		}
	}
}

// comparePrivileges asks for what the statements of Write need.
func comparePrivileges(m *mismatches, t *dest.Table, s *shape) {
	if !s.schemaUsage {
		m.add("GRANT USAGE ON SCHEMA "+dest.Quote(s.schema)+" TO "+dest.Quote(s.user),
			"user %s may not use the schema %s", s.user, s.schema)
	}
	var missing []string
	need := func(privilege string, has bool) {
		if !has && !slices.Contains(missing, privilege) {
			missing = append(missing, privilege)
		}
	}
	upsert := t.Policy != dest.InsertOnly
	for i, c := range t.Columns {
		got, ok := s.columns[c.Name]
		if !ok {
			continue
		}
		need("INSERT", got.insert)
		if upsert && i < t.Keys {
			need("SELECT", got.read)
		}
		if updated(t, c) {
			need("SELECT", got.read)
			need("UPDATE", got.update)
		}
	}
	if got, ok := s.columns[t.Guard]; ok && t.Policy == dest.Update {
		need("SELECT", got.read)
	}
	if t.Policy == dest.Update && s.touched(t) {
		need("UPDATE", s.columns[t.Touched].update)
	}
	if len(missing) > 0 {
		list := strings.Join(missing, ", ")
		m.add("GRANT "+list+" ON "+s.relation().String()+" TO "+dest.Quote(s.user), "user %s lacks the privilege %s on it", s.user, list)
	}
	if (upsert || s.aside(t)) && !s.mayTemp {
		m.add("GRANT TEMPORARY ON DATABASE "+dest.Quote(s.database)+" TO "+dest.Quote(s.user),
			"user %s may not create temporary tables in database %s", s.user, s.database)
	}
}
