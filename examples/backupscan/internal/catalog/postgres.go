package catalog

import (
	"context"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/memdbwriter/memdbwriter/opengauss"
)

var postgresDialect = &dialect{
	words: strings.NewReplacer(
		"{stamp}", "timestamptz", "{json}", "jsonb",
		"{=}", "OPERATOR(pg_catalog.=)", "{>}", "OPERATOR(pg_catalog.>)",
		"{count}", "pg_catalog.count", "{sum}", "pg_catalog.sum", "{max}", "pg_catalog.max",
		"{now}", "CAST(pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) AS pg_catalog.int8)",
		"{for update}", " FOR UPDATE",
		"{text created_time}", postgresText("created_time"), "{text modified_time}", postgresText("modified_time"),
		"{text file_metadata}", "CAST(file_metadata AS pg_catalog.text)",
	),
	hasTables:  `SELECT count(*) > 0 FROM pg_catalog.pg_class WHERE relname IN ('backup_sets', 'backup_files', 'backup_scans') AND pg_catalog.pg_table_is_visible(oid)`,
	countTwice: hardlinks(`pg_catalog.jsonb_extract_path_text(file_metadata, 'hardlink')`),
	deletePath: `DELETE FROM backup_files WHERE backup_set_id {=} $1 AND file_path {=} ANY($2) AND is_copy_success IS NOT TRUE`,
	stamp:      func(t time.Time) any { return t.UTC() },
	list:       func(paths []string) (any, error) { return paths, nil },
}

// postgresText is a time as SQLite's catalogue has it, as far as Row needs it.
func postgresText(column string) string {
	return "CAST(pg_catalog.timezone('UTC', " + column + ") AS pg_catalog.text)"
}

func (c *Catalog) openPostgres(ctx context.Context, o Options) error {
	cfg, err := opengauss.ParsePoolConfig(o.URL) // PostgreSQL's logins as well
	if err != nil {
		return err
	}
	cfg.MaxConns = max(2, min(cfg.MaxConns, 4))
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return err
	}
	c.dialect = postgresDialect
	c.pool = pool
	c.db = stdlib.OpenDBFromPool(pool)
	return nil
}
