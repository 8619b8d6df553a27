package catalog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"
)

// PageSize is how many rows are read or removed at a time.
const PageSize = 5000

// Row is what a scan compares and keeps of a stored row.
type Row struct {
	Path                      string
	Type                      string
	Size                      int64
	Permissions, Owner, Group string // empty for NULL
	Created, Modified         string // see Time; empty for NULL
	Metadata                  string // JSON; empty for NULL
	Copied                    bool   // on tape: the row describes what is there and stays
}

func (r *Row) scan(rows interface{ Scan(...any) error }) error {
	var perm, owner, group, created, modified, metadata sql.NullString
	err := rows.Scan(&r.Path, &r.Type, &r.Size, &perm, &owner, &group, &created, &modified, &metadata, &r.Copied)
	r.Permissions, r.Owner, r.Group = perm.String, owner.String, group.String
	r.Created, r.Modified, r.Metadata = trim(created.String), trim(modified.String), metadata.String
	return err
}

// trim leaves the form of Time: some destinations write all six digits.
func trim(stamp string) string {
	stamp = strings.TrimSuffix(stamp, "+00:00")
	if strings.Contains(stamp, ".") {
		stamp = strings.TrimRight(strings.TrimRight(stamp, "0"), ".")
	}
	return stamp
}

// timeLayout is the form of times in a Row: UTC, microseconds.
const timeLayout = "2006-01-02 15:04:05.999999"

// Time is the form in which a Row has a time, empty for none.
func Time(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Truncate(time.Microsecond).Format(timeLayout)
}

// ParseTime is the inverse of Time.
func ParseTime(text string) time.Time {
	t, err := time.Parse(timeLayout, text)
	if err != nil {
		return time.Time{}
	}
	return t
}

// Rows calls yield for every row of the set. After an error that passes it
// begins again, and calls restart before.
func (c *Catalog) Rows(ctx context.Context, set int64, restart func(), yield func(*Row)) error {
	err := c.read(ctx, "rows", func(tx *sql.Tx) error {
		restart()
		return query(ctx, tx, c.sql(selectRows), []any{set}, func(rows *sql.Rows) error {
			var r Row
			if err := r.scan(rows); err != nil {
				return err
			}
			yield(&r)
			return nil
		})
	})
	if err != nil {
		return fmt.Errorf("catalogue: files of backup set %d: %w", set, err)
	}
	return nil
}

func query(ctx context.Context, tx *sql.Tx, statement string, args []any, each func(*sql.Rows) error) (err error) {
	rows, err := tx.QueryContext(ctx, statement, args...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		if err := each(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// Row returns the row of a path, nil if there is none.
func (c *Catalog) Row(ctx context.Context, set int64, path string) (*Row, error) {
	var found *Row
	err := c.read(ctx, "row", func(tx *sql.Tx) error {
		var r Row
		err := r.scan(tx.QueryRowContext(ctx, c.sql(selectRows+" AND file_path {=} $2"), set, path))
		switch {
		case errors.Is(err, sql.ErrNoRows):
			found = nil
			return nil
		case err == nil:
			found = &r
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("catalogue: row of a file of backup set %d: %w", set, err)
	}
	return found, nil
}

// File is a path of the set.
type File struct {
	Path   string
	Copied bool
}

// Page returns the next files of the set in the order of their paths: those
// after the given path, from the beginning when it is empty. There are no more
// when the page is empty.
func (c *Catalog) Page(ctx context.Context, set int64, after string) (files []File, err error) {
	err = c.read(ctx, "page", func(tx *sql.Tx) error {
		files = files[:0]
		return query(ctx, tx, c.sql(selectPage), []any{set, after, PageSize}, func(rows *sql.Rows) error {
			var f File
			if err := rows.Scan(&f.Path, &f.Copied); err != nil {
				return err
			}
			files = append(files, f)
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("catalogue: files of backup set %d: %w", set, err)
	}
	return files, nil
}

// Delete removes the files with these paths from the set, except those that
// are on tape, and returns how many it removed. The set must be in hand.
func (c *Catalog) Delete(ctx context.Context, set int64, paths []string) (n int64, err error) {
	list, err := c.dialect.list(paths)
	if err != nil {
		return 0, err
	}
	err = c.do(ctx, "remove", func(tx *sql.Tx) error {
		if err := c.hold(ctx, tx, set); err != nil {
			return err
		}
		result, err := tx.ExecContext(ctx, c.sql(c.dialect.deletePath), set, list)
		if err != nil {
			return err
		}
		n, err = result.RowsAffected()
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("catalogue: remove files from backup set %d: %w", set, err)
	}
	return n, nil
}
