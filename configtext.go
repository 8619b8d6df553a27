package memdbwriter

import (
	"fmt"
	"io"
	"log/slog"
	"reflect"
	"strings"
)

// secretSetting stands for a URL, which may hold a password.
const secretSetting = "hidden"

// inForce returns the settings that a writer would use, in the order of Config:
// defaults where nothing is set, and no secret. A Config that is not valid is shown as it is,
// as far as it cannot hold a URL.
func (c Config) inForce() []slog.Attr {
	if valid, err := c.withDefaults(); err == nil {
		c = valid
	}
	if strings.Contains(c.CheckpointDir, "://") {
		c.CheckpointDir = secretSetting
	}
	if c.Durability.check() != nil { // any text, perhaps that of another setting
		c.Durability = Durability(shown(string(c.Durability)))
	}
	var attrs []slog.Attr
	if c.url != nil {
		attrs = append(attrs, slog.String("DatabaseURL", secretSetting))
	}
	v := reflect.ValueOf(c)
	for i := range v.NumField() {
		switch f := v.Type().Field(i); {
		case !f.IsExported() || f.Type.Kind() == reflect.Func || f.Type.Kind() == reflect.Pointer:
		case f.Type.Kind() == reflect.Slice: // of the caller's values
			attrs = append(attrs, slog.Int(f.Name, v.Field(i).Len()))
		default:
			attrs = append(attrs, slog.Any(f.Name, v.Field(i).Interface()))
		}
	}
	return attrs
}

// String returns all settings in force, defaults included, without the URL, which
// may hold a password.
func (c Config) String() string {
	var parts []string
	for _, a := range c.inForce() {
		parts = append(parts, a.Key+":"+a.Value.String())
	}
	return "{" + strings.Join(parts, " ") + "}"
}

// Format prints String, by any verb.
func (c Config) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, c.String()) }

// LogValue gives what String does, as a group.
func (c Config) LogValue() slog.Value { return slog.GroupValue(c.inForce()...) }
