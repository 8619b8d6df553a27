package sqlitedest

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"slices"

	"github.com/memdbwriter/memdbwriter/internal/dest"
	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

// SQLite keeps no record of transactions that could be asked for. So an
// insert-only transaction whose rows must not be stored twice leaves one: a row
// with its token in a table beside. It is there exactly if the transaction was
// committed.

const (
	receiptTable  = "memdbwriter_receipts"
	createReceipt = `CREATE TABLE IF NOT EXISTS main.` + receiptTable + ` (
  token BLOB PRIMARY KEY, -- of a transaction that stored rows of an insert-only table
  at    INTEGER NOT NULL  -- in seconds since 1970
) WITHOUT ROWID`
	insertReceipt = `INSERT INTO main.` + receiptTable + ` VALUES (?, unixepoch())`
	findReceipt   = `SELECT count(*) FROM main.` + receiptTable + ` WHERE token = ?`
	deleteReceipt = `DELETE FROM main.` + receiptTable + ` WHERE token = ?`
	// Nobody recovers what is older.
	expireReceipts = `DELETE FROM main.` + receiptTable + ` WHERE at < unixepoch() - 366 * 86400`
)

// receipts is what a sink needs to store rows once.
type receipts struct {
	keep   func(context.Context, []dest.Receipt) error // nil: nobody asked for it
	doubts []dest.Receipt                              // of transactions that may have been committed
	made   bool                                        // the table is there
	own    [][]byte                                    // tokens in it, the newest last
}

// keptReceipts is how many transactions leave a row in the table: far more than
// can be under way, or committed and not noted yet.
const keptReceipts = 1000

var _ dest.Recorder = (*sink)(nil)

// Record implements dest.Recorder.
func (s *sink) Record(earlier []dest.Receipt, keep func(context.Context, []dest.Receipt) error) {
	s.receipts = receipts{keep: keep, doubts: slices.Clone(earlier)}
}

// makeReceipts makes the table beside.
func (s *sink) makeReceipts(ctx context.Context, c *sql.Conn) error {
	if s.receipts.keep == nil || s.receipts.made {
		return nil
	}
	err := transact(ctx, c, func() error {
		for _, statement := range []string{createReceipt, expireReceipts} {
			if _, err := c.ExecContext(ctx, statement); err != nil {
				return fmt.Errorf("make the table %s, which keeps rows from being stored twice: %w", receiptTable, err)
			}
		}
		return nil
	})
	s.receipts.made = err == nil
	return err
}

// insertOnce has put store, in the caller's transaction, those rows of b that are
// not in the table. After an error it returns the rows that put was called with.
func (s *sink) insertOnce(ctx context.Context, c *sql.Conn, b *tuple.Batch, put putter) (*tuple.Batch, []dest.Refusal, error) {
	if s.receipts.keep == nil {
		refused, err := put(b)
		return b, refused, err
	}
	b, err := s.missing(ctx, c, b)
	if err != nil || b.Len() == 0 {
		return b, nil, err
	}
	refused, err := put(b)
	if err == nil && len(refused) < b.Len() {
		err = s.leaveReceipt(ctx, c, b, refused)
	}
	return b, refused, err
}

// leaveReceipt leaves the token of the caller's transaction, which stores the
// rows of b but for the refused ones, in the table beside.
func (s *sink) leaveReceipt(ctx context.Context, c *sql.Conn, b *tuple.Batch, refused []dest.Refusal) error {
	token := make([]byte, 16)
	rand.Read(token)
	if _, err := c.ExecContext(ctx, insertReceipt, token); err != nil {
		return fmt.Errorf("note the transaction in %s: %w", receiptTable, err)
	}
	if own := s.receipts.own; len(own) > keptReceipts {
		if _, err := c.ExecContext(ctx, deleteReceipt, own[0]); err != nil {
			return fmt.Errorf("forget a transaction in %s: %w", receiptTable, err)
		}
		s.receipts.own = own[1:]
	}
	some := dest.Receipts(b, refused, token)
	s.receipts.own = append(s.receipts.own, token)
	s.receipts.doubts = append(s.receipts.doubts, some...)
	return s.receipts.keep(ctx, some)
}

// missing returns the rows of b that no earlier transaction has stored.
func (s *sink) missing(ctx context.Context, c *sql.Conn, b *tuple.Batch) (*tuple.Batch, error) {
	for _, d := range dest.ByTransaction(s.receipts.doubts) {
		left := dest.Without(b, d)
		if left == b {
			continue
		}
		var n int
		if err := c.QueryRowContext(ctx, findReceipt, d[0].Token).Scan(&n); err != nil {
			return b, fmt.Errorf("look for an earlier transaction in %s: %w", receiptTable, err)
		}
		if n > 0 {
			b = left
		}
	}
	return b, nil
}

// answered forgets the receipts of the transaction that has just ended, those
// behind the first n, unless nobody knows how it ended.
func (s *sink) answered(n int, err error) {
	if !errors.As(err, new(*commitError)) {
		s.receipts.doubts = s.receipts.doubts[:n]
	}
}
