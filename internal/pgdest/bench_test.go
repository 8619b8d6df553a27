package pgdest

import (
	"bytes"
	"context"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/memdbwriter/memdbwriter/internal/dest"
	"github.com/memdbwriter/memdbwriter/internal/pgtest"
	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

// BenchmarkWrite compares the ways of a batch of 5,000 rows into a table of
// ten columns and about 150 bytes a row:
//
//   - raw: a bare COPY of the same bytes, the limit
//   - direct, upsert: new keys, each way forced
//   - rescan, changed: known keys, the rows as they are and with one change
//   - transcoded: new keys, directly, into columns of other types
func BenchmarkWrite(b *testing.B) {
	const rows = 5000
	columns := []dest.Column{col("set_id", tuple.Int8), col("path", tuple.Text)}
	for i := range 4 {
		columns = append(columns, col(fmt.Sprint("n", i), tuple.Int8, "null"), col(fmt.Sprint("s", i), tuple.Text, "null"))
	}
	table := func(name string) *dest.Table { return &dest.Table{Name: name, Keys: 2, Columns: columns, Create: true} }
	fill := func(batch *tuple.Batch, round int, s string) {
		batch.Reset()
		for i := range rows {
			r := row{int64(1), fmt.Sprintf("/data/project/%06d/file-%04d.dat", round, i)}
			for j := range 4 {
				r = append(r, int64(i*j), s)
			}
			batch.Append(int64(i), encode(r))
		}
	}
	for _, c := range []struct {
		name    string
		typ     string // of the integer columns
		prepare func(s *Sink)
		round   func(i int) int
		value   func(i int) string
		raw     bool
	}{
		{name: "raw", raw: true},
		{name: "direct", prepare: func(s *Sink) { s.choice.succeeded() }},
		{name: "upsert", prepare: func(s *Sink) { s.choice.conflicted() }},
		{name: "rescan", round: func(int) int { return 0 }},
		{name: "changed", round: func(int) int { return 0 }, value: func(i int) string { return fmt.Sprint(i) }},
		{name: "transcoded", typ: "integer"},
	} {
		b.Run(c.name, func(b *testing.B) {
			db := pgtest.Open(b)
			s := open(b, db.URL, table("t"))
			check(b, s)
			if c.typ != "" {
				for i := range 4 {
					db.Exec(b, fmt.Sprintf("ALTER TABLE t ALTER n%d TYPE %s, ALTER s%d TYPE varchar(100)", i, c.typ, i))
				}
				check(b, s)
			}
			batch := &tuple.Batch{}
			var bytesOut int64
			b.ReportAllocs()
			b.ResetTimer()
			for i := 0; b.Loop(); i++ {
				b.StopTimer()
				round, value := i, "some text"
				if c.round != nil {
					round = c.round(i)
				}
				if c.value != nil {
					value = c.value(i)
				}
				fill(batch, round, value)
				bytesOut += batch.Bytes()
				raw := append(append([]byte(copyHeader), batch.Data...), copyTrailer...)
				if c.prepare != nil {
					c.prepare(s)
				}
				b.StartTimer()
				write := func() error {
					_, err := s.Write(context.Background(), batch)
					return err
				}
				if c.raw {
					write = func() error {
						return s.db.pool.AcquireFunc(context.Background(), func(conn *pgxpool.Conn) error {
							_, err := conn.Conn().PgConn().CopyFrom(context.Background(), bytes.NewReader(raw), "COPY t FROM STDIN (FORMAT binary)")
							return err
						})
					}
				}
				if err := write(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N)*rows/b.Elapsed().Seconds(), "rows/s")
			b.ReportMetric(float64(bytesOut)/float64(b.N)/rows, "bytes/row")
		})
	}
}
