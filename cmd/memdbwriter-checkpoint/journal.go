package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/memdbwriter/memdbwriter/internal/dump"
	"github.com/memdbwriter/memdbwriter/internal/journal"
	"github.com/memdbwriter/memdbwriter/internal/journal/fsys"
	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

// journalFiles is the journal of one writer.
type journalFiles struct {
	config   journal.Config
	segments []string
}

// findJournal returns the journal of a writer, nil if it has none.
func findJournal(dir, identity string) (j *journalFiles, err error) {
	paths, err := ours(dir)
	if err != nil {
		return nil, err
	}
	for _, path := range paths {
		if kindOf(filepath.Base(path)) != segmentFile {
			continue
		}
		h, err := readHeader(path)
		if err != nil || dump.Identity(h.Table, h.Writer) != identity {
			continue
		}
		if j == nil {
			j = &journalFiles{}
		}
		j.config = h // the columns of the newest segment
		j.config.Dir, j.config.FS = dir, forgetful{fsys.Trusting}
		j.segments = append(j.segments, path)
	}
	return j, nil
}

// scan reads the journal as a recovery does.
func (j *journalFiles) scan() (*journal.Recovery, error) { return journal.Scan(j.config) }

var (
	errNoHeader  = errors.New("it has no readable header")
	errUnwritten = errors.New("nothing was written to it yet")
)

const (
	minHeader = 56 // without names
	maxHeader = 16 << 20
)

// readHeader tells from the header of a segment (see package journal) whose it
// is. Whether the rest of the file is any good is for Scan to say. The error is
// errUnwritten for what the death of a writer, or of its machine, may leave of a
// new segment: part of a header, or zeros.
func readHeader(path string) (c journal.Config, err error) {
	f, err := fsys.Open(path, os.O_RDONLY, 0, true)
	if err != nil {
		return c, err
	}
	defer f.Close() // only read
	var prologue [16]byte
	switch _, err := io.ReadFull(f, prologue[:]); {
	case err == io.EOF || err == io.ErrUnexpectedEOF:
		return c, errUnwritten
	case err != nil:
		return c, err
	case prologue == [16]byte{}:
		return c, onlyZeros(f)
	case string(prologue[:8]) != "MDBWJRNL":
		return c, errNoHeader
	}
	if v := binary.BigEndian.Uint32(prologue[8:]); v != 1 {
		return c, fmt.Errorf("%w: version %d", journal.ErrFormat, v)
	}
	n := binary.BigEndian.Uint32(prologue[12:])
	if n < minHeader || n > maxHeader {
		return c, errNoHeader
	}
	b, err := io.ReadAll(io.LimitReader(f, int64(n)-16)) // no more memory than there is file
	if err != nil {
		return c, err
	}
	if len(b) != int(n)-16 {
		if bytes.Contains(b, []byte("\xf5JR\n")) { // the magic of a record: the length is wrong
			return c, errNoHeader
		}
		return c, errUnwritten
	}
	sum := crc32.Checksum(slices.Concat(prologue[:], b[:len(b)-4]), crc32.MakeTable(crc32.Castagnoli))
	if sum != binary.BigEndian.Uint32(b[len(b)-4:]) {
		return c, errNoHeader
	}
	p := parser{b: b[3*8 : len(b)-4]} // behind number, next and created
	c.Table, c.Writer = p.text(), p.text()
	for k := p.count(); k > 0 && !p.failed; k-- {
		column := tuple.Column{Name: p.text()}
		rest := p.take(2)
		column.Type, column.Nullable = tuple.Type(rest[0]), rest[1] != 0
		c.Columns = append(c.Columns, column)
	}
	if p.failed || len(p.b) > 0 {
		return c, errNoHeader
	}
	return c, nil
}

// onlyZeros returns errUnwritten if nothing else is left of r.
func onlyZeros(r io.Reader) error {
	for b := make([]byte, 64<<10); ; {
		n, err := r.Read(b)
		switch {
		case len(bytes.Trim(b[:n], "\x00")) > 0:
			return errNoHeader
		case err == io.EOF:
			return errUnwritten
		case err != nil:
			return err
		}
	}
}

// parser takes bytes apart as long as there are enough.
type parser struct {
	b      []byte
	failed bool
}

func (p *parser) take(n int) []byte {
	if p.failed = p.failed || n > len(p.b); p.failed {
		return make([]byte, min(n, 4))
	}
	taken := p.b[:n]
	p.b = p.b[n:]
	return taken
}

func (p *parser) count() int   { return int(binary.BigEndian.Uint32(p.take(4))) }
func (p *parser) text() string { return string(p.take(p.count())) }

// forgetful is a file system on which nothing is changed: reading a journal as
// a recovery does includes mending it, of which nothing must remain here.
type forgetful struct{ fsys.FS }

func (f forgetful) OpenFile(name string, flag int, perm fs.FileMode) (fsys.File, error) {
	if flag == os.O_RDONLY {
		return f.FS.OpenFile(name, flag, perm)
	}
	return nowhere{}, nil
}

func (forgetful) Rename(string, string) error { return nil }
func (forgetful) Remove(string) error         { return nil }
func (forgetful) SyncDir(string) error        { return nil }

// nowhere is a file that forgets what is written to it.
type nowhere struct{}

func (nowhere) ReadAt([]byte, int64) (int, error)      { return 0, io.EOF }
func (nowhere) WriteAt(b []byte, _ int64) (int, error) { return len(b), nil }
func (nowhere) Close() error                           { return nil }
func (nowhere) Truncate(int64) error                   { return nil }
func (nowhere) Sync() error                            { return nil }
func (nowhere) Size() (int64, error)                   { return 0, nil }
