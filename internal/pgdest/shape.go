package pgdest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/memdbwriter/memdbwriter/internal/dest"
	"github.com/memdbwriter/memdbwriter/internal/transcode"
)

// shape is a table as the catalogue describes it to the session's user.
type shape struct {
	dialect     *dialect
	version     string // what openGauss says of itself
	mode        string // and its compatibility mode: A, B, C or PG
	exists      bool
	kind        string // pg_class.relkind
	schema      string
	name        string
	hasSchema   bool // the schema is there: the named one, or the first of the search path
	schemaUsage bool // may use the schema
	mayTemp     bool // may create temporary tables
	database    string
	user        string
	columns     map[string]column
	order       []string // the names of columns, in the table's order
	keys        []uniqueKey

	// print is everything above as text: equal prints, equal shapes.
	print string
}

type column struct {
	number    string
	typeOID   string         // of the declared type
	declared  string         // the type as declared, domains and modifiers included
	typ       transcode.Type // the type that decides the binary form
	citext    bool
	notNull   bool
	defaulted bool   // has a default, or an identity
	identity  string // "a": GENERATED ALWAYS AS IDENTITY, "d": BY DEFAULT
	generated bool   // GENERATED ALWAYS AS (expression)
	insert    bool   // privileges of the user
	read      bool
	update    bool
}

type uniqueKey struct {
	index     string
	oid       string
	columns   []string // sorted
	plain     bool     // on every row, and on nothing but columns
	primary   bool
	immediate bool // not of a deferrable constraint, which ON CONFLICT refuses
}

// comparedAsText tells whether IS DISTINCT FROM needs the text of the values:
// the type has no equality, one that is not identity (citext), or one that
// compares areas or lengths (the geometric types).
func (c column) comparedAsText() bool {
	switch c.typ.OID {
	case pgtype.JSONOID, pgtype.XMLOID, pgtype.PointOID, pgtype.LsegOID, pgtype.PathOID,
		pgtype.BoxOID, pgtype.PolygonOID, pgtype.LineOID, pgtype.CircleOID:
		return true
	}
	return c.citext
}

// relation is the quoted name of the table as it was found.
func (s *shape) relation() string { return dest.QuoteName(s.schema, s.name) }

// keysOn returns the plain unique indexes on exactly these columns. ON CONFLICT takes
// all of them, and fails if one is deferrable.
func (s *shape) keysOn(columns []string) []uniqueKey {
	want := slices.Sorted(slices.Values(columns))
	var keys []uniqueKey
	for _, k := range s.keys {
		if k.plain && slices.Equal(k.columns, want) {
			keys = append(keys, k)
		}
	}
	return keys
}

// inPrimaryKey tells whether a column is part of the primary key.
func (s *shape) inPrimaryKey(name string) bool {
	return slices.ContainsFunc(s.keys, func(k uniqueKey) bool { return k.primary && slices.Contains(k.columns, name) })
}

// readShape reads the shape of a table, in one round trip.
func readShape(ctx context.Context, conn *pgconn.PgConn, t *dest.Table) (*shape, error) {
	d := dialectOf(conn)
	results, err := conn.Exec(ctx, catalogueSQL(t, d)).ReadAll()
	if err != nil {
		return nil, err
	}
	for _, r := range results {
		if r.Err != nil {
			return nil, r.Err
		}
	}
	if len(results) < 3 || len(results[0].Rows) != 1 {
		return nil, errors.New("the catalogue gave an unexpected answer")
	}
	s := &shape{dialect: d, columns: map[string]column{}}
	for _, r := range results {
		for _, row := range r.Rows {
			s.print += fmt.Sprintf("%q\n", row)
		}
	}
	s.setRelation(texts(results[0].Rows[0]))
	for _, r := range results[3:] {
		for _, row := range r.Rows {
			s.setFacts(texts(row))
		}
	}
	numbers := map[string]string{}
	for _, row := range results[1].Rows {
		name, c, err := readColumn(texts(row))
		if err != nil {
			return nil, err
		}
		c.typ.Bytes, c.typ.Signed = s.countsBytes(), s.mayBeDolphin()
		s.columns[name], numbers[c.number] = c, name
		s.order = append(s.order, name)
	}
	for _, row := range results[2].Rows {
		f := texts(row)
		n, err := strconv.Atoi(f[0])
		numbersOfKey := strings.Fields(f[1])
		if err != nil || n > len(numbersOfKey) {
			return nil, fmt.Errorf("the catalogue gave an unexpected index: %q", f)
		}
		k := uniqueKey{primary: f[2] == "t", immediate: f[3] == "t", index: f[4], oid: f[5], plain: f[6] == "t"}
		for _, number := range numbersOfKey[:n] {
			k.columns = append(k.columns, numbers[number])
		}
		slices.Sort(k.columns)
		s.keys = append(s.keys, k)
	}
	return s, nil
}

func (s *shape) setRelation(f []string) {
	s.exists, s.schema, s.name, s.kind = f[0] != "", f[1], f[2], f[3]
	s.schemaUsage, s.mayTemp = f[4] == "t", f[5] == "t"
	s.database, s.user, s.hasSchema = f[6], f[7], f[8] == "t"
}

func readColumn(f []string) (name string, c column, err error) {
	oid, err := strconv.ParseUint(f[2], 10, 32)
	if err != nil {
		return "", c, fmt.Errorf("the catalogue gave an unexpected type: %w", err)
	}
	mod, err := strconv.ParseInt(f[3], 10, 32)
	if err != nil {
		return "", c, fmt.Errorf("the catalogue gave an unexpected type modifier: %w", err)
	}
	is := func(i int) bool { return f[i] == "t" }
	return f[0], column{
		declared: f[1],
		typ:      transcode.Type{OID: uint32(oid), Mod: int32(mod), Name: f[1], Text: is(4)},
		citext:   is(5), notNull: is(6), defaulted: is(7), identity: f[8], generated: is(9),
		number: f[10], typeOID: f[11], insert: is(12), read: is(13), update: is(14),
	}, nil
}

// texts makes strings of a row in text form; NULL is the empty string.
func texts(row [][]byte) []string {
	out := make([]string, len(row))
	for i, v := range row {
		out[i] = string(v)
	}
	return out
}
