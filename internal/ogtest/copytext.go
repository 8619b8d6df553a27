package ogtest

// copyText writes the NULL marker into empty fields of the text format of
// COPY. The data comes in pieces that end anywhere.
type copyText struct {
	delimiter byte
	null      string
	empty     []bool // by field: an empty one is NULL

	field   int
	start   bool // nothing of the field was read yet
	escaped bool // behind a backslash
	afterCR bool // behind a carriage return, which ends a row like the line feed that may follow
}

func newCopyText(delimiter, null string, empty []bool) *copyText {
	if delimiter == "" {
		delimiter = "\t"
	}
	return &copyText{delimiter: delimiter[0], null: null, empty: empty, start: true}
}

// feed returns the data as it should be. A nil copyText changes nothing.
func (c *copyText) feed(data []byte) []byte {
	if c == nil {
		return data
	}
	out := make([]byte, 0, len(data)+16)
	for _, b := range data {
		if c.escaped {
			c.escaped = false
			out = append(out, b)
			continue
		}
		after := c.afterCR
		c.afterCR = false
		switch b {
		case c.delimiter:
			out = append(c.mark(out), b)
			c.field++
			c.start = true
		case '\r', '\n':
			if b != '\n' || !after {
				out = c.mark(out)
			}
			out = append(out, b)
			c.field, c.start, c.afterCR = 0, true, b == '\r'
		default:
			c.start, c.escaped = false, b == '\\'
			out = append(out, b)
		}
	}
	return out
}

// finish returns what a last row without an end still needs.
func (c *copyText) finish() []byte {
	if c == nil {
		return nil
	}
	var end []byte
	if c.field > 0 {
		end = c.mark(nil)
	}
	c.field, c.start, c.escaped, c.afterCR = 0, true, false, false
	return end
}

// mark adds the marker, if the field that ends here is empty and is to be NULL.
func (c *copyText) mark(out []byte) []byte {
	if c.start && c.field < len(c.empty) && c.empty[c.field] {
		return append(out, c.null...)
	}
	return out
}
