package journal

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

const (
	extension  = ".seg"
	damagedExt = ".damaged"
	maxSlug    = 32
	hashDigits = 12
)

// prefix is what the names of the journal's files begin with. The hash at its
// end has a fixed length, so no prefix is the beginning of another's name.
func (c *Config) prefix() string {
	slug := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			return r
		case r >= 'A' && r <= 'Z':
			return r + 'a' - 'A' // some file systems do not tell them apart
		default:
			return '-'
		}
	}, c.Table)
	hash := sha256.Sum256(fmt.Appendf(nil, "%q %q", c.Table, c.Writer))
	return fmt.Sprintf("journal_%.*s-%x_", maxSlug, slug, hash[:hashDigits/2])
}

// Others returns the names of segments in the directory that belong to other
// writers of a table of the same name, at most ten. Nobody has looked into them.
func Others(cfg Config) (names []string, err error) {
	cfg = cfg.withDefaults()
	entries, err := cfg.FS.ReadDir(cfg.Dir)
	if err != nil {
		return nil, err
	}
	prefix := cfg.prefix()
	table := prefix[:len(prefix)-hashDigits-1]
	for _, e := range entries {
		name := e.Name()
		if len(names) == 10 || len(name) <= len(prefix) || !strings.HasPrefix(name, table) || name[:len(prefix)] == prefix {
			continue
		}
		if _, ok := parseName(name[:len(prefix)], name); ok && name[len(prefix)-1] == '_' && e.Type().IsRegular() {
			names = append(names, name)
		}
	}
	return names, nil
}

// path is where the segment of a number is.
func (c *Config) path(number uint64) string {
	return filepath.Join(c.Dir, fmt.Sprintf("%s%016x%s", c.prefix(), number, extension))
}

// parseName returns the number in a file name that is exactly one of the
// journal's segments.
func parseName(prefix, name string) (number uint64, ok bool) {
	digits, ok := strings.CutPrefix(name, prefix)
	if !ok {
		return 0, false
	}
	digits, ok = strings.CutSuffix(digits, extension)
	if !ok || len(digits) != 16 || strings.ToLower(digits) != digits {
		return 0, false
	}
	number, err := strconv.ParseUint(digits, 16, 64)
	return number, err == nil && number <= tuple.MaxSeq
}

// Exists reports whether there are files that may be segments of the journal.
func Exists(cfg Config) (bool, error) {
	cfg = cfg.withDefaults()
	entries, err := cfg.FS.ReadDir(cfg.Dir)
	if err != nil {
		return false, err
	}
	prefix := cfg.prefix()
	return slices.ContainsFunc(entries, func(e fs.DirEntry) bool {
		_, ok := parseName(prefix, e.Name())
		return ok && e.Type().IsRegular()
	}), nil
}
