package pgdest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"strconv"

	"github.com/memdbwriter/memdbwriter/internal/dest"
	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

// encode checks what can be checked without the server, so that a bad row
// costs no round trip, and appends what COPY is to read to buf. A batch that
// needs no change is not copied: encode returns nothing. Errors are *dest.Error
// of one row.
func (p *plan) encode(buf []byte, b *tuple.Batch) ([]byte, error) {
	if p.text {
		return p.encodeText(buf, b)
	}
	converts := p.converts || p.marked && !plain(b)
	if !converts {
		return nil, p.check(b)
	}
	buf = append(slices.Grow(buf, len(copyHeader)+int(b.Bytes())+len(copyTrailer)), copyHeader...)
	for i := range b.Rows {
		var err error
		if buf, err = p.appendFields(tuple.AppendHeader(buf, len(p.columns)), i, b.Tuple(i)); err != nil {
			return nil, err
		}
	}
	return append(buf, copyTrailer...), nil
}

// header and trailer are what stands around encoded rows.
func (p *plan) header() string {
	if p.text {
		return ""
	}
	return copyHeader
}

func (p *plan) trailer() string {
	if p.text {
		return ""
	}
	return copyTrailer
}

// check checks the rows of a batch that needs no change.
func (p *plan) check(b *tuple.Batch) error {
	if p.lastCheck == 0 {
		return nil
	}
	for i := range b.Rows {
		if err := p.checkRow(i, b.Tuple(i)); err != nil {
			return err
		}
	}
	return nil
}

// plain tells whether all rows can be sent as they are, for what their own
// marks tell.
func plain(b *tuple.Batch) bool {
	for i := range b.Rows {
		if !tuple.Plain(b.Data[b.Rows[i].Off:]) {
			return false
		}
	}
	return true
}

// checkRow checks the fields of row i.
func (p *plan) checkRow(i int, t []byte) error {
	rest := tuple.Fields(t)
	for c := range p.columns[:p.lastCheck] {
		var value []byte
		var null bool
		value, null, rest = tuple.Next(rest)
		if err := p.columns[c].check(value, null); err != nil {
			return p.rowError(i, c, err)
		}
	}
	return nil
}

// appendFields checks row i and appends its fields to buf as the destination
// wants them.
func (p *plan) appendFields(buf []byte, i int, t []byte) ([]byte, error) {
	rest := tuple.Fields(t)
	for c := range p.columns {
		for p.whole != nil && tuple.Absent(rest) {
			_, _, rest = tuple.Next(rest)
		}
		value, null, next := tuple.Next(rest)
		col := &p.columns[c]
		if err := col.check(value, null); err != nil {
			return nil, p.rowError(i, c, err)
		}
		if null || col.Convert == nil {
			buf = append(buf, rest[:len(rest)-len(next)]...)
			rest = next
			continue
		}
		rest = next
		start := len(buf) + 4
		out, err := col.Convert(append(buf, 0, 0, 0, 0), value)
		if err != nil {
			return nil, p.rowError(i, c, err)
		}
		binary.BigEndian.PutUint32(out[start-4:], uint32(len(out)-start))
		buf = out
	}
	return buf, nil
}

var errNull = errors.New("NULL in a column that is NOT NULL")

func (c *columnPlan) check(value []byte, null bool) error {
	switch {
	case null && c.notNull:
		return errNull
	case null || c.Check == nil:
		return nil
	}
	return c.Check(value)
}

// rowError is what is wrong with column c of row i.
func (p *plan) rowError(i, c int, err error) error {
	col := &p.columns[c]
	e := dest.RowErrorf(i, col.name, "", "column %s: %w", col.name, err)
	e.SQLState, e.Hint = rowHint(err, p.shape.columns[col.name].typ)
	return e
}

// withSeq returns what COPY is to read of b, which encoded has unless it is
// empty, with the sequence numbers of the rows as a further field.
func (p *plan) withSeq(b *tuple.Batch, encoded []byte) []byte {
	rest := encoded[min(len(p.header()), len(encoded)):]
	out := make([]byte, 0, max(int(b.Bytes()), len(encoded))+len(copyHeader)+len(copyTrailer)+b.Len()*20)
	out = append(out, p.header()...)
	for i := range b.Rows {
		var row []byte
		switch {
		case p.text:
			n := bytes.IndexByte(rest, '\n')
			row, rest = rest[:n], rest[n+1:]
			out = append(strconv.AppendInt(append(append(out, row...), '\t'), b.Rows[i].Seq, 10), '\n')
			continue
		case len(encoded) > 0:
			n := 2 + len(tuple.Key(rest, len(p.columns)))
			row, rest = rest[:n], rest[n:]
		default:
			row = b.Tuple(i)
		}
		out = append(tuple.AppendHeader(out, len(p.columns)+1), tuple.Fields(row)...)
		out = binary.BigEndian.AppendUint32(out, 8)
		out = binary.BigEndian.AppendUint64(out, uint64(b.Rows[i].Seq))
	}
	return append(out, p.trailer()...)
}
