package main

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"strings"

	"github.com/joho/godotenv"
)

// assignment is where a file gives a variable its value.
type assignment struct {
	key        string
	begin, end int // of the value in the file, quotes included
	line       int // from 1
}

// keyPattern is what stands in front of a value, as readers of .env files take
// it: blanks, perhaps "export", a name, "=" or ":", blanks.
var keyPattern = regexp.MustCompile(`^[ \t]*(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_.]*)[ \t]*[=:][ \t]*`)

// assignments finds the variables of a file, in its order. A quoted value may
// span lines; what looks like an assignment within it is none.
func assignments(file []byte) ([]assignment, error) {
	var found []assignment
	line := 1
	for at := len(bom(file)); at < len(file); {
		end := endOfLine(file, at)
		m := keyPattern.FindSubmatchIndex(file[at:end])
		if m == nil {
			at, line = next(file, end), line+1
			continue
		}
		a := assignment{key: string(file[at+m[2] : at+m[3]]), begin: at + m[1], line: line}
		a.end = endOfValue(file, a.begin, end)
		if a.end < 0 {
			return nil, fmt.Errorf("line %d: the quoted value of %s has no end", line, a.key)
		}
		found = append(found, a)
		line += bytes.Count(file[at:a.end], []byte("\n"))
		at = next(file, endOfLine(file, a.end))
		line++
	}
	return found, nil
}

// endOfValue returns where the value that begins at begin ends, of which the
// line ends at end; -1: nowhere.
func endOfValue(file []byte, begin, end int) int {
	if begin < end && (file[begin] == '"' || file[begin] == '\'') {
		for i := begin + 1; i < len(file); i++ {
			switch {
			case file[i] == '\\' && file[begin] == '"':
				i++
			case file[i] == file[begin]:
				return i + 1
			}
		}
		return -1
	}
	value := file[begin:end]
	for i := len(value) - 1; i > 0; i-- { // a comment at the end of the line
		if value[i] == '#' && (value[i-1] == ' ' || value[i-1] == '\t') {
			value = value[:i]
			break
		}
	}
	return begin + len(bytes.TrimRight(value, " \t"))
}

// endOfLine is where the line that at is in ends, without its line break.
func endOfLine(file []byte, at int) int {
	n := bytes.IndexByte(file[at:], '\n')
	if n < 0 {
		return len(file)
	}
	if n > 0 && file[at+n-1] == '\r' {
		n--
	}
	return at + n
}

// next is the begin of the line behind the one that ends at end.
func next(file []byte, end int) int {
	return end + len(lineBreak(file[end:]))
}

// lineBreak is the one that a text begins with.
func lineBreak(text []byte) string {
	switch {
	case bytes.HasPrefix(text, []byte("\r\n")):
		return "\r\n"
	case bytes.HasPrefix(text, []byte("\n")):
		return "\n"
	}
	return ""
}

func bom(file []byte) string {
	const mark = "\ufeff"
	if bytes.HasPrefix(file, []byte(mark)) {
		return mark
	}
	return ""
}

// change is a variable that is set, replaced or added.
type change struct {
	key, value string
	added      bool
	old        string // the text that was replaced
	new        string // the text that is there now
	line       int
}

// edit sets variables in a file and returns the new file with what it changed.
// Every other byte stays as it is. Of a variable that is assigned more than once
// the last assignment counts, as it does to readers of the file.
func edit(file []byte, keys []string, values map[string]string) ([]byte, []change, error) {
	found, err := assignments(file)
	if err != nil {
		return nil, nil, err
	}
	last := map[string]assignment{}
	for _, a := range found {
		last[a.key] = a
	}
	var changes []change
	out := bytes.Clone(file)
	for i := len(found) - 1; i >= 0; i-- { // from the end, so that places stay
		a := found[i]
		value, wanted := values[a.key]
		if !wanted || last[a.key] != a {
			continue
		}
		old := string(file[a.begin:a.end])
		text := quoted(value, old)
		if text == old || means(old, value) {
			continue
		}
		out = append(out[:a.begin], append([]byte(text), out[a.end:]...)...)
		changes = append([]change{{key: a.key, value: value, old: old, new: text, line: a.line}}, changes...)
	}
	newline := "\n"
	if bytes.Contains(file, []byte("\r\n")) {
		newline = "\r\n"
	}
	for _, key := range keys {
		if _, there := last[key]; there {
			continue
		}
		if len(out) > len(bom(out)) && !bytes.HasSuffix(out, []byte("\n")) {
			out = append(out, newline...)
		}
		text := quoted(values[key], "")
		changes = append(changes, change{key: key, value: values[key], added: true, new: text, line: bytes.Count(out, []byte("\n")) + 1})
		out = append(out, key+"="+text+newline...)
	}
	return out, changes, verify(file, out, values)
}

// read reads a file as programs do.
func read(file []byte) (map[string]string, error) {
	return godotenv.UnmarshalBytes(bytes.TrimPrefix(file, []byte(bom(file))))
}

// means reports whether the text of a value already says what is wanted.
func means(text, value string) bool {
	parsed, err := godotenv.Unmarshal("X=" + text)
	return err == nil && parsed["X"] == value
}

// quoted writes a value in the manner of the text that it replaces, if that can
// hold it.
func quoted(value, old string) string {
	forms := []string{value, "'" + value + "'", `"` + escape(value) + `"`}
	if strings.HasPrefix(old, `"`) {
		forms[0], forms[2] = forms[2], forms[0]
	} else if strings.HasPrefix(old, "'") {
		forms[0], forms[1] = forms[1], forms[0]
	}
	for _, text := range forms {
		if means(text, value) && !strings.ContainsAny(text, "\r\n") {
			return text
		}
	}
	return forms[0] // which verify refuses
}

var escape = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\r", `\r`, "$", `\$`).Replace

var errUnsafe = errors.New("the file would be read differently afterwards, so it is left as it is")

// verify reads both files as programs do: the variables that were set have their
// values, and every other one has the one that it had. It names no values.
func verify(before, after []byte, values map[string]string) error {
	old, err := read(before)
	if err != nil {
		return errors.New("the file is not one that programs can read: correct it first") // the reason quotes the file
	}
	want := maps.Clone(old)
	maps.Copy(want, values)
	got, err := read(after)
	if err != nil {
		return errUnsafe
	}
	for key := range want {
		if got[key] != want[key] {
			return fmt.Errorf("%w: %s", errUnsafe, key)
		}
	}
	if len(got) != len(want) {
		return errUnsafe
	}
	return nil
}
