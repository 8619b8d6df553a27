package walk

import "sync"

// queue holds the work of a walk: the entries of listed directories, which come
// first so that few directories are in hand, and directories, newest first.
type queue struct {
	mu      sync.Mutex
	more    sync.Cond
	batches []*batch
	dirs    []*directory
	active  int // pieces of work in hand
	closed  bool
	workers int
}

// batch are entries of a directory that wait to be looked at.
type batch struct {
	dir     *directory
	entries []dirent
}

// piece is what a worker does next: entries of a directory, or, without any, the
// directory itself.
type piece struct {
	dir     *directory
	entries []dirent
}

// most is how many entries a worker takes at a time.
const most = 32

func newQueue(workers int) *queue {
	q := &queue{workers: workers}
	q.more.L = &q.mu
	return q
}

// next returns a piece of work, and false when there will be none. It is to be
// called with done set when the last piece is finished.
func (q *queue) next(done bool) (piece, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if done {
		q.active--
	}
	for {
		switch {
		case q.closed:
			return piece{}, false
		case len(q.batches) > 0:
			q.active++
			return q.some(), true
		case len(q.dirs) > 0:
			q.active++
			last := len(q.dirs) - 1
			d := q.dirs[last]
			q.dirs[last] = nil
			q.dirs = q.dirs[:last]
			return piece{dir: d}, true
		case q.active == 0:
			q.closed = true
			q.more.Broadcast()
			return piece{}, false
		}
		q.more.Wait()
	}
}

// some takes entries: few of the last ones, so that all workers end together.
func (q *queue) some() piece {
	b := q.batches[len(q.batches)-1]
	n := min(most, max(1, len(b.entries)/(2*q.workers)))
	p := piece{b.dir, b.entries[:n:n]}
	b.entries = b.entries[n:]
	if len(b.entries) == 0 {
		q.batches = q.batches[:len(q.batches)-1]
	}
	return p
}

// entries adds the entries of a directory.
func (q *queue) entries(d *directory, entries []dirent) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.batches = append(q.batches, &batch{d, entries})
	q.wake(len(entries))
}

// directories adds directories of which the last is to be the next.
func (q *queue) directories(dirs ...*directory) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.dirs = append(q.dirs, dirs...)
	q.wake(len(dirs))
}

// wake wakes others for n pieces; the caller takes one itself.
func (q *queue) wake(n int) {
	if n >= q.workers {
		q.more.Broadcast()
		return
	}
	for range n {
		q.more.Signal()
	}
}

// close ends the work.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.more.Broadcast()
}
