package pgdest

import (
	"slices"

	"github.com/memdbwriter/memdbwriter/internal/dest"
	"github.com/memdbwriter/memdbwriter/internal/sqltext"
)

// This file holds the statements that move the rows of a batch from the
// temporary table, called n, into the table, called t.
//
// They keep the session's search path, because triggers and defaults rely on
// it, and so name themselves every operator, type and collation that they use:
// keys are equal by the operator and the collation of the index on them.

// counter says what the number of rows of a statement is.
type counter uint8

const (
	uncounted  counter = iota
	superseded         // rows whose key a newer row of the batch has
	unchanged          // rows that need not be written
	written            // rows that were
)

// statement is one of those that move rows.
type statement struct {
	sql    sqltext.SQL
	counts counter
}

func sqlOf(statements []statement) sqltext.SQL {
	parts := make([]sqltext.SQL, len(statements))
	for i, s := range statements {
		parts[i] = s.sql
	}
	return sqltext.Statements(parts...)
}

// mover writes the statements for a table of a shape.
type mover struct {
	t    *dest.Table
	s    *shape
	temp temporary
	copy copyForm
}

// source is n as a FROM item.
func (m *mover) source() sqltext.SQL { return sqltext.Format("{} AS n", m.temp.source()) }

// value is a column of n with the type that the table's column has.
func (m *mover) value(c dest.Column) sqltext.SQL {
	_, cast := m.s.columns[c.Name].inner()
	return sqltext.Format("n.{}{}", sqltext.Ident(c.Name), cast)
}

func excluded(c dest.Column) sqltext.SQL { return sqltext.Format("EXCLUDED.{}", sqltext.Ident(c.Name)) }

// part is how the index on the key compares a key column.
func (m *mover) part(c dest.Column) keyPart {
	for _, k := range m.s.arbiters(m.t) {
		if part, ok := k.parts[c.Name]; ok {
			return part
		}
	}
	return m.s.columns[c.Name].part
}

// match is the condition that the keys of t and n are equal.
func (m *mover) match() sqltext.SQL {
	var same []sqltext.SQL
	for _, c := range m.t.Columns[:m.t.Keys] {
		part := m.part(c)
		// No operator takes a domain over an enum.
		same = append(same, sqltext.Format("t.{}{}{}{}{}", sqltext.Ident(c.Name), m.s.columns[c.Name].baseCast(), part.equal, m.value(c), part.collate))
	}
	return sqltext.Join(" AND ", same...)
}

// updated are the columns that an upsert sets in a stored row, and a reason to
// do so the ones of them whose values are compared. Both are empty if nothing
// is ever changed.
func (m *mover) updated() (set, compared []dest.Column) {
	for _, c := range m.t.Columns[m.t.Keys:] {
		if !updated(m.t, c) {
			continue
		}
		set = append(set, c)
		if !c.Passive {
			compared = append(compared, c)
		}
	}
	if len(compared) == 0 {
		return nil, nil
	}
	return set, compared
}

// updated tells whether an upsert changes a column.
func updated(t *dest.Table, c dest.Column) bool {
	return t.Policy == dest.Update && !c.InsertOnly && !slices.Contains(keyNames(t), c.Name)
}

// set is the list of what an upsert sets.
func (m *mover) set(value func(dest.Column) sqltext.SQL) sqltext.SQL {
	columns, _ := m.updated()
	sets := make([]sqltext.SQL, len(columns))
	for i, c := range columns {
		sets[i] = sqltext.Format("{} = {}", sqltext.Ident(c.Name), value(c))
	}
	if m.s.touched(m.t) {
		sets = append(sets, sqltext.Format("{} = DEFAULT", sqltext.Ident(m.t.Touched)))
	}
	return sqltext.Join(", ", sets...)
}

// touched tells whether an update sets Table.Touched.
func (s *shape) touched(t *dest.Table) bool {
	c, ok := s.columns[t.Touched]
	return ok && c.defaulted && !c.generated && !hasColumn(t, t.Touched)
}

// due is the condition that a stored row is to be updated: the guard is not
// set, and a value is not the same to the last bit. It may be NULL for false.
func (m *mover) due(value func(dest.Column) sqltext.SQL) sqltext.SQL {
	_, compared := m.updated()
	if len(compared) == 0 {
		return sqltext.Const("false")
	}
	condition := m.s.dialect.differ(m.s, compared, value)
	if m.t.Guard != "" {
		condition = sqltext.Format("t.{} IS NOT TRUE AND {}", sqltext.Ident(m.t.Guard), condition)
	}
	return condition
}

// differByImage compares the bytes of the values as they are stored. Unlike
// their equality, this sees that 1.0 became 1.00 and abc became ABC, and there
// is no type without it.
func differByImage(s *shape, columns []dest.Column, value func(dest.Column) sqltext.SQL) sqltext.SQL {
	var stored, given []sqltext.SQL
	for _, c := range columns {
		base := s.columns[c.Name].baseCast()
		stored = append(stored, sqltext.Format("t.{}{}", sqltext.Ident(c.Name), base))
		given = append(given, sqltext.Format("{}{}", value(c), base))
	}
	return sqltext.Format("ROW({})::pg_catalog.record OPERATOR(pg_catalog.*<>) ROW({})::pg_catalog.record",
		sqltext.Join(", ", stored...), sqltext.Join(", ", given...))
}

// baseCast makes a value of a domain one of its base type, without a modifier.
func (c column) baseCast() sqltext.SQL {
	if c.typeOID == c.typ.OID {
		return sqltext.SQL{}
	}
	return sqltext.Format("::{}", sqltext.Name(c.typeSchema, c.typeName))
}

// columns and values of all that is written.
func (m *mover) columns() sqltext.SQL { return columnList(m.t) }

func (m *mover) values() sqltext.SQL {
	values := make([]sqltext.SQL, len(m.t.Columns))
	for i, c := range m.t.Columns {
		values[i] = m.value(c)
	}
	return sqltext.Join(", ", values...)
}

// absent is the condition that no row of t has n's key and fulfils another
// condition. OFFSET 0 keeps the server from making a join of it, for which it
// may read the whole table: the row is looked up in the index.
func (m *mover) absent(condition sqltext.SQL) sqltext.SQL {
	table := m.s.own()
	if m.t.Where != "" { // rows beyond the predicate may have the key, too
		table = sqltext.Format("(SELECT * FROM {} WHERE {})", table, sqltext.Program(m.t.Where))
	}
	return sqltext.Format("NOT EXISTS (SELECT 1 FROM {} AS t WHERE {}{} OFFSET 0)", table, m.match(), condition)
}

// insert inserts the rows of source that fulfil a condition.
func (m *mover) insert(source, condition sqltext.SQL) sqltext.SQL {
	if !condition.Empty() {
		condition = sqltext.Format(" WHERE {}", condition)
	}
	var overriding sqltext.SQL
	for _, c := range m.t.Columns {
		if m.s.columns[c.Name].identity == always {
			overriding = sqltext.Const(" OVERRIDING SYSTEM VALUE") // as COPY does
		}
	}
	return sqltext.Format("INSERT INTO {} AS t ({}){} SELECT {} FROM {}{}", m.s.relation(), m.columns(), overriding, m.values(), source, condition)
}

// onConflict is what PostgreSQL's INSERT does with a known key.
func (m *mover) onConflict() sqltext.SQL {
	target := conflictTarget(m.t, m.s)
	if set, _ := m.updated(); len(set) == 0 {
		return sqltext.Format(" ON CONFLICT {} DO NOTHING", target)
	}
	return sqltext.Format(" ON CONFLICT {} DO UPDATE SET {} WHERE {}", target, m.set(excluded), m.due(excluded))
}

// unchangedRow is a further condition of absent: the row of t need not be
// updated.
func (m *mover) unchangedRow() sqltext.SQL {
	if set, _ := m.updated(); len(set) == 0 {
		return sqltext.SQL{}
	}
	return sqltext.Format(" AND ({}) IS NOT TRUE", m.due(m.value))
}

// insertDue is the form for batches of which most rows are unchanged: these are
// left out by one look, and cost no sequence value, no trigger and no WAL.
func insertDue(m *mover, source sqltext.SQL) []statement {
	return []statement{{sqltext.Format("{}{}", m.insert(source, m.absent(m.unchangedRow())), m.onConflict()), written}}
}

// insertAll is the form where the index on the key cannot be seen, so that it is
// not known what equality is to it.
func insertAll(m *mover, source sqltext.SQL) []statement {
	return []statement{{sqltext.Format("{}{}", m.insert(source, sqltext.SQL{}), m.onConflict()), written}}
}

// updateThenInsert is the form for batches of which most rows are changed: to
// update a row that is found costs less than to find it in the way of a new
// one. The number of rows of the last statement is that of the new ones. Rows
// are looked up in the index: to read the whole table seems cheaper to the
// server, which takes every page for one on the disk.
func updateThenInsert(m *mover, source sqltext.SQL) []statement {
	insert := statement{sqltext.Format("{}{}", m.insert(source, m.absent(sqltext.SQL{})), m.onConflict()), written}
	if set, _ := m.updated(); len(set) == 0 {
		return []statement{insert}
	}
	return []statement{
		{sql: sqltext.Const("SET LOCAL enable_hashjoin = off")},
		{sql: sqltext.Const("SET LOCAL enable_mergejoin = off")},
		{m.update(source), written},
		{sql: sqltext.Const("SET LOCAL enable_hashjoin TO DEFAULT")},
		{sql: sqltext.Const("SET LOCAL enable_mergejoin TO DEFAULT")},
		insert,
	}
}

func (m *mover) update(source sqltext.SQL) sqltext.SQL {
	return sqltext.Format("UPDATE {} AS t SET {} FROM {} WHERE {} AND {}", m.s.own(), m.set(m.value), source, m.match(), m.due(m.value))
}

// dropUnchanged takes the rows that need not be written out of n, where it has
// to be known how many these are.
func (m *mover) dropUnchanged() statement {
	return statement{sqltext.Format("DELETE FROM {} WHERE NOT {}", m.source(), m.absent(m.unchangedRow())), unchanged}
}

// keyList is the key of n as it is compared; less puts the operators behind.
func (m *mover) keyList(less bool) sqltext.SQL {
	var list []sqltext.SQL
	for _, c := range m.t.Columns[:m.t.Keys] {
		part := m.part(c)
		key := sqltext.Format("{}{}", m.value(c), part.collate)
		if less {
			key = sqltext.Format("{} USING{}", key, part.less)
		}
		list = append(list, key)
	}
	return sqltext.Join(", ", list...)
}

// firsts are the rows of n that came first of those of their key, as a FROM
// item n.
func (m *mover) firsts() sqltext.SQL {
	return sqltext.Format("(SELECT DISTINCT ON ({}) n.* FROM {} ORDER BY {}, n.{}) AS n",
		m.keyList(false), m.source(), m.keyList(true), sqltext.Ident(m.temp.position))
}

// dropReplaced leaves each key in n once, by the database's own equality: with
// the row that came last or, if known keys are ignored, first. The first one that
// sets the guard keeps those behind it away.
func (m *mover) dropReplaced() statement {
	seq := sqltext.Ident(m.temp.position)
	order := sqltext.Format("n.{} DESC", seq)
	switch guard, ok := m.ownGuard(); {
	case m.t.Policy == dest.Ignore:
		order = sqltext.Format("n.{}", seq)
	case ok:
		order = sqltext.Format("{} IS TRUE DESC, CASE WHEN {} THEN n.{} ELSE OPERATOR(pg_catalog.-) n.{} END", guard, guard, seq, seq)
	}
	return statement{sqltext.Format("DELETE FROM {} AS d WHERE NOT (d.{}"+eq+"ANY (SELECT DISTINCT ON ({}) n.{} FROM {} ORDER BY {}, {}))",
		m.temp.source(), seq, m.keyList(false), seq, m.source(), m.keyList(true), order), superseded}
}

// ownGuard is the guard in a row of n, if an update sets it.
func (m *mover) ownGuard() (guard sqltext.SQL, ok bool) {
	set, _ := m.updated()
	i := slices.IndexFunc(set, func(c dest.Column) bool { return m.t.Guard != "" && c.Name == m.t.Guard })
	if i < 0 {
		return sqltext.SQL{}, false
	}
	return m.value(set[i]), true
}

// inArrivalOrder puts in front of a form what makes any batch one that has each
// key once. Where the oldest row of a key has a say, it is written first, by
// a form that leaves n as it is.
func (m *mover) inArrivalOrder(first, form func(m *mover, source sqltext.SQL) []statement) []statement {
	var all []statement
	oldest := m.t.Guard != ""
	for _, c := range m.t.Columns {
		oldest = oldest || c.InsertOnly
	}
	if oldest && m.t.Policy == dest.Update {
		for _, s := range first(m, m.firsts()) {
			all = append(all, statement{sql: s.sql})
		}
	}
	return append(append(all, m.dropReplaced()), form(m, m.source())...)
}
