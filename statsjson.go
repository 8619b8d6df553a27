package memdbwriter

import (
	"encoding/json"
	"reflect"
	"strings"
	"time"
	"unicode"
)

// MarshalJSON gives all fields, by their names in snake_case: durations in seconds,
// with the suffix _seconds, and null if they are negative, which is no estimate;
// errors as text; null for no error and for a time that has not been.
func (s SyncStatus) MarshalJSON() ([]byte, error) { return json.Marshal(figuresOf(reflect.ValueOf(s))) }

// MarshalJSON gives all fields as SyncStatus.MarshalJSON does, its own among them.
func (s Stats) MarshalJSON() ([]byte, error) { return json.Marshal(figuresOf(reflect.ValueOf(s))) }

// figuresOf makes a struct an object, in which embedded structs are flat.
func figuresOf(v reflect.Value) map[string]any {
	object := map[string]any{}
	for i := range v.NumField() {
		field := v.Type().Field(i)
		if field.Anonymous {
			for name, value := range figuresOf(v.Field(i)) {
				object[name] = value
			}
			continue
		}
		name, value := snakeCase(field.Name), v.Field(i).Interface()
		switch value := value.(type) {
		case time.Duration:
			object[name+"_seconds"] = secondsOf(value)
		case map[Reason]time.Duration:
			of := map[Reason]any{}
			for reason, d := range value {
				of[reason] = secondsOf(d)
			}
			object[name+"_seconds"] = of
		case time.Time:
			object[name] = nil
			if !value.IsZero() {
				object[name] = value
			}
		case error:
			object[name] = value.Error()
		case BatchTimes:
			object[name] = figuresOf(v.Field(i))
		case Limits:
			object[name] = figuresOf(v.Field(i))
		default: // nil errors, too
			object[name] = value
		}
	}
	return object
}

// secondsOf is nil for what is no estimate.
func secondsOf(d time.Duration) any {
	if d < 0 {
		return nil
	}
	return d.Seconds()
}

// snakeCase is LastErrorAt as last_error_at.
func snakeCase(name string) string {
	var b strings.Builder
	for i, r := range name {
		if unicode.IsUpper(r) && i > 0 {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}
