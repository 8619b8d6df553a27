package opengauss

import (
	"io"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Counts that servers use unless somebody changed auth_iteration_count: the
// default and the minimum.
var usualIterations = []int{10000, 2048}

// Configure makes connections with cfg able to log in to openGauss, besides
// PostgreSQL. For a pgx.ConnConfig pass the address of its Config field.
//
// It wraps cfg.BuildFrontend and takes over cfg.RequireAuth; it leaves the rest
// alone, AfterNetConnect and DialFunc included. Copies of cfg keep what it did. A
// BuildFrontend of the caller's own has to be set before. A writer that it puts in
// between sees the plain password, as it would with a server that asks for it.
//
// A login answers sha256, sm3 and scram-sha-256. It answers md5 and md5_sha256, of
// which whoever sees the answer may guess the password, over TLS with
// sslmode=verify-full, on this machine, or where cfg.RequireAuth names them; the
// plain password over TLS with sslmode=verify-full only. Anything else is
// ErrMethod. RequireAuth is libpq's require_auth with three names more: a list
// of the methods to answer, which excludes all others, or with an exclamation
// mark before each a list of those not to answer.
//
// Iterations are values of the server's auth_iteration_count to try before
// 10000 and 2048. For the md5_sha256 method, where a count cannot be checked,
// the first is taken, or else 10000. Each trial costs a login some hundred
// nanoseconds per iteration; a server has no influence on their number.
func Configure(cfg *pgconn.Config, iterations ...int) { _ = configure(cfg, false, iterations) }

// configure is Configure. An error is about cfg.RequireAuth, which is left for pgx
// to complain about at every login.
func configure(cfg *pgconn.Config, lax bool, iterations []int) error {
	p, forPGX, err := parseMethods(cfg.RequireAuth)
	if err != nil {
		return err
	}
	p.lax, cfg.RequireAuth = lax, forPGX
	counts := slices.Clone(iterations)
	for _, n := range usualIterations {
		if !slices.Contains(counts, n) {
			counts = append(counts, n)
		}
	}
	build := cfg.BuildFrontend
	cfg.BuildFrontend = func(r io.Reader, w io.Writer) *pgproto3.Frontend {
		l := &login{r: r, w: w, iterations: counts, policy: p}
		return build(l, l)
	}
	return nil
}

// ConfigurePool is Configure for the connections of a pool.
func ConfigurePool(cfg *pgxpool.Config, iterations ...int) {
	Configure(&cfg.ConnConfig.Config, iterations...)
}

// ParseConfig is pgx.ParseConfig followed by Configure. It takes URLs that
// begin with opengauss:// as well, which are otherwise like those that begin
// with postgres:// (the port defaults to 5432). Their parameter require_auth is
// Configure's.
//
// A URL that begins with postgres:// says that the server is PostgreSQL: md5 is
// answered as every client of PostgreSQL does, and the plain password over any
// TLS, on this machine, or where require_auth names it.
func ParseConfig(connString string, iterations ...int) (*pgx.ConnConfig, error) {
	u, err := splitURL(connString)
	if err != nil {
		return nil, err
	}
	cfg, err := pgx.ParseConfig(u.forPGX)
	if err != nil {
		return nil, err
	}
	if err := u.configure(&cfg.Config, iterations); err != nil {
		return nil, err
	}
	return cfg, nil
}

// ParsePoolConfig is pgxpool.ParseConfig followed by ConfigurePool. It takes
// the URLs of ParseConfig.
func ParsePoolConfig(connString string, iterations ...int) (*pgxpool.Config, error) {
	u, err := splitURL(connString)
	if err != nil {
		return nil, err
	}
	cfg, err := pgxpool.ParseConfig(u.forPGX)
	if err != nil {
		return nil, err
	}
	if err := u.configure(&cfg.ConnConfig.Config, iterations); err != nil {
		return nil, err
	}
	return cfg, nil
}
