package stage

import (
	"database/sql/driver"
	"fmt"
	"time"
)

// Failure is a row that the destination refused, and why.
type Failure struct {
	Seq         int64
	Tuple       []byte
	SQLState    string // may be empty
	Column      string // may be empty
	Message     string
	Attempts    int
	First, Last time.Time // to the microsecond, in UTC when they come out of a Store
}

const (
	failureColumns = 8

	failSQL = "INSERT INTO main.failed SELECT c0, c1, c2, c3, c4, c5 + ifnull(attempts, 0), ifnull(first, c6), c7" +
		" FROM temp." + sourceName + " LEFT JOIN main.retried ON seq = c0"
	failuresSQL = `SELECT seq, tuple, sqlstate, "column", message, attempts, first, last FROM main.failed WHERE seq > ? ORDER BY seq LIMIT ?`
)

// failedRows are rows of the table failed.
type failedRows []Failure

func (r failedRows) Len() int { return len(r) }

func (r failedRows) Value(row, col int) (driver.Value, error) {
	f := &r[row]
	return [failureColumns]driver.Value{
		f.Seq, f.Tuple, f.SQLState, f.Column, f.Message, int64(f.Attempts), f.First.UnixMicro(), f.Last.UnixMicro(),
	}[col], nil
}

// addFailures inserts into the table failed; s.mu is held.
func (s *Store) addFailures(failed []Failure) error {
	if len(failed) == 0 {
		return nil
	}
	s.source.Rows = failedRows(failed)
	defer func() { s.source.Rows = nil }()
	if _, err := s.fail.Exec(); err != nil {
		return fmt.Errorf("keep the failure of row %d: %w", failed[s.source.Row()].Seq, err)
	}
	return nil
}

func failureBytes(failed []Failure) (n int64) {
	for i := range failed {
		n += int64(len(failed[i].Tuple))
	}
	return n
}

// Failures returns up to limit failed rows after the given arrival number, in
// ascending order. Zero means no limit.
func (s *Store) Failures(after int64, limit int) ([]Failure, error) {
	if err := s.lock(); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	failed, err := s.listFailures(after, limit)
	if err != nil {
		return nil, fmt.Errorf("list failed rows after %d: %w", after, err)
	}
	return failed, nil
}

func (s *Store) listFailures(after int64, limit int) (failed []Failure, err error) {
	if limit <= 0 {
		limit = -1
	}
	rows, err := s.failures.Query(after, limit)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var f Failure
		var first, last int64
		if err := rows.Scan(&f.Seq, &f.Tuple, &f.SQLState, &f.Column, &f.Message, &f.Attempts, &first, &last); err != nil {
			return nil, err
		}
		f.First, f.Last = time.UnixMicro(first).UTC(), time.UnixMicro(last).UTC()
		failed = append(failed, f)
	}
	return failed, rows.Err()
}

// Requeue moves up to limit failed rows after the given arrival number back
// into staging, in ascending order, all or none, each under a new arrival
// number from nextSeq. Those must be as Append wants them. nextSeq must not
// use the store. Zero means no limit. The rows and bytes moved are returned; no
// rows means that there are none. Attempts and first failure are remembered (see
// Settle).
func (s *Store) Requeue(after int64, limit int, nextSeq func() int64) (rows int, bytes int64, err error) {
	if err := s.lock(); err != nil {
		return 0, 0, err
	}
	defer s.mu.Unlock()
	rows, bytes, err = s.requeue(after, limit, nextSeq)
	if err != nil {
		return 0, 0, fmt.Errorf("put failed rows after %d back: %w", after, err)
	}
	return rows, bytes, nil
}

func (s *Store) requeue(after int64, limit int, nextSeq func() int64) (int, int64, error) {
	failed, err := s.listFailures(after, limit)
	if err != nil || len(failed) == 0 {
		return 0, 0, err
	}
	last := s.last
	moves := make(renumbering, len(failed))
	for i := range failed {
		seq := nextSeq()
		if seq <= last {
			return 0, 0, fmt.Errorf("the new arrival number %d is not above %d", seq, last)
		}
		moves[i], last = [2]int64{failed[i].Seq, seq}, seq
	}
	s.source.Rows = moves
	defer func() { s.source.Rows = nil }()
	err = s.transaction(func() error {
		if _, err := s.unfailInto.Exec(); err != nil {
			return err
		}
		if _, err := s.unfailKeep.Exec(); err != nil {
			return err
		}
		_, err := s.unfail.Exec()
		return err
	})
	if err != nil {
		return 0, 0, err
	}
	n, size := int64(len(failed)), failureBytes(failed)
	s.last = last
	s.retried += n
	s.count(n, size, -n, -size)
	return len(failed), size, nil
}

// renumbering is pairs of old and new arrival number.
type renumbering [][2]int64

func (r renumbering) Len() int { return len(r) }

func (r renumbering) Value(row, col int) (driver.Value, error) { return r[row][col], nil }
