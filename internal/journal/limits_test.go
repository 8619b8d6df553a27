package journal

import (
	"fmt"
	"math"
	"testing"

	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

// A number from a file that would overflow, or leave no room for the rows to
// come, makes its record unusable, wherever in it the number is.
func TestNumbersFromFilesHaveLimits(t *testing.T) {
	one := []byte{0, 1, 0xff, 0xff, 0xff, 0xff} // a tuple of one NULL
	var rows tuple.Batch
	rows.Append(1, one)
	decoders := map[string]func(seq int64) error{
		"rows": func(seq int64) error {
			return decodeRows(new(tuple.Batch), appendRows(nil, &rows), seq, 1)
		},
		"settled": func(seq int64) error {
			_, err := decodeControl(head{kind: settleKind, seq: seq}, (&control{}).append(nil), 1)
			return err
		},
		"gone": func(seq int64) error {
			c := control{gone: []int64{seq}}
			_, err := decodeControl(head{kind: amendKind, seq: 1}, c.append(nil), 1)
			return err
		},
		"failed": func(seq int64) error {
			c := control{failed: []Failure{{Seq: seq, Tuple: one}}}
			_, err := decodeControl(head{kind: settleKind, seq: seq}, c.append(nil), 1)
			return err
		},
		"receipt": func(seq int64) error {
			_, err := decodeReceipts(receipts{{First: 1, Last: seq}}.append(nil))
			return err
		},
		"next": func(seq int64) error {
			h := header{number: 1, next: seq}
			_, err := decodeHeader(h.encode())
			return err
		},
		"number": func(seq int64) error {
			h := header{number: uint64(seq), next: 1}
			_, err := decodeHeader(h.encode())
			return err
		},
		"name": func(seq int64) error {
			if _, ok := parseName("x_", fmt.Sprintf("x_%016x.seg", uint64(seq))); !ok {
				return errBody
			}
			return nil
		},
	}
	for what, decode := range decoders {
		for _, seq := range []int64{1, tuple.MaxSeq - 1} {
			if err := decode(seq); err != nil {
				t.Errorf("%s %d: %v", what, seq, err)
			}
		}
		for _, seq := range []int64{tuple.MaxSeq + 1, math.MaxInt64 - 20, math.MaxInt64, math.MinInt64, -1} {
			if decode(seq) == nil {
				t.Errorf("%s %d was taken", what, seq)
			}
		}
	}
	f := control{failed: []Failure{{Seq: 1, Tuple: one, Attempts: math.MaxInt32}}}
	body := f.append(nil)
	if _, err := decodeControl(head{kind: settleKind, seq: 1}, body, 1); err != nil {
		t.Error(err)
	}
	f.failed[0].Attempts = -1
	if _, err := decodeControl(head{kind: settleKind, seq: 1}, f.append(nil), 1); err == nil {
		t.Error("attempts above any that can be were taken")
	}
}
