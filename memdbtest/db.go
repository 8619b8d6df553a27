package memdbtest

import (
	"errors"
	"log/slog"
	"sync"

	"github.com/memdbwriter/memdbwriter"
	"github.com/memdbwriter/memdbwriter/internal/bridge"
	"github.com/memdbwriter/memdbwriter/internal/dest"
)

// DB is a database in memory. A table of it is made by the first writer that
// writes to it, and outlives the writers, so that a test can start one again.
// All methods are safe for concurrent use.
type DB struct {
	destination *memdbwriter.Destination

	mu        sync.Mutex // a leaf
	tables    map[string]*table
	next      []Answer
	always    Answer
	committed int
}

// New makes an empty database that takes everything.
func New() *DB {
	db := &DB{tables: map[string]*table{}}
	db.destination = bridge.Destination(destination{db}).(*memdbwriter.Destination)
	return db
}

// Destination returns the database as what writers write to, the same each time.
// Closing it does nothing.
func (db *DB) Destination() *memdbwriter.Destination { return db.destination }

// Next gives the answers to the next transactions, one each, in order; they
// come behind those that were given before. Transactions for which none is
// left get that of Always.
func (db *DB) Next(answers ...Answer) {
	db.mu.Lock()
	defer db.mu.Unlock()
	db.next = append(db.next, answers...)
}

// Always gives the answer to everything from now on that has no answer of Next:
// transactions, and the look that a new writer has at its table. Always(OK) ends
// it.
func (db *DB) Always(a Answer) {
	db.mu.Lock()
	defer db.mu.Unlock()
	db.always = a
}

// Transactions returns how many transactions were committed, those whose answer
// was lost included.
func (db *DB) Transactions() int {
	db.mu.Lock()
	defer db.mu.Unlock()
	return db.committed
}

// answer takes the answer to a transaction.
func (db *DB) answer() Answer {
	db.mu.Lock()
	defer db.mu.Unlock()
	if len(db.next) == 0 {
		return db.always
	}
	a := db.next[0]
	db.next = db.next[1:]
	return a
}

// look is the answer to a look at a table.
func (db *DB) look() Answer {
	db.mu.Lock()
	defer db.mu.Unlock()
	return db.always
}

func (db *DB) commit() {
	db.mu.Lock()
	defer db.mu.Unlock()
	db.committed++
}

// table returns the table of a name, which is empty until a writer is made.
func (db *DB) table(name string) *table {
	db.mu.Lock()
	defer db.mu.Unlock()
	t := db.tables[name]
	if t == nil {
		t = &table{tokens: map[string]bool{}}
		db.tables[name] = t
	}
	return t
}

// destination is a DB for package memdbwriter.
type destination struct{ db *DB }

func (d destination) String() string { return "memdbtest" }
func (d destination) Close() error   { return nil }

// Bind implements dest.Destination.
func (d destination) Bind(t *dest.Table, _ *slog.Logger) (dest.Sink, error) {
	if t.Constraint != "" || t.Where != "" {
		return nil, errors.New("memdbtest has neither ConflictConstraint nor ConflictWhere: use a PostgreSQL server")
	}
	return &sink{db: d.db, shape: t, table: d.db.table(t.String())}, nil
}
