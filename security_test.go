package memdbwriter

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The threat model names the test of each claim: each of them is there, and each
// fuzz test is in its list or has a reason to be none of a decoder's.
func TestTheThreatModelNamesTests(t *testing.T) {
	text, err := os.ReadFile("SECURITY.md")
	if err != nil {
		t.Fatal(err)
	}
	there := map[string]bool{} // directory/name
	definition := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	err = filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		code, err := os.ReadFile(path)
		for _, m := range definition.FindAllStringSubmatch(string(code), -1) {
			there[filepath.ToSlash(filepath.Dir(path))+"/"+m[1]] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	named := map[string]bool{}
	for _, m := range regexp.MustCompile("`((?:[a-z0-9/-]+/)?)((?:Test|Fuzz)\\w+)`").FindAllStringSubmatch(string(text), -1) {
		name := strings.TrimSuffix(m[1], "/") + "/" + m[2]
		if m[1] == "" {
			name = "./" + m[2]
		}
		if named[name] = true; !there[name] {
			t.Errorf("SECURITY.md names %s, which is not there", name)
		}
	}
	if len(named) < 30 {
		t.Errorf("SECURITY.md names %d tests", len(named))
	}
	for name := range there {
		if strings.Contains(name, "/Fuzz") && !named[name] {
			t.Errorf("%s is not in the list of SECURITY.md", name)
		}
	}
}
