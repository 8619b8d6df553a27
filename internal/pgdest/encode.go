package pgdest

import (
	"encoding/binary"
	"errors"
	"slices"

	"github.com/memdbwriter/memdbwriter/internal/dest"
	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

// encode checks what can be checked without the server, so that a bad row
// costs no round trip, and appends the tuples with the destination's types to
// buf. A batch that needs no change is not copied: encode returns nothing.
// Errors are *dest.Error of one row.
func (p *plan) encode(buf []byte, b *tuple.Batch) ([]byte, error) {
	converts := p.converts || p.marked && !plain(b)
	if p.lastCheck == 0 && !converts {
		return nil, nil
	}
	if converts {
		buf = slices.Grow(buf, int(b.Bytes()))
	}
	for i := range b.Rows {
		t := b.Tuple(i)
		if !converts {
			if err := p.checkRow(i, t); err != nil {
				return nil, err
			}
			continue
		}
		var err error
		if buf, err = p.convertRow(buf, i, t); err != nil {
			return nil, err
		}
	}
	return buf, nil
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

// convertRow checks row i and appends it to buf as the destination wants it.
func (p *plan) convertRow(buf []byte, i int, t []byte) ([]byte, error) {
	rest := tuple.Fields(t)
	buf = tuple.AppendHeader(buf, len(p.columns))
	for c := range p.columns {
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

// withSeq returns the tuples of b, which encoded has unless it is empty, with
// their sequence numbers as a further field.
func withSeq(b *tuple.Batch, encoded []byte, fields int) []byte {
	out := make([]byte, 0, max(int(b.Bytes()), len(encoded))+b.Len()*12)
	for i := range b.Rows {
		t := b.Tuple(i)
		if len(encoded) > 0 {
			n := 2 + len(tuple.Key(encoded, fields))
			t, encoded = encoded[:n], encoded[n:]
		}
		out = append(tuple.AppendHeader(out, fields+1), tuple.Fields(t)...)
		out = binary.BigEndian.AppendUint32(out, 8)
		out = binary.BigEndian.AppendUint64(out, uint64(b.Rows[i].Seq))
	}
	return out
}
