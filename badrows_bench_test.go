package memdbwriter

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// BenchmarkBadRows measures what rejected rows cost: the same rows, of which a
// share is bad in one of three ways, on fresh tables, all within one run. x is
// how often the time of the rows without a bad one it took. These go straight into
// the table; a batch that is told apart goes through a temporary one.
//
//	go test -run '^$' -bench BadRows -benchtime 3x .
func BenchmarkBadRows(b *testing.B) {
	type badRow struct {
		ID   int64  `db:"id,key"`
		Code int64  `db:"code"`
		Name string `db:"name"`
		Note string `db:"note"`
	}
	const n = 20_000
	spoil := map[string]func(*badRow){
		"check":  func(r *badRow) { r.Name = badName },
		"unique": func(r *badRow) { r.Code = -1 },
		"type":   func(r *badRow) { r.Name = strings.Repeat("long", 10) },
	}
	for _, where := range []string{"postgres", "sqlite"} {
		var good time.Duration
		for _, kind := range []string{"none", "check", "unique", "type"} {
			for _, every := range []int{1, 10, 100, 10_000} {
				if kind == "none" && every > 1 || kind == "type" && where == "sqlite" {
					continue // one run without; SQLite's texts have no length
				}
				b.Run(fmt.Sprintf("%s/%s/1in%d", where, kind, every), func(b *testing.B) {
					var took time.Duration
					var s Stats
					for b.Loop() {
						p := places[where](b)
						p.exec(b, `CREATE TABLE bad_rows (id bigint PRIMARY KEY, code bigint UNIQUE,
							name varchar(20) CHECK (name <> '`+badName+`'), note text)`)
						p.exec(b, `INSERT INTO bad_rows VALUES (-1, -1, 'there', '')`)
						w := openWriter(b, mustTable[badRow](b, "bad_rows"), p.Destination, Config{MaxFailedRows: 2 * n})
						start := time.Now()
						for i := range int64(n) {
							r := badRow{ID: i, Code: i, Name: "good", Note: strings.Repeat("x", 100)}
							if bad := spoil[kind]; bad != nil && i%int64(every) == 0 {
								bad(&r)
							}
							mustAdd(b, w, r)
						}
						if err := w.ForceSync(patient(b)); errors.Is(err, ErrUnsynced) || err == nil && kind != "none" {
							b.Fatal(err)
						}
						took += time.Since(start)
						s = w.Stats()
						abandon(w)
					}
					took /= time.Duration(b.N)
					if kind == "none" {
						good = took
					}
					b.ReportMetric(float64(n)/took.Seconds(), "rows/s")
					b.ReportMetric(float64(s.RoundTrips)/float64(s.Batches), "trips/batch")
					b.ReportMetric(took.Seconds()/good.Seconds(), "x")
				})
			}
		}
	}
}
