package pgdest

import (
	"context"
	"net"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/memdbwriter/memdbwriter/internal/dest"
	"github.com/memdbwriter/memdbwriter/internal/ogtest"
	"github.com/memdbwriter/memdbwriter/internal/pgtest"
)

// A right that only an insert would miss is told before.
func TestSequenceThatTheUserMayNotUseIsTold(t *testing.T) {
	server := pgtest.Start(t)
	withPlainRole(t, server)
	db := server.Open(t)
	db.Exec(t, `CREATE TABLE files (id bigint PRIMARY KEY, name text NOT NULL, size bigint, n serial, m bigint GENERATED ALWAYS AS IDENTITY);
		GRANT USAGE ON SCHEMA `+db.Schema+` TO plain; GRANT SELECT, INSERT, UPDATE ON files TO plain`)
	s := open(t, asPlain(db), files())
	e := asError(t, s.Check(context.Background()))
	grant := `GRANT USAGE ON SEQUENCE "` + db.Schema + `"."files_n_seq" TO "plain"`
	if e.Class != dest.ClassTable || !strings.Contains(e.Error(), "files_n_seq, of which the default of column n") || !strings.Contains(e.Hint, grant) || strings.Contains(e.Error(), "files_m_seq") {
		t.Errorf("class %v: %v", e.Class, e)
	}
	db.Exec(t, grant)
	check(t, s)
	write(t, s, row{int64(1), "a", nil})
	equal(t, db.Rows(t, "TABLE files"), "1|a|NULL|1|1")
}

func TestSequencesOfOpenGaussAreLookedAt(t *testing.T) {
	db := onStandIn(t, ogtest.Options{})
	db.Define(t, `CREATE TABLE files (id bigint PRIMARY KEY, name text NOT NULL, size bigint, n serial)`)
	write(t, open(t, db.URL, files()), row{int64(1), "a", nil})
}

// Beside a table whose name is written in other letters no second one is made.
func TestTableInOtherLetterCaseIsTold(t *testing.T) {
	onEveryServer(t, func(t *testing.T, db *database) {
		db.Exec(t, `CREATE TABLE "Files" (id bigint PRIMARY KEY, name text NOT NULL, size bigint)`)
		for _, schema := range []string{"", db.Schema} {
			table := files()
			table.Create, table.Schema = true, schema
			s := open(t, db.URL, table)
			e := asError(t, s.Check(context.Background()))
			if e.Class != dest.ClassTable || !strings.Contains(e.Error(), `"Files" does`) || strings.Contains(e.Error(), "CREATE") {
				t.Errorf("class %v: %v", e.Class, e)
			}
			db.Exec(t, `ALTER TABLE "Files" RENAME TO files`)
			check(t, s)
			db.Exec(t, `ALTER TABLE files RENAME TO "Files"`)
		}
		equal(t, db.Rows(t, "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = '"+db.Schema+"'::regnamespace"), "Files")
	})
}

func TestServerThatIsTooOldIsTold(t *testing.T) {
	url := rogue(t, func(_ net.Conn, b *pgproto3.Backend) {
		b.Send(&pgproto3.AuthenticationOk{})
		b.Send(&pgproto3.ParameterStatus{Name: "server_version", Value: "11.22 (Debian 11.22-1)"})
		b.Send(&pgproto3.BackendKeyData{ProcessID: 7, SecretKey: []byte("key!")})
		b.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
		if b.Flush() == nil {
			_, _ = b.Receive() // until the client hangs up
		}
	})
	e := asError(t, open(t, url, files()).Check(context.Background()))
	if e.Class != dest.ClassTable || !strings.Contains(e.Error(), "PostgreSQL 11.22") || !strings.Contains(e.Error(), "12 or newer") {
		t.Errorf("class %v: %v", e.Class, e)
	}
}
