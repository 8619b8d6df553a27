package pgdest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/memdbwriter/memdbwriter/internal/sqltext"
)

// This file is the only one that sends statements and reads answers: what goes
// out is sqltext.SQL, and what comes in has the number and the kinds of columns
// that were asked for, or is an error.

// execute runs statements whose answers do not matter.
func execute(ctx context.Context, pg *pgconn.PgConn, sql sqltext.SQL) error {
	_, err := pg.Exec(ctx, sql.String()).ReadAll()
	return err
}

// affected runs statements and returns how many rows each of them changed.
func affected(ctx context.Context, pg *pgconn.PgConn, sql sqltext.SQL) ([]int64, error) {
	results, err := pg.Exec(ctx, sql.String()).ReadAll()
	if err != nil {
		return nil, err
	}
	counts := make([]int64, len(results))
	for i, r := range results {
		counts[i] = r.CommandTag.RowsAffected()
	}
	return counts, nil
}

// parse asks the server whether it takes a statement, which is not executed.
func parse(ctx context.Context, pg *pgconn.PgConn, sql sqltext.SQL) error {
	_, err := pg.Prepare(ctx, "", sql.String(), nil)
	return err
}

// copyIn runs statements of which one is a COPY FROM STDIN, and feeds it r. The
// tag is that of the last statement.
func copyIn(ctx context.Context, pg *pgconn.PgConn, sql sqltext.SQL, r io.Reader) (pgconn.CommandTag, error) {
	return pg.CopyFrom(ctx, r, sql.String())
}

// query runs statements and returns the rows of those that have an answer. For
// each of these there is one kinds, with a letter for each column:
//
//	s  text
//	b  a boolean
//	i  an integer of 64 bits
//	o  an OID, or another unsigned integer of 32 bits
//	x  an unsigned integer of 64 bits
//	-  anything, which is not looked at
//
// NULL is the zero value of each.
func query(ctx context.Context, pg *pgconn.PgConn, sql sqltext.SQL, kinds ...string) ([][]record, error) {
	results, err := pg.Exec(ctx, sql.String()).ReadAll()
	if err != nil {
		return nil, err
	}
	return readResults(results, kinds)
}

// queryRow runs statements of which one has an answer, of one row.
func queryRow(ctx context.Context, pg *pgconn.PgConn, sql sqltext.SQL, kinds string) (record, error) {
	answers, err := query(ctx, pg, sql, kinds)
	if err != nil {
		return nil, err
	}
	if len(answers[0]) != 1 {
		return nil, fmt.Errorf("%w: %d rows, want one", errAnswer, len(answers[0]))
	}
	return answers[0][0], nil
}

// errAnswer is what an answer is that is not one to the question.
var errAnswer = errors.New("the server gave an unexpected answer")

// record is a row of an answer, in text form, with the columns that were asked
// for.
type record []string

func (r record) is(i int) bool { return r[i] == "t" }

func (r record) int(i int) int64 {
	n, _ := strconv.ParseInt(r[i], 10, 64) // readRecord has looked
	return n
}

func (r record) oid(i int) uint32 { return uint32(r.uint(i)) }

func (r record) uint(i int) uint64 {
	n, _ := strconv.ParseUint(r[i], 10, 64)
	return n
}

// readResults reads the results of the statements that select something.
func readResults(results []*pgconn.Result, kinds []string) ([][]record, error) {
	answers := make([][]record, 0, len(kinds))
	for _, result := range results {
		switch {
		case result.Err != nil:
			return nil, result.Err
		case !result.CommandTag.Select() && len(result.Rows) == 0:
			continue
		case len(answers) == len(kinds):
			return nil, fmt.Errorf("%w: more results than the %d that were asked for", errAnswer, len(kinds))
		}
		records := make([]record, len(result.Rows))
		for i, row := range result.Rows {
			var err error
			if records[i], err = readRecord(row, kinds[len(answers)]); err != nil {
				return nil, err
			}
		}
		answers = append(answers, records)
	}
	if len(answers) < len(kinds) {
		return nil, fmt.Errorf("%w: %d results, want %d", errAnswer, len(answers), len(kinds))
	}
	return answers, nil
}

// readRecord checks a row against the kinds of its columns.
func readRecord(row [][]byte, kinds string) (record, error) {
	if len(row) != len(kinds) {
		return nil, fmt.Errorf("%w: a row of %d columns, want %d", errAnswer, len(row), len(kinds))
	}
	r := make(record, len(row))
	for i, field := range row {
		r[i] = string(field)
		if field == nil {
			continue
		}
		var err error
		switch kinds[i] {
		case 'b':
			if r[i] != "t" && r[i] != "f" {
				err = strconv.ErrSyntax
			}
		case 'i':
			_, err = strconv.ParseInt(r[i], 10, 64)
		case 'o':
			_, err = strconv.ParseUint(r[i], 10, 32)
		case 'x':
			_, err = strconv.ParseUint(r[i], 10, 64)
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %.40q in column %d", errAnswer, r[i], i+1)
		}
	}
	return r, nil
}
