package memdbwriter

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/memdbwriter/memdbwriter/internal/bridge"
	"github.com/memdbwriter/memdbwriter/internal/dest"
	"github.com/memdbwriter/memdbwriter/internal/pgdest"
	"github.com/memdbwriter/memdbwriter/internal/sqlitedest"
)

// Destination is a database that writers write to. It is made by
// OpenDestination, Postgres or SQLite, serves any number of writers and tables
// at once, and must be closed after the last of them has stopped.
type Destination struct{ d dest.Destination }

func init() { bridge.Destination = func(d dest.Destination) any { return &Destination{d} } }

// OpenDestination opens the database that the URL names:
//
//	postgres://user:password@host:5432/database?sslmode=verify-full
//	opengauss://user:password@host:5432/database?sslmode=verify-full
//	sqlite:catalog.db        a file in the current directory
//	sqlite:///var/lib/x.db   a file by its full path
//
// Nothing is contacted, opened or created yet: New looks, and a server may come
// up later than that. Parameters of the PostgreSQL URL are those of pgx and
// pgxpool (connect_timeout, pool_max_conns, ...), with more methods for
// require_auth (see package opengauss). A password with @ : / ? # % or spaces must
// have them percent-encoded. Errors never contain the password.
func OpenDestination(ctx context.Context, databaseURL string) (*Destination, error) {
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	if databaseURL == "" {
		return nil, fmt.Errorf("%w: no destination: set MEMORY_DB_DATABASE_URL (or DATABASE_URL) to postgres://user:password@host/database or sqlite:file.db", ErrConfig)
	}
	scheme, rest, _ := strings.Cut(databaseURL, ":")
	switch strings.ToLower(scheme) {
	case "postgres", "postgresql", "opengauss":
		db, err := pgdest.Open(databaseURL)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrConfig, err)
		}
		return &Destination{db}, nil
	case "sqlite", "sqlite3":
		path, err := sqlitePath(rest)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrConfig, err)
		}
		return SQLite(path)
	}
	return nil, fmt.Errorf("%w: the destination URL must start with postgres://, opengauss:// or sqlite:file", ErrConfig)
}

// sqlitePath returns the file that the part of a URL behind "sqlite:" names.
func sqlitePath(rest string) (string, error) {
	path, absolute := strings.CutPrefix(rest, "//")
	if absolute && !strings.HasPrefix(path, "/") { // what stands there may be a password
		return "", errors.New("a sqlite URL has no host; write sqlite:file.db for a file in the current directory or sqlite:///path/file.db")
	}
	if strings.Contains(path, "://") { // and in it there may be one, too
		return "", errors.New("a sqlite URL names a file, not another URL; use SQLite for a path with :// in it")
	}
	if strings.ContainsAny(path, "?#") {
		return "", errors.New("a sqlite URL has no parameters; use SQLite for a path with a ? or #")
	}
	path, err := url.PathUnescape(path)
	if err != nil {
		return "", errors.New("a sqlite URL with a % that two hexadecimal digits do not follow; write %25 for the character itself")
	}
	return path, nil
}

// Postgres is the database of a pool that the caller owns. Closing the
// destination leaves the pool open. A writer takes one connection at a time.
func Postgres(pool *pgxpool.Pool) *Destination { return &Destination{pgdest.FromPool(pool)} }

// SQLite is a database file, created with its tables when a writer is made and
// it is missing; its directory must exist. Other programs may read it at the
// same time. Batches are durable when they count as synced (WAL with
// synchronous=FULL). After Close one file is left. A writer that keeps something
// on disk, for a table without a key, adds the table memdbwriter_receipts, by
// which no row is stored twice.
func SQLite(path string) (*Destination, error) {
	db, err := sqlitedest.Open(path)
	if err != nil {
		return nil, err
	}
	return &Destination{db}, nil
}

// String names the destination without its password.
func (d *Destination) String() string { return d.d.String() }

// Close releases what the destination opened itself. Stop its writers first.
func (d *Destination) Close() error { return d.d.Close() }
