package ogtest

import (
	"regexp"
	"strings"

	"github.com/jackc/pgx/v5/pgproto3"
)

// otherCodes are SQLSTATEs that openGauss has for PostgreSQL's
// (opengauss.md 7).
var otherCodes = map[string]string{
	"55P03": "YY003",
	"26000": "26010",
	"3F000": "3F001",
	"34000": "34001",
	"42P18": "42P38",
}

var (
	// What later versions than 9.2 say in addition.
	ofRelation = regexp.MustCompile(` of relation ".*"( violates not-null constraint)$`)
	// What the stand-in's own functions add to the context.
	ownContext = regexp.MustCompile(`(?m)^(PL/pgSQL function|SQL statement|SQL function|PL/pgSQL assignment).*\n?`)
	copyLine   = regexp.MustCompile(`^(COPY .*, line \d+)$`)
)

// translateError makes openGauss's error of one of PostgreSQL's, or a notice.
func (s *session) translateError(e *pgproto3.ErrorResponse) *fault {
	f := &fault{
		raised: true, severity: e.Severity, code: e.Code, message: e.Message, detail: e.Detail, hint: e.Hint,
		where: strings.TrimRight(ownContext.ReplaceAllString(e.Where, ""), "\n"),
	}
	if code, ok := otherCodes[f.code]; ok {
		f.code = code
	}
	p := s.current
	if p == nil {
		p = &plan{}
	}
	if p.view != "" { // the stand-in's names are not for the client
		f.message = strings.ReplaceAll(f.message, p.view, p.table)
	}
	switch {
	case f.code == "YY003":
		f.message = "Lock wait timeout: thread on node " + nodeName + " waiting for a lock"
	case f.code == "0A000" && strings.Contains(f.message, "cached plan"):
		f.code = "29P06" // opengauss.md 7
	case f.code == "21000" && p.verb == "merge" && !s.opts.since("7.0.0"):
		// opengauss.md 2.3
		f.code, f.message, f.hint = "P0003", "unable to get a stable set of rows in the source tables", ""
	case f.code == "42P01" && s.extended && strings.HasPrefix(f.message, "relation "):
		f.message += " on " + nodeName // opengauss.md 7
	case f.code == "25P02":
		f.message += ", firstChar[" + string(rune(s.request)) + "]" // opengauss.md 11
	case f.code == "23502":
		f.message = ofRelation.ReplaceAllString(f.message, "$1")
	case f.code == "22001" && e.ColumnName != "":
		// Raised by the stand-in's trigger, which knows no COPY.
		f.where = copyLine.ReplaceAllString(f.where, "$1, column "+e.ColumnName)
	}
	return f
}
