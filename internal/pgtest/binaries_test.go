package pgtest

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestNewestVersionComesFirst(t *testing.T) {
	root := t.TempDir()
	want := []string{"17", "14.3", "9.6", "none"}
	for _, version := range []string{"9.6", "17", "none", "14.3"} {
		if err := os.MkdirAll(filepath.Join(root, "pg", version, "bin"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(root)
	var got []string
	for _, dir := range newestFirst([]string{"nowhere/*/bin", "pg/*/bin"}) {
		got = append(got, filepath.Base(filepath.Dir(dir)))
	}
	if !slices.Equal(got, want) {
		t.Errorf("order %q, want %q", got, want)
	}
}

func TestBinariesOfTheEnvironmentMustBeComplete(t *testing.T) {
	dir := t.TempDir()
	t.Setenv(binariesEnv, dir)
	if _, err := findBinaries(usualPlaces, dir); err == nil || !strings.Contains(err.Error(), binariesEnv) {
		t.Errorf("error %v, want one that names %s", err, binariesEnv)
	}
}

func TestNoServerSaysHowToProvideOne(t *testing.T) {
	home := t.TempDir()
	for name, value := range map[string]string{
		binariesEnv:   "",
		"PATH":        home,
		"HOME":        home, // no download of an earlier day
		"HTTPS_PROXY": "http://127.0.0.1:1",
	} {
		t.Setenv(name, value)
	}
	_, err := findBinaries(nil, filepath.Join(home, "fetched"))
	if err == nil {
		t.Fatal("found PostgreSQL where there is none")
	}
	for _, want := range []string{databaseURLEnv, binariesEnv, "Install"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the message lacks %q: %v", want, err)
		}
	}
}
