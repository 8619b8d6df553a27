package memdbui

import (
	"cmp"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"iter"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/memdbwriter/memdbwriter"
)

// Options is how a Page behaves. The zero value is a page to look at.
type Options struct {
	// Title is the page's heading. Default "memdbwriter".
	Title string

	// Actions allows that failed rows are tried again and discarded by POST.
	Actions bool

	// Hosts are the names (with the port, if it is not the scheme's) that
	// requests may be for. Others get 421, so that no name of somebody else's
	// that leads to this address is taken for this page's (DNS rebinding). Empty:
	// any.
	Hosts []string
}

// Page is a http.Handler that shows one writer. Its methods are safe for
// concurrent use.
type Page struct {
	opts    Options
	origins *http.CrossOriginProtection

	mu      sync.Mutex // a leaf
	watched *watched   // nil: nothing yet
	runs    []run      // the newest last
	end     context.CancelFunc
}

var _ memdbwriter.HookSyncEnd = (*Page)(nil)

// watched is a writer whatever its rows are.
type watched struct {
	stats    func() memdbwriter.Stats
	failed   func() iter.Seq2[failedRow, error]
	retry    func(context.Context) (int64, error)
	discard  func(context.Context) (int64, error)
	settings []setting
	samples  *samples
}

// New makes a page that shows nothing yet.
func New(opts Options) *Page {
	opts.Title = cmp.Or(opts.Title, "memdbwriter")
	opts.Hosts = slices.Clone(opts.Hosts)
	return &Page{opts: opts, origins: http.NewCrossOriginProtection()}
}

// Watch makes the page show a writer, in place of the one before, and what of
// cfg is worth showing. One goroutine looks at the writer's counts once a second
// for the charts; it ends when the writer is stopped, another one is watched, or
// Close is called.
func Watch[T any](p *Page, w memdbwriter.Writer[T], cfg memdbwriter.Config) {
	one := &watched{
		stats:    w.Stats,
		failed:   func() iter.Seq2[failedRow, error] { return failedRows(w) },
		retry:    w.RetrySyncErrors,
		discard:  w.DiscardSyncErrors,
		settings: settingsOf(cfg),
		samples:  &samples{},
	}
	ctx, end := context.WithCancel(context.Background())
	p.mu.Lock()
	before := p.end
	p.watched, p.end, p.runs = one, end, nil
	p.mu.Unlock()
	if before != nil {
		before()
	}
	go one.sample(ctx)
}

// Close ends the page's goroutine. The page shows the writer as before, without
// new samples for the charts.
func (p *Page) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.end != nil {
		p.end()
	}
}

// maxRuns is how many sync runs the page shows.
const maxRuns = 50

// OnSyncEnd implements memdbwriter.HookSyncEnd: put the page into Config.Hooks, so
// that it shows the recent sync runs.
func (p *Page) OnSyncEnd(_ context.Context, ev memdbwriter.SyncEvent) {
	r := run{
		Ended: time.Now(), Reason: string(ev.Reason), Synced: ev.Synced, Superseded: ev.Superseded, Skipped: ev.Skipped,
		Failed: ev.Failed, Batches: ev.Batches, Seconds: ev.Duration.Seconds(), Error: errorText(ev.Err), Merged: ev.Merged,
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.runs) == maxRuns {
		p.runs = slices.Delete(p.runs, 0, 1)
	}
	p.runs = append(p.runs, r)
}

func (p *Page) now() (*watched, []run) {
	p.mu.Lock()
	defer p.mu.Unlock()
	runs := append([]run{}, p.runs...)
	slices.Reverse(runs)
	return p.watched, runs
}

var (
	//go:embed page.html
	pageHTML string
	//go:embed page.css
	pageCSS string
	//go:embed page.js
	pageJS string

	// html is the whole page, and policy allows nothing but what is in it.
	html   = strings.NewReplacer("{{STYLE}}", pageCSS, "{{SCRIPT}}", pageJS).Replace(pageHTML)
	policy = "default-src 'none'; script-src '" + hash(pageJS) + "'; style-src '" + hash(pageCSS) + "'; img-src data:; connect-src 'self'; " +
		"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

func hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
}
