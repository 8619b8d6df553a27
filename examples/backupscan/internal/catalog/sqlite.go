package catalog

import (
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	_ "modernc.org/sqlite" // registers the driver "sqlite"
)

var sqliteDialect = &dialect{
	words: strings.NewReplacer(
		"{stamp}", "TIMESTAMP", "{json}", "TEXT", "{=}", "=", "{>}", ">",
		"{count}", "count", "{sum}", "sum", "{max}", "max", "{now}", "CAST(strftime('%s', 'now') AS INTEGER)", "{for update}", "",
		"{text created_time}", "CAST(created_time AS TEXT)", "{text modified_time}", "CAST(modified_time AS TEXT)",
		"{text file_metadata}", "file_metadata",
	),
	hasTables:  `SELECT count(*) > 0 FROM sqlite_schema WHERE name IN ('backup_sets', 'backup_files', 'backup_scans')`,
	countTwice: hardlinks(`json_extract(file_metadata, '$.hardlink')`),
	deletePath: `DELETE FROM backup_files WHERE backup_set_id = $1 AND file_path IN (SELECT value FROM json_each($2)) AND is_copy_success IS NOT TRUE`,
	stamp:      func(t time.Time) any { return t.UTC().Format(stampLayout) },
	list: func(paths []string) (any, error) {
		text, err := json.Marshal(paths)
		return string(text), err
	},
}

// stampLayout is how the destination writes times: UTC, microseconds.
const stampLayout = "2006-01-02 15:04:05.999999-07:00"

// openSQLite opens the file beside the destination's own connection, with
// which it takes turns through SQLite's locks.
func (c *Catalog) openSQLite(o Options) error {
	if err := private(o); err != nil {
		return err
	}
	db, err := sql.Open("sqlite", sqliteDSN(o.File))
	if err != nil {
		return err
	}
	db.SetMaxOpenConns(2) // one of them for the sign of life while rows are read
	c.dialect, c.db = sqliteDialect, db
	return nil
}

// private makes the file if it may be made, readable for nobody else: it lists
// names that the tree does not show to everybody. A link is not followed: in a
// directory of somebody else it would have root write where that one likes.
func private(o Options) error {
	info, err := os.Lstat(o.File)
	switch {
	case errors.Is(err, fs.ErrNotExist) && !o.Create:
		return fmt.Errorf("%w: %s is missing", ErrNoTables, o.File)
	case errors.Is(err, fs.ErrNotExist):
		f, err := os.OpenFile(o.File, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
		if errors.Is(err, fs.ErrExist) {
			return nil // another scan was faster
		}
		if err != nil {
			return err
		}
		return f.Close()
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s is a link or no regular file: name the file itself with -db", o.File)
	}
	return trusted(o.File, info)
}

// sqliteDSN names the file so that no character of its path has a meaning.
func sqliteDSN(file string) string {
	path := filepath.ToSlash(file)
	if !strings.HasPrefix(path, "/") { // C:/...
		path = "/" + path
	}
	dsn := url.URL{Scheme: "file", Path: path, RawQuery: url.Values{
		"_txlock": {"immediate"},
		"_pragma": {"busy_timeout(2000)", "journal_mode(WAL)", "synchronous(FULL)"},
	}.Encode()}
	return dsn.String()
}
