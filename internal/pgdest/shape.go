package pgdest

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

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
	oid         uint32
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
	rowSecurity bool // policies decide which rows the user may see and write
	triggers    bool // a BEFORE trigger may change a row, or cancel it
	columns     map[string]column
	order       []string // the names of columns, in the table's order
	keys        []uniqueKey
	traits      traits

	// print is everything above as text: equal prints, equal shapes.
	print string
}

type column struct {
	number     int64
	typeOID    uint32         // of the declared type
	declared   string         // the type as declared, domains and modifiers included, for people
	typ        transcode.Type // the type that decides the form of the values
	typeSchema string         // its name
	typeName   string
	collation  uint32
	notNull    bool
	defaulted  bool   // has a default, or an identity
	sequence   bool   // the default takes a number of a sequence
	identity   string // "a": GENERATED ALWAYS AS IDENTITY, "d": BY DEFAULT
	generated  bool   // GENERATED ALWAYS AS (expression)
	insert     bool   // privileges of the user
	read       bool
	update     bool
	enum       bool
	// part is how the column is compared where no index says it.
	part keyPart
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
	predicate   string             // as the server prints it, for people; empty: on every row
	parts       map[string]keyPart // by column
}

// partial tells whether some rows are not in the index.
func (k uniqueKey) partial() bool { return k.predicate != "" }

// keyPart is how an index compares a column.
type keyPart struct {
	equal, less   sqltext.SQL // operators, with their schemas
	collate       sqltext.SQL // empty for a type without one
	deterministic bool        // texts are equal only if their bytes are
}

// relation is the quoted name of the table as it was found.
func (s *shape) relation() sqltext.SQL { return sqltext.Name(s.schema, s.name) }

// own is the table as a statement looks at its rows: without those of tables that
// inherit from it, to which no index of this one belongs.
func (s *shape) own() sqltext.SQL {
	if s.dialect.inherits && s.kind == "r" {
		return sqltext.Format("ONLY {}", s.relation())
	}
	return s.relation()
}

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

// takesNumbers tells whether a row that is inserted takes a number of a sequence,
// which an attempt in vain takes too.
func (s *shape) takesNumbers(t *dest.Table) bool {
	for name, c := range s.columns {
		if c.sequence && !hasColumn(t, name) {
			return true
		}
	}
	return false
}

// deterministic tells whether texts of the column are equal only if their bytes
// are, to every unique index; without one, as for a view, to the column.
func (s *shape) deterministic(column string) bool {
	indexed := false
	for _, k := range s.keys {
		part, ok := k.parts[column]
		if ok && !part.deterministic {
			return false
		}
		indexed = indexed || ok
	}
	return indexed || s.columns[column].part.deterministic
}

// inPrimaryKey tells whether a column is part of the primary key.
func (s *shape) inPrimaryKey(name string) bool {
	return slices.ContainsFunc(s.keys, func(k uniqueKey) bool { return k.primary && slices.Contains(k.columns, name) })
}

// What the catalogue's answers are made of.
const (
	relationKinds = "osssbbssbbbbs"
	columnKinds   = "ssoibssbbsbioobbbbbbbss"
	keyKinds      = "isbbsobbbs"
	partKinds     = "oissssbssb"
	factKinds     = "ss"
)

// readShape reads the shape of the table of a name, in one round trip.
func readShape(ctx context.Context, conn *pgconn.PgConn, schema, name string) (*shape, error) {
	d := dialectOf(conn)
	kinds := []string{relationKinds, columnKinds, keyKinds, traitKinds, partKinds}
	if !d.facts.Empty() {
		kinds = append(kinds, factKinds)
	}
	answers, err := query(ctx, conn, catalogueSQL(schema, name, d), kinds...)
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
	for _, records := range answers[5:] {
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
		k := uniqueKey{
			primary: r.is(2), immediate: r.is(3), index: r[4], oid: r.oid(5), valid: r.is(6), constraint: r.is(7), expressions: r.is(8), predicate: r[9],
			parts: map[string]keyPart{},
		}
		for _, number := range inKey[:n] {
			k.columns = append(k.columns, numbers[number])
		}
		slices.Sort(k.columns)
		s.keys = append(s.keys, k)
	}
	for _, r := range answers[4] {
		i := slices.IndexFunc(s.keys, func(k uniqueKey) bool { return k.oid == r.oid(0) })
		if i < 0 {
			continue // made since the query for the indexes
		}
		part := keyPart{equal: sqltext.Operator(r[2], r[3]), less: sqltext.Operator(r[4], r[5]), deterministic: r.is(9)}
		if r.is(6) {
			part.collate = sqltext.Format(" COLLATE {}", sqltext.Name(r[7], r[8]))
		}
		s.keys[i].parts[numbers[r[1]]] = part
	}
	return s, nil
}

func (s *shape) setRelation(r record) {
	s.exists, s.oid, s.schema, s.name, s.kind = r[0] != "", r.oid(0), r[1], r[2], r[3]
	s.schemaUsage, s.mayTemp = r.is(4), r.is(5)
	s.database, s.user, s.hasSchema = r[6], r[7], r.is(8)
	s.programs, s.rowSecurity, s.triggers, s.lookalike = r.is(9), r.is(10), r.is(11), r[12]
}

func readColumn(r record) (name string, c column) {
	part := keyPart{equal: sqltext.Const(eq), less: sqltext.Const(lt), deterministic: r.is(20)}
	if !part.deterministic {
		part.collate = sqltext.Format(" COLLATE {}", sqltext.Name(r[21], r[22]))
	}
	return r[0], column{
		declared:   r[1],
		typ:        transcode.Type{OID: r.oid(2), Mod: int32(r.int(3)), Name: r[1], Text: r.is(4), Parts: r.is(18)},
		typeSchema: r[5], typeName: r[6], notNull: r.is(7), defaulted: r.is(8), identity: r[9], generated: r.is(10),
		number: r.int(11), typeOID: r.oid(12), collation: r.oid(13), sequence: r.is(14) || r[9] != "",
		insert: r.is(15), read: r.is(16), update: r.is(17), enum: r.is(19), part: part,
	}
}
