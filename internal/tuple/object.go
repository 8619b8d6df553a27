package tuple

import (
	"encoding/json"
	"math"
)

// Object returns a tuple as a JSON object: the columns that it does not leave out,
// in their order, and their values. Booleans, numbers and JSON are what they are,
// bytea is base64, the rest is the text of Value.
func Object(cols []Column, t []byte) ([]byte, error) {
	if err := Check(t, len(cols)); err != nil {
		return nil, err
	}
	out := []byte{'{'}
	rest := Fields(t)
	for _, c := range cols {
		absent := Absent(rest)
		var field []byte
		field, _, rest = Next(rest)
		if absent {
			continue
		}
		value, err := jsonValue(c.Type, field)
		if err != nil {
			return nil, err
		}
		if len(out) > 1 {
			out = append(out, ',')
		}
		name, err := json.Marshal(c.Name)
		if err != nil {
			return nil, err
		}
		out = append(append(append(out, name...), ':'), value...)
	}
	return append(out, '}'), nil
}

func jsonValue(t Type, field []byte) ([]byte, error) {
	v, err := Value(t, field)
	if err != nil {
		return nil, err
	}
	switch v := v.(type) {
	case int64:
		if t == Bool {
			return json.Marshal(v != 0)
		}
	case string:
		if t == JSON && json.Valid([]byte(v)) {
			return []byte(v), nil
		}
	case float64:
		if math.IsInf(v, 1) {
			return []byte(`"Infinity"`), nil
		}
		if math.IsInf(v, -1) {
			return []byte(`"-Infinity"`), nil
		}
	}
	return json.Marshal(v)
}
