package memdbwriter

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgtype"
)

// visit has a time of each Go type that carries one.
type visit struct {
	ID      int64            `db:"id,key"`
	Day     time.Time        `db:"day"`
	Stamp   *time.Time       `db:"stamp"`
	Instant sql.NullTime     `db:"instant"`
	PGDay   pgtype.Date      `db:"pg_day"`
	PGStamp pgtype.Timestamp `db:"pg_stamp"`
	Tagged  time.Time        `db:"tagged,type=date"`
}

const (
	visitDDL  = "CREATE TABLE visits (id bigint PRIMARY KEY, day date, stamp timestamp, instant timestamptz, pg_day date, pg_stamp timestamp, tagged date)"
	visitText = "SELECT id, day, stamp, instant AT TIME ZONE 'UTC', pg_day, pg_stamp, tagged FROM visits ORDER BY id"
)

// visits are one moment by three clocks, of which each shows another day.
func visits(t *testing.T) []visit {
	t.Helper()
	var rows []visit
	for i, zone := range []*time.Location{time.FixedZone("", 3600), time.UTC, time.FixedZone("", -9*3600-1800)} {
		at := time.Date(2024, 2, 29, 23, 30, 0, 0, time.UTC).In(zone)
		shown := time.Date(at.Year(), at.Month(), at.Day(), at.Hour(), at.Minute(), 0, 0, time.UTC)
		rows = append(rows, visit{
			int64(i + 1), at, &at,
			sql.NullTime{Time: at, Valid: true},
			pgtype.Date{Time: shown, Valid: true},
			pgtype.Timestamp{Time: shown, Valid: true},
			at,
		})
	}
	return rows
}

// wantVisits are the rows of visits in a database.
var wantVisits = []string{
	"1|2024-03-01|2024-03-01 00:30:00|2024-02-29 23:30:00|2024-03-01|2024-03-01 00:30:00|2024-03-01",
	"2|2024-02-29|2024-02-29 23:30:00|2024-02-29 23:30:00|2024-02-29|2024-02-29 23:30:00|2024-02-29",
	"3|2024-02-29|2024-02-29 14:00:00|2024-02-29 23:30:00|2024-02-29|2024-02-29 14:00:00|2024-02-29",
}

func visitTable(t *testing.T, opts ...TableOption) Table[visit] {
	t.Helper()
	table, err := TableOf[visit]("visits", opts...)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// A column of days or of clocks without a zone holds what the value shows,
// whichever Go type carries it and whichever way it takes; one with a zone
// holds the moment.
func TestColumnsHoldTheDayThatTheValueShows(t *testing.T) {
	for kind, batch := range writers {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			p := postgresPlace(t)
			p.exec(t, visitDDL)
			w := openWriter(t, visitTable(t), p.Destination, Config{DisableMemoryDB: batch})
			rows := visits(t)
			mustAdd(t, w, rows...)
			mustSync(t, w)
			wantRows(t, p, visitText, wantVisits...)
			// The upsert compares with what is stored, and then changes it.
			rows[0].Day = rows[0].Day.AddDate(0, 0, 1)
			mustAdd(t, w, rows...)
			mustStop(t, w)
			changed := append([]string{strings.Replace(wantVisits[0], "2024-03-01", "2024-03-02", 1)}, wantVisits[1:]...)
			wantRows(t, p, visitText, changed...)
		})
	}
}

// In SQLite the declared type DATE holds days, and all others the moment in
// UTC, unless the tag wants something else.
func TestSQLiteHoldsTheDayThatTheValueShows(t *testing.T) {
	p := sqlitePlace(t)
	p.exec(t, strings.NewReplacer("stamp timestamp", "stamp datetime", "pg_day date", "pg_day text", "pg_stamp timestamp", "pg_stamp text").Replace(visitDDL))
	w := openWriter(t, visitTable(t), p.Destination, Config{})
	rows := visits(t)
	mustAdd(t, w, rows...)
	mustSync(t, w)
	mustAdd(t, w, rows...)
	mustStop(t, w)
	instant := "2024-02-29 23:30:00.000000+00:00"
	wantRows(t, p, "SELECT id, day || '|' || stamp || '|' || instant || '|' || tagged FROM visits",
		"1|2024-03-01|"+instant+"|"+instant+"|2024-03-01",
		"2|2024-02-29|"+instant+"|"+instant+"|2024-02-29",
		"3|2024-02-29|"+instant+"|"+instant+"|2024-02-29")
}

// What Add took is right for whatever the column proves to be when it is sent,
// by another program, from the journal or from a checkpoint.
func TestDaysSurviveUntilTheColumnIsKnown(t *testing.T) {
	for _, level := range levels {
		t.Run(string(level), func(t *testing.T) {
			t.Parallel()
			p := postgresPlace(t)
			p.exec(t, strings.ReplaceAll(visitDDL, "day date", "day timestamptz"))
			cfg := Config{CheckpointDir: t.TempDir(), Durability: level, SyncInterval: time.Hour}
			w := openWriter(t, visitTable(t), p.Destination, cfg)
			mustAdd(t, w, visits(t)...)
			ended, cancel := context.WithCancel(context.Background())
			cancel()
			wantError(t, w.Stop(ended), ErrUnsynced)
			p.exec(t, "ALTER TABLE visits ALTER day TYPE date")
			p.exec(t, "ALTER TABLE visits ALTER stamp TYPE timestamp")
			p.exec(t, "ALTER TABLE visits ALTER pg_day TYPE date")
			w = openWriter(t, visitTable(t), p.Destination, cfg)
			mustStop(t, w)
			wantRows(t, p, visitText, wantVisits...)
		})
	}
}

// Rows of one key must be known before the column is, so a key is the moment,
// and a key of days says so in its tag.
func TestKeyOfDaysIsToldByItsTag(t *testing.T) {
	type untagged struct {
		Day time.Time `db:"day,key"`
	}
	type tagged struct {
		Day time.Time `db:"day,key,type=date"`
	}
	for where, place := range places {
		t.Run(where, func(t *testing.T) {
			t.Parallel()
			p := place(t)
			p.exec(t, "CREATE TABLE days (day date PRIMARY KEY)")
			without, err := TableOf[untagged]("days")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := New(context.Background(), without, p.Destination, Config{}); !errors.Is(err, ErrDestination) || !strings.Contains(err.Error(), "type=date") {
				t.Fatalf("New: %v", err)
			}
			with, err := TableOf[tagged]("days")
			if err != nil {
				t.Fatal(err)
			}
			w := openWriter(t, with, p.Destination, Config{})
			for _, v := range visits(t) {
				mustAdd(t, w, tagged{v.Day})
			}
			mustStop(t, w)
			if s := w.SyncStatus(); s.Superseded != 1 {
				t.Errorf("status: %+v", s)
			}
			wantRows(t, p, "SELECT day || '' FROM days ORDER BY day", "2024-02-29", "2024-03-01")
		})
	}
}
