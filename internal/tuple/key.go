package tuple

import (
	"fmt"
	"strings"
)

// maxKeyString bounds the length of what KeyString returns.
const maxKeyString = 200

// KeyString is the short form of a row for errors and logs: its first n
// columns, or all of them where n is 0, as in
// (backup_set_id, file_path)=(7, '/data/x'). It is printable whatever the
// tuple holds; long values lose their middle, and long lists their end.
func KeyString(cols []Column, n int, t []byte) string {
	if n > len(cols) || Check(t, len(cols)) != nil {
		return fmt.Sprintf("(unreadable row of %d bytes)", len(t))
	}
	if n == 0 {
		n = len(cols)
	}
	return keyString(cols[:n], Fields(t))
}

// keyString shows fields, which starts with those of cols.
func keyString(cols []Column, fields []byte) string {
	var names, values []string
	limit := max(20, 150/max(1, len(cols)))
	for _, c := range cols {
		var value []byte
		value, _, fields = Next(fields)
		names = append(names, shorten(c.Name, 63))
		values = append(values, showValue(c.Type, value, limit))
	}
	s := "(" + strings.Join(names, ", ") + ")=(" + strings.Join(values, ", ") + ")"
	if len(s) <= maxKeyString {
		return s
	}
	return strings.ToValidUTF8(s[:maxKeyString-len("…")], "") + "…"
}

// showValue is the short form of a field; nil is NULL.
func showValue(t Type, field []byte, limit int) string {
	switch {
	case field == nil:
		return "NULL"
	case t == Text:
		return show(viewString(field), limit)
	case t == Bytea && len(field) > limit/2:
		return fmt.Sprintf(`'\x%x…'`, field[:limit/2])
	case t == Bytea:
		return fmt.Sprintf(`'\x%x'`, field)
	}
	v, err := Value(t, field)
	if err != nil {
		return fmt.Sprintf("(unreadable %v)", t)
	}
	if s, ok := v.(string); ok {
		return show(s, limit)
	}
	return fmt.Sprint(v)
}
