package pgdest

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/memdbwriter/memdbwriter/internal/dest"
	"github.com/memdbwriter/memdbwriter/internal/sqltext"
	"github.com/memdbwriter/memdbwriter/internal/tuple"
)

var _ dest.Isolator = (*Sink)(nil)

// Isolate implements dest.Isolator. What this program itself finds wrong costs no
// request; the rest is told apart by the server, see isolate_sql.go.
//
// It takes two requests, the second of which commits; without a key two more,
// for the number of the transaction and to have its receipts kept before COMMIT.
func (s *Sink) Isolate(ctx context.Context, b *tuple.Batch) (dest.Result, []dest.Refusal, error) {
	res := dest.Result{Way: dest.Upsert}
	var refused []dest.Refusal
	err := s.withConn(ctx, func(pg *pgconn.PgConn) (err error) {
		refused, err = s.isolate(ctx, pg, b, &res)
		return err
	})
	if err != nil {
		return res, nil, sinkError(err)
	}
	for i := range refused {
		refused[i].Err = dest.AsError(refused[i].Err)
	}
	return res, refused, nil
}

func (s *Sink) isolate(ctx context.Context, pg *pgconn.PgConn, whole *tuple.Batch, res *dest.Result) ([]dest.Refusal, error) {
	b, err := whole, error(nil)
	if s.table.Policy == dest.InsertOnly {
		if b, err = s.missing(ctx, pg, whole, res); err != nil {
			return nil, err
		}
	}
	p, err := s.currentPlan(ctx, pg, res)
	if err == nil {
		p, err = p.of(whole)
	}
	if err != nil {
		return nil, err
	}
	if p.isolate == nil {
		return nil, &dest.Error{Class: dest.ClassRow, Row: -1, Err: errors.New("this server cannot tell the rows of a batch apart")}
	}
	order := dest.ByArrival(b)
	encoded, refused := p.encodeIsolated(b, order)
	if len(refused) < b.Len() {
		more, err := s.tellApart(ctx, pg, p, b, order, encoded, refused, res)
		if err != nil {
			rollBack(ctx, pg, res)
			return nil, dest.InWhole(s.lookAgain(ctx, pg, p, classifyCopy(err, "", 0, p.columns), res), b, whole)
		}
		s.fashion.seen(more)
		refused = append(refused, more...)
	}
	if s.table.Policy == dest.InsertOnly {
		s.doubts.stored(whole)
	}
	slices.SortFunc(refused, func(x, y dest.Refusal) int { return x.Row - y.Row })
	dest.PlacesInWhole(refused, b, whole)
	return refused, nil
}

// tellApart has the server store those of the encoded rows that get in, and
// returns the others. refused are those that are not encoded.
func (s *Sink) tellApart(ctx context.Context, pg *pgconn.PgConn, p *plan, b *tuple.Batch, order []int, encoded []byte, refused []dest.Refusal, res *dest.Result) ([]dest.Refusal, error) {
	r := receipt{server: p.server}
	begin := sqltext.Const("BEGIN")
	if p.server != (server{}) {
		res.RoundTrips++
		f, err := queryRow(ctx, pg, beginSQL, "xi")
		if err == nil {
			err = r.read(f)
		}
		if err != nil {
			return nil, err
		}
		begin = sqltext.SQL{}
	}
	hints, trend := s.fashion.hints()
	if p.whole != nil || len(p.inexact) > 0 {
		// A constraint may be about a column that the rows leave out; and where
		// it is not known which keys are one, rows stay in their order.
		hints, trend = nil, false
	}
	first := isolateRows
	if trend || len(refused) > 0 { // the rows that are encoded have not been refused yet
		first = b.Len()
	}
	res.RoundTrips++
	if _, err := copyFrom(ctx, pg, sqltext.Statements(begin, p.isolate(hints, first)), &tuple.Batch{}, encoded); err != nil {
		return nil, err
	}
	res.RoundTrips++
	if s.table.Policy != dest.InsertOnly {
		return s.readRefused(ctx, pg, p, order, sqltext.Statements(refusedSQL, sqltext.Const("COMMIT")), res)
	}
	more, err := s.readRefused(ctx, pg, p, order, refusedSQL, res)
	if err != nil {
		return nil, err
	}
	return more, s.commit(ctx, pg, b, slices.Concat(refused, more), r, res)
}

// readRefused reads the rows that the server refused, and counts those that a
// trigger cancelled.
func (s *Sink) readRefused(ctx context.Context, pg *pgconn.PgConn, p *plan, order []int, sql sqltext.SQL, res *dest.Result) ([]dest.Refusal, error) {
	answers, err := query(ctx, pg, sql, refusedKinds, "i")
	if err != nil {
		return nil, err
	}
	if len(answers[1]) != 1 {
		return nil, fmt.Errorf("%w: %d counts of the rows that were cancelled", errAnswer, len(answers[1]))
	}
	res.Skipped = int(answers[1][0].int(0))
	refused := make([]dest.Refusal, len(answers[0]))
	for i, f := range answers[0] {
		if f.int(0) < 0 || f.int(0) >= int64(len(order)) {
			return nil, fmt.Errorf("%w: row %d of %d", errAnswer, f.int(0), len(order))
		}
		pe := &pgconn.PgError{
			Severity: "ERROR", SeverityUnlocalized: "ERROR",
			Code: f[1], Message: f[2], Detail: f[3], Hint: f[4], ConstraintName: f[5], ColumnName: f[6],
		}
		e := classifyCopy(pe, "", 0, p.columns)
		if !knownState(pe.Code) {
			e.Class = dest.ClassRow // it did not hit other rows
		}
		refused[i] = dest.Refusal{Row: order[f.int(0)], Err: e}
	}
	return refused, nil
}

// commit commits an insert-only transaction that leaves out the refused rows.
func (s *Sink) commit(ctx context.Context, pg *pgconn.PgConn, b *tuple.Batch, refused []dest.Refusal, r receipt, res *dest.Result) error {
	slices.SortFunc(refused, func(x, y dest.Refusal) int { return x.Row - y.Row })
	token, err := r.token()
	if err != nil {
		return err
	}
	receipts := dest.Receipts(b, refused, token)
	if s.keep != nil && r.xid != 0 && len(receipts) > 0 {
		if err := s.keep(ctx, receipts); err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	res.RoundTrips++
	err = execute(ctx, pg, sqltext.Const("COMMIT"))
	if err != nil && (pg.IsClosed() || unknownOutcome(err)) {
		if len(receipts) > 0 {
			s.doubts.add(&doubt{rows: receipts, receipt: r})
		}
		return fmt.Errorf("it is not known whether the batch got in, which is found out before it is written again: %w", err)
	}
	return err
}

// encodeIsolated encodes the rows that the client finds nothing wrong with, each
// with its place in the order of arrival in front, and returns the others.
func (p *plan) encodeIsolated(b *tuple.Batch, order []int) (encoded []byte, refused []dest.Refusal) {
	encoded = append(make([]byte, 0, b.Bytes()+8*int64(b.Len())), p.header()...)
	for place, at := range order {
		row, err := p.placedRow(encoded, place, at, b.Tuple(at))
		if err != nil {
			refused = append(refused, dest.Refusal{Row: at, Err: dest.AsError(err)})
			continue
		}
		encoded = row
	}
	return append(encoded, p.trailer()...), refused
}

// placedRow checks row at and appends it to buf with its place in front.
func (p *plan) placedRow(buf []byte, place, at int, t []byte) ([]byte, error) {
	if p.text {
		return p.textRow(append(strconv.AppendInt(buf, int64(place), 10), '\t'), at, t)
	}
	buf = tuple.AppendHeader(buf, len(p.columns)+1)
	buf = binary.BigEndian.AppendUint32(buf, 4)
	buf = binary.BigEndian.AppendUint32(buf, uint32(place))
	return p.appendFields(buf, at, t)
}
