package dump

import (
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/memdbwriter/memdbwriter/internal/journal/fsys"
	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

const (
	flushSize = 256 << 10 // bytes that are gathered for a write
	keepSize  = 4 << 20   // a buffer that a huge row made larger is not kept

	// Limits of one INSERT: what the sqlite3 shell reads at once, and what a
	// person can scroll through.
	statementRows  = 500
	statementBytes = 1 << 20
)

// Writer writes one checkpoint. After an error there is nothing left of the
// file, and every further call returns that error. A Writer is not safe for
// concurrent use.
type Writer struct {
	dir   Dir
	info  Info
	names layout
	temp  string
	file  fsys.File
	err   error // the first one; errDone after the end

	buf       []byte
	sum       uint32 // checksum of what is in the file
	statement string // the layout's insertRow or insertFailed while an INSERT is open
	stmtRows  int
	stmtStart int64 // offset in the file
	lastRow   int64 // arrival numbers that came last
	lastFail  int64
}

var errDone = errors.New("the checkpoint is already finished")

// Create begins a checkpoint. The directory must exist. The caller ends it with
// Commit, or with Abort, which after Commit does nothing.
func (d Dir) Create(m Meta) (*Writer, error) {
	w, err := d.create(m)
	if err != nil {
		return nil, fmt.Errorf("begin a checkpoint: %w", err)
	}
	return w, nil
}

func (d Dir) create(m Meta) (*Writer, error) {
	m.Created = m.Created.UTC().Truncate(time.Microsecond)
	if err := checkMeta(&m); err != nil {
		return nil, err
	}
	number, err := d.next()
	if err != nil {
		return nil, err
	}
	path := filepath.Join(d.Path, fileName(d.Identity, m.Created, number))
	w := &Writer{
		dir:     d,
		info:    Info{Path: path, Number: number, Meta: m},
		names:   newLayout(&m.Table),
		temp:    path + tempSuffix,
		buf:     appendHead(make([]byte, 0, flushSize+flushSize/4), d.Identity, &m),
		lastRow: math.MinInt64, lastFail: math.MinInt64,
	}
	if len(w.buf) > maxHead {
		return nil, fmt.Errorf("the names of table and columns take %d bytes, %d are the limit", len(w.buf), maxHead)
	}
	if w.file, err = d.fs().OpenFile(w.temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600); err != nil {
		return nil, err
	}
	return w, nil
}

// WriteRows adds rows that wait. Their arrival numbers ascend, from call to
// call too, and are in the range that the head gives. The batch is not kept.
func (w *Writer) WriteRows(b *tuple.Batch) error {
	if w.err != nil {
		return w.err
	}
	for i := range b.Rows {
		if err := w.row(b.Rows[i].Seq, b.Tuple(i)); err != nil {
			return w.fail(fmt.Errorf("row %d: %w", b.Rows[i].Seq, err))
		}
	}
	return nil
}

func (w *Writer) row(seq int64, t []byte) error {
	if err := w.begin(w.names.insertRow, seq, &w.lastRow); err != nil {
		return err
	}
	if err := w.fields(t); err != nil {
		return err
	}
	w.info.Rows++
	return w.end()
}

// WriteFailed adds rows that failed. What is said of arrival numbers in
// WriteRows goes for them by themselves: the same row may be among the waiting
// ones, if it failed while the checkpoint was made.
func (w *Writer) WriteFailed(failed []Failed) error {
	if w.err != nil {
		return w.err
	}
	for i := range failed {
		if err := w.failed(&failed[i]); err != nil {
			return w.fail(fmt.Errorf("failed row %d: %w", failed[i].Seq, err))
		}
	}
	return nil
}

func (w *Writer) failed(f *Failed) error {
	if err := w.begin(w.names.insertFailed, f.Seq, &w.lastFail); err != nil {
		return err
	}
	if err := w.fields(f.Tuple); err != nil {
		return err
	}
	var err error
	for _, s := range []string{f.SQLState, f.Column, f.Constraint, f.Message} {
		if w.buf, err = appendText(append(w.buf, ','), cleanText(s)); err != nil {
			return err
		}
	}
	w.buf = strconv.AppendInt(append(w.buf, ','), int64(f.Attempts), 10)
	for _, t := range []time.Time{f.First, f.Last} {
		if w.buf, err = appendTime(append(w.buf, ",'"...), t); err != nil {
			return err
		}
		w.buf = append(w.buf, '\'')
	}
	w.info.Failed++
	return w.end()
}

// begin makes the buffer end in what a row of the table starts with, its
// arrival number included.
func (w *Writer) begin(statement string, seq int64, last *int64) error {
	switch {
	case seq < w.info.FirstSeq || seq > w.info.LastSeq:
		return fmt.Errorf("its arrival number is outside the checkpoint's range, %d to %d", w.info.FirstSeq, w.info.LastSeq)
	case seq <= *last:
		return fmt.Errorf("its arrival number is not above the last one, %d", *last)
	}
	*last = seq
	offset := w.info.Size + int64(len(w.buf))
	if w.statement == statement && w.stmtRows < statementRows && offset-w.stmtStart < statementBytes {
		w.buf = append(w.buf, ",\n("...)
	} else {
		w.closeStatement()
		w.buf = append(w.buf, statement...)
		w.statement, w.stmtRows, w.stmtStart = statement, 0, offset
	}
	w.stmtRows++
	w.buf = strconv.AppendInt(w.buf, seq, 10)
	return nil
}

func (w *Writer) closeStatement() {
	if w.statement != "" {
		w.buf = append(w.buf, ";\n"...)
		w.statement = ""
	}
}

// fields appends the literals of a tuple, a comma before each.
func (w *Writer) fields(t []byte) error {
	columns := w.info.Columns
	if err := tuple.Check(t, len(columns)); err != nil {
		return err
	}
	var f []byte
	var isNull bool
	var err error
	rest := tuple.Fields(t)
	for i := range columns {
		c := &columns[i]
		w.buf = append(w.buf, ',')
		isAbsent := tuple.Absent(rest)
		f, isNull, rest = tuple.Next(rest)
		switch {
		case isAbsent:
			w.buf = append(w.buf, null+absent...)
		case !isNull:
			if w.buf, err = appendLiteral(w.buf, c.Type, f); err != nil {
				return fmt.Errorf("column %q: %w", c.Name, err)
			}
		case !c.Nullable:
			return fmt.Errorf("column %q: %w: NULL", c.Name, tuple.ErrMalformed)
		default:
			w.buf = append(w.buf, null...)
		}
	}
	return nil
}

// end ends a row.
func (w *Writer) end() error {
	w.buf = append(w.buf, ')')
	if len(w.buf) < flushSize {
		return nil
	}
	return w.flush()
}

func (w *Writer) flush() error {
	n, err := w.file.WriteAt(w.buf, w.info.Size)
	w.sum = crc32.Update(w.sum, castagnoli, w.buf[:n])
	w.info.Size += int64(n)
	if w.buf = w.buf[:0]; cap(w.buf) > keepSize {
		w.buf = make([]byte, 0, flushSize+flushSize/4)
	}
	return err
}

// Sync makes durable what is written so far. It is not needed before Commit; it
// shows that the disk goes on, and leaves Commit less to do.
func (w *Writer) Sync() error {
	if w.err != nil {
		return w.err
	}
	if err := w.file.Sync(); err != nil {
		return w.fail(err)
	}
	return nil
}

// Commit makes the checkpoint durable under its final name. If the very last
// step fails, the sync of the directory, the file is there and whole, but may
// be gone after a power failure.
func (w *Writer) Commit() (Info, error) {
	if w.err != nil {
		return Info{}, w.err
	}
	if err := w.finish(); err != nil {
		return Info{}, w.fail(err)
	}
	w.err = errDone
	if err := w.dir.fs().SyncDir(w.dir.Path); err != nil {
		return Info{}, fmt.Errorf("checkpoint %s is written, but syncing its directory failed: %w", w.info.Path, err)
	}
	return w.info, nil
}

func (w *Writer) finish() error {
	w.closeStatement()
	w.buf = appendTrailer(append(w.buf, "COMMIT;\n"...), w.info.Rows, w.info.Failed)
	if err := w.flush(); err != nil {
		return err
	}
	w.buf = appendSum(w.buf, w.sum)
	if err := w.flush(); err != nil {
		return err
	}
	if err := w.file.Sync(); err != nil {
		return err
	}
	err := w.file.Close()
	w.file = nil
	if err != nil {
		return err
	}
	// The number is new, so nothing of ours has the name. Renaming would
	// replace what anybody else has put there in the meantime.
	if _, err := os.Lstat(w.info.Path); err == nil {
		return fmt.Errorf("%s: %w", w.info.Path, os.ErrExist)
	}
	return w.dir.fs().Rename(w.temp, w.info.Path)
}

// Abort gives the checkpoint up and deletes what is there of it.
func (w *Writer) Abort() error {
	if w.err != nil {
		return nil
	}
	w.err = errDone
	if err := w.discard(); err != nil {
		return fmt.Errorf("give up checkpoint %s: %w", w.info.Path, err)
	}
	return nil
}

// fail gives up for the reason err.
func (w *Writer) fail(err error) error {
	w.err = fmt.Errorf("write checkpoint %s: %w", w.info.Path, errors.Join(err, w.discard()))
	return w.err
}

func (w *Writer) discard() error {
	var err error
	if w.file != nil {
		err = w.file.Close()
		w.file = nil
	}
	w.buf = nil
	return errors.Join(err, w.dir.fs().Remove(w.temp))
}
