package sqlitedest

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/memdbwriter/memdbwriter/internal/dest"
	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

// sink is one table of a DB. Whoever has the turn of the DB owns its fields.
// Record is called before anybody else has it.
type sink struct {
	db    *DB
	table *dest.Table
	log   *slog.Logger

	stmt    *statement            // on the DB's connection; nil: the table must be checked
	others  map[string]*statement // those for rows that leave out columns, by tuple.Absences
	version int64                 // of the file's schema when it was
	traits  traits                // of the table then
	rows    rows
	skipped int // rows that triggers cancelled in the transaction under way

	receipts receipts
}

// Bind implements dest.Destination.
func (db *DB) Bind(t *dest.Table, log *slog.Logger) (dest.Sink, error) {
	if err := validate(t); err != nil {
		return nil, &dest.Error{Class: dest.ClassTable, Row: -1, Err: fmt.Errorf("%s cannot have the table %q: %w", db, t.String(), err)}
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &sink{db: db, table: t, log: log, rows: rows{columns: t.Columns}}, nil
}

func validate(t *dest.Table) error {
	switch {
	case t.Schema != "" && fold(t.Schema) != "main":
		return fmt.Errorf("an SQLite file has one schema, main, not %q", t.Schema)
	case t.Constraint != "" || t.Where != "":
		return errors.New("ConflictConstraint and ConflictWhere are for PostgreSQL")
	case t.Name == "":
		return errors.New("it has no name")
	case strings.HasPrefix(fold(t.Name), "sqlite_"):
		return errors.New("names that begin with sqlite_ are SQLite's own")
	case len(t.Columns) == 0:
		return errors.New("it has no columns")
	case len(t.Columns) > maxColumns:
		return fmt.Errorf("it has %d columns, SQLite takes at most %d", len(t.Columns), maxColumns)
	case t.Keys == 0 && t.Policy != dest.InsertOnly:
		return errors.New("it has no key columns, and its policy needs them")
	}
	seen := map[string]string{}
	for _, name := range append([]string{t.Name, t.Guard}, names(t)...) {
		if strings.ContainsRune(name, 0) {
			return fmt.Errorf("the name %q has a NUL byte", name)
		}
	}
	for _, name := range names(t) {
		if name == "" {
			return errors.New("a column has no name")
		}
		if other, ok := seen[fold(name)]; ok {
			return fmt.Errorf("its columns %q and %q are one to SQLite, which ignores case", other, name)
		}
		seen[fold(name)] = name
	}
	return nil
}

func names(t *dest.Table) []string {
	names := make([]string, len(t.Columns))
	for i, c := range t.Columns {
		names[i] = c.Name
	}
	return names
}

// Check implements dest.Sink. It creates the table when it is missing.
func (s *sink) Check(ctx context.Context) error {
	return s.db.use(ctx, func(c *sql.Conn) error { return s.check(ctx, c) })
}

// Write implements dest.Sink. It checks the table first if that has not been
// done on this connection, creating included. When a table that was there is
// gone or does not fit any more, that is an error, and the next Write begins
// with a check.
func (s *sink) Write(ctx context.Context, b *tuple.Batch) (dest.Result, error) {
	way := dest.Upsert
	if s.table.Policy == dest.InsertOnly {
		way = dest.Direct
	}
	if b.Len() == 0 {
		return dest.Result{Way: way}, nil
	}
	_, skipped, err := s.store(ctx, b, func(c *sql.Conn) putter {
		return func(part *tuple.Batch) ([]dest.Refusal, error) { return nil, s.insert(ctx, c, part) }
	})
	if err != nil {
		return dest.Result{}, err
	}
	return dest.Result{Way: way, Skipped: skipped}, nil
}

// putter stores rows in a transaction of its caller. It may return some that the
// file refuses.
type putter func(b *tuple.Batch) ([]dest.Refusal, error)

// store runs a putter over the rows of b that must be stored, in a transaction.
// The places of the refused rows are those in b; skipped are rows that a trigger
// cancelled.
func (s *sink) store(ctx context.Context, b *tuple.Batch, with func(*sql.Conn) putter) (refused []dest.Refusal, skipped int, err error) {
	err = s.db.use(ctx, func(c *sql.Conn) error {
		s.skipped = 0
		defer func() { skipped = s.skipped }()
		if s.stmt == nil {
			if err := s.check(ctx, c); err != nil {
				return err
			}
		}
		if err := s.makeReceipts(ctx, c); err != nil {
			return err
		}
		doubts, part := len(s.receipts.doubts), b
		err := transact(ctx, c, func() error {
			err := s.recheck(ctx, c)
			if err == nil {
				part, refused, err = s.insertOnce(ctx, c, b, with(c))
			}
			return err
		})
		s.answered(doubts, err)
		dest.PlacesInWhole(refused, part, b)
		return dest.InWhole(s.blame(ctx, c, part, err), part, b)
	})
	return refused, skipped, err
}

// Close implements dest.Sink.
func (s *sink) Close() error {
	s.db.turn <- struct{}{}
	defer s.db.release()
	return s.forget()
}

// check compares the table as it is now, creates it if it is missing, and
// prepares the statement.
func (s *sink) check(ctx context.Context, c *sql.Conn) error {
	if err := s.forget(); err != nil {
		return err
	}
	var version int64
	var have *shape
	err := transact(ctx, c, func() (err error) {
		if have, err = readShape(ctx, c, s.table.Name); err != nil {
			return err
		}
		if have == nil {
			if have, err = s.create(ctx, c); err != nil {
				return err
			}
		}
		if err := have.compare(s.db, s.table); err != nil {
			return err
		}
		version, err = schemaVersion(ctx, c)
		return err
	})
	if err != nil {
		return err
	}
	traits := have.traits(s.table)
	stmt, err := prepare(ctx, c, s.table, nil, traits)
	if err != nil {
		return err
	}
	s.stmt, s.version, s.traits, s.others = stmt, version, traits, map[string]*statement{}
	s.show(have)
	s.db.sinks[s] = struct{}{}
	return nil
}

func (s *sink) create(ctx context.Context, c *sql.Conn) (*shape, error) {
	for _, ddl := range createSQL(s.table) {
		if _, err := c.ExecContext(ctx, ddl); err != nil {
			return nil, fmt.Errorf("create table %q with %q: %w", s.table.Name, ddl, err)
		}
	}
	s.log.Info("created the table", "table", s.table.Name, "destination", s.db.String())
	return readShape(ctx, c, s.table.Name)
}

// recheck compares the table again if the schema of the file has changed. The
// caller's transaction keeps it from changing after that.
func (s *sink) recheck(ctx context.Context, c *sql.Conn) error {
	version, err := schemaVersion(ctx, c)
	if err != nil || version == s.version {
		return err
	}
	s.receipts.made = false // perhaps: the next Write looks
	have, err := readShape(ctx, c, s.table.Name)
	if err == nil {
		err = have.compare(s.db, s.table)
	}
	if err == nil && have.traits(s.table) != s.traits {
		err = fmt.Errorf("table %q has got or lost the column %q or a trigger, and is looked at again", s.table.Name, s.table.Touched)
	}
	if err != nil {
		return errors.Join(err, s.forget())
	}
	s.version = version
	s.show(have)
	return nil
}

// show makes the rows fit the declared types of the columns.
func (s *sink) show(have *shape) {
	s.rows.days = make([]bool, len(s.table.Columns))
	for i, c := range s.table.Columns {
		s.rows.days[i] = isDate(have.columns[fold(c.Name)].decl)
	}
}

// schemaVersion is a number in the file that every change of a schema raises.
func schemaVersion(ctx context.Context, c *sql.Conn) (v int64, err error) {
	err = c.QueryRowContext(ctx, "PRAGMA main.schema_version").Scan(&v)
	return v, err
}

// forget undoes check.
func (s *sink) forget() error {
	stmt := s.stmt
	if stmt == nil {
		return nil
	}
	s.stmt, s.receipts.made = nil, false
	delete(s.db.sinks, s)
	err := stmt.close()
	for _, other := range s.others {
		err = errors.Join(err, other.close())
	}
	return err
}

// statement returns the one for the columns that the rows of b have.
func (s *sink) statement(ctx context.Context, c *sql.Conn, b *tuple.Batch) (*statement, error) {
	absences := tuple.Absences(b.Tuple(0))
	if absences == nil {
		return s.stmt, nil
	}
	stmt := s.others[string(absences)]
	if stmt == nil {
		var err error
		if stmt, err = prepare(ctx, c, s.table, absences, s.traits); err != nil {
			return nil, err
		}
		s.others[string(absences)] = stmt
	}
	return stmt, nil
}

// insert stores b in the caller's transaction.
func (s *sink) insert(ctx context.Context, c *sql.Conn, b *tuple.Batch) error {
	stmt, err := s.statement(ctx, c, b)
	if err != nil {
		return err
	}
	s.rows.show(b)
	s.db.source.Serve(&s.rows)
	skipped, err := stmt.run(ctx, int64(b.Len()))
	s.db.source.Serve(nil)
	s.rows.batch = nil
	if err != nil && s.rows.err != nil {
		return s.rows.err
	}
	s.skipped += skipped
	return err
}

// blame names the row and the column that err is about, if it is about one.
func (s *sink) blame(ctx context.Context, c *sql.Conn, b *tuple.Batch, err error) error {
	if err == nil || errors.As(err, new(*dest.Error)) {
		return err
	}
	e := s.db.asError(err)
	if e.Class != dest.ClassRow || errors.As(err, new(*commitError)) {
		return e
	}
	e.Column = errorColumn(s.table, err)
	// SQLite is done with all rows before it fails on one if there are
	// triggers (it reads all before it stores the first) or immediate foreign
	// keys (it checks them after the last).
	if e.Row = s.db.source.Row(); e.Row == b.Len()-1 && e.Row > 0 {
		return s.locate(ctx, c, b, e)
	}
	return e
}

// locate stores the rows of b one by one until one fails, undoes that, and
// returns the error of the row. It returns e without a row if all go in.
func (s *sink) locate(ctx context.Context, c *sql.Conn, b *tuple.Batch, e *dest.Error) error {
	row := -1
	err := transact(ctx, c, func() error {
		for row = range b.Len() {
			if err := s.insert(ctx, c, b.Slice(row, row+1)); err != nil {
				return err
			}
		}
		row = -1
		return errUndo
	})
	if !errors.Is(err, errUndo) {
		if e = s.db.asError(err); e.Class != dest.ClassRow {
			return e
		}
		e.Column = errorColumn(s.table, err)
	}
	e.Row = row
	return e
}

var errUndo = errors.New("all rows went in, one by one")
