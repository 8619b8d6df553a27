package memdbtest_test

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"

	"github.com/memdbwriter/memdbwriter"
	"github.com/memdbwriter/memdbwriter/internal/pgtest"
	"github.com/memdbwriter/memdbwriter/memdbtest"
)

// Rows with a column of each kind, in the variants that tags can have.
type (
	plainRow struct {
		K int64                       `db:"k,key"`
		V float64                     `db:"v"`
		P int64                       `db:"p,passive"`
		S int64                       `db:"s,insertonly"`
		G bool                        `db:"g"`
		N *int64                      `db:"n"`
		O memdbwriter.Optional[int64] `db:"o"`
	}
	setOnceRow struct {
		K int64                       `db:"k,key"`
		V float64                     `db:"v"`
		P int64                       `db:"p,passive"`
		S int64                       `db:"s,insertonly"`
		G bool                        `db:"g,insertonly"`
		N *int64                      `db:"n,omitnil"`
		O memdbwriter.Optional[int64] `db:"o,passive"`
	}
)

// What a table in memory holds after any rows is what databases hold.
func TestRulesAreThoseOfDatabases(t *testing.T) {
	pg, file := pgtest.Open(t), filepath.Join(t.TempDir(), "same.db")
	server, err := memdbwriter.OpenDestination(context.Background(), pg.URL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	lite, err := memdbwriter.SQLite(file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { lite.Close() })
	db, err := sql.Open("sqlite", file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	places := []realPlace{
		{"PostgreSQL", server, func(query string) []string { return pg.Rows(t, query) }},
		{"SQLite", lite, func(query string) []string { return queryRows(t, db, query) }},
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	for i, opts := range [][]memdbwriter.TableOption{
		nil, {memdbwriter.Guard("g")}, {memdbwriter.OnConflict(memdbwriter.ConflictIgnore)}, {memdbwriter.OnConflict(memdbwriter.ConflictInsertOnly)},
	} {
		opts = append(opts, memdbwriter.CreateTable())
		sameRows[plainRow](t, rng, places, fmt.Sprintf("plain_%d", i), opts)
		sameRows[setOnceRow](t, rng, places, fmt.Sprintf("once_%d", i), opts)
	}
}

type realPlace struct {
	name string
	*memdbwriter.Destination
	query func(string) []string
}

// sameRows writes the same random rows to memory and to databases. The columns
// of T are those of plainRow.
func sameRows[T plainRow | setOnceRow](t *testing.T, rng *rand.Rand, places []realPlace, name string, opts []memdbwriter.TableOption) {
	t.Helper()
	table, memory := tableOf[T](t, name, opts...), memdbtest.New()
	writers := []memdbwriter.Writer[T]{newWriter(t, memory, table, memdbwriter.Config{})}
	for _, p := range places {
		w, err := memdbwriter.New(context.Background(), table, p.Destination, memdbwriter.Config{})
		if err != nil {
			t.Fatal(err)
		}
		writers = append(writers, w)
	}
	for range 8 {
		var rows []T
		for range 1 + rng.IntN(4) {
			rows = append(rows, T(randomRow(rng)))
		}
		for _, w := range writers {
			add(t, w, rows...)
			_ = w.ForceSync(context.Background()) // duplicate keys are an error with ConflictInsertOnly
		}
	}
	stored, err := memdbtest.Rows(memory, table)
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, row := range stored {
		want = append(want, rowText(plainRow(row)))
	}
	slices.Sort(want)
	for i, p := range places {
		got := p.query("SELECT k, CAST(v AS integer), p, s, CAST(g AS integer), coalesce(n, -1), coalesce(o, -1) FROM " + name)
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%s, %s (k, v, p, s, g, n, o):\n got %v\nwant %v", name, p.name, got, want)
		}
		if real, model := writers[i+1].SyncStatus(), writers[0].SyncStatus(); real.Synced != model.Synced || real.Failed != model.Failed {
			t.Errorf("%s, %s: %d synced and %d failed, in memory %d and %d", name, p.name, real.Synced, real.Failed, model.Synced, model.Failed)
		}
	}
	for _, w := range writers {
		_ = w.Stop(context.Background()) // the same error
	}
}

func randomRow(rng *rand.Rand) plainRow {
	row := plainRow{
		K: rng.Int64N(3), V: []float64{0, 1, 2}[rng.IntN(3)], P: rng.Int64N(1000), S: rng.Int64N(3), G: rng.IntN(6) == 0,
	}
	if n := rng.Int64N(3); n > 0 {
		row.N = &n
	}
	if rng.IntN(2) == 0 {
		row.O = memdbwriter.Some(rng.Int64N(3))
	}
	return row
}

func rowText(r plainRow) string {
	n, o, g := int64(-1), int64(-1), 0
	if r.N != nil {
		n = *r.N
	}
	if r.O.Set {
		o = r.O.V
	}
	if r.G {
		g = 1
	}
	return fmt.Sprintf("%d|%.0f|%d|%d|%d|%d|%d", r.K, r.V, r.P, r.S, g, n, o)
}

func queryRows(t *testing.T, db *sql.DB, query string) (out []string) {
	t.Helper()
	rows, err := db.Query(query)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var n [7]int64
		if err := rows.Scan(&n[0], &n[1], &n[2], &n[3], &n[4], &n[5], &n[6]); err != nil {
			t.Fatal(err)
		}
		out = append(out, fmt.Sprintf("%d|%d|%d|%d|%d|%d|%d", n[0], n[1], n[2], n[3], n[4], n[5], n[6]))
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}
