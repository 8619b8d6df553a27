package memdbtest

import (
	"errors"
	"fmt"
	"reflect"
	"testing"

	"github.com/memdbwriter/memdbwriter"
	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

// Rows returns the rows of a table in the order in which they came into it.
// Without a writer for the table, now or before, it is an error.
func Rows[T any](db *DB, table memdbwriter.Table[T]) ([]T, error) {
	codec, err := tuple.NewCodec[T]()
	if err != nil {
		return nil, err
	}
	tuples, err := db.table(table.String()).snapshot()
	if err != nil {
		return nil, fmt.Errorf("memdbtest: table %s: %w", table, err)
	}
	rows := make([]T, len(tuples))
	for i := range rows {
		if err := codec.Decode(tuples[i], &rows[i]); err != nil {
			return nil, fmt.Errorf("memdbtest: table %s has rows of another type: %w", table, err)
		}
	}
	return rows, nil
}

var errNoWriter = errors.New("no writer was made for it")

func (t *table) snapshot() ([][]byte, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.rows == nil {
		return nil, errNoWriter
	}
	return t.rows.Rows(), nil
}

// Protect sets the guard of stored rows, as a later stage of the program would
// do, so that no writer overwrites them. The rows are found by their keys. It is
// an error if the table has no guard, or not such a row.
func Protect[T any](db *DB, table memdbwriter.Table[T], rows ...T) error {
	codec, err := tuple.NewCodec[T]()
	if err != nil {
		return err
	}
	t := db.table(table.String())
	stored, err := Rows(db, table)
	if err != nil {
		return err
	}
	for i := range rows {
		complete(&rows[i], stored)
		tup, err := codec.Append(nil, &rows[i])
		if err != nil {
			return err
		}
		t.mu.Lock()
		ok := t.rows.Protect(tup)
		t.mu.Unlock()
		if !ok {
			return fmt.Errorf("memdbtest: table %s has no guard or no such row: %s", table, show(rows[i]))
		}
	}
	return nil
}

// RequireStored fails the test at once unless the table has these rows and no
// others, in any order. A row is wanted as Add takes it: what BackupFiles fills
// in may be left zero. Call ForceSync or Stop before, so that nothing waits.
func RequireStored[T any](tb testing.TB, db *DB, table memdbwriter.Table[T], want ...T) {
	tb.Helper()
	got, err := Rows(db, table)
	if err != nil {
		tb.Fatal(err)
	}
	if difference := compare(got, want); difference != "" {
		tb.Fatalf("table %s has not the rows that it should have:\n%s", table, difference)
	}
}

// RequireFailed fails the test at once unless the writer keeps these rows as
// failed ones and no others, in any order, all for the SQLSTATE. The writer must
// not be stopped.
func RequireFailed[T any](tb testing.TB, w memdbwriter.Writer[T], sqlstate string, want ...T) {
	tb.Helper()
	var got []T
	for f, err := range w.SyncErrors() {
		if err != nil {
			tb.Fatalf("the failed rows cannot be listed: %v", err)
		}
		if f.Err.SQLState != sqlstate {
			tb.Fatalf("a row failed with SQLSTATE %q instead of %q: %v", f.Err.SQLState, sqlstate, f.Err)
		}
		got = append(got, f.Row)
	}
	if difference := compare(got, want); difference != "" {
		tb.Fatalf("other rows failed than should have:\n%s", difference)
	}
}

// maxShown is how many rows of each kind a difference spells out.
const maxShown = 10

// compare tells how rows differ from the wanted ones, empty if they do not.
func compare[T any](got, want []T) string {
	codec, err := tuple.NewCodec[T]()
	if err != nil {
		return err.Error()
	}
	left := map[string]int{} // by tuple: rows are the same if the database would get the same
	for i := range got {
		left[encoded(codec, &got[i])]++
	}
	var missing, more []string
	for _, row := range want {
		complete(&row, got)
		tup := encoded(codec, &row)
		if left[tup] == 0 {
			missing = append(missing, show(row))
			continue
		}
		left[tup]--
	}
	for _, row := range got {
		if tup := encoded(codec, &row); left[tup] > 0 {
			left[tup]--
			more = append(more, show(row))
		}
	}
	return list("missing", missing) + list("not wanted", more)
}

func list(what string, rows []string) (text string) {
	for i, row := range rows {
		if i == maxShown {
			return text + fmt.Sprintf("  %s: %d more\n", what, len(rows)-i)
		}
		text += fmt.Sprintf("  %s: %s\n", what, row)
	}
	return text
}

// encoded returns the tuple of a row; one that cannot be added equals none.
func encoded[T any](codec *tuple.Codec[T], row *T) string {
	tup, err := codec.Append(nil, row)
	if err != nil {
		return "error: " + err.Error()
	}
	return string(tup)
}

// show prints a row with what its pointers point to.
func show(row any) string {
	v := reflect.ValueOf(row)
	if v.Kind() != reflect.Struct {
		return fmt.Sprintf("%+v", row)
	}
	text := "{"
	for i := range v.NumField() {
		f := v.Field(i)
		for f.Kind() == reflect.Pointer && !f.IsNil() {
			f = f.Elem()
		}
		if f.IsZero() || !v.Type().Field(i).IsExported() {
			continue
		}
		if len(text) > 1 {
			text += " "
		}
		text += fmt.Sprintf("%s:%v", v.Type().Field(i).Name, f.Interface())
	}
	return text + "}"
}

// complete fills in, as far as the wanted row leaves it zero, what the table of
// BackupFiles fills in by itself.
func complete[T any](want *T, got []T) {
	w, ok := any(want).(*memdbwriter.FileInfo)
	if !ok {
		return
	}
	for _, row := range any(got).([]memdbwriter.FileInfo) {
		if row.Path != w.Path || w.BackupSetID != 0 && w.BackupSetID != row.BackupSetID {
			continue
		}
		fill(&w.BackupSetID, row.BackupSetID)
		fill(&w.Name, row.Name)
		fill(&w.Directory, row.Directory)
		fill(&w.DisplayName, row.DisplayName)
		fill(&w.Type, row.Type)
		fill(&w.Version, row.Version)
		if w.BackupTime.IsZero() {
			w.BackupTime = row.BackupTime
		}
		return
	}
}

func fill[V comparable](want *V, got V) {
	var zero V
	if *want == zero {
		*want = got
	}
}
