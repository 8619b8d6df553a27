package dirlock

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A lock file is anybody's text where others may write. What it says of its
// holder is printed, so that must be short, and one line.
func FuzzHolder(f *testing.F) {
	f.Add([]byte(`{"pid":1,"host":"h","program":"p","since":"2024-01-01T00:00:00Z"}`))
	f.Add([]byte(`{"host":"\u001b[2J\n","program":"` + strings.Repeat("x", 5000) + `"}`))
	f.Add([]byte(`{"since":"9999-12-31T23:59:59+23:59"}`))
	f.Add([]byte{})
	path := filepath.Join(f.TempDir(), "lock")
	f.Fuzz(func(t *testing.T, text []byte) {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		file, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		said := (&LockedError{"lock", readHolder(file)}).Error()
		if len(said) > 2500 || strings.ContainsFunc(said, func(r rune) bool { return r < ' ' }) {
			t.Errorf("%d bytes: %q", len(said), said)
		}
	})
}
