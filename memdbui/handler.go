package memdbui

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/memdbwriter/memdbwriter"
)

// ServeHTTP serves the page and what belongs to it, by the last element of the
// path: it may be mounted at any prefix that ends with a slash, with or without
// http.StripPrefix.
func (p *Page) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	if len(p.opts.Hosts) > 0 && !slices.Contains(p.opts.Hosts, r.Host) {
		http.Error(w, "memdbui: this page is not for the host of the request", http.StatusMisdirectedRequest)
		return
	}
	name := path.Base(r.URL.Path)
	if strings.HasSuffix(r.URL.Path, "/") {
		name = "/"
	}
	reads := map[string]func(http.ResponseWriter, *http.Request){
		"/": page, "status.json": p.status, "failed.json": p.failed, "live": live, "ready": p.ready,
	}
	acts := map[string]http.HandlerFunc{"retry": p.retry, "discard": p.discard}
	if read, ok := reads[name]; ok {
		if allow(w, r, http.MethodGet, http.MethodHead) {
			read(w, r)
		}
		return
	}
	act, ok := acts[name]
	switch {
	case ok && allow(w, r, http.MethodPost):
		p.act(act).ServeHTTP(w, r)
	case !ok:
		http.NotFound(w, r)
	}
}

func allow(w http.ResponseWriter, r *http.Request, methods ...string) bool {
	if slices.Contains(methods, r.Method) {
		return true
	}
	w.Header().Set("Allow", strings.Join(methods, ", "))
	http.Error(w, "memdbui: "+r.Method+" is not for this", http.StatusMethodNotAllowed)
	return false
}

// act guards what changes something.
func (p *Page) act(do http.HandlerFunc) http.Handler {
	if !p.opts.Actions {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "memdbui: actions are not enabled (Options.Actions)", http.StatusForbidden)
		})
	}
	return p.origins.Handler(do)
}

func page(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", policy)
	w.Header().Set("Cross-Origin-Opener-Policy", "same-origin")
	_, _ = w.Write([]byte(html)) // a reader who went away
}

func (p *Page) status(w http.ResponseWriter, r *http.Request) {
	one, runs := p.now()
	if one == nil {
		http.Error(w, noWriter, http.StatusServiceUnavailable)
		return
	}
	s := one.stats()
	since, _ := strconv.ParseFloat(r.FormValue("since"), 64) // else all
	answer(w, status{
		Title: p.opts.Title, Now: time.Now(), Actions: p.opts.Actions, Status: figuresOf(s),
		Settings: append(limits(s.Limits), one.settings...), Runs: runs, Samples: one.samples.since(since),
	})
}

func (p *Page) failed(w http.ResponseWriter, r *http.Request) {
	one, _ := p.now()
	if one == nil {
		http.Error(w, noWriter, http.StatusServiceUnavailable)
		return
	}
	answer(w, one.list(r.FormValue("values") == "1"))
}

const noWriter = "memdbui: no writer is watched yet"

func answer(w http.ResponseWriter, v any) {
	text, err := json.Marshal(v)
	if err != nil {
		http.Error(w, "memdbui: "+err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(append(text, '\n'))
}

func live(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "live") }

// ready tells whether Add takes rows at once. A destination that is away is no
// reason why not: that is what the buffer is for.
func (p *Page) ready(w http.ResponseWriter, _ *http.Request) {
	one, _ := p.now()
	if one == nil {
		http.Error(w, noWriter, http.StatusServiceUnavailable)
		return
	}
	s := one.stats()
	if s.State == memdbwriter.StateFull || s.State == memdbwriter.StateStopped || s.Usage >= 1 {
		http.Error(w, "not ready: "+string(s.State), http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintf(w, "ready: %s\n", s.State)
}

func (p *Page) retry(w http.ResponseWriter, r *http.Request) {
	p.onFailed(w, r, "%d of %d rows are stored now", func(one *watched) (int64, error) { return one.retry(r.Context()) })
}

func (p *Page) discard(w http.ResponseWriter, r *http.Request) {
	p.onFailed(w, r, "%d of %d rows are discarded", func(one *watched) (int64, error) { return one.discard(r.Context()) })
}

// onFailed does something with the failed rows if there are as many as the
// request says, so that nobody gives up rows that he has not seen counted.
func (p *Page) onFailed(w http.ResponseWriter, r *http.Request, done string, do func(*watched) (int64, error)) {
	one, _ := p.now()
	if one == nil {
		http.Error(w, noWriter, http.StatusServiceUnavailable)
		return
	}
	count, err := strconv.ParseInt(r.FormValue("count"), 10, 64)
	if err != nil {
		http.Error(w, "memdbui: say how many rows are meant: ?count=N", http.StatusBadRequest)
		return
	}
	if now := one.stats().Failed; now != count {
		http.Error(w, fmt.Sprintf("there are %d failed rows now and not %d: look again", now, count), http.StatusConflict)
		return
	}
	n, err := do(one)
	text := fmt.Sprintf(done, n, count)
	switch {
	case err == nil || errors.Is(err, memdbwriter.ErrRowsFailed): // whose text has values
		fmt.Fprintln(w, text)
	case errors.Is(err, context.Canceled): // nobody reads it
	default:
		http.Error(w, text+": "+err.Error(), http.StatusServiceUnavailable)
	}
}
