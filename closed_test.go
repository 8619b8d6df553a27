package memdbwriter

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/memdbwriter/memdbwriter/internal/dest"
	"github.com/memdbwriter/memdbwriter/internal/pgtest"
)

// A destination or pool that somebody closed too early is an error at once, from
// everything that needs it: nobody waits for it to come back.
func TestAClosedDestinationIsAnErrorAtOnce(t *testing.T) {
	for name, close := range map[string]func(*testing.T) (d *Destination, close func()){
		"postgres": func(t *testing.T) (*Destination, func()) {
			p := postgresPlace(t)
			p.exec(t, itemsDDL)
			return p.Destination, func() { p.Destination.Close() }
		},
		"pool": func(t *testing.T) (*Destination, func()) {
			p, pool := pooled(t)
			return p, pool.Close
		},
		"destination of a pool": func(t *testing.T) (*Destination, func()) {
			p, _ := pooled(t)
			return p, func() { p.Close() }
		},
		"sqlite": func(t *testing.T) (*Destination, func()) {
			p := sqlitePlace(t)
			return p.Destination, func() { p.Destination.Close() }
		},
	} {
		t.Run(name, func(t *testing.T) {
			for _, batch := range writers {
				d, closeIt := close(t)
				w, err := Open(t.Context(), itemTable(t), d, Config{DisableMemoryDB: batch})
				if err != nil {
					t.Fatal(err)
				}
				mustAdd(t, w, newItem(1, "one"))
				closeIt()
				want := func(what string, err error) {
					t.Helper()
					if !errors.Is(err, ErrClosed) || !errors.Is(err, ErrDestination) {
						t.Errorf("%s: %v", what, err)
					}
				}
				_, err = New(context.Background(), itemTable(t), d, Config{})
				want("New", err)
				_, err = Open(context.Background(), itemTable(t), d, Config{DisableMemoryDB: batch})
				want("Open", err)
				err = w.ForceSync(context.Background())
				want("ForceSync", err)
				if n := strings.Count(err.Error(), d.String()); n != 1 {
					t.Errorf("the destination is named %d times: %v", n, err)
				}
				want("Stop", w.Stop(context.Background()))
			}
		})
	}
}

const itemsDDL = "CREATE TABLE items (id bigint PRIMARY KEY, name text NOT NULL, note text, stage text, seen timestamptz)"

// pooled is a destination of a pool of the caller's, with the table of items.
func pooled(t *testing.T) (*Destination, *pgxpool.Pool) {
	t.Helper()
	db := pgtest.Open(t)
	db.Exec(t, itemsDDL)
	pool := db.Pool(t)
	return Postgres(pool), pool
}

// A login is tried again as soon as anything else, since its password may just be
// changing; but not where the account would be locked for it.
func TestLoginsAreTriedAgain(t *testing.T) {
	for name, c := range map[string]struct {
		locks       bool
		least, most int64
	}{"a server that locks no accounts": {false, 100, 4000}, "a server that does": {true, 4, 5}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var attempts int64
				s := &script{write: func(context.Context, []string) error {
					attempts++
					return &dest.Error{Class: dest.ClassTable, Row: -1, SQLState: "28P01", Locks: c.locks, Err: errors.New("wrong password")}
				}}
				w := scriptedWriter(t, s, Config{SyncBatchSize: 10})
				addNames(t, w, 0, 10)
				time.Sleep(time.Hour)
				synctest.Wait()
				if attempts < c.least || attempts > c.most {
					t.Errorf("%d attempts in an hour", attempts)
				}
				if st := w.SyncStatus(); st.State != StateBlocked {
					t.Errorf("state %s", st.State)
				}
				ctx, cancel := context.WithCancel(t.Context())
				cancel()
				wantError(t, w.Stop(ctx), ErrUnsynced)
			})
		})
	}
}

// A thousand failed rows are a short error, and still each of the first can be had.
func TestErrorOfManyFailedRows(t *testing.T) {
	for _, batch := range writers {
		p := postgresPlace(t)
		p.exec(t, strings.Replace(itemsDDL, "name text NOT NULL", `name text NOT NULL CONSTRAINT no_x CHECK (name <> 'x')`, 1)+`;
			CREATE UNIQUE INDEX one_note ON items (note) WHERE note IS NOT NULL`)
		w := openWriter(t, itemTable(t), p.Destination, Config{DisableMemoryDB: batch})
		note := "the\nsame"
		for i := range 300 {
			it := newItem(int64(i), "x")
			if i >= 200 {
				it.Name, it.Note = "good", &note
			}
			mustAdd(t, w, it)
		}
		err := w.ForceSync(patient(t))
		text := err.Error()
		if len(text) > 600 || strings.ContainsAny(text, "\n\t") || !strings.Contains(text, "299 of items (200 with 23514, 99 with 23505)") {
			t.Errorf("%d bytes: %s", len(text), text)
		}
		var re *RowError
		if !errors.As(err, &re) || re.SQLState != "23514" || re.Constraint != "no_x" || strings.Count(re.Error(), "items") > 3 {
			t.Errorf("%+v", re)
		}
		for f, err := range w.SyncErrors() {
			if err != nil {
				t.Fatal(err)
			}
			if errors.As(f.Err, &re) && re.SQLState == "23505" {
				if re.Constraint != "one_note" || strings.Contains(re.Error(), "\n") || !strings.Contains(re.Error(), "already exists") {
					t.Errorf("%+v", re)
				}
				break
			}
		}
		wantError(t, w.Stop(patient(t)), ErrRowsFailed)
	}
}

// Rows without a key are told by what they begin with.
func TestFailedRowsWithoutAKeyAreTold(t *testing.T) {
	type line struct {
		Host string `db:"host"`
		Text string `db:"text"`
		N    int64  `db:"n"`
		More string `db:"more"`
	}
	p := postgresPlace(t)
	p.exec(t, "CREATE TABLE log (host text, text varchar(4), n bigint, more text)")
	table, err := TableOf[line]("log")
	if err != nil {
		t.Fatal(err)
	}
	w := openWriter(t, table, p.Destination, Config{})
	mustAdd(t, w, line{"db1", "much too long", 7, "x"})
	wantError(t, w.ForceSync(patient(t)), ErrRowsFailed, "(host, text, n)=", "db1", "7")
	wantError(t, w.Stop(patient(t)), ErrRowsFailed)
}
