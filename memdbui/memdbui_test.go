package memdbui_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/memdbwriter/memdbwriter"
	"github.com/memdbwriter/memdbwriter/memdbtest"
	"github.com/memdbwriter/memdbwriter/memdbui"
)

const evil = `/data/<script>alert(1)</script>`

// shown is a page and the writer that it shows.
type shown struct {
	*memdbui.Page
	db    *memdbtest.DB
	table memdbwriter.Table[memdbwriter.FileInfo]
	w     *memdbwriter.MemoryDBWriter[memdbwriter.FileInfo]
	drop  func()
}

// show makes a page in a bubble of synctest. Rows of less than no bytes are
// rejected.
func show(t *testing.T, opts memdbui.Options, cfg memdbwriter.Config) *shown {
	t.Helper()
	s := &shown{Page: memdbui.New(opts), db: memdbtest.New(), table: memdbwriter.BackupFiles(7)}
	cfg.Hooks = append(cfg.Hooks, s.Page)
	var err error
	if s.w, err = memdbwriter.New(t.Context(), s.table, s.db.Destination(), cfg); err != nil {
		t.Fatal(err)
	}
	s.drop = memdbtest.Reject(s.db, s.table, "23514", func(f memdbwriter.FileInfo) bool { return f.Size < 0 })
	memdbui.Watch(s.Page, s.w, cfg)
	t.Cleanup(func() {
		s.Close()
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		s.w.Stop(ctx)
	})
	return s
}

func (s *shown) add(t *testing.T, paths ...string) {
	t.Helper()
	for _, path := range paths {
		f := memdbwriter.FileInfo{Path: path}
		if strings.Contains(path, "script") {
			f.Size = -1
		}
		if err := s.w.Add(t.Context(), f); err != nil {
			t.Fatal(err)
		}
	}
	_ = s.w.ForceSync(t.Context()) // rejected rows are an error
}

// do makes a request. Headers are pairs.
func (s *shown) do(method, url string, headers ...string) *http.Response {
	r := httptest.NewRequest(method, url, nil)
	for pair := range slices.Chunk(headers, 2) {
		r.Header.Set(pair[0], pair[1])
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w.Result()
}

func body(t *testing.T, r *http.Response) string {
	t.Helper()
	var b strings.Builder
	if err := r.Write(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func decode(t *testing.T, r *http.Response) (v struct {
	Status struct {
		State                          string
		Pending, Synced, Failed, Total int64
		LastError                      string `json:"last_error"`
		Batches, Discarded, Superseded int64
		UptimeSeconds                  float64 `json:"uptime_seconds"`
		Runs                           map[string]int64
	}
	Settings []struct{ Name, Value string }
	Runs     []struct{ Reason, Error string }
	Samples  []struct {
		T                    float64
		Added, Done, Pending int64
	}
	Rows []map[string]any
},
) {
	t.Helper()
	if r.StatusCode != http.StatusOK || r.Header.Get("Content-Type") != "application/json" {
		t.Fatalf("answer %v: %s", r.Status, body(t, r))
	}
	if err := json.NewDecoder(r.Body).Decode(&v); err != nil {
		t.Fatal(err)
	}
	return v
}

// The JSON has the counts, the cause, the runs, and samples for the charts.
func TestStatus(t *testing.T) {
	cfg, err := memdbwriter.LoadConfig(map[string]string{"MEMORY_DB_DATABASE_URL": "postgres://u:geheim@h/d"})
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		s := show(t, memdbui.Options{}, cfg)
		s.add(t, "/data/a", "/data/b", evil)
		time.Sleep(3500 * time.Millisecond)
		synctest.Wait()
		r := s.do("GET", "/x/status.json")
		got := decode(t, r)
		if got.Status.State != "ok" || got.Status.Total != 3 || got.Status.Synced != 2 || got.Status.Failed != 1 || got.Status.Runs["force_sync"] != 1 {
			t.Errorf("status %+v", got.Status)
		}
		if len(got.Runs) != 1 || got.Runs[0].Reason != "force_sync" {
			t.Errorf("runs %+v", got.Runs)
		}
		if n := len(got.Samples); n != 4 || got.Samples[3].Added != 3 || got.Samples[3].Done != 2 {
			t.Errorf("samples %+v", got.Samples)
		} else if later := decode(t, s.do("GET", "/x/status.json?since="+json.Number(jsonText(t, got.Samples[1].T)).String())); len(later.Samples) != 2 {
			t.Errorf("%d samples behind the second of four", len(later.Samples))
		}
		if text := jsonText(t, got); strings.Contains(text, "geheim") || len(got.Settings) == 0 {
			t.Errorf("settings: %s", text)
		}
		s.db.Always(memdbtest.Unreachable())
		if err := s.w.Add(t.Context(), memdbwriter.FileInfo{Path: "/data/c"}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if got := decode(t, s.do("GET", "/x/status.json")); got.Status.State != "degraded" || !strings.Contains(got.Status.LastError, "cannot be reached") {
			t.Errorf("status %+v", got.Status)
		}
	})
}

func jsonText(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// What failed rows hold is told only to who asks for it, and file names stay what
// they are.
func TestFailedRowsHideTheirValues(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := show(t, memdbui.Options{}, memdbwriter.Config{})
		s.add(t, evil)
		hidden := decode(t, s.do("GET", "/x/failed.json"))
		if len(hidden.Rows) != 1 || hidden.Rows[0]["sqlstate"] != "23514" || strings.Contains(jsonText(t, hidden), "data") {
			t.Errorf("without values: %+v", hidden.Rows)
		}
		if shown := decode(t, s.do("GET", "/x/failed.json?values=1")); !strings.Contains(shown.Rows[0]["row"].(string), `<script>`) {
			t.Errorf("with values: %+v", shown.Rows)
		}
	})
}

// Degraded is ready, full and stopped are not, and all of them are live.
func TestReadiness(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := show(t, memdbui.Options{}, memdbwriter.Config{MaxRows: 2})
		want := func(code int, text string) {
			t.Helper()
			if r := s.do("GET", "/x/ready"); r.StatusCode != code || !strings.Contains(body(t, r), text) {
				t.Errorf("ready: %v, want %d %s", r.Status, code, text)
			}
			if r := s.do("GET", "/x/live"); r.StatusCode != http.StatusOK {
				t.Errorf("live: %v", r.Status)
			}
		}
		want(200, "ready: ok")
		s.db.Always(memdbtest.Unreachable())
		s.w.TryAdd(memdbwriter.FileInfo{Path: "/a"})
		time.Sleep(40 * time.Second)
		want(200, "ready: degraded")
		s.w.TryAdd(memdbwriter.FileInfo{Path: "/b"})
		time.Sleep(time.Second)
		want(503, "not ready")
		s.db.Always(memdbtest.OK)
		if err := s.w.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		want(503, "stopped")
	})
	empty := &shown{Page: memdbui.New(memdbui.Options{})}
	for _, url := range []string{"/ready", "/status.json", "/failed.json"} {
		if r := empty.do("GET", url); r.StatusCode != 503 {
			t.Errorf("%s without a writer: %v", url, r.Status)
		}
	}
}

// Nothing acts but a POST of this origin, where it is allowed, about the rows that
// its sender has seen counted.
func TestActions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := show(t, memdbui.Options{Actions: true}, memdbwriter.Config{FailedRetryDelay: -1})
		s.add(t, evil, evil+"2")
		same := []string{"Sec-Fetch-Site", "same-origin"}
		for name, test := range map[string]struct {
			method, url string
			headers     []string
			code        int
		}{
			"GET":             {"GET", "/x/discard?count=2", same, 405},
			"other site":      {"POST", "/x/discard?count=2", []string{"Sec-Fetch-Site", "cross-site"}, 403},
			"other origin":    {"POST", "/x/retry?count=2", []string{"Origin", "http://evil.example"}, 403},
			"other count":     {"POST", "/x/discard?count=1", same, 409},
			"no count":        {"POST", "/x/discard", same, 400},
			"POST for a read": {"POST", "/x/status.json", same, 405},
			"unknown":         {"POST", "/x/other", same, 404},
		} {
			if r := s.do(test.method, test.url, test.headers...); r.StatusCode != test.code {
				t.Errorf("%s: %v", name, r.Status)
			}
		}
		if n := s.w.SyncStatus().Failed; n != 2 {
			t.Fatalf("%d failed rows are left", n)
		}
		if r := s.do("POST", "/x/retry?count=2", same...); r.StatusCode != 200 || !strings.Contains(body(t, r), "0 of 2") {
			t.Errorf("retry: %v", r.Status)
		}
		s.drop()
		if r := s.do("POST", "/x/retry?count=2"); r.StatusCode != 200 || s.w.SyncStatus().Failed != 0 { // not a browser
			t.Errorf("retry: %v, %+v", r.Status, s.w.SyncStatus())
		}
		memdbtest.RequireStored(t, s.db, s.table, memdbwriter.FileInfo{Path: evil, Size: -1}, memdbwriter.FileInfo{Path: evil + "2", Size: -1})
		memdbtest.Reject(s.db, s.table, "23514", func(memdbwriter.FileInfo) bool { return true })
		s.add(t, "/new")
		if r := s.do("POST", "/x/discard?count=1", same...); r.StatusCode != 200 || s.w.SyncStatus().Discarded != 1 {
			t.Errorf("discard: %v, %+v", r.Status, s.w.SyncStatus())
		}
	})
	synctest.Test(t, func(t *testing.T) {
		s := show(t, memdbui.Options{}, memdbwriter.Config{})
		s.add(t, evil)
		for _, act := range []string{"retry", "discard"} {
			if r := s.do("POST", "/x/"+act+"?count=1"); r.StatusCode != 403 || s.w.SyncStatus().Failed != 1 {
				t.Errorf("%s that is not enabled: %v", act, r.Status)
			}
		}
	})
}

// The page is whole by itself, and may be mounted anywhere.
func TestPage(t *testing.T) {
	s := &shown{Page: memdbui.New(memdbui.Options{Hosts: []string{"localhost:8080"}})}
	for _, url := range []string{"http://localhost:8080/", "http://localhost:8080/debug/memdb/"} {
		r := s.do("GET", url)
		csp, text := r.Header.Get("Content-Security-Policy"), body(t, r)
		if r.StatusCode != 200 || !strings.Contains(csp, "default-src 'none'") || strings.Contains(csp, "unsafe") {
			t.Errorf("%s: %v, %s", url, r.Status, csp)
		}
		for _, outside := range []string{"http://w", "https://", "src=", `="/`, "{{"} {
			if strings.Contains(strings.ReplaceAll(text, "http://www.w3.org/2000/svg", ""), outside) {
				t.Errorf("the page has %q", outside)
			}
		}
	}
	if r := s.do("GET", "http://rebound.example/"); r.StatusCode != http.StatusMisdirectedRequest {
		t.Errorf("another host: %v", r.Status)
	}
	if r := s.do("GET", "http://localhost:8080/debug/other"); r.StatusCode != 404 {
		t.Errorf("another path: %v", r.Status)
	}
}

// The goroutine of a page ends with its writer, with Close, and when another
// writer is watched: the bubble sees to it.
func TestGoroutineEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := show(t, memdbui.Options{}, memdbwriter.Config{})
		memdbui.Watch(s.Page, s.w, memdbwriter.Config{}) // ends the one before
		time.Sleep(10 * time.Minute)
		if n := len(decode(t, s.do("GET", "/status.json")).Samples); n != 301 {
			t.Errorf("%d samples", n)
		}
		if err := s.w.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}

func Example() {
	page := memdbui.New(memdbui.Options{Title: "catalogue", Actions: true})
	ctx, cfg, db := context.Background(), memdbwriter.Config{}, memdbtest.New()
	cfg.Hooks = append(cfg.Hooks, page)
	w, err := memdbwriter.New(ctx, memdbwriter.BackupFiles(7), db.Destination(), cfg)
	if err != nil {
		return
	}
	defer w.Stop(ctx)
	memdbui.Watch(page, w, cfg)
	http.Handle("/debug/memdb/", page)
}
