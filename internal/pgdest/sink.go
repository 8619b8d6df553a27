package pgdest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/memdbwriter/memdbwriter/internal/dest"
	"github.com/memdbwriter/memdbwriter/internal/sqltext"
	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

// Sink writes batches to one table.
type Sink struct {
	db    *DB
	table *dest.Table
	log   *slog.Logger

	// plan is how to write to the table as it was last seen. Nil: not seen
	// yet, or seen before something happened after which it may be another.
	plan    atomic.Pointer[plan]
	place   atomic.Pointer[place]
	choice  choice
	fashion fashion
	doubts  doubts                                      // the insert-only batches that may be in
	keep    func(context.Context, []dest.Receipt) error // see Record; may be nil
	orphans orphans
	buffers sync.Pool // of *[]byte, for encoded batches

	unindexed sync.Once // the warning about it
	inexact   sync.Once // and this one
}

var _ dest.Comparer = (*Sink)(nil)

// maxKept is the largest buffer that waits for the next batch.
const maxKept = 64 << 20

// Check looks at the table, creating it if that was asked for.
func (s *Sink) Check(ctx context.Context) error {
	return sinkError(s.withConn(ctx, func(pg *pgconn.PgConn) error {
		s.plan.Store(nil)
		_, err := s.currentPlan(ctx, pg, new(dest.Result))
		return err
	}))
}

// Write stores the batch.
func (s *Sink) Write(ctx context.Context, b *tuple.Batch) (dest.Result, error) {
	res := dest.Result{Way: dest.Direct}
	if b.Len() == 0 {
		return res, nil
	}
	if _, trend := s.fashion.hints(); trend && b.Len() >= suspectRows {
		return res, &dest.Error{Class: dest.ClassRow, Row: -1, Err: errSuspects}
	}
	err := s.withConn(ctx, func(pg *pgconn.PgConn) error { return s.write(ctx, pg, b, &res) })
	return res, sinkError(err)
}

// write stores the batch through one connection.
func (s *Sink) write(ctx context.Context, pg *pgconn.PgConn, b *tuple.Batch, res *dest.Result) error {
	if s.table.Policy != dest.InsertOnly {
		return s.put(ctx, pg, b, res)
	}
	missing, err := s.missing(ctx, pg, b, res)
	if err != nil {
		return err
	}
	if missing.Len() > 0 {
		if err := s.put(ctx, pg, missing, res); err != nil {
			return dest.InWhole(err, missing, b)
		}
	}
	s.doubts.stored(b)
	return nil
}

// put encodes and sends the batch.
func (s *Sink) put(ctx context.Context, pg *pgconn.PgConn, b *tuple.Batch, res *dest.Result) error {
	p, err := s.currentPlan(ctx, pg, res)
	if err == nil {
		p, err = p.of(b)
	}
	if err != nil {
		return err
	}
	buf, _ := s.buffers.Get().(*[]byte)
	if buf == nil {
		buf = new([]byte)
	}
	encoded, err := p.encode((*buf)[:0], b)
	if err == nil {
		err = s.send(ctx, pg, p, b, encoded, res)
	}
	if encoded != nil {
		*buf = encoded
	}
	if cap(*buf) <= maxKept {
		s.buffers.Put(buf)
	}
	return err
}

// send writes the batch, the direct way first if it is likely to do.
func (s *Sink) send(ctx context.Context, pg *pgconn.PgConn, p *plan, b *tuple.Batch, encoded []byte, res *dest.Result) error {
	if s.table.Policy == dest.InsertOnly {
		if err := s.insert(ctx, pg, p, b, encoded, res); err != nil {
			return s.lookAgain(ctx, pg, p, classifyCopy(err, p.direct.rel, b.Len(), p.columns), res)
		}
		return nil
	}
	if p.direct != nil && p.choice.direct() {
		res.Way = dest.Direct
		_, err := s.run(ctx, pg, p, p.direct, b, encoded, res)
		if err == nil {
			p.choice.succeeded()
			return nil
		}
		e := classifyCopy(err, p.direct.rel, b.Len(), p.columns)
		if e.SQLState != uniqueViolation {
			return s.lookAgain(ctx, pg, p, e, res)
		}
		p.choice.conflicted()
	}
	res.Way = dest.Upsert
	w := p.upsert(b)
	last, err := s.run(ctx, pg, p, w, b, encoded, res)
	if p.wasOvertaken(err) { // the row that was in the way can be seen now
		last, err = s.run(ctx, pg, p, w, b, encoded, res)
	}
	if err == nil {
		switch w.last {
		case lastNothing:
			p.choice.counted()
		default:
			p.choice.upserted(int64(b.Len()), last, w.last == lastNew)
		}
		return nil
	}
	e := classifyCopy(err, w.rel, b.Len(), p.columns)
	if b.Len() == 1 && p.wasOvertaken(err) {
		e.Class = dest.ClassTransient // the others of a larger batch may be to blame, which is then taken apart
	}
	return s.lookAgain(ctx, pg, p, e, res)
}

// upsert is the way for a batch that may have known keys.
func (p *plan) upsert(b *tuple.Batch) *way {
	switch {
	case len(p.inexact) > 0 || !p.order.Ascending(b):
		return p.any
	case p.choice.changesMuch():
		return p.many
	}
	return p.few
}

// run sends a batch on a way, as one transaction. It returns the number of rows
// of the last statement.
func (s *Sink) run(ctx context.Context, pg *pgconn.PgConn, p *plan, w *way, b *tuple.Batch, encoded []byte, res *dest.Result) (last int64, err error) {
	last, err = s.runOnce(ctx, pg, p, w, start{}, b, encoded, res)
	if w.temp.name != "" && lacksTemporary(err, w.temp.name) { // behind a pooler, in another session
		last, err = s.runOnce(ctx, pg, p, w, start{create: true}, b, encoded, res)
	}
	return last, err
}

// start is how a batch finds the session.
type start struct {
	create bool // the temporary table may be missing
	begun  bool // in a transaction, which is to be committed
}

func (s *Sink) runOnce(ctx context.Context, pg *pgconn.PgConn, p *plan, w *way, at start, b *tuple.Batch, encoded []byte, res *dest.Result) (last int64, err error) {
	if w.temp.position != "" {
		encoded = p.withSeq(b, encoded)
	}
	fill := w.fill
	if w.temp.name != "" && (at.create || w.temp.brief || !hasTemporary(pg, w.temp.name)) {
		fill = sqltext.Statements(w.temp.create, fill)
	}
	res.RoundTrips++
	switch {
	case w.counted:
		if !at.begun {
			fill = sqltext.Statements(sqltext.Const("BEGIN"), fill)
		}
		last, err = copyFrom(ctx, pg, fill, b, encoded)
		if err == nil {
			err = s.move(ctx, pg, w, int64(b.Len()), last, res)
		}
		if err != nil && !at.begun {
			rollBack(ctx, pg, res)
		}
	case at.begun:
		last, err = copyFrom(ctx, pg, sqltext.Statements(fill, sqlOf(w.moves), sqltext.Const("COMMIT")), b, encoded)
	default:
		last, err = copyFrom(ctx, pg, sqltext.Statements(fill, sqlOf(w.moves)), b, encoded)
	}
	if err == nil && w.temp.name != "" && !w.temp.brief {
		noteTemporary(pg, w.temp.name, true)
	}
	return last, err
}

// move runs the statements behind the COPY, which stored so many of the rows,
// commits, and says what became of them.
func (s *Sink) move(ctx context.Context, pg *pgconn.PgConn, w *way, rows, copied int64, res *dest.Result) error {
	res.RoundTrips++
	counts, err := affected(ctx, pg, sqltext.Statements(sqlOf(w.moves), sqltext.Const("COMMIT")))
	if err != nil {
		return err
	}
	if len(counts) < len(w.moves) {
		return fmt.Errorf("%w: %d results, want %d", errAnswer, len(counts), len(w.moves))
	}
	var n [written + 1]int64
	for i, m := range w.moves {
		n[m.counts] += counts[i]
	}
	res.Superseded = int(n[superseded])
	switch {
	case w.skips && w.temp.name == "":
		res.Skipped = int(rows - copied)
	case w.skips:
		res.Skipped = int(rows - n[superseded] - n[unchanged] - n[written])
	}
	return nil
}

// wasOvertaken tells whether an upsert failed because a row that it found new
// was there when it inserted it.
func (p *plan) wasOvertaken(err error) bool {
	pe := new(pgconn.PgError)
	return len(p.overtaken) > 0 && errors.As(err, &pe) && pe.Code == uniqueViolation && slices.Contains(p.overtaken, constraintOf(pe))
}

// copyFrom runs sql, of which one statement is a COPY FROM STDIN, and feeds
// it the batch. It returns the number of rows of the last statement.
func copyFrom(ctx context.Context, pg *pgconn.PgConn, sql sqltext.SQL, b *tuple.Batch, encoded []byte) (int64, error) {
	r := newStream(b, encoded)
	r.read = func() { dest.Enter(ctx, dest.PhaseServer) }
	defer r.stop()
	dest.Enter(ctx, dest.PhaseSending)
	tag, err := copyIn(ctx, pg, sql, r)
	dest.Enter(ctx, dest.PhaseServer)
	if cause := ctx.Err(); err != nil && cause != nil && !errors.Is(err, cause) && pg.IsClosed() {
		// The goroutine of pgconn that writes may see the end of the context
		// first. It closes the connection, and that is all that err tells.
		return 0, fmt.Errorf("%w: %w", cause, err)
	}
	return tag.RowsAffected(), err
}

// lookAgain gives an error a second thought: the table may have been changed
// since the plan was made. Then the new shape decides whether the batch can be
// written again, or says more precisely what is wrong.
func (s *Sink) lookAgain(ctx context.Context, pg *pgconn.PgConn, p *plan, e *dest.Error, res *dest.Result) error {
	switch {
	case pg.IsClosed(), e.Class == dest.ClassTransient:
		return e
	case e.Class == dest.ClassRow && strings.HasPrefix(e.SQLState, "23") && e.SQLState != notNullViolation:
		return e
	}
	if p.whole != nil {
		p = p.whole
	}
	res.RoundTrips++
	found, err := s.look(ctx, pg)
	if err != nil {
		s.plan.CompareAndSwap(p, nil)
		return e
	}
	if found.print == p.shape.print {
		return e
	}
	s.plan.CompareAndSwap(p, nil)
	if err := compare(s.table, found); err != nil {
		return err
	}
	return &dest.Error{
		Class: dest.ClassTransient, Row: -1, SQLState: e.SQLState,
		Err: fmt.Errorf("the table was changed while the batch was written, which is tried again: %w", e.Err),
	}
}

// currentPlan returns the plan, made anew if there is none.
func (s *Sink) currentPlan(ctx context.Context, pg *pgconn.PgConn, res *dest.Result) (*plan, error) {
	if p := s.plan.Load(); p != nil {
		return p, nil
	}
	found, err := s.find(ctx, pg, res)
	if err != nil {
		return nil, classify(err)
	}
	if err := compare(s.table, found); err != nil {
		return nil, err
	}
	if err := checkSequences(ctx, pg, s.table, found, res); err != nil {
		return nil, err
	}
	f, err := s.chooseForm(ctx, pg, found, res)
	if err != nil {
		return nil, err
	}
	if err := s.planUpsert(ctx, pg, found, f, res); err != nil {
		return nil, err
	}
	p, err := newPlan(s.table, found, f)
	if err != nil {
		return nil, err
	}
	if s.table.Policy == dest.InsertOnly {
		if p.server, err = s.identify(ctx, pg, res); err != nil {
			return nil, classify(err)
		}
	}
	s.pin(ctx, found)
	p.choice = &s.choice
	p.choice.begin(found.takesNumbers(s.table))
	s.plan.Store(p)
	s.log.DebugContext(ctx, "table checked", "table", s.table.String(), "columns", len(found.columns),
		"dialect", found.dialect.name, "mode", found.mode, "version", found.version)
	if len(p.inexact) > 0 {
		s.inexact.Do(func() {
			s.log.WarnContext(ctx, "the database may hold different values of these key columns for equal",
				"table", s.table.String(), "destination", s.db.String(), "columns", strings.Join(p.inexact, ", "))
		})
	}
	if len(found.arbiters(s.table)) == 0 && s.table.Policy != dest.InsertOnly && found.kind != "v" {
		s.unindexed.Do(func() { s.warnUnindexed(ctx, found) })
	}
	return p, nil
}

// place is where a table was found at the first look.
type place struct {
	schema string
	oid    uint32
}

// look reads the shape of the table. After the first look it is the one in the
// same schema, whatever the search path of a session that others use is by then;
// only to be created anew it is looked for along the path again.
func (s *Sink) look(ctx context.Context, pg *pgconn.PgConn) (*shape, error) {
	at := s.place.Load()
	if at == nil {
		return readShape(ctx, pg, s.table.Schema, s.table.Name)
	}
	found, err := readShape(ctx, pg, at.schema, s.table.Name)
	if err == nil && !found.exists && s.table.Create && s.table.Schema == "" {
		return readShape(ctx, pg, "", s.table.Name)
	}
	return found, err
}

// pin keeps the place of the table that was found.
func (s *Sink) pin(ctx context.Context, found *shape) {
	now := &place{found.schema, found.oid}
	if was := s.place.Swap(now); was != nil && *was != *now {
		s.log.WarnContext(ctx, "another table has the name of the one that was written to, and rows go there from now on",
			"table", found.relation().String(), "destination", s.db.String(), "oid", now.oid, "before", was.oid)
	}
}

// warnUnindexed says what it costs that no unique index is on the key.
func (s *Sink) warnUnindexed(ctx context.Context, found *shape) {
	s.log.WarnContext(ctx, "no unique index is on exactly the key: every batch scans the table unless another index helps, "+
		"and rows that several writers add at the same moment may be there twice",
		"table", s.table.String(), "destination", s.db.String(), "mend", uniqueIndexSQL(s.table, found).String()+";")
}

// find reads the shape of the table, and creates the table if it is missing
// and that was asked for. Of several processes that find it missing one makes
// it: the others' statements wait for that one, fail, and find its table.
func (s *Sink) find(ctx context.Context, pg *pgconn.PgConn, res *dest.Result) (*shape, error) {
	const attempts = 3
	for attempt := 1; ; attempt++ {
		res.RoundTrips++
		found, err := s.look(ctx, pg)
		if err != nil || found.exists || !s.table.Create || found.lookalike != "" {
			return found, err
		}
		res.RoundTrips++
		err = execute(ctx, pg, sqltext.Statements(tableDDL(s.table, found)...))
		if err == nil {
			s.log.InfoContext(ctx, "table created", "table", s.table.String())
			if found.dialect.freshAfterDDL {
				// withConn takes another connection.
				return nil, errors.Join(errors.New("the table was created, and its connection is not used any more"), pg.Close(ctx))
			}
		} else if attempt == attempts || !lostRace(err) {
			return nil, fmt.Errorf("creating the table: %w", err)
		}
	}
}

// lostRace tells whether a CREATE failed because somebody else was faster:
// the table, its schema or its row type is there already, or just becomes so.
func lostRace(err error) bool {
	pe := new(pgconn.PgError)
	return errors.As(err, &pe) && slices.Contains([]string{"42P07", "42P06", "42710", uniqueViolation}, pe.Code)
}

// sinkError makes every error of a Sink a *dest.Error.
func sinkError(err error) error {
	if err == nil {
		return nil
	}
	return dest.AsError(err)
}

// Close has nothing to release: connections belong to the DB.
func (s *Sink) Close() error {
	s.plan.Store(nil)
	return nil
}

// InexactKeys implements dest.Comparer.
func (s *Sink) InexactKeys() (names []string, known bool) {
	if p := s.plan.Load(); p != nil {
		return p.inexact, true
	}
	return nil, false
}

// Insert implements dest.Comparer.
func (s *Sink) Insert(ctx context.Context, b *tuple.Batch) (dest.Result, error) {
	res := dest.Result{Way: dest.Direct}
	err := s.withConn(ctx, func(pg *pgconn.PgConn) error {
		p, err := s.currentPlan(ctx, pg, &res)
		if err != nil {
			return err
		}
		if p, err = p.of(b); err != nil {
			return err
		}
		if p.fresh == nil {
			return dest.RowErrorf(-1, "", uniqueViolation, "without a unique index on the key it is not known whether the table has a newer row of it")
		}
		encoded, err := p.encode(nil, b)
		if err != nil {
			return err
		}
		if _, err = s.run(ctx, pg, p, p.fresh, b, encoded, &res); err != nil {
			e := classifyCopy(err, p.fresh.rel, b.Len(), p.columns)
			if e.SQLState == uniqueViolation {
				if p.shape.ofKey(s.table, e.Constraint) {
					e.Hint = "the table has a row of this key, which may be newer: discard this one, or add it again"
				}
				return e
			}
			return s.lookAgain(ctx, pg, p, e, &res)
		}
		return nil
	})
	return res, sinkError(err)
}
