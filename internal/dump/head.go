package dump

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"regexp"
	"strconv"
	"strings"

	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

const (
	version     = "1"
	versionLine = "-- memdbwriter checkpoint, format "
	remark      = "-- Rows that were not in the destination yet, and those that it refused. To look at them: sqlite3 -init FILE\n"

	maxColumns = 1600    // as many as a PostgreSQL table can have
	maxHead    = 4 << 20 // bytes; more than those columns take
)

// errShort says that a text ends too early to tell what it is.
var errShort = errors.New("ends too early")

// appendHead appends everything before the first INSERT.
func appendHead(dst []byte, identity string, m *Meta) []byte {
	b := bytes.NewBuffer(dst)
	b.WriteString(versionLine + version + "\n" + remark)
	fmt.Fprintf(b, "-- table: %q %q\n", m.Schema, m.Name)
	fmt.Fprintf(b, "-- writer: %q\n", identity)
	created, _ := appendTime(nil, m.Created) // checkMeta let it pass
	fmt.Fprintf(b, "-- created: %s\n", created)
	fmt.Fprintf(b, "-- library: %q\n", m.Library)
	fmt.Fprintf(b, "-- sequence: %d to %d\n", m.FirstSeq, m.LastSeq)
	for _, c := range m.Columns {
		fmt.Fprintf(b, "-- column: %q %v", c.Name, c.Type)
		if !c.Nullable {
			b.WriteString(" not null")
		}
		b.WriteByte('\n')
	}
	b.WriteString("BEGIN;\n")
	b.WriteString(newLayout(&m.Table).create)
	return b.Bytes()
}

// parseHead takes the head at the start of text apart and returns its length.
// It takes what appendHead writes and nothing else; errShort asks for more text.
func parseHead(text []byte) (identity string, m Meta, n int, err error) {
	end := bytes.Index(text, []byte("\nBEGIN;\n"))
	if end < 0 {
		return "", Meta{}, 0, errShort
	}
	h := headParser{rest: string(text[:end+1])}
	h.skip(versionLine + version + "\n" + remark)
	m.Schema = h.quoted("-- table: ")
	m.Name = h.quoted(" ")
	identity = h.quoted("\n-- writer: ")
	created, ok := parseTime(h.until("\n-- created: ", "\n"))
	h.ok = h.ok && ok
	m.Created = created
	m.Library = h.quoted("-- library: ")
	m.FirstSeq = h.int("\n-- sequence: ", " ")
	m.LastSeq = h.int("to ", "\n")
	for h.ok && h.rest != "" && len(m.Columns) < maxColumns {
		name := h.quoted("-- column: ")
		declared, notNull := strings.CutSuffix(h.until(" ", "\n"), " not null")
		c := tuple.Column{Name: name, Type: typeNames[declared], Nullable: !notNull}
		h.ok = h.ok && c.Type != 0
		m.Columns = append(m.Columns, c)
	}
	if !h.ok || h.rest != "" || checkMeta(&m) != nil {
		return "", Meta{}, 0, errors.New("the head is not one that this library writes")
	}
	head := appendHead(nil, identity, &m)
	switch {
	case bytes.HasPrefix(text, head):
		return identity, m, len(head), nil
	case bytes.HasPrefix(head, text):
		return "", Meta{}, 0, errShort
	}
	return "", Meta{}, 0, errors.New("the statements that create the tables are not those of the columns in the head")
}

var typeNames = func() map[string]tuple.Type {
	names := map[string]tuple.Type{}
	for t := tuple.Bool; t <= tuple.Types; t++ {
		names[t.String()] = t
	}
	return names
}()

// checkMeta reports what cannot be written as a head, or in a file name.
func checkMeta(m *Meta) error {
	if y := m.Created.Year(); y < 1 || y > 9999 {
		return fmt.Errorf("the time %v is not between the years 1 and 9999", m.Created)
	}
	if m.FirstSeq < 0 || m.LastSeq > tuple.MaxSeq {
		return fmt.Errorf("the sequence numbers %d to %d are not all between 0 and %d", m.FirstSeq, m.LastSeq, int64(tuple.MaxSeq))
	}
	return CheckTable(&m.Table)
}

// CheckTable reports what keeps the rows of a table from being written to a
// checkpoint.
func CheckTable(t *Table) error {
	if !printable(t.Name) || t.Schema != "" && !printable(t.Schema) {
		return fmt.Errorf("the table name %q %q is empty or not printable", t.Schema, t.Name)
	}
	if n := len(t.Columns); n == 0 || n > maxColumns {
		return fmt.Errorf("%d columns, want 1 to %d", n, maxColumns)
	}
	seen := map[string]bool{}
	for _, c := range t.Columns {
		switch {
		case !printable(c.Name):
			return fmt.Errorf("the column name %q is empty or not printable", c.Name)
		case seen[c.Name]:
			return fmt.Errorf("two columns have the name %q", c.Name)
		case typeNames[c.Type.String()] == 0:
			return fmt.Errorf("column %q: unknown type %v", c.Name, c.Type)
		}
		seen[c.Name] = true
	}
	return nil
}

// headParser reads from the front of rest as long as ok.
type headParser struct {
	rest string
	ok   bool
}

func (h *headParser) skip(text string) {
	h.rest, h.ok = strings.CutPrefix(h.rest, text)
}

// until returns what is between the text before, at the front, and end.
func (h *headParser) until(before, end string) (s string) {
	if h.ok {
		h.skip(before)
	}
	if h.ok {
		s, h.rest, h.ok = strings.Cut(h.rest, end)
	}
	return s
}

func (h *headParser) quoted(before string) string {
	if h.ok {
		h.skip(before)
	}
	if !h.ok {
		return ""
	}
	q, err := strconv.QuotedPrefix(h.rest)
	if err != nil {
		h.ok = false
		return ""
	}
	h.rest = h.rest[len(q):]
	s, err := strconv.Unquote(q)
	h.ok = err == nil
	return s
}

func (h *headParser) int(before, end string) int64 {
	n, err := strconv.ParseInt(h.until(before, end), 10, 64)
	h.ok = h.ok && err == nil
	return n
}

// The trailer, up to the checksum and as a whole.
const maxTrailer = 100

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	trailer    = regexp.MustCompile(`\n-- end: (0|[1-9][0-9]{0,17}) rows, (0|[1-9][0-9]{0,17}) failed, crc32c ([0-9a-f]{8})\n$`)
)

const sumDigits = 8

func appendTrailer(dst []byte, rows, failed int64) []byte {
	return fmt.Appendf(dst, "-- end: %d rows, %d failed, crc32c ", rows, failed)
}

func appendSum(dst []byte, sum uint32) []byte { return fmt.Appendf(dst, "%0*x\n", sumDigits, sum) }

// parseTrailer finds the trailer at the end of text, and its length.
func parseTrailer(text []byte) (rows, failed int64, sum uint32, length int, ok bool) {
	m := trailer.FindSubmatch(text)
	if m == nil {
		return 0, 0, 0, 0, false
	}
	// Each fits, or it would not match.
	rows, _ = strconv.ParseInt(string(m[1]), 10, 64)
	failed, _ = strconv.ParseInt(string(m[2]), 10, 64)
	sum64, _ := strconv.ParseUint(string(m[3]), 16, 32)
	return rows, failed, uint32(sum64), len(m[0]) - 1, true
}
