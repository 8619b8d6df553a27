package stage

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
)

// pageSize is what the allocator below SQLite serves best: it gives a page of 32
// KiB half a region of 64 KiB, of which 36 KiB are touched, and sixteen regions one
// memory mapping. The process holds 1.13 bytes per byte of row, and a mapping per
// 14 pages. With pages of 64 KiB it is 1.05 bytes, but a mapping for each page, of
// which Linux allows a process 65,530 by default: 4 GiB of rows.
const pageSize = 32 << 10

const (
	// trimPages is how many pages are given back at a time: Trim shares the store
	// with the others, and a transaction takes as much memory again as the pages
	// that it moves.
	trimPages = 128

	// pagesPerMapping is below what is seen.
	pagesPerMapping = 10

	// reserve is what a store may always have, so that it can work while others
	// hold all that the process may have.
	reserve = 32
)

// ErrMappings is returned by Append when the process may have no more memory
// mappings. Append can again once rows have left this store or another one.
var ErrMappings = errors.New("as many memory mappings as the system lets a process have are in use: raise vm.max_map_count, or lower the limits on rows and bytes")

// budget is what all stores of the process have together. The Go runtime ends a
// process that runs out of mappings, without giving anybody a chance.
type budget struct {
	pages atomic.Int64
	limit atomic.Int64 // of pages; 0: none
}

var process = newBudget()

func newBudget() *budget {
	b := &budget{}
	text, err := os.ReadFile("/proc/sys/vm/max_map_count")
	if err != nil {
		return b // a system without such a limit
	}
	if most, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil && most > 0 {
		b.limit.Store(max(most/4*3*pagesPerMapping, 1)) // a quarter is for everybody else
	}
	return b
}

// LimitMemory lets all stores of the process have only so much more memory, until
// undo is called. It is for tests of what happens at the limit.
func LimitMemory(bytes int64) (undo func()) {
	before := process.limit.Swap(process.pages.Load() + bytes/pageSize)
	return func() { process.limit.Store(before) }
}

// Memory returns the bytes of all pages of the database, the free ones, which
// new rows will use, included. The process holds about an eighth more for them,
// and during a transaction a copy of the old pages that it changes. It never
// waits, and still answers after Close.
func (s *Store) Memory() int64 { return s.pages.Load() * pageSize }

// measure counts the pages; s.mu is held. Where SQLite does not tell, the count
// stays what it was.
func (s *Store) measure() {
	var pages int64
	if s.pageCount.QueryRow().Scan(&pages) == nil {
		s.setPages(pages)
	}
}

func (s *Store) setPages(n int64) { process.pages.Add(n - s.pages.Swap(n)) }

// mayGrow reports whether there may be as many pages as new chunks take; s.mu is
// held.
func (s *Store) mayGrow(chunks extents) error {
	limit := process.limit.Load()
	if limit == 0 {
		return nil
	}
	need := int64(1)
	for _, e := range chunks {
		need += 1 + e.bytes/pageSize
	}
	if process.pages.Load()+need <= limit || s.pages.Load()+need <= reserve {
		return nil
	}
	var free int64
	if err := s.freePages.QueryRow().Scan(&free); err != nil {
		return err
	}
	if free >= need {
		return nil
	}
	return fmt.Errorf("%d MiB are staged: %w", process.pages.Load()*pageSize>>20, ErrMappings)
}

// Shrink gives memory back to the operating system if the rows that were there
// since the call before needed less than half of it, and reports whether another
// call may find something to give back. Who calls it from time to time pays for
// that when there is nothing else to do, and keeps the memory of bursts that
// follow each other.
func (s *Store) Shrink() (more bool, err error) {
	if err := s.lock(); err != nil {
		return false, err
	}
	needed := s.peak
	c := s.Counts()
	s.peak = c.Bytes + c.FailedBytes
	if needed == 0 {
		s.buf = nil
	}
	s.mu.Unlock()
	if s.Memory() <= s.empty*pageSize {
		return false, nil
	}
	if 2*needed < s.Memory() {
		err = s.Trim()
	}
	return s.Memory() > s.empty*pageSize, err
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
		s.measure()
		s.mu.Unlock()
		if err != nil {
			return fmt.Errorf("trim the staging store: %w", err)
		}
	}
	return nil
}
