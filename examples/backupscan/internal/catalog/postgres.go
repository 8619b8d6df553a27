package catalog

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/memdbwriter/memdbwriter/opengauss"
)

type postgres struct{ pool *pgxpool.Pool }

func openPostgres(ctx context.Context, url string) (Catalog, error) {
	cfg, err := opengauss.ParsePoolConfig(url) // PostgreSQL's logins as well
	if err != nil {
		return nil, fmt.Errorf("catalogue: %w", err)
	}
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("catalogue: %w", err)
	}
	if _, err := pool.Exec(ctx, createSets("timestamptz", "jsonb")); err != nil {
		pool.Close()
		return nil, fmt.Errorf("catalogue: table backup_sets: %w", err)
	}
	return &postgres{pool}, nil
}

func (p *postgres) Begin(ctx context.Context, s Set) (before Status, err error) {
	source, err := s.Source.json()
	if err != nil {
		return "", err
	}
	err = p.pool.QueryRow(ctx, selectStatus, s.ID).Scan((*string)(&before))
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		_, err = p.pool.Exec(ctx, insertSet, newSet(s, s.Started.UTC(), source)...)
	case err == nil:
		_, err = p.pool.Exec(ctx, restartSet, s.ID, s.Started.UTC(), source, string(Running))
	}
	if err != nil {
		return "", fmt.Errorf("catalogue: begin backup set %d: %w", s.ID, mend(err))
	}
	return before, nil
}

func (p *postgres) Finish(ctx context.Context, id int64, o Outcome) error {
	var completed *time.Time
	if o.Status == Completed {
		ended := o.Ended.UTC()
		completed = &ended
	}
	if _, err := p.pool.Exec(ctx, finishSet, id, string(o.Status), completed, o.Files, o.Bytes); err != nil {
		return fmt.Errorf("catalogue: mark backup set %d as %s: %w", id, o.Status, mend(err))
	}
	return nil
}

func (p *postgres) Page(ctx context.Context, id int64, after string) ([]File, error) {
	rows, err := p.pool.Query(ctx, selectPage, id, after, PageSize)
	if err != nil {
		return nil, fmt.Errorf("catalogue: files of backup set %d: %w", id, err)
	}
	files, err := pgx.CollectRows(rows, pgx.RowToStructByPos[File])
	if err != nil {
		return nil, fmt.Errorf("catalogue: files of backup set %d: %w", id, err)
	}
	return files, nil
}

func (p *postgres) Delete(ctx context.Context, id int64, paths []string) (int64, error) {
	tag, err := p.pool.Exec(ctx, `DELETE FROM backup_files
WHERE backup_set_id = $1 AND file_path = ANY($2) AND is_copy_success IS NOT TRUE`, id, paths)
	if err != nil {
		return 0, fmt.Errorf("catalogue: remove files from backup set %d: %w", id, err)
	}
	return tag.RowsAffected(), nil
}

func (p *postgres) Close() error {
	p.pool.Close()
	return nil
}
