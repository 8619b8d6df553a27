package opengauss

import (
	"regexp"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// IsOpenGauss reports whether conn leads to openGauss or one of its relatives.
// It asks nothing of the server: openGauss tells every client at its login
// whether the user is a system administrator, and PostgreSQL never does.
func IsOpenGauss(conn *pgconn.PgConn) bool {
	return conn.ParameterStatus("is_sysadmin") != ""
}

var versionPattern = regexp.MustCompile(`\((openGauss|openGauss-lite|MogDB|Vastbase G100|GaussDB Kernel)[ V]*([0-9][0-9.]*)`)

// ParseVersion finds the product and its version ("openGauss", "5.0.5") in
// what SELECT version() returns on openGauss and its relatives. It is for
// people to read: the setting server_version is 9.2.4 on all of them, and what a
// server can do is better tried than concluded from its version.
func ParseVersion(version string) (product, number string, ok bool) {
	m := versionPattern.FindStringSubmatch(version)
	if m == nil {
		return "", "", false
	}
	return m[1], strings.TrimRight(m[2], "."), true
}
