package main

import (
	"bytes"
	"encoding/json"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/memdbwriter/memdbwriter/internal/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// Every way writes what it should, and leaves nothing behind but what was asked
// for.
func TestCompare(t *testing.T) {
	db := pgtest.Open(t)
	file := filepath.Join(t.TempDir(), "c.db")
	for name, test := range map[string]struct {
		url  string
		ways int
	}{"PostgreSQL": {db.URL, 6}, "SQLite": {"sqlite:" + file, 4}} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			chart := filepath.Join(t.TempDir(), "chart")
			if err := run(t.Context(), []string{"-db", test.url, "-rows", "1000", "-quiet", "-out", chart}, &out, &out); err != nil {
				t.Fatal(err)
			}
			if n := strings.Count(out.String(), " 1000 "); n != 3*test.ways {
				t.Errorf("%d lines:\n%s", n, &out)
			}
			var results struct{ Results []result }
			if err := json.Unmarshal(read(t, chart+".json"), &results); err != nil || len(results.Results) != 3*test.ways {
				t.Errorf("%d results, %v", len(results.Results), err)
			}
			if lines := bytes.Count(read(t, chart+".csv"), []byte("\n")); lines != 3*test.ways+1 {
				t.Errorf("%d lines of CSV", lines)
			}
			if _, err := png.Decode(bytes.NewReader(read(t, chart+".png"))); err != nil {
				t.Error(err)
			}
			if !bytes.Contains(read(t, chart+".svg"), []byte("memory writer")) {
				t.Error("the SVG does not name the memory writer")
			}
		})
	}
	if left := db.Rows(t, "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'compare%'"); len(left) > 0 {
		t.Errorf("schemas are left: %v", left)
	}
	if _, err := os.Stat(file); err == nil {
		t.Error("the SQLite file is left")
	}
}

func read(t *testing.T, file string) []byte {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return text
}
