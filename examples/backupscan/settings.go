package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/joho/godotenv"

	"github.com/memdbwriter/memdbwriter"
)

const defaultURL = "sqlite:catalog.db"

// urlVariable alone names a catalogue. DATABASE_URL, which the library takes as
// well, belongs to the application whose directory this may be.
const urlVariable = "MEMORY_DB_DATABASE_URL"

// settings are those of the write buffer, and where they came from.
type settings struct {
	memdbwriter.Config
	url     string // of the catalogue
	from    string // where that is named; empty for a default
	ignored error  // why there is an .env file that was not read
}

// readSettings reads the flags, the environment and the .env file, if there is one.
func (o *options) readSettings() (s settings, err error) {
	values, ignored, err := readEnv(".env")
	if err != nil {
		return s, err
	}
	for name := range values {
		if !strings.HasPrefix(name, "MEMORY_DB_") && name != "USE_MEMORY_DB" {
			delete(values, name) // somebody else's
		}
	}
	s.ignored = ignored
	if s.Config, err = memdbwriter.LoadConfig(values); err != nil {
		return s, err
	}
	s.url = s.DatabaseURL()
	switch {
	case o.url != "":
		s.url, s.from = o.url, "-db"
	case os.Getenv(urlVariable) != "":
		s.from = urlVariable
	case values[urlVariable] != "":
		s.from = urlVariable + " in the file .env"
	default:
		s.url = defaultURL
		o.create = true
	}
	if s.CheckpointDir != "" {
		// Each set has its own, so that scans of two sets run side by side and
		// what one left is not the other's trouble.
		s.CheckpointDir = filepath.Join(s.CheckpointDir, fmt.Sprintf("set-%d", o.set))
	}
	return s, nil
}

// maxEnv is more than any file of settings has.
const maxEnv = 1 << 20

// readEnv reads a file of settings in the working directory, which may be
// somebody else's: a link, a pipe, or a file that others may write is ignored,
// with the reason.
func readEnv(name string) (values map[string]string, ignored, err error) {
	f, err := openNoFollow(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return map[string]string{}, nil, nil
	case err != nil:
		return map[string]string{}, fmt.Errorf("the file %s is ignored: %w", name, err), nil
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return nil, nil, err
	}
	if err := ownedByUs(info); err != nil {
		return map[string]string{}, fmt.Errorf("the file %s is ignored: %w", name, err), nil
	}
	values, err = godotenv.Parse(io.LimitReader(f, maxEnv))
	if err != nil { // it quotes the file, in which there may be a password
		return nil, nil, errors.New("the file .env has a line that is not NAME=value: correct it")
	}
	return values, nil, nil
}
