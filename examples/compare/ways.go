package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	_ "modernc.org/sqlite"

	"github.com/memdbwriter/memdbwriter"
)

// place is a database, and the ways to write to it.
type place struct {
	name string
	dest *memdbwriter.Destination
	ways []way
	pg   *pgx.Conn // nil for SQLite
	lite *sql.DB   // nil for a server

	close func(context.Context) error
}

// way is a way to write rows. It returns how long the program was held up, and how
// long it took from then until the last row was durable.
type way struct {
	name  string
	write func(ctx context.Context, p *place, table string, rows []memdbwriter.FileInfo) (add, drain time.Duration, err error)
}

const (
	singleRows = "single rows"
	batchRows  = 5000 // in a transaction of those that are written by hand
)

// columns are those that the ways by hand write; the others have defaults.
var columns = []string{
	"backup_set_id", "file_path", "file_name", "directory_path", "display_name", "file_type", "file_size", "file_permissions", "file_owner", "file_group",
	"modified_time", "backup_time", "compressed", "encrypted", "is_copy_success", "version",
}

func values(f *memdbwriter.FileInfo) []any {
	return []any{
		int32(1), f.Path, f.Name, f.Directory, f.Name, "file", f.Size, f.Permissions, f.Owner, f.Group,
		f.ModifiedTime, f.BackupTime, false, false, false, int32(1),
	}
}

// upsertSQL writes a row, or the rows of a query, as the writer does: a row that
// has not changed is left alone.
func upsertSQL(table, source string) string {
	return fmt.Sprintf(`INSERT INTO %s AS stored (%s) %s ON CONFLICT (backup_set_id, file_path)
		DO UPDATE SET file_size = excluded.file_size, modified_time = excluded.modified_time, backup_time = excluded.backup_time
		WHERE stored.file_size <> excluded.file_size OR stored.modified_time <> excluded.modified_time`, table, strings.Join(columns, ", "), source)
}

func marks(mark func(int) string) string {
	parts := make([]string, len(columns))
	for i := range parts {
		parts[i] = mark(i + 1)
	}
	return "VALUES (" + strings.Join(parts, ", ") + ")"
}

func open(ctx context.Context, address string) (*place, error) {
	writers := []way{{"compatibility writer", buffered(true)}, {"memory writer", buffered(false)}}
	if address == "" || strings.HasPrefix(address, "sqlite:") {
		return openSQLite(ctx, address, writers)
	}
	return openServer(ctx, address, writers)
}

func openSQLite(ctx context.Context, address string, writers []way) (*place, error) {
	dir, err := os.MkdirTemp("", "compare")
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "compare.db")
	if address != "" {
		file = strings.TrimPrefix(address, "sqlite:")
		if _, err := os.Stat(file); err == nil {
			return nil, errors.Join(fmt.Errorf("%s is there already: name a new file, which is removed afterwards", file), os.RemoveAll(dir))
		}
	}
	dest, err := memdbwriter.SQLite(file)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	db, err := sql.Open("sqlite", "file:"+file+"?_pragma=journal_mode(wal)&_pragma=synchronous(full)&_busy_timeout=10000&_time_format=sqlite")
	if err != nil {
		return nil, errors.Join(err, dest.Close(), os.RemoveAll(dir))
	}
	p := &place{name: "SQLite", dest: dest, lite: db, ways: append([]way{{singleRows, liteRows(1)}, {"batches", liteRows(batchRows)}}, writers...)}
	p.close = func(context.Context) error {
		err := errors.Join(dest.Close(), db.Close(), os.RemoveAll(dir))
		for _, end := range []string{"", "-wal", "-shm"} {
			if e := os.Remove(file + end); !errors.Is(e, os.ErrNotExist) {
				err = errors.Join(err, e)
			}
		}
		return err
	}
	return p, nil
}

func openServer(ctx context.Context, address string, writers []way) (*place, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, errors.New("-db is not a URL")
	}
	schema := fmt.Sprintf("compare_%d_%d", os.Getpid(), time.Now().Unix())
	q := u.Query()
	q.Set("search_path", schema)
	u.RawQuery = q.Encode()
	plain := *u
	plain.Scheme = "postgres"
	conn, err := pgx.Connect(ctx, plain.String())
	if err != nil {
		return nil, err
	}
	var version string
	err = conn.QueryRow(ctx, "SELECT version()").Scan(&version)
	if err == nil {
		_, err = conn.Exec(ctx, "CREATE SCHEMA "+schema)
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close(ctx))
	}
	p := &place{name: strings.SplitN(version, " (", 2)[0], pg: conn}
	p.close = func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		var err error
		if p.dest != nil {
			err = p.dest.Close()
		}
		if conn.IsClosed() { // an interrupt has ended it
			fresh, e := pgx.Connect(ctx, plain.String())
			if e != nil {
				return errors.Join(err, fmt.Errorf("the schema %s is left: %w", schema, e))
			}
			conn = fresh
		}
		_, e := conn.Exec(ctx, "DROP SCHEMA "+schema+" CASCADE")
		return errors.Join(err, e, conn.Close(ctx))
	}
	if p.dest, err = memdbwriter.OpenDestination(ctx, u.String()); err != nil {
		return nil, errors.Join(err, p.close(ctx))
	}
	if strings.Contains(version, "openGauss") { // without ON CONFLICT
		p.ways = append([]way{{"COPY by hand", copyRows(false)}}, writers...)
		return p, nil
	}
	p.ways = append([]way{{singleRows, pgRows(1)}, {"batches", pgRows(1000)}, {"COPY by hand", copyRows(false)}, {"upsert by hand", copyRows(true)}}, writers...)
	return p, nil
}

// check makes sure that a way did its work.
func (p *place) check(ctx context.Context, table string, n int, variant string) error {
	query := fmt.Sprintf("SELECT count(*), CAST(sum(file_size) AS bigint) FROM %s", table)
	var got, sum, want int64
	var err error
	if p.pg != nil {
		err = p.pg.QueryRow(ctx, query).Scan(&got, &sum)
	} else {
		err = p.lite.QueryRowContext(ctx, query).Scan(&got, &sum)
	}
	for i := range n {
		want += sizeOf(i, variant)
	}
	if err == nil && (got != int64(n) || sum != want) {
		err = fmt.Errorf("the table has %d rows of %d bytes instead of %d of %d", got, sum, n, want)
	}
	return err
}

// make creates the table of a way by hand, as the writer does its own.
func (p *place) make(ctx context.Context, table string) error {
	w, err := memdbwriter.New(ctx, catalogue(table), p.dest, memdbwriter.Config{})
	if err != nil {
		return err
	}
	return w.Stop(ctx)
}

func catalogue(table string) memdbwriter.Table[memdbwriter.FileInfo] {
	return memdbwriter.BackupFiles(1, memdbwriter.TableName(table), memdbwriter.CreateTable())
}

// byHand measures portions of rows that are durable when write returns.
func byHand(portion int, write func(ctx context.Context, p *place, table string, rows []memdbwriter.FileInfo) error) func(context.Context, *place, string, []memdbwriter.FileInfo) (add, drain time.Duration, err error) {
	return func(ctx context.Context, p *place, table string, rows []memdbwriter.FileInfo) (add, drain time.Duration, err error) {
		if err := p.make(ctx, table); err != nil {
			return 0, 0, err
		}
		start := time.Now()
		for at := 0; at < len(rows); at += portion {
			if err := write(ctx, p, table, rows[at:min(at+portion, len(rows))]); err != nil {
				return 0, 0, err
			}
		}
		return time.Since(start), 0, nil
	}
}

func liteRows(portion int) func(context.Context, *place, string, []memdbwriter.FileInfo) (time.Duration, time.Duration, error) {
	return byHand(portion, func(ctx context.Context, p *place, table string, rows []memdbwriter.FileInfo) (err error) {
		tx, err := p.lite.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, ignoreDone(tx.Rollback())) }()
		stmt, err := tx.PrepareContext(ctx, upsertSQL(table, marks(func(int) string { return "?" })))
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, stmt.Close()) }()
		for i := range rows {
			if _, err := stmt.ExecContext(ctx, values(&rows[i])...); err != nil {
				return err
			}
		}
		return tx.Commit()
	})
}

func ignoreDone(err error) error {
	if errors.Is(err, sql.ErrTxDone) {
		return nil
	}
	return err
}

func pgRows(portion int) func(context.Context, *place, string, []memdbwriter.FileInfo) (time.Duration, time.Duration, error) {
	return byHand(portion, func(ctx context.Context, p *place, table string, rows []memdbwriter.FileInfo) error {
		statement, b := upsertSQL(table, marks(func(i int) string { return fmt.Sprint("$", i) })), &pgx.Batch{}
		for i := range rows {
			b.Queue(statement, values(&rows[i])...)
		}
		return p.pg.SendBatch(ctx, b).Close()
	})
}

// copyRows is COPY into the table itself, which takes new rows only and so empties
// it before, or with upsert into a temporary one and from there into the table.
func copyRows(upsert bool) func(context.Context, *place, string, []memdbwriter.FileInfo) (time.Duration, time.Duration, error) {
	copyTo := func(ctx context.Context, tx pgx.Tx, table string, rows []memdbwriter.FileInfo) error {
		_, err := tx.CopyFrom(ctx, pgx.Identifier{table}, columns, pgx.CopyFromSlice(len(rows), func(i int) ([]any, error) { return values(&rows[i]), nil }))
		return err
	}
	write := byHand(batchRows, func(ctx context.Context, p *place, table string, rows []memdbwriter.FileInfo) error {
		return pgx.BeginFunc(ctx, p.pg, func(tx pgx.Tx) error {
			if !upsert {
				return copyTo(ctx, tx, table, rows)
			}
			list := strings.Join(columns, ", ")
			if _, err := tx.Exec(ctx, fmt.Sprintf("CREATE TEMPORARY TABLE staged ON COMMIT DROP AS SELECT %s FROM %s WHERE false", list, table)); err != nil {
				return err
			}
			if err := copyTo(ctx, tx, "staged", rows); err != nil {
				return err
			}
			_, err := tx.Exec(ctx, upsertSQL(table, "SELECT "+list+" FROM staged"))
			return err
		})
	})
	if upsert {
		return write
	}
	return func(ctx context.Context, p *place, table string, rows []memdbwriter.FileInfo) (time.Duration, time.Duration, error) {
		if err := p.make(ctx, table); err != nil {
			return 0, 0, err
		}
		if _, err := p.pg.Exec(ctx, "TRUNCATE "+table); err != nil {
			return 0, 0, err
		}
		return write(ctx, p, table, rows)
	}
}

// buffered is one of the library's writers, with its defaults.
func buffered(compatibility bool) func(context.Context, *place, string, []memdbwriter.FileInfo) (time.Duration, time.Duration, error) {
	return func(ctx context.Context, p *place, table string, rows []memdbwriter.FileInfo) (add, drain time.Duration, err error) {
		w, err := memdbwriter.Open(ctx, catalogue(table), p.dest, memdbwriter.Config{DisableMemoryDB: compatibility})
		if err != nil {
			return 0, 0, err
		}
		start := time.Now()
		for i := range rows {
			if err := w.Add(ctx, rows[i]); err != nil {
				return 0, 0, errors.Join(err, w.Stop(ctx))
			}
		}
		add = time.Since(start)
		if err := w.ForceSync(ctx); err != nil {
			return 0, 0, errors.Join(err, w.Stop(ctx))
		}
		drain = time.Since(start) - add
		return add, drain, w.Stop(ctx)
	}
}
