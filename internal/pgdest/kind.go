package pgdest

import (
	"slices"
	"strings"

	"github.com/memdbwriter/memdbwriter/internal/dest"
	"github.com/memdbwriter/memdbwriter/internal/sqltext"
)

// This file decides about kinds of tables: which take rows, and which do not
// although COPY or INSERT seem to work on them. docs/tables.md has the list.

// traits are what the catalogue says of a table that only some tables have.
type traits struct {
	partitionKey []string // columns of the partition key; an expression is the empty name
	rule         string   // a rule that rewrites INSERT or UPDATE; empty: none
	children     bool     // other tables inherit from it, partitions apart
	router       string   // a BEFORE INSERT trigger for each row; empty: none
	inserts      bool     // a view that takes INSERT by itself
	updates      bool     // a view that takes UPDATE by itself
	unidentified string   // it, or a partition of it, if its updates are published and it has no replica identity
}

// traitKinds are what the answer to traitsSQL is made of.
const traitKinds = "ssbsbbs"

// anyTraits are the columns of traitsSQL that every dialect has.
//
// Of the rules of a table, that for SELECT is what makes a view. 2 and 3 are
// UPDATE and INSERT.
const anyTraits = `(SELECT pg_catalog.min(r.rulename::pg_catalog.text) FROM pg_catalog.pg_rewrite r
			WHERE r.ev_class` + eq + `c.oid AND r.ev_type` + eq + `ANY ('{2,3}') AND r.ev_enabled` + ne + `'D')`

// traitsSQL reads the traits, one row for a table that exists. from is the
// table as catalogueSQL finds it.
//
// In tgtype, 1 is FOR EACH ROW, 2 is BEFORE and 4 is INSERT. The replica identity
// that counts is that of the table that has the row, which may be a partition,
// while the publication may name one above it. Only tables without a usable
// identity are looked for in publications.
func traitsSQL(d *dialect, from sqltext.SQL) sqltext.SQL {
	return sqltext.Format(`SELECT {} FROM {}`, d.traits, from)
}

var postgresTraits = sqltext.Const(`(SELECT p.partattrs FROM pg_catalog.pg_partitioned_table p WHERE p.partrelid` + eq + `c.oid), ` + anyTraits + `,
			c.relkind` + eq + `'r' AND EXISTS (SELECT 1 FROM pg_catalog.pg_inherits h WHERE h.inhparent` + eq + `c.oid),
			(SELECT pg_catalog.min(t.tgname::pg_catalog.text) FROM pg_catalog.pg_trigger t
				WHERE t.tgrelid` + eq + `c.oid AND NOT t.tgisinternal AND t.tgenabled` + ne + `'D' AND t.tgtype::pg_catalog.int4 OPERATOR(pg_catalog.&) 7` + eq + `7),
			c.relkind` + eq + `'v' AND CASE c.relkind WHEN 'v' THEN pg_catalog.pg_relation_is_updatable(c.oid, false) OPERATOR(pg_catalog.&) 8` + ne + `0 END,
			c.relkind` + eq + `'v' AND CASE c.relkind WHEN 'v' THEN pg_catalog.pg_relation_is_updatable(c.oid, false) OPERATOR(pg_catalog.&) 4` + ne + `0 END,
			(SELECT pg_catalog.min(x.relname::pg_catalog.text) FROM pg_catalog.pg_class x
				WHERE x.oid` + eq + `ANY (SELECT c.oid UNION SELECT t.relid FROM pg_catalog.pg_partition_tree(c.oid) t)
					AND x.relkind` + eq + `'r' AND x.relpersistence` + eq + `'p' AND x.relreplident` + ne + `'f'
					AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_index i WHERE i.indrelid` + eq + `x.oid AND i.indisvalid
						AND CASE x.relreplident WHEN 'd' THEN i.indisprimary WHEN 'i' THEN i.indisreplident ELSE false END)
					AND EXISTS (SELECT 1 FROM pg_catalog.pg_publication p, LATERAL pg_catalog.pg_get_publication_tables(p.pubname::pg_catalog.text) g
						WHERE p.pubupdate AND g.relid` + eq + `ANY (SELECT x.oid UNION SELECT r.relid FROM pg_catalog.pg_partition_ancestors(x.oid) r (relid))))`)

// openGauss has no partitioned tables of their own kind, no inheritance by
// INHERITS, and its views take no rows.
var openGaussTraits = sqltext.Const(`NULL, ` + anyTraits + `, false, NULL, false, false, NULL`)

// setTraits takes over the answer to traitsSQL. names are the columns by their
// numbers.
func (s *shape) setTraits(r record, names map[string]string) {
	s.traits = traits{
		rule: r[1], children: r.is(2), router: r[3], inserts: r.is(4), updates: r.is(5), unidentified: r[6],
	}
	for _, number := range strings.Fields(r[0]) {
		s.traits.partitionKey = append(s.traits.partitionKey, names[number])
	}
}

// compareKind tells whether rows can be written to such a thing at all.
func compareKind(m *mismatches, t *dest.Table, s *shape) bool {
	switch {
	case s.traits.rule != "":
		m.advise("it has the rule %s, which COPY does not apply and ON CONFLICT excludes: write to the table that the rule leads to, or make the rule a trigger", s.traits.rule)
	case s.kind == "v":
		return compareView(m, t, s)
	case s.kind == "m":
		m.advise("it is a materialized view: write to the table under it")
	case s.kind == "f":
		m.advise("it is a foreign table, which no unique index makes fit for an upsert and no transaction for a copy: write to the server that holds it")
	case s.kind != "r" && s.kind != "p":
		m.advise("it is of kind %s, and rows can only be written to a table or a view", s.kind)
	default:
		compareRouting(m, t, s)
		return true
	}
	return false
}

// compareView lets a view pass that the server updates by itself. COPY is not
// for these, so rows go by the conflict clause or not at all.
func compareView(m *mismatches, t *dest.Table, s *shape) bool {
	switch {
	case !s.traits.inserts || t.Policy == dest.Update && !s.traits.updates:
		m.advise("it is a view that the server cannot update by itself: write to the table under it")
	case t.Policy == dest.InsertOnly:
		m.advise("it is a view, which COPY does not write to: write to the table under it, or give the row type a key")
	default:
		return true
	}
	return false
}

// compareRouting refuses a table whose rows may be moved to the tables that
// inherit from it: its unique index does not see them there. A conflict target
// that the program names is its word that this index decides.
func compareRouting(m *mismatches, t *dest.Table, s *shape) {
	if t.Policy == dest.InsertOnly || !s.traits.children || s.traits.router == "" || t.Constraint != "" {
		return
	}
	m.advise("tables inherit from it, and its trigger %s may move rows to them, where no unique index of this table finds them again: "+
		"write to those tables, or use OnConflict(ConflictInsertOnly), or name a unique constraint with ConflictConstraint if the trigger leaves the rows here", s.traits.router)
}

// compareIdentity asks for what updates of a published table need.
func compareIdentity(m *mismatches, t *dest.Table, s *shape) {
	if set, _ := (&mover{t: t, s: s}).updated(); len(set) == 0 || s.traits.unidentified == "" {
		return
	}
	if s.kind == "p" {
		m.advise("the updates of its partition %s are published, and it has no replica identity, without which the server refuses them: "+
			"give that to each partition, with ALTER TABLE ... REPLICA IDENTITY", s.traits.unidentified)
		return
	}
	identity := sqltext.Const("FULL")
	for _, k := range s.arbiters(t) {
		if k.immediate && !k.partial() && !slices.ContainsFunc(k.columns, func(name string) bool { return !s.columns[name].notNull }) {
			identity = sqltext.Format("USING INDEX {}", sqltext.Ident(k.index))
		}
	}
	m.add(sqltext.Format("ALTER TABLE {} REPLICA IDENTITY {}", s.relation(), identity).String(),
		"its updates are published, and it has no replica identity, without which the server refuses them")
}
