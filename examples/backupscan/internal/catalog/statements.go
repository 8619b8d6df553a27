package catalog

import (
	"fmt"
	"strings"
	"time"
)

// The statements, in the SQL that all databases understand but for what stands
// in braces, which a dialect replaces. An operator in braces is PostgreSQL's own,
// whatever the search path has.
const (
	// backup_sets has the columns that the products around it know and that a
	// scan can fill, and the state of the scan.
	createSets = `CREATE TABLE IF NOT EXISTS backup_sets (
	id integer PRIMARY KEY,
	set_id varchar(50) NOT NULL UNIQUE,
	set_name varchar(200) NOT NULL,
	backup_group varchar(20) NOT NULL,
	status varchar(20) NOT NULL DEFAULT 'active',
	backup_type varchar(20) NOT NULL DEFAULT 'full',
	backup_time {stamp} NOT NULL,
	source_info {json},
	total_files bigint NOT NULL DEFAULT 0,
	total_bytes bigint NOT NULL DEFAULT 0,
	scan_status varchar(20),
	scan_completed_at {stamp}
)`

	// backup_scans is the scanner's own. An empty token is that of no scan.
	createScans = `CREATE TABLE IF NOT EXISTS backup_scans (
	backup_set_id integer PRIMARY KEY,
	token varchar(40) NOT NULL,
	owner text NOT NULL,
	seen_at bigint NOT NULL,
	file_systems text NOT NULL
)`

	selectStatus = `SELECT coalesce(scan_status, '') FROM backup_sets WHERE id {=} $1`

	insertSet = `INSERT INTO backup_sets (id, set_id, set_name, backup_group, status, backup_type, backup_time, source_info, scan_status)
VALUES ($1, $2, $3, $4, 'active', 'full', $5, $6, $7)`

	restartSet = `UPDATE backup_sets SET backup_time = $2, source_info = $3, scan_status = $4, scan_completed_at = NULL WHERE id {=} $1`
	finishSet  = `UPDATE backup_sets SET scan_status = $2, scan_completed_at = $3 WHERE id {=} $1`
	totalSet   = `UPDATE backup_sets SET total_files = $2, total_bytes = $3 WHERE id {=} $1`

	// selectScan locks the row, so that two scans do not both find it free.
	selectScan = `SELECT token, owner, {now} - seen_at, file_systems FROM backup_scans WHERE backup_set_id {=} $1{for update}`
	insertScan = `INSERT INTO backup_scans (backup_set_id, token, owner, seen_at, file_systems) VALUES ($1, $2, $3, {now}, '{}')`
	takeScan   = `UPDATE backup_scans SET token = $2, owner = $3, seen_at = {now} WHERE backup_set_id {=} $1`
	beatScan   = `UPDATE backup_scans SET seen_at = {now} WHERE backup_set_id {=} $1 AND token {=} $2`
	saveScan   = `UPDATE backup_scans SET file_systems = $3 WHERE backup_set_id {=} $1 AND token {=} $2`
	releaseSet = `UPDATE backup_scans SET token = '', owner = '' WHERE backup_set_id {=} $1`
	countSet   = `SELECT {count}(*), {count}(CASE WHEN file_type {=} 'file' THEN 1 END), coalesce({sum}(CASE WHEN file_type {=} 'file' THEN file_size END), 0)
FROM backup_files WHERE backup_set_id {=} $1`

	selectPage = `SELECT file_path, coalesce(is_copy_success, FALSE) FROM backup_files
WHERE backup_set_id {=} $1 AND file_path {>} $2 ORDER BY file_path LIMIT $3`

	selectRows = `SELECT file_path, file_type, file_size, file_permissions, file_owner, file_group,
	{text created_time}, {text modified_time}, {text file_metadata}, coalesce(is_copy_success, FALSE)
FROM backup_files WHERE backup_set_id {=} $1`
)

// dialect is what differs between the databases.
type dialect struct {
	words      *strings.Replacer
	hasTables  string
	countTwice string // bytes of files that have several names in a set, but for the first of them
	deletePath string // of the set $1 those of the list $2 that are not on tape
	stamp      func(time.Time) any
	list       func([]string) (any, error)
}

func (c *Catalog) sql(statement string) string { return c.dialect.words.Replace(statement) }

// hardlinks is the query behind countTwice: rows of one inode have one value in
// file_metadata.
func hardlinks(value string) string {
	return fmt.Sprintf(`SELECT coalesce({sum}(twice), 0) FROM (
	SELECT {sum}(file_size) - {max}(file_size) AS twice FROM backup_files
	WHERE backup_set_id {=} $1 AND file_metadata IS NOT NULL AND %[1]s IS NOT NULL GROUP BY %[1]s) AS links`, value)
}
