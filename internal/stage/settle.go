package stage

import "fmt"

// Settle ends the stay of the staged rows with arrival numbers up to upTo, and
// keeps the failures, whatever their numbers, as failed rows. It happens as a
// whole or not at all.
func (s *Store) Settle(upTo int64, failed []Failure) error {
	if err := s.lock(); err != nil {
		return err
	}
	defer s.mu.Unlock()
	if err := s.settle(upTo, failed); err != nil {
		return fmt.Errorf("settle the rows up to %d with %d failures: %w", upTo, len(failed), err)
	}
	return nil
}

// settle deletes the chunks that have ended by then. In one that has not, the
// rows up to there stay in place and s.settled hides them.
func (s *Store) settle(upTo int64, failed []Failure) error {
	upTo = max(s.settled, min(upTo, s.last))
	ended := s.extents.endedBy(upTo)
	rest := s.extents[ended:]

	var rows, bytes, left int64
	for _, e := range s.extents[:ended] {
		rows += int64(e.rowsTo(upTo) - e.rowsTo(s.settled))
		bytes += e.bytes
	}
	if len(rest) > 0 {
		var err error
		if left, err = s.bytesAfter(upTo, rest[0]); err != nil {
			return err
		}
		rows += int64(rest[0].rowsTo(upTo) - rest[0].rowsTo(s.settled))
		bytes += rest[0].bytes - left
	}
	if err := s.replace(s.extents[:ended], failed); err != nil {
		return err
	}
	if len(rest) > 0 {
		rest[0].bytes = left
	}
	s.extents, s.settled = rest, upTo
	if len(rest) == 0 {
		s.room = 0 // or rather a page, which is what the next chunk takes then
	}
	s.count(-rows, -bytes, int64(len(failed)), failureBytes(failed))
	return nil
}

// bytesAfter returns the bytes of the rows after seq in the first chunk.
func (s *Store) bytesAfter(seq int64, e extent) (int64, error) {
	if e.rowsTo(seq) == e.rowsTo(s.settled) {
		return e.bytes, nil
	}
	var bytes int
	err := s.eachChunk(seq, func(e extent, c chunk) bool {
		bytes = len(c) - c.offset(e.rowsTo(seq))
		return false
	})
	return int64(bytes), err
}

// replace deletes the chunks, which are the first, and adds the failures.
func (s *Store) replace(ended extents, failed []Failure) error {
	switch {
	case len(ended) == 0:
		return s.addFailures(failed)
	case len(failed) == 0:
		return s.remove(ended)
	}
	return s.transaction(func() error {
		if err := s.remove(ended); err != nil {
			return err
		}
		return s.addFailures(failed)
	})
}

func (s *Store) remove(ended extents) error {
	_, err := s.delete.Exec(ended[len(ended)-1].first)
	return err
}
