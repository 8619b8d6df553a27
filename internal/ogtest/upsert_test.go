package ogtest

import (
	"fmt"
	"slices"
	"testing"

	"github.com/jackc/pgx/v5"
)

func rowsAre(t *testing.T, s *Server, sql string, want ...string) {
	t.Helper()
	if got := s.Backend.Rows(t, sql); !slices.Equal(got, want) {
		t.Errorf("%s: %q, want %q", sql, got, want)
	}
}

func TestUpsertUpdatesAndCountsRows(t *testing.T) {
	for _, o := range []Options{{Mode: "A"}, {Mode: "B"}, {Mode: "C"}, {Mode: "PG"}, {Version: "6.0.2"}} {
		s, conn := at(t, o)
		run(t, conn, "CREATE TABLE f (id int PRIMARY KEY, n int, first text)")
		tag := run(t, conn, "INSERT INTO f VALUES (1, 10, 'a'), (2, 20, 'b') ON DUPLICATE KEY UPDATE n = EXCLUDED.n")
		if tag.String() != "INSERT 0 2" {
			t.Errorf("tag %s", tag)
		}
		run(t, conn, "INSERT INTO f (id, n, first) VALUES ($1, $2, $3), ($4, $5, $6) ON DUPLICATE KEY UPDATE n = VALUES(n)",
			1, 11, "x", 3, 30, "c")
		rowsAre(t, s, "SELECT * FROM f ORDER BY id", "1|11|a", "2|20|b", "3|30|c")

		tag = run(t, conn, "INSERT INTO f VALUES (1, 0, 'x'), (4, 40, 'd') ON DUPLICATE KEY UPDATE NOTHING")
		if tag.String() != "INSERT 0 1" {
			t.Errorf("NOTHING: tag %s", tag)
		}
		tag = run(t, conn, "INSERT INTO f AS t (id, n) VALUES (1, 12), (2, 20) ON DUPLICATE KEY UPDATE n = EXCLUDED.n WHERE t.n IS DISTINCT FROM EXCLUDED.n")
		if tag.String() != "INSERT 0 1" {
			t.Errorf("WHERE: tag %s", tag)
		}
		rowsAre(t, s, "SELECT n FROM f ORDER BY id", "12", "20", "30", "40")
		run(t, conn, "INSERT INTO f VALUES (1, 5, 'x') ON DUPLICATE KEY UPDATE n = n + EXCLUDED.n, first = upper(f.first)")
		rowsAre(t, s, "SELECT * FROM f WHERE id = 1", "1|17|A")
	}
}

func TestUpsertOfOneKeyTwiceAppliesBothInOrder(t *testing.T) {
	s, conn := at(t, Options{})
	run(t, conn, "CREATE TABLE f (id int PRIMARY KEY, n int, first text)")
	tag := run(t, conn, "INSERT INTO f VALUES (1, 1, 'a'), (1, 2, 'b'), (1, 3, 'c') ON DUPLICATE KEY UPDATE n = EXCLUDED.n")
	if tag.RowsAffected() != 3 {
		t.Errorf("tag %s", tag)
	}
	rowsAre(t, s, "SELECT * FROM f", "1|3|a")
}

func TestUpsertFiresOnAnyUniqueIndex(t *testing.T) {
	s, conn := at(t, Options{})
	run(t, conn, "CREATE TABLE f (id int PRIMARY KEY, mail text UNIQUE, n int)")
	run(t, conn, "INSERT INTO f VALUES (1, 'a', 0), (2, 'b', 0)")
	run(t, conn, "INSERT INTO f VALUES (3, 'b', 7) ON DUPLICATE KEY UPDATE n = EXCLUDED.n")
	run(t, conn, "INSERT INTO f VALUES (1, 'b', 8) ON DUPLICATE KEY UPDATE n = EXCLUDED.n")
	run(t, conn, "INSERT INTO f VALUES (9, 'i', 9) ON DUPLICATE KEY UPDATE n = EXCLUDED.n")
	rowsAre(t, s, "SELECT * FROM f ORDER BY id", "1|a|8", "2|b|7", "9|i|9")
	run(t, conn, "INSERT INTO f VALUES (8, 'i', 9) ON DUPLICATE KEY UPDATE NOTHING")

	run(t, conn, "CREATE TABLE p (id int, live bool, n int); CREATE UNIQUE INDEX ON p (id) WHERE live; CREATE UNIQUE INDEX ON p ((abs(n)))")
	run(t, conn, "INSERT INTO p VALUES (1, false, 1), (1, false, 2), (1, true, 3), (2, true, -3) ON DUPLICATE KEY UPDATE live = false")
	rowsAre(t, s, "SELECT * FROM p ORDER BY n", "1|f|1", "1|f|2", "1|f|3")
}

func TestUpsertWithoutUniqueIndexInserts(t *testing.T) {
	s, conn := at(t, Options{})
	run(t, conn, "CREATE TABLE f (id int, n int)")
	for range 2 {
		run(t, conn, "INSERT INTO f VALUES (1, 1) ON DUPLICATE KEY UPDATE n = EXCLUDED.n")
	}
	rowsAre(t, s, "SELECT count(*) FROM f", "2")
}

func TestUpsertRefusals(t *testing.T) {
	const ddl = `CREATE TABLE f (id int PRIMARY KEY, mail text UNIQUE, n int); INSERT INTO f VALUES (1, 'm', 1);
		CREATE TABLE d (id int PRIMARY KEY, k int UNIQUE DEFERRABLE, n int)`
	const row = "INSERT INTO f VALUES (1, 'm', 1) "
	for _, c := range []struct {
		o    Options
		sql  string
		code string // empty: accepted
	}{
		{Options{}, row + "ON CONFLICT (id) DO UPDATE SET n = EXCLUDED.n", "42601"},
		{Options{Mode: "PG"}, row + "ON CONFLICT DO NOTHING", "42601"},
		{Options{Mode: "B"}, row + "ON CONFLICT DO NOTHING", "42601"},
		{Options{}, row + "ON DUPLICATE KEY UPDATE id = EXCLUDED.id", "0A000"},
		{Options{Mode: "C"}, row + "ON DUPLICATE KEY UPDATE mail = EXCLUDED.mail", "0A000"},
		{Options{Mode: "B"}, row + "ON DUPLICATE KEY UPDATE mail = EXCLUDED.mail", ""},
		{Options{Mode: "B", Version: "3.1.0"}, row + "ON DUPLICATE KEY UPDATE mail = EXCLUDED.mail", "0A000"},
		{Options{}, row + "ON DUPLICATE KEY UPDATE n = VALUES(n) + 1", "42601"},
		{Options{}, row + "ON DUPLICATE KEY UPDATE n = VALUES(f.n)", "42601"},
		{Options{}, row + "ON DUPLICATE KEY UPDATE n = 1 WHERE f.n > VALUES(n)", "42601"},
		{Options{Mode: "B", Dolphin: true}, row + "ON DUPLICATE KEY UPDATE n = VALUES(n) + 1", ""},
		{Options{Mode: "B", Dolphin: true}, row + "ON DUPLICATE KEY UPDATE n = VALUES(n) WHERE f.n <> VALUES(n)", ""},
		{Options{Mode: "B", Dolphin: true}, row + "ON DUPLICATE KEY UPDATE n = EXCLUDED.n", "42P01"},
		{Options{}, row + "ON DUPLICATE KEY UPDATE n = 2 RETURNING id", "42601"},
		{Options{Version: "6.0.2"}, row + "ON DUPLICATE KEY UPDATE n = 2 RETURNING id", ""},
		{Options{Version: "2.1.0"}, row + "ON DUPLICATE KEY UPDATE n = 2 WHERE f.n > 1", "42601"},
		{Options{Version: "2.1.0"}, "INSERT INTO f AS t VALUES (1, 'm', 1) ON DUPLICATE KEY UPDATE n = 2", "42601"},
		{Options{}, "WITH w AS (SELECT 1) " + row + "ON DUPLICATE KEY UPDATE n = 2", "42601"},
		{Options{}, "INSERT INTO d VALUES (1, 1, 1) ON DUPLICATE KEY UPDATE n = 1", "0A000"},
		{Options{}, row + "ON DUPLICATE KEY UPDATE nix = 1", "42703"},
		{Options{}, "INSERT INTO nix (a) VALUES (1) ON DUPLICATE KEY UPDATE NOTHING", "42P01"},
		{Options{}, "INSERT INTO nix (a) VALUES (1) ON CONFLICT (a) DO UPDATE SET a = EXCLUDED.a", "42601"},
		{Options{}, "REPLACE INTO f VALUES (1, 'm', 1)", "42601"},
		{Options{Mode: "B"}, "REPLACE INTO f VALUES (1, 'm', 1)", ""},
		{Options{Mode: "B"}, "INSERT IGNORE INTO f VALUES (1, 'm', 1)", "42601"},
		{Options{}, row + "ON DUPLICATE KEY UPDATE n = $1", UnknownStatement},
	} {
		t.Run(fmt.Sprintf("%s%s %s", c.o.Mode, c.o.Version, c.sql), func(t *testing.T) {
			s, conn := at(t, c.o)
			run(t, conn, ddl)
			if c.code == "" {
				run(t, conn, c.sql)
				if err := execPrepared(t, conn, c.sql); err != nil {
					t.Error(err)
				}
				rowsAre(t, s, "SELECT count(*) FROM f", "1")
				return
			}
			fails(t, conn, c.code, c.sql)
			failsPrepared(t, conn, c.code, c.sql)
		})
	}
}

func TestUpsertReturning(t *testing.T) {
	_, conn := at(t, Options{Version: "6.0.2"})
	run(t, conn, "CREATE TABLE f (id serial PRIMARY KEY, k text UNIQUE, n int DEFAULT 5)")
	if id := value[int](t, conn, "INSERT INTO f (k) VALUES ('a') ON DUPLICATE KEY UPDATE n = 6 RETURNING f.id"); id != 1 {
		t.Errorf("id %d", id)
	}
	if n := value[int](t, conn, "INSERT INTO f (id, k) VALUES (7, 'a') ON DUPLICATE KEY UPDATE n = 6 RETURNING id * 10 + n"); n != 16 {
		t.Errorf("id and n %d", n)
	}
	rows, err := conn.Query(t.Context(), "INSERT INTO f (id, k) VALUES (7, 'a') ON DUPLICATE KEY UPDATE NOTHING RETURNING id")
	if err != nil {
		t.Fatal(err)
	}
	if ids, err := pgx.CollectRows(rows, pgx.RowTo[int]); err != nil || len(ids) > 0 {
		t.Errorf("NOTHING returned %v, %v", ids, err)
	}
}

func TestPreparedUpsertNoticesNewIndexes(t *testing.T) {
	s, conn := at(t, Options{Mode: "PG"})
	run(t, conn, "CREATE TABLE f (id int, n int)")
	upsert := func() {
		run(t, conn, "INSERT INTO f VALUES ($1, $2) ON DUPLICATE KEY UPDATE n = EXCLUDED.n", 1, 2)
	}
	upsert()
	run(t, conn, "CREATE UNIQUE INDEX ON f (id)")
	upsert()
	rowsAre(t, s, "SELECT count(*) FROM f", "1")
	run(t, conn, "DROP TABLE f")
}

func TestConcurrentUpsertsWait(t *testing.T) {
	s, one := at(t, Options{})
	two := client(t, s.URL)
	run(t, one, "CREATE TABLE f (id int PRIMARY KEY, n int)")
	run(t, one, "BEGIN; INSERT INTO f VALUES (1, 1) ON DUPLICATE KEY UPDATE n = EXCLUDED.n")
	done := make(chan error, 1)
	go func() {
		_, err := two.Exec(t.Context(), "INSERT INTO f VALUES (1, 2) ON DUPLICATE KEY UPDATE n = EXCLUDED.n")
		done <- err
	}()
	s.awaitLock(t)
	run(t, one, "COMMIT")
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	rowsAre(t, s, "SELECT * FROM f", "1|2")
}

// awaitLock returns when a session of the server waits for a lock.
func (s *Server) awaitLock(t *testing.T) {
	t.Helper()
	s.Backend.Exec(t, `DO $$ BEGIN
		WHILE NOT EXISTS (SELECT 1 FROM pg_locks WHERE NOT granted) LOOP PERFORM pg_sleep(0.005); END LOOP; END $$`)
}
