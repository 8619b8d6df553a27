package ogtest

import (
	"encoding/json"
	"fmt"
)

// table is what the catalogue says of a table.
type table struct {
	Name    string // qualified and quoted
	Columns []column
	Keys    []uniqueKey // in index order, which is that of their creation
}

type column struct {
	Name   string
	Type   string
	String bool // of a string type
}

// uniqueKey is a unique index, as the target of ON CONFLICT, and all columns
// that it looks at.
type uniqueKey struct {
	Target    string
	Columns   []string
	Where     *string
	Plain     bool // neither expressions nor a predicate
	Immediate bool
}

const tableSQL = `SELECT json_build_object(
	'Name', quote_ident(n.nspname) || '.' || quote_ident(c.relname),
	'Columns', (SELECT json_agg(json_build_object('Name', a.attname, 'String', t.typcategory = 'S',
			'Type', CASE WHEN tn.nspname = 'pg_catalog' THEN format_type(a.atttypid, a.atttypmod)
				ELSE quote_ident(tn.nspname) || '.' || quote_ident(t.typname) END) ORDER BY a.attnum)
		FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
			JOIN pg_catalog.pg_namespace tn ON tn.oid = t.typnamespace
		WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped),
	'Keys', (SELECT json_agg(json_build_object('Immediate', i.indimmediate,
			'Plain', i.indexprs IS NULL AND i.indpred IS NULL,
			'Where', pg_get_expr(i.indpred, i.indrelid),
			'Target', (SELECT string_agg(CASE WHEN i.indkey[k - 1] = 0
					THEN '(' || pg_get_indexdef(i.indexrelid, k, false) || ')'
					ELSE pg_get_indexdef(i.indexrelid, k, false) END, ', ' ORDER BY k)
				FROM generate_series(1, i.indnkeyatts) k),
			'Columns', (SELECT json_agg(a.attname) FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0
				AND (a.attnum = ANY (i.indkey::int2[]) OR i.indexprs IS NOT NULL AND EXISTS (
					SELECT 1 FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_class'::regclass
						AND d.objid = i.indexrelid AND d.refobjid = c.oid AND d.refobjsubid = a.attnum)))
			) ORDER BY i.indexrelid)
		FROM pg_catalog.pg_index i WHERE i.indrelid = c.oid AND i.indisunique AND i.indisvalid))
	FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = to_regclass($1)`

// lookUp finds a table, nil if there is none.
func (s *session) lookUp(name qualified) (*table, error) {
	raw, err := s.ask(tableSQL, name.String())
	if err != nil || raw == "" {
		return nil, err
	}
	t := new(table)
	if err := json.Unmarshal([]byte(raw), t); err != nil {
		return nil, fmt.Errorf("the shape of table %s: %w", name, err)
	}
	return t, nil
}

func (t *table) column(name string) *column {
	for i := range t.Columns {
		if t.Columns[i].Name == name {
			return &t.Columns[i]
		}
	}
	return nil
}
