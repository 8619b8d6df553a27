package memdbwriter

import (
	"bytes"
	"encoding/json"
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
	if strings.Contains(out.String(), "secret") || !strings.Contains(out.String(), "config.batch=5") {
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
	if text, err := json.Marshal(struct{ Config Config }{Config{url: cfg.url}}); strings.Contains(string(text), "secret") {
		t.Errorf("as JSON: %s, %v", text, err)
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
