package catalog

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	_ "modernc.org/sqlite" // registers the driver "sqlite"
)

type sqlite struct{ db *sql.DB }

// openSQLite opens the file beside the destination's own connection, with
// which it takes turns through SQLite's locks.
func openSQLite(file string) (Catalog, error) {
	db, err := sql.Open("sqlite", sqliteDSN(file))
	if err != nil {
		return nil, fmt.Errorf("catalogue %s: %w", file, err)
	}
	db.SetMaxOpenConns(1)
	if _, err := db.Exec(createSets("TIMESTAMP", "TEXT")); err != nil {
		return nil, fmt.Errorf("catalogue %s: %w", file, errors.Join(err, db.Close()))
	}
	return &sqlite{db}, nil
}

// sqliteDSN names the file so that no character of its path has a meaning.
func sqliteDSN(file string) string {
	path := filepath.ToSlash(file)
	if !strings.HasPrefix(path, "/") { // C:/...
		path = "/" + path
	}
	dsn := url.URL{Scheme: "file", Path: path, RawQuery: url.Values{
		"_pragma": {"busy_timeout(10000)", "journal_mode(WAL)", "synchronous(FULL)"},
	}.Encode()}
	return dsn.String()
}

// stampLayout is how the destination writes times: UTC, microseconds.
const stampLayout = "2006-01-02 15:04:05.999999-07:00"

func stamp(t time.Time) string { return t.UTC().Format(stampLayout) }

func (s *sqlite) Begin(ctx context.Context, set Set) (before Status, err error) {
	source, err := set.Source.json()
	if err != nil {
		return "", err
	}
	err = s.db.QueryRowContext(ctx, selectStatus, set.ID).Scan((*string)(&before))
	switch {
	case errors.Is(err, sql.ErrNoRows):
		_, err = s.db.ExecContext(ctx, insertSet, newSet(set, stamp(set.Started), source)...)
	case err == nil:
		_, err = s.db.ExecContext(ctx, restartSet, set.ID, stamp(set.Started), source, string(Running))
	}
	if err != nil {
		return "", fmt.Errorf("catalogue: begin backup set %d: %w", set.ID, mend(err))
	}
	return before, nil
}

func (s *sqlite) Finish(ctx context.Context, id int64, o Outcome) error {
	completed := sql.NullString{String: stamp(o.Ended), Valid: o.Status == Completed}
	if _, err := s.db.ExecContext(ctx, finishSet, id, string(o.Status), completed, o.Files, o.Bytes); err != nil {
		return fmt.Errorf("catalogue: mark backup set %d as %s: %w", id, o.Status, mend(err))
	}
	return nil
}

func (s *sqlite) Page(ctx context.Context, id int64, after string) ([]File, error) {
	files, err := s.page(ctx, id, after)
	if err != nil {
		return nil, fmt.Errorf("catalogue: files of backup set %d: %w", id, err)
	}
	return files, nil
}

func (s *sqlite) page(ctx context.Context, id int64, after string) (files []File, err error) {
	rows, err := s.db.QueryContext(ctx, selectPage, id, after, PageSize)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var f File
		if err := rows.Scan(&f.Path, &f.Copied); err != nil {
			return nil, err
		}
		files = append(files, f)
	}
	return files, rows.Err()
}

func (s *sqlite) Delete(ctx context.Context, id int64, paths []string) (int64, error) {
	list, err := json.Marshal(paths)
	if err != nil {
		return 0, err
	}
	result, err := s.db.ExecContext(ctx, `DELETE FROM backup_files
WHERE backup_set_id = $1 AND file_path IN (SELECT value FROM json_each($2)) AND is_copy_success IS NOT TRUE`, id, string(list))
	if err != nil {
		return 0, fmt.Errorf("catalogue: remove files from backup set %d: %w", id, err)
	}
	return result.RowsAffected()
}

func (s *sqlite) Close() error { return s.db.Close() }
