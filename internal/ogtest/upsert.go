package ogtest

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
)

// ON DUPLICATE KEY UPDATE takes the rows one by one: of the unique indexes, in
// index order, the first one that has the key already decides which row is
// updated; without any the row is inserted; and a key that occurs twice is
// found the second time (opengauss.md 2.2). PostgreSQL's ON CONFLICT wants to be
// told the index, and refuses the second occurrence.
//
// So the rows are inserted into a view that has the columns of the table and
// no rows, and whose INSTEAD OF trigger does for each row what openGauss does.
// Parameters get the types of the table's columns that way, rows that are
// skipped are not counted, and RETURNING works. The view depends on nothing but
// the types of the columns, so that the table can be changed and dropped.

// upsert is the plan of INSERT ... ON DUPLICATE KEY UPDATE.
func (s *session) upsert(in *insertion) (*plan, error) {
	t, err := s.lookUp(in.name)
	if err != nil {
		return nil, err
	}
	if t == nil {
		return s.missing(in)
	}
	if err := s.checkTargets(in, t); err != nil {
		return nil, err
	}
	for i, a := range in.set {
		in.set[i].value = in.qualify(a.value, t)
	}
	in.where = in.qualify(in.where, t)
	p, err := s.throughView(in, t, upsertBody(in, t))
	if err != nil {
		return nil, err
	}
	for _, k := range t.Keys {
		if !k.Immediate { // opengauss.md 2.2
			p.refusal = newFault("0A000", "INSERT ON DUPLICATE KEY UPDATE does not support deferrable unique constraints/exclusion constraints.")
		}
	}
	return p, nil
}

// checkTargets looks at the columns to update: that of a unique index can be
// none, except in mode B from 5.0.0 on (opengauss.md 2.1).
func (s *session) checkTargets(in *insertion, t *table) error {
	for i, a := range in.set {
		if t.column(a.column) == nil {
			return newFault("42703", "column %q of relation %q does not exist", a.column, in.name.last())
		}
		for _, b := range in.set[:i] {
			if a.column == b.column {
				return newFault("42601", "multiple assignments to same column %q", a.column)
			}
		}
		for _, k := range t.Keys {
			if slices.Contains(k.Columns, a.column) && !(s.opts.Mode == "B" && s.opts.since("5.0.0")) {
				return newFault("0A000", "INSERT ON DUPLICATE KEY UPDATE don't allow update on primary key or unique key.")
			}
		}
		for _, tok := range a.value {
			if tok.kind == param {
				return unknown("parameters behind ON DUPLICATE KEY UPDATE")
			}
		}
		if startsWith(a.value, "select") || find(a.value, "(", "select") >= 0 && !s.opts.since("2.1.0") {
			return syntaxErrorAt(a.value[0])
		}
	}
	for _, tok := range in.where {
		if tok.kind == param {
			return unknown("parameters behind ON DUPLICATE KEY UPDATE")
		}
	}
	return nil
}

// qualify makes columns without a table those of the row that is there
// already, which they are in openGauss (opengauss.md 2.2).
func (in *insertion) qualify(toks []token, t *table) []token {
	toks = slices.Clone(toks)
	if find(toks, "select") >= 0 {
		return toks
	}
	for i, tok := range toks {
		first := i == 0 || toks[i-1].word != "." && toks[i-1].word != "::"
		last := i+1 == len(toks) || toks[i+1].word != "." && toks[i+1].word != "("
		if first && last && tok.name() != "" && t.column(tok.name()) != nil {
			toks[i].text = ident(in.alias) + "." + tok.text
		}
	}
	return toks
}

// upsertBody is what the trigger does with a row.
func upsertBody(in *insertion, t *table) func(given []string) string {
	return func(given []string) string {
		row := fmt.Sprintf("INSERT INTO %s AS %s (%s) VALUES (%s)",
			t.Name, ident(in.alias), quoteAll("", given), quoteAll("NEW.", given))
		done := " RETURNING " + ident(in.alias) + ".* INTO r;"
		switch {
		case len(t.Keys) == 0: // a plain insert, opengauss.md 2.2
			return row + done
		case in.nothing:
			return row + " ON CONFLICT DO NOTHING" + done
		}
		var set []string
		for _, a := range in.set {
			set = append(set, ident(a.column)+" ="+source(pad(a.value)))
		}
		update := " DO UPDATE SET " + strings.Join(set, ", ")
		if in.where != nil {
			update += " WHERE" + source(pad(in.where))
		}
		// An attempt for each index. It raises 23505 when the row is in the
		// way of another one, for which the next attempt is; of the last one
		// that is the client's.
		body := ""
		for _, k := range slices.Backward(t.Keys) {
			target := " ON CONFLICT (" + k.Target + ")"
			if k.Where != nil {
				target += " WHERE " + *k.Where
			}
			attempt := row + target + update + done
			if body != "" {
				attempt = "BEGIN\n" + attempt + "\nEXCEPTION WHEN unique_violation THEN\n" + body + "\nEND;"
			}
			body = attempt
		}
		return body
	}
}

// pad gives the first token a space in front of it.
func pad(toks []token) []token {
	toks = slices.Clone(toks)
	toks[0].lead = " " + toks[0].lead
	return toks
}

// replaceBody deletes the rows that are in the way of the new one.
func replaceBody(in *insertion, t *table) func(given []string) string {
	return func(given []string) string {
		body := ""
		for _, k := range t.Keys {
			var same []string
			for _, c := range k.Columns {
				same = append(same, fmt.Sprintf("%s.%s = NEW.%s", ident(in.alias), ident(c), ident(c)))
			}
			body += fmt.Sprintf("DELETE FROM %s AS %s WHERE %s;\n", t.Name, ident(in.alias), strings.Join(same, " AND "))
		}
		return body + fmt.Sprintf("INSERT INTO %s AS %s (%s) VALUES (%s) RETURNING %[2]s.* INTO r;",
			t.Name, ident(in.alias), quoteAll("", given), quoteAll("NEW.", given))
	}
}

// throughView inserts the rows of the statement into a view whose trigger has
// the body.
func (s *session) throughView(in *insertion, t *table, body func(given []string) string) (*plan, error) {
	given, err := in.given(t)
	if err != nil {
		return nil, err
	}
	for _, name := range given {
		if t.column(name) == nil {
			return nil, newFault("42703", "column %q of relation %q does not exist", name, in.name.last())
		}
	}
	if find(in.rows, "default") >= 0 {
		return nil, unknown("DEFAULT in the rows of an upsert")
	}
	if !s.plainKeys(in, t) {
		return nil, unknown("REPLACE into a table with a unique index on expressions, or on some rows")
	}
	view, err := s.server.upsertView(t, body(given))
	if err != nil {
		return nil, fmt.Errorf("the view of an upsert: %w", err)
	}
	rows, err := s.rewrite(in.rows)
	if err != nil {
		return nil, err
	}
	returning, err := s.rewrite(in.returning)
	if err != nil {
		return nil, err
	}
	sql := fmt.Sprintf("INSERT INTO %s.%s AS %s (%s) %s %s", s.server.helpers, view, ident(in.alias), quoteAll("", given),
		source(rows), source(returning))
	return &plan{sql: sql, upsert: true, view: view, table: in.name.last()}, nil
}

func (s *session) plainKeys(in *insertion, t *table) bool {
	return in.duplicate || !slices.ContainsFunc(t.Keys, func(k uniqueKey) bool { return !k.Plain })
}

// upsertView makes the view and its trigger, once. Their names are made from
// what they do.
func (s *Server) upsertView(t *table, body string) (string, error) {
	var columns, copies []string
	for _, c := range t.Columns {
		columns = append(columns, fmt.Sprintf("NULL::%s AS %s", c.Type, ident(c.Name)))
		copies = append(copies, fmt.Sprintf("NEW.%s = r.%[1]s;", ident(c.Name)))
	}
	def := "SELECT " + strings.Join(columns, ", ")
	body = "#variable_conflict use_column\nDECLARE r record;\nBEGIN\n" + body +
		"\nIF NOT FOUND THEN RETURN NULL; END IF;\n" + strings.Join(copies, "\n") + "\nRETURN NEW;\nEND"
	sum := sha256.Sum256([]byte(def + body))
	name := "upsert_" + hex.EncodeToString(sum[:8])

	s.mu.Lock()
	defer s.mu.Unlock()
	if s.made[name] {
		return name, nil
	}
	full := s.helpers + "." + name
	err := s.onBackend(fmt.Sprintf(`CREATE VIEW %[1]s AS %[2]s;
CREATE FUNCTION %[1]s() RETURNS trigger LANGUAGE plpgsql AS %[3]s;
CREATE TRIGGER upsert INSTEAD OF INSERT ON %[1]s FOR EACH ROW EXECUTE PROCEDURE %[1]s()`, full, def, literal(body)))
	if err != nil {
		return "", err
	}
	s.made[name] = true
	return name, nil
}
