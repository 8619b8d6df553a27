package pgdest

import (
	"slices"
	"sync"

	"github.com/jackc/pgx/v5/pgtype"

	"github.com/memdbwriter/memdbwriter/internal/dest"
	"github.com/memdbwriter/memdbwriter/internal/sqltext"
	"github.com/memdbwriter/memdbwriter/internal/transcode"
	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

// plan is how batches are written to a table of one shape. It is immutable but
// for the plans that it makes.
type plan struct {
	shape  *shape
	server server // for insert-only tables

	// The ways. nil where there is none.
	direct *way // every row is a new one; always there for insert-only tables
	few    *way // the upsert for batches of which few rows change
	many   *way // and for others; both need a batch that has each key once
	any    *way // the upsert for batches that may have a key several times
	fresh  *way // for tables with a key: a known one is an error
	choice *choice

	// isolate tells the rows of a batch apart; nil where that is not possible.
	isolate   func(hints []string, first int) sqltext.SQL
	inexact   []string // the key columns whose values can be equal without being the same bytes
	order     tuple.KeyOrder
	overtaken []string // unique indexes on the key, if somebody else's new row can be in the way of an upsert
	columns   []columnPlan
	lastCheck int // index after the last column that has to be looked at; 0: tuples go out as they are
	converts  bool
	marked    bool // tuples that are not tuple.Plain need conversion
	text      bool // COPY reads text: a column takes values that have no binary form

	table *dest.Table
	form  form
	// For rows that leave out columns there are further plans, made when such
	// rows come. whole is the one for rows that have all; nil: it is this.
	whole  *plan
	others sync.Map // of *plan, by tuple.Absences
}

type columnPlan struct {
	transcode.Step
	name    string
	notNull bool // the Go side has NULLs, the column takes none
}

// of returns the plan for the columns that the rows of b have, which are the same
// for all of them. Rows that leave out others may be of other keys, so each plan
// has a choice of its own.
func (p *plan) of(b *tuple.Batch) (*plan, error) {
	absences := tuple.Absences(b.Tuple(0))
	if absences == nil {
		return p, nil
	}
	if other, ok := p.others.Load(string(absences)); ok {
		return other.(*plan), nil
	}
	other, err := newPlan(p.table.Without(b.Tuple(0)), p.shape, p.form)
	if err != nil {
		return nil, err
	}
	other.whole, other.server, other.choice = p, p.server, &choice{}
	other.choice.begin(p.shape.takesNumbers(other.table))
	other.converts, other.lastCheck = true, len(other.columns)
	made, _ := p.others.LoadOrStore(string(absences), other)
	return made.(*plan), nil
}

// way is how a batch gets into the table: a COPY, into the table itself or a
// temporary one, and the statements that follow it in the transaction.
type way struct {
	temp  temporary // zero: the COPY goes into the table
	rel   string    // what the COPY fills, as errors call it
	fill  sqltext.SQL
	moves []statement
	// counted: how many rows the statements count has to be known, which costs a
	// round trip.
	counted bool
	// skips: a trigger may cancel rows, which are counted.
	skips bool
	// last is what the number of rows of the last statement is.
	last lastCount
}

type lastCount uint8

const (
	lastNothing lastCount = iota
	lastWritten           // rows that were inserted or updated
	lastNew               // rows that were inserted
)

// newPlan returns how to write the rows of t to a table of the shape, which
// compare let pass.
func newPlan(t *dest.Table, s *shape, f form) (*plan, error) {
	p := &plan{table: t, form: f, shape: s, columns: make([]columnPlan, len(t.Columns))}
	for i, c := range t.Columns {
		got := s.columns[c.Name]
		got.typ.Uncut = i < t.Keys && t.Policy != dest.InsertOnly && exactKey(c, s)
		step, err := transcode.New(c.Type, got.typ)
		if err != nil {
			return nil, err // compare found it before
		}
		p.columns[i] = columnPlan{Step: step, name: c.Name, notNull: got.notNull && c.Nullable}
		converts := step.Convert != nil && !step.Marked
		if converts || step.Check != nil || p.columns[i].notNull {
			p.lastCheck = i + 1
		}
		p.converts, p.marked, p.text = p.converts || converts, p.marked || step.Marked, p.text || step.TextOnly
	}
	p.order = tuple.NewKeyOrder(tupleColumns(t)[:t.Keys])
	m := &mover{t: t, s: s, temp: newTemporary(t, s, false), copy: copyForm{text: p.text, settled: s.bySession(t), restores: s.dialect.restores, parts: s.hasParts(t)}}
	keys := s.arbiters(t)
	if t.Policy == dest.InsertOnly && !s.aside(t) || len(keys) > 0 && !s.rowSecurity && !m.copy.settled {
		p.direct = m.directWay()
	}
	if s.programs {
		p.isolate = func(hints []string, first int) sqltext.SQL { return isolateSQL(m, f, len(p.inexact) > 0, hints, first) }
	}
	inserts := []statement{{m.insert(m.source(), sqltext.SQL{}), written}, {sql: checkSQL(t, s, false)}}
	if t.Policy == dest.InsertOnly {
		if p.direct == nil {
			p.direct = m.way(inserts, lastNothing)
		}
		return p, nil
	}
	p.inexact = inexactKeys(t, s)
	if len(keys) > 0 {
		p.fresh = p.direct
		if p.fresh == nil {
			p.fresh = m.way(inserts, lastNothing)
		}
	}
	p.setUpserts(m, f)
	for _, k := range keys {
		if f.overtakes {
			p.overtaken = append(p.overtaken, k.index)
		}
	}
	return p, nil
}

func tupleColumns(t *dest.Table) []tuple.Column {
	columns := make([]tuple.Column, len(t.Columns))
	for i, c := range t.Columns {
		columns[i] = c.Column
	}
	return columns
}

// bySession tells whether the settings of the session decide how COPY reads a
// value.
func (s *shape) bySession(t *dest.Table) bool {
	for _, c := range t.Columns {
		if s.columns[c.Name].typ.BySession() {
			return true
		}
	}
	return false
}

// hasParts tells whether a column takes arrays, or what may have some.
func (s *shape) hasParts(t *dest.Table) bool {
	return slices.ContainsFunc(t.Columns, func(c dest.Column) bool { return s.columns[c.Name].typ.Parts })
}

// aside tells whether insert-only rows go through a temporary table, too: where
// policies decide COPY is refused, and the settings under which COPY reads a
// value are not for defaults and triggers.
func (s *shape) aside(t *dest.Table) bool {
	return s.rowSecurity || s.dialect.restores && s.bySession(t)
}

// directWay copies into the table itself.
func (m *mover) directWay() *way {
	return &way{
		rel: m.s.name, fill: m.copy.sql(m.s.relation(), m.columns()),
		moves: []statement{{sql: checkSQL(m.t, m.s, false)}}, counted: m.s.triggers, skips: m.s.triggers,
	}
}

// way goes through the temporary table.
func (m *mover) way(moves []statement, last lastCount) *way {
	return &way{temp: m.temp, rel: m.temp.name, fill: m.fill(), moves: moves, counted: m.s.triggers, skips: m.s.triggers, last: last}
}

// setUpserts makes the ways that take known keys.
func (p *plan) setUpserts(m *mover, f form) {
	t, s := m.t, m.s
	check := statement{sql: checkSQL(t, s, true)}
	guarded := func(moves []statement) []statement {
		moves = append([]statement{check}, moves...)
		if f.guard != nil {
			moves = append(moves, statement{sql: f.guard(s)})
		}
		return moves
	}
	form, many, manyLast := f.sql, f.many, lastNew
	last := f.last
	if many == nil || s.rowSecurity { // UPDATE passes over rows that a policy keeps from it, and says nothing
		many, manyLast = form, f.last
	}
	first := many
	if s.triggers {
		// What a trigger does with a row is seen in the row that is inserted;
		// and of the rows that are left, those that were not written were
		// cancelled.
		form = func(m *mover, source sqltext.SQL) []statement {
			return append([]statement{m.dropUnchanged()}, f.sql(m, source)...)
		}
		first, many, last, manyLast = f.sql, form, lastNothing, lastNothing
	}
	p.few = m.way(guarded(form(m, m.source())), last)
	p.many = m.way(guarded(many(m, m.source())), manyLast)
	a := &mover{t: t, s: s, temp: newTemporary(t, s, true), copy: m.copy}
	p.any = a.way(guarded(a.inArrivalOrder(first, many)), lastNothing)
	p.any.counted = true
}

// trial is a form's statement as far as the server can parse it without a
// temporary table.
func (m *mover) trial(f form) sqltext.SQL {
	moves := f.sql(m, sqltext.Format("{} AS n", m.s.relation()))
	return moves[len(moves)-1].sql
}

// inexactKeys returns the key columns of which two values can be equal to the
// database although their bytes in the tuples differ.
func inexactKeys(t *dest.Table, s *shape) (names []string) {
	for _, c := range t.Columns[:t.Keys] {
		if !exactKey(c, s) {
			names = append(names, c.Name)
		}
	}
	return names
}

// exactKey tells whether values of a key column are equal only if their bytes
// are, which holds for few types, and only if nothing is rounded on the way. Of
// a varchar(n) no blanks are cut on the way, see transcode.Type.Uncut.
func exactKey(c dest.Column, s *shape) bool {
	got := s.columns[c.Name]
	whole := c.Type == tuple.Bool || c.Type == tuple.Int2 || c.Type == tuple.Int4 || c.Type == tuple.Int8
	if got.enum {
		return c.Type == tuple.Text
	}
	switch got.typ.OID {
	case pgtype.BoolOID:
		return c.Type == tuple.Bool
	case pgtype.Int2OID, pgtype.Int4OID, pgtype.Int8OID:
		return whole
	case pgtype.NumericOID:
		return whole && got.typ.Mod < 0
	case pgtype.UUIDOID:
		return c.Type == tuple.UUID
	case pgtype.ByteaOID:
		return c.Type == tuple.Bytea || c.Type == tuple.UUID
	case pgtype.TimestamptzOID:
		return c.Type == tuple.Timestamptz && !got.rounds()
	case pgtype.TimestampOID:
		return c.Type == tuple.Timestamp && !got.rounds()
	case pgtype.DateOID:
		return c.Type == tuple.Date
	case pgtype.TextOID, pgtype.VarcharOID, pgtype.NameOID:
		return c.Type != tuple.Float4 && c.Type != tuple.Float8 && c.Type != tuple.Local && s.deterministic(c.Name)
	}
	return false
}

// rounds tells whether a column of times keeps fewer digits than values have.
func (c column) rounds() bool { return c.typ.Mod >= 0 && c.typ.Mod < 6 }
