package pgdest

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/memdbwriter/memdbwriter/internal/dest"
	"github.com/memdbwriter/memdbwriter/internal/sqltext"
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
	lookalike   string // a table whose name differs in letter case only, if this one does not exist
	hasSchema   bool   // the schema is there: the named one, or the first of the search path
	schemaUsage bool   // may use the schema
	mayTemp     bool   // may create temporary tables
	programs    bool   // may tell the rows of a batch apart by a program of ours
	database    string
	user        string
	columns     map[string]column
	order       []string // the names of columns, in the table's order
	keys        []uniqueKey
	traits      traits

	// print is everything above as text: equal prints, equal shapes.
	print string
}

type column struct {
	number    int64
	typeOID   uint32         // of the declared type
	declared  string         // the type as declared, domains and modifiers included
	base      string         // the type that decides the binary form, without modifiers
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

// always is the identity of a column that takes the program's values only if a
// statement insists.
const always = "a"

type uniqueKey struct {
	index       string
	oid         uint32
	columns     []string // sorted; empty names are expressions
	valid       bool
	primary     bool
	immediate   bool // not of a deferrable constraint, which ON CONFLICT refuses
	constraint  bool // there is a constraint of the same name
	expressions bool
	predicate   string // as the server prints it, for people; empty: on every row
}

// partial tells whether some rows are not in the index.
func (k uniqueKey) partial() bool { return k.predicate != "" }

// comparedAsText tells whether IS DISTINCT FROM needs the text of the values:
// the type has no equality, one that is not identity (citext), or one that
// compares areas or lengths (the geometric types).
func (c column) comparedAsText() bool {
	switch c.typ.OID {
	case pgtype.JSONOID, pgtype.XMLOID, pgtype.PointOID, pgtype.LsegOID, pgtype.PathOID,
		pgtype.BoxOID, pgtype.PolygonOID, pgtype.LineOID, pgtype.CircleOID:
		return true
	}
	const jsonpath, firstOfUsers = 4072, 16384
	return c.citext || c.typ.OID == jsonpath || c.typ.OID >= firstOfUsers && !c.typ.Text
}

// relation is the quoted name of the table as it was found.
func (s *shape) relation() sqltext.SQL { return sqltext.Name(s.schema, s.name) }

// keysOn returns the plain unique indexes on exactly these columns. ON CONFLICT takes
// all of them, and fails if one is deferrable.
func (s *shape) keysOn(columns []string) []uniqueKey {
	want := slices.Sorted(slices.Values(columns))
	var keys []uniqueKey
	for _, k := range s.keys {
		if k.valid && !k.partial() && !k.expressions && slices.Equal(k.columns, want) {
			keys = append(keys, k)
		}
	}
	return keys
}

// inPrimaryKey tells whether a column is part of the primary key.
func (s *shape) inPrimaryKey(name string) bool {
	return slices.ContainsFunc(s.keys, func(k uniqueKey) bool { return k.primary && slices.Contains(k.columns, name) })
}

// What the catalogue's answers are made of.
const (
	relationKinds = "osssbbssbbs"
	columnKinds   = "ssoibbbbsbiobbbsb"
	keyKinds      = "isbbsobbbs"
	factKinds     = "ss"
)

// readShape reads the shape of a table, in one round trip.
func readShape(ctx context.Context, conn *pgconn.PgConn, t *dest.Table) (*shape, error) {
	d := dialectOf(conn)
	kinds := []string{relationKinds, columnKinds, keyKinds, traitKinds}
	if !d.facts.Empty() {
		kinds = append(kinds, factKinds)
	}
	answers, err := query(ctx, conn, catalogueSQL(t, d), kinds...)
	if err != nil {
		return nil, err
	}
	return newShape(d, answers)
}

// newShape makes a shape of the answers to catalogueSQL.
func newShape(d *dialect, answers [][]record) (*shape, error) {
	if len(answers[0]) != 1 {
		return nil, fmt.Errorf("%w: %d tables", errAnswer, len(answers[0]))
	}
	s := &shape{dialect: d, columns: map[string]column{}}
	for _, records := range answers {
		for _, r := range records {
			s.print += fmt.Sprintf("%q\n", r)
		}
	}
	s.setRelation(answers[0][0])
	for _, records := range answers[4:] {
		for _, r := range records {
			s.setFacts(r)
		}
	}
	numbers := map[string]string{}
	for _, r := range answers[1] {
		name, c := readColumn(r)
		c.typ.Bytes, c.typ.Signed = s.countsBytes(), s.mayBeDolphin()
		s.columns[name], numbers[strconv.FormatInt(c.number, 10)] = c, name
		s.order = append(s.order, name)
	}
	for _, r := range answers[3] {
		s.setTraits(r, numbers)
	}
	for _, r := range answers[2] {
		inKey := strings.Fields(r[1])
		n := r.int(0)
		if n < 0 || n > int64(len(inKey)) {
			return nil, fmt.Errorf("%w: an index of %d columns on %.40q", errAnswer, n, r[1])
		}
		k := uniqueKey{primary: r.is(2), immediate: r.is(3), index: r[4], oid: r.oid(5), valid: r.is(6), constraint: r.is(7), expressions: r.is(8), predicate: r[9]}
		for _, number := range inKey[:n] {
			k.columns = append(k.columns, numbers[number])
		}
		slices.Sort(k.columns)
		s.keys = append(s.keys, k)
	}
	return s, nil
}

func (s *shape) setRelation(r record) {
	s.exists, s.schema, s.name, s.kind = r[0] != "", r[1], r[2], r[3]
	s.schemaUsage, s.mayTemp = r.is(4), r.is(5)
	s.database, s.user, s.hasSchema = r[6], r[7], r.is(8)
	s.programs, s.lookalike = r.is(9), r[10]
}

func readColumn(r record) (name string, c column) {
	return r[0], column{
		declared: r[1],
		typ:      transcode.Type{OID: r.oid(2), Mod: int32(r.int(3)), Name: r[1], Text: r.is(4), Parts: r.is(16)},
		citext:   r.is(5), notNull: r.is(6), defaulted: r.is(7), identity: r[8], generated: r.is(9),
		number: r.int(10), typeOID: r.oid(11), insert: r.is(12), read: r.is(13), update: r.is(14),
		base: r[15],
	}
}
