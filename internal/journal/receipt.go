package journal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"

	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

// Receipt names a transaction that stores rows which must not be stored twice.
// It is written before the COMMIT is sent. What became of it is noted with the
// rows; should that be missing after a crash, the destination can be asked. A
// transaction whose arrival numbers have gaps has one for each range of them.
type Receipt struct {
	First, Last int64  // the transaction has a row with each arrival number from First to Last
	Token       []byte // not empty
}

// receipts are those whose outcome is not noted.
type receipts []Receipt

// add adds some that are not known yet.
func (r receipts) add(more []Receipt) receipts {
	type key struct {
		first, last int64
		token       string
	}
	known := make(map[key]bool, len(r))
	for _, o := range r {
		known[key{o.First, o.Last, string(o.Token)}] = true
	}
	for _, m := range more {
		if !known[key{m.First, m.Last, string(m.Token)}] {
			r = append(r, m)
		}
	}
	return r
}

// settle leaves out those of rows that waited and are settled now.
func (r receipts) settle(before, upTo int64) receipts {
	return slices.DeleteFunc(r, func(o Receipt) bool { return o.First > before && o.Last <= upTo })
}

// amend leaves out those of failed rows of which one is gone or has failed again:
// the outcome of a transaction is that of all its rows.
func (r receipts) amend(c *control) receipts {
	return slices.DeleteFunc(r, func(o Receipt) bool {
		within := func(seq int64) bool { return seq >= o.First && seq <= o.Last }
		return o.Last <= c.settled && (slices.ContainsFunc(c.gone, within) ||
			slices.ContainsFunc(c.failed, func(f Failure) bool { return within(f.Seq) }))
	})
}

// discard leaves out those of failed rows of which none is left. Whether a
// transaction has stored the others is still to be asked.
func (r receipts) discard(settled int64, live func(seq int64) bool) receipts {
	return slices.DeleteFunc(r, func(o Receipt) bool {
		if o.Last > settled {
			return false
		}
		for seq := o.First; seq <= o.Last; seq++ {
			if live(seq) {
				return false
			}
		}
		return true
	})
}

// append appends the body of a record. A token that is the one before again is
// written as an empty one.
func (r receipts) append(b []byte) []byte {
	be := binary.BigEndian
	b = be.AppendUint32(b, uint32(len(r)))
	var before []byte
	for _, o := range r {
		b = be.AppendUint64(b, uint64(o.First))
		b = be.AppendUint64(b, uint64(o.Last))
		if bytes.Equal(o.Token, before) {
			b = appendString(b, "")
			continue
		}
		b = appendString(b, string(o.Token))
		before = o.Token
	}
	return b
}

func decodeReceipts(body []byte) (receipts, error) {
	r := reader{b: body}
	var all receipts
	var before []byte
	for n := r.count(8 + 8 + 4); n > 0; n-- {
		o := Receipt{First: r.int64(), Last: r.int64()}
		token := r.string()
		if r.failed || o.First <= 0 || o.Last < o.First || o.Last > tuple.MaxSeq || len(token) > 0 && bytes.Equal(token, before) {
			return nil, errBody
		}
		if len(token) > 0 {
			before = bytes.Clone(token)
		}
		o.Token = before
		all = append(all, o)
	}
	if !r.done() {
		return nil, errBody
	}
	return all, nil
}

// Receipts writes receipts, behind what could not be written before. When it returns
// nil, the operating system has them.
func (w *Writer) Receipts(some []Receipt) error {
	w.mu.Lock()
	defer w.unlock()
	if w.closed {
		return ErrClosed
	}
	some = slices.Clone(some)
	for i := range some {
		some[i].Token = bytes.Clone(some[i].Token)
	}
	err := w.catchUp()
	w.receipts = w.receipts.add(some)
	if err != nil {
		some = w.receipts // some of them may be owing
	}
	return w.noted("write a receipt", errors.Join(err, w.writeReceipts(some)))
}

// writeReceipts writes some, or notes that they could not be written.
func (w *Writer) writeReceipts(some receipts) error {
	w.owing = true
	before := w.current
	w.buf = some.append(w.buf[:headSize])
	if err := w.room(int64(len(w.buf))); err != nil {
		return err
	}
	if w.current == before {
		// Not what is settled by now: failures among that may not be written yet.
		if err := w.write(receiptsKind, w.marked); err != nil {
			return err
		}
	} // else the new segment has begun with them
	w.owing = false
	return nil
}

// Receipts are those whose outcome is not noted, of rows that are recovered.
func (rec *Recovery) Receipts() []Receipt { return rec.receipts }
