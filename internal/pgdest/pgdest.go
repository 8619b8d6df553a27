// Package pgdest writes batches of tuples to PostgreSQL, and to openGauss,
// which is told by the connection (see dialect).
//
// A batch reaches its table in one transaction and one round trip (insert-only
// batches: two, see outcome.go), by one of two ways:
//
//   - direct: COPY straight into the table. The faster way, and the right one
//     when every key of the batch is new.
//   - upsert: COPY into a temporary table, then INSERT ... SELECT ... ON
//     CONFLICT, with an UPDATE before it while most rows change, or what the
//     dialect has for it. It takes any batch, and leaves out rows that would not
//     change.
//
// Both are one string of SQL in the simple protocol, unless rows have to be
// counted on the way (see way.counted). The server runs such a
// string as one transaction, and nothing of it stays behind in the session,
// whatever fails: that is as fast as it gets on a distant server, and works
// behind a proxy that hands out sessions for single transactions.
//
// The tuples are sent as they are, except for columns whose type in the table
// is not the canonical one (package transcode).
package pgdest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/memdbwriter/memdbwriter/internal/dest"
	"github.com/memdbwriter/memdbwriter/opengauss"
)

// What Open sets where the URL says nothing.
const (
	connectTimeout  = 10 * time.Second
	pingTimeout     = 5 * time.Second // of a connection that rested in the pool
	maxConns        = 4
	applicationName = "memdbwriter"
)

// DB is a database of the PostgreSQL family as a destination.
type DB struct {
	pool   *pgxpool.Pool
	own    bool // Close closes the pool
	closed atomic.Bool
	// refusals counts the logins in a row that an openGauss refused. It locks
	// accounts.
	refusals atomic.Int32
	name     string
	wrong    error     // why no connection of the pool is used; nil
	plain    sync.Once // the warning that a connection can be listened to
}

var _ dest.Destination = (*DB)(nil)

// Open returns the database of a postgres:// or opengauss:// URL. Either
// leads to either server. It does not connect yet: an error is about the URL,
// and never shows its password.
func Open(rawURL string) (*DB, error) {
	config, err := opengauss.ParsePoolConfig(rawURL)
	if err != nil {
		return nil, urlError(rawURL, err)
	}
	cc := config.ConnConfig
	if cc.ConnectTimeout == 0 {
		cc.ConnectTimeout = connectTimeout
	}
	cc.DialFunc = newDialer(cc.ConnectTimeout).DialContext
	build := cc.BuildFrontend
	cc.BuildFrontend = func(r io.Reader, w io.Writer) *pgproto3.Frontend { return build(&bounded{r: r}, w) }
	if config.PingTimeout == 0 {
		config.PingTimeout = pingTimeout
	}
	cc.RuntimeParams["client_encoding"] = utf8
	if cc.RuntimeParams["application_name"] == "" {
		cc.RuntimeParams["application_name"] = applicationName
	}
	if !strings.Contains(rawURL, "pool_max_conns") {
		config.MaxConns = maxConns
	}
	pool, err := pgxpool.NewWithConfig(context.Background(), config)
	if err != nil {
		return nil, urlError(rawURL, err)
	}
	db := FromPool(pool)
	db.own = true
	if rest, ok := strings.CutPrefix(db.name, "postgres:"); ok && scheme(rawURL) == "opengauss" {
		db.name = "opengauss:" + rest
	}
	return db, nil
}

// scheme is that of a URL, in lower case.
func scheme(rawURL string) string {
	s, _, _ := strings.Cut(rawURL, ":")
	return strings.ToLower(s)
}

// urlError explains what is wrong with a URL. It repeats nothing of a URL
// that cannot be taken apart: any part of it may be the password.
func urlError(rawURL string, err error) error {
	if errors.Is(err, opengauss.ErrURL) {
		return fmt.Errorf("the database URL is not valid: %w", err)
	}
	const advice = "want postgres://user:password@host:5432/database, with @ : / ? # %% and spaces in the password percent-encoded"
	u, perr := url.Parse(rawURL)
	if perr != nil || !slices.Contains([]string{"postgres", "postgresql", "opengauss"}, u.Scheme) { // in lower case
		return fmt.Errorf("the database URL is not valid: " + advice)
	}
	// ParseConfigError keeps the URL: only texts go on from here.
	reason := err.Error()
	if pe := new(pgconn.ParseConfigError); errors.As(err, &pe) {
		_, reason, _ = strings.Cut(reason, "`: ")
	}
	if reason == "" || holdsSecret(reason, u) {
		return fmt.Errorf("the database URL for %s is not valid: "+advice, u.Host)
	}
	return fmt.Errorf("the database URL for %s is not valid: %s", u.Host, reason)
}

func holdsSecret(text string, u *url.URL) bool {
	secrets := []string{u.Query().Get("password"), u.Query().Get("sslpassword")}
	if pw, ok := u.User.Password(); ok {
		_, escaped, _ := strings.Cut(u.User.String(), ":")
		secrets = append(secrets, pw, escaped)
	}
	for _, s := range secrets {
		if s != "" && strings.Contains(text, s) {
			return true
		}
	}
	return false
}

// FromPool returns the database that a pool of the caller connects to. The
// pool stays the caller's to configure and to close.
func FromPool(pool *pgxpool.Pool) *DB {
	cc := pool.Config().ConnConfig
	host := cc.Host
	if !strings.HasPrefix(host, "/") {
		host = net.JoinHostPort(host, strconv.Itoa(int(cc.Port)))
	}
	u := url.URL{Scheme: "postgres", User: url.User(cc.User), Host: host, Path: "/" + cc.Database}
	db := &DB{pool: pool, name: u.String()}
	for name := range cc.RuntimeParams {
		// pgx takes a URL of a scheme that it does not know for the name of a
		// parameter, and connects to this machine.
		if strings.Contains(name, "://") {
			db.wrong = &dest.Error{Class: dest.ClassTable, Row: -1, Err: errWrongPool}
		}
	}
	return db
}

var errWrongPool = errors.New("the pool was made of a URL that pgxpool.ParseConfig does not know, and would connect to another place: " +
	"make it with opengauss.ParsePoolConfig and pgxpool.NewWithConfig")

// String is the URL without password and parameters.
func (db *DB) String() string { return db.name }

// Close closes the connections that Open made possible, and none of a pool
// that the caller gave.
func (db *DB) Close() error {
	db.closed.Store(true)
	if db.own {
		db.pool.Close()
	}
	return nil
}

// acquire takes a connection from the pool. A pool or a DB that was closed stays
// so: that is no outage.
func (db *DB) acquire(ctx context.Context) (*pgxpool.Conn, error) {
	switch {
	case db.wrong != nil:
		return nil, db.wrong
	case db.closed.Load():
		return nil, dest.Closed()
	}
	conn, err := db.pool.Acquire(ctx)
	if err == nil {
		db.refusals.Store(0)
		return conn, nil
	}
	if err.Error() == closedPool {
		return nil, dest.Closed()
	}
	e := classify(err)
	if pe := new(pgconn.PgError); errors.As(err, &pe) && fromOpenGauss(pe) && strings.HasPrefix(pe.Code, "28") {
		e.Locks = db.refusals.Add(1) > 1 && db.own
	}
	return nil, e
}

// closedPool is the text of puddle.ErrClosedPool, which pgxpool does not export.
const closedPool = "closed pool"

// dropIdle is called when a connection turned out to be dead: those that wait
// in the pool may have died with it. A pool of the caller is not interfered
// with.
func (db *DB) dropIdle() {
	if db.own {
		db.pool.Reset()
	}
}

// Bind returns a Sink for the table.
func (db *DB) Bind(t *dest.Table, log *slog.Logger) (dest.Sink, error) {
	if err := bindable(t); err != nil {
		return nil, fmt.Errorf("table %s: %w", t, err)
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Sink{db: db, table: t, log: log}, nil
}

// Limits of PostgreSQL.
const (
	maxNameBytes = 63
	maxColumns   = 1600
)

// bindable tells whether any PostgreSQL could have such a table.
func bindable(t *dest.Table) error {
	switch {
	case len(t.Columns) == 0:
		return errors.New("it has no columns")
	case len(t.Columns) > maxColumns:
		return fmt.Errorf("it has %d columns, PostgreSQL takes %d", len(t.Columns), maxColumns)
	case t.Keys < 0 || t.Keys > len(t.Columns):
		return fmt.Errorf("%d key columns of %d", t.Keys, len(t.Columns))
	case t.Keys == 0 && t.Policy != dest.InsertOnly:
		return errors.New("rows can only be updated or ignored with a key; name the key columns, or make it insert-only")
	}
	names := []string{t.Name}
	for _, c := range t.Columns {
		names = append(names, c.Name)
	}
	if t.Schema != "" {
		names = append(names, t.Schema)
	}
	if t.Guard != "" {
		names = append(names, t.Guard)
	}
	for _, name := range names {
		if name == "" || len(name) > maxNameBytes || strings.Contains(name, "\x00") {
			return fmt.Errorf("%q cannot be a name: PostgreSQL wants 1 to %d bytes without NUL", name, maxNameBytes)
		}
	}
	return nil
}
