package opengauss

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/memdbwriter/memdbwriter/internal/pgtest"
)

// echo has PostgreSQL send more than a login may.
func echo(ctx context.Context, conn *pgconn.PgConn) error {
	result := conn.ExecParams(ctx, "SELECT repeat('x', $1::int)", [][]byte{fmt.Append(nil, 2*maxLogin)}, nil, nil, nil).Read()
	if result.Err != nil {
		return result.Err
	}
	if n := len(result.Rows[0][0]); n != 2*maxLogin {
		return fmt.Errorf("%d bytes came back", n)
	}
	return nil
}

func TestPostgreSQLIsLeftToPgx(t *testing.T) {
	ctx := testContext(t)
	s := pgtest.Start(t)
	for name, url := range map[string]string{
		"trust":         s.URL,
		"scram-sha-256": s.PasswordURL(pgtest.Password),
	} {
		t.Run(name, func(t *testing.T) {
			conn := logIn(t, parse(t, url))
			if IsOpenGauss(conn.PgConn()) {
				t.Error("PostgreSQL is taken for openGauss")
			}
			if err := echo(ctx, conn.PgConn()); err != nil {
				t.Error(err)
			}
		})
	}

	_, err := pgx.ConnectConfig(ctx, parse(t, s.PasswordURL("wrong")))
	var pgErr *pgconn.PgError
	if !errors.As(err, &pgErr) || pgErr.Code != "28P01" {
		t.Errorf("with a wrong password: got %v, want a PgError 28P01", err)
	}
}

// A session that pgconn.Construct takes over has no login any more.
func TestATakenOverSessionHasNoLogin(t *testing.T) {
	ctx := testContext(t)
	db := pgtest.Open(t)
	conn, err := pgconn.ConnectConfig(ctx, &parse(t, db.URL).Config)
	if err != nil {
		t.Fatal(err)
	}
	hijacked, err := conn.Hijack()
	if err != nil {
		t.Fatal(err)
	}
	if conn, err = pgconn.Construct(hijacked); err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	if err := echo(ctx, conn); err != nil {
		t.Error(err)
	}
}

// Channel binding takes a look at the connection's certificate, so pgx must
// still see that it is a TLS connection.
func TestChannelBindingOnPostgreSQL(t *testing.T) {
	s := pgtest.Start(t)
	db := s.Open(t)
	cert := newCertificate(t)
	// The server makes its files itself: it wants them to be its own.
	for file, text := range map[string][]byte{"server.crt": cert.certPEM, "server.key": cert.keyPEM} {
		lines := strings.Split(string(bytes.TrimSpace(text)), "\n")
		db.Exec(t, fmt.Sprintf("COPY (SELECT unnest(ARRAY['%s'])) TO PROGRAM 'umask 077; cat >%s'", strings.Join(lines, "','"), file))
	}
	db.Exec(t, "ALTER SYSTEM SET ssl = on")
	s.Restart()

	url := s.PasswordURL(pgtest.Password)
	url = strings.Replace(url, "sslmode=disable", "sslmode=verify-full&channel_binding=require&sslrootcert="+cert.rootsFile, 1)
	logIn(t, parse(t, url))
}
