// Package catalog is the backup scanner's own view of the destination, beside
// the rows that go through the write buffer: the row of the backup set, which
// says how far its scan is, and the removal of files that are gone.
package catalog

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// Status is the scan_status of a backup set. Consumers take a set as whole
// when it is Completed, and not before.
type Status string

// The statuses of a scan.
const (
	Running   Status = "running"
	Completed Status = "completed"
	Failed    Status = "failed"
	Cancelled Status = "cancelled"
)

// PageSize is how many files Page returns at most.
const PageSize = 5000

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

// Outcome is how a scan ended.
type Outcome struct {
	Status Status
	Ended  time.Time
	Files  int64 // regular files found
	Bytes  int64 // their sizes
}

// File is a stored row of the set.
type File struct {
	Path   string
	Copied bool // on tape: its row describes what is there and stays
}

// Catalog is a database with the tables backup_sets and backup_files. Only
// backup_sets is created where it is missing.
type Catalog interface {
	// Begin marks the set as being scanned and makes its row if there is
	// none. It returns the status that the set had, empty for a new one.
	Begin(ctx context.Context, s Set) (before Status, err error)

	// Finish stores how the scan ended.
	Finish(ctx context.Context, id int64, o Outcome) error

	// Page returns the next files of the set in the order of their paths:
	// those after the given path, from the beginning when it is empty. There
	// are no more when the page is empty.
	Page(ctx context.Context, id int64, after string) ([]File, error)

	// Delete removes the files with these paths from the set, except those
	// that are on tape, and returns how many it removed.
	Delete(ctx context.Context, id int64, paths []string) (int64, error)

	// Close disconnects.
	Close() error
}

// Open connects to the database of a destination: file is the path of an
// SQLite database, and when it is empty url is that of a PostgreSQL server.
func Open(ctx context.Context, url, file string) (Catalog, error) {
	if file != "" {
		return openSQLite(file)
	}
	return openPostgres(ctx, url)
}

// The statements, in the SQL that both databases understand.
const (
	selectStatus = `SELECT coalesce(scan_status, '') FROM backup_sets WHERE id = $1`

	insertSet = `INSERT INTO backup_sets (id, set_id, set_name, backup_group, status, backup_type, backup_time, source_info, scan_status)
VALUES ($1, $2, $3, $4, 'active', 'full', $5, $6, $7)`

	restartSet = `UPDATE backup_sets SET backup_time = $2, source_info = $3, scan_status = $4, scan_completed_at = NULL WHERE id = $1`

	finishSet = `UPDATE backup_sets SET scan_status = $2, scan_completed_at = $3, total_files = $4, total_bytes = $5 WHERE id = $1`

	selectPage = `SELECT file_path, coalesce(is_copy_success, FALSE) FROM backup_files
WHERE backup_set_id = $1 AND file_path > $2 ORDER BY file_path LIMIT $3`
)

// createSets returns the statement that creates backup_sets, with the columns
// that the products around it know and that a scan can fill, and the state of
// the scan.
func createSets(stamp, jsonType string) string {
	return fmt.Sprintf(`CREATE TABLE IF NOT EXISTS backup_sets (
	id integer PRIMARY KEY,
	set_id varchar(50) NOT NULL UNIQUE,
	set_name varchar(200) NOT NULL,
	backup_group varchar(20) NOT NULL,
	status varchar(20) NOT NULL DEFAULT 'active',
	backup_type varchar(20) NOT NULL DEFAULT 'full',
	backup_time %[1]s NOT NULL,
	source_info %[2]s,
	total_files bigint NOT NULL DEFAULT 0,
	total_bytes bigint NOT NULL DEFAULT 0,
	scan_status varchar(20),
	scan_completed_at %[1]s
)`, stamp, jsonType)
}

// mend adds to an error about backup_sets what a table made by somebody else
// may lack.
func mend(err error) error {
	if err == nil || !strings.Contains(err.Error(), "scan_") {
		return err
	}
	return fmt.Errorf("%w; a scan needs two columns: ALTER TABLE backup_sets ADD COLUMN scan_status varchar(20), ADD COLUMN scan_completed_at timestamptz", err)
}

// newSet are the arguments of insertSet; stamp and source are those of the
// dialect.
func newSet(s Set, stamp, source any) []any {
	month := s.Started.UTC().Format("2006-01")
	return []any{
		s.ID, fmt.Sprintf("%s-%06d", month, s.ID), fmt.Sprintf("Scan of set %d", s.ID), month,
		stamp, source, string(Running),
	}
}

func (s Source) json() (string, error) {
	text, err := json.Marshal(s)
	return string(text), err
}
