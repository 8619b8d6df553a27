package pgdest

import (
	"errors"
	"slices"
	"sync"

	"github.com/memdbwriter/memdbwriter/internal/dest"
	"github.com/memdbwriter/memdbwriter/internal/sqltext"
)

// A constraint that has refused a row is likely to refuse more. It is a
// condition, which the server can look for before it tries: the rows that meet
// it are tried last, one by one, and all others together. That is a guess, and
// who decides is the attempt: a BEFORE trigger may mend a suspect, and one that
// is not suspected may be refused.
//
// So while a constraint is in fashion a batch is told apart at once, without an
// attempt to write it whole, which would fail.

const (
	// maxHints is how many constraints are looked for.
	maxHints = 4
	// outOfFashion is how many batches without a refused row end a fashion.
	outOfFashion = 2
	// inFashion is how many refused rows of one batch begin a fashion: it costs
	// every batch the way through the temporary table.
	inFashion = 2
	// suspectRows is the smallest batch that is not tried whole in a fashion.
	suspectRows = 64
)

// errSuspects stands for the refusal of a batch that was not tried: Isolate tells.
var errSuspects = errors.New("rows like these were rejected lately, so the batch is told apart at once")

// fashion is what refused rows lately. It is safe for concurrent use.
type fashion struct {
	mu    sync.Mutex
	names []string // constraints and unique indexes; may be empty in a fashion
	left  int      // batches until it ends
}

// hints returns what to look for, and whether there is a fashion.
func (f *fashion) hints() ([]string, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.names), f.left > 0
}

// seen notes a batch that was told apart.
func (f *fashion) seen(refused []dest.Refusal) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(refused) == 0 {
		if f.left--; f.left <= 0 {
			f.names, f.left = nil, 0
		}
		return
	}
	if f.left > 0 || len(refused) >= inFashion {
		f.left = outOfFashion
	}
	for _, r := range refused {
		name := r.Err.Constraint
		if name == "" || slices.Contains(f.names, name) {
			continue
		}
		if f.names = append(f.names, name); len(f.names) > maxHints {
			f.names = f.names[1:]
		}
	}
}

// suspectsFirst is the part of isolateProgram that puts suspects behind the other
// rows. It runs under an empty search path, so that no name in it, or in what
// pg_get_expr prints, can be another's. An expression that the server prints is
// not seen by the client, and is evaluated over the temporary table only. Where
// that fails, nobody is suspected.
func suspectsFirst(s *shape, source sqltext.SQL, hints []string) sqltext.SQL {
	if len(hints) == 0 {
		return sqltext.SQL{}
	}
	names := make([]sqltext.SQL, len(hints))
	for i, name := range hints {
		names[i] = sqltext.Literal(name)
	}
	table, own := sqltext.Literal(s.relation().String()), sqltext.Literal(s.own().String())
	return sqltext.Format(`BEGIN
				"memdbwriter message" := pg_catalog.current_setting('search_path');
				PERFORM pg_catalog.set_config('search_path', '', true);
				"memdbwriter suspect" := (SELECT pg_catalog.string_agg(c.condition, ' OR ') FROM (
					SELECT pg_catalog.concat('NOT (', pg_catalog.pg_get_expr(k.conbin, k.conrelid), ')') AS condition
					FROM pg_catalog.pg_constraint AS k
					WHERE k.contype OPERATOR(pg_catalog.=) 'c' AND k.conrelid OPERATOR(pg_catalog.=) {}::pg_catalog.regclass AND k.conname OPERATOR(pg_catalog.=) ANY (ARRAY[{}]::pg_catalog.name[])
					UNION ALL
					SELECT pg_catalog.format('EXISTS (SELECT 1 FROM %s AS t WHERE %s)', {},
						pg_catalog.string_agg(pg_catalog.format('t.%I OPERATOR(%I.%s) "memdbwriter source".%I', a.attname, n.nspname, o.oprname, a.attname), ' AND '))
					FROM pg_catalog.pg_index AS i
					JOIN pg_catalog.pg_class AS r ON r.oid OPERATOR(pg_catalog.=) i.indexrelid AND r.relname OPERATOR(pg_catalog.=) ANY (ARRAY[{}]::pg_catalog.name[])
					CROSS JOIN LATERAL pg_catalog.generate_series(0, i.indnkeyatts OPERATOR(pg_catalog.-) 1) AS p
					JOIN pg_catalog.pg_attribute AS a ON a.attrelid OPERATOR(pg_catalog.=) i.indrelid AND a.attnum OPERATOR(pg_catalog.=) i.indkey[p]
					JOIN pg_catalog.pg_opclass AS f ON f.oid OPERATOR(pg_catalog.=) i.indclass[p]
					JOIN pg_catalog.pg_amop AS m ON m.amopfamily OPERATOR(pg_catalog.=) f.opcfamily AND m.amopstrategy OPERATOR(pg_catalog.=) 3
						AND m.amoplefttype OPERATOR(pg_catalog.=) f.opcintype AND m.amoprighttype OPERATOR(pg_catalog.=) f.opcintype
					JOIN pg_catalog.pg_operator AS o ON o.oid OPERATOR(pg_catalog.=) m.amopopr
					JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) o.oprnamespace
					WHERE i.indrelid OPERATOR(pg_catalog.=) {}::pg_catalog.regclass AND i.indisunique AND i.indexprs IS NULL AND i.indpred IS NULL
					GROUP BY i.indexrelid) AS c);
				IF "memdbwriter suspect" IS NOT NULL THEN
					EXECUTE pg_catalog.concat('SELECT pg_catalog.array_agg("memdbwriter source" ORDER BY `+placeColumn+`) FROM ',
						{}, ' AS "memdbwriter source" WHERE ', "memdbwriter suspect") INTO "memdbwriter left";
					IF "memdbwriter left" IS NOT NULL THEN
						EXECUTE pg_catalog.concat('SELECT pg_catalog.array_agg("memdbwriter source" ORDER BY `+placeColumn+`) FROM ',
							{}, ' AS "memdbwriter source" WHERE (', "memdbwriter suspect", ') IS NOT TRUE') INTO "memdbwriter part";
						"memdbwriter step" := COALESCE(pg_catalog.array_length("memdbwriter part", 1), {});
						"memdbwriter rows" := pg_catalog.array_cat("memdbwriter part", "memdbwriter left");
					END IF;
				END IF;
				PERFORM pg_catalog.set_config('search_path', "memdbwriter message", true);
			EXCEPTION WHEN OTHERS THEN
				NULL;
			END;`,
		table, sqltext.Join(", ", names...), own, sqltext.Join(", ", names...), table,
		sqltext.Literal(source.String()), sqltext.Literal(source.String()), sqltext.Int(isolateRows))
}
