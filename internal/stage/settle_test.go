package stage

import (
	"fmt"
	"strings"
	"testing"
)

func TestSettleEndsAnywhere(t *testing.T) {
	s := open(t, testConfig)
	stage(t, s, 0, 9999) // several chunks
	stage(t, s, 20_000, 20_009)
	if len(s.extents) < 3 {
		t.Fatalf("%d chunks", len(s.extents))
	}
	end := s.extents[1].last
	for _, c := range []struct{ upTo, first, rows int64 }{
		{-5, 0, 10_010},
		{0, 1, 10_009},
		{0, 1, 10_009},
		{-5, 1, 10_009},
		{77, 78, 9932},
		{end - 1, end, 10_010 - end},
		{end, end + 1, 10_009 - end},
		{end + 1, end + 2, 10_008 - end},
		{9999, 20_000, 10},
		{15_000, 20_000, 10},
		{20_003, 20_004, 6},
		{5, 20_004, 6},
	} {
		must(t, s.Settle(c.upTo, nil))
		consistent(t, s)
		b, err := s.Page(-1, 0)
		must(t, err)
		if b.Len() == 0 || b.Rows[0].Seq != c.first || s.Counts() != (Counts{Rows: c.rows, Bytes: b.Bytes()}) {
			t.Errorf("up to %d: the first row is %v, counts %+v", c.upTo, b.Rows[:1], s.Counts())
		}
		_, rows := query(t, s, "SELECT count(*) || ' ' || min(_seq) || ' ' || min(size) FROM files")
		if want := fmt.Sprint(c.rows, c.first, c.first); rows[0] != want {
			t.Errorf("up to %d: the view has %q, want %q", c.upTo, rows[0], want)
		}
	}
}

// What is not staged yet cannot be settled.
func TestSettleBeyondTheEnd(t *testing.T) {
	s := open(t, testConfig)
	must(t, s.Settle(100, nil))
	stage(t, s, 5, 9)
	if c := s.Counts(); c.Rows != 5 {
		t.Errorf("counts %+v", c)
	}
	must(t, s.Settle(1<<63-1, nil))
	if c := s.Counts(); c != (Counts{}) {
		t.Errorf("counts %+v", c)
	}
	stage(t, s, 10, 12)
	consistent(t, s)
	if staged, _ := contents(t, s); len(staged) != 3 {
		t.Errorf("staged %q", staged)
	}
}

func TestSettleKeepsFailuresOfAnyNumber(t *testing.T) {
	s := open(t, testConfig)
	stage(t, s, 5, 6)
	must(t, s.Settle(-1, []Failure{{Seq: 1, Tuple: row("/a", 1)}, {Seq: 5, Tuple: row("/b", 1)}}))
	staged, size := int64(len(row("/f5", 5))), int64(len(row("/a", 1)))
	if c := s.Counts(); c != (Counts{Rows: 2, Bytes: 2 * staged, FailedRows: 2, FailedBytes: 2 * size}) {
		t.Errorf("counts %+v", c)
	}
	must(t, s.Settle(5, []Failure{{Seq: 9, Tuple: row("/c", 1)}}))
	if c := s.Counts(); c != (Counts{Rows: 1, Bytes: staged, FailedRows: 3, FailedBytes: 3 * size}) {
		t.Errorf("counts %+v", c)
	}
}

func TestFailedSettleChangesNothing(t *testing.T) {
	s := open(t, testConfig)
	stage(t, s, 0, 20_000)
	again := []Failure{{Seq: 6, Tuple: row("/f6", 6)}, {Seq: 7, Tuple: row("/f7", 7)}}
	must(t, s.Settle(99, again[1:]))
	for _, upTo := range []int64{99, 100, 10_000, 20_000} {
		unchanged(t, s, func() {
			err := s.Settle(upTo, again)
			if err == nil || !strings.Contains(err.Error(), "row 7") {
				t.Errorf("a second failure of row 7, up to %d: error %v", upTo, err)
			}
		})
	}
}
