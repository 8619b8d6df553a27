package journal

import (
	"encoding/binary"
	"testing"

	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

// Behind the CRCs: what a correct frame around nonsense would do.
func FuzzBodies(f *testing.F) {
	good := []byte{0, 1, 0, 0, 0, 1, 'x'}
	b := &tuple.Batch{}
	b.Append(1, good)
	b.Append(2, good)
	f.Add(uint32(rowsKind), int64(1), appendRows(nil, b))
	c := control{settled: 9, gone: []int64{3}, failed: []Failure{{Seq: 4, Tuple: good, Message: "no", Attempts: 1}}}
	f.Add(uint32(amendKind), int64(9), c.append(nil))
	c.gone = nil
	f.Add(uint32(settleKind), int64(9), c.append(nil))
	f.Add(uint32(rowsKind), int64(1), binary.BigEndian.AppendUint32(nil, 1<<31))
	f.Add(uint32(receiptsKind), int64(9), receipts{{First: 1, Last: 3, Token: []byte("who")}}.append(nil))
	f.Fuzz(func(t *testing.T, k uint32, seq int64, body []byte) {
		if kind(k) == receiptsKind {
			if r, err := decodeReceipts(body); err == nil && string(r.append(nil)) != string(body) {
				t.Errorf("%x became %x", body, r.append(nil))
			}
			return
		}
		if kind(k) == rowsKind {
			var b tuple.Batch
			if decodeRows(&b, body, seq, 1) != nil {
				return
			}
			if got := appendRows(nil, &b); string(got) != string(body) {
				t.Errorf("%x became %x", body, got)
			}
			return
		}
		h := head{kind: kind(k%2) + settleKind, seq: seq}
		c, err := decodeControl(h, body, 1)
		if err != nil {
			return
		}
		if c.kind() == h.kind && string(c.append(nil)) != string(body) {
			t.Errorf("%x became %x", body, c.append(nil))
		}
	})
}

func FuzzHeader(f *testing.F) {
	h := (&Config{Table: "t", Writer: "w", Columns: []tuple.Column{{Name: "a", Type: tuple.Int8}}}).header(1, 1)
	f.Add(h.encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		length, err := decodePrologue(b)
		if err != nil || length > int64(len(b)) {
			return
		}
		b = b[:length]
		binary.BigEndian.PutUint32(b[length-4:], checksum(b[:length-4]))
		if h, err := decodeHeader(b); err == nil && len(h.columns) > len(b) {
			t.Errorf("%d columns in %d bytes", len(h.columns), len(b))
		}
	})
}
