package stage

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// refuse makes failed rows with the arrival numbers lo to hi.
func refuse(t *testing.T, s *Store, lo, hi int64) []Failure {
	t.Helper()
	failed := make([]Failure, 0, hi-lo+1)
	for seq := lo; seq <= hi; seq++ {
		at := time.Unix(seq, 123000).UTC()
		failed = append(failed, Failure{
			Seq: seq, Tuple: row("/f", seq), SQLState: "22001", Column: "path", Constraint: "rule", Message: "too long", Attempts: 1, First: at, Last: at,
		})
	}
	must(t, s.Settle(-1, failed))
	return failed
}

// wantFailed fails the test unless these are the failed rows.
func wantFailed(t *testing.T, s *Store, want ...Failure) {
	t.Helper()
	got, err := s.Failures(-1<<63, 0)
	must(t, err)
	if !slices.EqualFunc(got, want, func(a, b Failure) bool { return describe(a) == describe(b) }) {
		t.Errorf("failed rows %+v, want %+v", got, want)
	}
	if c := s.Counts(); c.FailedRows != int64(len(want)) || c.FailedBytes != failureBytes(want) {
		t.Errorf("counts %+v, want %d failed rows of %d bytes", c, len(want), failureBytes(want))
	}
}

func TestFailuresArePaged(t *testing.T) {
	s := open(t, testConfig)
	refuse(t, s, 1, 10)
	for _, c := range []struct {
		after int64
		limit int
		want  []int64
	}{
		{0, 3, []int64{1, 2, 3}},
		{3, 3, []int64{4, 5, 6}},
		{8, 0, []int64{9, 10}},
		{10, 5, nil},
	} {
		got, err := s.Failures(c.after, c.limit)
		must(t, err)
		var seqs []int64
		for _, f := range got {
			seqs = append(seqs, f.Seq)
		}
		if !slices.Equal(seqs, c.want) {
			t.Errorf("%d after %d: %v, want %v", c.limit, c.after, seqs, c.want)
		}
	}
}

func TestAmendDeletesAndChanges(t *testing.T) {
	s := open(t, testConfig)
	f := refuse(t, s, 1, 5)
	later := time.Unix(500, 0).UTC()
	changed := Failure{
		Seq: 4, Tuple: append([]byte(nil), f[0].Tuple[:len(f[0].Tuple)-1]...), SQLState: "23502", Column: "size", Constraint: "rule", Message: "null value", Attempts: 7, First: later, Last: later.Add(time.Second),
	}
	must(t, s.Amend([]int64{1, 5, 77}, []Failure{changed}))
	wantFailed(t, s, f[1], f[2], changed)
	must(t, s.Amend([]int64{1, 2, 2}, nil))
	wantFailed(t, s, f[2], changed)
	must(t, s.Amend(nil, []Failure{f[3]}))
	wantFailed(t, s, f[2], f[3])
	must(t, s.Amend(nil, nil))
	must(t, s.Amend([]int64{3, 4}, nil))
	wantFailed(t, s)
}

func TestFailedAmendChangesNothing(t *testing.T) {
	s := open(t, testConfig)
	stage(t, s, 1, 10)
	f := refuse(t, s, 1, 5)
	for _, c := range []struct {
		gone  []int64
		again []Failure
		want  string
	}{
		{[]int64{1}, []Failure{f[1], {Seq: 9}, f[2]}, "row 9 is no failed row"},
		{[]int64{1, 2}, []Failure{f[1]}, "row 2 is no failed row"},
		{[]int64{1}, []Failure{f[1], f[1]}, "twice"},
	} {
		c.again[0].Message = "changed"
		unchanged(t, s, func() {
			if err := s.Amend(c.gone, c.again); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
}
