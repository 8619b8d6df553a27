package ogtest

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/memdbwriter/memdbwriter/internal/pgtest"
)

// Method is how a password is stored, with the numbers of
// password_encryption_type (opengauss.md 3.2), and also an authentication
// method of pg_hba.conf, for which only MD5, SHA256 and SM3 stand.
type Method int

const (
	SHA256       Method = iota // 2, the default
	SHA256AndMD5               // 1
	MD5                        // 0
	SM3                        // 3
)

// User is somebody who may log in.
type User struct {
	Name     string
	Password string
	Stored   Method
	Admin    bool // a system administrator
}

// Options say which openGauss to stand in for. The zero value is openGauss
// 5.0.5 with a database of mode A, as it comes.
type Options struct {
	Mode       string // sql_compatibility: A (the default), B, C or PG
	Version    string // 5.0.5 unless set
	Dolphin    bool   // the dolphin plugin, in mode B
	Method     Method // how the password of the default user is stored
	HBA        Method // what pg_hba.conf asks for: SHA256, MD5 or SM3
	Users      []User // besides the default one
	Iterations int    // auth_iteration_count: 10000 unless set
	TLS        bool
	ThreadPool bool // idle sessions are closed without a word (opengauss.md 6.1)

	// NoSessionTimeout turns session_timeout off, as official containers do
	// from 6.0.0 on; otherwise it is 600 s (opengauss.md 6.1).
	NoSessionTimeout bool
	// LockWait is lockwait_timeout: 20 minutes unless set (opengauss.md 6.1).
	LockWait time.Duration
	// Clock measures the timeouts; nil is the clock of the machine.
	Clock *Clock
	// Postgres is the server behind; nil is that of the test binary.
	Postgres *pgtest.Server
}

// The default user. DefaultPassword is as complex as openGauss wants it.
const (
	DefaultUser     = "scanner"
	DefaultPassword = "Secret@123"
)

// nodeName is what 42P01 in the extended protocol names (opengauss.md 7).
const nodeName = "gaussdb"

func (o *Options) withDefaults() error {
	if o.Mode == "" {
		o.Mode = "A"
	}
	if o.Version == "" {
		o.Version = "5.0.5"
	}
	if o.Iterations == 0 {
		o.Iterations = 10000
	}
	if o.LockWait == 0 {
		o.LockWait = 20 * time.Minute
	}
	switch {
	case o.Mode != "A" && o.Mode != "B" && o.Mode != "C" && o.Mode != "PG":
		return fmt.Errorf("mode %q is none of A, B, C and PG", o.Mode)
	case o.Dolphin && o.Mode != "B":
		return fmt.Errorf("dolphin is for mode B, not %s", o.Mode)
	case o.HBA == SHA256AndMD5:
		return fmt.Errorf("pg_hba.conf has no method sha256+md5")
	case o.Iterations < 2048:
		return fmt.Errorf("auth_iteration_count is at least 2048")
	case parseVersion(o.Version) < parseVersion("2.1.0"):
		return fmt.Errorf("version %q is not one from 2.1.0 on", o.Version)
	}
	return nil
}

// since tells whether the version is at least this one.
func (o *Options) since(version string) bool { return parseVersion(o.Version) >= parseVersion(version) }

// parseVersion makes versions comparable; a malformed one is 0.
func parseVersion(version string) int {
	n := 0
	parts := strings.Split(version, ".")
	if len(parts) != 3 {
		return 0
	}
	for _, part := range parts {
		v, err := strconv.Atoi(part)
		if err != nil {
			return 0
		}
		n = n*1000 + v
	}
	return n
}

// bytesCounted tells whether varchar(n) counts bytes (opengauss.md 5.3).
func (o *Options) bytesCounted() bool { return o.Mode == "A" || o.Mode == "C" }
