package ogtest

import (
	"errors"
	"maps"
	"net"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// session is one client and its PostgreSQL session. One goroutine runs it;
// what another one touches is said where it stands.
//
// Every request is answered before the next one is read. An error that is a
// *fault is for the client, and the session goes on; any other one means that
// the client or PostgreSQL is gone, and ends the session.
type session struct {
	server  *Server
	opts    *Options
	user    *account
	conn    net.Conn
	client  *pgproto3.Backend
	backend *backend
	pid     uint32  // that the client knows
	key     [4]byte // that the client knows
	idle    idle

	status   byte // of the transaction, as PostgreSQL last said: I, T or E
	request  byte // type of the message in work
	extended bool // between an extended request and its Sync
	failed   bool // after an error there: everything up to the Sync is skipped
	current  *plan

	statements map[string]*prepared
	portals    map[string]*prepared
	settings   settings
	restricted bool // see opengauss.md 11 on CREATE INDEX IF NOT EXISTS

	// answer, if set, takes the place of ask: tests of the recogniser alone
	// need no PostgreSQL.
	answer func(sql, arg string) (string, error)
}

// newSession connects to PostgreSQL and tells the client that it is in.
func (s *Server) newSession(conn net.Conn, st *startup, user *account) (*session, error) {
	params, err := s.runtimeParams(st)
	if err != nil {
		return nil, err
	}
	if db := st.params["database"]; db != "" && db != "postgres" {
		return nil, fatal("3D000", "database %q does not exist", db)
	}
	back, reported, err := connectBackend(s.Backend.URL, params)
	if err != nil {
		var pe *pgconn.PgError
		if errors.As(err, &pe) {
			return nil, fatal(pe.Code, "%s", pe.Message)
		}
		return nil, fatal("57P03", "the database system is starting up")
	}
	sess := &session{
		server: s, opts: &s.opts, user: user, conn: conn, client: pgproto3.NewBackend(conn, conn), backend: back,
		status: 'I', statements: map[string]*prepared{}, portals: map[string]*prepared{},
	}
	sess.idle.conn, sess.idle.clock = conn, s.opts.Clock
	sess.client.Send(&pgproto3.AuthenticationOk{})
	key := s.register(sess)
	err = sess.readSettings()
	status := sess.reportedAtLogin(reported)
	for _, name := range slices.Sorted(maps.Keys(status)) {
		sess.client.Send(&pgproto3.ParameterStatus{Name: name, Value: status[name]})
	}
	sess.client.Send(key)
	if err == nil {
		err = sess.ready()
	}
	if err != nil {
		s.endSession(sess)
		return nil, err
	}
	return sess, nil
}

// run serves the client until it leaves or is thrown out.
func (s *session) run() {
	for {
		msg, err := s.client.Receive()
		if limit := s.idle.end(); limit != "" {
			s.throwOut(limit)
			return
		}
		if err != nil {
			return
		}
		if err := s.handle(msg); err != nil {
			return
		}
	}
}

var errTerminated = errors.New("the session is over")

// handle answers one message.
func (s *session) handle(msg pgproto3.FrontendMessage) error {
	switch msg := msg.(type) {
	case *pgproto3.Terminate:
		return errTerminated
	case *pgproto3.Query:
		s.request = 'Q'
		s.extended, s.failed = false, false
		if err := s.query(msg.String); err != nil {
			return err
		}
		return s.ready()
	case *pgproto3.Sync:
		return s.sync()
	case *pgproto3.Flush:
		return s.client.Flush()
	case *pgproto3.CopyData, *pgproto3.CopyDone, *pgproto3.CopyFail:
		return nil // of a COPY that failed before its end
	}
	s.extended = true
	if s.failed {
		return nil
	}
	err := s.step(msg)
	var f *fault
	if errors.As(err, &f) {
		s.failed = true
		return s.report(f)
	}
	return err
}

// report tells the client an error. One that PostgreSQL did not raise must
// abort its transaction all the same.
func (s *session) report(f *fault) error {
	s.server.note(f)
	s.client.Send(f.response())
	if f.severity == "FATAL" {
		return errors.Join(s.client.Flush(), errTerminated)
	}
	if f.raised {
		return nil
	}
	return s.poison()
}

// ready tells the client that the next request may come. From then on the
// session is idle, and before the client knows.
func (s *session) ready() error {
	if err := s.refreshSettings(); err != nil {
		return err
	}
	s.client.Send(&pgproto3.ReadyForQuery{TxStatus: s.status})
	s.idle.begin(s.idleLimit())
	return s.client.Flush()
}

// receive reads a message of PostgreSQL. Notices and parameters go to the
// client in openGauss's form; an error is returned as a *fault.
func (s *session) receive() (pgproto3.BackendMessage, error) {
	for {
		msg, err := s.backend.Receive()
		if err != nil {
			return nil, err
		}
		switch msg := msg.(type) {
		case *pgproto3.NoticeResponse:
			s.client.Send(s.translateError((*pgproto3.ErrorResponse)(msg)).notice())
		case *pgproto3.ParameterStatus:
			if reportedByBoth[msg.Name] {
				s.client.Send(msg)
			}
		case *pgproto3.ErrorResponse:
			f := s.translateError(msg)
			if f.severity == "FATAL" || f.severity == "PANIC" {
				s.client.Send(f.response())
				return nil, errors.Join(s.client.Flush(), errTerminated)
			}
			return nil, f
		default:
			return msg, nil
		}
	}
}

// pass sends a message of PostgreSQL to the client. Results can be long: they
// are not collected.
func (s *session) pass(msg pgproto3.BackendMessage) error {
	switch msg := msg.(type) {
	case *pgproto3.RowDescription:
		for i := range msg.Fields {
			msg.Fields[i].Name = []byte(ownName(string(msg.Fields[i].Name)))
		}
	case *pgproto3.DataRow, *pgproto3.CopyData:
		s.client.Send(msg)
		return s.client.Flush()
	}
	s.client.Send(msg)
	return nil
}

// exec runs SQL on the backend that the client does not know of.
func (s *session) exec(sql string) error {
	_, err := s.rows(sql)
	return err
}

// rows runs SQL by the simple protocol, and returns the values of all rows.
func (s *session) rows(sql string) ([]string, error) {
	s.backend.Send(&pgproto3.Query{String: sql})
	if err := s.backend.Flush(); err != nil {
		return nil, err
	}
	var values []string
	var failure error
	for {
		msg, err := s.receive()
		var f *fault
		switch {
		case errors.As(err, &f):
			failure = err
			continue
		case err != nil:
			return nil, err
		}
		switch msg := msg.(type) {
		case *pgproto3.DataRow:
			for _, v := range msg.Values {
				values = append(values, string(v))
			}
		case *pgproto3.ReadyForQuery:
			s.status = msg.TxStatus
			return values, failure
		}
	}
}

const internalName = "ogtest internal"

// ask runs a query of one parameter and one value within whatever the client
// has begun, by either protocol; the value is empty without a row.
func (s *session) ask(sql, arg string) (string, error) {
	if s.answer != nil {
		return s.answer(sql, arg)
	}
	if !s.extended {
		values, err := s.rows(strings.ReplaceAll(sql, "$1", literal(arg)))
		if err != nil || len(values) == 0 {
			return "", err
		}
		return values[0], nil
	}
	s.backend.Send(&pgproto3.Parse{Name: internalName, Query: sql})
	s.backend.Send(&pgproto3.Bind{DestinationPortal: internalName, PreparedStatement: internalName, Parameters: [][]byte{[]byte(arg)}})
	s.backend.Send(&pgproto3.Execute{Portal: internalName})
	s.backend.Send(&pgproto3.Close{ObjectType: 'P', Name: internalName})
	s.backend.Send(&pgproto3.Close{ObjectType: 'S', Name: internalName})
	s.backend.Send(&pgproto3.Flush{})
	if err := s.backend.Flush(); err != nil {
		return "", err
	}
	value := ""
	for closed := 0; closed < 2; {
		msg, err := s.receive()
		if err != nil {
			return "", err
		}
		switch msg := msg.(type) {
		case *pgproto3.DataRow:
			value = string(msg.Values[0])
		case *pgproto3.CloseComplete:
			closed++
		}
	}
	return value, nil
}

// poison aborts the transaction of PostgreSQL after an error of our own.
func (s *session) poison() error {
	const nonsense = "aborted by the stand-in"
	if !s.extended {
		if s.status != 'T' {
			return nil
		}
		return ignoreFault(s.exec(nonsense))
	}
	s.backend.Send(&pgproto3.Parse{Name: internalName, Query: nonsense})
	s.backend.Send(&pgproto3.Flush{})
	if err := s.backend.Flush(); err != nil {
		return err
	}
	_, err := s.receive()
	return ignoreFault(err)
}

func ignoreFault(err error) error {
	var f *fault
	if errors.As(err, &f) {
		return nil
	}
	return err
}
