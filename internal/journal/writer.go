package journal

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

const (
	filePerm = 0o600
	// maxBlock is the size beyond which a batch becomes more than one record.
	maxBlock = 4 << 20
)

// Writer appends to a journal. It is safe for concurrent use.
//
// Arrival numbers are those that the caller gives, without gaps; what is
// settled needs not be appended. When Append fails, or rows are lost to a
// failed fsync, the caller may go on without a journal; but before the journal
// takes newer rows it wants those that it lacks and that are not settled, see
// MissingError.
type Writer struct {
	cfg   Config
	kick  chan struct{} // wakes the goroutine that makes durable
	stop  chan struct{} // ends it
	ended chan struct{} // closed when it has

	mu       sync.Mutex // guards everything below
	closed   bool
	segments []*segment // oldest first
	current  *segment   // the last of them, nil if the next record begins a new one
	next     uint64     // its number then
	buf      []byte     // the record that is being written, after space for its head

	base    int64 // rows up to here were recovered
	last    int64 // the highest number appended and not lost
	offered int64 // the highest number given to Append
	settled int64
	marked  int64 // what the journal says is settled
	failure error // what went wrong last; why the journal lacks what it lacks

	backlog  []*entry        // control records of failed rows that are not durable, oldest first
	failed   map[int64]place // live failures
	receipts receipts
	owing    bool // some of them could not be written
	held     bool // Replay still reads what earlier processes left

	written uint64 // records
	durability
	health
}

// Create begins a new part of the journal. It makes what is there durable before,
// and fails if that cannot be done. It makes no file yet: a journal that cannot be
// written shows in Append. Until Replay has returned no file of earlier processes
// is deleted. The writer must be closed.
func (rec *Recovery) Create() (*Writer, error) {
	if len(rec.segments) > 0 {
		if err := rec.makeDurable(); err != nil {
			return nil, fmt.Errorf("what an earlier process wrote to the journal cannot be made durable: %w", err)
		}
	}
	w := &Writer{
		cfg: rec.cfg, segments: rec.segments, next: rec.next, buf: make([]byte, headSize),
		base: rec.Last, last: rec.Last, offered: rec.Last, settled: rec.Settled, marked: rec.Settled,
		failed: maps.Clone(rec.failed), receipts: slices.Clone(rec.receipts), held: !rec.replayed,
		durability: durability{round: make(chan struct{}), durableRow: rec.Last},
	}
	rec.writer = w
	w.startSyncing()
	return w, nil
}

// release lets files be deleted, once Replay does not read them any more.
func (w *Writer) release() {
	w.mu.Lock()
	defer w.unlock()
	w.held = false
	w.prune()
}

// Append writes the rows of b, whose arrival numbers must be contiguous. When
// it returns nil, the operating system has them. Rows that the journal has
// already are skipped, so a batch can be appended again after an error. That is
// ErrFull, *MissingError if rows before b are missing, or one of writing.
func (w *Writer) Append(b *tuple.Batch) error {
	if b.Len() == 0 {
		return nil
	}
	first := b.Rows[0].Seq
	for i := range b.Rows {
		if b.Rows[i].Seq != first+int64(i) {
			return fmt.Errorf("append to journal: arrival number %d after %d", b.Rows[i].Seq, first+int64(i)-1)
		}
	}
	w.mu.Lock()
	defer w.unlock()
	switch {
	case w.closed:
		return ErrClosed
	case first <= w.base:
		return fmt.Errorf("append to journal: arrival number %d is not above %d, the last one recovered", first, w.base)
	}
	w.offered = max(w.offered, b.Rows[b.Len()-1].Seq)
	if first > w.wanted() {
		return w.missing(first - 1)
	}
	// A mark that could not be written comes first: else rows from before it would be
	// recovered, without the newer ones that the journal never had.
	if err := w.catchUp(); err != nil {
		return err
	}
	if err := w.rows(b); err != nil {
		w.failure = fmt.Errorf("append to journal: %w", err)
		return w.failure
	}
	if cap(w.buf) > 2*maxBlock { // of an unusually large row
		w.buf = make([]byte, headSize)
	}
	return nil
}

// wanted is the arrival number that the next row has to have.
func (w *Writer) wanted() int64 { return max(w.last, w.settled) + 1 }

// missing is the error that rows up to last are missing, nil if they are not.
func (w *Writer) missing(last int64) error {
	if last < w.wanted() {
		return nil
	}
	err := w.failure
	if err == nil {
		err = errors.New("they were never appended")
	}
	return &MissingError{First: w.wanted(), Last: last, Err: err}
}

// rows writes b in blocks, without what needs not be written.
func (w *Writer) rows(b *tuple.Batch) error {
	from := int(min(max(w.wanted()-b.Rows[0].Seq, 0), int64(b.Len())))
	for from < b.Len() {
		to, size := from, 0
		for to < b.Len() && (to == from || size+int(b.Rows[to].Len) <= maxBlock) {
			size += int(b.Rows[to].Len)
			to++
		}
		part := b.Slice(from, to)
		if err := w.block(rowsKind, part); err != nil {
			return err
		}
		w.last = part.Rows[part.Len()-1].Seq
		w.current.last = max(w.current.last, w.last)
		from = to
	}
	return nil
}

func (w *Writer) block(k kind, b *tuple.Batch) error {
	w.buf = appendRows(w.buf[:headSize], b)
	if limit := w.cfg.MaxBytes; limit > 0 && w.size()+int64(len(w.buf)) > limit {
		return fmt.Errorf("%w of %d bytes; rows not settled yet hold %d", ErrFull, limit, w.size())
	}
	return w.write(k, b.Rows[0].Seq)
}

func (w *Writer) size() (n int64) {
	for _, s := range w.segments {
		n += s.size
	}
	return n
}
