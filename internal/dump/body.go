package dump

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

const (
	pageRows  = 4096
	pageBytes = 1 << 20

	failedColumns = 7 // those that only failed rows have
)

// body reads what is between head and trailer.
type body struct {
	info    *Info
	table   *Table
	mapping mapping
	names   layout
	text    window
	rows    func(*tuple.Batch) error
	failed  func(Failed) error

	values            decoder
	tokens            []token // of the row at hand
	more              bool    // the statement has another row after it
	page              tuple.Batch
	fail              Failed
	nRows, nFailed    int64
	lastRow, lastFail int64
}

func newBody(info *Info, t *Table, m mapping, text window, rows func(*tuple.Batch) error, failed func(Failed) error) *body {
	return &body{
		info: info, table: t, mapping: m, names: newLayout(&info.Table), text: text, rows: rows, failed: failed,
		tokens:  make([]token, 1+len(info.Columns)+failedColumns),
		lastRow: math.MinInt64, lastFail: math.MinInt64,
	}
}

func (b *body) read() error {
	waiting, failed := b.readRow, b.readFailed
	for {
		var found string
		err := b.text.take(func(src []byte) (n int, err error) {
			found, n, err = b.statement(src)
			return n, err
		})
		switch {
		case err != nil:
			return err
		case found == b.names.insertRow:
			err = b.each(waiting, b.fullPage)
		case found == b.names.insertFailed:
			err = b.each(failed, func() error { return b.failed(b.fail) })
		default:
			return b.finish()
		}
		if err != nil {
			return err
		}
	}
}

const commit = "COMMIT;\n"

// statement returns which of the possible ones src begins with.
func (b *body) statement(src []byte) (found string, n int, err error) {
	short := false
	for _, s := range []string{b.names.insertFailed, b.names.insertRow, commit} {
		n, err := skip(src, 0, s)
		if err == nil {
			return s, n, nil
		}
		short = short || err == errShort
	}
	if short {
		return "", 0, errShort
	}
	return "", 0, errSyntax
}

// each reads the rows of a statement, and calls done after each.
func (b *body) each(read func(src []byte) (int, error), done func() error) error {
	for b.more = true; b.more; {
		if err := b.text.take(read); err != nil {
			return err
		}
		if err := done(); err != nil {
			return err
		}
	}
	return nil
}

func (b *body) fullPage() error {
	if b.page.Len() < pageRows && len(b.page.Data) < pageBytes {
		return nil
	}
	return b.flush()
}

func (b *body) flush() error {
	if b.page.Len() == 0 {
		return nil
	}
	err := b.rows(&b.page)
	b.page.Reset()
	return err
}

func (b *body) finish() error {
	if len(b.text.buf) > b.text.pos || b.text.more() != errShort {
		return fmt.Errorf("%w: there is more after the end of the transaction", ErrDamaged)
	}
	if b.nRows != b.info.Rows || b.nFailed != b.info.Failed {
		return fmt.Errorf("%w: it has %d rows and %d failed ones, and its trailer counts %d and %d",
			ErrDamaged, b.nRows, b.nFailed, b.info.Rows, b.info.Failed)
	}
	return b.flush()
}

// lex reads the literals of a row and what follows it.
func (b *body) lex(src []byte, tokens []token) (n int, err error) {
	if n, err = lexRow(src, tokens); err != nil {
		return 0, err
	}
	end := ";\n"
	if b.more = n < len(src) && src[n] == ','; b.more {
		end = ",\n("
	}
	return skip(src, n, end)
}

func (b *body) readRow(src []byte) (int, error) {
	tokens := b.tokens[:1+len(b.info.Columns)]
	n, err := b.lex(src, tokens)
	if err != nil {
		return 0, err
	}
	seq, err := b.seq(tokens[0], &b.lastRow)
	if err != nil {
		return 0, err
	}
	start := len(b.page.Data)
	if b.page.Data, err = b.appendTuple(b.page.Data, tokens[1:]); err != nil {
		return 0, fmt.Errorf("%w: row %d: %w", ErrDamaged, seq, err)
	}
	b.page.Rows = append(b.page.Rows, tuple.Span{Off: uint32(start), Len: uint32(len(b.page.Data) - start), Seq: seq})
	b.nRows++
	return n, nil
}

func (b *body) readFailed(src []byte) (int, error) {
	n, err := b.lex(src, b.tokens)
	if err != nil {
		return 0, err
	}
	seq, err := b.seq(b.tokens[0], &b.lastFail)
	if err != nil {
		return 0, err
	}
	why := 1 + len(b.info.Columns)
	b.fail = Failed{Seq: seq}
	if b.fail.Tuple, err = b.appendTuple(nil, b.tokens[1:why]); err == nil {
		err = b.reasons(b.tokens[why:])
	}
	if err != nil {
		return 0, fmt.Errorf("%w: failed row %d: %w", ErrDamaged, seq, err)
	}
	b.nFailed++
	return n, nil
}

// seq reads an arrival number.
func (b *body) seq(t token, last *int64) (int64, error) {
	seq, err := strconv.ParseInt(viewString(t.text), 10, 64)
	switch {
	case t.kind != numberToken || err != nil:
		return 0, fmt.Errorf("%w: after row %d: want an arrival number", ErrDamaged, *last)
	case seq < b.info.FirstSeq || seq > b.info.LastSeq || seq <= *last:
		return 0, fmt.Errorf("%w: row %d: its arrival number is not above the last one, or not in the range of the head", ErrDamaged, seq)
	}
	*last = seq
	return seq, nil
}

// appendTuple makes a tuple of the table out of the literals of a row.
func (b *body) appendTuple(dst []byte, literals []token) ([]byte, error) {
	start := len(dst)
	dst = tuple.AppendHeader(dst, len(b.mapping))
	for i, from := range b.mapping {
		c := &b.table.Columns[i]
		t := token{kind: absentToken} // the row type did not have the column
		if from.index >= 0 {
			t = literals[from.index]
		}
		var err error
		switch {
		case t.kind == absentToken:
			dst = tuple.AppendAbsent(dst)
		case t.kind == nullToken && !c.Nullable:
			err = errors.New("NULL where there must be a value")
		default:
			dst, err = b.values.appendField(dst, from.typ, c.Type, t)
		}
		if err == nil && len(dst)-start > tuple.MaxLen {
			err = fmt.Errorf("with it the row has more than %d bytes", tuple.MaxLen)
		}
		if err != nil {
			return dst[:start], fmt.Errorf("column %q: %w", c.Name, err)
		}
	}
	tuple.Mark(dst[start:], b.table.Columns)
	return dst, nil
}

// reasons reads the columns that only failed rows have.
func (b *body) reasons(t []token) (err error) {
	f := &b.fail
	for i, s := range []*string{&f.SQLState, &f.Column, &f.Constraint, &f.Message} {
		field, err := b.values.appendField(nil, tuple.Text, tuple.Text, t[i])
		if err != nil || t[i].kind == nullToken {
			return errors.Join(errLiteral, err)
		}
		*s = string(field[4:])
	}
	attempts, err := strconv.ParseUint(viewString(t[4].text), 10, 31)
	f.Attempts = int(attempts)
	if err != nil || t[4].kind != numberToken {
		return errors.Join(errLiteral, err)
	}
	for i, at := range []*time.Time{&f.First, &f.Last} {
		t := t[5+i]
		var ok bool
		if *at, ok = parseTime(viewString(t.text)); !ok || t.kind != textToken {
			return errLiteral
		}
	}
	return nil
}
