package pgdest

import (
	"context"
	"errors"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/memdbwriter/memdbwriter/internal/dest"
	"github.com/memdbwriter/memdbwriter/internal/sqltext"
	"github.com/memdbwriter/memdbwriter/opengauss"
)

// dialect is what one product of the PostgreSQL family has differently from
// the others. The connection that reads the shape of a table decides, and
// shape and plan keep it. Everything that is not in a dialect is the same for
// all of them.
type dialect struct {
	name string // as dest.Table.DDL and people know it

	// setUp are statements that a session runs once, each by itself. What the
	// server has no parameter for is left out.
	setUp []sqltext.SQL

	// SQL of the catalogue, about the column that pg_attribute a describes.
	hasDefault, identity, generated sqltext.SQL
	// family are the OIDs of the table c and of its partitions.
	family sqltext.SQL
	// traits are the columns of traitsSQL.
	traits sqltext.SQL
	// rowSecurity tells whether policies apply to the table c for the user.
	rowSecurity sqltext.SQL
	// deterministic tells whether texts are equal under the collation co only if
	// their bytes are.
	deterministic sqltext.SQL
	// facts is one more query for the catalogue, of one row for setFacts; or
	// empty.
	facts sqltext.SQL

	// computes: there are identity columns, and a column can be made one.
	computes bool
	// anyKey: a table can be updated without a unique index on its key.
	anyKey bool
	// exactKeys: text of another collation than "C" may be compared without
	// case, as a schema says, so a key that is made here has that one.
	exactKeys bool
	// inherits: other tables may inherit from one, and are looked at with it.
	inherits bool
	// transactions: what became of one.
	transactions transactions
	// tellsPID: a client knows its session by the number that the server's own
	// functions know it by; else it has to ask.
	tellsPID bool
	// programs tells whether the user may run what isolateSQL says.
	programs sqltext.SQL
	// restores: a setting can be kept in the transaction, and given back.
	restores bool
	// freshAfterDDL: the statements that make a table may spoil their session.
	freshAfterDDL bool

	// differ is the condition that a column of t differs from its new value.
	differ func(s *shape, columns []dest.Column, value func(dest.Column) sqltext.SQL) sqltext.SQL

	// forms of the upsert, the best one first. The last one is for every table
	// that compare lets pass, and need not be tried.
	forms []form
}

// form is a way to say what an upsert does with the rows of a FROM item n.
type form struct {
	fits func(t *dest.Table, s *shape) bool // nil: any table
	sql  func(m *mover, source sqltext.SQL) []statement
	// last is what the number of rows of its last statement is.
	last lastCount
	// many is the form for batches of which most rows change; nil: sql. The number
	// of rows of its last statement is that of the new ones.
	many func(m *mover, source sqltext.SQL) []statement
	// guard is a further statement, which fails if the upsert may have done
	// something else because the table has changed; nil: it would have failed.
	guard func(s *shape) sqltext.SQL
	// overtakes: a row that somebody else inserts at the same moment is an
	// error, of the unique index on the key.
	overtakes bool
}

var postgres = &dialect{
	name:       "postgres",
	hasDefault: sqltext.Const("a.atthasdef OR a.attidentity" + ne + "''"),
	identity:   sqltext.Const("a.attidentity"),
	generated:  sqltext.Const("a.attgenerated" + ne + "''"),

	family:        sqltext.Const("SELECT c.oid UNION SELECT t.relid::pg_catalog.oid FROM pg_catalog.pg_partition_tree(c.oid) t"),
	rowSecurity:   sqltext.Const("COALESCE(pg_catalog.row_security_active(c.oid), false)"),
	deterministic: sqltext.Const("co.collisdeterministic"),

	computes: true,
	inherits: true,
	tellsPID: true,
	restores: true,
	programs: sqltext.Const("EXISTS (SELECT 1 FROM pg_catalog.pg_language WHERE lanname" + eq + "'plpgsql'" +
		" AND pg_catalog.has_language_privilege(oid, 'USAGE'))"),

	traits:       postgresTraits,
	transactions: postgresTransactions,
	differ:       differByImage,
	forms: []form{
		{fits: isView, sql: insertAll},
		{fits: hasPredicate, sql: insertDue},
		{sql: insertDue, last: lastWritten, many: updateThenInsert},
	},
}

func isView(_ *dest.Table, s *shape) bool { return s.kind == "v" }

func hasPredicate(t *dest.Table, _ *shape) bool { return t.Where != "" }

// dialectOf tells the dialect of a connection without asking the server.
func dialectOf(pg *pgconn.PgConn) *dialect {
	if opengauss.IsOpenGauss(pg) {
		return openGauss
	}
	return postgres
}

// chooseForm returns the first form of the upsert that the server takes. It
// asks the server to parse the statements, which executes nothing.
func (s *Sink) chooseForm(ctx context.Context, pg *pgconn.PgConn, found *shape, res *dest.Result) (form, error) {
	forms := found.dialect.forms
	last := len(forms) - 1
	for _, f := range forms[:last] {
		if f.fits != nil && !f.fits(s.table, found) {
			continue
		}
		res.RoundTrips++
		m := &mover{t: s.table, s: found}
		err := parse(ctx, pg, m.trial(f))
		if err == nil {
			return f, nil
		}
		if e := classify(err); e.Class == dest.ClassTransient {
			return form{}, e
		}
	}
	return forms[last], nil
}

// planUpsert asks the server whether the upsert has a unique index to go by,
// where the catalogue does not tell: under a view, and for a predicate. The
// server looks for the index when it plans a statement, which executes nothing.
func (s *Sink) planUpsert(ctx context.Context, pg *pgconn.PgConn, found *shape, f form, res *dest.Result) error {
	t := s.table
	if t.Policy == dest.InsertOnly || found.kind != "v" && t.Where == "" {
		return nil
	}
	res.RoundTrips++
	m := &mover{t: t, s: found}
	err := execute(ctx, pg, sqltext.Format("EXPLAIN {}", m.trial(f)))
	pe := new(pgconn.PgError)
	switch {
	case err == nil:
		return nil
	case !errors.As(err, &pe) || pe.Code != noArbiter:
		return classify(err)
	}
	wrong, list := &mismatches{}, strings.Join(keyNames(t), ", ")
	if found.kind == "v" {
		wrong.advise("no unique index is on exactly the key (%s) of the table under the view: make one there", list)
	} else {
		wrong.add(uniqueIndexSQL(t, found).String(), "no unique index on the key (%s) has a predicate that follows from the one that ConflictWhere gives, %s", list, show(t.Where))
	}
	return wrong.err()
}

// noArbiter is what the server says of a conflict target that no unique index
// fits.
const noArbiter = "42P10"
