package pgdest

import (
	"slices"
	"strings"

	"github.com/memdbwriter/memdbwriter/internal/dest"
	"github.com/memdbwriter/memdbwriter/internal/sqltext"
)

// This file decides which unique index tells that a row is there already. By
// default that is any on exactly the key columns and on every row; the program
// may name a constraint, or give the predicate of a partial index. Nothing that
// the catalogue says becomes part of a statement, except names.

// arbiters are the indexes that the conflict target stands for. For a partial
// one the server decides which of them the predicate fits.
func (s *shape) arbiters(t *dest.Table) []uniqueKey {
	named := s.named(t)
	want := slices.Sorted(slices.Values(keyNames(t)))
	var keys []uniqueKey
	for _, k := range s.keys {
		switch {
		case !k.valid || k.expressions || !slices.Equal(k.columns, want):
		case named != "" && k.index != named:
		case t.Where != "" && !k.partial(), t.Where == "" && k.partial():
		default:
			keys = append(keys, k)
		}
	}
	return keys
}

// ofKey tells whether a violated unique index says that the key is known: it is
// none of those that do not decide. An index of a partition is not known.
func (s *shape) ofKey(t *dest.Table, index string) bool {
	is := func(k uniqueKey) bool { return k.index == index }
	return slices.ContainsFunc(s.arbiters(t), is) || !slices.ContainsFunc(s.keys, is)
}

// named is the constraint that ON CONFLICT has to name: the program's, or the
// one that takes upserts beside a deferrable one. ON CONFLICT with columns takes
// every index on them, and fails if one is deferrable.
func (s *shape) named(t *dest.Table) string {
	if t.Constraint != "" || t.Where != "" {
		return t.Constraint
	}
	keys := s.keysOn(keyNames(t))
	immediate := func(k uniqueKey) bool { return k.immediate && k.constraint }
	if i := slices.IndexFunc(keys, immediate); i >= 0 && slices.ContainsFunc(keys, func(k uniqueKey) bool { return !k.immediate }) {
		return keys[i].index
	}
	return ""
}

// conflictTarget is what stands behind ON CONFLICT.
func conflictTarget(t *dest.Table, s *shape) sqltext.SQL {
	columns := sqltext.Idents(keyNames(t)...)
	switch name := s.named(t); {
	case name != "":
		return sqltext.Format("ON CONSTRAINT {}", sqltext.Ident(name))
	case t.Where != "":
		return sqltext.Format("({}) WHERE {}", columns, sqltext.Program(t.Where))
	}
	return sqltext.Format("({})", columns)
}

// compareKey asks for the index that upserts need.
func compareKey(m *mismatches, t *dest.Table, s *shape) {
	list := strings.Join(keyNames(t), ", ")
	switch {
	case t.Policy == dest.InsertOnly || t.Keys == 0:
	case s.dialect.anyKey:
		if t.Constraint != "" || t.Where != "" {
			m.advise("%s cannot name a conflict target: rows are found by their key columns, without ConflictConstraint and ConflictWhere", s.dialect.name)
		}
	case s.kind == "v": // planUpsert asks the server
	case t.Constraint != "":
		compareConstraint(m, t, s, list)
	case len(s.arbiters(t)) == 0:
		adviseIndex(m, t, s, list)
	case s.named(t) == "":
		for _, k := range s.arbiters(t) {
			if !k.immediate {
				adviseSecond(m, t, s, k)
			}
		}
	}
}

// compareConstraint looks at the constraint that the program named.
func compareConstraint(m *mismatches, t *dest.Table, s *shape, list string) {
	i := slices.IndexFunc(s.keys, func(k uniqueKey) bool { return k.constraint && k.index == t.Constraint })
	switch {
	case i < 0:
		m.advise("it has no unique constraint %s: give ConflictConstraint the name of one on (%s), or leave the option out for any unique index on these columns", t.Constraint, list)
	case len(s.arbiters(t)) == 0:
		m.advise("the unique constraint %s is on (%s), and the key on (%s): give the option key to the fields of exactly its columns", t.Constraint, strings.Join(s.keys[i].columns, ", "), list)
	case !s.keys[i].immediate:
		m.advise("the unique constraint %s is deferrable, which upserts exclude: give ConflictConstraint the name of one that is not", t.Constraint)
	}
}

// adviseSecond is for a deferrable constraint, which ON CONFLICT refuses. Other
// programs may rely on it, so it stays, and one beside it is named.
func adviseSecond(m *mismatches, t *dest.Table, s *shape, k uniqueKey) {
	name := sqltext.Ident(clip(s.name + "_memdbwriter_key"))
	second := sqltext.Format("ALTER TABLE {} ADD CONSTRAINT {} UNIQUE ({})", s.relation(), name, sqltext.Idents(keyNames(t)...))
	if s.kind != "p" {
		second = sqltext.Statements(
			sqltext.Format("CREATE UNIQUE INDEX CONCURRENTLY {} ON {} ({})", name, s.relation(), sqltext.Idents(keyNames(t)...)),
			sqltext.Format("ALTER TABLE {} ADD CONSTRAINT {} UNIQUE USING INDEX {}", s.relation(), name, name))
	}
	m.add(second.String(),
		"the unique constraint %s on the key is deferrable, which upserts exclude: they need a second one that is not", k.index)
}

// adviseIndex is for a key without a unique index.
func adviseIndex(m *mismatches, t *dest.Table, s *shape, list string) {
	const missing = "no unique index is on exactly the key (%s) and on every row"
	want := slices.Sorted(slices.Values(keyNames(t)))
	for _, k := range s.keys {
		if !k.expressions && slices.Equal(k.columns, want) {
			switch {
			case !k.valid:
				m.add(sqltext.Format("REINDEX INDEX CONCURRENTLY {}", sqltext.Name(s.schema, k.index)).String(),
					"the unique index %s on the key (%s) is not valid: building it was given up, for instance because rows share a key", k.index, list)
				return
			case t.Where == "":
				m.advise(missing+": %s has the predicate %s; if rows are to be found by it, give that predicate to the table option ConflictWhere", list, k.index, show(k.predicate))
				return
			}
		}
	}
	if t.Where != "" {
		m.add(uniqueIndexSQL(t, s).String(), "no unique index on exactly the key (%s) has a predicate, and ConflictWhere says %s", list, show(t.Where))
		return
	}
	for _, name := range s.traits.partitionKey {
		switch {
		case name == "":
			m.advise(missing+", and none can be, since the table is partitioned by an expression: use OnConflict(ConflictInsertOnly)", list)
			return
		case !slices.Contains(keyNames(t), name):
			m.advise(missing+", and none can be without column %s, by which the table is partitioned: give its field the option key as well", list, name)
			return
		}
	}
	m.add(uniqueIndexSQL(t, s).String(), missing, list)
}

// uniqueIndexSQL makes the unique index on the key. Where it can it lets the
// table's users go on meanwhile.
func uniqueIndexSQL(t *dest.Table, s *shape) sqltext.SQL {
	sql := sqltext.Format("CREATE UNIQUE INDEX{} ON {} ({})", concurrently(s), s.relation(), sqltext.Idents(keyNames(t)...))
	if t.Where != "" {
		sql = sqltext.Format("{} WHERE {}", sql, sqltext.Program(t.Where))
	}
	return sql
}

// concurrently is empty for a partitioned table, for which the server has no
// such way.
func concurrently(s *shape) sqltext.SQL {
	if s.kind == "p" {
		return sqltext.SQL{}
	}
	return sqltext.Const(" CONCURRENTLY")
}

// clip cuts a name to what PostgreSQL takes.
func clip(name string) string {
	if len(name) <= maxNameBytes {
		return name
	}
	return strings.ToValidUTF8(name[len(name)-maxNameBytes:], "")
}
