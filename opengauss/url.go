package opengauss

import (
	"errors"
	"net/url"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// ErrURL is a URL of which nobody can tell where its password ends, and so which
// host it names. It repeats nothing of the URL.
var ErrURL = errors.New("the URL holds an @, / or ? in its user or password as it is, or a #: percent-encode them (%40, %2F, %3F, %23)")

// connURL is a connection string in parts.
type connURL struct {
	forPGX      string
	requireAuth string // empty: whatever pgx finds
	postgres    bool   // it says so
}

// splitURL gives a URL the scheme that pgx knows, by which pgx also knows to keep
// the password out of its errors, and takes out require_auth, of which pgx does
// not know all values.
func splitURL(connString string) (connURL, error) {
	scheme, rest, ok := strings.Cut(connString, "://")
	scheme = strings.ToLower(scheme)
	if !ok || scheme != "opengauss" && scheme != "postgres" && scheme != "postgresql" {
		return connURL{forPGX: connString}, nil
	}
	if ambiguous(rest) {
		return connURL{}, ErrURL
	}
	u := connURL{forPGX: "postgres://" + rest, postgres: scheme != "opengauss"}
	before, query, ok := strings.Cut(u.forPGX, "?")
	if !ok {
		return u, nil
	}
	var kept []string
	for param := range strings.SplitSeq(query, "&") {
		value, found := strings.CutPrefix(param, "require_auth=")
		if unescaped, err := url.QueryUnescape(value); found && err == nil {
			u.requireAuth = unescaped
			continue
		}
		kept = append(kept, param)
	}
	u.forPGX = before + "?" + strings.Join(kept, "&")
	return u, nil
}

// ambiguous tells whether a URL, without its scheme, may have meant another host
// than the one it names: an @ stands where none can but at the end of a password.
// Values of parameters may have one.
func ambiguous(rest string) bool {
	before, query, _ := strings.Cut(rest, "?")
	authority, path, _ := strings.Cut(before, "/")
	if strings.Contains(rest, "#") || strings.Count(authority, "@") > 1 || strings.Contains(path, "@") {
		return true
	}
	for param := range strings.SplitSeq(query, "&") {
		if name, _, _ := strings.Cut(param, "="); strings.Contains(name, "@") {
			return true
		}
	}
	return false
}

func (u connURL) configure(cfg *pgconn.Config, iterations []int) error {
	if u.requireAuth != "" {
		cfg.RequireAuth = u.requireAuth
	}
	return configure(cfg, u.postgres, iterations)
}
