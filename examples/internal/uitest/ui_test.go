// Package uitest looks at package memdbui with a browser.
package uitest

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"github.com/memdbwriter/memdbwriter"
	"github.com/memdbwriter/memdbwriter/memdbtest"
	"github.com/memdbwriter/memdbwriter/memdbui"
)

var shots = flag.String("shots", "", "directory for screenshots of the page in all states; takes half a minute")

// evil is a file's name that would be markup if the page took it for that.
const evil = `/data/<script>document.title="owned"</script><img src=x onerror="document.title='owned'">`

// browser starts a headless Chromium, and returns the context of a tab.
func browser(t *testing.T) context.Context {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		if path, err = exec.LookPath("google-chrome"); err != nil {
			t.Fatal("the tests of the page need a browser: install Debian's package chromium, or google-chrome")
		}
	}
	opts := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.WSURLReadTimeout(time.Minute))
	if os.Geteuid() == 0 {
		opts = append(opts, chromedp.NoSandbox)
	}
	alloc, cancel := chromedp.NewExecAllocator(context.Background(), opts...)
	t.Cleanup(cancel)
	ctx, cancel := chromedp.NewContext(alloc)
	t.Cleanup(cancel)
	ctx, cancel = context.WithTimeout(ctx, 3*time.Minute)
	t.Cleanup(cancel)
	messages := chromedp.Console(ctx)
	var listening sync.WaitGroup
	listening.Go(func() {
		for m, err := range messages {
			if err != nil {
				return // the browser has ended
			}
			if strings.Contains(fmt.Sprint(m), "status of 403") { // what another site gets
				continue
			}
			t.Errorf("the browser complains about the page: %+v", m)
		}
	})
	t.Cleanup(func() { cancel(); listening.Wait() })
	return ctx
}

// shown is a page that a server serves.
type shown struct {
	db    *memdbtest.DB
	table memdbwriter.Table[memdbwriter.FileInfo]
	w     *memdbwriter.MemoryDBWriter[memdbwriter.FileInfo]
	url   string

	refused chan int // status codes of POSTs that are errors
}

// noted is a response whose errors are noted.
type noted struct {
	http.ResponseWriter
	to chan<- int
}

func (n noted) WriteHeader(code int) {
	if code >= 400 {
		n.to <- code
	}
	n.ResponseWriter.WriteHeader(code)
}

func show(t *testing.T, cfg memdbwriter.Config) *shown {
	t.Helper()
	page := memdbui.New(memdbui.Options{Title: "catalogue", Actions: true})
	s := &shown{db: memdbtest.New(), table: memdbwriter.BackupFiles(7), refused: make(chan int, 16)}
	cfg.Hooks, cfg.FailedRetryDelay = []memdbwriter.Hook{page}, -1
	var err error
	if s.w, err = memdbwriter.New(context.Background(), s.table, s.db.Destination(), cfg); err != nil {
		t.Fatal(err)
	}
	memdbui.Watch(page, s.w, cfg)
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/memdb/", func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			w = noted{w, s.refused}
		}
		page.ServeHTTP(w, r)
	})
	server := httptest.NewServer(mux)
	s.url = server.URL + "/debug/memdb/"
	t.Cleanup(func() {
		server.Close()
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_ = s.w.Stop(ctx) // rows may be left
		page.Close()
	})
	return s
}

func (s *shown) add(t *testing.T, paths ...string) {
	t.Helper()
	for _, path := range paths {
		if err := s.w.Add(t.Context(), memdbwriter.FileInfo{Path: path, Size: int64(len(path))}); err != nil {
			t.Fatal(err)
		}
	}
}

func (s *shown) sync(t *testing.T) {
	t.Helper()
	if err := s.w.ForceSync(t.Context()); err != nil && !errors.Is(err, memdbwriter.ErrRowsFailed) {
		t.Fatal(err)
	}
}

// until waits until an expression is true.
func until(expression string) chromedp.Action[chromedp.Void] {
	return func(ctx context.Context, t *chromedp.Target) (chromedp.Void, error) {
		_, err := chromedp.Poll[bool](expression, chromedp.WithPollingTimeout(30*time.Second))(ctx, t)
		if err != nil {
			err = fmt.Errorf("%s: %w", expression, err)
		}
		return chromedp.Void{}, err
	}
}

// text waits until an element has a text.
func text(id, want string) chromedp.Action[chromedp.Void] {
	return until(fmt.Sprintf(`document.getElementById(%q).textContent.includes(%q)`, id, want))
}

// get runs an action and returns its value.
func get[T any](t *testing.T, ctx context.Context, a chromedp.Action[T]) T {
	t.Helper()
	v, err := chromedp.Run(ctx, a)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func run(t *testing.T, ctx context.Context, what string, actions ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	if err := chromedp.Do(ctx, actions...); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// A person sees what happens, looks at rejected rows whose values stay text, has
// them tried again, and discards them after a question.
func TestPageInABrowser(t *testing.T) {
	s := show(t, memdbwriter.Config{})
	ctx := browser(t) // ends before the server does
	run(t, ctx, "idle", chromedp.Navigate(s.url), text("state", "ok"), text("synced", "0"))

	s.add(t, "/data/a", "/data/b")
	s.sync(t)
	run(t, ctx, "a live update", text("synced", "2"), text("runs", "force_sync"))

	drop := memdbtest.Reject(s.db, s.table, "23514", func(f memdbwriter.FileInfo) bool { return strings.Contains(f.Path, "script") })
	s.add(t, evil, evil+"2")
	s.sync(t)
	run(t, ctx, "failed rows", text("failedcount", "2"), text("failedrows", "23514"))
	if rows := get(t, ctx, chromedp.Evaluate[string](`document.getElementById("failedrows").textContent`)); strings.Contains(rows, "data") {
		t.Errorf("values are shown before anybody asked: %s", rows)
	}
	run(t, ctx, "values", chromedp.Click("#values"), text("failedrows", "<script>document.title"))
	markup := get(t, ctx, chromedp.Evaluate[bool](`document.querySelectorAll("#failedrows script, #failedrows img").length > 0`))
	if title := get(t, ctx, chromedp.Title()); markup || strings.Contains(title, "owned") {
		t.Errorf("a file's name became markup; the title is %q", title)
	}

	// Retry: once in vain, once not.
	run(t, ctx, "a retry in vain", chromedp.Click("#retry"), text("failednote", "0 of 2"))
	drop()
	run(t, ctx, "a retry", chromedp.Click("#retry"), text("failedcount", "0"), text("synced", "4"))

	// Discard, with the keyboard: Escape and the button with the focus keep the rows.
	memdbtest.Reject(s.db, s.table, "23505", func(f memdbwriter.FileInfo) bool { return strings.Contains(f.Path, "bad") })
	s.add(t, "/bad")
	s.sync(t)
	run(t, ctx, "keep", text("failedcount", "1"), until(`!document.getElementById("discard").disabled`),
		chromedp.Focus("#discard"), chromedp.KeyEvent("\r"), chromedp.WaitVisible("#confirm"), chromedp.KeyEvent("\r"), chromedp.WaitNotVisible("#confirm"))
	if n := s.w.SyncStatus().Failed; n != 1 {
		t.Fatalf("%d failed rows after the question was answered with no", n)
	}
	run(t, ctx, "discard", chromedp.Click("#discard"), chromedp.WaitVisible("#confirm"), chromedp.Click("#really"), text("failedcount", "0"), text("failednote", "1 of 1"))
	if n := s.w.SyncStatus().Discarded; n != 1 {
		t.Errorf("%d rows are discarded", n)
	}

	// A page of another site cannot do any of that.
	s.add(t, "/bad/again")
	s.sync(t)
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprintf(w, `<form id="f" method="post" action="%sdiscard?count=1"><button>free prizes</button></form>`, s.url)
	}))
	t.Cleanup(other.Close)
	site := strings.Replace(other.URL, "127.0.0.1", "localhost", 1)
	run(t, ctx, "another site", chromedp.Navigate(site), chromedp.Click("#f button"))
	select {
	case code := <-s.refused:
		if code != http.StatusForbidden {
			t.Errorf("the answer to a page of another site is %d", code)
		}
	case <-ctx.Done():
		t.Fatal("the page of another site sent nothing")
	}
	if n := s.w.SyncStatus().Failed; n != 1 {
		t.Errorf("a page of another site was heard: %d failed rows", n)
	}

	// It fits a phone.
	run(t, ctx, "a phone", chromedp.EmulateViewport(360, 740), chromedp.Navigate(s.url), text("failedrows", "23505"))
	if get(t, ctx, chromedp.Evaluate[bool](`document.documentElement.scrollWidth > 360`)) {
		t.Error("the page is wider than a phone")
	}
}

// few makes a small file of a PNG: one with the 256 colours that most pixels have.
func few(t *testing.T, data []byte) []byte {
	t.Helper()
	full, err := png.Decode(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	pixels := map[color.RGBA]int{}
	b := full.Bounds()
	for y := b.Min.Y; y < b.Max.Y; y++ {
		for x := b.Min.X; x < b.Max.X; x++ {
			pixels[color.RGBAModel.Convert(full.At(x, y)).(color.RGBA)]++
		}
	}
	most := slices.SortedFunc(maps.Keys(pixels), func(p, q color.RGBA) int { return pixels[q] - pixels[p] })
	var palette color.Palette
	for _, c := range most[:min(256, len(most))] {
		palette = append(palette, c)
	}
	out := image.NewPaletted(b, palette)
	draw.Draw(out, b, full, b.Min, draw.Src)
	var small bytes.Buffer
	if err := (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&small, out); err != nil {
		t.Fatal(err)
	}
	return small.Bytes()
}

// TestScreenshots makes the pictures of the README.
func TestScreenshots(t *testing.T) {
	if *shots == "" {
		return // a tool, not a test
	}
	ctx := browser(t)
	shot := func(name string, s *shown, before ...chromedp.Action[chromedp.Void]) {
		t.Helper()
		run(t, ctx, name, append([]chromedp.Action[chromedp.Void]{chromedp.Navigate(s.url), until(`document.getElementById("state").textContent !== "loading"`)}, before...)...)
		run(t, ctx, name, chromedp.Sleep(1200*time.Millisecond))
		picture := few(t, get(t, ctx, chromedp.FullScreenshot(100)))
		if err := os.WriteFile(filepath.Join(*shots, name+".png"), picture, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	scheme := func(value string) chromedp.Action[chromedp.Void] {
		return chromedp.Func(func(ctx context.Context, _ *chromedp.Target) error {
			_, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
				Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: value}},
			})
			return err
		})
	}
	load := func(s *shown, seconds int) {
		for i := range seconds * 20 {
			for k := range 100 + 80*(i%7) {
				s.add(t, fmt.Sprintf("/srv/photos/2026/%03d/%05d.jpg", i, k))
			}
			time.Sleep(50 * time.Millisecond)
		}
	}
	wide, narrow := chromedp.EmulateViewport(1200, 800), chromedp.EmulateViewport(390, 844)
	run(t, ctx, "size", wide, scheme("light"))
	dir := t.TempDir()
	cfg := memdbwriter.Config{SyncInterval: 400 * time.Millisecond, CheckpointDir: dir, Durability: memdbwriter.DurabilityJournal, CheckpointInterval: 2 * time.Second}

	shot("idle", show(t, memdbwriter.Config{}))
	busy := show(t, cfg)
	busy.db.Always(memdbtest.Slow(40 * time.Millisecond))
	load(busy, 12)
	stop := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
				_ = busy.w.Add(context.Background(), memdbwriter.FileInfo{Path: fmt.Sprint("/live/", i)})
			}
		}
	}()
	shot("busy", busy)
	run(t, ctx, "dark", scheme("dark"))
	shot("dark", busy)
	run(t, ctx, "light", scheme("light"))
	close(stop)
	<-done
	busy.db.Always(memdbtest.Unreachable())
	load(busy, 3)
	shot("degraded", busy)

	failed := show(t, memdbwriter.Config{})
	memdbtest.Reject(failed.db, failed.table, "23514", func(f memdbwriter.FileInfo) bool { return strings.Contains(f.Path, "<") })
	failed.add(t, "/srv/photos/fine.jpg", "/srv/photos/<script>alert(1)</script>.jpg", "/srv/photos/<b>bold</b>.jpg")
	failed.sync(t)
	shot("failed", failed, text("failedcount", "2"), chromedp.Click("#values"))
	run(t, ctx, "narrow", narrow)
	shot("narrow", failed)
	run(t, ctx, "leave the page", chromedp.Navigate("about:blank"))
}
