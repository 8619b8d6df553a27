package memdbwriter

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"
)

// clearEnv takes the settings of the machine that runs the tests out of them.
func clearEnv(t *testing.T) {
	t.Helper()
	for _, e := range os.Environ() {
		name, _, _ := strings.Cut(e, "=")
		if strings.HasPrefix(name, "MEMORY_DB_") || name == "USE_MEMORY_DB" || name == "DATABASE_URL" {
			t.Setenv(name, "")
		}
	}
}

func TestLoadConfigReadsTheEnvironmentFirst(t *testing.T) {
	clearEnv(t)
	t.Setenv("MEMORY_DB_SYNC_BATCH_SIZE", "123")
	t.Setenv("MEMORY_DB_SYNC_INTERVAL", "1m30s")
	t.Setenv("DATABASE_URL", "sqlite:a.db")
	cfg, err := LoadConfig(
		map[string]string{"MEMORY_DB_SYNC_BATCH_SIZE": "7", "MEMORY_DB_MAX_FILES": "8"},
		map[string]string{"MEMORY_DB_MAX_FILES": "9", "MEMORY_DB_MAX_BYTES": "10", "USE_MEMORY_DB": "False"},
	)
	if err != nil {
		t.Fatal(err)
	}
	want := Config{SyncBatchSize: 123, SyncInterval: 90 * time.Second, MaxRows: 8, MaxBytes: 10, DisableMemoryDB: true}
	if !sameSettings(cfg, want) || cfg.DatabaseURL() != "sqlite:a.db" {
		t.Errorf("got %+v, want %+v", cfg, want)
	}
}

func sameSettings(a, b Config) bool {
	return a.DisableMemoryDB == b.DisableMemoryDB && a.SyncBatchSize == b.SyncBatchSize && a.SyncInterval == b.SyncInterval &&
		a.MaxRows == b.MaxRows && a.MaxBytes == b.MaxBytes && a.SyncTimeout == b.SyncTimeout && a.RetryMaxDelay == b.RetryMaxDelay
}

func TestLoadConfigWithoutSettingsGivesDefaults(t *testing.T) {
	clearEnv(t)
	cfg, err := LoadConfig()
	if err != nil || !sameSettings(cfg, Config{}) {
		t.Fatalf("%+v, %v", cfg, err)
	}
	cfg, err = cfg.withDefaults()
	if err != nil || cfg.SyncBatchSize != 5000 || cfg.SyncInterval != 30*time.Second || cfg.MaxRows != 100_000 || cfg.Logger == nil {
		t.Errorf("defaults: %+v, %v", cfg, err)
	}
}

func TestLoadConfigNamesEveryBadVariable(t *testing.T) {
	clearEnv(t)
	_, err := LoadConfig(map[string]string{
		"USE_MEMORY_DB": "perhaps", "MEMORY_DB_SYNC_BATCH_SIZE": "0", "MEMORY_DB_SYNC_INTERVAL": "-5",
		"MEMORY_DB_MAX_FILES": "many", "MEMORY_DB_SYNC_TIMEOUT": "99h", "MEMORY_DB_MAX_BYTES": "99999999999999999999",
	})
	if !errors.Is(err, ErrConfig) {
		t.Fatalf("got %v", err)
	}
	for _, part := range []string{
		`USE_MEMORY_DB="perhaps"`, "yes or no", `MEMORY_DB_SYNC_BATCH_SIZE="0"`, "from 1 to 1000000",
		`MEMORY_DB_SYNC_INTERVAL="-5"`, "from 1ms to 24h0m0s", `MEMORY_DB_MAX_FILES="many"`, "not a whole number",
		`MEMORY_DB_SYNC_TIMEOUT="99h"`, `MEMORY_DB_MAX_BYTES="99999999999999999999"`,
	} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("the error does not say %q:\n%v", part, err)
		}
	}
}

func TestBooleansOfTheOldWorld(t *testing.T) {
	clearEnv(t)
	for text, disabled := range map[string]bool{"True": false, "False": true, "1": false, "0": true, "YES": false, "no": true, "on": false, "Off": true, " true ": false} {
		cfg, err := LoadConfig(map[string]string{"USE_MEMORY_DB": text})
		if err != nil || cfg.DisableMemoryDB != disabled {
			t.Errorf("USE_MEMORY_DB=%q: disabled %v, %v", text, cfg.DisableMemoryDB, err)
		}
	}
}

func TestSecondsOrDurations(t *testing.T) {
	for text, want := range map[string]time.Duration{"30": 30 * time.Second, "0.5": time.Second / 2, "250ms": time.Second / 4, "2h": 2 * time.Hour} {
		if d, err := parseDuration(text, time.Second); err != nil || d != want {
			t.Errorf("%q: %v, %v", text, d, err)
		}
	}
	for _, text := range []string{"", "x", "NaN", "Inf", "1e300", "5 minutes"} {
		if d, err := parseDuration(text, time.Second); err == nil {
			t.Errorf("%q was taken as %v", text, d)
		}
	}
}

func TestABadLiteralNamesEveryField(t *testing.T) {
	_, err := Config{SyncInterval: -time.Second, SyncBatchSize: -1, MaxBytes: -5}.withDefaults()
	if !errors.Is(err, ErrConfig) {
		t.Fatalf("got %v", err)
	}
	for _, part := range []string{"SyncInterval (MEMORY_DB_SYNC_INTERVAL) is -1s", "SyncBatchSize", "MaxBytes", "at least 0"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("the error does not say %q:\n%v", part, err)
		}
	}
}

func TestProfiles(t *testing.T) {
	for name, cfg := range map[string]Config{"high": HighPerformance(), "standard": Standard(), "low": LowMemory()} {
		if _, err := cfg.withDefaults(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	standard, err := Config{}.withDefaults()
	if err != nil || standard.SyncBatchSize != Standard().SyncBatchSize || standard.SyncInterval != Standard().SyncInterval || standard.MaxRows != Standard().MaxRows {
		t.Error("Standard is not what the defaults are")
	}
}

func TestALoggedConfigHasNoPassword(t *testing.T) {
	var out bytes.Buffer
	url := "postgres://u:secret@h/d"
	slog.New(slog.NewTextHandler(&out, nil)).Info("settings", "config", Config{url: &url, SyncBatchSize: 5})
	if strings.Contains(out.String(), "secret") || !strings.Contains(out.String(), "config.SyncBatchSize=5") {
		t.Errorf("logged as %s", out.String())
	}
}

func TestAPrintedConfigHasNoPassword(t *testing.T) {
	clearEnv(t)
	cfg, err := LoadConfig(map[string]string{"DATABASE_URL": "postgres://u:secret@h/d", "MEMORY_DB_SYNC_BATCH_SIZE": "5"})
	if err != nil || cfg.DatabaseURL() != "postgres://u:secret@h/d" {
		t.Fatal(err)
	}
	type deep struct{ cfg Config }
	holder := struct {
		Config  Config
		Pointer *Config
		In      []Config
		hidden  Config // whose methods package fmt does not call
		pointer *Config
		in      map[string]Config
		deep    deep
	}{cfg, &cfg, []Config{cfg}, cfg, &cfg, map[string]Config{"a": cfg}, deep{cfg}}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x"} {
		for _, v := range []any{cfg, &cfg, holder, &holder} {
			if got := fmt.Sprintf(verb, v); strings.Contains(got, "secret") || strings.Contains(got, fmt.Sprintf("%x", "secret")) {
				t.Errorf("%s: %s", verb, got)
			}
		}
	}
	if got := fmt.Sprintf("%+v", cfg); !strings.Contains(got, "SyncBatchSize:5") {
		t.Errorf("printed as %s", got)
	}
}

// A retry must never come at once, nor later than the cap.
func TestRetryDelay(t *testing.T) {
	for n := 1; n < 100; n++ {
		for range 100 {
			d := retryDelay(n, 5*time.Second)
			if d < retryMinDelay/10 || d > 5*time.Second || n == 1 && d > retryMinDelay {
				t.Fatalf("attempt %d: pause of %v", n, d)
			}
		}
	}
}

// A setting that is spelled wrong would silently be a default.
func TestUnknownVariablesAreErrors(t *testing.T) {
	clearEnv(t)
	t.Setenv("MEMORY_DB_SYNC_INTERVALL", "5")
	_, err := LoadConfig(map[string]string{
		"MEMORY_DB_BATCH_SIZE": "7", "MEMORY_DB_ELEPHANT": "1", "MEMORY_DB_EMPTY": "", "OTHER_DB_X": "1",
		"MEMORY_DB_SERVICE_HOST": "10.0.0.1", "MEMORY_DB_PORT": "tcp://10.0.0.1:5432", "MEMORY_DB_PORT_5432_TCP_ADDR": "10.0.0.1", "MEMORY_DB_MAIN_SERVICE_PORT": "5432",
	})
	if !errors.Is(err, ErrConfig) {
		t.Fatalf("got %v", err)
	}
	for _, part := range []string{
		"MEMORY_DB_SYNC_INTERVALL is no setting: is MEMORY_DB_SYNC_INTERVAL meant?", "MEMORY_DB_BATCH_SIZE is no setting: is MEMORY_DB_SYNC_BATCH_SIZE meant?",
		"MEMORY_DB_ELEPHANT is no setting",
	} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("the error does not say %q:\n%v", part, err)
		}
	}
	for _, part := range []string{"SERVICE", "PORT", "EMPTY", "OTHER", "ELEPHANT is no setting:"} {
		if strings.Contains(err.Error(), part) {
			t.Errorf("the error says %q:\n%v", part, err)
		}
	}
}

func TestMaxRowsHasTwoNames(t *testing.T) {
	clearEnv(t)
	for _, c := range []struct {
		files, rows string
		want        int
	}{{"", "8", 8}, {"8", "", 8}, {"8", " 8 ", 8}, {"8", "9", 0}, {"", "0", 0}} {
		cfg, err := LoadConfig(map[string]string{"MEMORY_DB_MAX_FILES": c.files, "MEMORY_DB_MAX_ROWS": c.rows})
		if (err != nil) != (c.want == 0) || err == nil && cfg.MaxRows != c.want {
			t.Errorf("files %q, rows %q: %d, %v", c.files, c.rows, cfg.MaxRows, err)
		}
		if err != nil && (!errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), `MEMORY_DB_MAX_ROWS="`+c.rows+`"`)) {
			t.Errorf("files %q, rows %q: %v", c.files, c.rows, err)
		}
	}
}

func TestSizes(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "12": 12, "12B": 12, "2kB": 2 << 10, "3 KiB": 3 << 10, "64MB": 64 << 20, "64m": 64 << 20, "1GiB": 1 << 30, "8589934591G": 8589934591 << 30,
	} {
		if got, err := parseSize(text); err != nil || got != want {
			t.Errorf("%q: %d, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "MB", "64XB", "1.5MB", "8589934592G", "64MBB", "6 4MB"} {
		if got, err := parseSize(text); err == nil {
			t.Errorf("%q was taken as %d", text, got)
		}
	}
	clearEnv(t)
	if cfg, err := LoadConfig(map[string]string{"MEMORY_DB_MAX_BYTES": " 64MB "}); err != nil || cfg.MaxBytes != 64<<20 {
		t.Errorf("%d, %v", cfg.MaxBytes, err)
	}
}

// Several writers of a program have settings of their own, and common ones.
func TestLoadConfigPrefix(t *testing.T) {
	clearEnv(t)
	t.Setenv("MEMORY_DB_SYNC_WORKERS", "2")
	t.Setenv("MEMORY_DB_MAX_FILES", "100")
	t.Setenv("DATABASE_URL", "sqlite:common.db")
	t.Setenv("MEMORY_DB_DATABASE_URL", "sqlite:common2.db")
	t.Setenv("ORDERS_MEMORY_DB_SYNC_TIMEOUT", "7")
	sources := map[string]string{
		"ORDERS_MEMORY_DB_SYNC_WORKERS": "5", "ORDERS_MEMORY_DB_MAX_ROWS": "50", "ORDERS_DATABASE_URL": "sqlite:orders.db",
		"MEMORY_DB_SYNC_BATCH_SIZE": "9", "ORDERS_USE_MEMORY_DB": "no",
	}
	cfg, err := LoadConfigPrefix("ORDERS_", sources)
	want := Config{SyncWorkers: 5, MaxRows: 50, SyncBatchSize: 9, SyncTimeout: 7 * time.Second, DisableMemoryDB: true}
	if err != nil || !sameSettings(cfg, want) || cfg.DatabaseURL() != "sqlite:orders.db" || cfg.SyncWorkers != 5 {
		t.Errorf("%+v, %v", cfg, err)
	}
	cfg, err = LoadConfig(sources)
	if want := (Config{MaxRows: 100, SyncBatchSize: 9}); err != nil || !sameSettings(cfg, want) || cfg.DatabaseURL() != "sqlite:common2.db" || cfg.SyncWorkers != 2 {
		t.Errorf("without the prefix: %+v, %v", cfg, err)
	}
	_, err = LoadConfigPrefix("ORDERS_", map[string]string{"ORDERS_MEMORY_DB_SYNC_WORKER": "1", "ORDERS_MEMORY_DB_MAX_BYTES": "x", "MEMORY_DB_SYNC_INTERVAL": "never"})
	for _, part := range []string{"ORDERS_MEMORY_DB_SYNC_WORKER is no setting: is ORDERS_MEMORY_DB_SYNC_WORKERS meant?", `ORDERS_MEMORY_DB_MAX_BYTES="x"`, "\nMEMORY_DB_SYNC_INTERVAL=\"never\""} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("the error does not say %q:\n%v", part, err)
		}
	}
}

// A setting that was mistaken for another is shown as in the error that it gives.
func TestAPrintedConfigHidesAURLInAnySetting(t *testing.T) {
	for durability, part := range map[Durability]string{"postgres://u:secret@h/d": "not shown", "sometimes": `Durability:"sometimes"`, "fsync": "Durability:fsync"} {
		cfg := Config{Durability: durability}
		for _, text := range []string{cfg.String(), fmt.Sprintf("%#v", cfg), cfg.LogValue().String()} {
			if strings.Contains(text, "secret") {
				t.Errorf("the password is shown: %s", text)
			}
		}
		if text := cfg.String(); !strings.Contains(text, part) {
			t.Errorf("no %s in %s", part, text)
		}
	}
}

// What is logged and printed are the settings in force, all of them.
func TestAPrintedConfigIsComplete(t *testing.T) {
	url := "postgres://u:secret@h/d"
	cfg := Config{SyncInterval: time.Minute, url: &url, CheckpointDir: "postgres://u:secret@h/d", Hooks: []Hook{&struct{ Password string }{"secret"}}}
	var out bytes.Buffer
	slog.New(slog.NewTextHandler(&out, nil)).Info("settings", "config", cfg)
	for name, text := range map[string]string{"String": cfg.String(), "LogValue": strings.ReplaceAll(out.String(), "=", ":")} {
		for _, part := range []string{"SyncBatchSize:5000", "SyncInterval:1m0s", "MaxRows:100000", "DatabaseURL:hidden", "Hooks:1", "Durability:"} {
			if !strings.Contains(text, part) {
				t.Errorf("%s has no %s: %s", name, part, text)
			}
		}
		for _, s := range settings {
			if !strings.Contains(text, s.name+":") {
				t.Errorf("%s has no %s: %s", name, s.name, text)
			}
		}
		if strings.Contains(text, "secret") {
			t.Errorf("%s has the password: %s", name, text)
		}
	}
}
