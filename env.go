package memdbwriter

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/kelseyhightower/envconfig"
)

// variables names the environment variables, as text so that LoadConfig can
// report every bad one and not only the first.
type variables struct {
	UseMemoryDB   string `envconfig:"USE_MEMORY_DB"`
	SyncBatchSize string `envconfig:"MEMORY_DB_SYNC_BATCH_SIZE"`
	SyncInterval  string `envconfig:"MEMORY_DB_SYNC_INTERVAL"`
	MaxFiles      string `envconfig:"MEMORY_DB_MAX_FILES"`
	MaxRows       string `envconfig:"MEMORY_DB_MAX_ROWS"`
	MaxBytes      string `envconfig:"MEMORY_DB_MAX_BYTES"`
	MaxFailedRows string `envconfig:"MEMORY_DB_MAX_FAILED_ROWS"`
	SyncWorkers   string `envconfig:"MEMORY_DB_SYNC_WORKERS"`
	SyncTimeout   string `envconfig:"MEMORY_DB_SYNC_TIMEOUT"`
	RetryMaxDelay string `envconfig:"MEMORY_DB_RETRY_MAX_DELAY"`
	FailedRetry   string `envconfig:"MEMORY_DB_FAILED_RETRY_DELAY"`
	CheckpointDir string `envconfig:"MEMORY_DB_CHECKPOINT_DIR"`
	TrustDir      string `envconfig:"MEMORY_DB_TRUST_CHECKPOINT_DIR"`
	Checkpoint    string `envconfig:"MEMORY_DB_CHECKPOINT_INTERVAL"`
	Retention     string `envconfig:"MEMORY_DB_CHECKPOINT_RETENTION_HOURS"`
	Durability    string `envconfig:"MEMORY_DB_DURABILITY"`
	MemoryDBURL   string `envconfig:"MEMORY_DB_DATABASE_URL"`
	DatabaseURL   string `envconfig:"DATABASE_URL"`
}

// LoadConfig reads the environment. Variables that are unset or empty there
// are taken from the given sources, the first that has them, which is how
// .env files come in:
//
//	values, err := godotenv.Read(".env") // github.com/joho/godotenv
//	cfg, err := memdbwriter.LoadConfig(values)
//
// What nothing sets keeps its default. Durations are whole seconds or Go
// durations ("90", "1m30s"); MEMORY_DB_MAX_BYTES is bytes or a size such as 64MB, of
// which each unit is 1,024 of the one before; booleans are true/false, 1/0, yes/no or on/off in
// any case. MEMORY_DB_MAX_ROWS is another name of MEMORY_DB_MAX_FILES. The error
// wraps ErrConfig and names every bad variable at once, and every variable that
// begins with MEMORY_DB_ and is none of them, with the one that it may be meant
// for; those that Kubernetes sets for a service named memory-db are left alone.
// LoadConfig changes nothing in the process's environment.
func LoadConfig(sources ...map[string]string) (Config, error) {
	return LoadConfigPrefix("", sources...)
}

// LoadConfigPrefix is LoadConfig for a program with several writers: a variable
// that has the prefix before its name, such as ORDERS_MEMORY_DB_SYNC_WORKERS with
// the prefix ORDERS_, counts before the one without it, wherever the two are set.
func LoadConfigPrefix(prefix string, sources ...map[string]string) (Config, error) {
	v, p, err := readVariables(prefix, sources)
	if err != nil {
		return Config{}, err
	}
	var cfg Config
	use := true
	p.parse("USE_MEMORY_DB", v.UseMemoryDB, &use)
	cfg.DisableMemoryDB = !use
	p.parse("MEMORY_DB_SYNC_BATCH_SIZE", v.SyncBatchSize, &cfg.SyncBatchSize)
	p.parse("MEMORY_DB_SYNC_INTERVAL", v.SyncInterval, &cfg.SyncInterval)
	p.parse("MEMORY_DB_MAX_FILES", v.MaxFiles, &cfg.MaxRows)
	if v.MaxFiles == "" {
		p.parse("MEMORY_DB_MAX_ROWS", v.MaxRows, &cfg.MaxRows)
	} else if v.MaxRows != "" && strings.TrimSpace(v.MaxRows) != strings.TrimSpace(v.MaxFiles) {
		p.errs = append(p.errs, fmt.Errorf("%s=%s and %s=%s are one setting: set one of them",
			p.names["MEMORY_DB_MAX_FILES"], shown(v.MaxFiles), p.names["MEMORY_DB_MAX_ROWS"], shown(v.MaxRows)))
	}
	p.parse("MEMORY_DB_MAX_BYTES", v.MaxBytes, &cfg.MaxBytes)
	p.parse("MEMORY_DB_MAX_FAILED_ROWS", v.MaxFailedRows, &cfg.MaxFailedRows)
	p.parse("MEMORY_DB_SYNC_WORKERS", v.SyncWorkers, &cfg.SyncWorkers)
	p.parse("MEMORY_DB_SYNC_TIMEOUT", v.SyncTimeout, &cfg.SyncTimeout)
	p.parse("MEMORY_DB_RETRY_MAX_DELAY", v.RetryMaxDelay, &cfg.RetryMaxDelay)
	if strings.TrimSpace(v.FailedRetry) == "0" {
		v.FailedRetry, cfg.FailedRetryDelay = "", -1
	}
	p.parse("MEMORY_DB_FAILED_RETRY_DELAY", v.FailedRetry, &cfg.FailedRetryDelay)
	if strings.TrimSpace(v.Checkpoint) == "0" {
		v.Checkpoint, cfg.CheckpointInterval = "", -1
	}
	p.parse("MEMORY_DB_CHECKPOINT_INTERVAL", v.Checkpoint, &cfg.CheckpointInterval)
	p.parse("MEMORY_DB_CHECKPOINT_RETENTION_HOURS", v.Retention, &cfg.CheckpointRetention)
	cfg.CheckpointDir = v.CheckpointDir
	p.parse("MEMORY_DB_TRUST_CHECKPOINT_DIR", v.TrustDir, &cfg.TrustCheckpointDir)
	cfg.Durability = Durability(strings.ToLower(strings.TrimSpace(v.Durability)))
	if err := cfg.Durability.check(); err != nil {
		p.errs = append(p.errs, fmt.Errorf("%s=%s: %w", p.names["MEMORY_DB_DURABILITY"], shown(v.Durability), err))
	}
	for _, url := range []string{v.MemoryDBURL, v.DatabaseURL} {
		if url != "" {
			cfg.url = &url
			break
		}
	}
	if err := errors.Join(p.errs...); err != nil {
		return Config{}, fmt.Errorf("%w:\n%w", ErrConfig, err)
	}
	return cfg, nil
}

// DatabaseURL returns the URL that LoadConfig found, for OpenDestination, and ""
// if it found none. A writer itself does not read it. As it may hold a password,
// nothing that prints a Config shows it.
func (c Config) DatabaseURL() string {
	if c.url == nil {
		return ""
	}
	return *c.url
}

// readVariables reads all variables, those with the prefix before the others. The
// parser knows which names they were found under, and which are wrong.
func readVariables(prefix string, sources []map[string]string) (*variables, *parser, error) {
	var own, common variables
	if err := envconfig.Process("", &common); err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	p := &parser{names: map[string]string{}}
	if prefix != "" {
		fill(&own, prefix, append([]map[string]string{environment(prefix)}, sources...))
	}
	fill(&common, "", sources)
	if own.MaxFiles+own.MaxRows != "" {
		common.MaxFiles, common.MaxRows = "", ""
	}
	if own.MemoryDBURL+own.DatabaseURL != "" {
		common.MemoryDBURL, common.DatabaseURL = "", ""
	}
	fields, others := reflect.ValueOf(&own).Elem(), reflect.ValueOf(&common).Elem()
	for i := range fields.NumField() {
		name := variableOf(fields.Type().Field(i))
		p.names[name] = prefix + name
		if fields.Field(i).String() == "" {
			p.names[name] = name
			fields.Field(i).Set(others.Field(i))
		}
	}
	p.refuseUnknown(prefix, sources)
	return &own, p, nil
}

func variableOf(f reflect.StructField) string { return f.Tag.Get("envconfig") }

// fill sets the empty fields of v from the sources.
func fill(v *variables, prefix string, sources []map[string]string) {
	fields := reflect.ValueOf(v).Elem()
	for i := range fields.NumField() {
		name := prefix + variableOf(fields.Type().Field(i))
		for _, s := range sources {
			if fields.Field(i).String() != "" {
				break
			}
			fields.Field(i).SetString(s[name])
		}
	}
}

// environment is the part of the process's environment that has a prefix.
func environment(prefix string) map[string]string {
	found := map[string]string{}
	for _, e := range os.Environ() {
		if name, value, _ := strings.Cut(e, "="); strings.HasPrefix(name, prefix) {
			found[name] = value
		}
	}
	return found
}

// refuseUnknown finds the variables that look like ours and are none: a setting
// that is spelled wrong would be a default that nobody has chosen.
func (p *parser) refuseUnknown(prefix string, sources []map[string]string) {
	unknown := map[string]bool{}
	for _, source := range append([]map[string]string{environment("")}, sources...) {
		for name, value := range source {
			base := strings.TrimPrefix(name, prefix)
			if value != "" && strings.HasPrefix(base, "MEMORY_DB_") && p.names[base] == "" &&
				!strings.Contains(base, "_SERVICE_") && !strings.Contains(base, "_PORT") {
				unknown[name] = true
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(unknown)) {
		err := fmt.Errorf("%s is no setting", name)
		base := strings.TrimPrefix(name, prefix)
		if near := p.nearest(base); near != "" {
			err = fmt.Errorf("%w: is %s meant?", err, strings.TrimSuffix(name, base)+near)
		}
		p.errs = append(p.errs, err)
	}
}

// nearest is the variable whose name is the most like a wrong one; empty if none is.
func (p *parser) nearest(wrong string) (name string) {
	best := len(wrong) / 3
	for _, known := range slices.Sorted(maps.Keys(p.names)) {
		if d := distance(wrong, known); d < best {
			name, best = known, d
		}
	}
	return name
}

// distance is the number of bytes to insert, delete or replace.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		corner := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replaced := corner
			if a[i] != b[j] {
				replaced++
			}
			corner = row[j+1]
			row[j+1] = min(replaced, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// parser turns variables into values and collects what does not parse.
type parser struct {
	names map[string]string // of the variables, as they were found
	errs  []error
}

func (p *parser) parse(variable, text string, into any) {
	text = strings.TrimSpace(text)
	if text == "" {
		return
	}
	var v int64
	var err error
	found := p.names[variable]
	switch into := into.(type) {
	case *bool:
		if *into, err = parseBool(text); err != nil {
			p.errs = append(p.errs, fmt.Errorf("%s=%s: %w", p.names[variable], shown(text), err))
		}
		return
	case *int:
		v, err = parseInt(text)
		*into = int(v)
	case *int64:
		v, err = parseSize(text)
		*into = v
	case *time.Duration:
		unit := time.Second
		if strings.HasSuffix(variable, "_HOURS") {
			unit = time.Hour
		}
		*into, err = parseDuration(text, unit)
		v = int64(*into)
	}
	if variable == "MEMORY_DB_MAX_ROWS" {
		variable = "MEMORY_DB_MAX_FILES"
	}
	for _, s := range settings {
		if s.variable == variable && (err != nil || v < s.min || v > s.max) {
			p.errs = append(p.errs, fmt.Errorf("%s=%s: %s", found, shown(text), errors.Join(err, errors.New(s.bounds()))))
		}
	}
}

// shown is a value of a setting as an error may show it: who takes one variable
// for another may have put a URL with a password there.
func shown(value string) string {
	if strings.ContainsAny(value, "@:/=") || len(value) > 40 {
		return fmt.Sprintf("(%d characters, not shown: they may be a URL with a password)", len(value))
	}
	return strconv.Quote(value)
}

func parseInt(text string) (int64, error) {
	v, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, errors.New("not a whole number")
	}
	return v, nil
}

// parseSize reads a number of bytes, or of a unit of them.
func parseSize(text string) (int64, error) {
	number := strings.TrimRightFunc(text, func(r rune) bool { return r < '0' || r > '9' })
	unit := int64(1)
	switch strings.ToUpper(strings.TrimSpace(text[len(number):])) {
	case "", "B":
	case "K", "KB", "KIB":
		unit = 1 << 10
	case "M", "MB", "MIB":
		unit = 1 << 20
	case "G", "GB", "GIB":
		unit = 1 << 30
	default:
		return 0, errors.New("not a number of bytes or a size such as 64MB")
	}
	v, err := parseInt(number)
	if err == nil && v > math.MaxInt64/unit {
		err = errors.New("too large")
	}
	if err != nil {
		return 0, err
	}
	return v * unit, nil
}

// parseDuration reads a duration, or a number of units.
func parseDuration(text string, unit time.Duration) (time.Duration, error) {
	if n, err := strconv.ParseFloat(text, 64); err == nil && math.Abs(n) < math.MaxInt64/float64(unit) {
		return time.Duration(n * float64(unit)), nil
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		return 0, errors.New(`not a number or a duration such as "1m30s"`)
	}
	return d, nil
}

func parseBool(text string) (bool, error) {
	switch strings.ToLower(text) {
	case "true", "t", "1", "yes", "y", "on":
		return true, nil
	case "false", "f", "0", "no", "n", "off":
		return false, nil
	}
	return true, errors.New("it must be true or false, 1 or 0, yes or no, on or off")
}
