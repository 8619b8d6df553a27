package memdbwriter

import (
	"slices"
	"strings"

	"github.com/memdbwriter/memdbwriter/internal/dest"
	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

// The outcome decides whose fault an error is, and an SQLSTATE is a hint: a
// trigger may raise any. A refusal that is about values is the row's. Of another
//
//   - if all of many rows are refused, it is the table's: nothing is rejected,
//     the rows wait, and all of it is tried again;
//   - if some rows got in, it is the refused row's after all, provided that it
//     is refused once more in a later transaction;
//   - a row that is alone in its batch is rejected after a few attempts, so that
//     it does not hold up what comes behind it. If the table is at fault, the
//     rows behind it are many, and show that.

const (
	// tableEvidence is how many rows must have been refused, and none stored, for
	// the table to be at fault.
	tableEvidence = 100
	// loneAttempts is how often a row is refused alone before it is rejected for
	// an error that is not about values.
	loneAttempts = 3
)

// verdict is what a flush has seen of errors that are not about values.
type verdict struct {
	state   string        // SQLSTATE of the last error of a whole part
	times   int           // how often in a row
	refused map[int64]int // how often a row was, by sequence number
}

// onPart reports whether the rows of a part are to be told apart: at once if the
// error is about values, or if they have been before.
func (v *verdict) onPart(part *tuple.Batch, e *dest.Error) bool {
	if e.SQLState != v.state {
		v.state, v.times = e.SQLState, 0
	}
	v.times++
	again := v.times > 1 || v.refused[part.Rows[0].Seq] > 0
	return e.Class == dest.ClassRow || again && mayBeRows(e)
}

// onLoneRow reports whether a part is one row, and that is rejected.
func (v *verdict) onLoneRow(part *tuple.Batch, e *dest.Error) bool {
	return part.Len() == 1 && mayBeRows(e) && v.count(part.Rows[0].Seq) >= loneAttempts
}

// onTable returns the error if that is the table's. Then nothing of the part was
// stored.
func (v *verdict) onTable(part *tuple.Batch, refused []dest.Refusal) error {
	if len(refused) < part.Len() || slices.ContainsFunc(refused, ofValues) {
		return nil
	}
	if part.Len() >= tableEvidence || slices.ContainsFunc(refused, func(r dest.Refusal) bool { return ofServer(r.Err) }) {
		return refused[0].Err
	}
	return nil
}

// onRows tells the refused rows that are rejected from those that are tried again
// in a later transaction.
func (v *verdict) onRows(part *tuple.Batch, refused []dest.Refusal) (rejected []dest.Refusal, later *tuple.Batch) {
	later = &tuple.Batch{Data: part.Data}
	for _, r := range refused {
		if !ofValues(r) && v.count(part.Rows[r.Row].Seq) == 1 {
			later.Rows = append(later.Rows, part.Rows[r.Row])
		} else {
			rejected = append(rejected, r)
		}
	}
	return rejected, later
}

func (v *verdict) count(seq int64) int {
	if v.refused == nil {
		v.refused = map[int64]int{}
	}
	v.refused[seq]++
	return v.refused[seq]
}

func ofValues(r dest.Refusal) bool { return r.Err.Class == dest.ClassRow }

// mayBeRows reports whether something that a row sets off could be the cause of
// an error: the database itself answers, and not about itself.
func mayBeRows(e *dest.Error) bool { return e.Answered && !ofServer(e) }

// ofServer reports whether an error is about the connection, the login, the
// server, its resources or its transactions as such.
func ofServer(e *dest.Error) bool {
	return slices.ContainsFunc([]string{"08", "25", "28", "3D", "53", "57P"},
		func(class string) bool { return strings.HasPrefix(e.SQLState, class) })
}
