// Package catalog is the backup scanner's own view of the destination, beside
// the rows that go through the write buffer:
//
//	backup_sets    the row of the backup set, which says how far its scan is
//	backup_scans   which scan has the set in hand, and the file systems that the
//	               set's files were found in (lease.go)
//	backup_files   read before a scan (rows.go), and what is gone removed after it
//
// Statements are repeated while the database is away or busy, until their
// context ends, as the write buffer does it (retry.go).
package catalog

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// Status is the scan_status of a backup set. Consumers take a set as whole
// when it is Completed, and not before.
type Status string

// The statuses of a scan. They fit varchar(20).
const (
	Running   Status = "running"
	Completed Status = "completed"
	// Errors is a scan that was completed while some entries could not be read
	// or stored, or some rows could not be told to be gone. All else is exact.
	Errors    Status = "completed_errors"
	Failed    Status = "failed"
	Cancelled Status = "cancelled"
)

// ErrReplaced is wrapped when the file of an SQLite catalogue is not the one
// that was opened any more.
var ErrReplaced = errors.New("the catalogue's file was moved, removed or replaced while it was in use")

// ErrNoTables is wrapped by Open when the database has no catalogue and none is
// to be made.
var ErrNoTables = errors.New("the database has no backup catalogue")

// Set is what a scan says of its backup set when it begins.
type Set struct {
	ID      int64
	Started time.Time
	Source  Source
}

// Source is where the files of a set come from, kept as JSON.
type Source struct {
	Host    string   `json:"host,omitempty"`
	Roots   []string `json:"roots"`
	Exclude []string `json:"exclude,omitempty"`
}

// Totals are those of a set: of its rows, not of the last scan.
type Totals struct {
	Rows  int64
	Files int64 // regular files
	Bytes int64 // their sizes, those of a file with several names once
}

// Catalog is a database with the catalogue's tables.
type Catalog struct {
	db      *sql.DB
	pool    *pgxpool.Pool // under db; nil for SQLite
	dialect *dialect
	log     *slog.Logger
	token   string      // of the set in hand; empty: none
	file    string      // of SQLite
	opened  os.FileInfo // what file was
}

// Options are what Open needs to know.
type Options struct {
	URL string // of a PostgreSQL server, if File is empty
	// File is the path of an SQLite database.
	File string
	// Create allows the tables to be made in a database that has none of them.
	Create bool
	Log    *slog.Logger
}

// Open connects, and makes the tables backup_sets and backup_scans where they
// are missing.
func Open(ctx context.Context, o Options) (*Catalog, error) {
	c := &Catalog{log: o.Log, file: o.File}
	var err error
	if o.File != "" {
		err = c.openSQLite(o)
	} else {
		err = c.openPostgres(ctx, o)
	}
	if err == nil {
		err = c.db.PingContext(ctx) // a database that is not there now is said at once
	}
	if err == nil {
		err = c.setUp(ctx, o.Create)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("catalogue: %w", err), c.Close())
	}
	return c, nil
}

// OpenToRead connects to a catalogue that is there, and makes nothing.
func OpenToRead(ctx context.Context, o Options) (*Catalog, error) {
	c := &Catalog{log: o.Log, file: o.File}
	o.Create = false
	var err error
	if o.File != "" {
		err = c.openSQLite(o)
	} else {
		err = c.openPostgres(ctx, o)
	}
	if err == nil {
		err = c.db.PingContext(ctx)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("catalogue: %w", err), c.Close())
	}
	return c, nil
}

// Close disconnects.
func (c *Catalog) Close() error {
	if c.db == nil {
		return nil
	}
	err := c.db.Close()
	if c.pool != nil {
		c.pool.Close()
	}
	return err
}

// setUp makes the tables. Scans that start at the same time may do it together:
// the one that comes late fails, and repeats.
func (c *Catalog) setUp(ctx context.Context, create bool) error {
	return c.do(ctx, "tables", func(tx *sql.Tx) error {
		var there bool
		if err := tx.QueryRowContext(ctx, c.sql(c.dialect.hasTables)).Scan(&there); err != nil {
			return err
		}
		if !there && !create {
			return ErrNoTables
		}
		for _, statement := range []string{createSets, createScans} {
			if _, err := tx.ExecContext(ctx, c.sql(statement)); err != nil {
				return err
			}
		}
		return nil
	})
}

// Begin marks the set as being scanned and makes its row if there is none. It
// returns the status that the set had, empty for a new one.
func (c *Catalog) Begin(ctx context.Context, s Set) (before Status, err error) {
	source, err := json.Marshal(s.Source)
	if err != nil {
		return "", err
	}
	err = c.do(ctx, "begin", func(tx *sql.Tx) error {
		before = ""
		err := tx.QueryRowContext(ctx, c.sql(selectStatus), s.ID).Scan((*string)(&before))
		switch {
		case errors.Is(err, sql.ErrNoRows):
			month := s.Started.UTC().Format("2006-01")
			_, err = tx.ExecContext(ctx, c.sql(insertSet), s.ID, fmt.Sprintf("%s-%06d", month, s.ID), fmt.Sprintf("Scan of set %d", s.ID), month,
				c.dialect.stamp(s.Started), string(source), string(Running))
		case err == nil:
			_, err = tx.ExecContext(ctx, c.sql(restartSet), s.ID, c.dialect.stamp(s.Started), string(source), string(Running))
		}
		return err
	})
	if err != nil {
		return "", fmt.Errorf("catalogue: begin backup set %d: %w", s.ID, fix(err))
	}
	return before, nil
}

// Finish stores how the scan ended, with the set's totals if they are known,
// and gives the set back. It fails if another scan has the set by now.
func (c *Catalog) Finish(ctx context.Context, id int64, status Status, ended time.Time, totals *Totals) error {
	err := c.do(ctx, "finish", func(tx *sql.Tx) error {
		if err := c.hold(ctx, tx, id); err != nil {
			return err
		}
		var completed any
		if status == Completed || status == Errors {
			completed = c.dialect.stamp(ended)
		}
		if _, err := tx.ExecContext(ctx, c.sql(finishSet), id, string(status), completed); err != nil {
			return err
		}
		if totals != nil {
			if _, err := tx.ExecContext(ctx, c.sql(totalSet), id, totals.Files, totals.Bytes); err != nil {
				return err
			}
		}
		_, err := tx.ExecContext(ctx, c.sql(releaseSet), id)
		return err
	})
	if err == nil {
		c.token = ""
		err = c.Check()
	}
	if err != nil {
		return fmt.Errorf("catalogue: mark backup set %d as %s: %w", id, status, fix(err))
	}
	return nil
}

// Check reports ErrReplaced if the catalogue is not where it was. What is
// stored is durable, but in a file that nobody will find.
func (c *Catalog) Check() error {
	if c.file == "" {
		return nil
	}
	now, err := os.Stat(c.file)
	switch {
	case err != nil:
		return fmt.Errorf("%w: %w", ErrReplaced, err)
	case c.opened != nil && !os.SameFile(now, c.opened):
		return fmt.Errorf("%w: %s", ErrReplaced, c.file)
	}
	return nil
}

// look notes which file was opened, and fails if it is another one by now.
func (c *Catalog) look() (err error) {
	if c.opened == nil {
		c.opened, err = os.Stat(c.file)
		return err
	}
	return c.Check()
}

// Totals counts the rows of a set.
func (c *Catalog) Totals(ctx context.Context, id int64) (t Totals, err error) {
	err = c.read(ctx, "totals", func(tx *sql.Tx) error {
		var twice int64
		if err := tx.QueryRowContext(ctx, c.sql(c.dialect.countTwice), id).Scan(&twice); err != nil {
			return err
		}
		if err := tx.QueryRowContext(ctx, c.sql(countSet), id).Scan(&t.Rows, &t.Files, &t.Bytes); err != nil {
			return err
		}
		t.Bytes -= twice
		return nil
	})
	if err != nil {
		return Totals{}, fmt.Errorf("catalogue: totals of backup set %d: %w", id, err)
	}
	return t, nil
}

// fix adds to an error about backup_sets what a table made by somebody else may
// lack.
func fix(err error) error {
	if err == nil || !strings.Contains(err.Error(), "scan_") {
		return err
	}
	return fmt.Errorf("%w; a scan needs two columns: ALTER TABLE backup_sets ADD COLUMN scan_status varchar(20), ADD COLUMN scan_completed_at timestamptz", err)
}
