package ogtest

import (
	"net"
	"sync"
	"time"
)

// The limits of idleness, by their setting.
const (
	sessionTimeout = "session_timeout"
	idleInTx       = "idle_in_transaction_session_timeout"
)

// idle watches over the time between the answer to a request and the next
// request. When that gets too long, it makes the read of the session fail.
type idle struct {
	conn  net.Conn
	clock *Clock

	mu    sync.Mutex
	turn  int // of the period of idleness: a late alarm of an earlier one is nothing
	limit string
	stop  func() bool
}

// begin starts a period; without a limit it may be as long as it likes.
func (w *idle) begin(limit string, d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.turn++
	w.limit, w.stop = "", nil
	if d <= 0 {
		return
	}
	turn := w.turn
	w.stop = w.clock.afterFunc(d, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.turn == turn {
			w.limit = limit
			_ = w.conn.SetReadDeadline(time.Unix(1, 0)) // fails if the client is gone already
		}
	})
}

// end ends the period, and returns the limit that it broke, if any.
func (w *idle) end() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.turn++
	if w.stop != nil {
		w.stop()
		w.stop = nil
	}
	return w.limit
}

// idleLimit is the limit that is reached first in the present state of the
// session. session_timeout counts inside of a transaction as well
// (opengauss.md 6.1).
func (s *session) idleLimit() (string, time.Duration) {
	if d := s.settings.idleInTx; s.status != 'I' && d > 0 && (s.settings.session == 0 || d < s.settings.session) {
		return idleInTx, d
	}
	return sessionTimeout, s.settings.session
}

// throwOut ends a session that was idle for too long (opengauss.md 6.1): with
// the thread pool session_timeout says nothing.
func (s *session) throwOut(limit string) {
	if limit == sessionTimeout && s.opts.ThreadPool {
		return
	}
	warning := newFault("01000", "Session unused timeout.")
	if limit == idleInTx {
		warning.message = "Idle in transaction timeout."
	}
	warning.severity = "WARNING"
	s.client.Send(warning.notice())
	s.client.Send(fatal("57P01", "terminating connection due to administrator command").response())
	_ = s.client.Flush() // the session ends either way
}

// limited runs f under statement_timeout. That does nothing by the extended
// protocol while session_timeout is on (opengauss.md 11).
func (s *session) limited(f func() error) error {
	d := s.settings.statement
	if d <= 0 || s.extended && s.settings.session > 0 {
		return f()
	}
	cancelled := make(chan struct{})
	stop := s.opts.Clock.afterFunc(d, func() {
		defer close(cancelled)
		s.backend.cancel()
	})
	err := f()
	if stop() {
		return err
	}
	<-cancelled
	if f, ok := err.(*fault); ok && f.code == "57014" {
		f.message = "canceling statement due to statement timeout"
	}
	return err
}
