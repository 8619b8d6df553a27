package pgtest

import (
	"context"
	"errors"
	"net"
	"net/url"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// stored gives a server with one committed row.
func stored(t *testing.T) (*Server, *DB) {
	t.Helper()
	s := Start(t)
	db := s.Open(t)
	db.Exec(t, "CREATE TABLE files (path text); INSERT INTO files VALUES ('/a')")
	return s, db
}

func TestCommittedRowsSurvive(t *testing.T) {
	s, db := stored(t)
	for _, c := range []struct {
		name  string
		end   func()
		crash bool
	}{
		{"kill", s.Kill, true},
		{"stop fast", func() { s.Stop(Fast) }, false},
		{"stop immediate", func() { s.Stop(Immediate) }, true},
		{"restart", func() {}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			conn, err := pgx.Connect(t.Context(), db.URL)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close(context.Background())
			c.end()
			s.Restart()
			if crash := strings.Contains(s.logText(), "not properly shut down"); crash != c.crash {
				t.Errorf("came up after a crash: %v, want %v", crash, c.crash)
			}
			if n := db.Count(t, "files"); n != 1 {
				t.Errorf("%d rows after the restart, want 1", n)
			}
			if _, err := conn.Exec(t.Context(), "SELECT 1"); err == nil {
				t.Error("a connection from before the restart still works")
			}
		})
	}
}

func TestSettingsReachTheServer(t *testing.T) {
	db := Start(t, "shared_buffers=256MB", "max_wal_size=2GB").Open(t)
	for setting, want := range map[string]string{
		"shared_buffers":  "256MB",
		"max_wal_size":    "2GB", // a test's wish wins over the package's
		"fsync":           "on",
		"max_connections": "100",
	} {
		if got := Value[string](t, db, "SHOW "+setting); got != want {
			t.Errorf("%s is %s, want %s", setting, got, want)
		}
	}
}

func TestBadSettingShowsTheServersLog(t *testing.T) {
	_, err := newServer(nil, "no_such_setting=1")
	if err == nil || !strings.Contains(err.Error(), "no_such_setting") {
		t.Errorf("error %v, want the server's complaint about no_such_setting", err)
	}
}

func TestTakenPortIsNoticed(t *testing.T) {
	s := Start(t)
	s.Stop(Fast)
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", u.Host)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := s.launch(); !errors.Is(err, errPortTaken) {
		t.Errorf("error %v, want errPortTaken", err)
	}
}

func TestPasswordIsChecked(t *testing.T) {
	s := Start(t)
	conn, err := pgx.Connect(t.Context(), s.PasswordURL(Password))
	if err != nil {
		t.Fatalf("the right password: %v", err)
	}
	if err := conn.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	var refused *pgconn.PgError
	_, err = pgx.Connect(t.Context(), s.PasswordURL("wrong"))
	if !errors.As(err, &refused) || refused.Code != "28P01" {
		t.Errorf("a wrong password: %v, want SQLSTATE 28P01", err)
	}
}
