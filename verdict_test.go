package memdbwriter

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/memdbwriter/memdbwriter/internal/dest"
	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

// raising is a destination whose table has a trigger that raises, for rows called
// E and an SQLSTATE, just that.
func raising(t *testing.T) *place {
	t.Helper()
	p := postgresPlace(t)
	p.createItems(t)
	p.exec(t, `CREATE FUNCTION raising() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
		IF NEW.name LIKE 'E%' THEN RAISE 'raised' USING ERRCODE = substr(NEW.name, 2); END IF; RETURN NEW; END $$;
		CREATE TRIGGER raising BEFORE INSERT OR UPDATE ON items FOR EACH ROW EXECUTE FUNCTION raising()`)
	return p
}

// A row for which a trigger raises a code that looks like the table's fault, or
// like one that passes, is rejected like any other; the rows around it, and those
// behind it, get in.
func TestARowThatLooksLikeAnotherFaultBlocksNobody(t *testing.T) {
	t.Parallel()
	for _, code := range []string{"XX000", "42501", "42P01", "55000", "40001", "0A000", "ZZ999", "22012"} {
		t.Run(code, func(t *testing.T) {
			t.Parallel()
			p := raising(t)
			w := openWriter(t, itemTable(t), p.Destination, Config{RetryMaxDelay: 100 * time.Millisecond})
			for i := range int64(300) {
				name := "good"
				if i == 7 || i == 150 {
					name = "E" + code
				}
				mustAdd(t, w, newItem(i, name))
			}
			err := decided(t, w)
			var row *RowError
			if !errors.Is(err, ErrRowsFailed) || !errors.As(err, &row) || row.SQLState != code {
				t.Fatalf("ForceSync: %v", err)
			}
			mustAdd(t, w, newItem(1000, "E"+code)) // alone in its batch
			if err := decided(t, w); !errors.Is(err, ErrRowsFailed) {
				t.Fatalf("ForceSync of a lone row: %v", err)
			}
			mustAdd(t, w, newItem(1001, "good"))
			if err := decided(t, w); !errors.Is(err, ErrRowsFailed) {
				t.Fatalf("ForceSync behind it: %v", err)
			}
			if s := w.SyncStatus(); s.Synced != 299 || s.Failed != 3 || s.Pending != 0 {
				t.Errorf("%+v", s)
			}
			if got := p.query(t, "SELECT count(*) FROM items"); got[0] != "299" {
				t.Errorf("%s rows", got[0])
			}
		})
	}
}

// decided syncs until no row waits, however often that has to be tried, and
// returns the last error.
func decided(t *testing.T, w Writer[item]) error {
	t.Helper()
	ctx := patient(t)
	for {
		if err := w.ForceSync(ctx); !errors.Is(err, ErrUnsynced) || ctx.Err() != nil {
			return err
		}
	}
}

// What refuses every row of many is the table's fault: no row is rejected, and
// all of them get in when it is over.
func TestWhatRefusesEveryRowRejectsNone(t *testing.T) {
	t.Parallel()
	p := raising(t)
	p.exec(t, `CREATE OR REPLACE FUNCTION raising() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
		RAISE 'closed for maintenance' USING ERRCODE = '55000'; END $$`)
	attempts := make(chan error, 1)
	w := openWriter(t, itemTable(t), p.Destination, Config{RetryMaxDelay: 100 * time.Millisecond, OnSync: func(_ context.Context, ev SyncEvent) {
		select {
		case attempts <- ev.Err:
		default:
		}
	}})
	for i := range int64(2 * tableEvidence) {
		mustAdd(t, w, newItem(i, "good"))
	}
	synced := make(chan error, 1)
	go func() { synced <- w.ForceSync(patient(t)) }()
	for range 3 { // from the second on the rows are told apart
		if err := <-attempts; err == nil {
			t.Fatal("the rows are stored")
		}
	}
	if s := w.SyncStatus(); s.Failed != 0 || s.Pending != 2*tableEvidence || s.LastError == nil {
		t.Errorf("%+v", s)
	}
	p.exec(t, `DROP TRIGGER raising ON items`)
	if err := <-synced; err != nil {
		t.Error(err)
	}
	if got := p.query(t, "SELECT count(*) FROM items"); got[0] != fmt.Sprint(2*tableEvidence) {
		t.Errorf("%s rows", got[0])
	}
}

// A server that is out of memory or disk rejects no row, however few there are.
func TestResourcesAreNoRowsFault(t *testing.T) {
	full := &dest.Error{Class: dest.ClassTransient, Row: -1, SQLState: "53100", Answered: true, Err: errors.New("disk full")}
	part := &tuple.Batch{Rows: make([]tuple.Span, 2)}
	var v verdict
	if err := v.onTable(part, []dest.Refusal{{Row: 0, Err: full}, {Row: 1, Err: full}}); err != full {
		t.Errorf("all refused: %v", err)
	}
	lone := part.Slice(0, 1)
	for range 2 * loneAttempts {
		if v.onPart(lone, full) || v.onLoneRow(lone, full) {
			t.Fatal("a row is rejected")
		}
	}
}
