package pgdest

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/memdbwriter/memdbwriter/internal/dest"
	"github.com/memdbwriter/memdbwriter/internal/sqltext"
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
//   - committed: the batch is in, if the number cannot have been given twice
//     since: a server that lost its last moments, in a crash or because its
//     standby took over, gives the same numbers to other transactions
//   - otherwise, or if the server keeps no record that old: unknown. The batch
//     is written again, because a row twice is better than a row lost, and the
//     log says so as an error.
//
// A process may die there, too, or after the answer and before it has noted it.
// So the receipt is handed out before COMMIT (see dest.Recorder), and the next
// process asks in the same way.

// server tells servers and their lives apart.
type server struct {
	system int64  // the identifier that it shares with its physical standbys
	life   string // within a life no transaction number is given twice
}

// receipt names a transaction, so that another session can ask for its outcome.
// It is zero where the server cannot tell. Its numbers become part of SQL, its
// texts are only compared.
type receipt struct {
	server server
	xid    uint64
	pid    int64 // of the session, as the server's functions know it
}

// doubt is an insert-only transaction of which it is not known whether its rows
// got in, or known that they did, while they may be written again.
type doubt struct {
	rows    []dest.Receipt // in arrival order
	receipt receipt
	answer  outcome // guarded by doubts.mu
	waits   bool    // that it is not on a standby yet has been told; guarded by doubts.mu
}

// count is how many rows it has.
func (one *doubt) count() (n int64) {
	for _, r := range one.rows {
		n += r.Last - r.First + 1
	}
	return n
}

// doubts are those of a Sink.
type doubts struct {
	mu  sync.Mutex
	all []*doubt
}

// about returns those that concern rows of a batch.
func (d *doubts) about(b *tuple.Batch) (some []*doubt) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, one := range d.all {
		if dest.Without(b, one.rows) != b {
			some = append(some, one)
		}
	}
	return some
}

func (d *doubts) add(one *doubt) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.all = append(d.all, one)
}

// answer returns what has been answered about a transaction.
func (d *doubts) answer(one *doubt) outcome {
	d.mu.Lock()
	defer d.mu.Unlock()
	return one.answer
}

// answered keeps the answer for other batches with rows of the transaction.
func (d *doubts) answered(one *doubt, answer outcome) {
	d.mu.Lock()
	defer d.mu.Unlock()
	one.answer = answer
}

// waiting notes that a transaction is not on a synchronous standby yet, and
// reports whether that is news.
func (d *doubts) waiting(one *doubt) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	news := !one.waits
	one.waits = true
	return news
}

// stored forgets the transactions of which all rows are in b, which is stored.
func (d *doubts) stored(b *tuple.Batch) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.all = slices.DeleteFunc(d.all, func(one *doubt) bool {
		return int64(b.Len()-dest.Without(b, one.rows).Len()) == one.count()
	})
}

var _ dest.Recorder = (*Sink)(nil)

// Record implements dest.Recorder. A token that is not one of ours is told in
// the log, and taken for the receipt of a transaction that nobody can ask for.
func (s *Sink) Record(earlier []dest.Receipt, keep func(context.Context, []dest.Receipt) error) {
	s.keep = keep
	for _, rows := range dest.ByTransaction(earlier) {
		one := &doubt{rows: rows}
		var err error
		if one.receipt, err = parseToken(rows[0].Token); err != nil {
			s.log.Error("a commit token on the disk is damaged or forged: its transaction cannot be asked for", "table", s.table.String(),
				"destination", s.db.String(), "first", rows[0].First, "last", rows[len(rows)-1].Last, "error", err)
		}
		s.doubts.add(one)
	}
}

// record hands out the receipt of a transaction that is about to be committed.
func (s *Sink) record(ctx context.Context, b *tuple.Batch, r receipt) error {
	if s.keep == nil {
		return nil
	}
	t, err := r.token()
	if err != nil {
		return err
	}
	if err := s.keep(ctx, dest.Receipts(b, nil, t)); err != nil {
		return err
	}
	return ctx.Err()
}

// identify asks which server this is. One that cannot tell the outcome of a
// transaction is the zero server.
func (s *Sink) identify(ctx context.Context, pg *pgconn.PgConn, res *dest.Result) (server, error) {
	d := dialectOf(pg)
	res.RoundTrips++
	f, err := queryRow(ctx, pg, d.transactions.serverAnd(math.MaxInt64), serverKinds)
	if err == nil {
		return server{f.int(0), f[1]}, nil
	}
	if classify(err).Class == dest.ClassTransient {
		return server{}, err
	}
	s.log.WarnContext(ctx, "this server cannot tell the outcome of a transaction: rows whose COMMIT is not answered will be written twice",
		"table", s.table.String(), "destination", s.db.String(), "error", err)
	return server{}, nil
}

// insert writes an insert-only batch in a transaction whose outcome can be
// asked for.
func (s *Sink) insert(ctx context.Context, pg *pgconn.PgConn, p *plan, b *tuple.Batch, encoded []byte, res *dest.Result) error {
	r := receipt{server: p.server}
	begun := p.server != (server{})
	if begun {
		res.RoundTrips++
		f, err := queryRow(ctx, pg, beginSQL, "xi")
		if err == nil {
			err = r.read(f)
		}
		if err == nil {
			err = s.record(ctx, b, r)
		}
		if err != nil {
			rollBack(ctx, pg, res)
			return err
		}
	}
	_, err := s.runOnce(ctx, pg, p, p.direct, start{create: true, begun: begun}, b, encoded, res)
	if err != nil && (pg.IsClosed() || unknownOutcome(err)) {
		s.doubts.add(&doubt{rows: dest.Receipts(b, nil, nil), receipt: r})
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
		_ = execute(ctx, pg, sqltext.Const("ROLLBACK"))
	}
}

// unknownOutcome tells an error of a server that itself does not know, in
// front of others.
func unknownOutcome(err error) bool {
	pe := new(pgconn.PgError)
	return errors.As(err, &pe) && (pe.Code == "40003" || pe.Code == "08007")
}

// missing returns the rows of the batch that are not in the table, finding out
// what became of earlier attempts to write them where that is not known.
func (s *Sink) missing(ctx context.Context, pg *pgconn.PgConn, b *tuple.Batch, res *dest.Result) (*tuple.Batch, error) {
	for _, one := range slices.Backward(s.doubts.about(b)) { // the newest is the likeliest to be in
		left := dest.Without(b, one.rows)
		if left == b {
			continue
		}
		answer := s.doubts.answer(one)
		if answer == unasked {
			var err error
			if answer, err = s.ask(ctx, pg, one, res); err != nil {
				return nil, err
			}
			s.doubts.answered(one, answer)
		}
		if answer == committed {
			b = left
		}
	}
	return b, nil
}

// ask finds out what became of a transaction.
func (s *Sink) ask(ctx context.Context, pg *pgconn.PgConn, one *doubt, res *dest.Result) (outcome, error) {
	r, answer, transactions := one.receipt, unknown, dialectOf(pg).transactions
	if r.xid != 0 {
		res.RoundTrips++
		f, err := queryRow(ctx, pg, transactions.serverAnd(r.xid), serverKinds)
		if err != nil {
			return unasked, classify(fmt.Errorf("asking for the outcome of transaction %d: %w", r.xid, err))
		}
		answer = r.judge(server{f.int(0), f[1]}, f[2])
	}
	switch answer {
	case committed:
		if err := s.confirm(ctx, pg, transactions.confirm, one, res); err != nil {
			return unasked, err
		}
	case running:
		res.RoundTrips++
		if err := execute(ctx, pg, transactions.abandon(r)); err != nil {
			return unasked, classify(fmt.Errorf("ending the session of transaction %d: %w", r.xid, err))
		}
		return unasked, fmt.Errorf("transaction %d, whose COMMIT was not answered, has not ended yet", r.xid)
	case unknown:
		attrs := []any{
			"table", s.table.String(), "destination", s.db.String(),
			"rows", one.count(), "first", one.rows[0].First, "last", one.rows[len(one.rows)-1].Last,
		}
		if r.xid != 0 {
			attrs = append(attrs, "condition", transactions.rows(r.xid))
		}
		s.log.ErrorContext(ctx, "rows may be in the table twice: the answer to a COMMIT was lost, and the server cannot tell its outcome", attrs...)
	}
	return answer, nil
}

// confirm waits until a committed transaction is where its COMMIT would have
// waited for it to be. That wait may have been cut short, by the request to cancel
// that the end of a context sends or by the end of the session: such a transaction
// is committed here, and a standby that takes over may not have it.
func (s *Sink) confirm(ctx context.Context, pg *pgconn.PgConn, sql sqltext.SQL, one *doubt, res *dest.Result) error {
	if sql.Empty() {
		return nil
	}
	res.RoundTrips++
	err := execute(ctx, pg, sql)
	if err == nil {
		return nil
	}
	xid := one.receipt.xid
	if s.doubts.waiting(one) {
		res.StandbyWaits++
		s.log.WarnContext(ctx, "a transaction whose COMMIT was not answered is committed, but a synchronous standby may not have it yet",
			"table", s.table.String(), "destination", s.db.String(), "transaction", xid, "error", err)
	}
	switch stateOf(err) {
	case "42501", "42883": // the role may not, or the server cannot
		return nil
	}
	return classify(fmt.Errorf("transaction %d is committed, and waits for a synchronous standby: %w", xid, err))
}

type outcome uint8

const (
	unasked outcome = iota
	unknown
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
