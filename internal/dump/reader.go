package dump

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"

	"github.com/memdbwriter/memdbwriter/internal/journal/fsys"
	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

const readSize = 256 << 10

// Read reads a checkpoint of the table from its start to its end. It calls row
// functions with the rows in the order of the file: rows with pages of waiting
// rows, which it uses again after the call, and failed with one failed row each
// time, whose memory is the callee's. A row may be among both, if it failed
// while the checkpoint was made; then it is a failed one.
//
// Nothing is called before the checksum of the whole file is found right and
// the columns fit. Later errors are possible all the same, if somebody made the
// file by hand: what was handed over is to be forgotten on any error.
//
// Columns are matched by name, so their order may have changed since. A column
// that is new is NULL if it can be, and a column may have become a wider
// integer or float. Everything else is an ErrMismatch. Errors of the functions
// end the reading and are wrapped.
func (d Dir) Read(path string, t Table, rows func(*tuple.Batch) error, failed func(Failed) error) (Info, error) {
	c, err := d.open(path)
	if err != nil {
		return Info{}, err
	}
	err = c.read(&t, rows, failed)
	if err = errors.Join(err, c.Close()); err != nil {
		return Info{}, fmt.Errorf("checkpoint %s: %w", path, err)
	}
	return c.info, nil
}

// checkpoint is an open file whose head and trailer were read.
type checkpoint struct {
	*os.File
	info    Info
	head    int64  // length of the head
	trailer int64  // where the trailer begins
	sum     uint32 // what the trailer says
	foreign error  // the head names another writer
}

// open reads head and trailer. Errors name the file.
func (d Dir) open(path string) (*checkpoint, error) {
	c := &checkpoint{info: Info{Path: path}}
	err := d.checkOurs(path)
	if err == nil {
		c.info.Number, _, _ = parseName(d.Identity, filepath.Base(path))
		if c.File, err = fsys.Open(path, os.O_RDONLY, 0, d.Trust); err == nil {
			if err = c.describe(d.Identity); err != nil {
				err = errors.Join(err, c.Close())
			}
		}
	}
	if err != nil {
		return nil, fmt.Errorf("checkpoint %s: %w", path, err)
	}
	return c, nil
}

// describe fills c. A file of another version is told from a damaged one by
// its trailer: only if that is of this version, but does not fit, then the
// version was damaged.
func (c *checkpoint) describe(identity string) error {
	stat, err := c.Stat()
	if err != nil {
		return err
	}
	c.info.Size = stat.Size()
	tail := make([]byte, min(c.info.Size, maxTrailer))
	if _, err := c.ReadAt(tail, c.info.Size-int64(len(tail))); err != nil {
		return err
	}
	var length int
	var ended bool
	c.info.Rows, c.info.Failed, c.sum, length, ended = parseTrailer(tail)
	c.trailer = c.info.Size - int64(length)
	if err := c.checkVersion(ended); err != nil {
		return err
	}
	if !ended {
		return fmt.Errorf("%w: it has no trailer, so it was cut off", ErrDamaged)
	}
	writer, err := c.readHead()
	if err != nil {
		return err
	}
	if writer != identity {
		c.foreign = fmt.Errorf("%w: %q, not %q", ErrForeign, writer, identity)
	}
	return nil
}

func (c *checkpoint) checkVersion(ended bool) error {
	line := make([]byte, min(c.info.Size, int64(len(versionLine)+10)))
	if _, err := c.ReadAt(line, 0); err != nil {
		return err
	}
	found, ours := bytes.CutPrefix(line, []byte(versionLine))
	found, _, whole := bytes.Cut(found, []byte("\n"))
	switch {
	case !ours || !whole || len(bytes.Trim(found, "0123456789")) > 0:
		return fmt.Errorf("%w: it does not begin as one", ErrDamaged)
	case string(found) == version:
		return nil
	case ended && c.verify() != nil:
		return fmt.Errorf("%w: its checksum is wrong", ErrDamaged)
	}
	return fmt.Errorf("%w: its format is %.20q, this library reads format %s; use the version of the library that made it, or a later one",
		ErrVersion, found, version)
}

func (c *checkpoint) readHead() (writer string, err error) {
	for size := int64(16 << 10); ; size *= 2 {
		text := make([]byte, min(size, c.trailer))
		if _, err := c.ReadAt(text, 0); err != nil {
			return "", err
		}
		var n int
		writer, c.info.Meta, n, err = parseHead(text)
		if err == errShort && size < min(c.trailer, maxHead) {
			continue
		}
		if err != nil {
			return "", fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		c.head = int64(n)
		return writer, nil
	}
}

// verify compares the checksum.
func (c *checkpoint) verify() error {
	hash := crc32.New(castagnoli)
	covered := c.info.Size - sumDigits - 1
	if _, err := io.CopyBuffer(hash, io.NewSectionReader(c, 0, covered), make([]byte, min(readSize, covered+1))); err != nil {
		return err
	}
	if hash.Sum32() != c.sum {
		return fmt.Errorf("%w: its checksum is wrong", ErrDamaged)
	}
	return nil
}

func (c *checkpoint) read(t *Table, rows func(*tuple.Batch) error, failed func(Failed) error) error {
	if err := c.verify(); err != nil {
		return err
	}
	if c.foreign != nil { // and not just because the name was damaged
		return c.foreign
	}
	m, err := newMapping(&c.info.Table, t)
	if err != nil {
		return err
	}
	text := window{src: io.NewSectionReader(c, c.head, c.trailer-c.head), offset: c.head}
	return newBody(&c.info, t, m, text, rows, failed).read()
}
