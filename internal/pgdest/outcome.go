package pgdest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"strconv"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/memdbwriter/memdbwriter/internal/dest"
	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

// When a connection dies between COMMIT and its answer, nobody knows whether
// the batch got in. With a key it is simply written again. Rows without one
// would then be in the table twice. So an insert-only batch learns the number
// of its transaction before it sends COMMIT; if the answer is lost the Sink
// keeps the number, and before it writes these rows again it asks the server
// what became of that transaction (the manual recommends txid_status for
// exactly this).
//
// The answer is taken only for what it can mean:
//
//   - aborted, or a number not given yet: the batch is not in
//   - in progress: the answer is waited for. A session that waits for the
//     client that we no longer are would do so for hours, and is ended.
//   - committed: the batch is in, if the server has not crashed or been
//     replaced by its standby since: one that lost the last moments gives the
//     same numbers to other transactions
//   - otherwise, or if the server keeps no record that old: unknown. The batch
//     is written again, because a row twice is better than a row lost, and the
//     log says so as an error.

// server tells servers and their lives apart.
type server struct {
	system string // the identifier that it shares with its physical standbys
	life   string // another one after a crash, and on a standby
}

// receipt names a transaction whose COMMIT was not answered, so that another
// session can ask for its outcome. It is zero where the server cannot tell.
type receipt struct {
	server server
	xid    uint64
	pid    string // of the session's process
}

// rowRange names the rows of an insert-only batch, which are in the order of
// their arrival.
type rowRange struct {
	first, last int64
	n           int
}

func rangeOf(b *tuple.Batch) rowRange {
	return rowRange{b.Rows[0].Seq, b.Rows[b.Len()-1].Seq, b.Len()}
}

// identify asks which server this is. One that cannot tell the outcome of a
// transaction is the zero server.
func (s *Sink) identify(ctx context.Context, pg *pgconn.PgConn, res *dest.Result) (server, error) {
	d := dialectOf(pg)
	err := errors.New(d.name + " has no txid_status")
	if d.outcomes {
		res.RoundTrips++
		var f []string
		if f, err = queryRow(ctx, pg, identitySQL+", "+outcomeSQL(math.MaxInt64)); err == nil {
			return server{f[0], f[1]}, nil
		}
		if classify(err).Class == dest.ClassTransient {
			return server{}, err
		}
	}
	s.log.WarnContext(ctx, "this server cannot tell the outcome of a transaction: rows whose COMMIT is not answered will be written twice",
		"table", s.table.String(), "destination", s.db.String(), "error", err)
	return server{}, nil
}

// insert writes an insert-only batch in a transaction whose outcome can be
// asked for.
func (s *Sink) insert(ctx context.Context, pg *pgconn.PgConn, p *plan, b *tuple.Batch, encoded []byte, res *dest.Result) error {
	r := receipt{server: p.server}
	sql := p.direct
	if p.server != (server{}) {
		res.RoundTrips++
		f, err := queryRow(ctx, pg, beginSQL)
		if err != nil {
			rollBack(ctx, pg, res)
			return err
		}
		if r.xid, err = strconv.ParseUint(f[0], 10, 64); err != nil {
			rollBack(ctx, pg, res)
			return fmt.Errorf("the server gave an unexpected transaction number: %w", err)
		}
		r.pid = f[1]
		sql += ";\nCOMMIT"
	}
	res.RoundTrips++
	err := copyFrom(ctx, pg, sql, b, encoded)
	if err != nil && (pg.IsClosed() || unknownOutcome(err)) {
		s.doubts.Store(rangeOf(b), r)
		err = fmt.Errorf("it is not known whether the batch got in, which is found out before it is written again: %w", err)
	}
	if err != nil {
		rollBack(ctx, pg, res)
	}
	return err
}

// rollBack ends a failed transaction. Should that fail, the pool closes the
// connection, which does the same.
func rollBack(ctx context.Context, pg *pgconn.PgConn, res *dest.Result) {
	if !pg.IsClosed() && pg.TxStatus() != 'I' {
		res.RoundTrips++
		_, _ = pg.Exec(ctx, "ROLLBACK").ReadAll()
	}
}

// unknownOutcome tells an error of a server that itself does not know, in
// front of others.
func unknownOutcome(err error) bool {
	pe := new(pgconn.PgError)
	return errors.As(err, &pe) && (pe.Code == "40003" || pe.Code == "08007")
}

// settle finds out what became of an earlier attempt to write the batch, if
// that is not known. It reports whether the batch is in. After an error
// nothing is known yet.
func (s *Sink) settle(ctx context.Context, pg *pgconn.PgConn, b *tuple.Batch, res *dest.Result) (stored bool, err error) {
	rows := rangeOf(b)
	doubt, ok := s.doubts.Load(rows)
	if !ok {
		return false, nil
	}
	r := doubt.(receipt)
	answer := unknown
	if r.xid != 0 {
		res.RoundTrips++
		f, err := queryRow(ctx, pg, identitySQL+", "+outcomeSQL(r.xid))
		if err != nil {
			return false, classify(fmt.Errorf("asking for the outcome of transaction %d: %w", r.xid, err))
		}
		answer = r.judge(server{f[0], f[1]}, f[2])
	}
	switch answer {
	case running:
		res.RoundTrips++
		if _, err := pg.Exec(ctx, abandonSQL(r)).ReadAll(); err != nil {
			return false, classify(fmt.Errorf("ending the session of transaction %d: %w", r.xid, err))
		}
		return false, fmt.Errorf("transaction %d, whose COMMIT was not answered, has not ended yet", r.xid)
	case unknown:
		s.log.ErrorContext(ctx, "rows may be in the table twice: the answer to a COMMIT was lost, and the server cannot tell its outcome",
			slog.String("table", s.table.String()), slog.String("destination", s.db.String()), slog.Int("rows", rows.n),
			slog.Int64("first", rows.first), slog.Int64("last", rows.last),
			slog.String("condition", "xmin = '"+strconv.FormatUint(uint64(uint32(r.xid)), 10)+"'"))
	}
	s.doubts.Delete(rows)
	return answer == committed, nil
}

type outcome uint8

const (
	unknown outcome = iota
	committed
	aborted
	running
)

// judge says what the status of the transaction's number means on the server
// that was asked.
func (r receipt) judge(asked server, status string) outcome {
	switch {
	case asked.system != r.server.system:
		return unknown
	case status == "aborted", status == "not given":
		return aborted
	case status == "in progress": // perhaps another transaction's by now: see when it has ended
		return running
	case status == "committed" && asked.life == r.server.life && asked.life != "":
		return committed
	}
	return unknown
}

// queryRow returns the values of the one row of the last statement.
func queryRow(ctx context.Context, pg *pgconn.PgConn, sql string) ([]string, error) {
	results, err := pg.Exec(ctx, sql).ReadAll()
	if err != nil {
		return nil, err
	}
	if i := slices.IndexFunc(results, func(r *pgconn.Result) bool { return len(r.Rows) == 1 }); i >= 0 {
		return texts(results[i].Rows[0]), nil
	}
	return nil, errors.New("the server gave an unexpected answer")
}
