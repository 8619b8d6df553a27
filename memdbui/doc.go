// Package memdbui is a web page that shows what a writer does, in the manner of
// net/http/pprof: one http.Handler that is mounted where the program likes.
//
//	page := memdbui.New(memdbui.Options{Title: "catalogue"})
//	cfg.Hooks = append(cfg.Hooks, page) // recent sync runs
//	w, err := memdbwriter.New(ctx, table, dest, cfg)
//	memdbui.Watch(page, w, cfg)
//	http.Handle("/debug/memdb/", page)
//
// The page needs no other host. It has the state and its cause, the counts,
// charts of the last five minutes, the recent sync runs, the failed rows, what is
// on disk, and the settings. Beside it, relative to where it is mounted:
//
//	status.json  what the page shows; ?since=T leaves out samples up to T
//	failed.json  failed rows; ?values=1 has keys, messages and rows, too
//	live         200 as long as the program answers
//	ready        200 if Add would take a row at once, else 503 with the reason;
//	             a degraded or blocked writer is ready
//	retry        POST: tries all failed rows again
//	discard      POST: gives up all failed rows
//
// The last two answer 403 unless Options.Actions allows them, and to requests
// from pages of other origins. Everybody who reaches the page can read it, rows
// included: mount it where the program's other diagnostics are.
package memdbui
