package walk

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestExclude(t *testing.T) {
	names := []string{
		"keep.txt", "note.tmp", "a/cache/x", "a/cache/deep/y", "a/b/cache/z", "a/mycache/w",
		"logs/2024.log", "logs/2025.log", "logs/readme", "x/y/z",
	}
	for _, c := range []struct {
		name     string
		patterns []string
		left     []string
		excluded int64
	}{
		{"nothing", nil, []string{
			".", "keep.txt", "note.tmp", "a", "a/cache", "a/cache/x", "a/cache/deep", "a/cache/deep/y", "a/b", "a/b/cache",
			"a/b/cache/z", "a/mycache", "a/mycache/w", "logs", "logs/2024.log", "logs/2025.log", "logs/readme", "x", "x/y", "x/y/z",
		}, 0},
		{"a suffix anywhere", []string{"*.tmp", "*/a", "*/x", "*/logs/20??.log"}, []string{".", "keep.txt", "logs", "logs/readme"}, 5},
		{"a directory with all below", []string{"*/cache", "*/logs", "*/x"}, []string{
			".", "keep.txt", "note.tmp", "a", "a/b", "a/mycache", "a/mycache/w",
		}, 4},
		{"the content of a directory", []string{"*/cache/*", "*/logs/*", "*/x/*"}, []string{
			".", "keep.txt", "note.tmp", "a", "a/cache", "a/b", "a/b/cache", "a/mycache", "a/mycache/w", "logs", "x",
		}, 4},
		{"a star crosses slashes", []string{"*/a/*/z", "*/x*", "*.log", "*a/*c*"}, []string{
			".", "keep.txt", "note.tmp", "a", "a/b", "logs", "logs/readme",
		}, 6},
		{"without a slash, at any depth", []string{"cache", "20??.log"}, []string{
			".", "keep.txt", "note.tmp", "a", "a/b", "a/mycache", "a/mycache/w", "logs", "logs/readme", "x", "x/y", "x/y/z",
		}, 4},
		{"directories only", []string{"cache/", "readme/", "*.tmp/"}, []string{
			".", "keep.txt", "note.tmp", "a", "a/b", "a/mycache", "a/mycache/w", "logs", "logs/2024.log", "logs/2025.log", "logs/readme", "x", "x/y", "x/y/z",
		}, 2},
		{"two stars", []string{"a/**/cache", "**/x", "logs/**"}, []string{
			".", "keep.txt", "note.tmp", "a", "a/b", "a/mycache", "a/mycache/w", "logs",
		}, 4},
		{"one letter", []string{"*/?"}, []string{".", "keep.txt", "note.tmp", "logs", "logs/2024.log", "logs/2025.log", "logs/readme"}, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := tree(t, filepath.Join(realDir(t), "root"), names...)
			x, err := NewExclude(c.patterns)
			check(t, err)
			w := Walker{Exclude: x}
			s, _ := walk(t, &w, dir)
			wantNames(t, s.below(t, dir), c.left...)
			if got := w.Counts.Excluded.Load(); got != c.excluded {
				t.Errorf("%d excluded, want %d", got, c.excluded)
			}
		})
	}
}

func TestAnExcludedDirectoryIsNotRead(t *testing.T) {
	for _, pattern := range []string{"*/big", "*/big/*"} {
		dir := tree(t, realDir(t), "big/file", "big/sub/file")
		x, err := NewExclude([]string{pattern})
		check(t, err)
		w := Walker{Exclude: x, Fault: func(op, path string) error {
			if strings.Contains(path, "/big/") {
				t.Errorf("%s: %s %s", pattern, op, path)
			}
			return nil
		}}
		walk(t, &w, dir)
	}
}

func TestARootBelowAnExcludedDirectoryIsExcluded(t *testing.T) {
	dir := tree(t, realDir(t), "cache/sub/x")
	x, err := NewExclude([]string{"*/cache"})
	check(t, err)
	w := Walker{Exclude: x}
	s, _ := walk(t, &w, dir+"/cache/sub")
	if s.calls != 0 || w.Counts.Excluded.Load() != 1 {
		t.Errorf("%d entries, %d excluded", s.calls, w.Counts.Excluded.Load())
	}
}

func TestARootWhoseContentIsExcludedIsNotEmpty(t *testing.T) {
	dir := tree(t, realDir(t), "cache/x")
	x, err := NewExclude([]string{"*/cache/*"})
	check(t, err)
	s, _ := walk(t, &Walker{Exclude: x}, dir+"/cache")
	wantNames(t, s.below(t, dir), "cache")
	if s.entries[dir+"/cache"].Empty {
		t.Error("taken for empty")
	}
}

func TestExactPathsAreExcludedLiterally(t *testing.T) {
	dir := tree(t, realDir(t), "c[1].db", "c1.db", "c[1].db-wal")
	x, err := NewExclude(nil, filepath.Join(dir, "c[1].db"), filepath.Join(dir, "c[1].db-wal"))
	check(t, err)
	s, _ := walk(t, &Walker{Exclude: x}, dir)
	wantNames(t, s.below(t, dir), ".", "c1.db")
}

func TestPatternsMatchNamesOfAnyBytes(t *testing.T) {
	x, err := NewExclude([]string{"*.tmp", "*/d?j?"})
	check(t, err)
	for path, want := range map[string]bool{
		"/a/\xff\xfe.tmp": true, "/a/new\nline.tmp": true, "/\xff/中/x.tmp": true, "/a/d\xe9j\xe0": true, "/a/\xff": false,
	} {
		if got := x.entry(path, false); got != want {
			t.Errorf("%q excluded: %v", path, got)
		}
	}
}

func TestEveryBadPatternIsNamed(t *testing.T) {
	_, err := NewExclude([]string{"*/good", "*/{open", "*/[", "*/\xff", "", "/"})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{`"*/{open"`, `"*/["`, `"*/\xff"`, `"": is empty`, `"/": is empty`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%s is not in: %v", want, err)
		}
	}
	if strings.Contains(err.Error(), "good") {
		t.Errorf("a good pattern is named: %v", err)
	}
}

func TestInside(t *testing.T) {
	for _, c := range []struct {
		path, dir string
		want      bool
	}{
		{"/a", "/a", true},
		{"/a/b", "/a", true},
		{"/ab", "/a", false},
		{"/a", "/a/b", false},
		{"/a", "/", true},
		{"/", "/", true},
	} {
		if got := Inside(c.path, c.dir); got != c.want {
			t.Errorf("Inside(%q, %q) = %v", c.path, c.dir, got)
		}
	}
}

func TestPatternsThatMatchNothingAreTold(t *testing.T) {
	dir := tree(t, realDir(t), "a/x", "b")
	x, err := NewExclude([]string{"*/a/*", "nowhere", "b", "*/b", "*.tmp"})
	check(t, err)
	walk(t, &Walker{Exclude: x}, dir)
	wantNames(t, slices.Sorted(slices.Values(x.Unused())), "*.tmp", "nowhere")
}

func TestAPatternMatchesThroughALink(t *testing.T) {
	dir := tree(t, realDir(t), "real [1]/a/x", "real [1]/b", "link -> real [1]")
	x, err := NewExclude([]string{dir + "/link/a/*"})
	check(t, err)
	s, _ := walk(t, &Walker{Exclude: x}, dir+"/link")
	wantNames(t, s.below(t, dir), "real [1]", "real [1]/a", "real [1]/b")
}
