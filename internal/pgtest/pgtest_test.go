package pgtest

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestMain(m *testing.M) { Main(m) }

// recorder is a test that takes notes of its failures.
type recorder struct {
	testing.TB
	failures []string
}

func (r *recorder) Errorf(format string, args ...any) {
	r.failures = append(r.failures, fmt.Sprintf(format, args...))
}

func TestServerVersion(t *testing.T) {
	db := Open(t)
	t.Log(Value[string](t, db, "SELECT version()"))
	if v := Value[string](t, db, "SHOW server_version_num"); v != strconv.Itoa(db.Version) {
		t.Errorf("Version is %d, the server says %s", db.Version, v)
	}
}

func TestEveryTestHasItsOwnSchema(t *testing.T) {
	for _, name := range []string{"one", "other"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := Open(t)
			db.Exec(t, "CREATE TABLE files (path text)")
			db.Exec(t, "INSERT INTO files VALUES ($1)", name)
			if got := Value[string](t, db, "SELECT path FROM files"); got != name {
				t.Errorf("the table holds %q, want %q", got, name)
			}
			if got := Value[string](t, db, "SELECT current_schema()"); got != db.Schema {
				t.Errorf("the current schema is %q, want %q", got, db.Schema)
			}
		})
	}
}

func TestSchemaIsGoneAfterItsTest(t *testing.T) {
	var schema string
	t.Run("test", func(t *testing.T) {
		db := Open(t)
		db.Exec(t, "CREATE TABLE files (path text)")
		schema = db.Schema
	})
	left := Value[int](t, Open(t), "SELECT count(*) FROM pg_namespace WHERE nspname = $1", schema)
	if left != 0 {
		t.Errorf("the schema %s is still there", schema)
	}
}

func TestForgottenTransactionIsReported(t *testing.T) {
	db := Open(t)
	db.Exec(t, "CREATE TABLE files (path text)")
	tx, err := db.Pool(t).Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), "INSERT INTO files VALUES ('/forgotten')"); err != nil {
		t.Fatal(err)
	}
	r := &recorder{TB: t}
	db.drop(r, time.Millisecond)
	if len(r.failures) != 1 || !strings.Contains(r.failures[0], "/forgotten") {
		t.Errorf("the open transaction is not named: %q", r.failures)
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestQueryHelpers(t *testing.T) {
	db := Open(t)
	db.Exec(t, `CREATE TABLE files (id int, path text, seen timestamptz, ok bool);
		INSERT INTO files VALUES (1, 'a b', '2024-02-29 12:00+00', true), (2, NULL, NULL, false)`)
	if n := db.Count(t, "files WHERE ok"); n != 1 {
		t.Errorf("Count = %d, want 1", n)
	}
	got := db.Rows(t, "SELECT id, path, seen AT TIME ZONE 'UTC', ok FROM files WHERE id < $1 ORDER BY id", 9)
	want := []string{"1|a b|2024-02-29 12:00:00|t", "2|NULL|NULL|f"}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("Rows = %q, want %q", got, want)
	}
	if got := Value[*string](t, db, "SELECT path FROM files WHERE id = 2"); got != nil {
		t.Errorf("Value of NULL = %q, want nil", *got)
	}
}

func TestExternalServer(t *testing.T) {
	own := Start(t)
	s, err := external(own.URL)
	if err != nil {
		t.Fatal(err)
	}
	if s.URL != own.URL || s.Version != own.Version {
		t.Errorf("external server %s %d, want %s %d", s.URL, s.Version, own.URL, own.Version)
	}
	for _, bad := range []string{
		"host=localhost password=secret",
		"mysql://user:secret@localhost/db",
		"postgres://user:secret@local host/db",
		strings.Replace(own.PasswordURL("secret"), "/postgres?", "/missing?", 1),
	} {
		_, err := external(bad)
		if err == nil || !strings.Contains(err.Error(), databaseURLEnv) {
			t.Errorf("%s: error %v, want one that names %s", bad, err, databaseURLEnv)
			continue
		}
		if strings.Contains(err.Error(), "secret") {
			t.Errorf("the message shows the password: %v", err)
		}
	}
}

func TestPrivateServerNeedsMain(t *testing.T) {
	inMain.Store(false)
	defer inMain.Store(true)
	if _, err := newInstallation(); err == nil || !strings.Contains(err.Error(), "pgtest.Main") {
		t.Errorf("error %v, want one that asks for pgtest.Main", err)
	}
}

// leakEnv makes TestLeak leave a goroutine behind.
const leakEnv = "MEMDB_PGTEST_LEAK"

func TestLeak(t *testing.T) {
	if os.Getenv(leakEnv) == "" {
		return
	}
	Open(t)
	go func() { select {} }()
}

func TestMainReportsLeakedGoroutines(t *testing.T) {
	cmd := exec.Command(os.Args[0], "-test.run=^TestLeak$")
	cmd.Env = append(os.Environ(), leakEnv+"=1")
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState.ExitCode() != 1 || !strings.Contains(string(out), "TestLeak") {
		t.Errorf("%v, want exit code 1 and the goroutine of TestLeak in the output:\n%s", err, out)
	}
}
