package ogtest

import (
	"slices"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/jackc/pgx/v5/pgtype"
)

// prepared is a prepared statement of the client.
type prepared struct {
	plan       *plan // of an empty statement one without SQL
	toks       []token
	declared   []uint32 // parameter types that the client gave
	parameters []uint32 // and those that PostgreSQL found
}

// step handles a message of the extended protocol.
func (s *session) step(msg pgproto3.FrontendMessage) error {
	switch msg := msg.(type) {
	case *pgproto3.Parse:
		s.request = 'P'
		return s.parse(msg.Name, msg.Query, slices.Clone(msg.ParameterOIDs))
	case *pgproto3.Bind:
		s.request = 'B'
		return s.bind(msg)
	case *pgproto3.Describe:
		s.request = 'D'
		return s.describe(msg)
	case *pgproto3.Execute:
		s.request = 'E'
		return s.execute(msg)
	case *pgproto3.Close:
		s.request = 'C'
		return s.close(msg)
	}
	return fatal("08P01", "the openGauss stand-in does not know the message %T", msg)
}

func (s *session) parse(name, sql string, oids []uint32) error {
	stmts, err := split(sql)
	if err != nil {
		return err
	}
	stmt := &prepared{plan: &plan{}, declared: oids}
	switch len(stmts) {
	case 0:
	case 1:
		stmt.toks = stmts[0]
		if stmt.plan, err = s.translate(stmt.toks); err != nil {
			return err
		}
	default:
		return newFault("42601", "cannot insert multiple commands into a prepared statement")
	}
	if err := s.prepare(name, stmt); err != nil {
		return err
	}
	s.statements[name] = stmt
	s.client.Send(&pgproto3.ParseComplete{})
	return nil
}

// prepare makes the statement on the backend, and learns its parameters.
func (s *session) prepare(name string, stmt *prepared) error {
	s.current = stmt.plan
	s.backend.Send(&pgproto3.Parse{Name: name, Query: stmt.plan.sql, ParameterOIDs: stmt.declared})
	s.backend.Send(&pgproto3.Describe{ObjectType: 'S', Name: name})
	return s.exchange(func(msg pgproto3.BackendMessage) (done bool, err error) {
		switch msg := msg.(type) {
		case *pgproto3.ParameterDescription:
			stmt.parameters = slices.Clone(msg.ParameterOIDs)
		case *pgproto3.RowDescription, *pgproto3.NoData:
			return true, nil
		}
		return false, nil
	})
}

// exchange sends what waits to be sent, and hands on what comes until done.
func (s *session) exchange(handle func(pgproto3.BackendMessage) (done bool, err error)) error {
	s.backend.Send(&pgproto3.Flush{})
	if err := s.backend.Flush(); err != nil {
		return err
	}
	for {
		msg, err := s.receive()
		if err != nil {
			return err
		}
		if done, err := handle(msg); done || err != nil {
			return err
		}
	}
}

func (s *session) bind(msg *pgproto3.Bind) error {
	stmt := s.statements[msg.PreparedStatement]
	if stmt != nil {
		if err := s.renew(msg.PreparedStatement, stmt); err != nil {
			return err
		}
		s.current = stmt.plan
		s.alter(msg, stmt.parameters)
	}
	s.backend.Send(msg)
	err := s.exchange(func(m pgproto3.BackendMessage) (bool, error) {
		_, done := m.(*pgproto3.BindComplete)
		return done, s.pass(m)
	})
	if err == nil {
		s.portals[msg.DestinationPortal] = stmt
	}
	return err
}

// renew prepares an upsert again, if the unique indexes of its table are no
// longer those for which it was translated.
func (s *session) renew(name string, stmt *prepared) error {
	if !stmt.plan.upsert {
		return nil
	}
	p, err := s.translate(stmt.toks)
	if err != nil || p.sql == stmt.plan.sql {
		return err
	}
	s.backend.Send(&pgproto3.Close{ObjectType: 'S', Name: name})
	stmt.plan = p
	return s.prepare(name, stmt)
}

// alter does to the bound values what openGauss does to them silently
// (opengauss.md 1, number 6, and 5.2).
func (s *session) alter(msg *pgproto3.Bind, oids []uint32) {
	for i, v := range msg.Parameters {
		if v == nil || i >= len(oids) {
			continue
		}
		switch oids[i] {
		case pgtype.TextOID, pgtype.VarcharOID, pgtype.BPCharOID:
			msg.Parameters[i] = mangle(v)
			if len(v) == 0 && oids[i] == pgtype.VarcharOID && s.emptyIsNull() {
				msg.Parameters[i] = nil
			}
		case pgtype.TimestampOID, pgtype.TimestamptzOID, pgtype.TimeOID, pgtype.IntervalOID:
			if len(v) == 0 && s.emptyIsNull() {
				msg.Parameters[i] = nil
			}
		}
	}
}

// mangle makes text of what is none: a space of NUL, a question mark of each
// byte that is not UTF-8.
func mangle(v []byte) []byte {
	if utf8.Valid(v) && !slices.Contains(v, 0) {
		return v
	}
	var out []byte
	for len(v) > 0 {
		r, n := utf8.DecodeRune(v)
		switch {
		case r == utf8.RuneError && n == 1:
			out = append(out, '?')
		case r == 0:
			out = append(out, ' ')
		default:
			out = append(out, v[:n]...)
		}
		v = v[n:]
	}
	return out
}

func (s *session) describe(msg *pgproto3.Describe) error {
	s.current = nil
	s.backend.Send(msg)
	return s.exchange(func(m pgproto3.BackendMessage) (done bool, err error) {
		switch m.(type) {
		case *pgproto3.RowDescription, *pgproto3.NoData:
			done = true
		}
		return done, s.pass(m)
	})
}

func (s *session) execute(msg *pgproto3.Execute) error {
	p := &plan{}
	if stmt := s.portals[msg.Portal]; stmt != nil {
		p = stmt.plan
	}
	if err := s.before(p); err != nil {
		return err
	}
	var end pgproto3.BackendMessage
	err := s.limited(func() error {
		s.backend.Send(msg)
		return s.exchange(func(m pgproto3.BackendMessage) (done bool, err error) {
			switch m := m.(type) {
			case *pgproto3.CommandComplete:
				end = &pgproto3.CommandComplete{CommandTag: slices.Clone(m.CommandTag)}
				return true, nil
			case *pgproto3.EmptyQueryResponse, *pgproto3.PortalSuspended:
				end = m
				return true, nil
			case *pgproto3.CopyInResponse:
				s.client.Send(m)
				return false, s.feed(p)
			}
			return false, s.pass(m)
		})
	})
	if err != nil {
		return err
	}
	if err := s.after(p); err != nil {
		return err
	}
	s.client.Send(end)
	return nil
}

func (s *session) close(msg *pgproto3.Close) error {
	s.current = nil
	if msg.ObjectType == 'S' {
		delete(s.statements, msg.Name)
	} else {
		delete(s.portals, msg.Name)
	}
	s.backend.Send(msg)
	return s.exchange(func(m pgproto3.BackendMessage) (bool, error) {
		_, done := m.(*pgproto3.CloseComplete)
		return done, s.pass(m)
	})
}

// sync ends a series of extended requests, and with it their transaction if
// there is no block.
func (s *session) sync() error {
	s.request = 'S'
	s.current = nil
	s.backend.Send(&pgproto3.Sync{})
	var failure *fault
	for {
		if err := s.backend.Flush(); err != nil {
			return err
		}
		msg, err := s.receive()
		if f, ok := err.(*fault); ok {
			failure = f // of a deferred constraint
			continue
		}
		if err != nil {
			return err
		}
		ready, ok := msg.(*pgproto3.ReadyForQuery)
		if !ok {
			continue
		}
		s.status, s.extended, s.failed = ready.TxStatus, false, false
		if failure != nil {
			if err := s.report(failure); err != nil {
				return err
			}
		}
		return s.ready()
	}
}
