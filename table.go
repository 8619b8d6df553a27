package memdbwriter

import (
	"errors"
	"fmt"
	"strings"

	"github.com/memdbwriter/memdbwriter/internal/dest"
	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

// Table is a destination table and the way in which a T becomes one of its
// rows. It is made by TableOf or BackupFiles, never changes, and may be used
// for any number of writers.
type Table[T any] struct {
	codec   *tuple.Codec[T]
	shape   dest.Table
	prepare func(*T) error // fills in what the caller left out; works on the writer's own copy of the row
	err     error          // why the definition is unusable; New and Open return it
}

// String returns the name of the destination table.
func (t Table[T]) String() string { return t.shape.String() }

// Optional is the type of a field that a row can leave out, which is neither NULL
// nor a value: a new row gets the default that the column has in the database,
// and a stored row keeps what it has. So rows can update some columns of theirs.
// The zero value is left out:
//
//	type File struct {
//		Path string                           `db:"path,key"`
//		Size memdbwriter.Optional[int64]      `db:"size"`
//		Note memdbwriter.Optional[*string]    `db:"note"` // a value, NULL or left out
//	}
//	w.Add(ctx, File{Path: "a", Size: memdbwriter.Some(int64(7))}) // leaves out Note
//
// A field that need not tell NULL from left out can have the option omitnil
// instead: a nil pointer, an invalid sql.Null, or with nullzero the zero value,
// is left out.
//
// Rows of one batch that leave out the same columns are written together, in a
// transaction of their own: leave out few combinations of columns. Rows of one
// key keep their order; of those that leave out different columns in turns each
// is written. What is left out shows as NULL in Query's views.
//
// A newer row of its key that is stored takes from a failed row the columns that it
// has itself: these are left out of the failed row, or, where the row type cannot
// leave them out, are those of the newer one. The failed row is superseded once
// nothing is left of it that an update may write.
type Optional[T any] = tuple.Optional[T]

// Some returns v as a field that the row has.
func Some[T any](v T) Optional[T] { return Optional[T]{V: v, Set: true} }

// ConflictPolicy says what happens to a row whose key the destination has.
type ConflictPolicy = dest.Policy

const (
	// ConflictUpdate overwrites the stored row with the newer one, except its
	// insertonly columns and except rows that a Guard protects. A row that
	// would not change is left alone. The default for a table with a key.
	ConflictUpdate = dest.Update
	// ConflictIgnore keeps the stored row; the new one counts as synced.
	ConflictIgnore = dest.Ignore
	// ConflictInsertOnly makes every row a new one. The table needs no key
	// here; a duplicate key in the destination is an error of the row. The
	// default for a table without a key.
	ConflictInsertOnly = dest.InsertOnly
)

// TableOption changes how a table is written. See OnConflict,
// ConflictConstraint, ConflictWhere, Guard, TableName and CreateTable.
type TableOption func(*dest.Table)

// OnConflict sets the conflict policy.
func OnConflict(p ConflictPolicy) TableOption { return func(t *dest.Table) { t.Policy = p } }

// Guard names a boolean column of the destination. A stored row in which it is
// true is never overwritten; the row that would have done so counts as synced,
// or as superseded if the row that set the guard came in the same batch. A row
// type that has the column must have it as a bool under the very same name, and
// not as passive; a row that sets it is written, and protects what it wrote
// against the rows behind it. Where only the database knows which keys are equal
// (New warns), that holds for the batches behind it, and in its own batch if it
// is the first of its key there.
func Guard(column string) TableOption { return func(t *dest.Table) { t.Guard = column } }

// ConflictConstraint names the unique constraint of the destination that tells
// whether a row is there already. Its columns must be the key. By default any
// unique index on exactly the key does; a name is for tables where several do
// and one of them is not to be used.
func ConflictConstraint(name string) TableOption {
	return func(t *dest.Table) { t.Constraint = name }
}

// ConflictWhere says that the unique index on the key is a partial one, with
// this predicate, as in
//
//	CREATE UNIQUE INDEX ON files (path) WHERE deleted_at IS NULL
//	memdbwriter.ConflictWhere("deleted_at IS NULL")
//
// so that a row updates the one for which the predicate holds and leaves those
// alone that were deleted softly. The predicate is SQL and is used as it
// stands: it must be a constant of the program. It must hold for each row that
// is added, with the values that the row has or the column's default; a row for
// which it does not hold is not in the index, and every write of it is a new
// row. SQLite and openGauss destinations refuse the option.
func ConflictWhere(predicate string) TableOption {
	return func(t *dest.Table) { t.Where = predicate }
}

// TableName changes the name of the destination table: "name",
// "schema.name", or with parts in double quotes where they hold dots.
func TableName(name string) TableOption {
	return func(t *dest.Table) { t.Schema, t.Name, _ = parseTableName(name) }
}

// CreateTable makes the writer create the table when it is missing: with the
// statements, if there are any, else with the columns that fit the fields (see
// the option type of TableOf) and the key as its unique index. SQLite
// destinations do the latter without being asked.
func CreateTable(statements ...string) TableOption {
	return func(t *dest.Table) {
		t.Create = true
		if len(statements) > 0 {
			t.DDL = func(string) []string { return statements }
		}
	}
}

// TableOf describes the table that rows of the struct type T go to. A field
// belongs to the row if it has a tag
//
//	db:"column,option,..."
//
// with these options:
//
//	key         part of the conflict key; NULL is refused
//	insertonly  written when the row is new, never overwritten on conflict
//	passive     written with an update, but no reason for one by itself
//	nullzero    the zero value is NULL
//	omitnil     what would be NULL is left out, see Optional
//	json        any Go value, stored as JSON text
//	type=T      T is PostgreSQL's type of the column, as in type=numeric(20,2):
//	            CreateTable makes it so, and it decides about times (below)
//
// Fields may be integers, floats, bool, string, []byte, time.Time,
// time.Duration, json.RawMessage, 16-byte arrays such as UUIDs, slices,
// pgtype's arrays and ranges, net.HardwareAddr, database/sql's Null types,
// anything with driver.Valuer and sql.Scanner or with encoding.TextMarshaler
// and TextUnmarshaler, and pointers to these, for which nil is NULL. Embedded
// structs are flattened. The database's column may have another type of the
// same meaning (an int64 fits a smallint column as long as the value does);
// docs/types.md has the table.
//
// A time.Time is a moment and what a clock shows. A timestamptz column gets
// the moment; date, timestamp and time columns get the day and the clock that
// the value shows in its own zone, whatever zone the session has. In SQLite,
// columns declared DATE get that day, all others the moment in UTC. With
// type=timestamptz, type=timestamp, type=time or type=date the field itself is
// that, for any column. A key of days or clocks needs that option: without it
// a key is the moment.
//
// The name may be qualified with a schema. The error wraps ErrTable.
func TableOf[T any](name string, opts ...TableOption) (Table[T], error) {
	t := newTable[T](name, opts)
	return t, t.err
}

// newTable is TableOf with the error inside, for constructors that have no
// error to return.
func newTable[T any](name string, opts []TableOption) Table[T] {
	var t Table[T]
	codec, err := tuple.NewCodec[T]()
	if err != nil {
		t.shape.Name = name
		t.err = fmt.Errorf("%w: table %s: %w", ErrTable, name, err)
		return t
	}
	t.codec = codec
	t.shape.Keys = codec.Keys()
	for _, f := range codec.Fields() {
		t.shape.Columns = append(t.shape.Columns, dest.Column{Column: f.Column, InsertOnly: f.InsertOnly, Passive: f.Passive, SQL: f.SQL, Absent: f.Absent})
	}
	if t.shape.Keys == 0 {
		t.shape.Policy = dest.InsertOnly
	}
	opts = append([]TableOption{TableName(name)}, opts...)
	for _, o := range opts {
		o(&t.shape)
	}
	if err := checkShape(&t.shape); err != nil {
		t.err = fmt.Errorf("%w: table %q: %w", ErrTable, name, err)
	}
	return t
}

func checkShape(t *dest.Table) error {
	switch {
	case t.Name == "":
		return errors.New(`the name must be "name" or "schema.name", each part not empty`)
	case t.Policy > dest.InsertOnly:
		return fmt.Errorf("unknown conflict policy %d", t.Policy)
	case t.Keys == 0 && t.Policy != dest.InsertOnly:
		return errors.New(`no field has the option "key", which rows need to be updated or ignored on conflict: add it to the columns of the unique index, or use OnConflict(ConflictInsertOnly)`)
	case t.Policy == dest.InsertOnly && (t.Constraint != "" || t.Where != ""):
		return errors.New("ConflictConstraint and ConflictWhere have no meaning with ConflictInsertOnly")
	case t.Constraint != "" && t.Where != "":
		return errors.New("ConflictConstraint and ConflictWhere exclude each other: a constraint has no predicate")
	case t.Guard != "" && t.Policy != dest.Update:
		return fmt.Errorf("guard column %q has no meaning unless the policy is ConflictUpdate", t.Guard)
	}
	for i := range t.Columns {
		if err := checkGuard(t, &t.Columns[i]); err != nil {
			return err
		}
	}
	return nil
}

// checkGuard reports why a column of the rows cannot be the guard that it
// seems to be: what a row does to those behind it must be known without the
// database.
func checkGuard(t *dest.Table, c *dest.Column) error {
	switch {
	case !strings.EqualFold(c.Name, t.Guard):
		return nil
	case c.Name != t.Guard:
		return fmt.Errorf("guard column %q and column %q differ in case only: write both the same way", t.Guard, c.Name)
	case c.Type != tuple.Bool:
		return fmt.Errorf("guard column %q: its field must be a bool, *bool or sql.NullBool, not one for %v", t.Guard, c.Type)
	case c.Passive:
		return fmt.Errorf(`guard column %q: drop the option "passive", since a row that sets the guard must be written`, t.Guard)
	}
	return nil
}

// parseTableName splits name at its dot. Parts in double quotes may hold any
// character, with "" for a quote; the others are taken as they are, case
// included. ok is false, and the name empty, when it has no such form.
func parseTableName(name string) (schema, table string, ok bool) {
	var parts []string
	for rest := name; ; {
		part, after, valid := cutNamePart(rest)
		if !valid {
			return "", "", false
		}
		parts = append(parts, part)
		if after == "" {
			break
		}
		rest = after[1:]
	}
	switch len(parts) {
	case 1:
		return "", parts[0], true
	case 2:
		return parts[0], parts[1], true
	}
	return "", "", false
}

// cutNamePart returns the first part of a name, and what follows it: nothing,
// or a dot and more.
func cutNamePart(s string) (part, after string, ok bool) {
	if !strings.HasPrefix(s, `"`) {
		i := strings.IndexByte(s, '.')
		if i < 0 {
			i = len(s)
		}
		return s[:i], s[i:], i > 0 && !strings.ContainsAny(s[:i], "\"\x00")
	}
	for i := 1; i < len(s); i++ {
		if s[i] != '"' {
			continue
		}
		if i+1 < len(s) && s[i+1] == '"' {
			i++
			continue
		}
		part, after = strings.ReplaceAll(s[1:i], `""`, `"`), s[i+1:]
		return part, after, part != "" && !strings.Contains(part, "\x00") && (after == "" || after[0] == '.')
	}
	return "", "", false
}

// encode appends the row's tuple to dst. The row is the writer's own copy.
func (t *Table[T]) encode(dst []byte, row *T) ([]byte, error) {
	if t.prepare != nil {
		if err := t.prepare(row); err != nil {
			return dst, &RowError{Table: t.String(), Err: err}
		}
	}
	out, err := t.codec.Append(dst, row)
	if err == nil {
		return out, nil
	}
	re := &RowError{Table: t.String(), Err: err}
	var fe *tuple.FieldError
	if errors.As(err, &fe) {
		re.Column, re.Key, re.Err = fe.Column, fe.Key, fieldReason{fe}
	}
	return out, re
}

// fieldReason is a FieldError without what the RowError around it says already.
type fieldReason struct{ e *tuple.FieldError }

func (r fieldReason) Error() string {
	if r.e.Value == "" {
		return fmt.Sprintf("field %s: %s", r.e.Field, r.e.Reason)
	}
	return fmt.Sprintf("field %s, value %s: %s", r.e.Field, r.e.Value, r.e.Reason)
}

func (r fieldReason) Unwrap() error { return r.e.Err }

// keylessColumns are how many columns tell a row of a table without a key.
const keylessColumns = 3

// rowError describes an error of an encoded row.
func rowError(t *dest.Table, row []byte, cause *dest.Error) *RowError {
	columns, keys := tupleColumns(t), t.Keys
	if keys == 0 {
		keys = min(keylessColumns, len(columns))
	}
	return &RowError{
		Table: t.String(), Column: cause.Column, Constraint: cause.Constraint, SQLState: cause.SQLState,
		Key: tuple.KeyString(columns, keys, row), Err: cause,
	}
}

// usable reports what keeps a writer from being made of the two.
func usable[T any](t *Table[T], d *Destination) error {
	switch {
	case t.err != nil:
		return t.err
	case t.codec == nil:
		return fmt.Errorf("%w: the Table is empty: make it with TableOf or BackupFiles", ErrTable)
	case d == nil:
		return fmt.Errorf("%w: the Destination is nil", ErrConfig)
	}
	return nil
}
