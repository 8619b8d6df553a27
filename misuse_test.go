package memdbwriter

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/memdbwriter/memdbwriter/internal/pgtest"
)

// What users get wrong, and what they are told.

func wantError(t *testing.T, err error, sentinel error, parts ...string) {
	t.Helper()
	if !errors.Is(err, sentinel) {
		t.Fatalf("got %v, want %v", err, sentinel)
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Errorf("the error does not say %q:\n%v", p, err)
		}
	}
}

func TestWrongURLs(t *testing.T) {
	for text, part := range map[string]string{
		"":                                "MEMORY_DB_DATABASE_URL",
		"catalog.db":                      "postgres://",
		"mysql://u:secret@h/d":            "postgres://",
		"postgres://u:secret@h:port/d":    "postgres://user",
		"postgres://u:secret@h/d?x=%":     "",
		"sqlite://host/file.db":           "sqlite:///path",
		"sqlite:a.db?mode=ro":             "parameters",
		"sqlite:":                         "",
		"sqlite::memory:":                 "memory",
		"postgres://u:secret@[::1/d":      "",
		"postgres://h/d?sslmode=sometime": "sslmode",
	} {
		d, err := OpenDestination(context.Background(), text)
		if err == nil {
			d.Close()
			t.Errorf("OpenDestination(%q) was accepted", text)
			continue
		}
		if !strings.Contains(err.Error(), part) || strings.Contains(err.Error(), "secret") {
			t.Errorf("OpenDestination(%q): %v", text, err)
		}
	}
}

func TestWhatTheTableLacks(t *testing.T) {
	for name, test := range map[string]struct {
		ddl   string
		parts []string
	}{
		"table":        {"SELECT 1", []string{"items", "CREATE TABLE"}},
		"column":       {"CREATE TABLE items (id bigint PRIMARY KEY, name text NOT NULL, stage text, seen timestamptz)", []string{"note", "ADD COLUMN"}},
		"unique index": {"CREATE TABLE items (id bigint, name text, note text, stage text, seen timestamptz)", []string{"CREATE UNIQUE INDEX", "id"}},
		"type":         {"CREATE TABLE items (id bigint PRIMARY KEY, name text, note text, stage text, seen inet)", []string{"seen", "inet", "timestamptz"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := postgresPlace(t)
			p.exec(t, test.ddl)
			for _, batch := range writers {
				w, err := Open(context.Background(), itemTable(t), p.Destination, Config{DisableMemoryDB: batch})
				if w != nil {
					t.Fatal("a writer came with the error")
				}
				wantError(t, err, ErrDestination, test.parts...)
			}
		})
	}
}

func TestAColumnThatIsTooShort(t *testing.T) {
	p := postgresPlace(t)
	p.exec(t, "CREATE TABLE items (id bigint PRIMARY KEY, name varchar(5) NOT NULL, note text, stage text, seen timestamptz)")
	w := openWriter(t, itemTable(t), p.Destination, Config{})
	mustAdd(t, w, newItem(1, "short"), newItem(2, "too long"), newItem(3, "fünfe"))
	err := w.ForceSync(patient(t))
	wantError(t, err, ErrRowsFailed, "too long", "name", "(id)=(2)", "22001")
	wantRows(t, p, "SELECT id, name FROM items ORDER BY id", "1|short", "3|fünfe")
}

func TestWrongDatabaseOrPassword(t *testing.T) {
	db := pgtest.Open(t)
	u, err := url.Parse(db.URL)
	if err != nil {
		t.Fatal(err)
	}
	u.Path = "/no_such_database"
	d, err := OpenDestination(context.Background(), u.String())
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	_, err = New(context.Background(), itemTable(t), d, Config{})
	wantError(t, err, ErrDestination, "no_such_database")
}

// A server that is down when the writer is made is used once it is up.
func TestADestinationThatAppearsLater(t *testing.T) {
	server := pgtest.Start(t)
	server.Stop(pgtest.Fast)
	d, err := OpenDestination(context.Background(), server.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	table, err := TableOf[item]("items", CreateTable())
	if err != nil {
		t.Fatal(err)
	}
	w, err := New(context.Background(), table, d, Config{RetryMaxDelay: 200 * time.Millisecond})
	if err != nil {
		t.Fatalf("New while the server is down: %v", err)
	}
	if s := w.SyncStatus(); s.State != StateDegraded || s.LastError == nil {
		t.Errorf("status while the server is down: %+v", s)
	}
	mustAdd[item](t, w, newItem(1, "one"))
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	if err := w.ForceSync(ctx); !errors.Is(err, ErrUnsynced) {
		t.Errorf("ForceSync while the server is down: %v", err)
	}
	server.Restart()
	mustStop[item](t, w)
	if s := w.SyncStatus(); s.Synced != 1 {
		t.Errorf("status after the server came: %+v", s)
	}
}

func TestACancelledNew(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	p := postgresPlace(t)
	if _, err := New(ctx, itemTable(t), p.Destination, Config{}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if _, err := New(context.Background(), itemTable(t), p.Destination, Config{SyncInterval: -1}); !errors.Is(err, ErrConfig) {
		t.Errorf("a negative interval: %v", err)
	}
}

func TestAWrongPassword(t *testing.T) {
	server := pgtest.Start(t)
	d, err := OpenDestination(context.Background(), server.PasswordURL("not-the-password"))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	_, err = New(context.Background(), itemTable(t), d, Config{})
	wantError(t, err, ErrDestination, "28P01")
	if strings.Contains(err.Error(), "not-the-password") {
		t.Errorf("the error has the password: %v", err)
	}
}
