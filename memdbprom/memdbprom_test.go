package memdbprom_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/memdbwriter/memdbwriter"
	"github.com/memdbwriter/memdbwriter/memdbprom"
	"github.com/memdbwriter/memdbwriter/memdbtest"
)

// watched is a writer with metrics.
type watched struct {
	db       *memdbtest.DB
	w        *memdbwriter.MemoryDBWriter[memdbwriter.FileInfo]
	metrics  *memdbprom.Collector
	registry *prometheus.Registry
}

func watch(t *testing.T, cfg memdbwriter.Config) *watched {
	t.Helper()
	o := &watched{db: memdbtest.New(), metrics: memdbprom.New("w"), registry: prometheus.NewPedanticRegistry()}
	if err := o.registry.Register(o.metrics); err != nil {
		t.Fatal(err)
	}
	cfg.Hooks = append(cfg.Hooks, o.metrics)
	var err error
	if o.w, err = memdbwriter.New(context.Background(), memdbwriter.BackupFiles(7), o.db.Destination(), cfg); err != nil {
		t.Fatal(err)
	}
	memdbprom.Watch(o.metrics, o.w)
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_ = o.w.Stop(ctx) // rows may be left
	})
	return o
}

// values are the series that a scrape sees: "name{label="value"}" and the value;
// of a histogram its count.
func (o *watched) values(t *testing.T) map[string]float64 {
	t.Helper()
	families, err := o.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]float64{}
	for _, f := range families {
		for _, m := range f.Metric {
			name := f.GetName()
			for _, l := range m.Label {
				if l.GetName() != "writer" {
					name += fmt.Sprintf("{%s=%q}", l.GetName(), l.GetValue())
				}
			}
			values[name] = m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return values
}

// busy has rows stored, rejected and waiting, a retry, and an Add that waited.
func busy(t *testing.T) *watched {
	t.Helper()
	o := watch(t, memdbwriter.Config{MaxRows: 4})
	memdbtest.Reject(o.db, memdbwriter.BackupFiles(7), "23514", func(f memdbwriter.FileInfo) bool { return f.Size < 0 })
	o.db.Next(memdbtest.Unreachable(), memdbtest.Slow(time.Second))
	for i := range 7 {
		if err := o.w.Add(context.Background(), memdbwriter.FileInfo{Path: fmt.Sprint("/", i), Size: int64(i - 1)}); err != nil {
			t.Fatal(err)
		}
	}
	_ = o.w.ForceSync(context.Background()) // a row is rejected
	o.db.Always(memdbtest.Refused("42501", "permission denied"))
	for i := range 2 {
		if err := o.w.Add(context.Background(), memdbwriter.FileInfo{Path: fmt.Sprint("/later", i)}); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(50 * time.Second)
	return o
}

// The metrics say what the writer does.
func TestValues(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := busy(t)
		got := o.values(t)
		for name, want := range map[string]float64{
			"memdbwriter_rows_added_total": 9, "memdbwriter_rows_synced_total": 6, "memdbwriter_failed_rows": 1, "memdbwriter_rows_rejected_total": 1,
			"memdbwriter_pending_rows": 2, "memdbwriter_buffer_usage_ratio": 0.5, "memdbwriter_limit_rows": 4, "memdbwriter_add_waits_total": 1,
			`memdbwriter_state{state="blocked"}`: 1, `memdbwriter_state{state="ok"}`: 0, "memdbwriter_add_wait_seconds": 1,
			"memdbwriter_disk_failing": 0, `memdbwriter_batch_seconds{outcome="stored"}`: float64(o.w.Stats().Batches),
		} {
			if v, ok := got[name]; !ok || v != want {
				t.Errorf("%s is %v (there: %v), want %v", name, v, ok, want)
			}
		}
		for _, name := range []string{"memdbwriter_oldest_pending_seconds", `memdbwriter_batch_seconds{outcome="error"}`, "memdbwriter_retries_total", `memdbwriter_refusals_total{class="42"}`} {
			if got[name] < 1 {
				t.Errorf("%s is %v", name, got[name])
			}
		}
	})
}

// Names, units and help are by the conventions, before there is a writer, too.
func TestLint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		problems, err := testutil.GatherAndLint(busy(t).registry)
		if err != nil || len(problems) > 0 {
			t.Errorf("%+v, %v", problems, err)
		}
	})
	early := prometheus.NewPedanticRegistry()
	early.MustRegister(memdbprom.New("early"), memdbprom.New("other"))
	if _, err := early.Gather(); err != nil {
		t.Error(err)
	}
}

var metricName = regexp.MustCompile(`memdbwriter_[a-z_]+`)

// What the rules and the dashboard ask for exists, and every rule has a test.
func TestFilesUseNamesThatExist(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := busy(t)
		exists := map[string]bool{}
		for name := range o.values(t) {
			name, _, _ = strings.Cut(name, "{")
			exists[name], exists[name+"_bucket"] = true, true
		}
		for _, file := range []string{"alerts.yml", "alerts_test.yml", "dashboard.json"} {
			names := metricName.FindAllString(read(t, file), -1)
			if len(names) < 10 {
				t.Errorf("%s names %d metrics", file, len(names))
			}
			for _, name := range names {
				if !exists[name] {
					t.Errorf("%s asks for %s", file, name)
				}
			}
		}
	})
	var dashboard struct{ Panels []any }
	if err := json.Unmarshal([]byte(read(t, "dashboard.json")), &dashboard); err != nil || len(dashboard.Panels) == 0 {
		t.Errorf("dashboard.json: %v", err)
	}
	tests := read(t, "alerts_test.yml")
	for _, m := range regexp.MustCompile(`- alert: (\w+)`).FindAllStringSubmatch(read(t, "alerts.yml"), -1) {
		if !strings.Contains(tests, "alertname: "+m[1]+"}") || !strings.Contains(tests, "alertname: "+m[1]+"\n        exp_alerts:") {
			t.Errorf("alerts_test.yml has no two tests of %s: that it does not fire, and that it does", m[1])
		}
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// program returns a path to one of Prometheus' programs.
func program(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("this test needs %s: install Debian's package prometheus: %v", name, err)
	}
	return path
}

// No rule fires on a writer that is new or idle, and each does on its fault.
func TestRules(t *testing.T) {
	if out, err := exec.Command(program(t, "promtool"), "test", "rules", "alerts_test.yml").CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// A Prometheus server scrapes a new writer, takes the rules, and none of them is
// pending or fires.
func TestServerScrapes(t *testing.T) {
	o := watch(t, memdbwriter.Config{})
	target := httptest.NewServer(promhttp.HandlerFor(o.registry, promhttp.HandlerOpts{ErrorHandling: promhttp.HTTPErrorOnError}))
	t.Cleanup(target.Close)
	rules, err := filepath.Abs("alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	config := fmt.Sprintf("global: {scrape_interval: 200ms, evaluation_interval: 200ms}\nrule_files: [%q]\nscrape_configs:\n- job_name: w\n  static_configs: [{targets: [%q]}]\n",
		rules, strings.TrimPrefix(target.URL, "http://"))
	if err := os.WriteFile(filepath.Join(dir, "prometheus.yml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := free.Addr().String()
	if err := free.Close(); err != nil {
		t.Fatal(err)
	}
	server := exec.CommandContext(t.Context(), program(t, "prometheus"), "--config.file="+filepath.Join(dir, "prometheus.yml"),
		"--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+address, "--log.level=error")
	server.Stderr = os.Stderr
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = server.Process.Kill()
		_ = server.Wait() // killed
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	api := "http://" + address + "/api/v1/"
	await(ctx, t, api+`query?query=memdbwriter_state%7Bstate=%22ok%22,writer=%22w%22%7D`, `"1"`)
	await(ctx, t, api+"rules", `"evaluationTime"`)
	if alerts := await(ctx, t, api+"alerts", `"success"`); !strings.Contains(alerts, `"alerts":[]`) {
		t.Errorf("a new writer alarms: %s", alerts)
	}
	if groups := await(ctx, t, api+"rules", `"success"`); strings.Contains(groups, `"health":"err"`) || !strings.Contains(groups, "MemdbwriterBlocked") {
		t.Errorf("the rules: %s", groups)
	}
}

// await asks until the answer has a text.
func await(ctx context.Context, t *testing.T, url, want string) (text string) {
	t.Helper()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		if answer, err := http.DefaultClient.Do(r); err == nil {
			body, err := io.ReadAll(answer.Body)
			answer.Body.Close()
			if text = string(body); err == nil && strings.Contains(text, want) {
				return text
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("%s does not answer with %s, but %s", url, want, text)
		}
	}
}

// Two writers share a registry, and a label that could grow without bounds is not
// there.
func TestLabelsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := busy(t)
		families, err := o.registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			for _, m := range f.Metric {
				for _, l := range m.Label {
					if !slices.Contains([]string{"writer", "state", "reason", "way", "phase", "outcome", "class"}, l.GetName()) || len(l.GetValue()) > 20 {
						t.Errorf("%s has the label %v", f.GetName(), l)
					}
				}
			}
		}
		if err := o.registry.Register(memdbprom.New("another")); err != nil {
			t.Error(err)
		}
	})
}
