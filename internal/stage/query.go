package stage

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"time"

	"modernc.org/sqlite"
)

// Query runs SQL over the views and returns the whole result. Values are nil,
// int64, float64, string or []byte. Arguments are what database/sql takes; a
// time.Time compares with the timestamps of the views.
//
// Only reading is possible. Several statements in one text all run, and the
// rows are those of the last. Nobody else can use the store meanwhile; when ctx
// ends, so does the query, with the error of ctx.
func (s *Store) Query(ctx context.Context, query string, args ...any) (columns []string, rows [][]any, err error) {
	named, err := bind(args)
	if err != nil {
		return nil, nil, fmt.Errorf("query staged rows: %w", err)
	}
	if err := s.lock(); err != nil {
		return nil, nil, err
	}
	defer s.mu.Unlock()

	// The driver heeds a context while one Exec lasts, and not while rows are
	// read: a statement could take for ever to find the second one. Hence the
	// query runs inside another statement, as the value of its only row.
	// database/sql has no part in it, so that it cannot come to the conclusion
	// that the connection, which is the database, is broken.
	err = s.conn.Raw(func(conn any) error {
		var failed error
		s.watched.Serve(watchedRow(func() error {
			s.watched.Serve(nil) // a query that reads the watched table finds it empty, and not itself
			columns, rows, failed = s.query(conn.(driver.QueryerContext), query, named)
			return failed
		}))
		defer func() { s.watched.Serve(nil) }()
		_, err := conn.(driver.ExecerContext).ExecContext(ctx, "SELECT c0 FROM temp."+watchedName, nil)
		if failed != nil && ctx.Err() == nil {
			return failed // which is what err says, less directly
		}
		return err
	})
	if err != nil {
		return nil, nil, fmt.Errorf("query staged rows: %w", err)
	}
	return columns, rows, nil
}

// watchedRow is the row whose value is a query.
type watchedRow func() error

func (watchedRow) Len() int { return 1 }

func (query watchedRow) Value(int, int) (driver.Value, error) { return nil, query() }

func (s *Store) query(conn driver.QueryerContext, query string, args []driver.NamedValue) (columns []string, result [][]any, err error) {
	s.reading = true
	s.selects, s.denied = false, false
	defer func() { s.reading = false }()
	rows, err := conn.QueryContext(context.Background(), query, args)
	if s.denied || !s.selects { // the authorizer is not asked about everything, but always about SELECT
		if err == nil {
			err = rows.Close()
		}
		if err != nil {
			return nil, nil, fmt.Errorf("%w: %w", errReadOnly, err)
		}
		return nil, nil, errReadOnly
	}
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	columns = rows.Columns()
	values := make([]driver.Value, len(columns))
	for {
		if err := rows.Next(values); err == io.EOF {
			return columns, result, nil
		} else if err != nil {
			return nil, nil, err
		}
		row := make([]any, len(values))
		for i, v := range values {
			row[i] = v
		}
		result = append(result, row)
	}
}

var errReadOnly = errors.New("only SELECT statements can be queried")

// authorize limits what a statement of Query's caller may do. SQLite asks when
// a statement is prepared, which the store's own were before.
func (s *Store) authorize() error {
	return s.conn.Raw(func(conn any) error {
		return conn.(sqlite.AuthorizerRegisterer).RegisterAuthorizer(
			func(action sqlite.AuthorizerActionCode, _, function, _, _ string) sqlite.AuthorizerReturnCode {
				if !s.reading || s.allow(action, function) {
					return sqlite.AuthorizerOK
				}
				s.denied = true
				return sqlite.AuthorizerDeny
			})
	})
}

func (s *Store) allow(action sqlite.AuthorizerActionCode, function string) bool {
	switch action {
	case sqlite.AuthSelect:
		s.selects = true
		return true
	case sqlite.AuthRead, sqlite.AuthRecursive:
		return true
	case sqlite.AuthFunction:
		return fold(function) != "load_extension"
	}
	return false
}

// bind makes the arguments of a query the driver's.
func bind(args []any) ([]driver.NamedValue, error) {
	named := make([]driver.NamedValue, len(args))
	for i, arg := range args {
		n := driver.NamedValue{Ordinal: i + 1}
		if a, ok := arg.(sql.NamedArg); ok {
			n.Name, arg = a.Name, a.Value
		}
		v, err := driver.DefaultParameterConverter.ConvertValue(arg)
		if t, ok := v.(time.Time); ok && err == nil {
			v, err = timestamp(t)
		}
		if err != nil {
			return nil, fmt.Errorf("argument %d: %w", i+1, err)
		}
		n.Value = v
		named[i] = n
	}
	return named, nil
}
