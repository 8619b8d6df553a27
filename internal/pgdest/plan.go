package pgdest

import (
	"fmt"
	"hash/fnv"
	"sync"

	"github.com/memdbwriter/memdbwriter/internal/dest"
	"github.com/memdbwriter/memdbwriter/internal/sqltext"
	"github.com/memdbwriter/memdbwriter/internal/transcode"
	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

// plan is how batches are written to a table of one shape. It is immutable but
// for the plans that it makes.
type plan struct {
	shape  *shape
	server server      // for insert-only tables
	direct sqltext.SQL // empty where nothing would stop it from writing a key twice
	upsert sqltext.SQL // empty for insert-only tables
	temp   string      // name of the temporary table
	// isolate tells the rows of a batch apart; nil where that is not possible.
	isolate   func(hints []string, first int) sqltext.SQL
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
// for all of them.
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
	other.whole, other.server = p, p.server
	other.converts, other.lastCheck = true, len(other.columns)
	p.others.Store(string(absences), other)
	return other, nil
}

// newPlan returns how to write the rows of t to a table of the shape, which
// compare let pass.
func newPlan(t *dest.Table, s *shape, f form) (*plan, error) {
	p := &plan{table: t, form: f, shape: s, columns: make([]columnPlan, len(t.Columns))}
	var defs, bases []sqltext.SQL // the columns of temporary tables
	bySession := false
	for i, c := range t.Columns {
		got := s.columns[c.Name]
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
		bySession = bySession || got.typ.BySession()
		defs = append(defs, sqltext.Format("{} {}", sqltext.Ident(c.Name), sqltext.Program(got.declared)))
		bases = append(bases, sqltext.Format("{} {}", sqltext.Ident(c.Name), sqltext.Program(got.base)))
	}
	columns, columnDefs := columnList(t), sqltext.Join(", ", defs...)
	keys := s.arbiters(t)
	c := copyForm{text: p.text, settled: bySession, restores: s.dialect.restores}
	// The settings under which COPY reads such values are not for defaults and
	// triggers. Where the batch goes through the temporary table they end
	// before these are asked.
	if len(keys) > 0 && !bySession || t.Policy == dest.InsertOnly {
		p.direct = directSQL(t, s, columns, c)
	}
	if t.Policy != dest.InsertOnly {
		p.temp = tempName(s, columnDefs)
		p.upsert = upsertSQL(t, s, f, p.temp, columnDefs, columns, c)
	}
	if s.programs {
		p.isolate = func(hints []string, first int) sqltext.SQL {
			return isolateSQL(t, s, f, sqltext.Join(", ", bases...), columns, c, hints, first)
		}
	}
	for _, k := range keys {
		if f.overtakes {
			p.overtaken = append(p.overtaken, k.index)
		}
	}
	return p, nil
}

// tempName names the temporary table of a table and its columns, so that a
// session never meets one of another shape.
func tempName(s *shape, columnDefs sqltext.SQL) string {
	h := fnv.New64a()
	fmt.Fprintf(h, "%s (%s)", s.relation(), columnDefs)
	return fmt.Sprintf("memdbwriter_%016x", h.Sum64())
}
