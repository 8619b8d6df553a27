package memdbwriter

import (
	"testing"
	"unicode/utf8"
)

func TestEscapePath(t *testing.T) {
	for path, want := range map[string]string{
		"/plain/päth":  "/plain/päth",
		`/back\slash`:  `/back\slash`,
		`/a\x4`:        `/a\x4`,
		"/latin1-\xe4": `/latin1-\xE4`,
		`/looks\xE4`:   `/looks\x5CxE4`,
		"/\xff\xfe":    `/\xFF\xFE`,
		"":             "",
	} {
		got, escaped := EscapePath(path)
		if got != want || escaped != (got != path) {
			t.Errorf("EscapePath(%q) = %q, %v, want %q", path, got, escaped, want)
		}
		if back := UnescapePath(got); back != path {
			t.Errorf("UnescapePath(%q) = %q, want %q", got, back, path)
		}
	}
}

// Whatever bytes a name has, its text form is UTF-8 and leads back to it; so
// two names never have the same one.
func FuzzEscapePath(f *testing.F) {
	for _, s := range []string{"", "a", `\x41`, `\\x41`, `\x5Cx41`, "\xff", "\\\xff", `\x5` + "\xcc", `\x`, "\xe2\x82", "ü\xfc"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, path string) {
		text, _ := EscapePath(path)
		if !utf8.ValidString(text) {
			t.Fatalf("%q became %q, which is not UTF-8", path, text)
		}
		if back := UnescapePath(text); back != path {
			t.Fatalf("%q became %q and then %q", path, text, back)
		}
	})
}
