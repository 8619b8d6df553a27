// Package faultproxy stands between a client and a PostgreSQL server and lets
// a test break the connection at a moment of its choice.
//
// It reads the framing of the protocol, just enough to know how far a batch has
// come (Phase), and leaves everything else as it is:
//
//	proxy := faultproxy.Start(t, db.URL)
//	dest := open(proxy.URL)
//	hit := proxy.Break(faultproxy.Fault{At: faultproxy.Answer, Do: faultproxy.Reset})
//	write(dest)
//	<-hit // the server has committed, and the client will never be told
//	proxy.Mend()
//
// Each direction of a connection has a reader, which finds the phases, and a
// writer, which delays, throttles and carries out faults, so that a fault takes
// effect exactly behind the bytes before it. Both sides must speak without
// encryption: the proxy answers a request for it with no.
package faultproxy

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"
)

// Phase is a moment in the life of a connection.
type Phase int

// The phases, in their order. A batch is a query string with a COPY FROM STDIN.
const (
	Connect  Phase = iota + 1 // the client has connected; the server knows nothing of it
	Startup                   // the client's first message is here and goes no further yet
	Query                     // so is a query string, of whatever kind
	Batch                     // so is the query string of a batch
	CopyData                  // Fault.After bytes of the batch's data have reached the server
	CopyDone                  // the server has all data and does not know that it is all
	Running                   // the server has the whole batch and works on it
	Answer                    // the server has stored the batch; its answer goes no further yet
)

func (p Phase) String() string {
	return [...]string{"none", "connect", "startup", "query", "batch", "copy data", "copy done", "running", "answer"}[p]
}

// Action is what a fault does to the connection.
type Action int

// The actions.
const (
	Reset    Action = iota + 1 // both sides get a reset (RST)
	Close                      // both sides see the end of the stream
	Hang                       // both sides stay connected, and nothing reaches either any more
	HangUp                     // nothing reaches the server any more
	HangDown                   // nothing reaches the client any more
	Stall                      // what follows in this direction is kept until Resume
)

func (a Action) String() string {
	return [...]string{"none", "reset", "close", "hang", "hang up", "hang down", "stall"}[a]
}

// Fault breaks every connection that reaches a phase.
type Fault struct {
	At    Phase
	After int // bytes, for CopyData
	Do    Action
}

// Shape is what a slow network does. The zero value is a fast one.
type Shape struct {
	ToServer, ToClient time.Duration // latency of each direction
	BytesPerSecond     int           // of each direction; 0: no limit
}

// Proxy is a running proxy. Its methods are safe for concurrent use.
type Proxy struct {
	URL string // the database's, with the proxy as its server

	server string // host:port
	addr   string // of the proxy
	all    sync.WaitGroup

	mu       sync.Mutex
	listener net.Listener // nil while connections are refused
	links    map[*link]struct{}
	fault    Fault
	hit      chan struct{} // closed at the first hit of fault
	resume   chan struct{} // closed by Resume
	shape    Shape
	closed   bool
}

// Start starts a proxy to the server of a postgres:// URL. It ends with the
// test.
func Start(tb testing.TB, databaseURL string) *Proxy {
	tb.Helper()
	u, err := url.Parse(databaseURL)
	if err != nil {
		tb.Fatalf("faultproxy: the database URL cannot be parsed")
	}
	p := &Proxy{server: u.Host, links: map[*link]struct{}{}, resume: make(chan struct{})}
	if p.listener, err = listenSomewhere(); err != nil {
		tb.Fatalf("faultproxy: %v", err)
	}
	p.addr = p.listener.Addr().String()
	p.accept(p.listener)
	tb.Cleanup(p.Close)
	u.Host = p.addr
	p.URL = u.String()
	return p
}

// listenSomewhere takes a port below those of outgoing connections: nobody
// gets it by chance while connections are refused, and a client cannot end up
// connected to itself.
func listenSomewhere() (net.Listener, error) {
	var errs []error
	for range 20 {
		port := 15000 + rand.IntN(17000)
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err == nil {
			return l, nil
		}
		errs = append(errs, err)
	}
	return nil, fmt.Errorf("no free port: %w", errors.Join(errs...))
}

// accept serves the connections of a listener until that is closed.
func (p *Proxy) accept(l net.Listener) {
	p.all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			p.serve(c.(*net.TCPConn))
		}
	})
}

// Break has every connection broken that reaches the fault's phase from now
// on, until Mend. It replaces an earlier fault. The channel is closed when the
// first one is broken.
func (p *Proxy) Break(f Fault) <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fault, p.hit = f, make(chan struct{})
	return p.hit
}

// Refuse refuses new connections until Mend. Those that stand go on.
func (p *Proxy) Refuse() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.listener != nil {
		p.listener.Close()
		p.listener = nil
	}
}

// Mend ends faults and refusal. A connection that hangs stays so: to bring
// it to its end see Drop.
func (p *Proxy) Mend() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fault = Fault{}
	if p.listener != nil || p.closed {
		return nil
	}
	l, err := net.Listen("tcp", p.addr)
	if err != nil {
		return fmt.Errorf("faultproxy: %w", err)
	}
	p.listener = l
	p.accept(l)
	return nil
}

// Resume lets the connections that Stall holds up go on.
func (p *Proxy) Resume() {
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.resume)
	p.resume = make(chan struct{})
}

// Drop resets all present connections, those that hang included.
func (p *Proxy) Drop() {
	for _, l := range p.present() {
		l.end(true)
	}
}

func (p *Proxy) present() []*link {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Collect(maps.Keys(p.links))
}

// Shape makes the network slow, from the next message on.
func (p *Proxy) Shape(s Shape) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.shape = s
}

// Close ends all connections and returns when no goroutine is left.
func (p *Proxy) Close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.Refuse()
	p.Drop()
	p.all.Wait()
}

// due returns the fault that strikes at a phase.
func (p *Proxy) due(at Phase) (Fault, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.fault, p.fault.At == at
}

// struck tells the test that a fault took effect. A fault that was replaced
// meanwhile tells nobody.
func (p *Proxy) struck(f Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.fault != f {
		return
	}
	select {
	case <-p.hit:
	default:
		close(p.hit)
	}
}

func (p *Proxy) resumed() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.resume
}

func (p *Proxy) network() Shape {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.shape
}
