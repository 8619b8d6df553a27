package memdbwriter

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/memdbwriter/memdbwriter/internal/dest"
	"github.com/memdbwriter/memdbwriter/internal/pgtest"
	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

// bomb is a log handler each of whose methods panics.
type bomb struct{}

func (bomb) Enabled(context.Context, slog.Level) bool  { return true }
func (bomb) Handle(context.Context, slog.Record) error { panic("the log is full") }
func (bomb) WithAttrs([]slog.Attr) slog.Handler        { panic("no attributes") }
func (bomb) WithGroup(string) slog.Handler             { panic("no groups") }

// explosive is a sink whose first calls panic, as the hooks of a pool may.
type explosive struct {
	dest.Sink
	left atomic.Int64
}

func (e *explosive) Write(ctx context.Context, b *tuple.Batch) (dest.Result, error) {
	if e.left.Add(-1) >= 0 {
		panic(fmt.Errorf("a tracer's %w", errFlaky))
	}
	return e.Sink.Write(ctx, b)
}

// A log handler, a hook and a destination that panic lose no row and end no
// goroutine: rows go on, and the figures say what happened.
func TestPanicsOfWhatAUserGivesAreSurvived(t *testing.T) {
	everywhere(t, func(t *testing.T, p *place, open func(Config) Writer[item]) {
		w := open(Config{Logger: slog.New(bomb{}), OnSync: func(context.Context, SyncEvent) { panic("no event") }})
		c := coreOf(w)
		e := &explosive{Sink: c.sink}
		e.left.Store(2)
		c.sink = e
		c.cfg.Logger.With("a", 1).WithGroup("g").Info("survived")
		mustAdd(t, w, newItem(1, "a"), newItem(2, badName))
		wantError(t, w.ForceSync(patient(t)), ErrRowsFailed)
		wantError(t, w.Stop(patient(t)), ErrRowsFailed)
		wantError(t, w.Stop(patient(t)), ErrRowsFailed)
		wantRows(t, p, "SELECT id FROM items", "1")
		s := w.Stats()
		wantBalance(t, s.SyncStatus)
		if s.Panics < 5 || s.LastPanic == nil || !strings.Contains(s.LastPanic.Error(), "panicked: ") {
			t.Errorf("%d panics, the last is %v", s.Panics, s.LastPanic)
		}
	})
}

// insult is a field whose methods panic, with a value whose own method panics.
type insult struct{ on bool }

func (i insult) String() string              { panic("String") }
func (i *insult) UnmarshalText([]byte) error { panic(*i) }

func (i insult) MarshalText() ([]byte, error) {
	if i.on {
		panic(i)
	}
	return []byte("t"), nil
}

type insulting struct {
	ID int64  `db:"id,key"`
	T  insult `db:"name"`
}

// What the methods of a row do is an error of that row, in the caller's hands,
// and the writer goes on.
func TestRowsWhoseMethodsPanic(t *testing.T) {
	for kind, batch := range writers {
		t.Run(kind, func(t *testing.T) {
			sink := &sizes{}
			w := openWriter(t, mustTable[insulting](t, "t"), &Destination{scripted{sink}}, Config{DisableMemoryDB: batch})
			bad := insulting{ID: 1, T: insult{true}}
			_, err := w.AddBatch(patient(t), []insulting{{ID: 2}, bad})
			for _, err := range []error{err, w.Add(patient(t), bad), w.TryAdd(bad)} {
				var re *RowError
				if !errors.As(err, &re) || re.Column != "name" || !strings.Contains(err.Error(), "panicked") {
					t.Errorf("got %v", err)
				}
			}
			mustAdd(t, w, insulting{ID: 3})
			wantError(t, w.ForceSync(patient(t)), ErrRowsFailed)
			for _, err := range w.SyncErrors() {
				if err == nil || !strings.Contains(err.Error(), "panicked") {
					t.Errorf("a row that cannot be decoded: %v", err)
				}
			}
			sink.accept = true
			if stored, err := w.RetrySyncErrors(patient(t)); stored != 1 || err != nil {
				t.Errorf("stored %d rows: %v", stored, err)
			}
			mustStop(t, w)
		})
	}
}

// A hook of the user's pool that panics in the middle of a write does not keep
// the pool's only connection, nor the pool from being closed.
func TestAPoolWhoseHookPanics(t *testing.T) {
	db := pgtest.Open(t)
	db.Exec(t, `CREATE TABLE loud (id bigint PRIMARY KEY, name text);
		CREATE FUNCTION warn() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE WARNING 'beware'; RETURN NEW; END $$;
		CREATE TRIGGER warns BEFORE INSERT ON loud FOR EACH ROW EXECUTE FUNCTION warn()`)
	cfg, err := pgxpool.ParseConfig(db.URL)
	if err != nil {
		t.Fatal(err)
	}
	var panics atomic.Int64
	cfg.MaxConns = 1
	cfg.ConnConfig.OnNotice = func(*pgconn.PgConn, *pgconn.Notice) {
		if panics.Add(1) <= 3 {
			panic("a warning")
		}
	}
	pool, err := pgxpool.NewWithConfig(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	w := openWriter(t, mustTable[insulting](t, "loud"), Postgres(pool), Config{RetryMaxDelay: 100 * time.Millisecond})
	mustAdd(t, w, insulting{ID: 1})
	mustSync(t, w)
	mustStop(t, w)
	if got := fmt.Sprint(db.Rows(t, "SELECT id, name FROM loud")); got != "[1|t]" {
		t.Errorf("stored %s", got)
	}
	if n := w.Stats().Panics; n != 3 {
		t.Errorf("%d panics, want 3", n)
	}
	pool.Close() // returns when it has its connections back
}
