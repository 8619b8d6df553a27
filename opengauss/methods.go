package opengauss

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
)

// ErrMethod is a login that ended because the server asks for the password by a
// method that is not allowed (see Configure). Nothing made from the password was
// sent. The message has the method, and how to allow it.
var ErrMethod = errors.New("opengauss: the server asks for the password by a method that is not allowed")

// The methods by which a server may ask for a password, by the names that
// require_auth has for them. Those of PostgreSQL are libpq's.
const (
	methodPassword  = "password"
	methodMD5       = "md5"
	methodSHA256    = "sha256"
	methodSM3       = "sm3"
	methodMD5SHA256 = "md5_sha256"
	methodSCRAM     = "scram-sha-256"
)

// ownMethods are those that pgx knows nothing of, and sees as password.
var ownMethods = []string{methodSHA256, methodSM3, methodMD5SHA256}

// pgxMethods are those that pgx knows.
var pgxMethods = []string{methodPassword, methodMD5, methodSCRAM, "gss", "sspi", "oauth", "none"}

// policy says which methods a login answers.
type policy struct {
	named  []string // of require_auth: only these; empty: those that are safe
	denied []string // of require_auth, with an exclamation mark
	// lax: the server is said to be PostgreSQL, of which users and administrators
	// expect what libpq does.
	lax bool
}

// parseMethods reads a value of require_auth. The other result is what is left
// of it for pgx to enforce.
func parseMethods(requireAuth string) (p policy, forPGX string, err error) {
	if requireAuth == "" {
		return p, "", nil
	}
	var left []string
	for part := range strings.SplitSeq(requireAuth, ",") {
		name, negated := strings.CutPrefix(strings.TrimSpace(part), "!")
		own := slices.Contains(ownMethods, name)
		switch {
		case !own && !slices.Contains(pgxMethods, name):
			return p, "", fmt.Errorf("opengauss: require_auth knows %s and %s, not %q",
				strings.Join(ownMethods, ", "), strings.Join(pgxMethods, ", "), name)
		case negated:
			p.denied = append(p.denied, name)
			if !own && name != methodPassword {
				left = append(left, "!"+name)
			}
		default:
			p.named = append(p.named, name)
			if own {
				name = methodPassword
			}
			if !slices.Contains(left, name) {
				left = append(left, name)
			}
		}
	}
	if len(p.named) > 0 && len(p.denied) > 0 {
		return p, "", errors.New("opengauss: require_auth names methods either with or without an exclamation mark")
	}
	return p, strings.Join(left, ","), nil
}

// link is what is known of a connection.
type link struct {
	encrypted bool
	verified  bool // and the server's certificate is the host's
	local     bool // nobody is between
}

func linkOf(w io.Writer) (l link) {
	conn, ok := w.(net.Conn)
	if !ok {
		return l
	}
	if t, ok := conn.(*tls.Conn); ok {
		l.encrypted, l.verified = true, len(t.ConnectionState().VerifiedChains) > 0
	}
	switch addr := conn.RemoteAddr().(type) {
	case *net.UnixAddr:
		l.local = true
	case *net.TCPAddr:
		l.local = addr.IP.IsLoopback()
	}
	return l
}

// check tells why a method is not allowed on a link, if so.
func (p policy) check(method string, l link) error {
	if slices.Contains(p.denied, method) || len(p.named) > 0 && !slices.Contains(p.named, method) {
		return fmt.Errorf("%w: by %s, which require_auth excludes", ErrMethod, method)
	}
	named := slices.Contains(p.named, method)
	switch method {
	case methodMD5, methodMD5SHA256:
		if named || l.verified || l.local || p.lax && method == methodMD5 {
			return nil
		}
		return fmt.Errorf("%w: by %s, which lets whoever is in between guess passwords: use sslmode=verify-full, or allow it with require_auth=%[2]s", ErrMethod, method)
	case methodPassword:
		if l.verified || p.lax && (named || l.encrypted || l.local) {
			return nil
		}
		if p.lax {
			return fmt.Errorf("%w: in the clear, over a connection without TLS: use sslmode=verify-full, or allow it with require_auth=password", ErrMethod)
		}
		return fmt.Errorf("%w: in the clear, over a connection whose other end is not verified: use sslmode=verify-full", ErrMethod)
	}
	return nil
}
