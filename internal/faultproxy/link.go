package faultproxy

import (
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// link is a client's connection and the one to the server that belongs to it.
type link struct {
	proxy          *Proxy
	client, server *net.TCPConn // server is nil if a fault struck before it was dialled
	ended          chan struct{}
	ending         sync.Once

	deafUp, deafDown atomic.Bool // what is on its way to the server, to the client, is swallowed

	batch    atomic.Bool // a batch is under way: its query string was seen, its answer not
	complete atomic.Bool // and the client has sent all of it
}

// serve makes a link of a new connection and starts what moves its bytes.
func (p *Proxy) serve(client *net.TCPConn) {
	l := &link{proxy: p, client: client, ended: make(chan struct{})}
	fault, broken := p.due(Connect)
	if !broken {
		server, err := net.Dial("tcp", p.server)
		if err != nil { // the client sees what a client of a dead server sees
			reset(client)
			return
		}
		l.server = server.(*net.TCPConn)
	}
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		l.end(true)
		return
	}
	p.links[l] = struct{}{}
	p.mu.Unlock()
	if broken {
		p.breakEarly(l, fault)
		return
	}
	up := &pipe{link: l, from: l.client, to: l.server, up: true, queue: make(chan piece, 64), phases: &upward{}}
	down := &pipe{link: l, from: l.server, to: l.client, queue: make(chan piece, 64), phases: &downward{}}
	var movers sync.WaitGroup
	for _, dir := range []*pipe{up, down} {
		movers.Go(dir.read)
		movers.Go(dir.write)
	}
	p.all.Go(func() {
		movers.Wait()
		l.end(false)
	})
}

// breakEarly carries out a fault that leaves the server out. A link that
// hangs does so until Drop.
func (p *Proxy) breakEarly(l *link, f Fault) {
	p.struck(f)
	switch f.Do {
	case Reset:
		l.end(true)
	case Close:
		l.end(false)
	}
}

// end closes both connections, with a reset if abrupt.
func (l *link) end(abrupt bool) {
	l.ending.Do(func() {
		for _, c := range []*net.TCPConn{l.client, l.server} {
			if c == nil {
				continue
			}
			if abrupt {
				reset(c)
			} else {
				c.Close()
			}
		}
		close(l.ended)
		l.proxy.mu.Lock()
		delete(l.proxy.links, l)
		l.proxy.mu.Unlock()
	})
}

func reset(c *net.TCPConn) {
	c.SetLinger(0)
	c.Close()
}

// piece is bytes on their way. Those with a fault carry it out once the bytes
// are gone.
type piece struct {
	due   time.Time
	data  []byte
	fault Fault
	last  bool // the sender has closed its side
}

// pipe is one direction of a link.
type pipe struct {
	*link
	from, to *net.TCPConn
	up       bool
	queue    chan piece
	phases   phases
}

// phases takes a stream apart into pieces, and finds the faults among them.
type phases interface {
	next(p *pipe) ([]piece, error)
}

// read fills the queue until the sender closes its side.
func (p *pipe) read() {
	defer close(p.queue)
	for {
		pieces, err := p.phases.next(p)
		if err != nil {
			p.send(piece{last: true})
			return
		}
		for _, x := range pieces {
			if !p.send(x) {
				return
			}
		}
	}
}

func (p *pipe) send(x piece) bool {
	shape := p.proxy.network()
	latency := shape.ToClient
	if p.up {
		latency = shape.ToServer
	}
	x.due = time.Now().Add(latency)
	select {
	case p.queue <- x:
		return true
	case <-p.ended:
		return false
	}
}

// write empties the queue. After a fault that makes the link hang it goes on
// doing so, for nothing.
func (p *pipe) write() {
	for x := range p.queue {
		p.wait(time.Until(x.due))
		if p.swallows() {
			continue
		}
		if len(x.data) > 0 {
			if _, err := p.to.Write(x.data); err != nil {
				p.end(false)
				return
			}
			if rate := p.proxy.network().BytesPerSecond; rate > 0 {
				p.wait(time.Duration(len(x.data)) * time.Second / time.Duration(rate))
			}
		}
		if x.fault != (Fault{}) {
			p.strike(x.fault)
		}
		if x.last {
			p.to.CloseWrite()
		}
	}
}

// swallows reports whether nothing of this direction arrives any more.
func (p *pipe) swallows() bool {
	if p.up {
		return p.deafUp.Load()
	}
	return p.deafDown.Load()
}

// wait lets time pass, as long as the link lasts.
func (p *pipe) wait(d time.Duration) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-p.ended:
	}
}

// strike carries out a fault.
func (p *pipe) strike(f Fault) {
	switch f.Do {
	case Reset:
		p.end(true)
	case Close:
		p.end(false)
	case Hang:
		p.deafUp.Store(true)
		p.deafDown.Store(true)
	case HangUp:
		p.deafUp.Store(true)
	case HangDown:
		p.deafDown.Store(true)
	}
	resumed := p.proxy.resumed()
	p.proxy.struck(f)
	if f.Do == Stall {
		select {
		case <-resumed:
		case <-p.ended:
		}
	}
}
