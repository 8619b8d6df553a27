package pgdest

import (
	"errors"
	"math"
	"slices"
	"strings"
	"unicode"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/memdbwriter/memdbwriter/internal/dest"
	"github.com/memdbwriter/memdbwriter/opengauss"
)

// classify makes a *dest.Error of an error that arose without a batch, and is
// the fault of no row.
func classify(err error) *dest.Error {
	e := classifyCopy(err, "", 0, nil)
	if e.Class == dest.ClassRow {
		e.Class = dest.ClassTable
	}
	return e
}

// classifyCopy makes a *dest.Error of the error of a statement that copied
// rows into the table rel. The row is named only if the error arose in that
// COPY, and not in what followed it.
func classifyCopy(err error, rel string, rows int, columns []columnPlan) *dest.Error {
	e := &dest.Error{Class: dest.ClassTransient, Row: -1, Err: told{err}}
	if errors.Is(err, opengauss.ErrServerSignature) || errors.Is(err, opengauss.ErrChallenge) {
		e.Class, e.Hint = dest.ClassTable, loginHint
		return e
	}
	if errors.Is(err, opengauss.ErrMethod) {
		e.Class = dest.ClassTable // its text says what to do
		return e
	}
	pe := new(pgconn.PgError)
	if !errors.As(err, &pe) {
		return e
	}
	e.SQLState, e.Column, e.Constraint = pe.Code, columnOf(pe), constraintOf(pe)
	e.Class, e.Hint = classOf(pe)
	row, context := -1, ""
	if rel != "" {
		row, context = copyRow(pe.Where, rel)
	}
	if row >= 0 && (pe.Code == protocolViolation || inValue(pe, context, columns)) {
		e.Class = dest.ClassRow
	}
	if e.Class == dest.ClassRow && row < rows && trusted(pe) {
		e.Row = row
	}
	if e.Column == "" {
		e.Column = columnIn(context, columns)
	}
	return e
}

// told is an error as people get it: with what else the server says, in one line.
type told struct{ err error }

func (t told) Unwrap() error { return t.err }

func (t told) Error() string {
	text := t.err.Error()
	if pe := new(pgconn.PgError); errors.As(t.err, &pe) {
		if pe.Detail != "" {
			text += ", detail: " + shortened(pe.Detail)
		}
		if pe.Hint != "" {
			text += ", hint of the server: " + shortened(pe.Hint)
		}
	}
	return oneLine(text)
}

// shortened cuts a text of the server after 200 characters.
func shortened(text string) string {
	const most = 200
	n := 0
	for i := range text {
		if n++; n > most {
			return text[:i] + "…"
		}
	}
	return text
}

// oneLine replaces what would break a line, or steer a terminal.
func oneLine(text string) string {
	text = strings.Join(strings.FieldsFunc(text, func(r rune) bool { return r == '\n' || r == '\r' }), " ")
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, text)
}

// trusted tells whether the line in the error's context is that of the bad
// row. The server collects rows and writes many at a time: what is found
// before (types, NOT NULL, CHECK, BEFORE triggers) and in the indexes has the
// right line, but not a row that is too large for a page. Of what is found in
// the indexes openGauss has the line up to which it read.
func trusted(pe *pgconn.PgError) bool {
	if fromOpenGauss(pe) {
		return !slices.Contains([]string{uniqueViolation, exclusionViolation, limitExceeded}, pe.Code)
	}
	return pe.Code != limitExceeded || pe.Routine != "RelationGetBufferForTuple"
}

// copyRow takes the number of the row, from 0, out of the context that the
// server adds to an error inside COPY into the table rel; -1 if it is not
// there. The context is in the language of the server:
//
//	COPY files, line 17, column size
//	COPY files, Zeile 17, Spalte size
//	filesのCOPY、行 17、列 size
//	files 복사, 17번째 줄, size 열
//
// Lines of triggers stand above it, and below it what is left of a value that
// has several lines. rest, what follows the number, may name the column.
func copyRow(where, rel string) (row int, rest string) {
	after, ok := "", false
	for line := range strings.SplitSeq(where, "\n") {
		if after, ok = strings.CutPrefix(line, "COPY "+rel+","); ok {
			break
		}
		// Only a language whose words start beyond ASCII puts the name first.
		after, ok = strings.CutPrefix(line, rel)
		after = strings.TrimPrefix(after, " ")
		if ok = ok && after != "" && after[0] >= 0x80; ok {
			break
		}
	}
	if !ok {
		return -1, ""
	}
	i := strings.IndexAny(after, "0123456789")
	if i < 0 {
		return -1, ""
	}
	after = after[i:]
	var n int64
	for after != "" && '0' <= after[0] && after[0] <= '9' {
		n, after = min(10*n+int64(after[0]-'0'), math.MaxInt32+1), after[1:]
	}
	if n > math.MaxInt32 { // no batch has so many rows
		return -1, after
	}
	return int(n) - 1, after
}

// inValue tells an error of the function that reads the values of a column's
// type, which may have the code of a faulty statement or of an internal error:
// those that look up a name, and those of extensions.
func inValue(pe *pgconn.PgError, context string, columns []columnPlan) bool {
	return (strings.HasPrefix(pe.Code, "42") || pe.Code == "XX000") &&
		!strings.HasPrefix(context, ":") && columnIn(context, columns) != "" // behind a colon is the whole row
}

// columnIn returns the column that is named in the end of a context, in any
// language; empty if none is.
func columnIn(context string, columns []columnPlan) string {
	context, _, _ = strings.Cut(context, ": ") // the value
	found := ""
	for i := range columns {
		name := columns[i].name
		if len(name) > len(found) && strings.Contains(context+" ", " "+name+" ") {
			found = name
		}
	}
	return found
}
