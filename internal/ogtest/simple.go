package ogtest

import (
	"errors"
	"slices"

	"github.com/jackc/pgx/v5/pgproto3"
)

// query runs the statements of a simple query. Several of them are one
// transaction, as in PostgreSQL; here that is a transaction block of the
// backend that the client does not see. The answer to the last statement
// waits for its end.
func (s *session) query(sql string) error {
	stmts, err := split(sql)
	if err != nil {
		return s.end(false, err)
	}
	if len(stmts) == 0 {
		s.client.Send(&pgproto3.EmptyQueryResponse{})
		return nil
	}
	block := false // the invisible one is open
	for i, stmt := range stmts {
		p, err := s.translate(stmt)
		if err != nil {
			return s.end(block, err)
		}
		if s.status == 'I' && (len(stmts) > 1 || p.guard != "") && p.verb != "begin" {
			if err := s.exec("BEGIN"); err != nil {
				return s.end(false, err)
			}
			block = true
		}
		var tag []byte
		if p.verb == "begin" && block {
			tag, block = []byte("BEGIN"), false // the client's from now on
		} else if tag, err = s.runSimple(p); err != nil {
			return s.end(block, err)
		}
		if s.status == 'I' {
			block = false
		}
		if block && i == len(stmts)-1 {
			if err := s.exec("COMMIT"); err != nil {
				return s.end(false, err)
			}
		}
		s.client.Send(&pgproto3.CommandComplete{CommandTag: tag})
		if err := s.refreshSettings(); err != nil {
			return err
		}
	}
	return nil
}

// end reports an error, and undoes the invisible transaction block.
func (s *session) end(block bool, err error) error {
	var f *fault
	if !errors.As(err, &f) {
		return err
	}
	s.current = nil
	if block {
		if err := s.exec("ROLLBACK"); err != nil {
			return err
		}
	}
	return s.report(f)
}

// runSimple runs one statement, and returns its tag. What it returns else goes
// to the client.
func (s *session) runSimple(p *plan) (tag []byte, err error) {
	if err := s.before(p); err != nil {
		return nil, err
	}
	err = s.limited(func() error {
		tag, err = s.forwardSimple(p)
		return err
	})
	if err != nil {
		return nil, err
	}
	return tag, s.after(p)
}

func (s *session) forwardSimple(p *plan) (tag []byte, err error) {
	s.backend.Send(&pgproto3.Query{String: p.sql})
	if err := s.backend.Flush(); err != nil {
		return nil, err
	}
	var failure error
	for {
		msg, err := s.receive()
		var f *fault
		switch {
		case errors.As(err, &f):
			failure = f
			continue
		case err != nil:
			return nil, err
		}
		switch msg := msg.(type) {
		case *pgproto3.ReadyForQuery:
			s.status = msg.TxStatus
			return tag, failure
		case *pgproto3.CommandComplete:
			tag = slices.Clone(msg.CommandTag)
		case *pgproto3.CopyInResponse:
			s.client.Send(msg)
			err = s.feed(p)
		default:
			err = s.pass(msg)
		}
		if err != nil {
			return nil, err
		}
	}
}

// before is what keeps a statement from running at all.
func (s *session) before(p *plan) error {
	s.current = p
	if p.refusal != nil {
		return p.refusal
	}
	if p.temp && s.restricted { // opengauss.md 11
		return newFault("42501", "cannot create temporary table within security-restricted operation")
	}
	return nil
}

// after is what follows a statement that ran.
func (s *session) after(p *plan) error {
	if p.settings {
		s.settings.touched = true
	}
	if p.settings || p.endsTx {
		s.settings.dirty = true
	}
	s.restricted = s.restricted || p.restricts
	if p.guard == "" {
		return nil
	}
	_, err := s.ask("SELECT "+s.server.helpers+".guard($1)", p.guard)
	return err
}
