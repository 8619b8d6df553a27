package pgdest

import (
	"github.com/memdbwriter/memdbwriter/internal/dest"
	"github.com/memdbwriter/memdbwriter/internal/sqltext"
)

// isolateRows is how many rows the server tries at a time before it goes through
// them one by one.
const isolateRows = 128

// Names in the temporary tables and in the program. They have a blank, so that
// hardly any column is called the same.
const (
	placeColumn  = `"memdbwriter place"`
	refusedName  = `"memdbwriter refused"`
	refusedTable = "pg_temp." + refusedName
	refusedKinds = "issssss" // of refusedSQL
)

// isolateSQL copies rows, of which each has its place in the order of arrival in front, into
// a temporary table, stores those that get in, in the order of the places, and
// leaves the others in another one, for refusedSQL. It runs in a transaction of
// its caller, since the answer is fetched by the next request.
//
// The server goes from block to block, each in a subtransaction. In a block that
// is refused it goes from row to row, many in one subtransaction, until one is
// refused: that undoes the rows before it, which are stored anew together, and
// it goes on behind it. So a refused row costs two subtransactions, and a good
// one is written at most three times. What may be refused for what other rows
// have (a parent that is missing, a unique value that is taken, a trigger) is
// tried again as long as that stores something, from the other end each time: a
// chain of rows that need each other takes two rounds, whichever way it came.
//
// The rows that violate one of the hints, constraints and unique indexes that
// refused rows lately, go last, and all others are one block: see suspects.go.
// first is the size of the first block otherwise.
//
// Constraints are checked when they are declared to be. If some that are
// deferred are violated in the end, all is done again with immediate ones.
//
// inOrder is for rows of which it is not known which are of one key: none is
// written after one that came later, and each by a statement of its own, in blocks
// too: a statement updates no row twice, and leaves out a row that is as the
// stored one was before it began.
func isolateSQL(m *mover, f form, inOrder bool, hints []string, first int) sqltext.SQL {
	columnDefs, columns := m.bareColumns(), m.columns()
	temp := tempName(m.s, sqltext.Format(placeColumn+", {}", columnDefs))
	source := sqltext.Name("pg_temp", temp)
	return sqltext.Statements(
		sqltext.Const("SET LOCAL client_min_messages = warning"),
		sqltext.Format("CREATE TEMPORARY TABLE IF NOT EXISTS {} ("+placeColumn+" pg_catalog.int4, {}) {}", sqltext.Ident(temp), columnDefs, onCommit(m.temp.brief)),
		sqltext.Const("CREATE TEMPORARY TABLE IF NOT EXISTS "+refusedName+` (place pg_catalog.int4, code pg_catalog.text, message pg_catalog.text,
	detail pg_catalog.text, hint pg_catalog.text, constr pg_catalog.text, col pg_catalog.text, again pg_catalog.bool, cancelled pg_catalog.int8) ON COMMIT DELETE ROWS`),
		m.copy.sql(source, sqltext.Format(placeColumn+", {}", columns)),
		sqltext.Format("DO {}", sqltext.Literal(isolateProgram(m, f, source, inOrder, hints, first).String())))
}

// refusedSQL are the rows that isolateSQL left, and how many of the others a
// trigger cancelled.
var refusedSQL = sqltext.Const("SELECT place, code, message, detail, hint, constr, col FROM " + refusedTable + " WHERE place IS NOT NULL;\n" +
	"SELECT pg_catalog.sum(cancelled) FROM " + refusedTable)

// isolateProgram is the PL/pgSQL of isolateSQL. The columns of the table win over
// variables of the same name, which therefore have names of their own.
func isolateProgram(m *mover, f form, source sqltext.SQL, inOrder bool, hints []string, first int) sqltext.SQL {
	var fields []sqltext.SQL
	for _, c := range m.t.Columns {
		fields = append(fields, sqltext.Format(`"memdbwriter row".{} AS {}`, sqltext.Ident(c.Name), sqltext.Ident(c.Name)))
	}
	store := func(from sqltext.SQL) sqltext.SQL {
		if m.t.Policy == dest.InsertOnly {
			return m.insert(from, sqltext.SQL{})
		}
		return sqlOf(f.sql(m, from))
	}
	if m.s.triggers {
		bare := store
		store = func(from sqltext.SQL) sqltext.SQL { return countCancelled(m, from, bare(from)) }
	}
	one := store(sqltext.Format(`(SELECT {}) AS n`, sqltext.Join(", ", fields...)))
	part := store(sqltext.Format(`(SELECT {} FROM pg_catalog.unnest("memdbwriter part")) AS n`, m.columns()))
	again := sqltext.Const("true")
	if inOrder {
		again = sqltext.Const("false")
		part = sqltext.Format(`FOREACH "memdbwriter row" IN ARRAY "memdbwriter part" LOOP {}; END LOOP`, one)
	}
	return sqltext.Format(`#variable_conflict use_column
DECLARE
	"memdbwriter rows" {}[];
	"memdbwriter block" {}[];
	"memdbwriter part" {}[];
	"memdbwriter left" {}[];
	"memdbwriter row" {};
	"memdbwriter at" pg_catalog.int4;
	"memdbwriter from" pg_catalog.int4;
	"memdbwriter to" pg_catalog.int4;
	"memdbwriter size" pg_catalog.int4;
	"memdbwriter step" pg_catalog.int4;
	"memdbwriter suspect" pg_catalog.text;
	"memdbwriter stored" pg_catalog.bool;
	"memdbwriter again" pg_catalog.bool;
	"memdbwriter due" pg_catalog.int8;
	"memdbwriter done" pg_catalog.int8;
	"memdbwriter code" pg_catalog.text;
	"memdbwriter message" pg_catalog.text;
	"memdbwriter detail" pg_catalog.text;
	"memdbwriter hint" pg_catalog.text;
	"memdbwriter constr" pg_catalog.text;
	"memdbwriter column" pg_catalog.text;
BEGIN
	FOR "memdbwriter immediate" IN 0 .. 1 LOOP
		BEGIN
			IF "memdbwriter immediate" OPERATOR(pg_catalog.=) 1 THEN
				SET CONSTRAINTS ALL IMMEDIATE;
			END IF;
			"memdbwriter rows" := (SELECT pg_catalog.array_agg("memdbwriter source" ORDER BY `+placeColumn+`) FROM {} AS "memdbwriter source");
			"memdbwriter step" := {};
			{}
			LOOP
				"memdbwriter left" := NULL;
				"memdbwriter stored" := false;
				"memdbwriter at" := 1;
				WHILE "memdbwriter at" OPERATOR(pg_catalog.<=) pg_catalog.array_length("memdbwriter rows", 1) LOOP
					"memdbwriter block" := "memdbwriter rows"["memdbwriter at" : "memdbwriter at" OPERATOR(pg_catalog.+) "memdbwriter step" OPERATOR(pg_catalog.-) 1];
					BEGIN
						"memdbwriter part" := "memdbwriter block";
						{};
						"memdbwriter stored" := true;
					EXCEPTION WHEN OTHERS THEN
						IF "memdbwriter step" OPERATOR(pg_catalog.>) {} THEN
							"memdbwriter step" := {};
							CONTINUE;
						END IF;
						"memdbwriter from" := 1;
						"memdbwriter size" := pg_catalog.array_length("memdbwriter block", 1);
						WHILE "memdbwriter from" OPERATOR(pg_catalog.<=) "memdbwriter size" LOOP
							"memdbwriter to" := "memdbwriter from";
							BEGIN
								WHILE "memdbwriter to" OPERATOR(pg_catalog.<=) "memdbwriter size" LOOP
									"memdbwriter row" := "memdbwriter block"["memdbwriter to"];
									{};
									"memdbwriter to" := "memdbwriter to" OPERATOR(pg_catalog.+) 1;
								END LOOP;
								"memdbwriter stored" := true;
							EXCEPTION WHEN OTHERS THEN
								GET STACKED DIAGNOSTICS "memdbwriter code" = RETURNED_SQLSTATE, "memdbwriter message" = MESSAGE_TEXT,
									"memdbwriter detail" = PG_EXCEPTION_DETAIL, "memdbwriter hint" = PG_EXCEPTION_HINT, "memdbwriter constr" = CONSTRAINT_NAME, "memdbwriter column" = COLUMN_NAME;
								"memdbwriter again" := {} AND pg_catalog.left("memdbwriter code", 2) OPERATOR(pg_catalog.<>) '22'
									AND "memdbwriter code" OPERATOR(pg_catalog.<>) '23502' AND "memdbwriter code" OPERATOR(pg_catalog.<>) '23514';
								INSERT INTO `+refusedTable+` VALUES ("memdbwriter row".`+placeColumn+`, "memdbwriter code", "memdbwriter message",
									"memdbwriter detail", "memdbwriter hint", "memdbwriter constr", "memdbwriter column", "memdbwriter again");
								IF "memdbwriter again" THEN
									"memdbwriter left" := pg_catalog.array_prepend("memdbwriter row", "memdbwriter left");
								END IF;
								IF "memdbwriter to" OPERATOR(pg_catalog.>) "memdbwriter from" THEN
									"memdbwriter part" := "memdbwriter block"["memdbwriter from" : "memdbwriter to" OPERATOR(pg_catalog.-) 1];
									{};
									"memdbwriter stored" := true;
								END IF;
							END;
							"memdbwriter from" := "memdbwriter to" OPERATOR(pg_catalog.+) 1;
						END LOOP;
					END;
					"memdbwriter at" := "memdbwriter at" OPERATOR(pg_catalog.+) "memdbwriter step";
					"memdbwriter step" := {};
				END LOOP;
				EXIT WHEN "memdbwriter left" IS NULL OR NOT "memdbwriter stored";
				DELETE FROM `+refusedTable+` WHERE again;
				"memdbwriter rows" := "memdbwriter left";
			END LOOP;
			SET CONSTRAINTS ALL IMMEDIATE;
			EXIT;
		EXCEPTION WHEN OTHERS THEN
			IF "memdbwriter immediate" OPERATOR(pg_catalog.=) 1 THEN
				RAISE;
			END IF;
		END;
	END LOOP;
END`, source, source, source, source, source, source, sqltext.Int(first), suspectsFirst(m.s, source, hints),
		part, sqltext.Int(isolateRows), sqltext.Int(isolateRows), one, again, part, sqltext.Int(isolateRows))
}

// countCancelled stores rows by a statement, and notes how many of those that it
// was to write it did not. The note goes into the table of the refused rows, where
// a subtransaction that is undone takes it along.
func countCancelled(m *mover, from, store sqltext.SQL) sqltext.SQL {
	var due sqltext.SQL
	if m.t.Policy != dest.InsertOnly {
		due = sqltext.Format(" WHERE {}", m.absent(m.unchangedRow()))
	}
	return sqltext.Format(`"memdbwriter due" := (SELECT pg_catalog.count(*) FROM {}{});
{};
GET DIAGNOSTICS "memdbwriter done" = ROW_COUNT;
IF "memdbwriter due" OPERATOR(pg_catalog.>) "memdbwriter done" THEN
	INSERT INTO `+refusedTable+` (cancelled) VALUES ("memdbwriter due" OPERATOR(pg_catalog.-) "memdbwriter done");
END IF`, from, due, store)
}
