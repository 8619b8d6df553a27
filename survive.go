package memdbwriter

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
)

// What a user gives to a writer to be called (hooks, Config.Logger, what
// a destination's pool calls while it connects and writes) runs under recover: a
// panic of it ends neither a goroutine of the writer nor the process. It is
// counted, and Stats has the last one.

// panics counts those that were survived. Its mutex is a leaf.
type panics struct {
	mu   sync.Mutex
	n    int64
	last error
}

// survived notes what recover returned, which is not nil, with the stack, and
// returns it as an error.
func (p *panics) survived(who string, recovered any) error {
	err := fmt.Errorf("%s panicked: %v", who, recovered)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.n++
	p.last = fmt.Errorf("memdbwriter: %w\n%s", err, debug.Stack())
	return err
}

func (p *panics) stats() (n int64, last error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.n, p.last
}

// careful is a log handler that survives the panics of another one.
type careful struct {
	slog.Handler
	panics *panics
}

// carefulLogger returns a logger that logs what log does, and survives.
func carefulLogger(log *slog.Logger, p *panics) *slog.Logger {
	return slog.New(careful{log.Handler(), p})
}

func (h careful) survive() {
	if p := recover(); p != nil {
		_ = h.panics.survived("the handler of Config.Logger", p) // Stats has it; there is no log to write it to
	}
}

func (h careful) Enabled(ctx context.Context, level slog.Level) (enabled bool) {
	defer h.survive()
	return h.Handler.Enabled(ctx, level)
}

func (h careful) Handle(ctx context.Context, r slog.Record) error {
	defer h.survive()
	return h.Handler.Handle(ctx, r)
}

func (h careful) WithAttrs(attrs []slog.Attr) (with slog.Handler) {
	with = h
	defer h.survive()
	return careful{h.Handler.WithAttrs(attrs), h.panics}
}

func (h careful) WithGroup(name string) (with slog.Handler) {
	with = h
	defer h.survive()
	return careful{h.Handler.WithGroup(name), h.panics}
}
