package pgdest

import (
	"context"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/memdbwriter/memdbwriter/internal/dest"
	"github.com/memdbwriter/memdbwriter/internal/sqltext"
)

// sequencesSQL lists the sequences that defaults of the table take values of, and
// that the user may not use: column, schema, name. (The CASE keeps the server from
// asking for the right to a table, which is an error.) Those of identity columns need
// no right.
func sequencesSQL(s *shape) sqltext.SQL {
	return sqltext.Format(`SELECT a.attname, sn.nspname, sc.relname
		FROM pg_catalog.pg_attrdef ad
		JOIN pg_catalog.pg_attribute a ON a.attrelid`+eq+`ad.adrelid AND a.attnum`+eq+`ad.adnum
		JOIN pg_catalog.pg_depend dep ON dep.classid`+eq+`'pg_catalog.pg_attrdef'::pg_catalog.regclass AND dep.objid`+eq+`ad.oid
			AND dep.refclassid`+eq+`'pg_catalog.pg_class'::pg_catalog.regclass
		JOIN pg_catalog.pg_class sc ON sc.oid`+eq+`dep.refobjid
		JOIN pg_catalog.pg_namespace sn ON sn.oid`+eq+`sc.relnamespace
		WHERE ad.adrelid`+eq+`{}::pg_catalog.regclass AND CASE WHEN sc.relkind`+eq+`'S'
			THEN NOT pg_catalog.has_sequence_privilege(sc.oid, 'USAGE, UPDATE') ELSE false END`, sqltext.Literal(s.relation().String()))
}

// checkSequences tells which sequence the user may not use, of a column that rows
// do not have, as compare tells the rest.
func checkSequences(ctx context.Context, pg *pgconn.PgConn, t *dest.Table, s *shape, res *dest.Result) error {
	defaulted := false
	for name, c := range s.columns {
		defaulted = defaulted || c.defaulted && c.identity == "" && !c.generated && !hasColumn(t, name)
	}
	if !defaulted {
		return nil
	}
	res.RoundTrips++
	answers, err := query(ctx, pg, sequencesSQL(s), "sss")
	if err != nil {
		return classify(err)
	}
	m := &mismatches{}
	for _, r := range answers[0] {
		if !hasColumn(t, r[0]) {
			m.add("GRANT USAGE ON SEQUENCE "+dest.QuoteName(r[1], r[2])+" TO "+dest.Quote(s.user),
				"user %s may not use the sequence %s, of which the default of column %s takes its values", s.user, r[2], r[0])
		}
	}
	return m.err()
}
