package pgdest

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/memdbwriter/memdbwriter/internal/dest"
	"github.com/memdbwriter/memdbwriter/internal/pgtest"
)

// pooler starts a pgbouncer that hands out the server's sessions for single
// transactions, and returns the database's URL with it as the server.
func pooler(t *testing.T, db *pgtest.DB) string {
	t.Helper()
	program, err := exec.LookPath("pgbouncer")
	if err != nil {
		program = "/usr/sbin/pgbouncer" // where Debian puts it, outside of the PATH of users
	}
	if _, err := os.Stat(program); err != nil {
		t.Fatalf("this test needs pgbouncer (apt-get install pgbouncer, brew install pgbouncer): %v", err)
	}
	u, err := url.Parse(db.URL)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(t.TempDir(), "pgbouncer.ini")
	err = os.WriteFile(config, fmt.Appendf(nil, `[databases]
* = host=%s port=%s user=%s
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %d
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 3
server_round_robin = 1
ignore_startup_parameters = search_path
`, u.Hostname(), u.Port(), u.User.Username(), port), 0o644)
	if err != nil {
		t.Fatal(err)
	}
	// The shell ends pgbouncer when its input does, with this process at the
	// latest.
	cmd := exec.Command("sh", "-c", `"$@" & read -r _; kill $!; wait $!`, "sh", program, config)
	if os.Geteuid() == 0 {
		cmd.Args = append(cmd.Args, "--user", "nobody") // it refuses to run as root
	}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	log, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var drain sync.WaitGroup
	t.Cleanup(func() {
		stdin.Close()
		drain.Wait()
		// The status is that of a killed process.
		_ = cmd.Wait()
	})
	var said strings.Builder
	lines := bufio.NewScanner(log)
	for lines.Scan() {
		fmt.Fprintln(&said, lines.Text())
		if strings.Contains(lines.Text(), "process up") {
			drain.Go(func() { _, _ = io.Copy(io.Discard, log) })
			u.Host = fmt.Sprintf("127.0.0.1:%d", port)
			return u.String()
		}
	}
	t.Fatalf("pgbouncer did not start:\n%s", said.String())
	return ""
}

func TestThroughATransactionPooler(t *testing.T) {
	db := pgtest.Open(t)
	db.Exec(t, filesDDL+"; ALTER TABLE files ADD CHECK (size >= 0);"+linesDDL)
	proxied := pooler(t, db)
	keyedTable, log := files(), lines()
	keyedTable.Schema, log.Schema = db.Schema, db.Schema // a pooler knows no search_path
	s := open(t, proxied, keyedTable)
	check(t, s)

	// Four workers change servers between batches: each meets temporary tables
	// that it did not make, and none where it made one.
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 20 {
				id := int64(w*1000 + i/2)
				if _, err := s.Write(context.Background(), batch(row{id, fmt.Sprint("name ", i), int64(i)}, row{id + 500, "b", nil})); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	equal(t, db.Rows(t, "SELECT count(*), count(*) FILTER (WHERE size % 2 = 1), count(*) FILTER (WHERE name = 'b') FROM files"), "80|40|40")
	if res := write(t, s, row{int64(1), "again", nil}); res.Way != dest.Upsert {
		t.Errorf("way %v", res.Way)
	}

	for _, way := range []dest.Way{dest.Direct, dest.Upsert} {
		s.choice.succeeded()
		if way == dest.Upsert {
			s.choice.conflicted()
		}
		e := refused(t, s, row{int64(9001), "a", int64(1)}, row{int64(9002), "a", int64(-1)})
		if e.Class != dest.ClassRow || e.SQLState != "23514" || way == dest.Direct && e.Row != 1 {
			t.Errorf("way %v: class %v state %s row %d: %v", way, e.Class, e.SQLState, e.Row, e)
		}
		write(t, s, row{int64(9003), "a", int64(1)})
	}

	in := open(t, proxied, log)
	for i := range 10 {
		insist(t, in, numbered(int64(i*10), 10))
	}
	if e := refused(t, in, row{int64(0), strings.Repeat("\x00", 3)}); e.Class != dest.ClassRow {
		t.Errorf("class %v: %v", e.Class, e)
	}
	insist(t, in, numbered(100, 10))
	equal(t, db.Rows(t, "SELECT count(*), count(DISTINCT id) FROM log"), "110|110")

	// The pooler's sessions end under it, with the temporary tables.
	endSessions(t, db, "application_name = 'memdbwriter'")
	insist(t, s, batch(row{int64(1), "once more", nil}))
	insist(t, in, numbered(110, 10))
	equal(t, db.Rows(t, "SELECT name FROM files WHERE id = 1"), "once more")
}
