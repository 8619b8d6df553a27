package pgtest

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	embeddedpostgres "github.com/fergusstrange/embedded-postgres"
)

// usualPlaces are where packages and installers put the server programs.
var usualPlaces = []string{
	"/usr/lib/postgresql/*/bin",                          // Debian
	"/usr/pgsql-*/bin",                                   // Red Hat
	"/usr/libexec/postgresql*",                           // Alpine
	"/opt/homebrew/opt/postgresql*/bin",                  // Homebrew
	"/usr/local/opt/postgresql*/bin",                     // Homebrew on Intel
	"/Applications/Postgres.app/Contents/Versions/*/bin", // Postgres.app
	`C:\Program Files\PostgreSQL\*\bin`,
}

// findBinaries returns the directory of the server programs, places being
// patterns of where to look. Programs that must be downloaded go to fetchTo.
func findBinaries(places []string, fetchTo string) (string, error) {
	if dir := os.Getenv(binariesEnv); dir != "" {
		if !complete(dir) {
			return "", fmt.Errorf("%s is %q, which lacks initdb, postgres or pg_ctl", binariesEnv, dir)
		}
		return dir, nil
	}
	dirs := append(namedBySystem(), newestFirst(places)...)
	if i := slices.IndexFunc(dirs, complete); i >= 0 {
		return dirs[i], nil
	}
	dir, err := fetch(fetchTo)
	if err != nil {
		return "", fmt.Errorf("no PostgreSQL to test with. Install the PostgreSQL server, or set %s to the directory "+
			"of initdb and postgres, or set %s to the postgres:// URL of a server on which the tests may create "+
			"schemas. (Searched %s; the download failed: %w)", binariesEnv, databaseURLEnv, strings.Join(dirs, ", "), err)
	}
	return dir, nil
}

// complete tells whether all programs that pgtest runs are in dir.
func complete(dir string) bool {
	for _, program := range []string{"initdb", "postgres", "pg_ctl"} {
		if _, err := exec.LookPath(filepath.Join(dir, program)); err != nil {
			return false
		}
	}
	return true
}

// namedBySystem returns the directories that pg_config and the PATH name.
func namedBySystem() []string {
	var dirs []string
	if out, err := exec.Command("pg_config", "--bindir").Output(); err == nil {
		dirs = append(dirs, strings.TrimSpace(string(out)))
	}
	if path, err := exec.LookPath("postgres"); err == nil {
		if path, err = filepath.EvalSymlinks(path); err == nil {
			dirs = append(dirs, filepath.Dir(path))
		}
	}
	return dirs
}

var numbers = regexp.MustCompile(`\d+`)

// newestFirst returns the directories that match, the highest version in
// their path first.
func newestFirst(patterns []string) []string {
	var dirs []string
	for _, pattern := range patterns {
		found, err := filepath.Glob(pattern)
		if err != nil {
			panic(err) // a pattern of ours is malformed
		}
		dirs = append(dirs, found...)
	}
	version := func(dir string) int {
		v, _ := strconv.Atoi(numbers.FindString(dir)) // 0: has no version in its path
		return v
	}
	slices.SortStableFunc(dirs, func(a, b string) int { return cmp.Compare(version(b), version(a)) })
	return dirs
}

// fetch downloads PostgreSQL into dir. The module that knows where from can
// only do so by starting a server. That fails when root runs the tests, after
// the programs were unpacked, and they are all that is wanted.
func fetch(dir string) (string, error) {
	port, err := freePort()
	if err != nil {
		return "", err
	}
	server := embeddedpostgres.NewDatabase(embeddedpostgres.DefaultConfig().
		BinariesPath(dir).RuntimePath(filepath.Join(dir, "run")).Port(uint32(port)).Logger(io.Discard))
	err = server.Start()
	if err == nil {
		err = server.Stop()
	}
	bin := filepath.Join(dir, "bin")
	if !complete(bin) {
		return "", cmp.Or(err, errors.New("the download lacks server programs"))
	}
	return bin, nil
}
