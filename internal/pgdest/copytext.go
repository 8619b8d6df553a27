package pgdest

import (
	"errors"

	"github.com/memdbwriter/memdbwriter/internal/dest"
	"github.com/memdbwriter/memdbwriter/internal/sqltext"
	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

// Every type of the server has a text form, and most have a binary one that
// values can be given here. Where one column of a table takes values that have
// no binary form, all go as text. That is slower and means the same.

// copyForm is how COPY reads a batch.
type copyForm struct {
	text bool
	// settled: the settings of the session decide how a value is read, and
	// have to be known ones for as long.
	settled  bool
	restores bool // and can be given back after it
	// parts: values may be arrays or have some, in which NULL without quotes is no
	// text, whatever the session has made of it. It is said for the transaction: a
	// value of a user's type is read by a later statement.
	parts bool
}

// sql fills the table, and may be several statements.
func (c copyForm) sql(table, columns sqltext.SQL) sqltext.SQL {
	fill := sqltext.Format("COPY {} ({}) FROM STDIN (FORMAT binary)", table, columns)
	if c.text {
		fill = sqltext.Format("COPY {} ({}) FROM STDIN (FORMAT text)", table, columns)
	}
	if c.parts {
		fill = sqltext.Statements(sqltext.Const("SET LOCAL array_nulls = on"), fill)
	}
	switch {
	case !c.settled:
		return fill
	case !c.restores:
		return sqltext.Statements(settle, fill)
	}
	return sqltext.Statements(keepAndSettle, fill, giveBack)
}

// The settings that decide how a text is read. Those of the session are kept
// in settings of ours until the end of the transaction.
const (
	readSettings = `(VALUES ('DateStyle', 'memdbwriter.datestyle', 'ISO, MDY'), ('IntervalStyle', 'memdbwriter.intervalstyle', 'postgres'),
		('TimeZone', 'memdbwriter.timezone', 'UTC'), ('lc_monetary', 'memdbwriter.lc_monetary', 'C'),
		('xmloption', 'memdbwriter.xmloption', 'content')) AS s(name, kept, wanted)`
	set  = "pg_catalog.set_config"
	read = "pg_catalog.current_setting"
)

var (
	keepAndSettle = sqltext.Const("SELECT " + set + "(kept, " + read + "(name), true), " + set + "(name, wanted, true) FROM " + readSettings)
	giveBack      = sqltext.Const("SELECT " + set + "(name, " + read + "(kept), true) FROM " + readSettings)
	// settle leaves out the time zone, which the defaults of columns rest on.
	settle = sqltext.Const("SELECT " + set + "(name, wanted, true) FROM " + readSettings + " WHERE name" + ne + "'TimeZone'")
)

// encodeText is encode for the text format of COPY.
func (p *plan) encodeText(buf []byte, b *tuple.Batch) (_ []byte, err error) {
	for i := range b.Rows {
		if buf, err = p.textRow(buf, i, b.Tuple(i)); err != nil {
			return nil, err
		}
	}
	return buf, nil
}

// textRow checks row i and appends it to buf as a line.
func (p *plan) textRow(buf []byte, i int, t []byte) ([]byte, error) {
	rest := tuple.Fields(t)
	for c := range p.columns {
		for p.whole != nil && tuple.Absent(rest) {
			_, _, rest = tuple.Next(rest)
		}
		var value []byte
		var null bool
		value, null, rest = tuple.Next(rest)
		col := &p.columns[c]
		if err := col.check(value, null); err != nil {
			return nil, p.rowError(i, c, err)
		}
		if c > 0 {
			buf = append(buf, '\t')
		}
		if null {
			buf = append(buf, `\N`...)
			continue
		}
		start := len(buf)
		out, err := col.Text(buf, value)
		if err == nil && len(out) == start && p.shape.mode == "A" {
			err = errEmpty
		}
		if err != nil {
			return nil, p.textError(i, c, err)
		}
		buf = escapeCopy(out, start)
	}
	return append(buf, '\n'), nil
}

// errEmpty is what is wrong with an empty text on openGauss in mode A, which
// reads NULL instead.
var errEmpty = errors.New("an empty text, which this database in the mode A reads as NULL where COPY reads text, " +
	"as it has to for another column of the table: write NULL or another text")

// textError is what is wrong with the text of column c of row i.
func (p *plan) textError(i, c int, err error) error {
	if name := p.columns[c].name; errors.Is(err, errEmpty) {
		return dest.RowErrorf(i, name, "22023", "column %s: %w", name, err)
	}
	return p.rowError(i, c, err)
}

// escapeCopy replaces the bytes from start on that mean something to COPY.
func escapeCopy(buf []byte, start int) []byte {
	n := 0
	for _, c := range buf[start:] {
		if escaped(c) != 0 {
			n++
		}
	}
	if n == 0 {
		return buf
	}
	end := len(buf)
	for range n {
		buf = append(buf, 0)
	}
	for from, to := end-1, len(buf)-1; from < to; from-- {
		buf[to] = buf[from]
		to--
		if c := escaped(buf[from]); c != 0 {
			buf[to+1] = c
			buf[to] = '\\'
			to--
		}
	}
	return buf
}

// escaped is what stands behind the backslash for a byte that COPY would take
// for something else; 0 for other bytes.
func escaped(c byte) byte {
	switch c {
	case '\\':
		return '\\'
	case '\t':
		return 't'
	case '\n':
		return 'n'
	case '\r':
		return 'r'
	}
	return 0
}
