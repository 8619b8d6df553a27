package ogtest

import (
	"slices"
	"strings"
)

// syntax that openGauss's grammar does not have: the word at which it stops.
var noSyntax = []struct {
	words []string
	at    int
}{
	{[]string{"on", "conflict"}, 1},           // opengauss.md 2.1
	{[]string{"with", "ordinality"}, 1},       // opengauss.md 1, number 11
	{[]string{"as", "identity"}, 1},           // opengauss.md 1, number 11
	{[]string{"overriding", "system"}, 0},     // no identity columns, opengauss.md 5.3
	{[]string{"overriding", "user"}, 0},       // the same
	{[]string{"nulls", "not", "distinct"}, 1}, // of PostgreSQL 15
	{[]string{"filter", "(", "where"}, 1},     // of PostgreSQL 9.4
	{[]string{"insert", "ignore"}, 1},         // opengauss.md 2.2
}

// pgColumns are catalogue columns of PostgreSQL only (opengauss.md 8).
var pgColumns = strings.Fields("attidentity attgenerated attmissingval atthasmissing attcompression relispartition relpartbound")

// catalogues are those that the stand-in takes for the same in both.
var catalogues = strings.Fields(`pg_catalog pg_temp pg_toast pg_class pg_rewrite pg_namespace pg_attribute pg_attrdef pg_type
	pg_index pg_opclass pg_amop pg_operator pg_collation pg_trigger pg_depend pg_constraint pg_database pg_am pg_roles pg_tables pg_indexes pg_description pg_inherits`)

// informationSchema are the views with the same shape in both (opengauss.md 8).
var informationSchema = strings.Fields("columns tables table_constraints key_column_usage schemata")

// reserved words that PostgreSQL has not (opengauss.md 5.3).
var reservedWords = strings.Fields(`authid buckets groupparent minus modify nocycle performance procedure reject rownum
	shrink sysdate verify less`)

// functions are those that both servers have.
var functions = strings.Fields(`count sum min max avg bool_and bool_or every coalesce nullif greatest least now
	length char_length character_length octet_length lower upper substring substr trim ltrim rtrim btrim replace position
	strpos md5 abs round floor ceil ceiling trunc sqrt power mod random generate_series unnest array_agg string_agg
	array_length array_upper pg_sleep current_database current_schema current_schemas pg_get_expr format_type
	pg_get_indexdef pg_get_constraintdef pg_table_is_visible has_schema_privilege has_database_privilege
	has_column_privilege has_table_privilege has_sequence_privilege pg_is_in_recovery pg_advisory_lock pg_advisory_xact_lock
	pg_advisory_unlock pg_advisory_unlock_all pg_try_advisory_lock pg_try_advisory_xact_lock txid_current nextval
	currval lastval setval to_char to_number to_date to_timestamp date_trunc date_part extract age repeat lpad rpad
	left right chr ascii encode decode quote_ident quote_literal row_number rank dense_rank lag lead first_value
	last_value row array array_to_string string_to_array pg_relation_size pg_total_relation_size clock_timestamp
	statement_timestamp transaction_timestamp hashtext pg_typeof current_setting pg_get_userbyid concat timezone
	pg_control_system pg_postmaster_start_time txid_current_snapshot txid_snapshot_xmin`)

// ownFunctions are functions that the stand-in makes: schema helpers.
var ownFunctions = []string{"version", "opengauss_version", "pg_backend_pid", "pg_terminate_backend", "pgxc_is_committed"}

// ownViews are catalogues that the stand-in makes: schema helpers.
var ownViews = []string{"pg_stat_activity", "pg_settings"}

// beforeParenthesis are words that a parenthesis may follow without a call.
var beforeParenthesis = strings.Fields(`in values and or not on using where select from as any all some exists then when
	else case over by key unique check default set is like ilike between limit offset having join union except intersect
	distinct returning nothing nowait with conflict include temp add column filter within
	group partition order excluded cast interval primary index table stored end escape similar to ok add only insert
	operator`)

// rewrite is what changes in the expressions of any statement, and what is an
// error in them.
func (s *session) rewrite(toks []token) ([]token, error) {
	toks = slices.Clone(toks)
	for i := range toks {
		if err := s.checkSyntax(toks, i); err != nil {
			return nil, err
		}
	}
	for i := 0; i < len(toks); i++ {
		t := &toks[i]
		var err error
		switch {
		case t.emptyText() && s.emptyIsNull():
			t.text = " NULL " // opengauss.md 5.2
		case t.kind == symbol:
			err = s.rewriteSymbol(toks, i)
		case t.kind == word, t.kind == quoted:
			err = s.rewriteName(toks, i)
		}
		if err != nil {
			return nil, err
		}
	}
	return toks, nil
}

func (s *session) checkSyntax(toks []token, i int) error {
	for _, no := range noSyntax {
		if startsWith(toks[i:], no.words...) {
			return syntaxErrorAt(toks[i+no.at])
		}
	}
	switch {
	case startsWith(toks[i:], "skip", "locked") && !s.opts.since("3.1.0"),
		startsWith(toks[i:], "lateral", "(") && !s.opts.since("7.0.0"): // opengauss.md 6.2
		return syntaxErrorAt(toks[i+1])
	case startsWith(toks[i:], "materialized", "("), startsWith(toks[i:], "tablesample"),
		startsWith(toks[i:], "no", "key", "update"), startsWith(toks[i:], "key", "share"):
		return unknown("%s", strings.ToUpper(toks[i].text))
	case slices.Contains(reservedWords, toks[i].word) && (i == 0 || toks[i-1].word != "."):
		return unknown("what %s means here: it is reserved in openGauss, quote a name that it is", toks[i].text)
	}
	return nil
}

func (s *session) rewriteSymbol(toks []token, i int) error {
	switch toks[i].word {
	case "::":
		_, err := s.rewriteType(toks, i+1)
		return err
	case "||":
		// NULL counts as an empty string there (opengauss.md 5.3).
		if s.opts.Mode == "A" {
			return unknown("|| in mode A, where 'a' || NULL is 'a'")
		}
	case "/":
		// 7/2 is 3.5 (opengauss.md 5.3): of integers only 1 / (a truth value)
		// is sure to be the same in both.
		// Also as 1 OPERATOR(pg_catalog./) (...).
		before, after := i-1, i+1
		if i > 4 && startsWith(toks[i-4:], "operator", "(", "pg_catalog", ".") && startsWith(toks[after:], ")") {
			before, after = i-5, i+2
		}
		if before < 0 || toks[before].text != "1" || after == len(toks) || toks[after].word != "(" {
			return unknown("the quotient of integers, which openGauss does not cut")
		}
	}
	return nil
}

func (s *session) rewriteName(toks []token, i int) error {
	t := &toks[i]
	name := t.name()
	called := i+1 < len(toks) && toks[i+1].word == "("
	member := i > 1 && toks[i-1].word == "."
	switch {
	case slices.Contains(pgColumns, name) && !called:
		if member {
			name = toks[i-2].name() + "." + name
		}
		return newFault("42703", "column %s does not exist", name)
	case name == "adgencol" && member: // opengauss.md 8
		q := toks[i-2].text
		toks[i-2].text, toks[i-1].text = "", ""
		t.text = "(SELECT og.attgenerated FROM pg_catalog.pg_attribute og WHERE og.attrelid = " + q +
			".adrelid AND og.attnum = " + q + ".adnum)"
	case name == "datcompatibility": // opengauss.md 2.5
		if member {
			toks[i-2].text, toks[i-1].text = "", ""
		}
		t.text = " " + literal(s.opts.Mode) + "::name"
		if i+1 == len(toks) || toks[i+1].word == "from" || toks[i+1].word == "," {
			t.text += " AS datcompatibility"
		}
	case t.kind != word:
		return nil
	case called:
		return s.rewriteCall(toks, i)
	case member && toks[i-2].word == "information_schema":
		if !slices.Contains(informationSchema, name) {
			return unknown("information_schema.%s", name)
		}
	case slices.Contains(ownViews, name):
		if member && toks[i-2].word == "pg_catalog" {
			toks[i-2].text, toks[i-1].text = "", ""
		}
		t.text = " " + s.server.helpers + "." + name
	case strings.HasPrefix(name, "pg_") && !slices.Contains(catalogues, name):
		return unknown("the catalogue %s", name)
	case name == "excluded" && !member:
		return syntaxErrorAt(*t) // reserved, opengauss.md 2.2
	}
	return nil
}

// rewriteCall looks at a word before a parenthesis: a call, unless it is a
// keyword, a type, or the name of a table or of an alias with its columns.
func (s *session) rewriteCall(toks []token, i int) error {
	t := &toks[i]
	if slices.Contains(beforeParenthesis, t.word) {
		if t.word == "cast" {
			return s.rewriteCast(toks, i)
		}
		return nil
	}
	n := i + 1 + groupLen(toks[i+1:])
	if i > 0 && n < len(toks) && toks[n].word == "as" && (toks[i-1].word == "with" || toks[i-1].word == "recursive" || toks[i-1].word == ",") &&
		startsWith(toks[n:], "as", "(") {
		return nil // WITH name (columns) AS (
	}
	prev := token{}
	if i > 0 {
		prev = toks[i-1]
	}
	first := i
	if prev.word == "." && i > 1 {
		if toks[i-2].word != "pg_catalog" {
			return unknown("the function %s.%s", toks[i-2].text, t.text)
		}
		first = i - 2
	} else if prev.word == ")" || prev.kind == quoted || prev.word == "as" || prev.word == "references" || prev.word == "into" ||
		prev.kind == word && !slices.Contains(beforeParenthesis, prev.word) {
		return nil // the columns of an alias, or of a table
	}
	switch {
	case t.word == "unnest" && len(list(toks[i+2:n-1])) > 1: // opengauss.md 6.2
		return newFault("42883", "function unnest(...) does not exist")
	case t.word == "to_regclass": // opengauss.md 8
		return newFault("42883", "function to_regclass(...) does not exist")
	case t.word == "opengauss_version" && !s.opts.since("3.0.0"): // opengauss.md 2.5
		return newFault("42883", "function opengauss_version() does not exist")
	case slices.Contains(ownFunctions, t.word):
		for j := first; j < i; j++ {
			toks[j].text = ""
		}
		t.text = s.server.helpers + "." + t.text
	case t.word == "current_setting" && i+2 < len(toks) && toks[i+2].kind == text:
		key, err := s.opts.setting(toks[i+2].constant())
		if err != nil {
			return err
		}
		toks[i+2].text = literal(key)
	case slices.Contains(functions, t.word):
	case isType(t.word):
	default:
		return unknown("the function %s", t.text)
	}
	return nil
}

// rewriteCast changes the type of CAST(x AS type).
func (s *session) rewriteCast(toks []token, i int) error {
	c := &cursor{toks: toks[:i+1+groupLen(toks[i+1:])], i: i + 2}
	c.until([]string{"as"})
	if !c.take("as") {
		return c.syntaxError()
	}
	_, err := s.rewriteType(toks, c.i)
	return err
}
