package catalog

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"net"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// Pauses between attempts.
const (
	firstPause = 50 * time.Millisecond
	longPause  = 5 * time.Second
)

// do runs f in a transaction, again while the error is one that passes, until
// ctx ends. So f must set what it returns anew.
func (c *Catalog) do(ctx context.Context, what string, f func(tx *sql.Tx) error) error {
	return c.repeat(ctx, what, nil, f)
}

// read is do for statements that change nothing: in SQLite they wait for no
// writer.
func (c *Catalog) read(ctx context.Context, what string, f func(tx *sql.Tx) error) error {
	return c.repeat(ctx, what, &sql.TxOptions{ReadOnly: true}, f)
}

func (c *Catalog) repeat(ctx context.Context, what string, kind *sql.TxOptions, f func(tx *sql.Tx) error) error {
	pause := firstPause
	for {
		err := c.once(ctx, kind, f)
		if err == nil || ctx.Err() != nil || !passes(err) {
			return err
		}
		if pause > time.Second {
			c.log.Warn("the catalogue is not available, trying again", "statement", what, "error", err)
		}
		select {
		case <-time.After(pause):
			pause = min(2*pause, longPause)
		case <-ctx.Done():
			return err
		}
	}
}

func (c *Catalog) once(ctx context.Context, kind *sql.TxOptions, f func(tx *sql.Tx) error) error {
	tx, err := c.db.BeginTx(ctx, kind)
	if err != nil {
		return err
	}
	if c.file != "" {
		if err := c.look(); err != nil {
			return errors.Join(err, tx.Rollback())
		}
	}
	if err := f(tx); err != nil {
		if rollback := tx.Rollback(); rollback != nil && !errors.Is(rollback, sql.ErrTxDone) && passes(err) {
			return errors.Join(err, rollback)
		}
		return err
	}
	return tx.Commit()
}

// passes reports whether a statement that failed so may succeed later, as it is.
func passes(err error) bool {
	if errors.Is(err, sql.ErrNoRows) || errors.Is(err, ErrNoTables) || errors.Is(err, ErrReplaced) || errors.Is(err, ErrLost) || errors.As(err, new(*BusyError)) {
		return false
	}
	if pe, ok := errors.AsType[*pgconn.PgError](err); ok {
		return passingState(pe.Code)
	}
	if se, ok := errors.AsType[*sqlite.Error](err); ok {
		switch se.Code() & 0xff {
		case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_PROTOCOL:
			return true
		}
		return false
	}
	return errors.As(err, new(*pgconn.ConnectError)) || pgconn.Timeout(err) || connectionLost(err)
}

// connectionLost reports whether err is about the connection and not about the
// statement.
func connectionLost(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, driver.ErrBadConn) || errors.Is(err, net.ErrClosed) ||
		errors.As(err, new(net.Error)) || pgconn.SafeToRetry(err) || errors.Is(err, sql.ErrConnDone) || strings.Contains(err.Error(), "conn closed")
}

// passingState is about a SQLSTATE. 23505 and 42P07 are met by scans that make
// the tables, or the row of a set, at the same time.
func passingState(code string) bool {
	switch code {
	case "23505", "42P07", "42710", "XX000":
		return true
	case "57014": // cancelled by an operator or a timeout
		return true
	}
	switch code[:min(2, len(code))] {
	case "08", "25", "26", "40", "53", "55", "57", "58":
		return true
	}
	return false
}

// MadeMeanwhile reports whether a table could not be made because somebody else
// was making it at the same time.
func MadeMeanwhile(err error) bool {
	pe, ok := errors.AsType[*pgconn.PgError](err)
	return ok && (pe.Code == "23505" || pe.Code == "42P07" || pe.Code == "42710")
}
