package opengauss

import (
	"io"
	"slices"
	"strings"

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
// It wraps cfg.BuildFrontend and leaves the rest alone, AfterNetConnect and
// DialFunc included; copies of cfg keep what it did. A BuildFrontend of the
// caller's own has to be set before. A writer that it puts in between sees the
// plain password, as it would with a server that asks for it.
//
// Iterations are values of the server's auth_iteration_count to try before
// 10000 and 2048. For the md5_sha256 method, where a count cannot be checked,
// the first is taken, or else 10000. Each trial costs a login some hundred
// nanoseconds per iteration; a server has no influence on their number.
func Configure(cfg *pgconn.Config, iterations ...int) {
	counts := slices.Clone(iterations)
	for _, n := range usualIterations {
		if !slices.Contains(counts, n) {
			counts = append(counts, n)
		}
	}
	build := cfg.BuildFrontend
	cfg.BuildFrontend = func(r io.Reader, w io.Writer) *pgproto3.Frontend {
		l := &login{r: r, w: w, iterations: counts}
		return build(l, l)
	}
}

// ConfigurePool is Configure for the connections of a pool.
func ConfigurePool(cfg *pgxpool.Config, iterations ...int) {
	Configure(&cfg.ConnConfig.Config, iterations...)
}

// ParseConfig is pgx.ParseConfig followed by Configure. It takes URLs that
// begin with opengauss:// as well, which are otherwise like those that begin
// with postgres:// (the port defaults to 5432).
func ParseConfig(connString string, iterations ...int) (*pgx.ConnConfig, error) {
	cfg, err := pgx.ParseConfig(postgresURL(connString))
	if err != nil {
		return nil, err
	}
	Configure(&cfg.Config, iterations...)
	return cfg, nil
}

// ParsePoolConfig is pgxpool.ParseConfig followed by ConfigurePool. It takes
// the URLs of ParseConfig.
func ParsePoolConfig(connString string, iterations ...int) (*pgxpool.Config, error) {
	cfg, err := pgxpool.ParseConfig(postgresURL(connString))
	if err != nil {
		return nil, err
	}
	ConfigurePool(cfg, iterations...)
	return cfg, nil
}

// postgresURL gives a URL the scheme that pgx knows, by which pgx also knows
// to keep the password out of its errors.
func postgresURL(connString string) string {
	if rest, ok := strings.CutPrefix(connString, "opengauss://"); ok {
		return "postgres://" + rest
	}
	return connString
}
