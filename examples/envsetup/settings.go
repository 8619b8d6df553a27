package main

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/memdbwriter/memdbwriter"
)

// settings are the variables of the library, as README.md lists them.
var settings = []string{
	"USE_MEMORY_DB",
	"MEMORY_DB_SYNC_BATCH_SIZE", "MEMORY_DB_SYNC_INTERVAL", "MEMORY_DB_SYNC_TIMEOUT", "MEMORY_DB_SYNC_WORKERS",
	"MEMORY_DB_MAX_FILES", "MEMORY_DB_MAX_ROWS", "MEMORY_DB_MAX_BYTES", "MEMORY_DB_MAX_FAILED_ROWS", "MEMORY_DB_RETRY_MAX_DELAY", "MEMORY_DB_FAILED_RETRY_DELAY",
	"MEMORY_DB_CHECKPOINT_DIR", "MEMORY_DB_TRUST_CHECKPOINT_DIR", "MEMORY_DB_DURABILITY", "MEMORY_DB_CHECKPOINT_INTERVAL", "MEMORY_DB_CHECKPOINT_RETENTION_HOURS",
	"MEMORY_DB_DATABASE_URL", "DATABASE_URL",
}

// profiles are the tunings of the original system's script.
var profiles = map[string][]string{
	"standard": {"USE_MEMORY_DB=true", "MEMORY_DB_SYNC_BATCH_SIZE=5000", "MEMORY_DB_SYNC_INTERVAL=30", "MEMORY_DB_MAX_FILES=100000"},
	"fast":     {"USE_MEMORY_DB=true", "MEMORY_DB_SYNC_BATCH_SIZE=10000", "MEMORY_DB_SYNC_INTERVAL=60", "MEMORY_DB_MAX_FILES=500000"},
	"small":    {"USE_MEMORY_DB=true", "MEMORY_DB_SYNC_BATCH_SIZE=1000", "MEMORY_DB_SYNC_INTERVAL=10", "MEMORY_DB_MAX_FILES=10000"},
}

// collect takes the settings of a profile and, above them, those of the command
// line, and has the library check them together.
func collect(profile string, args []string) (keys []string, values map[string]string, err error) {
	chosen, known := profiles[profile]
	if profile != "" && !known {
		return nil, nil, fmt.Errorf("there is no profile %q: standard, fast, small", profile)
	}
	values = map[string]string{}
	for _, arg := range slices.Concat(chosen, args) {
		key, value, ok := strings.Cut(arg, "=")
		if !ok {
			return nil, nil, fmt.Errorf("%q is not a setting: want NAME=VALUE", arg)
		}
		if !slices.Contains(settings, key) {
			return nil, nil, fmt.Errorf("%q is not a setting of the library: %s", key, strings.Join(settings, ", "))
		}
		if _, twice := values[key]; !twice {
			keys = append(keys, key)
		}
		values[key] = value
	}
	if len(keys) == 0 {
		return nil, nil, errors.New("nothing to set: name a profile, or NAME=VALUE")
	}
	return keys, values, nil
}

// check has the library read the settings of the file as it will be.
func check(values map[string]string) error {
	_, err := memdbwriter.LoadConfig(values)
	return err
}

var password = regexp.MustCompile(`(://[^:/?#@]*:)[^@]*@|((?i:password|passphrase|passwd)=)[^&\s'"]*`)

// hidden is the text of a value without the password in a URL.
func hidden(key, text string) string {
	if !strings.HasSuffix(key, "DATABASE_URL") {
		return text
	}
	return password.ReplaceAllStringFunc(text, func(found string) string {
		m := password.FindStringSubmatch(found)
		if m[1] != "" {
			return m[1] + "…@"
		}
		return m[2] + "…"
	})
}
