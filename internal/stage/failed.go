package stage

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"time"
)

// Failure is a row that the destination refused, and why.
type Failure struct {
	Seq         int64
	Tuple       []byte
	SQLState    string // may be empty
	Column      string // may be empty
	Constraint  string // may be empty
	Message     string
	Attempts    int
	First, Last time.Time // to the microsecond, in UTC when they come out of a Store
}

const (
	failureColumns = 9

	failSQL   = "INSERT INTO main.failed SELECT c0, c1, c2, c3, c4, c5, c6, c7, c8 FROM temp." + sourceName
	refailSQL = `UPDATE main.failed SET tuple = c1, sqlstate = c2, "column" = c3, "constraint" = c4, message = c5, attempts = c6, first = c7, last = c8` +
		" FROM temp." + sourceName + " WHERE seq = c0"
	failuresSQL = `SELECT seq, tuple, sqlstate, "column", "constraint", message, attempts, first, last FROM main.failed WHERE seq > ? ORDER BY seq LIMIT ?`
)

// failedRows are rows of the table failed.
type failedRows []Failure

func (r failedRows) Len() int { return len(r) }

func (r failedRows) Value(row, col int) (driver.Value, error) {
	f := &r[row]
	return [failureColumns]driver.Value{
		f.Seq, f.Tuple, f.SQLState, f.Column, f.Constraint, f.Message, int64(f.Attempts), f.First.UnixMicro(), f.Last.UnixMicro(),
	}[col], nil
}

// addFailures inserts into the table failed; s.mu is held.
func (s *Store) addFailures(failed []Failure) error {
	if len(failed) == 0 {
		return nil
	}
	s.source.Serve(failedRows(failed))
	defer func() { s.source.Serve(nil) }()
	if _, err := s.fail.Exec(); err != nil {
		at := s.source.Row()
		if at < 0 {
			return fmt.Errorf("keep the failures of %d rows: %w", len(failed), err)
		}
		return fmt.Errorf("keep the failure of row %d: %w", failed[at].Seq, err)
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
// ascending order. There is none only if there is no such row; there may be fewer
// than the limit, which is none if it is zero, to keep their memory small.
func (s *Store) Failures(after int64, limit int) ([]Failure, error) {
	return s.failuresWithin(after, limit, pageBytes)
}

// failuresWithin is Failures: fewer than the limit if they have that many bytes.
func (s *Store) failuresWithin(after int64, limit, maxBytes int) ([]Failure, error) {
	if err := s.lock(); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	failed, err := s.listFailures(after, limit, maxBytes)
	if err != nil {
		return nil, fmt.Errorf("list failed rows after %d: %w", after, err)
	}
	return failed, nil
}

func (s *Store) listFailures(after int64, limit, maxBytes int) (failed []Failure, err error) {
	if limit <= 0 {
		limit = -1
	}
	rows, err := s.failures.Query(after, limit)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for bytes := 0; bytes < maxBytes && rows.Next(); {
		var f Failure
		var first, last int64
		if err := rows.Scan(&f.Seq, &f.Tuple, &f.SQLState, &f.Column, &f.Constraint, &f.Message, &f.Attempts, &first, &last); err != nil {
			return nil, err
		}
		f.First, f.Last = time.UnixMicro(first).UTC(), time.UnixMicro(last).UTC()
		failed = append(failed, f)
		bytes += len(f.Tuple)
	}
	return failed, rows.Err()
}

// FailureStates returns how many failed rows there are of each SQLState, up to
// the given arrival number.
func (s *Store) FailureStates(upTo int64) (map[string]int64, error) {
	if err := s.lock(); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	states, err := s.countStates(upTo)
	if err != nil {
		return nil, fmt.Errorf("count failed rows up to %d: %w", upTo, err)
	}
	return states, nil
}

func (s *Store) countStates(upTo int64) (map[string]int64, error) {
	rows, err := s.conn.QueryContext(context.Background(), "SELECT sqlstate, count(*) FROM main.failed WHERE seq <= ? GROUP BY sqlstate", upTo)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	states := map[string]int64{}
	for rows.Next() {
		var state string
		var n int64
		if err := rows.Scan(&state, &n); err != nil {
			return nil, err
		}
		states[state] = n
	}
	return states, rows.Err()
}

// Amend deletes the failed rows with the arrival numbers gone, those that are
// not there excepted, and replaces the failed rows of again, which must be there.
// It happens as a whole or not at all.
func (s *Store) Amend(gone []int64, again []Failure) error {
	if err := s.lock(); err != nil {
		return err
	}
	defer s.mu.Unlock()
	var rows, bytes int64
	err := s.transaction(func() (err error) {
		if rows, bytes, err = s.removeFailures(gone); err != nil {
			return err
		}
		more, err := s.updateFailures(again)
		bytes -= more
		return err
	})
	if err != nil {
		return fmt.Errorf("amend failed rows, %d to delete and %d to change: %w", len(gone), len(again), err)
	}
	s.count(0, 0, -rows, -bytes)
	return nil
}

func (s *Store) removeFailures(gone []int64) (rows, bytes int64, err error) {
	if len(gone) == 0 {
		return 0, 0, nil
	}
	s.source.Serve(numbers(gone))
	defer func() { s.source.Serve(nil) }()
	if err := s.unfailSize.QueryRow().Scan(&rows, &bytes); err != nil {
		return 0, 0, err
	}
	_, err = s.unfail.Exec()
	return rows, bytes, err
}

// updateFailures returns by how many bytes the failed rows grow.
func (s *Store) updateFailures(again []Failure) (more int64, err error) {
	if len(again) == 0 {
		return 0, nil
	}
	s.source.Serve(failedRows(again))
	defer func() { s.source.Serve(nil) }()
	var rows, before int64
	if err := s.unfailSize.QueryRow().Scan(&rows, &before); err != nil {
		return 0, err
	}
	r, err := s.refail.Exec()
	if err != nil {
		return 0, err
	}
	n, err := r.RowsAffected()
	if err != nil || n == int64(len(again)) {
		return failureBytes(again) - before, err
	}
	var seq int64
	switch err := s.unknown.QueryRow().Scan(&seq); err {
	case nil:
		return 0, fmt.Errorf("row %d is no failed row", seq)
	case sql.ErrNoRows:
		return 0, errors.New("a row is to be changed twice")
	default:
		return 0, err
	}
}

// numbers are arrival numbers.
type numbers []int64

func (n numbers) Len() int { return len(n) }

func (n numbers) Value(row, _ int) (driver.Value, error) { return n[row], nil }
