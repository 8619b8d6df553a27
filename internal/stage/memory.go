package stage

import "fmt"

// trimPages is how many pages are given back at a time: Trim shares the store
// with the others, and a transaction takes as much memory again as the pages
// that it moves.
const trimPages = 64

// Memory returns the bytes of all pages of the database, the free ones, which
// new rows will use, included. The process holds about a tenth more for them,
// and during a transaction a copy of the old pages that it changes.
func (s *Store) Memory() (int64, error) {
	if err := s.lock(); err != nil {
		return 0, err
	}
	defer s.mu.Unlock()
	var pages int64
	if err := s.pageCount.QueryRow().Scan(&pages); err != nil {
		return 0, fmt.Errorf("count the pages of the staging store: %w", err)
	}
	return pages * pageSize, nil
}

// Trim gives memory that holds no rows back to the operating system. It costs
// the more, the more rows are there to be moved; other callers get their turn
// in between.
func (s *Store) Trim() error {
	for free := int64(1); free > 0; {
		if err := s.lock(); err != nil {
			return err
		}
		_, err := s.vacuum.Exec()
		if err == nil {
			err = s.freePages.QueryRow().Scan(&free)
		}
		s.mu.Unlock()
		if err != nil {
			return fmt.Errorf("trim the staging store: %w", err)
		}
	}
	return nil
}
